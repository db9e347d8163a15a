//! XINFO: what a stream, its groups and their consumers are.

use super::group::no_group;
use super::ids;
use crate::command::ctx::Reply;
use crate::command::error::NO_SUCH_KEY;
use crate::command::*;
use crate::types::stream::{self, Id, Stream};

pub const XINFO: Command = Command {
    name: "XINFO",
    args: "",
    arity: -2,
    since: "5.0.0",
    group: Group::Stream,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "What streams are made of.",
    examples: "> XINFO nosuch\n(error) ERR unknown subcommand 'nosuch'. Try XINFO HELP.",
    run: container,
};

pub const XINFO_CONSUMERS: Command = Command {
    name: "XINFO CONSUMERS",
    args: "key group",
    arity: 4,
    since: "5.0.0",
    group: Group::Stream,
    flags: READONLY,
    keys: Keys::read(2),
    doc: "A group's consumers: what each has pending, since when it has not asked, and since when it got nothing. O(N) in consumers.",
    examples: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATECONSUMER s g c\n(integer) 1\n> XINFO CONSUMERS s g\n*",
    run: consumers,
};

fn consumers(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, name, now) = (args.key(2), args.get(3), db.now());
    let stream = db.read::<Stream>(key)?.ok_or(NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| no_group(key, name))?;
    out.0.array(group.consumers().len());
    for (_, consumer) in group.consumers() {
        out.0.map(4);
        out.0.bulk(b"name");
        out.0.bulk(&consumer.name);
        out.0.bulk(b"pending");
        out.0.int(consumer.pending() as i64);
        out.0.bulk(b"idle");
        out.0.int(now.saturating_sub(consumer.seen).max(0));
        out.0.bulk(b"inactive");
        out.0.int(consumer.active.map_or(-1, |at| now.saturating_sub(at).max(0)));
    }
    Ok(())
}

pub const XINFO_GROUPS: Command = Command {
    name: "XINFO GROUPS",
    args: "key",
    arity: 3,
    doc: "A stream's groups: how far each is, what it has pending, and how many entries are still to come, where that is known. O(N) in groups.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XINFO GROUPS s\n1)  1) \"name\"\n    2) \"g\"\n    3) \"consumers\"\n    4) (integer) 0\n    5) \"pending\"\n    6) (integer) 0\n    7) \"last-delivered-id\"\n    8) \"0-0\"\n    9) \"entries-read\"\n   10) (nil)\n   11) \"lag\"\n   12) (integer) 1",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let stream = db.read::<Stream>(args.key(2))?.ok_or(NO_SUCH_KEY)?;
        out.0.array(stream.groups().len());
        for (name, group) in stream.groups() {
            out.0.map(6);
            out.0.bulk(b"name");
            out.0.bulk(name);
            out.0.bulk(b"consumers");
            out.0.int(group.consumers().len() as i64);
            out.0.bulk(b"pending");
            out.0.int(group.pending() as i64);
            position(out, stream, group);
        }
        Ok(())
    },
    ..XINFO_CONSUMERS
};

/// How far a group is.
fn position(out: &mut Reply<'_>, stream: &Stream, group: &stream::Group) {
    out.0.bulk(b"last-delivered-id");
    ids::put(out, group.last);
    out.0.bulk(b"entries-read");
    known(out, group.read);
    out.0.bulk(b"lag");
    known(out, stream.lag(group));
}

fn known(out: &mut Reply<'_>, number: Option<u64>) {
    match number {
        Some(number) => out.0.int(number as i64),
        None => out.0.null(),
    }
}

pub const XINFO_HELP: Command = Command {
    name: "XINFO HELP",
    args: "",
    arity: 2,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "The subcommands.",
    examples: "> XINFO HELP too many\n(error) ERR wrong number of arguments for 'xinfo|help' command",
    run: |ctx| ctx.out.help("XINFO", HELP),
    ..XINFO_CONSUMERS
};

pub const XINFO_STREAM: Command = Command {
    name: "XINFO STREAM",
    args: "key [full-block: FULL [COUNT count]]",
    arity: -3,
    doc: "What a stream holds, and with FULL its first entries and what its groups have pending, ten of each unless COUNT says otherwise, 0 for all. O(1), and O(N) in what FULL shows.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XINFO STREAM s\n 1) \"length\"\n 2) (integer) 1\n 3) \"radix-tree-keys\"\n 4) (integer) 1\n 5) \"radix-tree-nodes\"\n 6) (integer) 2\n 7) \"last-generated-id\"\n 8) \"1-1\"\n 9) \"max-deleted-entry-id\"\n10) \"0-0\"\n11) \"entries-added\"\n12) (integer) 1\n13) \"recorded-first-entry-id\"\n14) \"1-1\"\n15) \"groups\"\n16) (integer) 0\n17) \"first-entry\"\n18) 1) \"1-1\"\n    2) 1) \"f\"\n       2) \"v\"\n19) \"last-entry\"\n20) 1) \"1-1\"\n    2) 1) \"f\"\n       2) \"v\"",
    run: about,
    ..XINFO_CONSUMERS
};

fn about(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let stream = db.read::<Stream>(args.key(2))?.ok_or(NO_SUCH_KEY)?;
    let refused = || error::subcommand_syntax("XINFO", args.get(1));
    let full = match (args.len(), &*args.word_at(3), &*args.word_at(4)) {
        (3, ..) => None,
        (4, b"FULL", _) => Some(SHOWN_DEFAULT),
        (6, b"FULL", b"COUNT") => Some(match args.int(5)? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(SHOWN_DEFAULT),
        }),
        _ => return Err(refused()),
    };
    let known = stream.idempotence();
    out.0.map(if full.is_some() { 9 } else { 10 } + if known.is_some() { 6 } else { 0 });
    out.0.bulk(b"length");
    out.0.int(stream.len() as i64);
    out.0.bulk(b"radix-tree-keys");
    out.0.int(stream.nodes() as i64);
    out.0.bulk(b"radix-tree-nodes");
    out.0.int(radix_nodes(stream) as i64);
    out.0.bulk(b"last-generated-id");
    ids::put(out, stream.last_id());
    out.0.bulk(b"max-deleted-entry-id");
    ids::put(out, stream.max_deleted());
    out.0.bulk(b"entries-added");
    out.0.int(stream.added() as i64);
    out.0.bulk(b"recorded-first-entry-id");
    ids::put(out, stream.first_id());
    if let Some(known) = known {
        let figures = [
            ("idmp-duration", i64::from(known.limits.duration)),
            ("idmp-maxsize", i64::from(known.limits.size)),
            ("pids-tracked", known.producers() as i64),
            ("iids-tracked", known.names() as i64),
            ("iids-added", known.added as i64),
            ("iids-duplicates", known.duplicates as i64),
        ];
        for (name, figure) in figures {
            out.0.bulk(name.as_bytes());
            out.0.int(figure);
        }
    }
    if let Some(shown) = full {
        return everything(out, stream, shown);
    }
    out.0.bulk(b"groups");
    out.0.int(stream.groups().len() as i64);
    let ends = [
        ("first-entry", stream.range(Id::ZERO, Id::MAX).next()),
        ("last-entry", stream.range_back(Id::ZERO, Id::MAX).next()),
    ];
    for (name, entry) in ends {
        out.0.bulk(name.as_bytes());
        match entry {
            Some(entry) => ids::put_entry(out, &entry),
            None => out.0.null(),
        }
    }
    Ok(())
}

/// Entries, groups, consumers and what is pending, `shown` of each list.
fn everything(out: &mut Reply<'_>, stream: &Stream, shown: usize) -> Outcome {
    out.0.bulk(b"entries");
    ids::put_entries(out, stream.range(Id::ZERO, Id::MAX).take(shown))?;
    out.0.bulk(b"groups");
    out.0.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.0.map(7);
        out.0.bulk(b"name");
        out.0.bulk(name);
        position(out, stream, group);
        out.0.bulk(b"pel-count");
        out.0.int(group.pending() as i64);
        out.0.bulk(b"pending");
        out.0.array(group.pending().min(shown));
        for (id, delivery) in group.pending_from(Id::ZERO).take(shown) {
            out.0.array(4);
            ids::put(out, id);
            out.0.bulk(delivery.owner.map_or(&b""[..], |owner| &group.consumer(owner).name));
            out.0.int(delivery.at);
            out.0.int(delivery.count as i64);
        }
        out.0.bulk(b"consumers");
        out.0.array(group.consumers().len());
        group.consumers().for_each(|(_, consumer)| one_consumer(out, group, consumer, shown));
    }
    Ok(())
}

fn one_consumer(out: &mut Reply<'_>, group: &stream::Group, consumer: &stream::Consumer, shown: usize) {
    out.0.map(5);
    out.0.bulk(b"name");
    out.0.bulk(&consumer.name);
    out.0.bulk(b"seen-time");
    out.0.int(consumer.seen);
    out.0.bulk(b"active-time");
    out.0.int(consumer.active.unwrap_or(-1));
    out.0.bulk(b"pel-count");
    out.0.int(consumer.pending() as i64);
    out.0.bulk(b"pending");
    out.0.array(consumer.pending().min(shown));
    for id in consumer.ids_from(Id::ZERO).take(shown) {
        let delivery = group.delivery(id);
        out.0.array(3);
        ids::put(out, id);
        out.0.int(delivery.map_or(0, |delivery| delivery.at));
        out.0.int(delivery.map_or(0, |delivery| delivery.count as i64));
    }
}

/// How many nodes a radix tree of the listpacks' ids would have, as Redis has one: computed from the common beginnings of
/// neighbours. Of many listpacks the last ones stand for all.
fn radix_nodes(stream: &Stream) -> usize {
    let mut ids: Vec<[u8; 16]> = stream.node_ids_back().take(RADIX_COUNTED_MAX).map(Id::to_bytes).collect();
    ids.reverse();
    let counted = radix_nodes_of(&ids);
    if ids.len() < stream.nodes() {
        (counted as f64 / ids.len() as f64 * stream.nodes() as f64) as usize
    } else {
        counted
    }
}

/// One node where ways part, one for each stretch between two of those, one for each end.
fn radix_nodes_of(ids: &[[u8; 16]]) -> usize {
    if ids.is_empty() {
        return 1;
    }
    let same = |a: &[u8; 16], b: &[u8; 16]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    // The places where ways part on the path to the id looked at, from the root on.
    let (mut nodes, mut parts): (usize, Vec<usize>) = (ids.len(), Vec::new());
    let close = |nodes: &mut usize, from: usize, to: usize| *nodes += usize::from(to > from);
    for i in 0..ids.len() {
        let before = if i > 0 { Some(same(&ids[i - 1], &ids[i])) } else { None };
        let after = if i + 1 < ids.len() { Some(same(&ids[i], &ids[i + 1])) } else { None };
        let deepest = before.into_iter().chain(after).max();
        // The stretch that leads to this end alone.
        close(&mut nodes, deepest.map_or(0, |at| at + 1), ids[i].len());
        let Some(after) = after else { continue };
        while parts.last().is_some_and(|at| *at > after) {
            let at = parts.pop().unwrap_or(0);
            let above = parts.last().copied().filter(|above| *above >= after).unwrap_or(after);
            close(&mut nodes, above + 1, at);
        }
        if parts.last() != Some(&after) {
            nodes += 1;
            parts.push(after);
        }
    }
    while let Some(at) = parts.pop() {
        close(&mut nodes, parts.last().map_or(0, |above| above + 1), at);
    }
    nodes
}

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
];
/// What FULL shows of each list.
const SHOWN_DEFAULT: usize = 10;
/// Listpacks looked at for the size of their tree: some tens of microseconds.
const RADIX_COUNTED_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[Id]) -> usize {
        radix_nodes_of(&ids.iter().map(|id| id.to_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn a_radix_tree_is_counted_as_redis_builds_it() {
        let id = Id::new;
        assert_eq!(nodes(&[]), 1);
        assert_eq!(nodes(&[id(1, 1)]), 2, "a stretch and an end");
        assert_eq!(nodes(&[id(1, 1), id(1, 2)]), 4, "a stretch, a parting, two ends");
        assert_eq!(nodes(&[id(1, 0), id(4, 0), id(7, 0)]), 8, "the same, and a stretch to each of three ends");
        assert_eq!(nodes(&[id(1, 1), id(1, 2), id(2, 1)]), 8);
    }
}
