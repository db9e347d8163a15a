//! Faults on purpose, for tests of what happens then: parts of DEBUG.

use crate::command::*;
use crate::process;
use std::sync::atomic::Ordering::Relaxed;

/// Makes every write to the append-only log take so many microseconds longer; 0 ends it.
pub fn aof_flush_sleep(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let delay_us = ctx.args.int_in(2, 0..=DELAY_US_MAX, error::OUT_OF_RANGE)?;
    ctx.node.journal.write_delay_us.store(delay_us as u64, Relaxed);
    ctx.out.ok()
}

/// Crashes the server, which leaves a report in its log.
pub fn segfault(ctx: &mut Ctx<'_, '_>) -> Outcome {
    process::crash();
    ctx.out.ok()
}

/// A longer delay would look like a dead disk to everyone.
const DELAY_US_MAX: i64 = 10_000_000;
