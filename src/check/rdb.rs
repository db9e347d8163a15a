//! redis-check-rdb: follows a snapshot item by item and says where it stops making sense.

use super::{Console, Stop, until_nul};
use crate::clock;
use crate::config::{Config, REDIS_VERSION};
use crate::log;
use crate::persist::rdb::decode::Content;
use crate::persist::rdb::is_type;
use crate::persist::rdb::read::{Doing, Item, RdbFile, Sum};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn main(console: &mut Console<'_>, args: &[Vec<u8>]) -> Result<(), Stop> {
    let [_, name] = args else {
        eprintln!("Usage: {} <rdb-file-name>", String::from_utf8_lossy(args.first().map_or(&[], |a| a)));
        return Err(Stop);
    };
    if matches!(name.as_slice(), b"-v" | b"--version") {
        console.say(format_args!("redis-check-rdb {REDIS_VERSION}"));
        return Ok(());
    }
    announce(console, name);
    // Of a file that is not there nothing more is said.
    let file = File::open(Path::new(OsStr::from_bytes(name))).map_err(|_| Stop)?;
    follow(console, BufReader::with_capacity(READ_BYTES, file)).map(drop)
}

/// Checks the snapshot that a log begins with. Returns its length.
pub fn check_preamble(console: &mut Console<'_>, name: &str, input: impl BufRead) -> Result<u64, Stop> {
    announce(console, name.as_bytes());
    follow(console, input)
}

fn announce(console: &mut Console<'_>, name: &[u8]) {
    console.say_bytes("[offset 0] ", shown(&[b"Checking RDB file ", name].concat()), "");
}

fn follow(console: &mut Console<'_>, input: impl BufRead) -> Result<u64, Stop> {
    let mut check = Check { file: RdbFile::new(input), seen: Seen::default() };
    match check.run(console) {
        Ok(()) => {
            console.say(format_args!("[offset {}] \\o/ RDB looks OK! \\o/", check.file.offset()));
            check.seen.tell(console);
            Ok(check.file.offset())
        }
        Err(e) => {
            check.complain(console, &e);
            Err(Stop)
        }
    }
}

struct Check<R> {
    file: RdbFile<R>,
    seen: Seen,
}

/// What was met so far.
struct Seen {
    keys: u64,
    expiring: u64,
    expired: u64,
    /// The one being read.
    key: Option<Vec<u8>>,
    kind: Option<u8>,
}

impl Default for Seen {
    fn default() -> Self {
        // Before the first key Redis says that it is reading a string.
        Self { keys: 0, expiring: 0, expired: 0, key: None, kind: Some(0) }
    }
}

impl Seen {
    fn tell(&self, console: &mut Console<'_>) {
        console.say(format_args!("[info] {} keys read", self.keys));
        console.say(format_args!("[info] {} expires", self.expiring));
        console.say(format_args!("[info] {} already expired", self.expired));
    }
}

impl<R: BufRead> Check<R> {
    fn run(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        let (now, config) = (clock::now_ms(), Config::default());
        self.file.begin(&config)?;
        loop {
            match self.file.next_item()? {
                Item::End => break,
                Item::Aux(name, value) => {
                    let line = [b"AUX FIELD ", until_nul(&name), b" = '", until_nul(&value), b"'"].concat();
                    self.say(console, &line);
                }
                Item::Library(_) => {}
                Item::Database(index) => self.say(console, format!("Selecting DB ID {index}").as_bytes()),
                Item::Entry { kind, .. } if !is_type(kind) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("Invalid object type: {kind}")));
                }
                Item::Entry { kind, expiry, .. } => {
                    self.seen.kind = Some(kind);
                    self.seen.key = Some(self.file.key()?);
                    self.seen.keys += 1;
                    if matches!(self.file.value(kind, &config)?, Content::Empty) {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "A collection without members"));
                    }
                    self.seen.expiring += u64::from(expiry.is_some());
                    self.seen.expired += u64::from(expiry.is_some_and(|at| at < now));
                    (self.seen.kind, self.seen.key) = (None, None);
                }
            }
        }
        match self.file.verify()? {
            Sum::TooOld => {}
            Sum::Right => self.say(console, b"Checksum OK"),
            Sum::NotComputed => {
                self.say(console, b"RDB file was saved with checksum disabled: no check performed.");
            }
            Sum::Wrong { .. } => return Err(io::Error::new(io::ErrorKind::InvalidData, "RDB CRC error")),
        }
        Ok(())
    }

    fn say(&self, console: &mut Console<'_>, text: &[u8]) {
        console.say_bytes(&format!("[offset {}] ", self.file.offset()), shown(text), "");
    }

    fn complain(&self, console: &mut Console<'_>, e: &io::Error) {
        let cause = match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::Unsupported => e.to_string(),
            // What cannot be read has ended, for Redis.
            _ => "Unexpected EOF reading RDB file".to_owned(),
        };
        console.say(format_args!("--- RDB ERROR DETECTED ---"));
        self.say(console, cause.as_bytes());
        console.say(format_args!("[additional info] While doing: {}", words(self.file.doing())));
        if let Some(key) = &self.seen.key {
            console.say_bytes("[additional info] Reading key '", key, "'");
        }
        if let Some(kind) = self.seen.kind {
            let name = TYPE_NAMES.get(usize::from(kind)).unwrap_or(&"unknown");
            console.say(format_args!("[additional info] Reading type {kind} ({name})"));
        }
        self.seen.tell(console);
        if self.file.doing() == Doing::Value && e.kind() == io::ErrorKind::InvalidData {
            let _ = console.out.flush();
            log::warning!("Terminating server after rdb file reading failure.");
        }
    }
}

/// As much of a text as Redis has room for in a line.
fn shown(text: &[u8]) -> &[u8] {
    let text = until_nul(text);
    &text[..text.len().min(LINE_BYTES_MAX)]
}

fn words(doing: Doing) -> &'static str {
    match doing {
        Doing::Start => "start",
        Doing::Type => "read-type",
        Doing::Expiry => "read-expire",
        Doing::Key => "read-key",
        Doing::Value => "read-object-value",
        Doing::Checksum => "check-sum",
        Doing::Length => "read-len",
        Doing::Aux => "read-aux",
        Doing::ModuleAux => "read-module-aux",
        Doing::Functions => "read-functions",
    }
}

const TYPE_NAMES: &[&str] = &[
    "string",
    "list-linked",
    "set-hashtable",
    "zset-v1",
    "hash-hashtable",
    "zset-v2",
    "module-value",
    "",
    "",
    "hash-zipmap",
    "list-ziplist",
    "set-intset",
    "zset-ziplist",
    "hash-ziplist",
    "quicklist",
    "stream",
    "hash-listpack",
    "zset-listpack",
    "quicklist-v2",
];
const READ_BYTES: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 1023;

#[cfg(test)]
mod tests {
    use super::super::spoken;
    use super::*;
    use crate::persist::rdb::read;

    #[test]
    fn an_empty_file_is_sound_and_a_cut_or_changed_one_is_not() {
        let whole = read::empty();
        let check = |bytes: &[u8]| spoken("", |console| follow(console, bytes).map(drop));
        let (said, ok) = check(&whole);
        assert!(
            ok && said.starts_with("[offset 18] Checksum OK\n[offset 18] \\o/ RDB looks OK! \\o/\n[info] 0 keys"),
            "{said}"
        );
        for cut in 0..whole.len() {
            let (said, ok) = check(&whole[..cut]);
            assert!(!ok && said.contains("Unexpected EOF reading RDB file"), "{cut}: {said}");
        }
        let changed = |at: usize, to: u8| {
            let mut bytes = whole.clone();
            bytes[at] = to;
            let (said, ok) = check(&bytes);
            assert!(!ok);
            said
        };
        assert!(changed(0, b'r').contains("[offset 9] Wrong signature trying to load DB from file"));
        assert!(changed(5, b'9').contains("Can't handle RDB format version 9010"));
        assert!(changed(9, 8).contains("[offset 10] Invalid object type: 8\n[additional info] While doing: read-type"));
        assert!(changed(17, 1).contains("RDB CRC error\n[additional info] While doing: check-sum"));
    }
}
