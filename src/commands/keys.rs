//! Keys of any type.

use crate::command::*;

pub const COMMANDS: &[Command] = &[DEL];

const DEL: Command = Command {
    name: "DEL",
    args: "key [key ...]",
    arity: -2,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE,
    keys: Keys::range(1, -1, 1, keys::RM | keys::DELETE),
    doc: "Removes keys; answers how many were there. O(1) a key; big values are freed in the background.",
    examples: "> SET a 1\nOK\n> DEL a b\n(integer) 1",
    run: del,
};

fn del(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let removed = ctx.args.from(1).filter(|key| ctx.db.remove(key)).count();
    ctx.out.count(removed)
}
