//! Connection commands.

use crate::command::*;

pub const COMMANDS: &[Command] = &[PING, SELECT];

const PING: Command = Command {
    name: "PING",
    args: "[message]",
    arity: -1,
    since: "1.0.0",
    group: Group::Connection,
    flags: FAST,
    keys: Keys::NONE,
    doc: "Answers PONG, or the message. O(1).",
    examples: "> PING\nPONG\n> PING hello\n\"hello\"",
    run: ping,
};

fn ping(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.args.len() {
        1 => ctx.out.simple("PONG"),
        2 => ctx.out.bulk(ctx.args.get(1)),
        _ => Err(error::wrong_arity("ping")),
    }
}

const SELECT: Command = Command {
    name: "SELECT",
    args: "index",
    arity: 2,
    since: "1.0.0",
    group: Group::Connection,
    flags: LOADING | STALE | FAST,
    keys: Keys::NONE,
    doc: "Chooses the database for the connection's next commands. O(1).",
    examples: "> SELECT 1\nOK\n> SELECT 0\nOK",
    run: select,
};

fn select(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let index = ctx.args.int_in(1, i64::from(i32::MIN)..=i64::from(i32::MAX), Error::new("ERR invalid DB index"))?;
    let index = usize::try_from(index).ok().filter(|&i| i < ctx.node.keyspace.databases()).ok_or(error::DB_INDEX)?;
    ctx.session.select(index);
    ctx.db.select(index);
    ctx.out.ok()
}
