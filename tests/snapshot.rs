//! Snapshots are one moment, whatever is written meanwhile.
//!
//! Writers move money between accounts, in transactions and in single commands: the sums never change, in small keys and
//! in the members of big ones, which a snapshot reads in pieces while they change, are renamed, removed and made anew. So
//! whatever moment a snapshot shows, its sums are right; one that mixes two moments has them wrong.

mod common;

use common::Server;
use redis::{Commands, Connection, Pipeline};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const ACCOUNTS: usize = 500;
const MEMBERS: usize = 6000;
const PENDING: usize = 3000;
const OPENING: i64 = 100;
const WRITERS: u64 = 3;
const SNAPSHOTS: usize = 5;

fn connect(server: &Server) -> Connection {
    redis::Client::open(format!("redis://{}", server.address)).unwrap().get_connection().unwrap()
}

fn open_accounts(c: &mut Connection) {
    let mut all = Pipeline::new();
    (0..ACCOUNTS).for_each(|i| _ = all.set(format!("account:{i}"), OPENING).ignore());
    for i in 0..MEMBERS {
        all.hset("bank", format!("field:{i}"), OPENING).ignore();
        all.zadd("scores", format!("member:{i}"), OPENING).ignore();
        all.sadd("here", format!("member:{i}")).ignore();
        all.rpush("left", format!("element:{i}:{}", "x".repeat(40))).ignore();
        all.cmd("XADD").arg("stream").arg("*").arg("entry").arg(i).ignore();
        if i + 1 == MEMBERS - PENDING {
            all.cmd("XGROUP").arg("CREATE").arg("stream").arg("group").arg("$").ignore();
        }
    }
    // The newer half is pending: trimming does not come so far, and a log of commands has nothing of entries that are gone.
    all.cmd("XREADGROUP")
        .arg("GROUP")
        .arg("group")
        .arg("c")
        .arg("COUNT")
        .arg(PENDING)
        .arg("STREAMS")
        .arg("stream")
        .arg(">")
        .ignore();
    // A hash some of whose fields expire, in a time that no test waits for.
    (0..MEMBERS).for_each(|i| _ = all.hset("timed", format!("field:{i}"), OPENING).ignore());
    all.cmd("HPEXPIRE").arg("timed").arg(100_000_000).arg("FIELDS").arg(2).arg("field:1").arg("field:2").ignore();
    all.exec(c).unwrap();
    rebuild(Pipeline::new().atomic()).exec(c).unwrap();
}

/// A big key is removed and comes back with as many members, in one transaction.
fn rebuild(p: &mut Pipeline) -> &mut Pipeline {
    p.del("anew").ignore();
    for some in (0..1000).collect::<Vec<_>>().chunks(100) {
        p.sadd("anew", some.iter().map(|i| format!("{i}:{}", fastrand::u32(..))).collect::<Vec<_>>()).ignore();
    }
    p
}

fn one_transfer(c: &mut Connection, rng: &mut fastrand::Rng) -> redis::RedisResult<()> {
    let amount = rng.i64(1..20);
    let (from, to) = (rng.usize(..MEMBERS), rng.usize(..MEMBERS));
    let mut p = Pipeline::new();
    p.atomic();
    match rng.u8(..22) {
        0..6 => {
            p.decr(format!("account:{}", from % ACCOUNTS), amount).ignore();
            p.incr(format!("account:{}", to % ACCOUNTS), amount).ignore();
        }
        6..10 => {
            let bank = if rng.bool() { "bank" } else { "timed" };
            p.hincr(bank, format!("field:{from}"), -amount).ignore();
            p.hincr(bank, format!("field:{to}"), amount).ignore();
        }
        10..13 => {
            p.zincr("scores", format!("member:{from}"), -amount).ignore();
            p.zincr("scores", format!("member:{to}"), amount).ignore();
        }
        13..15 => _ = p.cmd("SMOVE").arg("here").arg("there").arg(format!("member:{from}")).ignore(),
        15 => _ = p.cmd("SMOVE").arg("there").arg("here").arg(format!("member:{from}")).ignore(),
        16 => {
            let (ends, (a, b)) = (["LEFT", "RIGHT"], if rng.bool() { ("left", "right") } else { ("right", "left") });
            p.cmd("LMOVE").arg(a).arg(b).arg(rng.choice(ends)).arg(rng.choice(ends)).ignore();
        }
        17 => {
            let index = rng.usize(..MEMBERS / 2);
            p.cmd("LINSERT").arg("left").arg("BEFORE").arg(format!("element:{index}:{}", "x".repeat(40))).arg("new");
            p.ignore().cmd("LREM").arg("left").arg(1).arg("new").ignore();
        }
        // What is pending stays so, delivered once more or not.
        20 => {
            p.cmd("XADD").arg("stream").arg("*").arg("entry").arg("new").ignore();
            p.cmd("XTRIM").arg("stream").arg("MAXLEN").arg(MEMBERS).ignore();
        }
        21 => {
            p.cmd("XREADGROUP")
                .arg("GROUP")
                .arg("group")
                .arg("c")
                .arg("COUNT")
                .arg(amount)
                .arg("STREAMS")
                .arg("stream");
            p.arg(0).ignore();
        }
        // Under another name for a moment, and in another stripe.
        18 => _ = p.rename("bank", "elsewhere").ignore().rename("elsewhere", "bank").ignore(),
        _ => _ = rebuild(&mut p),
    }
    p.exec(c)
}

/// Writes until told to stop.
fn write(server: &Server, seed: u64, stop: &AtomicBool) {
    let (mut c, mut rng) = (connect(server), fastrand::Rng::with_seed(seed));
    while !stop.load(Relaxed) {
        one_transfer(&mut c, &mut rng).unwrap();
    }
}

fn sums(c: &mut Connection) -> Vec<(&'static str, i64)> {
    let sum = |values: Vec<i64>| values.iter().sum::<i64>();
    let accounts = (0..ACCOUNTS).map(|i| format!("account:{i}")).collect::<Vec<_>>();
    let scores: Vec<(String, f64)> = c.zrange_withscores("scores", 0, -1).unwrap();
    let mut size = |command: &str, key: &str| redis::cmd(command).arg(key).query::<i64>(c).unwrap();
    let (lists, sets, anew) = (
        size("LLEN", "left") + size("LLEN", "right"),
        size("SCARD", "here") + size("SCARD", "there"),
        size("SCARD", "anew"),
    );
    let (entries, pending) = (size("XLEN", "stream"), {
        let summary: Vec<redis::Value> = redis::cmd("XPENDING").arg("stream").arg("group").query(c).unwrap();
        redis::from_redis_value(summary[0].clone()).unwrap()
    });
    vec![
        ("stream", entries),
        ("pending", pending),
        ("accounts", sum(c.mget(accounts).unwrap())),
        ("bank", sum(c.hvals("bank").unwrap())),
        ("timed", sum(c.hvals("timed").unwrap())),
        ("scores", scores.iter().map(|(_, score)| *score as i64).sum()),
        ("members of scores", scores.len() as i64),
        ("lists", lists),
        ("sets", sets),
        ("anew", anew),
    ]
}

fn expected() -> Vec<(&'static str, i64)> {
    let members = MEMBERS as i64;
    vec![
        ("stream", members),
        ("pending", PENDING as i64),
        ("accounts", ACCOUNTS as i64 * OPENING),
        ("bank", members * OPENING),
        ("timed", members * OPENING),
        ("scores", members * OPENING),
        ("members of scores", members),
        ("lists", members),
        ("sets", members),
        ("anew", 1000),
    ]
}

fn wait_until_info(c: &mut Connection, line: &str) {
    for _ in 0..3000 {
        let info: String = redis::cmd("INFO").arg("persistence").query(c).unwrap();
        if info.lines().any(|l| l == line) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("INFO never said {line}");
}

#[test]
fn every_snapshot_under_load_is_one_moment() {
    let server = Server::start(&[]);
    let mut c = connect(&server);
    open_accounts(&mut c);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        (0..WRITERS).for_each(|seed| {
            _ = scope.spawn({
                let (server, stop) = (&server, &stop);
                move || write(server, seed, stop)
            })
        });
        for round in 0..SNAPSHOTS {
            thread::sleep(Duration::from_millis(50));
            redis::cmd("BGSAVE").exec(&mut c).unwrap();
            wait_until_info(&mut c, "rdb_bgsave_in_progress:0");
            wait_until_info(&mut c, "rdb_last_bgsave_status:ok");
            let copy = tempfile::tempdir().unwrap();
            std::fs::copy(server.dir.path().join("dump.rdb"), copy.path().join("dump.rdb")).unwrap();
            let loaded = Server::start(&["--dir", copy.path().to_str().unwrap()]);
            assert_eq!(sums(&mut connect(&loaded)), expected(), "snapshot {round}");
        }
        stop.store(true, Relaxed);
    });
    assert_eq!(sums(&mut c), expected());
}

/// A rewrite's base is one moment, and what was written since is in the increment: together they are everything. Both
/// forms of base.
#[test]
fn a_rewritten_log_is_everything() {
    for preamble in ["no", "yes"] {
        let options = [
            "--appendonly",
            "yes",
            "--aof-use-rdb-preamble",
            preamble,
            "--enable-debug-command",
            "yes",
            "--appendfsync",
            "no",
        ];
        let server = Server::start(&options);
        let mut c = connect(&server);
        open_accounts(&mut c);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            (0..WRITERS).for_each(|seed| {
                _ = scope.spawn({
                    let (server, stop) = (&server, &stop);
                    move || write(server, seed, stop)
                })
            });
            for _ in 0..2 {
                thread::sleep(Duration::from_millis(50));
                redis::cmd("BGREWRITEAOF").exec(&mut c).unwrap();
                wait_until_info(&mut c, "aof_rewrite_in_progress:0");
                wait_until_info(&mut c, "aof_last_bgrewrite_status:ok");
            }
            stop.store(true, Relaxed);
        });
        let digest = |c: &mut Connection| redis::cmd("DEBUG").arg("DIGEST").query::<String>(c).unwrap();
        let before = digest(&mut c);
        redis::cmd("DEBUG").arg("LOADAOF").exec(&mut c).unwrap();
        assert_eq!(digest(&mut c), before, "preamble {preamble}");
        assert_eq!(sums(&mut c), expected());
    }
}

/// A crowd of fields that are due is removed a few at a time; to the log all of them are there until then. Who writes one
/// of them anew, under this name of the hash or another, finds the same again when the log is read.
#[test]
fn fields_written_anew_after_they_were_due_are_so_in_the_log() {
    const FIELDS: usize = 1000;
    let server = Server::start(&["--appendonly", "yes", "--enable-debug-command", "yes", "--appendfsync", "no"]);
    let mut c = connect(&server);
    redis::cmd("DEBUG").arg("SET-ACTIVE-EXPIRE").arg(0).exec(&mut c).unwrap();
    for (key, lasting) in [("some", true), ("none", false)] {
        let mut all = Pipeline::new();
        (0..FIELDS).for_each(|i| _ = all.hset(key, i, 100).ignore());
        all.cmd("HPEXPIRE").arg(key).arg(1).arg("FIELDS").arg(FIELDS).arg((0..FIELDS).collect::<Vec<_>>()).ignore();
        if lasting {
            all.hset(key, "lasting", 100).ignore();
        }
        all.atomic().exec(&mut c).unwrap();
    }
    thread::sleep(Duration::from_millis(5));
    let write = |c: &mut Connection, key: &str, from: usize| {
        let mut p = Pipeline::new();
        p.hincr(key, from, 1).ignore().hset_nx(key, from + 1, 2).ignore().hdel(key, from + 2).ignore();
        p.cmd("HSETEX").arg(key).arg("KEEPTTL").arg("FIELDS").arg(1).arg(from + 3).arg(3).ignore();
        p.cmd("HINCRBYFLOAT").arg(key).arg(from + 4).arg("0.5").ignore();
        p.cmd("HPERSIST").arg(key).arg("FIELDS").arg(1).arg(from + 5).ignore();
        p.exec(c).unwrap();
        [(from, "1"), (from + 1, "2"), (from + 3, "3"), (from + 4, "0.5")].map(|(n, v)| (n.to_string(), v.to_owned()))
    };
    // Those due last are removed last.
    let mut renamed = BTreeMap::from([("lasting".to_owned(), "100".to_owned())]);
    renamed.extend(write(&mut c, "some", FIELDS - 10));
    c.rename::<_, _, ()>("some", "renamed").unwrap();
    redis::cmd("COPY").arg("renamed").arg("copied").exec(&mut c).unwrap();
    let mut copied = renamed.clone();
    renamed.extend(write(&mut c, "renamed", FIELDS - 20));
    copied.extend(write(&mut c, "copied", FIELDS - 30));
    // Nothing can be seen of this one: it is made anew. What can be seen of the other one is removed, and it is made anew.
    let none = BTreeMap::from(write(&mut c, "none", FIELDS - 40));
    redis::cmd("COPY").arg("renamed").arg("again").exec(&mut c).unwrap();
    redis::cmd("HDEL").arg("again").arg(renamed.keys().collect::<Vec<_>>()).exec(&mut c).unwrap();
    assert!(!c.exists::<_, bool>("again").unwrap());
    let again = BTreeMap::from(write(&mut c, "again", FIELDS - 50));
    for loaded in [false, true] {
        if loaded {
            redis::cmd("DEBUG").arg("LOADAOF").exec(&mut c).unwrap();
        }
        for (key, expected) in [("renamed", &renamed), ("copied", &copied), ("none", &none), ("again", &again)] {
            assert_eq!(c.hlen::<_, usize>(key).unwrap(), expected.len(), "{key}, loaded: {loaded}");
            let seen: BTreeMap<String, String> = c.hgetall(key).unwrap();
            assert_eq!(&seen, expected, "{key}, loaded: {loaded}");
        }
    }
}

/// Databases that are exchanged, emptied and filled anew while they are saved are in the file as they were at the cut.
#[test]
fn a_flush_or_a_swap_leaves_the_snapshot_whole() {
    const KEYS: usize = 3000;
    let server = Server::start(&["--databases", "4"]);
    let mut c = connect(&server);
    let select = |c: &mut Connection, db: usize| redis::cmd("SELECT").arg(db).exec(c).unwrap();
    for db in 0..3 {
        select(&mut c, db);
        let mut all = Pipeline::new();
        (0..KEYS).for_each(|i| _ = all.set(format!("key:{i}"), format!("{db}:{i}")).ignore());
        (0..KEYS).for_each(|i| _ = all.hset("big", i, db).ignore());
        all.exec(&mut c).unwrap();
    }
    redis::cmd("CONFIG").arg("SET").arg("rdb-key-save-delay").arg(40).exec(&mut c).unwrap();
    redis::cmd("BGSAVE").exec(&mut c).unwrap();
    thread::sleep(Duration::from_millis(30));
    for round in 0..6 {
        redis::cmd("SWAPDB").arg(round % 3).arg((round + 1) % 3).exec(&mut c).unwrap();
        select(&mut c, round % 4);
        redis::cmd("FLUSHDB").arg(if round % 2 == 0 { "ASYNC" } else { "SYNC" }).exec(&mut c).unwrap();
        c.set::<_, _, ()>(format!("key:{round}"), "later").unwrap();
        redis::cmd("SWAPDB").arg(3).arg(round % 3).exec(&mut c).unwrap();
    }
    wait_until_info(&mut c, "rdb_bgsave_in_progress:0");
    wait_until_info(&mut c, "rdb_saves:1");
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(server.dir.path().join("dump.rdb"), copy.path().join("dump.rdb")).unwrap();
    let loaded = Server::start(&["--dir", copy.path().to_str().unwrap(), "--databases", "4"]);
    let mut l = connect(&loaded);
    for db in 0..3 {
        select(&mut l, db);
        assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut l).unwrap(), KEYS + 1, "database {db}");
        for i in 0..KEYS {
            assert_eq!(l.get::<_, String>(format!("key:{i}")).unwrap(), format!("{db}:{i}"));
        }
        let big: BTreeMap<usize, usize> = l.hgetall("big").unwrap();
        assert!(big.len() == KEYS && big.values().all(|&value| value == db), "database {db}");
    }
    // What was handed to the walk is freed by it.
    for db in 0..4 {
        select(&mut c, db);
        assert!(redis::cmd("DBSIZE").query::<usize>(&mut c).unwrap() <= 3 * KEYS);
    }
}

/// A flush of nothing, however often, ends no save and no rewrite.
#[test]
fn flushes_of_an_empty_database_hold_up_no_walk() {
    let server = Server::start(&["--appendonly", "yes"]);
    let mut c = connect(&server);
    let mut all = Pipeline::new();
    (0..2000).for_each(|i| _ = all.set(format!("key:{i}"), i).ignore());
    all.exec(&mut c).unwrap();
    redis::cmd("CONFIG").arg("SET").arg("rdb-key-save-delay").arg(100).exec(&mut c).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = connect(&server);
            redis::cmd("SELECT").arg(9).exec(&mut other).unwrap();
            while !stop.load(Relaxed) {
                redis::cmd("FLUSHDB").exec(&mut other).unwrap();
                redis::cmd("SWAPDB").arg(7).arg(8).exec(&mut other).unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        for (command, saves) in [("BGSAVE", "rdb_saves:1"), ("BGREWRITEAOF", "aof_rewrites:1")] {
            redis::cmd(command).exec(&mut c).unwrap();
            wait_until_info(&mut c, saves);
        }
        stop.store(true, Relaxed);
    });
    let files = std::fs::read_dir(server.dir.path().join("appendonlydir")).unwrap();
    assert_eq!(files.count(), 3, "a base, an increment and the manifest");
}

#[test]
fn files_that_a_rewrite_replaced_are_kept_while_the_directive_says_so() {
    let server = Server::start(&["--appendonly", "yes"]);
    let mut c = connect(&server);
    let log = server.dir.path().join("appendonlydir");
    let manifest = || std::fs::read_to_string(log.join("appendonly.aof.manifest")).unwrap();
    let set = |c: &mut Connection, to: &str| {
        redis::cmd("CONFIG").arg("SET").arg("aof-disable-auto-gc").arg(to).exec(c).unwrap();
    };
    set(&mut c, "yes");
    for rewrites in 1..=2 {
        redis::cmd("BGREWRITEAOF").exec(&mut c).unwrap();
        wait_until_info(&mut c, &format!("aof_rewrites:{rewrites}"));
        wait_until_info(&mut c, "aof_rewrite_in_progress:0");
    }
    // The order is Redis's: the newest of the history first.
    let history = "file appendonly.aof.2.incr.aof seq 2 type h\nfile appendonly.aof.2.base.rdb seq 2 type h\n\
                   file appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.1.base.rdb seq 1 type h\n";
    let (base, incr) =
        ("file appendonly.aof.3.base.rdb seq 3 type b\n", "file appendonly.aof.3.incr.aof seq 3 type i\n");
    assert_eq!(manifest(), [base, history, incr].concat());
    assert_eq!(std::fs::read_dir(&log).unwrap().count(), 7);
    set(&mut c, "no");
    assert_eq!(manifest(), [base, incr].concat());
    assert_eq!(std::fs::read_dir(&log).unwrap().count(), 3);
}

#[test]
fn inside_a_transaction_walks_are_scheduled() {
    let server = Server::start(&["--appendonly", "yes"]);
    let mut c = connect(&server);
    let mut p = Pipeline::new();
    p.atomic().cmd("BGREWRITEAOF").cmd("BGREWRITEAOF").cmd("BGSAVE").cmd("BGSAVE");
    let answers: Vec<String> = p.query(&mut c).unwrap();
    let rewriting = "Background append only file rewriting scheduled".to_owned();
    let saving = "Background saving scheduled".to_owned();
    assert_eq!(answers, [rewriting.clone(), rewriting, saving.clone(), saving]);
    wait_until_info(&mut c, "rdb_saves:1");
    wait_until_info(&mut c, "aof_rewrites:1");
}
