//! Members by chance: looking at them, or taking them out.

use crate::command::error::{NOT_INT, NOT_NEGATABLE, NOT_POSITIVE, OUT_OF_RANGE, SYNTAX};
use crate::command::*;
use crate::num;
use crate::types::set::Set;

pub const SPOP: Command = Command {
    name: "SPOP",
    args: "key [count@3.2.0]",
    arity: -2,
    since: "1.0.0",
    group: Group::Set,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Takes a member, or up to `count` of them, out of a set by chance. O(N) in the number taken.",
    examples: "> SADD s a\n(integer) 1\n> SPOP s\n\"a\"\n> SPOP s\n(nil)\n> SADD s 1 2\n(integer) 2\n> SPOP s 5\n1) \"1\"\n2) \"2\"",
    run: spop,
};

fn spop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.args.len() {
        2 => pop_one(ctx),
        3 => {
            let count = ctx.args.int_in(2, 0..=i64::MAX, NOT_POSITIVE).map_err(|_| NOT_POSITIVE)?;
            pop_several(ctx, usize::try_from(count).map_err(|_| NOT_POSITIVE)?)
        }
        _ => Err(SYNTAX),
    }
}

fn pop_one(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    let Some(mut set) = db.edit::<Set>(key)? else { return out.null() };
    let mut popped = Vec::new();
    set.sample(1, |member| {
        popped = member.to_vec();
        false
    });
    set.remove(&popped);
    set.changed("spop");
    drop(set);
    out.bulk(&popped)?;
    ctx.propagate(&[b"SREM", key, &popped]);
    Ok(())
}

fn pop_several(ctx: &mut Ctx<'_, '_>, count: usize) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let key = args.key(1);
    let Some(mut set) = db.edit::<Set>(key)? else {
        out.set(0);
        return Ok(());
    };
    let takes_all = count >= set.len();
    let count = count.min(set.len());
    if count == 0 {
        out.set(0);
        return Ok(());
    }
    // The names one behind the other, and where each ends.
    let (mut names, mut ends) = (Vec::new(), Vec::new());
    out.set(count);
    let leftover = set.pop(count, config.set_max(), |member| {
        _ = out.text(member);
        if !takes_all {
            names.extend_from_slice(member.bytes(&mut itoa::Buffer::new()));
            ends.push(names.len());
        }
    });
    set.changed_by("spop", count);
    drop(set);
    leftover.into_iter().for_each(|value| db.discard(value));
    if takes_all {
        ctx.propagate_removal(key, ctx.config.lazyfree_lazy_server_del);
        return Ok(());
    }
    let mut start = 0;
    for batch in ends.chunks(SREM_MEMBERS_MAX) {
        let mut srem: Vec<&[u8]> = vec![b"SREM", key];
        srem.extend(batch.iter().map(|&end| &names[std::mem::replace(&mut start, end)..end]));
        ctx.propagate(&srem);
    }
    Ok(())
}

pub const SRANDMEMBER: Command = Command {
    name: "SRANDMEMBER",
    args: "key [count@2.6.0]",
    arity: -2,
    since: "1.0.0",
    group: Group::Set,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members by chance: one, so many different ones, or, for a negative count, so many that may repeat. O(N) in them.",
    examples: "> SADD s a\n(integer) 1\n> SRANDMEMBER s\n\"a\"\n> SRANDMEMBER s 5\n1) \"a\"\n> SRANDMEMBER s -2\n1) \"a\"\n2) \"a\"",
    run: srandmember,
};

fn srandmember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let wanted = match args.len() {
        2 => None,
        3 => Some(num::parse_i64(args.get(2)).ok_or(NOT_INT)?),
        _ => return Err(SYNTAX),
    };
    if wanted == Some(i64::MIN) {
        return Err(NOT_NEGATABLE);
    }
    let set = db.read::<Set>(args.key(1))?;
    match (wanted, set) {
        (None, None) => out.null(),
        (None, Some(set)) => {
            set.sample(1, |member| out.text(member).is_err());
            Ok(())
        }
        (Some(_), None) => {
            out.array(0);
            Ok(())
        }
        (Some(count), Some(set)) if count < 0 => repeated(out, set, count.unsigned_abs()),
        (Some(count), Some(set)) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(set.len());
            out.array(count);
            set.sample_distinct(count, |member| _ = out.text(member));
            Ok(())
        }
    }
}

fn repeated(out: &mut ctx::Reply<'_>, set: &Set, count: u64) -> Outcome {
    let mut draws = Draws::of(count, out.buf.len())?;
    let mut fits = true;
    out.array(draws.count);
    set.sample(draws.count, |member| {
        out.put(member);
        fits = draws.goes_on(out.buf.len());
        fits
    });
    if fits { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// Members in one propagated SREM.
const SREM_MEMBERS_MAX: usize = 1024;
