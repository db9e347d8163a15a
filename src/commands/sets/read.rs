//! Looking at a set: how many members, which ones, some at a time.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::resp::Out;
use crate::types::set::Set;

pub const SCARD: Command = Command {
    name: "SCARD",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::Set,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "The number of a set's members. O(1).",
    examples: "> SADD s a b\n(integer) 2\n> SCARD s\n(integer) 2\n> SCARD none\n(integer) 0",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let len = db.read::<Set>(args.key(1))?.map_or(0, Set::len);
        out.count(len)
    },
};

pub const SISMEMBER: Command = Command {
    name: "SISMEMBER",
    args: "key member [XX@9.2.0]",
    arity: -3,
    since: "1.0.0",
    group: Group::Set,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "Whether a set has a member; with XX (Valkey's) -1 if there is no such key. O(1).",
    examples: "> SADD s a\n(integer) 1\n> SISMEMBER s a\n(integer) 1\n> SISMEMBER s b\n(integer) 0\n> SISMEMBER none a\n(integer) 0\n> SISMEMBER none a XX\n(integer) -1",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        if args.len() > 4 || args.len() == 4 && *args.word_at(3) != *b"XX" {
            return Err(SYNTAX);
        }
        match db.read::<Set>(args.key(1))? {
            None if args.len() == 4 => out.int(-1),
            set => out.int(i64::from(set.is_some_and(|set| set.contains(args.get(2))))),
        }
    },
};

pub const SMISMEMBER: Command = Command {
    name: "SMISMEMBER",
    args: "key member [member ...]",
    arity: -3,
    since: "6.2.0",
    group: Group::Set,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "Which of several members a set has: 1 or 0 for each. O(1) per member.",
    examples: "> SADD s a b\n(integer) 2\n> SMISMEMBER s a x b\n1) (integer) 1\n2) (integer) 0\n3) (integer) 1",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let set = db.read::<Set>(args.key(1))?;
        out.array(args.len() - 2);
        args.from(2).try_for_each(|member| out.int(i64::from(set.is_some_and(|set| set.contains(member)))))
    },
};

pub const SMEMBERS: Command = Command {
    name: "SMEMBERS",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::Set,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "All members of a set, in no particular order. O(N).",
    examples: "> SADD s b a\n(integer) 2\n> SMEMBERS s\n1) \"b\"\n2) \"a\"\n> SMEMBERS none\n(empty array)",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let set = db.read::<Set>(args.key(1))?;
        write(out, set);
        Ok(())
    },
};

/// All members as a set reply.
pub fn write(out: &mut ctx::Reply<'_>, set: Option<&Set>) {
    out.set(set.map_or(0, Set::len));
    if let Some(set) = set {
        set.for_each(|member| _ = out.text(member));
    }
}

pub const SSCAN: Command = Command {
    name: "SSCAN",
    args: "key cursor [MATCH pattern] [COUNT count]",
    arity: -3,
    since: "2.8.0",
    group: Group::Set,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Some of a set's members and a cursor for the next call; all calls together answer each member that was there throughout. O(1) a call.",
    examples: "> SADD s b a\n(integer) 2\n> SSCAN s 0\n1) \"0\"\n2) 1) \"b\"\n   2) \"a\"\n> SSCAN s 0 MATCH a*\n1) \"0\"\n2) 1) \"a\"",
    run: sscan,
};

fn sscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let cursor = scanning::cursor(args.get(2))?;
    let Some(set) = db.read::<Set>(args.key(1))? else { return out.scanned(0, 0, &[]) };
    let scan = Scan::parse(args, 3, |word, _| Err(if **word == *b"NOVALUES" { scanning::NO_VALUES } else { SYNTAX }))?;
    let (mut found, mut members) = (0, Vec::new());
    let mut reply = ctx::Reply(Out::new(&mut members, out.proto));
    let next = set.scan(cursor, scan.count, |member| {
        if scan.wants(member.bytes(&mut itoa::Buffer::new())) {
            _ = reply.text(member);
            found += 1;
        }
    });
    out.scanned(next, found, &members)
}
