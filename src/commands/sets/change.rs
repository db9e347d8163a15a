//! Adding, removing and moving members.

use crate::command::*;
use crate::types::set::Set;

pub const SADD: Command = Command {
    name: "SADD",
    args: "key member [member ...]",
    arity: -3,
    since: "1.0.0",
    group: Group::Set,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::INSERT),
    doc: "Adds members to a set; creates the set if needed. O(1) per member.",
    examples: "> SADD s a b a\n(integer) 2\n> SADD s b c\n(integer) 1\n> SCARD s\n(integer) 3",
    run: sadd,
};

fn sadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (max, members) = (config.set_max(), args.from(2));
    let mut set = db.upsert::<Set>(args.key(1))?;
    set.expect(members.len(), args.get(2), max);
    let added = members.filter(|member| set.insert(member, max)).count();
    if added > 0 {
        set.changed_by("sadd", added);
    }
    out.count(added)
}

pub const SREM: Command = Command {
    name: "SREM",
    args: "key member [member ...]",
    arity: -3,
    since: "1.0.0",
    group: Group::Set,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes members from a set. O(1) per member.",
    examples: "> SADD s a b c\n(integer) 3\n> SREM s a x\n(integer) 1\n> SREM s b c\n(integer) 2\n> EXISTS s\n(integer) 0",
    run: srem,
};

fn srem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(mut set) = db.edit::<Set>(args.key(1))? else { return out.int(0) };
    let removed = args.from(2).filter(|member| set.remove(member)).count();
    if removed > 0 {
        set.changed_by("srem", removed);
    }
    out.count(removed)
}

pub const SMOVE: Command = Command {
    name: "SMOVE",
    args: "source destination member",
    arity: 4,
    since: "1.0.0",
    group: Group::Set,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE).and(Keys::one(2, keys::RW | keys::INSERT)),
    doc: "Moves a member from one set to another. O(1).",
    examples: "> SADD a x y\n(integer) 2\n> SMOVE a b x\n(integer) 1\n> SMEMBERS b\n1) \"x\"\n> SMOVE a b none\n(integer) 0",
    run: smove,
};

fn smove(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (source, target, member) = (args.key(1), args.key(2), args.get(3));
    let Some(set) = db.look::<Set>(source)? else { return out.int(0) };
    let is_there = set.contains(member);
    db.look::<Set>(target)?;
    if !is_there || source == target {
        return out.int(i64::from(is_there));
    }
    if let Some(mut set) = db.edit::<Set>(source)? {
        set.remove(member);
        set.changed("srem");
    }
    let mut set = db.upsert::<Set>(target)?;
    set.expect(1, member, config.set_max());
    if set.insert(member, config.set_max()) {
        set.changed("sadd");
    }
    out.int(1)
}
