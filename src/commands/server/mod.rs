//! Commands on the server as a whole: what it is and does, its memory, its latency, its end.
//!
//! INFO is a table of rows in `fields.rs`, HOTKEYS, SLOWLOG and LATENCY show what `observe` measures, MEMORY what the allocator
//! says, DEBUG is for tests.

mod allocator;
mod debug;
mod digest;
mod faults;
mod fields;
pub mod hotkeys;
pub mod info;
mod latency;
mod memory;
mod monitor;
mod reload;
mod replication;
mod slowlog;

use crate::clock;
use crate::command::*;
use crate::config::choices::ShutdownFlags;

pub use fields::MEMKV_VERSION;

pub const COMMANDS: &[Command] = &[
    slowlog::COMMANDLOG,
    slowlog::COMMANDLOG_GET,
    slowlog::COMMANDLOG_HELP,
    slowlog::COMMANDLOG_LEN,
    slowlog::COMMANDLOG_RESET,
    debug::DEBUG,
    hotkeys::HOTKEYS,
    hotkeys::GET,
    hotkeys::RESET,
    hotkeys::START,
    hotkeys::STOP,
    info::INFO,
    latency::LATENCY,
    latency::DOCTOR,
    latency::GRAPH,
    latency::HELP,
    latency::HISTOGRAM,
    latency::HISTORY,
    latency::JSON,
    latency::LATEST,
    latency::RESET,
    LOLWUT,
    memory::MEMORY,
    memory::DOCTOR,
    memory::HELP,
    memory::MALLOC_STATS,
    memory::PURGE,
    memory::STATS,
    memory::USAGE,
    monitor::MONITOR,
    SHUTDOWN,
    slowlog::SLOWLOG,
    slowlog::GET,
    slowlog::HELP,
    slowlog::LEN,
    slowlog::RESET,
    TIME,
];

const LOLWUT: Command = Command {
    name: "LOLWUT",
    args: "[VERSION version]",
    arity: -1,
    since: "5.0.0",
    group: Group::Server,
    flags: READONLY | FAST,
    keys: Keys::NONE,
    doc: "A small drawing, another one each time, and the version.",
    examples: "> LOLWUT VERSION x\n(error) ERR value is not an integer or out of range",
    run: lolwut,
};

fn lolwut(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len() >= 3 && &*ctx.args.word_at(1) == b"VERSION" {
        ctx.args.int(2)?;
    }
    let mut drawing = skyline();
    drawing.push_str(&format!("\nA city of short tails. memkv ver. {MEMKV_VERSION}\n"));
    ctx.out.verbatim("txt", drawing.as_bytes());
    Ok(())
}

/// Towers of random heights, the windows of some of them lit.
fn skyline() -> String {
    let heights: Vec<usize> =
        (0..SKYLINE_COLUMNS).step_by(TOWER_COLUMNS).map(|_| fastrand::usize(1..=SKYLINE_ROWS)).collect();
    let mut text = String::new();
    for row in (0..SKYLINE_ROWS).rev() {
        for height in &heights {
            let tower = match height.checked_sub(row) {
                None => "    ",
                Some(0) => " __ ",
                Some(_) if fastrand::u8(..4) == 0 => "|o.|",
                Some(_) => "|..|",
            };
            text.push_str(tower);
        }
        text.push('\n');
    }
    text
}

const SHUTDOWN: Command = Command {
    name: "SHUTDOWN",
    args: "[save-selector: NOSAVE | SAVE] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]",
    arity: -1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "Saves as configured, syncs the log and ends the server; replies only if that fails. O(N) in all keys if it saves.",
    examples: "> SHUTDOWN ABORT\n(error) ERR No shutdown in progress.\n> SHUTDOWN SAVE NOSAVE\n(error) ERR syntax error",
    run: shutdown,
};

fn shutdown(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (mut flags, mut abort) = (ShutdownFlags::default(), false);
    while let Some(word) = ctx.args.word() {
        match &*word {
            b"SAVE" => flags.save = true,
            b"NOSAVE" => flags.nosave = true,
            b"NOW" => flags.now = true,
            b"FORCE" => flags.force = true,
            b"ABORT" => abort = true,
            _ => return Err(error::SYNTAX),
        }
    }
    if (abort && flags != ShutdownFlags::default()) || (flags.save && flags.nosave) {
        return Err(error::SYNTAX);
    }
    if abort {
        let waiters = ctx.node.life.forget_shutdown().ok_or(NO_SHUTDOWN)?;
        waiting::fail_all(waiters, &error::CANNOT_EXIT);
        crate::log::notice!("Shutdown manually aborted.");
        return ctx.out.ok();
    }
    if let Some(run) = ctx.node.scripts.runs.busy().filter(|_| !flags.nosave) {
        return Err(scripts::busy(run.is_function).clone());
    }
    // The connection ends with the process, and that is how the client knows.
    ctx.wait(Wait { on: Awaits::Shutdown(flags), ..Wait::keys(Patience(None)) })
}

const TIME: Command = Command {
    name: "TIME",
    args: "",
    arity: 1,
    since: "2.6.0",
    group: Group::Server,
    flags: LOADING | STALE | FAST,
    keys: Keys::NONE,
    doc: "The server's clock: Unix seconds, and microseconds within the second. O(1).",
    examples: "> TIME too many\n(error) ERR wrong number of arguments for 'time' command",
    run: time,
};

/// The one command whose subject is the clock itself.
fn time(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let now_us = clock::now_us();
    ctx.out.array(2);
    ctx.out.bulk_int(now_us / 1_000_000);
    ctx.out.bulk_int(now_us % 1_000_000);
    Ok(())
}

const NO_SHUTDOWN: Error = Error::new("ERR No shutdown in progress.");
const SKYLINE_ROWS: usize = 7;
const SKYLINE_COLUMNS: usize = 60;
const TOWER_COLUMNS: usize = 4;
