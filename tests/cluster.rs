//! Cluster mode at start and at its limits: the file that keeps the node's id, data that cannot be a cluster's, and what
//! is refused for want of a bus. What clients see, beside real servers: `compat/clients/cluster.py`.

mod common;

use common::{Client, Server};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The exit code of a server that does not start, and its log.
fn refused(dir: &Path, options: &[&str]) -> (i32, String) {
    let log = dir.join("refused");
    let status = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
        .args(["--port", "0", "--unixsocket", dir.join("socket").to_str().unwrap(), "--cluster-enabled", "yes"])
        .args(["--save", "", "--dir", dir.to_str().unwrap(), "--logfile", log.to_str().unwrap()])
        .args(options)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    (status.code().unwrap(), fs::read_to_string(log).unwrap())
}

#[test]
fn a_file_in_use_or_of_another_cluster_stops_the_start() {
    let server = Server::start(&["--cluster-enabled", "yes", "--cluster-config-file", "mine.conf"]);
    let id = Client::of(&server).ask("CLUSTER MYID").remove(0);
    let file = server.dir.path().join("mine.conf");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&format!("{id} :{}@", server.address.port())), "{text}");
    assert!(text.ends_with("connected 0-16383\nvars currentEpoch 0 lastVoteEpoch 0\n"), "{text}");
    assert!(server.log().contains("has no bus yet"), "{}", server.log());
    let (code, log) = refused(server.dir.path(), &["--cluster-config-file", "mine.conf"]);
    assert!(code == 1 && log.contains("is already used by a different Redis Cluster node"), "{log}");
    // Its own once more, with what a newer server adds; then one with a neighbour.
    let other = tempfile::tempdir().unwrap();
    let neighbour = format!("{} 192.0.2.1:1@2 master - 0 0 1 connected 0-99\n", "a".repeat(40));
    fs::write(other.path().join("nodes.conf"), format!("{text}{neighbour}")).unwrap();
    let (code, log) = refused(other.path(), &[]);
    assert!(code == 1 && log.contains("corrupted cluster config file") && log.contains("names other nodes"), "{log}");
    fs::write(other.path().join("nodes.conf"), "half a li").unwrap();
    assert_eq!(refused(other.path(), &[]).0, 1);
    let (code, log) = refused(other.path(), &["--cluster-config-file", "/nonexistent/nodes.conf"]);
    assert!(code == 1 && log.contains("/nonexistent/nodes.conf"), "{log}");
}

#[test]
fn keys_of_another_database_stop_the_start() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    ["SELECT 3", "SET k v", "SAVE"].iter().for_each(|line| assert_eq!(client.ask(line), ["OK"]));
    let (code, log) = refused(server.dir.path(), &[]);
    assert!(
        code == 1 && log.contains("You can't have keys in a DB different than DB 0 when in Cluster mode."),
        "{log}"
    );
}

#[test]
fn what_needs_a_bus_is_refused_and_changes_nothing() {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    let mut client = Client::of(&server);
    let (id, told) = (client.ask("CLUSTER MYID"), client.ask("CLUSTER INFO"));
    for line in [
        "MEET 127.0.0.1 1",
        "DELSLOTS 1",
        "DELSLOTSRANGE 1 2",
        "FLUSHSLOTS",
        "FORGET x",
        "REPLICATE x",
        "RESET HARD",
        "FAILOVER",
        "SET-CONFIG-EPOCH 1",
        "SETSLOT 1 STABLE",
        "BUMPEPOCH",
    ] {
        let reply = client.ask(&format!("CLUSTER {line}")).remove(0);
        assert!(reply.starts_with("ERR CLUSTER ") && reply.contains("has no cluster bus"), "{line}: {reply}");
    }
    assert_eq!((client.ask("CLUSTER MYID"), client.ask("CLUSTER INFO")), (id, told));
    // Without an announced address clients are told the one they came to.
    assert_eq!(client.ask("CLUSTER SLOTS")[2], "127.0.0.1");
    assert_eq!(client.ask("CLUSTER ADDSLOTSRANGE 0 16383"), ["OK"]);
}
