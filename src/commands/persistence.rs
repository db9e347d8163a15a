//! Persistence on demand.

use crate::command::*;

pub const COMMANDS: &[Command] = &[BGREWRITEAOF];

const BGREWRITEAOF: Command = Command {
    name: "BGREWRITEAOF",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING,
    keys: Keys::NONE,
    doc: "Writes a new base of the append-only log from one instant of the data, in the background and without fork.",
    examples: "> BGREWRITEAOF\nBackground append only file rewriting started",
    run: bgrewriteaof,
};

fn bgrewriteaof(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if !ctx.node.aof.request_rewrite() {
        return Err(Error::new("ERR Background append only file rewriting already in progress"));
    }
    ctx.out.simple("Background append only file rewriting started")
}
