//! Replication: who follows whom, how a replica introduces itself, and waiting for acknowledgements.
//!
//! Commands that change the server's role own the world while they do. What a replica is sent is no reply: PSYNC and SYNC
//! hand the connection over to `net::feed`.

use crate::command::error::{NOT_POSITIVE, SYNTAX};
use crate::command::session::Then;
use crate::command::waiting::{NO_LOG, tell_acknowledged};
use crate::command::*;
use crate::log::{notice, warning};
use crate::node::Node;
use crate::num;
use crate::persist::rdb::Version;
use crate::replication::{Failover, LogWait, Primary, Replica, Stage, sync};

pub const COMMANDS: &[Command] = &[FAILOVER, PSYNC, REPLCONF, REPLICAOF, ROLE, SLAVEOF, SYNC, WAIT, WAITAOF];

// ---- roles

const REPLICAOF: Command = Command {
    name: "REPLICAOF",
    args: "args: host-port: host port | no-one: NO ONE",
    arity: 3,
    since: "5.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING | WORLD,
    keys: Keys::NONE,
    doc: "Makes the server a replica of another, or a primary again. O(1); the copying goes on in the background.",
    examples: "> REPLICAOF NO ONE\nOK\n> REPLICAOF somewhere nowhere\n(error) ERR Invalid master port",
    run: replicaof,
};

const SLAVEOF: Command = Command { name: "SLAVEOF", since: "1.0.0", examples: "> SLAVEOF NO ONE\nOK", ..REPLICAOF };

fn replicaof(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let node = ctx.node;
    if ctx.config.cluster_enabled {
        return Err(NOT_IN_CLUSTER);
    }
    if node.replication.failover.lock().is_some() {
        return Err(FAILING_OVER);
    }
    let by = &ctx.session.client.address;
    if (&*ctx.args.word_at(1), &*ctx.args.word_at(2)) == (b"NO", b"ONE") {
        if node.replication.is_replica() {
            node.promote();
            notice!("MASTER MODE enabled (user request from '{by}')");
        }
        return ctx.out.ok();
    }
    let port = num::parse_i64(ctx.args.get(2)).and_then(|port| u16::try_from(port).ok()).ok_or(BAD_PORT)?;
    let primary = Primary { host: String::from_utf8_lossy(ctx.args.get(1)).into_owned(), port };
    if node.replication.link().primary.as_ref() == Some(&primary) {
        notice!(
            "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed."
        );
        return ctx.out.simple("OK Already connected to specified master");
    }
    notice!("REPLICAOF {}:{port} enabled (user request from '{by}')", primary.host);
    node.demote(primary);
    ctx.out.ok()
}

const ROLE: Command = Command {
    name: "ROLE",
    args: "",
    arity: 1,
    since: "2.8.12",
    group: Group::Server,
    flags: NOSCRIPT | LOADING | STALE | FAST | IN_ADMIN,
    keys: Keys::NONE,
    doc: "The server's part in replication: a primary, its offset and its replicas, or a replica, its primary and its link. O(N) in the replicas.",
    examples: "> ROLE\n1) \"master\"\n2) (integer) 0\n3) (empty array)",
    run: role,
};

fn role(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (node, out) = (ctx.node, &mut ctx.out);
    let offset = i64::try_from(node.journal.stream.end()).unwrap_or(i64::MAX);
    let link = node.replication.link().clone();
    if let Some(Primary { host, port }) = link.primary {
        out.array(5);
        out.0.bulk(b"slave");
        out.0.bulk(host.as_bytes());
        out.0.int(i64::from(port));
        out.0.bulk(link.state.name().as_bytes());
        return out.int(if link.state.is_connected() { offset } else { -1 });
    }
    let replicas = node.replication.replicas();
    let online: Vec<_> = replicas.iter().filter(|replica| replica.is_online()).collect();
    out.array(3);
    out.0.bulk(b"master");
    out.0.int(offset);
    out.array(online.len());
    for replica in online {
        out.array(3);
        out.0.bulk(replica.ip().as_bytes());
        out.0.bulk(replica.offered.port.to_string().as_bytes());
        out.0.bulk(replica.acked().to_string().as_bytes());
    }
    Ok(())
}

const FAILOVER: Command = Command {
    name: "FAILOVER",
    args: "[target: TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds:integer]",
    arity: -1,
    since: "6.2.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | STALE | WORLD,
    keys: Keys::NONE,
    doc: "Hands over to a replica: pauses writes until it has everything, then follows it. O(1); goes on in the background.",
    examples: "> FAILOVER\n(error) ERR FAILOVER requires connected replicas.\n> FAILOVER ABORT\n(error) ERR No failover in progress.",
    run: failover,
};

fn failover(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (node, now) = (ctx.node, ctx.db.now());
    if ctx.config.cluster_enabled {
        return Err(Error::new("ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead."));
    }
    let (mut target, mut force, mut abort, mut timeout_ms) = (None, false, false, None);
    while let Some(word) = ctx.args.word() {
        match &*word {
            b"TO" if target.is_none() && ctx.args.left() >= 2 => {
                let host = String::from_utf8_lossy(ctx.args.required()?).into_owned();
                // No replica has a port that is none.
                let port = u16::try_from(ctx.args.required_int()?).unwrap_or(0);
                target = Some(Primary { host, port });
            }
            b"FORCE" if !force => force = true,
            b"ABORT" if !abort => abort = true,
            b"TIMEOUT" if timeout_ms.is_none() && ctx.args.left() >= 1 => {
                let ms = ctx.args.required_int()?;
                if ms <= 0 {
                    return Err(Error::new("ERR FAILOVER timeout must be greater than 0"));
                }
                timeout_ms = Some(ms);
            }
            _ => return Err(SYNTAX),
        }
    }
    let in_progress = node.replication.failover.lock().is_some();
    if abort {
        if target.is_some() || force || timeout_ms.is_some() {
            return Err(SYNTAX);
        }
        if !in_progress {
            return Err(Error::new("ERR No failover in progress."));
        }
        node.abort_failover("Failover manually aborted");
        return ctx.out.ok();
    }
    if in_progress {
        return Err(Error::new("ERR FAILOVER already in progress."));
    }
    if node.replication.is_replica() {
        return Err(Error::new("ERR FAILOVER is not valid when server is a replica."));
    }
    let replicas = node.replication.replicas();
    if replicas.is_empty() {
        return Err(Error::new("ERR FAILOVER requires connected replicas."));
    }
    if force && (target.is_none() || timeout_ms.is_none()) {
        return Err(Error::new("ERR FAILOVER with force option requires both a timeout and target HOST and IP."));
    }
    if let Some(target) = &target {
        let found = replicas.iter().find(|replica| replica.ip() == target.host && replica.offered.port == target.port);
        let found = found.ok_or(NOT_A_REPLICA)?;
        if !found.is_online() {
            return Err(Error::new("ERR FAILOVER target replica is not online."));
        }
    }
    notice!(
        "FAILOVER requested to {}.",
        target.as_ref().map_or("any replica".into(), |t| format!("{}:{}", t.host, t.port))
    );
    let deadline_ms = timeout_ms.map(|ms| now.saturating_add(ms));
    *node.replication.failover.lock() = Some(Failover::WaitForSync { target, deadline_ms, force });
    node.clients.pause(crate::clients::Pause::Write, i64::MAX, now);
    ask_for_acknowledgements(node);
    ctx.out.ok()
}

// ---- a replica introduces itself

const REPLCONF: Command = Command {
    name: "REPLCONF",
    args: "",
    arity: -1,
    since: "3.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "An internal command: what a replica says of itself. O(1).",
    examples: "> REPLCONF capa\n(error) ERR syntax error\n> REPLCONF colour red\n(error) ERR Unrecognized REPLCONF option: colour",
    run: replconf,
};

fn replconf(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let offered = &mut ctx.session.joining.get_or_insert_default().offered;
    for (option, value) in ctx.args.pairs(1) {
        let yes = || num::parse_i64(value).map(|n| n != 0).ok_or(error::NOT_INT);
        match &option.to_ascii_lowercase()[..] {
            b"listening-port" => {
                let port = num::parse_i64(value).ok_or(error::NOT_INT)?;
                offered.port = u16::try_from(port).unwrap_or(0);
            }
            b"ip-address" if value.len() < ADDRESS_BYTES_MAX => {
                offered.ip = String::from_utf8_lossy(value).into_owned();
            }
            b"ip-address" => {
                let text =
                    format!("ERR REPLCONF ip-address provided by replica instance is too long: {} bytes", value.len());
                return Err(Error::owned(text));
            }
            b"capa" if value.eq_ignore_ascii_case(b"eof") => offered.eof = true,
            b"capa" if value.eq_ignore_ascii_case(b"psync2") => offered.psync2 = true,
            b"capa" if value.eq_ignore_ascii_case(b"rdb-channel-repl") || value.eq_ignore_ascii_case(b"rdb12") => {
                offered.reads = Version::V12;
            }
            b"capa" => {}
            b"version" => offered.reads = offered.reads.max(Version::V10),
            // Said by what is no replica (yet): no answer, as in Redis.
            b"ack" | b"fack" | b"getack" => return Ok(()),
            b"rdb-only" => offered.rdb_only = yes()?,
            b"rdb-filter-only" => {
                offered.functions_only = false;
                for word in value.split(|b| *b == b' ').filter(|word| !word.is_empty()) {
                    if !word.eq_ignore_ascii_case(b"functions") {
                        let text = [b"ERR Unsupported rdb-filter-only option: ".as_slice(), word].concat();
                        return Err(Error::owned(text));
                    }
                    offered.functions_only = true;
                }
            }
            _ => return Err(Error::owned([b"ERR Unrecognized REPLCONF option: ".as_slice(), option].concat())),
        }
    }
    ctx.out.ok()
}

const PSYNC: Command = Command {
    name: "PSYNC",
    args: "replicationid offset:integer",
    arity: -3,
    since: "2.8.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | NO_MULTI | NO_ASYNC_LOADING | WORLD,
    keys: Keys::NONE,
    doc: "An internal command: the connection becomes a replica's, which goes on where it was or gets everything. O(1).",
    examples: "> PSYNC ? x\n(error) ERR value is not an integer or out of range",
    run: |ctx| join(ctx, false),
};

const SYNC: Command = Command {
    name: "SYNC",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | NO_MULTI | NO_ASYNC_LOADING | WORLD,
    keys: Keys::NONE,
    doc: "An internal command: the connection becomes a replica's of the time before PSYNC. O(1).",
    examples: "> SYNC now\n(error) ERR wrong number of arguments for 'sync' command",
    run: |ctx| join(ctx, true),
};

fn join(ctx: &mut Ctx<'_, '_>, is_silent: bool) -> Outcome {
    let (node, now) = (ctx.node, ctx.db.now());
    let wrong_offset = |_: &Error| {
        let address = &ctx.session.client.address;
        warning!("Replica {address} asks for synchronization but with a wrong offset");
    };
    let (id, next) = match is_silent {
        true => (&b"?"[..], -1),
        false => (ctx.args.get(1), ctx.args.int(2).inspect_err(wrong_offset)?),
    };
    if !is_silent && ctx.args.len() > 3 && ctx.args.word_at(3).as_ref() == b"FAILOVER" {
        take_over(node, id)?;
    }
    if node.replication.is_replica() && !node.replication.link().state.is_connected() {
        return Err(NO_PRIMARY);
    }
    let client = ctx.session.client.clone();
    let mut joining = ctx.session.joining.take().unwrap_or_default();
    let offered = std::mem::take(&mut joining.offered);
    let (can_resume, says_id) = (!offered.rdb_only && !is_silent, offered.psync2);
    let resumed = u64::try_from(next).ok().filter(|_| can_resume).and_then(|next| node.journal.stream.resume(id, next));
    let (replica, parts) = Replica::new(client, offered, is_silent, now);
    let counts = &ctx.stats.counters;
    match resumed {
        Some(cursor) => {
            notice!(
                "Partial resynchronization request from {} accepted. Sending from offset {next}.",
                replica.client.address
            );
            counts.sync_partial_ok.add(1);
            replica.acknowledge(cursor.at(), None, now);
            replica.set_cursor(cursor);
            replica.go_to(Stage::Online);
            let id = if says_id { format!(" {}", node.journal.stream.id()) } else { String::new() };
            ctx.out.simple(&format!("CONTINUE{id}"))?;
        }
        None => {
            if id != b"?" {
                counts.sync_partial_err.add(1);
            }
            // A replica that may be refused is no full sync yet.
            let needed = sync::version_needed(&node.keyspace, &node.scripts.libraries.current());
            if sync::refusal(&node.replication, &replica, needed, now).is_none() {
                counts.sync_full.add(1);
            }
            notice!("Full resync requested by replica {}", replica.client.address);
        }
    }
    node.replication.add(&replica);
    node.count_good_replicas(now);
    joining.replica = Some((replica, parts));
    (ctx.session.joining, ctx.session.then) = (Some(joining), Then::Replicate);
    Ok(())
}

/// Our primary hands over to us: `PSYNC id offset FAILOVER`.
fn take_over(node: &Node, id: &[u8]) -> Result<(), Error> {
    if !node.replication.is_replica() {
        return Err(Error::new("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if id != node.journal.stream.id().as_bytes() {
        return Err(Error::new("ERR PSYNC FAILOVER replid must match my replid."));
    }
    node.promote();
    notice!("MASTER MODE enabled (failover request from the primary)");
    Ok(())
}

// ---- acknowledgements

const WAIT: Command = Command {
    name: "WAIT",
    args: "numreplicas=integer timeout=integer",
    arity: 3,
    since: "3.0.0",
    group: Group::Generic,
    flags: NOSCRIPT | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Waits until so many replicas have acknowledged everything written so far; answers how many have. O(1).",
    examples: "> WAIT 0 10\n(integer) 0\n> WAIT 1 -1\n(error) ERR timeout is negative",
    run: wait,
};

fn wait(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.node.replication.is_replica() {
        return Err(NO_WAIT_ON_REPLICAS);
    }
    let count = ctx.args.int(1)?;
    let patience = Patience::from_millis(ctx.args.get(2), ctx.db.now())?;
    wait_for(ctx, usize::try_from(count).unwrap_or(0), None, patience)
}

const WAITAOF: Command = Command {
    name: "WAITAOF",
    args: "numlocal=integer numreplicas=integer timeout=integer",
    arity: 4,
    since: "7.2.0",
    group: Group::Generic,
    flags: BLOCKING | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Waits until the log on disk, and those of so many replicas, have everything written so far; answers who has. O(1).",
    examples: "> WAITAOF 0 0 10\n1) (integer) 0\n2) (integer) 0\n> WAITAOF 1 0 10\n(error) ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
    run: wait_aof,
};

fn wait_aof(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (args, node) = (&ctx.args, ctx.node);
    let local = args.int_in(1, 0..=1, BAD_LOCAL)? == 1;
    let count = args.int_in(2, 0..=i64::MAX, NOT_POSITIVE)?;
    let patience = Patience::from_millis(args.get(3), ctx.db.now())?;
    if node.replication.is_replica() {
        return Err(NO_WAITAOF_ON_REPLICAS);
    }
    if local && !node.journal.is_on() {
        return Err(NO_LOG);
    }
    let end = node.journal.appended();
    let log = LogWait { offset: local.then_some(end), end };
    wait_for(ctx, usize::try_from(count).unwrap_or(usize::MAX), Some(log), patience)
}

/// Everything written so far, by whomever: what this connection wrote is among it.
fn wait_for(ctx: &mut Ctx<'_, '_>, count: usize, log: Option<LogWait>, patience: Patience) -> Outcome {
    let node = ctx.node;
    let offset = node.journal.stream.end();
    let has_log = |end: u64| node.durable_log().is_some_and(|durable| durable >= end);
    let has_local = log.and_then(|log| log.offset).is_none_or(has_log);
    let is_met = has_local && node.replication.acknowledged(offset, log.is_some()) >= count;
    if is_met || ctx.is_in_exec() {
        tell_acknowledged(node, offset, log, &mut ctx.out);
        return Ok(());
    }
    if count > 0 {
        ask_for_acknowledgements(node);
    }
    ctx.wait(Wait { on: Awaits::Replicas { offset, count, log }, ..Wait::keys(patience) })
}

/// Replicas answer it at once; they acknowledge once a second without.
pub fn ask_for_acknowledgements(node: &Node) {
    node.journal.stream.append_for_replicas(GETACK);
}

const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
/// NET_HOST_STR_LEN.
const ADDRESS_BYTES_MAX: usize = 256;
const BAD_PORT: Error = Error::new("ERR Invalid master port");
const NOT_IN_CLUSTER: Error = Error::new("ERR REPLICAOF not allowed in cluster mode.");
const FAILING_OVER: Error = Error::new("ERR REPLICAOF not allowed while failing over.");
const NOT_A_REPLICA: Error = Error::new("ERR FAILOVER target HOST and PORT is not a replica.");
const NO_PRIMARY: Error = Error::new("NOMASTERLINK Can't SYNC while not connected with my master");
const BAD_LOCAL: Error = Error::new("ERR value is out of range, value must between 0 and 1");
const NO_WAIT_ON_REPLICAS: Error = Error::new(
    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
);
const NO_WAITAOF_ON_REPLICAS: Error = Error::new(
    "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
);
