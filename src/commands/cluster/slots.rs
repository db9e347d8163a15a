//! Slots and their keys. A stripe holds keys of many slots, so what is asked about one is a walk over the database.

use super::{SUBCOMMAND, identity};
use crate::checksum::{SLOTS, key_slot};
use crate::command::ctx::Reply;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::Db;
use crate::num;

pub const CLUSTER_ADDSLOTS: Command = Command {
    name: "CLUSTER ADDSLOTS",
    args: "slot:integer [slot ...]",
    arity: -3,
    flags: ADMIN | STALE | NO_ASYNC_LOADING,
    doc: "Makes the node the owner of slots, which it is already. O(N) in the slots.",
    examples: "> CLUSTER ADDSLOTS 1\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        identity(ctx)?;
        ctx.args.from(2).try_for_each(|text| slot(text).map(drop))?;
        ctx.out.ok()
    },
    ..SUBCOMMAND
};

pub const CLUSTER_ADDSLOTSRANGE: Command = Command {
    name: "CLUSTER ADDSLOTSRANGE",
    args: "start-slot:integer end-slot:integer [start-slot end-slot ...]",
    arity: -4,
    since: "7.0.0",
    flags: ADMIN | STALE | NO_ASYNC_LOADING,
    doc: "Makes the node the owner of ranges of slots, which it is already. O(N) in the ranges.",
    examples: "> CLUSTER ADDSLOTSRANGE 0 1\n(error) ERR This instance has cluster support disabled",
    run: add_ranges,
    ..SUBCOMMAND
};

fn add_ranges(ctx: &mut Ctx<'_, '_>) -> Outcome {
    identity(ctx)?;
    if !ctx.args.len().is_multiple_of(2) {
        return Err(error::wrong_arity(&ctx.row.command.full_name()));
    }
    for (first, last) in ctx.args.pairs(2) {
        let (first, last) = (slot(first)?, slot(last)?);
        if first > last {
            let text = format!("ERR start slot number {first} is greater than end slot number {last}");
            return Err(Error::owned(text));
        }
    }
    ctx.out.ok()
}

/// A slot's number as most commands read it.
fn slot(text: &[u8]) -> Result<usize, Error> {
    let number = num::parse_i64(text).and_then(|n| usize::try_from(n).ok());
    number.filter(|&n| n < usize::from(SLOTS)).ok_or(BAD_RANGE)
}

pub const CLUSTER_KEYSLOT: Command = Command {
    name: "CLUSTER KEYSLOT",
    args: "key:string",
    arity: 3,
    doc: "A key's slot. O(N) in its length.",
    examples: "> CLUSTER KEYSLOT k\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        identity(ctx)?;
        let slot = key_slot(ctx.args.get(2));
        ctx.out.int(i64::from(slot))
    },
    ..SUBCOMMAND
};

pub const CLUSTER_COUNTKEYSINSLOT: Command = Command {
    name: "CLUSTER COUNTKEYSINSLOT",
    args: "slot:integer",
    arity: 3,
    flags: STALE | WALK,
    doc: "How many keys a slot has. O(N) in the keys of the database.",
    examples: "> CLUSTER COUNTKEYSINSLOT 0\n(error) ERR This instance has cluster support disabled",
    run: count_keys,
    ..SUBCOMMAND
};

fn count_keys(ctx: &mut Ctx<'_, '_>) -> Outcome {
    identity(ctx)?;
    let slot = u16::try_from(ctx.args.int(2)?).ok().filter(|&slot| slot < SLOTS).ok_or(BAD_SLOT)?;
    let count = counts(ctx.db)[usize::from(slot)];
    ctx.out.count(count)
}

/// The number of living keys in each slot, stripe by stripe.
fn counts(db: &mut Db<'_>) -> Vec<usize> {
    let mut counts = vec![0; usize::from(SLOTS)];
    db.scan(0, usize::MAX, |met| counts[usize::from(key_slot(met.key))] += usize::from(!met.due));
    counts
}

pub const CLUSTER_GETKEYSINSLOT: Command = Command {
    name: "CLUSTER GETKEYSINSLOT",
    args: "slot:integer count:integer",
    arity: 4,
    flags: STALE | WALK,
    doc: "Some keys of a slot. O(N) in the keys of the database until so many are found.",
    examples: "> CLUSTER GETKEYSINSLOT 0 10\n(error) ERR This instance has cluster support disabled",
    run: some_keys,
    ..SUBCOMMAND
};

fn some_keys(ctx: &mut Ctx<'_, '_>) -> Outcome {
    identity(ctx)?;
    let (slot, count) = (ctx.args.int(2)?, ctx.args.int(3)?);
    let slot = u16::try_from(slot).ok().filter(|&slot| slot < SLOTS).ok_or(BAD_SLOT_OR_COUNT)?;
    let count = usize::try_from(count).map_err(|_| BAD_SLOT_OR_COUNT)?;
    let Ctx { db, out, .. } = ctx;
    let hole = out.later();
    let (mut found, mut cursor) = (0, 0);
    while found < count {
        cursor = db.scan(cursor, KEYS_PER_STEP, |met| {
            if !met.due && found < count && key_slot(met.key) == slot {
                out.0.bulk(met.key);
                found += 1;
            }
        });
        if cursor == 0 {
            break;
        }
    }
    out.fill_array(hole, found)
}

pub const CLUSTER_SLOT_STATS: Command = Command {
    name: "CLUSTER SLOT-STATS",
    args: "<filter: SLOTSRANGE start-slot:integer end-slot:integer | ORDERBY metric [LIMIT limit:integer] [order: ASC | DESC]>",
    arity: -4,
    since: "8.2.0",
    flags: LOADING | STALE | WALK,
    doc: "How many keys slots have: of a range, or those with most or fewest. O(N) in the keys of the database.",
    examples: "> CLUSTER SLOT-STATS SLOTSRANGE 0 1\n(error) ERR This instance has cluster support disabled",
    run: stats,
    ..SUBCOMMAND
};

fn stats(ctx: &mut Ctx<'_, '_>) -> Outcome {
    identity(ctx)?;
    match &*ctx.args.word_at(2) {
        b"SLOTSRANGE" if ctx.args.len() == 5 => stats_of_range(ctx),
        b"ORDERBY" => stats_in_order(ctx),
        _ => {
            let text = [BAD_FILTER_BEFORE, ctx.args.get(1), BAD_FILTER_BEHIND].concat();
            Err(Error::owned(text))
        }
    }
}

fn stats_of_range(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (first, last) = (slot(ctx.args.get(3))?, slot(ctx.args.get(4))?);
    if first > last {
        let text = format!("ERR Start slot number {first} is greater than end slot number {last}");
        return Err(Error::owned(text));
    }
    let counts = counts(ctx.db);
    tell(ctx, (first..=last).map(|slot| (slot, counts[slot])))
}

fn stats_in_order(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.word_at(3).as_ref() != b"KEY-COUNT" {
        return Err(BAD_METRIC);
    }
    let (mut limit, mut descending) = (None, None);
    ctx.args.skip_to(4);
    while let Some(word) = ctx.args.word() {
        match &*word {
            b"LIMIT" if !ctx.args.is_done() => {
                if limit.is_some() {
                    return Err(TWICE);
                }
                let most = num::parse_i64(ctx.args.required()?).and_then(|n| usize::try_from(n).ok());
                limit = Some(most.filter(|n| (1..=usize::from(SLOTS)).contains(n)).ok_or(BAD_LIMIT)?);
            }
            b"ASC" | b"DESC" if descending.is_some() => return Err(TWICE),
            b"ASC" => descending = Some(false),
            b"DESC" => descending = Some(true),
            _ => return Err(SYNTAX),
        }
    }
    let mut slots: Vec<(usize, usize)> = counts(ctx.db).into_iter().enumerate().collect();
    // Stable: slots with as many keys stay in their own order.
    if descending == Some(false) {
        slots.sort_by_key(|(_, keys)| *keys);
    } else {
        slots.sort_by_key(|(_, keys)| std::cmp::Reverse(*keys));
    }
    slots.truncate(limit.unwrap_or(slots.len()));
    tell(ctx, slots.into_iter())
}

fn tell(ctx: &mut Ctx<'_, '_>, slots: impl Iterator<Item = (usize, usize)>) -> Outcome {
    let Reply(out) = &mut ctx.out;
    let hole = out.later();
    let mut count = 0;
    for (slot, keys) in slots {
        count += 1;
        out.array(2);
        out.int(slot as i64);
        out.map(1);
        out.bulk(b"key-count");
        out.int(keys as i64);
    }
    out.fill_array(hole, count);
    Ok(())
}

/// Keys seen before it is looked whether enough are found.
const KEYS_PER_STEP: usize = 1000;
const BAD_SLOT: Error = Error::new("ERR Invalid slot");
const BAD_SLOT_OR_COUNT: Error = Error::new("ERR Invalid slot or number of keys");
const BAD_RANGE: Error = Error::new("ERR Invalid or out of range slot");
const BAD_FILTER_BEFORE: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
const BAD_FILTER_BEHIND: &[u8] = b"'. Try CLUSTER HELP.";
const BAD_METRIC: Error = Error::new("ERR Unrecognized sort metric for ORDERBY.");
const BAD_LIMIT: Error = Error::new("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).");
const TWICE: Error = Error::new("ERR Multiple filters of the same type are disallowed.");
