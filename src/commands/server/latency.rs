//! LATENCY: distributions of execution times, spikes by event, and our own service times as JSON.

use crate::command::registry::Row;
use crate::command::*;
use crate::config::choices::AppendFsync;
use crate::observe::{CommandReport, DoctorContext};

pub const LATENCY: Command = Command {
    name: "LATENCY",
    args: "",
    arity: -2,
    since: "2.8.13",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on latency.",
    examples: "> LATENCY\n(error) ERR wrong number of arguments for 'latency' command",
    run: container,
};

pub const DOCTOR: Command = Command {
    name: "LATENCY DOCTOR",
    args: "",
    arity: 2,
    since: "2.8.13",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "What spikes were seen and what may help, for humans. O(1).",
    examples: "> LATENCY DOCTOR too many\n(error) ERR wrong number of arguments for 'latency|doctor' command",
    run: doctor,
};

fn doctor(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let context = DoctorContext {
        now_s: ctx.db.now() / 1000,
        threshold_ms: ctx.config.latency_monitor_threshold,
        slowlog_slower_than_us: ctx.config.slowlog_log_slower_than,
        appendfsync_always: ctx.config.appendfsync == AppendFsync::Always,
    };
    let report = ctx.node.observatory.monitor.doctor(&context);
    ctx.out.verbatim("txt", report.as_bytes());
    Ok(())
}

pub const GRAPH: Command = Command {
    name: "LATENCY GRAPH",
    args: "event",
    arity: 3,
    since: "2.8.13",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "An event's spikes as a drawing. O(1).",
    examples: "> LATENCY GRAPH nothing\n(error) ERR No samples available for event 'nothing'",
    run: graph,
};

fn graph(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let event = ctx.args.get(2);
    let graph = ctx.node.observatory.monitor.graph(&String::from_utf8_lossy(event), ctx.db.now() / 1000);
    let no_samples = || Error::owned([b"ERR No samples available for event '", event, b"'"].concat());
    let graph = graph.ok_or_else(no_samples)?;
    ctx.out.verbatim("txt", graph.as_bytes());
    Ok(())
}

pub const HELP: Command = Command {
    name: "LATENCY HELP",
    args: "",
    arity: 2,
    since: "2.8.13",
    group: Group::Server,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> LATENCY HELP too many\n(error) ERR wrong number of arguments for 'latency|help' command",
    run: |ctx| ctx.out.help("LATENCY", HELP_LINES),
};

pub const HISTOGRAM: Command = Command {
    name: "LATENCY HISTOGRAM",
    args: "[command [command ...]]",
    arity: -2,
    since: "7.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Execution times of commands as cumulative distributions. O(N) in the number of commands.",
    examples: "> LATENCY HISTOGRAM nosuchcommand\n(empty array)",
    run: histogram,
};

fn histogram(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let reports = ctx.node.observatory.commands();
    let with_times = reports.iter().filter(|report| report.totals.exec.count() > 0);
    let shown: Vec<&CommandReport> = match ctx.args.len() {
        2 => with_times.collect(),
        _ => {
            let names = ctx.args.from(2).flat_map(|name| names_of(ctx.registry, name));
            names.filter_map(|name| with_times.clone().find(|report| report.name == name)).collect()
        }
    };
    let out = &mut ctx.out.0;
    out.map(shown.len());
    for report in shown {
        out.bulk(report.name.as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.int(i64::try_from(report.totals.exec.count()).unwrap_or(i64::MAX));
        out.bulk(b"histogram_usec");
        let bounds = report.totals.exec.cumulative_us();
        out.map(bounds.len());
        for (bound, count) in bounds {
            out.int(i64::try_from(bound).unwrap_or(i64::MAX));
            out.int(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

/// A command's own name, and those of its subcommands; nothing if there is no such command.
fn names_of(registry: &'static Registry, name: &[u8]) -> Vec<String> {
    let Some(row) = registry.find_full(name) else { return Vec::new() };
    let subcommands = registry.subcommands(row.command.name).filter(|_| row.command.has(CONTAINER));
    let full_name = |row: Row| row.command.full_name();
    [row].into_iter().chain(subcommands).map(full_name).collect()
}

pub const HISTORY: Command = Command {
    name: "LATENCY HISTORY",
    args: "event",
    arity: 3,
    since: "2.8.13",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "An event's spikes: Unix seconds and milliseconds. O(1).",
    examples: "> LATENCY HISTORY nothing\n(empty array)",
    run: history,
};

fn history(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let samples = ctx.node.observatory.monitor.history(&String::from_utf8_lossy(ctx.args.get(2)));
    let out = &mut ctx.out.0;
    out.array(samples.len());
    for sample in samples {
        out.array(2);
        out.int(sample.unix_s);
        out.int(i64::try_from(sample.ms).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub const JSON: Command = Command {
    name: "LATENCY JSON",
    args: "",
    arity: 2,
    since: "7.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Service times by window, command and cause, as one JSON object. O(N) in the number of commands.",
    examples: "> LATENCY JSON too many\n(error) ERR wrong number of arguments for 'latency|json' command",
    run: |ctx| {
        let report = ctx.node.observatory.latency(ctx.db.now());
        ctx.out.bulk(report.json().to_string().as_bytes())
    },
};

pub const LATEST: Command = Command {
    name: "LATENCY LATEST",
    args: "",
    arity: 2,
    since: "2.8.13",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The last and the worst spike of each event. O(1).",
    examples: "> LATENCY LATEST\n(empty array)",
    run: latest,
};

fn latest(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let events = ctx.node.observatory.monitor.latest();
    let out = &mut ctx.out.0;
    out.array(events.len());
    for event in events {
        out.array(4);
        out.bulk(event.event.as_bytes());
        out.int(event.last.unix_s);
        out.int(i64::try_from(event.last.ms).unwrap_or(i64::MAX));
        out.int(i64::try_from(event.max_ms).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub const RESET: Command = Command {
    name: "LATENCY RESET",
    args: "[event [event ...]]",
    arity: -2,
    since: "2.8.13",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Forgets the spikes of some events, or of all; answers of how many. O(1).",
    examples: "> LATENCY RESET nothing\n(integer) 0",
    run: reset,
};

fn reset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let monitor = &ctx.node.observatory.monitor;
    let forgotten = match ctx.args.len() {
        2 => monitor.reset(None),
        _ => ctx.args.from(2).map(|event| monitor.reset(Some(event))).sum(),
    };
    ctx.out.count(forgotten)
}

const HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
    "JSON",
    "    Service times by window, command and cause.",
];
