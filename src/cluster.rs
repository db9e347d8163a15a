//! This server as the only node of a cluster: who it is, how it is to be reached, and the file that keeps its name.
//!
//! There is no bus: the node knows no other, and owns all slots. Its id is made once and kept in `cluster-config-file`, in
//! Redis's format (a line for the node, one for the epochs), so that clients that know it meet the same node after a
//! restart, and so that a real server can go on with the file. A file that names other nodes is of a real cluster: the
//! server does not start with it.

use crate::checksum::{SLOTS, sha1_hex};
use crate::clients::Client;
use crate::config::Config;
use crate::log::{cause, notice, warning};
use crate::persist::stream::random_id;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;

#[derive(Default)]
pub struct Cluster {
    identity: OnceLock<Identity>,
    /// The file, locked against other servers for as long as it is open.
    file: Mutex<Option<File>>,
}

/// What the file says of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 40 hexadecimal digits.
    pub node: String,
    /// The same for its shard. Redis 7.0 has none; then it follows from the node's.
    shard: Option<String>,
    pub config_epoch: u64,
    pub current_epoch: u64,
    last_vote_epoch: u64,
}

/// How a node is to be reached.
pub struct Address<'a> {
    /// Empty if it is not known: clients then go on with the address that they came to.
    pub ip: Cow<'a, str>,
    pub hostname: &'a str,
    /// 0 if there is none.
    pub plain_port: u16,
    /// The same; told only with `tls-cluster`.
    pub tls_port: u16,
    pub bus_port: u16,
}

impl<'a> Address<'a> {
    pub fn of(config: &'a Config) -> Self {
        let told = |announced: u16, own: u16| if announced == 0 { own } else { announced };
        let plain = if config.tls_cluster { config.port } else { config.main_port() };
        let tls = if config.tls_cluster { config.tls_port } else { 0 };
        let bus = if tls == 0 { plain } else { tls }.saturating_add(BUS_PORT_OFFSET);
        Self {
            ip: Cow::Borrowed(&config.cluster_announce_ip),
            hostname: &config.cluster_announce_hostname,
            plain_port: told(config.cluster_announce_port, plain),
            tls_port: if tls == 0 { 0 } else { told(config.cluster_announce_tls_port, tls) },
            bus_port: told(config.cluster_announce_bus_port, told(config.cluster_port, bus)),
        }
    }

    /// As a client is told it: unless another is announced, with the address that it came to. A real node learns its own
    /// from others; a client that is told none may find no node at all.
    pub fn told_to(client: &Client, config: &'a Config) -> Self {
        let mut address = Self::of(config);
        if let (true, Ok(local)) = (address.ip.is_empty(), client.local_address.parse::<SocketAddr>()) {
            address.ip = Cow::Owned(local.ip().to_string());
        }
        address
    }

    /// The port that nodes know each other by.
    pub fn port(&self) -> u16 {
        if self.tls_port == 0 { self.plain_port } else { self.tls_port }
    }
}

impl Identity {
    fn new() -> Self {
        Self { node: random_id(), shard: None, config_epoch: 0, current_epoch: 0, last_vote_epoch: 0 }
    }

    pub fn shard(&self) -> String {
        self.shard.clone().unwrap_or_else(|| sha1_hex(format!("shard of {}", self.node).as_bytes()))
    }

    /// This node's line, as CLUSTER NODES shows it; the file's may say more of the address.
    pub fn line(&self, address: &Address<'_>) -> String {
        let hostname = if address.hostname.is_empty() { String::new() } else { format!(",{}", address.hostname) };
        self.line_with(address, &hostname)
    }

    fn line_with(&self, address: &Address<'_>, more: &str) -> String {
        let (ip, port, bus) = (&address.ip, address.port(), address.bus_port);
        let (node, epoch, last) = (&self.node, self.config_epoch, SLOTS - 1);
        format!("{node} {ip}:{port}@{bus}{more} myself,master - 0 0 {epoch} connected 0-{last}\n")
    }

    fn file(&self, address: &Address<'_>) -> String {
        let line = match &self.shard {
            None => self.line(address),
            Some(shard) => {
                let more = format!(",{},tls-port={},shard-id={shard}", address.hostname, address.tls_port);
                self.line_with(address, &more)
            }
        };
        let Self { current_epoch, last_vote_epoch, .. } = self;
        format!("{line}vars currentEpoch {current_epoch} lastVoteEpoch {last_vote_epoch}\n")
    }

    /// Reads a file's text. The error says what is wrong with it.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut identity, mut found) = (Self::new(), false);
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                ["vars", ..] => {
                    for pair in words[1..].chunks(2) {
                        let value = pair.get(1).and_then(|word| word.parse().ok()).ok_or("a number is missing")?;
                        match pair[0] {
                            "currentEpoch" => identity.current_epoch = value,
                            "lastVoteEpoch" => identity.last_vote_epoch = value,
                            _ => {}
                        }
                    }
                }
                [node, address, flags, _, _, _, epoch, ..] if flags.split(',').any(|flag| flag == "myself") => {
                    if !is_id(node) || found {
                        return Err("the line of this node is not right");
                    }
                    found = true;
                    node.clone_into(&mut identity.node);
                    identity.config_epoch = epoch.parse().map_err(|_| "an epoch is no number")?;
                    let shard = address.split(',').find_map(|part| part.strip_prefix("shard-id="));
                    identity.shard = shard.filter(|shard| is_id(shard)).map(str::to_owned);
                }
                [node, ..] if is_id(node) => {
                    return Err("it names other nodes, and this server has no bus to reach them");
                }
                _ => return Err("a line is none of a node"),
            }
        }
        if found { Ok(identity) } else { Err("it has no line of this node") }
    }
}

fn is_id(word: &str) -> bool {
    word.len() == ID_DIGITS && word.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Cluster {
    /// Who this node is; none where cluster mode is off.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// Reads the file, or makes one. The error is for the log: the server cannot start.
    pub fn open(&self, config: &Config) -> Result<(), String> {
        let path = &config.cluster_config_file;
        let said = |e: io::Error| format!("Loading the cluster node config from {path}: {}", cause(&e));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(said)?;
        lock(&file, path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(said)?;
        let identity = if text.is_empty() {
            let identity = Identity::new();
            notice!("No cluster configuration found, I'm {}", identity.node);
            identity
        } else {
            let wrong = |why| format!("Unrecoverable error: corrupted cluster config file {path:?}: {why}.");
            let identity = Identity::parse(&text).map_err(wrong)?;
            notice!("Node configuration loaded, I'm {}", identity.node);
            identity
        };
        let is_as_it_shall_be = text == identity.file(&Address::of(config));
        *self.file.lock() = Some(file);
        let _ = self.identity.set(identity);
        if !is_as_it_shall_be {
            self.save(config)?;
        }
        warning!(
            "Cluster mode has no bus yet: this server is the only node of its cluster and owns all {SLOTS} slots. What would change that (CLUSTER MEET, DELSLOTS, SETSLOT, REPLICATE, FAILOVER and the like) is refused."
        );
        Ok(())
    }

    /// Writes the file anew: another one under its name, so that a crash leaves one of the two.
    pub fn save(&self, config: &Config) -> Result<(), String> {
        let (Some(identity), path) = (self.identity.get(), &config.cluster_config_file) else { return Ok(()) };
        let said = |e: io::Error| format!("Could not save the cluster config file {path}: {}", cause(&e));
        let temp = format!("{path}.tmp-{}", std::process::id());
        let written = File::create(&temp).and_then(|mut file| {
            file.write_all(identity.file(&Address::of(config)).as_bytes())?;
            file.sync_all()?;
            Ok(file)
        });
        let file = written.map_err(said)?;
        lock(&file, path)?;
        fs::rename(&temp, path).map_err(said)?;
        *self.file.lock() = Some(file);
        Ok(())
    }
}

fn lock(file: &File, path: &str) -> Result<(), String> {
    file.try_lock().map_err(|_| {
        format!(
            "Sorry, the cluster configuration file {path} is already used by a different Redis Cluster node. Please make sure that different nodes use different cluster configuration files."
        )
    })
}

const BUS_PORT_OFFSET: u16 = 10_000;
const ID_DIGITS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "8b414117fd9932e80519d8b5e5683606a933af22";
    const SHARD: &str = "d1bb4f390e47f8ba378ee76128dda0a1fd85557d";

    /// What is read is written again as it was.
    fn stays(line: &str, config: &Config) {
        let text = format!("{line} myself,master - 0 0 3 connected 0-16383\nvars currentEpoch 4 lastVoteEpoch 2\n");
        let identity = Identity::parse(&text).unwrap();
        assert_eq!((&*identity.node, identity.config_epoch, identity.current_epoch), (NODE, 3, 4));
        assert_eq!(identity.file(&Address::of(config)), text);
    }

    #[test]
    fn files_of_both_formats_are_kept() {
        let mut config = Config { port: 7702, ..Config::default() };
        stays(&format!("{NODE} :7702@17702"), &config);
        stays(&format!("{NODE} :7702@17702,,tls-port=0,shard-id={SHARD}"), &config);
        config.cluster_announce_hostname = "h.example".to_owned();
        (config.cluster_announce_ip, config.cluster_port) = ("192.0.2.1".to_owned(), 7);
        stays(&format!("{NODE} 192.0.2.1:7702@7,h.example"), &config);
        stays(&format!("{NODE} 192.0.2.1:7702@7,h.example,tls-port=0,shard-id={SHARD}"), &config);
    }

    #[test]
    fn files_of_others_are_refused() {
        let myself = format!("{NODE} :1@2 myself,master - 0 0 0 connected\n");
        let cases = [
            (format!("{myself}{SHARD} 192.0.2.1:1@2 master - 0 0 1 connected 0-9\n"), "it names other nodes"),
            (format!("{myself}{myself}"), "the line of this node"),
            ("vars currentEpoch 0 lastVoteEpoch 0\n".to_owned(), "it has no line"),
            (format!("{myself}vars currentEpoch\n"), "a number is missing"),
            ("nonsense\n".to_owned(), "a line is none of a node"),
            (myself.replace("0 0 0", "0 0 x"), "an epoch is no number"),
        ];
        for (text, why) in cases {
            assert!(Identity::parse(&text).unwrap_err().starts_with(why), "{text}");
        }
        assert!(Identity::parse(&myself).is_ok());
    }

    #[test]
    fn a_port_too_large_for_the_bus_is_the_largest() {
        let config = Config { port: 65_000, ..Config::default() };
        assert_eq!(Address::of(&config).bus_port, u16::MAX);
    }
}
