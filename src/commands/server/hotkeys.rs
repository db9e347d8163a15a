//! HOTKEYS: sessions that find the keys which cost the most; what is counted, and how, is in `observe`.

use super::fields;
use crate::checksum::SLOTS;
use crate::clock::Millis;
use crate::command::ctx::Reply;
use crate::command::error::NOT_INT;
use crate::command::*;
use crate::node::Node;
use crate::observe::{Costs, Hottest, Session, Totals, Wanted, WorkerStats};
use crate::usage;

pub const HOTKEYS: Command = Command {
    name: "HOTKEYS",
    args: "",
    arity: -2,
    since: "8.6.0",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on the keys that cost the most.",
    examples: "> HOTKEYS\n(error) ERR wrong number of arguments for 'hotkeys' command",
    run: container,
};

pub const GET: Command = Command {
    name: "HOTKEYS GET",
    args: "",
    arity: 2,
    flags: ADMIN | NOSCRIPT,
    doc: "What the present session has counted, or the last one: the keys by execution time and by bytes of requests and replies, the most first. O(K) in keys shown.",
    examples: "> HOTKEYS RESET\nOK\n> HOTKEYS GET\n(nil)",
    run: get,
    ..HOTKEYS
};

pub const RESET: Command = Command {
    name: "HOTKEYS RESET",
    doc: "Forgets the last session, which must be stopped. O(1).",
    examples: "> HOTKEYS RESET\nOK",
    run: |ctx| match ctx.node.observatory.hotkeys.reset(ctx.db.now(), &workers(ctx.node)) {
        true => ctx.out.ok(),
        false => Err(IN_PROGRESS),
    },
    ..GET
};

pub const START: Command = Command {
    name: "HOTKEYS START",
    args: "[metrics: METRICS count:integer [cpu: CPU] [net: NET]] [COUNT k:integer] [DURATION seconds] [SAMPLE ratio:integer] [slots-block: SLOTS count:integer slot:integer [slot:integer ...]]",
    arity: -2,
    doc: "Begins to count what keys cost, one of so many commands by chance, until it is stopped or the duration is over. O(1).",
    examples: "> HOTKEYS START METRICS 2 CPU\n(error) ERR METRICS count does not match number of metric types provided\n> HOTKEYS START METRICS 2 CPU NET COUNT 100\n(error) ERR COUNT must be between 1 and 64",
    run: start,
    ..GET
};

fn start(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, node, config, .. } = ctx;
    let mut wanted = Wanted { cpu: false, net: false, count: COUNT_DEFAULT, ratio: 1, slots: [].into() };
    let (mut metrics, mut ends) = (None, None);
    args.skip_to(2);
    while let Some(word) = args.word() {
        match &*word {
            b"METRICS" if metrics.is_none() && !args.is_done() => {
                metrics = Some(number(args, 1, 2, BAD_METRICS)?);
                loop {
                    match &*args.word_at(args.cursor()) {
                        b"CPU" if !wanted.cpu => wanted.cpu = true,
                        b"NET" if !wanted.net => wanted.net = true,
                        _ => break,
                    }
                    args.shift();
                }
            }
            b"COUNT" if !args.is_done() => wanted.count = number(args, 1, COUNT_MAX, BAD_COUNT)? as usize,
            b"DURATION" if !args.is_done() => {
                let seconds = number(args, 0, DURATION_MAX, BAD_DURATION)?;
                ends = (seconds > 0).then(|| db.now().saturating_add(seconds * 1000));
            }
            b"SAMPLE" if !args.is_done() => {
                let ratio = number(args, 1, i64::from(i32::MAX), BAD_SAMPLE)?;
                wanted.ratio = u32::try_from(ratio).map_err(|_| BAD_SAMPLE)?;
            }
            b"SLOTS" if !config.cluster_enabled => return Err(NO_CLUSTER),
            b"SLOTS" if !args.is_done() => {
                let count = number(args, 1, i64::from(SLOTS), BAD_SLOTS)?;
                let mut slots = Vec::new();
                for _ in 0..count {
                    let slot = number(args, 0, i64::from(SLOTS) - 1, BAD_SLOT)?;
                    slots.push(u16::try_from(slot).map_err(|_| BAD_SLOT)?);
                }
                slots.sort_unstable();
                slots.dedup();
                wanted.slots = slots.into();
            }
            _ => return Err(error::SYNTAX),
        }
    }
    match metrics {
        None => return Err(NO_METRICS),
        Some(count) if count != i64::from(wanted.cpu) + i64::from(wanted.net) => return Err(MISCOUNTED),
        Some(_) => {}
    }
    match node.observatory.hotkeys.start(wanted, db.now(), ends, totals(node), &workers(node)) {
        true => out.ok(),
        false => Err(STARTED),
    }
}

/// The next argument as a number of a range.
fn number(args: &mut Args<'_>, min: i64, max: i64, wrong: Error) -> Result<i64, Error> {
    if args.is_done() {
        return Err(error::SYNTAX);
    }
    let number = args.required_int().map_err(|_| NOT_INT)?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(wrong) }
}

pub const STOP: Command = Command {
    name: "HOTKEYS STOP",
    doc: "Ends the session; what it counted stays. O(1).",
    examples: "> HOTKEYS RESET\nOK\n> HOTKEYS STOP\n(nil)",
    run: |ctx| match ctx.node.observatory.hotkeys.stop(ctx.db.now(), totals(ctx.node)) {
        true => ctx.out.ok(),
        false => ctx.out.null(),
    },
    ..GET
};

fn get(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { node, db, out, .. } = ctx;
    let Some((session, found)) = present(node, db.now()) else { return out.null() };
    let (wanted, end) = (&session.wanted, session.stopped.unwrap_or(db.now()));
    let (before, after) = (session.before, session.after);
    let net_bytes = after.net_bytes.saturating_sub(before.net_bytes);
    let mut figures = vec![("all-commands-all-slots-us", after.exec_us.saturating_sub(before.exec_us))];
    if !wanted.slots.is_empty() {
        figures.push(("all-commands-selected-slots-us", found.seen_ns / 1000));
        figures.push(("net-bytes-all-commands-selected-slots", found.seen_bytes));
    }
    figures.push(("net-bytes-all-commands-all-slots", net_bytes));
    figures.push(("collection-start-time-unix-ms", u64::try_from(session.started).unwrap_or(0)));
    figures.push(("collection-duration-ms", u64::try_from(end.saturating_sub(session.started)).unwrap_or(0)));
    if wanted.cpu {
        figures.push(("total-cpu-time-user-ms", after.user_ms.saturating_sub(before.user_ms)));
        figures.push(("total-cpu-time-sys-ms", after.system_ms.saturating_sub(before.system_ms)));
    }
    if wanted.net {
        figures.push(("total-net-bytes", net_bytes));
    }
    out.array(1);
    out.0.map(3 + figures.len() + usize::from(wanted.cpu) + usize::from(wanted.net));
    out.0.bulk(b"tracking-active");
    out.0.int(i64::from(session.stopped.is_none()));
    out.0.bulk(b"sample-ratio");
    out.0.int(wanted.ratio.into());
    out.0.bulk(b"selected-slots");
    out.array(wanted.slots.len());
    for slot in wanted.slots.iter() {
        out.array(1);
        out.0.int(i64::from(*slot));
    }
    for (name, figure) in figures {
        out.0.bulk(name.as_bytes());
        out.0.int(i64::try_from(figure).unwrap_or(i64::MAX));
    }
    if wanted.cpu {
        put_costs(out, "by-cpu-time-us", &found.by_time, 1000);
    }
    if wanted.net {
        put_costs(out, "by-net-bytes", &found.by_bytes, 1);
    }
    Ok(())
}

/// The session that is going on or was stopped, and what it found.
pub fn present(node: &Node, now: Millis) -> Option<(Session, Hottest)> {
    let hotkeys = &node.observatory.hotkeys;
    let session = hotkeys.session(now, totals(node))?;
    let found = hotkeys.hottest(&session, &workers(node));
    Some((session, found))
}

/// Keys and their cost in a unit.
fn put_costs(out: &mut Reply<'_>, name: &str, costs: &Costs, unit: u64) {
    out.0.bulk(name.as_bytes());
    out.array(2 * costs.len());
    for (key, cost) in costs {
        out.0.bulk(key);
        out.0.int(i64::try_from(cost / unit).unwrap_or(i64::MAX));
    }
}

fn workers(node: &Node) -> Vec<&WorkerStats> {
    node.observatory.all().collect()
}

/// What the server did in all.
fn totals(node: &Node) -> Totals {
    let (cpu, counts) = (usage::cpu(), node.observatory.counts_since_start());
    Totals {
        exec_us: node.observatory.exec_ns() / 1000,
        net_bytes: counts.net_input_bytes + counts.net_output_bytes,
        user_ms: (cpu.user * 1000.0) as u64,
        system_ms: (cpu.system * 1000.0) as u64,
    }
}

/// The fields of INFO hotkeys.
pub const FIELDS: &[super::info::Field] = &[
    fields::field("tracking_active", |r| u64::from(r.node.observatory.hotkeys.is_on()).into()),
    fields::field("used_memory", |r| r.node.observatory.hotkeys.heap_bytes(&workers(r.node)).into()),
];

const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: i64 = 64;
/// A year, in seconds.
const DURATION_MAX: i64 = 366 * 86_400;
const NO_METRICS: Error = Error::new("ERR METRICS parameter is required");
const BAD_METRICS: Error = Error::new("ERR METRICS count must be 1 or 2");
const MISCOUNTED: Error = Error::new("ERR METRICS count does not match number of metric types provided");
const BAD_COUNT: Error = Error::new("ERR COUNT must be between 1 and 64");
const BAD_DURATION: Error = Error::new("ERR DURATION must be between 0 and 31622400");
const BAD_SAMPLE: Error = Error::new("ERR SAMPLE ratio must be positive");
const BAD_SLOTS: Error = Error::new("ERR SLOTS count must be between 1 and 16384");
const BAD_SLOT: Error = Error::new("ERR Invalid or out of range slot");
const NO_CLUSTER: Error = Error::new("ERR SLOTS parameter cannot be used in non-cluster mode");
const STARTED: Error = Error::new("ERR hotkey tracking session already in progress");
const IN_PROGRESS: Error = Error::new("ERR hotkey tracking session in progress, stop tracking first");
