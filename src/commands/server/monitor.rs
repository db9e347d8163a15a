//! MONITOR: turns the connection into one that is shown every command. What is shown: `command/monitor_line.rs`.

use crate::command::*;

pub const MONITOR: Command = Command {
    name: "MONITOR",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Shows the connection every command that the server runs, until RESET or the end.",
    examples: "> MONITOR now\n(error) ERR wrong number of arguments for 'monitor' command\n> MULTI\nOK\n> MONITOR\nQUEUED\n> EXEC\n1) (error) ERR MONITOR isn't allowed for DENY BLOCKING client",
    run: monitor,
};

fn monitor(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if !ctx.may_wait() {
        return Err(NOT_HERE);
    }
    ctx.node.clients.monitors.add(&ctx.session.client);
    ctx.out.ok()
}

const NOT_HERE: Error = Error::new("ERR MONITOR isn't allowed for DENY BLOCKING client");
