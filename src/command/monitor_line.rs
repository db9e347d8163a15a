//! What MONITOR shows of a command: when, in which database, from whom, and the words, secrets left out.
//!
//! A command is shown once it has run, as in Redis, because only then it is known which arguments are secret; EXEC
//! therefore follows what it ran. What administers the server is not shown.

use super::ctx::Ctx;
use super::session::Origin;
use super::{ADMIN, REDACTED, RUNS_SCRIPT, SKIP_MONITOR};
use crate::clients::Client;
use crate::config::quoted;
use std::time::{SystemTime, UNIX_EPOCH};

/// Shows the command that has just run.
#[cold]
pub(super) fn show(ctx: &Ctx<'_, '_>) {
    if ctx.row.command.has(ADMIN)
        || ctx.row.command.has(SKIP_MONITOR) && !ctx.row.command.has(RUNS_SCRIPT)
        || ctx.session.origin == Origin::Log
    {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let lua = ctx.session.origin == Origin::Script;
    let (db, from) = (ctx.session.db, if lua { "lua".into() } else { address(&ctx.session.client) });
    let mut line = format!("+{}.{:06} [{db} {from}]", now.as_secs(), now.subsec_micros()).into_bytes();
    for (i, arg) in ctx.args.view().iter().enumerate() {
        line.push(b' ');
        line.extend(quoted(if ctx.is_secret(i) { REDACTED } else { arg }));
    }
    line.extend(b"\r\n");
    ctx.node.clients.monitors.show(line);
}

fn address(client: &Client) -> String {
    match client.local_address.strip_suffix(":0") {
        Some(path) if client.is_unix => format!("unix:{path}"),
        _ => client.address.clone(),
    }
}
