//! Faults on purpose, for tests of what happens then: parts of DEBUG.

use crate::command::*;
use crate::config::choices::ShutdownFlags;
use crate::process::crash::{self, Purpose};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Makes every write to the append-only log take some microseconds longer; 0 ends it.
pub fn aof_flush_sleep(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let delay_us = ctx.args.int_in(2, 0..=DELAY_US_MAX, error::OUT_OF_RANGE)?;
    ctx.node.journal.write_delay_us.store(delay_us as u64, Relaxed);
    ctx.out.ok()
}

/// Crashes the server, which leaves a report in its log.
pub fn crash(how: Purpose) -> Outcome {
    crash::on_purpose(how);
    Err(SURVIVED)
}

/// Ends the server in order, with the configuration and the data saved, and starts it anew. No reply: the connection
/// ends.
pub fn restart(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let delay = delay(ctx)?;
    if let Some(path) = ctx.node.life.config_file.get()
        && let Err(e) = crate::commands::config::rewrite_file(path, ctx.node, ctx.config, false)
    {
        crate::log::warning!("Restart: the configuration file cannot be rewritten: {}: {e}", path.display());
        return Err(NO_RESTART);
    }
    crash::restart_at_the_end(delay);
    let flags = ShutdownFlags { now: true, ..ShutdownFlags::default() };
    ctx.wait(Wait { on: Awaits::Shutdown(flags), ..Wait::keys(Patience(None)) })
}

/// Starts anew as after a crash: nothing is saved.
pub fn crash_and_recover(ctx: &mut Ctx<'_, '_>) -> Outcome {
    crash::restart(delay(ctx)?);
    Err(NO_RESTART)
}

fn delay(ctx: &mut Ctx<'_, '_>) -> Result<Duration, Error> {
    let ms = if ctx.args.len() > 2 { ctx.args.int_in(2, 0..=RESTART_MS_MAX, error::NOT_INT)? } else { 0 };
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

const NO_RESTART: Error = Error::new("ERR failed to restart the server. Check server logs.");
const SURVIVED: Error = Error::new("ERR the server did not crash");
/// A restart that is longer in coming is a mistake.
const RESTART_MS_MAX: i64 = 86_400_000;

/// A longer delay would look like a dead disk to everyone.
const DELAY_US_MAX: i64 = 10_000_000;
