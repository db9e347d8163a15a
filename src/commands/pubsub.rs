//! Publish and subscribe. The registry of channels is `crate::pubsub`; a connection's own subscriptions are in its session.
//!
//! A confirmation is a push, as Redis makes it: it is sent whatever CLIENT REPLY says. What was pushed to the connection
//! before it is written first, so that no message follows the end of its subscription.

use crate::command::*;
use crate::keyspace::Notice;
use crate::pubsub::ChannelKind;

pub const COMMANDS: &[Command] = &[
    PSUBSCRIBE,
    PUBLISH,
    PUBSUB_,
    PUBSUB_CHANNELS,
    PUBSUB_HELP,
    PUBSUB_NUMPAT,
    PUBSUB_NUMSUB,
    PUBSUB_SHARDCHANNELS,
    PUBSUB_SHARDNUMSUB,
    PUNSUBSCRIBE,
    SPUBLISH,
    SSUBSCRIBE,
    SUBSCRIBE,
    SUNSUBSCRIBE,
    UNSUBSCRIBE,
];

const PSUBSCRIBE: Command = Command {
    name: "PSUBSCRIBE",
    args: "pattern [pattern ...]",
    arity: -2,
    since: "2.0.0",
    group: Group::PubSub,
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED | FROM_PATTERNS,
    keys: Keys::NONE,
    doc: "Listens to the channels that match the patterns. O(N) in the patterns that the server knows.",
    examples: "> PSUBSCRIBE\n(error) ERR wrong number of arguments for 'psubscribe' command",
    run: |ctx| subscribe(ctx, ChannelKind::Pattern, b"psubscribe"),
};

const SSUBSCRIBE: Command = Command {
    name: "SSUBSCRIBE",
    args: "shardchannel [shardchannel ...]",
    arity: -2,
    since: "7.0.0",
    group: Group::PubSub,
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED | FROM_CHANNELS,
    keys: Keys::range(1, -1, 1, keys::NOT_KEY),
    doc: "Listens to shard channels. O(N) in the channels.",
    examples: "> SSUBSCRIBE\n(error) ERR wrong number of arguments for 'ssubscribe' command",
    run: |ctx| subscribe(ctx, ChannelKind::Shard, b"ssubscribe"),
};

const SUBSCRIBE: Command = Command {
    name: "SUBSCRIBE",
    args: "channel [channel ...]",
    arity: -2,
    since: "2.0.0",
    group: Group::PubSub,
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED | FROM_CHANNELS,
    keys: Keys::NONE,
    doc: "Listens to channels. O(N) in the channels.",
    examples: "> SUBSCRIBE\n(error) ERR wrong number of arguments for 'subscribe' command",
    run: |ctx| subscribe(ctx, ChannelKind::Channel, b"subscribe"),
};

fn subscribe(ctx: &mut Ctx<'_, '_>, kind: ChannelKind, word: &[u8]) -> Outcome {
    ctx.write_pushes();
    let Ctx { args, session, node, out, .. } = ctx;
    for name in args.from(1) {
        if session.subscriptions.of(kind).insert(name.into()) {
            node.pubsub.subscribe(kind, name, &session.client);
        }
        confirm(out, word, Some(name), session.subscriptions.count(kind));
    }
    session.replies_anyway = true;
    Ok(())
}

fn confirm(out: &mut ctx::Reply<'_>, word: &[u8], name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.0.bulk(word);
    match name {
        Some(name) => out.0.bulk(name),
        None => out.0.null(),
    }
    out.0.int(count as i64);
}

const PUNSUBSCRIBE: Command = Command {
    name: "PUNSUBSCRIBE",
    args: "[pattern ...]",
    arity: -1,
    since: "2.0.0",
    group: Group::PubSub,
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED,
    keys: Keys::NONE,
    doc: "Ends the subscriptions to the patterns, or to all. O(N) in the patterns that the server knows.",
    examples: "> PUNSUBSCRIBE\n1) \"punsubscribe\"\n2) (nil)\n3) (integer) 0",
    run: |ctx| unsubscribe(ctx, ChannelKind::Pattern, b"punsubscribe"),
};

const SUNSUBSCRIBE: Command = Command {
    name: "SUNSUBSCRIBE",
    args: "[shardchannel ...]",
    arity: -1,
    since: "7.0.0",
    group: Group::PubSub,
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED,
    keys: Keys::range(1, -1, 1, keys::NOT_KEY),
    doc: "Ends the subscriptions to the shard channels, or to all. O(N) in the channels.",
    examples: "> SUNSUBSCRIBE a\n1) \"sunsubscribe\"\n2) \"a\"\n3) (integer) 0",
    run: |ctx| unsubscribe(ctx, ChannelKind::Shard, b"sunsubscribe"),
};

const UNSUBSCRIBE: Command = Command {
    name: "UNSUBSCRIBE",
    args: "[channel ...]",
    arity: -1,
    since: "2.0.0",
    group: Group::PubSub,
    flags: PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED,
    keys: Keys::NONE,
    doc: "Ends the subscriptions to the channels, or to all. O(N) in the channels.",
    examples: "> UNSUBSCRIBE\n1) \"unsubscribe\"\n2) (nil)\n3) (integer) 0",
    run: |ctx| unsubscribe(ctx, ChannelKind::Channel, b"unsubscribe"),
};

fn unsubscribe(ctx: &mut Ctx<'_, '_>, kind: ChannelKind, word: &[u8]) -> Outcome {
    let Ctx { args, session, node, .. } = ctx;
    let names: Vec<Box<[u8]>> = match args.len() {
        1 => session.subscriptions.of(kind).iter().cloned().collect(),
        _ => args.from(1).map(Box::from).collect(),
    };
    let mut ended = Vec::with_capacity(names.len());
    for name in names {
        if session.subscriptions.of(kind).remove(&name) {
            node.pubsub.unsubscribe(kind, &name, &session.client);
        }
        ended.push((name, session.subscriptions.count(kind)));
    }
    // No message comes from here on; those that came stand before the confirmations.
    ctx.write_pushes();
    let Ctx { out, session, .. } = ctx;
    if ended.is_empty() {
        confirm(out, word, None, session.subscriptions.count(kind));
    }
    ended.iter().for_each(|(name, count)| confirm(out, word, Some(name), *count));
    session.replies_anyway = true;
    Ok(())
}

const PUBLISH: Command = Command {
    name: "PUBLISH",
    args: "channel message",
    arity: 3,
    since: "2.0.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE | TO_CHANNEL,
    keys: Keys::NONE,
    doc: "Sends a message to a channel; answers how many clients got it. O(N+M) in its subscribers and all patterns.",
    examples: "> PUBLISH news hello\n(integer) 0",
    run: |ctx| publish(ctx, ChannelKind::Channel),
};

const SPUBLISH: Command = Command {
    name: "SPUBLISH",
    args: "shardchannel message",
    arity: 3,
    since: "7.0.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE | TO_CHANNEL,
    keys: Keys::range(1, 0, 1, keys::NOT_KEY),
    doc: "Sends a message to a shard channel; answers how many clients got it. O(N) in its subscribers.",
    examples: "> SPUBLISH news hello\n(integer) 0",
    run: |ctx| publish(ctx, ChannelKind::Shard),
};

/// The unit's end sends it, behind what the unit told before.
fn publish(ctx: &mut Ctx<'_, '_>, kind: ChannelKind) -> Outcome {
    let (channel, payload) = (ctx.args.get(1), ctx.args.get(2));
    let receivers = ctx.node.pubsub.receivers(kind, channel);
    // Replicas may have subscribers of their own.
    if receivers > 0 || ctx.node.journal.stream.is_on() {
        let (shard, channel, payload) = (kind == ChannelKind::Shard, channel.into(), payload.into());
        ctx.db.changes.side_effects().notices.push(Notice::Message { shard, channel, payload });
    }
    ctx.out.count(receivers)
}

const PUBSUB_: Command = Command {
    name: "PUBSUB",
    args: "",
    arity: -2,
    since: "2.8.0",
    group: Group::PubSub,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "What is subscribed to.",
    examples: "> PUBSUB NOSUCH\n(error) ERR unknown subcommand 'NOSUCH'. Try PUBSUB HELP.",
    run: container,
};

const PUBSUB_CHANNELS: Command = Command {
    name: "PUBSUB CHANNELS",
    args: "[pattern]",
    arity: -2,
    since: "2.8.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The channels that have subscribers. O(N) in the channels.",
    examples: "> PUBSUB CHANNELS\n(empty array)",
    run: |ctx| channels(ctx, ChannelKind::Channel),
};

const PUBSUB_SHARDCHANNELS: Command = Command {
    name: "PUBSUB SHARDCHANNELS",
    args: "[pattern]",
    arity: -2,
    since: "7.0.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The shard channels that have subscribers. O(N) in the channels.",
    examples: "> PUBSUB SHARDCHANNELS x*\n(empty array)",
    run: |ctx| channels(ctx, ChannelKind::Shard),
};

fn channels(ctx: &mut Ctx<'_, '_>, kind: ChannelKind) -> Outcome {
    let pattern = match ctx.args.len() {
        2 => None,
        3 => Some(ctx.args.get(2)),
        _ => return Err(unknown_or_wrong(ctx.args.get(1))),
    };
    let names = ctx.node.pubsub.channels(kind, pattern);
    ctx.out.bulks(names.iter());
    Ok(())
}

fn unknown_or_wrong(subcommand: &[u8]) -> Error {
    let start = b"ERR unknown subcommand or wrong number of arguments for '".as_slice();
    Error::owned([start, subcommand, b"'. Try PUBSUB HELP."].concat())
}

const PUBSUB_NUMSUB: Command = Command {
    name: "PUBSUB NUMSUB",
    args: "[channel ...]",
    arity: -2,
    since: "2.8.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE,
    keys: Keys::NONE,
    doc: "How many clients subscribe to each channel by its name. O(N) in the channels asked for.",
    examples: "> PUBSUB NUMSUB a\n1) \"a\"\n2) (integer) 0",
    run: |ctx| subscribers(ctx, ChannelKind::Channel),
};

const PUBSUB_SHARDNUMSUB: Command = Command {
    name: "PUBSUB SHARDNUMSUB",
    args: "[shardchannel ...]",
    arity: -2,
    since: "7.0.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE,
    keys: Keys::NONE,
    doc: "How many clients subscribe to each shard channel. O(N) in the channels asked for.",
    examples: "> PUBSUB SHARDNUMSUB\n(empty array)",
    run: |ctx| subscribers(ctx, ChannelKind::Shard),
};

fn subscribers(ctx: &mut Ctx<'_, '_>, kind: ChannelKind) -> Outcome {
    let Ctx { args, out, node, .. } = ctx;
    out.array(2 * (args.len() - 2));
    for channel in args.from(2) {
        out.0.bulk(channel);
        out.0.int(node.pubsub.subscribers(kind, channel) as i64);
    }
    Ok(())
}

const PUBSUB_NUMPAT: Command = Command {
    name: "PUBSUB NUMPAT",
    args: "",
    arity: 2,
    since: "2.8.0",
    group: Group::PubSub,
    flags: PUBSUB | LOADING | STALE,
    keys: Keys::NONE,
    doc: "How many different patterns are subscribed to. O(1).",
    examples: "> PUBSUB NUMPAT\n(integer) 0",
    run: |ctx| {
        let patterns = ctx.node.pubsub.len(ChannelKind::Pattern);
        ctx.out.count(patterns)
    },
};

const PUBSUB_HELP: Command = Command {
    name: "PUBSUB HELP",
    args: "",
    arity: 2,
    since: "6.2.0",
    group: Group::PubSub,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "What the subcommands do. O(1).",
    examples: "> PUBSUB HELP x\n(error) ERR wrong number of arguments for 'pubsub|help' command",
    run: |ctx| ctx.out.help("PUBSUB", PUBSUB_LINES),
};

const PUBSUB_LINES: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];
