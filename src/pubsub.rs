//! Channels, patterns and their subscribers: the way of a message from PUBLISH to the clients that hear it.
//!
//! A channel lives in one of [`SHARDS`] maps, chosen by its name, each under a lock of its own; publishing takes it for
//! reading, so that no global lock is on the way. Patterns are found by the bytes in front of their first special
//! character; a publisher matches only those whose beginning its channel has. A message is encoded once for each form in
//! which it is heard: once for a channel's subscribers, and one shared tail for all patterns.
//! Invariant: a client is in a channel's list exactly while its session holds the subscription; a channel without
//! subscribers is not in its map. Per publisher and subscriber the order is kept.
//! Not here: the commands (`commands::pubsub`), what a client may have unread (`clients`).

use crate::clients::{Client, Clients, Push, Tracker};
use crate::glob;
use crate::resp::push_bulk;
use ahash::RandomState;
use bytes::Bytes;
use crossbeam_utils::CachePadded;
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    Channel,
    Pattern,
    Shard,
}

#[derive(Default)]
pub struct PubSub {
    channels: Channels,
    shard_channels: Channels,
    patterns: RwLock<Patterns>,
    /// Subscriptions to channels and patterns: while there are none, keyspace events cost nothing.
    heard: AtomicUsize,
    /// Clients with a subscription of any kind.
    clients: AtomicUsize,
    prefixes: RwLock<Vec<Prefix>>,
}

/// What clients that track in broadcasting mode want to hear of.
struct Prefix {
    prefix: Box<[u8]>,
    trackers: Vec<Arc<Tracker>>,
}

/// In the order of their ids.
type Subscribers = Vec<Arc<Client>>;

type Map = HashMap<Box<[u8]>, Subscribers, RandomState>;

struct Channels {
    shards: Box<[CachePadded<RwLock<Map>>]>,
    hasher: RandomState,
}

/// Patterns by their literal prefix, the bytes in front of the first special character.
struct Patterns {
    by_prefix: HashMap<Box<[u8]>, Vec<Pattern>, RandomState>,
    /// Prefixes of each length.
    lengths: BTreeMap<usize, usize>,
    len: usize,
}

struct Pattern {
    pattern: Box<[u8]>,
    /// `pmessage` and the pattern, encoded.
    head: Bytes,
    subscribers: Subscribers,
}

impl Default for Channels {
    fn default() -> Self {
        let hasher = crate::table::keyed_hasher();
        let shard = || CachePadded::new(RwLock::new(Map::with_hasher(hasher.clone())));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher }
    }
}

impl Channels {
    fn of(&self, channel: &[u8]) -> &RwLock<Map> {
        &self.shards[self.hasher.hash_one(channel) as usize % SHARDS]
    }

    /// Sends a message to a channel's subscribers. Returns how many they are.
    fn send(&self, clients: &Clients, kind: &'static [u8], channel: &[u8], tail: &Tail<'_>, journal_end: u64) -> usize {
        let map = self.of(channel).read();
        let Some(subscribers) = map.get(channel) else { return 0 };
        let push = Push::message(kind, tail.get());
        subscribers.iter().for_each(|client| clients.push(client, &push, journal_end));
        subscribers.len()
    }

    fn count(&self, channel: &[u8]) -> usize {
        self.of(channel).read().get(channel).map_or(0, Vec::len)
    }

    fn names(&self, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let is_wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name, false));
        let mut names = Vec::new();
        for shard in &self.shards {
            names.extend(shard.read().keys().filter(|name| is_wanted(name)).cloned());
        }
        names
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

impl Default for Patterns {
    fn default() -> Self {
        let by_prefix = HashMap::with_hasher(crate::table::keyed_hasher());
        Self { by_prefix, lengths: BTreeMap::new(), len: 0 }
    }
}

impl Patterns {
    /// Those that match a channel, by the length of their prefix. O(L+M) in the lengths and the patterns with a prefix of
    /// the channel.
    fn matching(&self, channel: &[u8]) -> impl Iterator<Item = &Pattern> {
        let prefixes = self.lengths.range(..=channel.len()).map(|(len, _)| &channel[..*len]);
        let begin_alike = prefixes.filter_map(|prefix| self.by_prefix.get(prefix)).flatten();
        begin_alike.filter(move |p| glob::matches(&p.pattern, channel, false))
    }

    fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.by_prefix.values().flatten()
    }

    fn add(&mut self, name: &[u8], client: &Arc<Client>) {
        let prefix = literal_prefix(name);
        let alike = self.by_prefix.entry(prefix.into()).or_insert_with(|| {
            *self.lengths.entry(prefix.len()).or_default() += 1;
            Vec::new()
        });
        let at = alike.iter().position(|p| *p.pattern == *name).unwrap_or_else(|| {
            let mut head = b"$8\r\npmessage\r\n".to_vec();
            push_bulk(&mut head, name);
            alike.push(Pattern { pattern: name.into(), head: head.into(), subscribers: Vec::new() });
            self.len += 1;
            alike.len() - 1
        });
        add(&mut alike[at].subscribers, client);
    }

    fn remove(&mut self, name: &[u8], client: &Client) {
        let prefix = literal_prefix(name);
        let Some(alike) = self.by_prefix.get_mut(prefix) else { return };
        let Some(at) = alike.iter().position(|p| *p.pattern == *name) else { return };
        remove(&mut alike[at].subscribers, client);
        if !alike[at].subscribers.is_empty() {
            return;
        }
        alike.remove(at);
        self.len -= 1;
        if alike.is_empty() {
            self.by_prefix.remove(prefix);
            if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                *count -= 1;
            }
            self.lengths.retain(|_, count| *count > 0);
        }
    }
}

/// What a pattern's matches begin with.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| b"*?[\\".contains(byte));
    &pattern[..end.unwrap_or(pattern.len())]
}

/// Channel and payload, encoded when the first subscriber is found.
struct Tail<'m> {
    channel: &'m [u8],
    payload: &'m [u8],
    encoded: std::cell::OnceCell<Bytes>,
}

impl<'m> Tail<'m> {
    fn of(channel: &'m [u8], payload: &'m [u8]) -> Self {
        Self { channel, payload, encoded: std::cell::OnceCell::new() }
    }

    fn get(&self) -> Bytes {
        self.encoded.get_or_init(|| Push::two_bulks(self.channel, self.payload)).clone()
    }
}

impl PubSub {
    /// Adds a subscription, which the session does not hold yet.
    pub fn subscribe(&self, kind: ChannelKind, name: &[u8], client: &Arc<Client>) {
        match self.channels_of(kind) {
            Some(channels) => add(channels.of(name).write().entry(name.into()).or_default(), client),
            None => self.patterns.write().add(name, client),
        }
        if kind != ChannelKind::Shard {
            self.heard.fetch_add(1, Relaxed);
        }
        let facts = &client.facts;
        if !facts.is_subscribed() {
            self.clients.fetch_add(1, Relaxed);
        }
        facts.subscribed[kind as usize].fetch_add(1, Relaxed);
        facts.memory.subscriptions.fetch_add(SUBSCRIPTION_BYTES + 2 * name.len(), Relaxed);
    }

    /// Takes back a subscription that the session holds.
    pub fn unsubscribe(&self, kind: ChannelKind, name: &[u8], client: &Client) {
        match self.channels_of(kind) {
            Some(channels) => {
                let mut map = channels.of(name).write();
                let Some(subscribers) = map.get_mut(name) else { return };
                remove(subscribers, client);
                if subscribers.is_empty() {
                    map.remove(name);
                }
            }
            None => self.patterns.write().remove(name, client),
        }
        if kind != ChannelKind::Shard {
            self.heard.fetch_sub(1, Relaxed);
        }
        let facts = &client.facts;
        facts.subscribed[kind as usize].fetch_sub(1, Relaxed);
        facts.memory.subscriptions.fetch_sub(SUBSCRIPTION_BYTES + 2 * name.len(), Relaxed);
        if !facts.is_subscribed() {
            self.clients.fetch_sub(1, Relaxed);
        }
    }

    /// Visits every subscription: of which kind, to what, whose.
    pub fn for_each(&self, mut visit: impl FnMut(ChannelKind, &[u8], &Arc<Client>)) {
        for (kind, channels) in [(ChannelKind::Channel, &self.channels), (ChannelKind::Shard, &self.shard_channels)] {
            for shard in &channels.shards {
                for (name, subscribers) in shard.read().iter() {
                    subscribers.iter().for_each(|client| visit(kind, name, client));
                }
            }
        }
        for p in self.patterns.read().iter() {
            p.subscribers.iter().for_each(|client| visit(ChannelKind::Pattern, &p.pattern, client));
        }
    }

    /// CLIENT TRACKING BCAST: a client wants to hear of changes of keys with this prefix.
    pub fn add_prefix(&self, prefix: &[u8], tracker: &Arc<Tracker>) {
        let mut prefixes = self.prefixes.write();
        match prefixes.iter_mut().find(|p| *p.prefix == *prefix) {
            Some(p) => p.trackers.push(tracker.clone()),
            None => prefixes.push(Prefix { prefix: prefix.into(), trackers: vec![tracker.clone()] }),
        }
    }

    /// Takes all prefixes of a client back.
    pub fn remove_prefixes(&self, tracker: &Arc<Tracker>) {
        self.prefixes.write().retain_mut(|p| {
            p.trackers.retain(|other| !Arc::ptr_eq(other, tracker));
            !p.trackers.is_empty()
        });
    }

    pub fn prefixes(&self) -> usize {
        self.prefixes.read().len()
    }

    /// Tells the clients that broadcast which keys a unit has changed: one message for each prefix. `by`: the id of the
    /// client that changed them. Returns how many messages were sent.
    pub fn broadcast(&self, clients: &Clients, keys: &[&[u8]], by: u64, journal_end: u64) -> usize {
        let mut sent = 0;
        for Prefix { prefix, trackers } in self.prefixes.read().iter() {
            let mut seen = BTreeSet::new();
            let matching: Vec<&[u8]> =
                keys.iter().copied().filter(|key| key.starts_with(prefix) && seen.insert(*key)).collect();
            if matching.is_empty() {
                continue;
            }
            let push = Push::invalid(&matching);
            for tracker in trackers.iter().filter(|tracker| tracker.hears(by)) {
                match tracker.may_hear(&matching) {
                    None => tracker.send(clients, &push, journal_end),
                    Some(some) if some.is_empty() => continue,
                    Some(some) => tracker.send(clients, &Push::invalid(&some), journal_end),
                }
                sent += 1;
            }
        }
        sent
    }

    fn channels_of(&self, kind: ChannelKind) -> Option<&Channels> {
        match kind {
            ChannelKind::Channel => Some(&self.channels),
            ChannelKind::Shard => Some(&self.shard_channels),
            ChannelKind::Pattern => None,
        }
    }

    /// Sends a message to the subscribers of a channel and of the patterns that match it. Returns how many times it was
    /// sent.
    pub fn publish(&self, clients: &Clients, channel: &[u8], payload: &[u8], journal_end: u64) -> usize {
        let tail = Tail::of(channel, payload);
        let mut sent = self.channels.send(clients, b"$7\r\nmessage\r\n", channel, &tail, journal_end);
        for p in self.patterns.read().matching(channel) {
            let push = Push::Elements { len: 4, head: p.head.clone(), tail: tail.get() };
            p.subscribers.iter().for_each(|client| clients.push(client, &push, journal_end));
            sent += p.subscribers.len();
        }
        sent
    }

    /// The same for a shard channel, which no pattern matches.
    pub fn publish_to_shard(&self, clients: &Clients, channel: &[u8], payload: &[u8], journal_end: u64) -> usize {
        let tail = Tail::of(channel, payload);
        self.shard_channels.send(clients, b"$8\r\nsmessage\r\n", channel, &tail, journal_end)
    }

    /// How many times a message would be sent now.
    pub fn receivers(&self, kind: ChannelKind, channel: &[u8]) -> usize {
        let of_patterns = || self.patterns.read().matching(channel).map(|p| p.subscribers.len()).sum::<usize>();
        match kind {
            ChannelKind::Shard => self.shard_channels.count(channel),
            _ => self.channels.count(channel) + of_patterns(),
        }
    }

    /// Subscribers of a channel by its exact name.
    pub fn subscribers(&self, kind: ChannelKind, channel: &[u8]) -> usize {
        self.channels_of(kind).map_or(0, |channels| channels.count(channel))
    }

    /// The channels with subscribers whose names match.
    pub fn channels(&self, kind: ChannelKind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        self.channels_of(kind).map_or_else(Vec::new, |channels| channels.names(pattern))
    }

    /// Channels with subscribers, or patterns.
    pub fn len(&self, kind: ChannelKind) -> usize {
        self.channels_of(kind).map_or_else(|| self.patterns.read().len, Channels::len)
    }

    /// Clients with a subscription.
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }
}

fn add(subscribers: &mut Subscribers, client: &Arc<Client>) {
    let at = subscribers.partition_point(|other| other.id < client.id);
    subscribers.insert(at, client.clone());
}

fn remove(subscribers: &mut Subscribers, client: &Client) {
    if let Ok(at) = subscribers.binary_search_by_key(&client.id, |other| other.id) {
        subscribers.remove(at);
    }
}

/// Enough that two publishers seldom meet.
const SHARDS: usize = 64;
/// A subscription beside its name: a place in the session's set, and a list with one subscriber.
const SUBSCRIPTION_BYTES: usize = 2 * size_of::<Box<[u8]>>() + size_of::<Vec<Arc<Client>>>() + size_of::<Arc<Client>>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Proto;
    use proptest::prelude::*;

    fn client(id: u64) -> Arc<Client> {
        Client::new(id, String::new(), String::new(), false, 0)
    }

    fn heard(client: &Client) -> String {
        let mut out = Vec::new();
        client.take_pushes().iter().for_each(|push| push.render(&mut out, Proto::Resp2));
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn a_message_goes_to_the_channel_and_to_each_matching_pattern() {
        let (pubsub, clients, a, b) = (PubSub::default(), Clients::default(), client(1), client(2));
        pubsub.subscribe(ChannelKind::Channel, b"news", &a);
        pubsub.subscribe(ChannelKind::Pattern, b"n*", &a);
        pubsub.subscribe(ChannelKind::Pattern, b"n*", &b);
        pubsub.subscribe(ChannelKind::Pattern, b"x*", &b);
        pubsub.subscribe(ChannelKind::Shard, b"news", &b);
        assert_eq!(
            (pubsub.receivers(ChannelKind::Channel, b"news"), pubsub.publish(&clients, b"news", b"1", 0)),
            (3, 3)
        );
        assert_eq!(heard(&a), "*3 $7 message $4 news $1 1 *4 $8 pmessage $2 n* $4 news $1 1 ");
        assert_eq!(heard(&b), "*4 $8 pmessage $2 n* $4 news $1 1 ");
        assert_eq!(pubsub.publish_to_shard(&clients, b"news", b"2", 0), 1);
        assert_eq!((heard(&a).as_str(), heard(&b).as_str()), ("", "*3 $8 smessage $4 news $1 2 "));
        assert_eq!((pubsub.clients(), pubsub.len(ChannelKind::Channel), pubsub.len(ChannelKind::Pattern)), (2, 1, 2));
        for pattern in [&b"n*"[..], b"x*"] {
            pubsub.unsubscribe(ChannelKind::Pattern, pattern, &b);
        }
        pubsub.unsubscribe(ChannelKind::Shard, b"news", &b);
        pubsub.unsubscribe(ChannelKind::Pattern, b"n*", &a);
        pubsub.unsubscribe(ChannelKind::Channel, b"news", &a);
        assert_eq!(pubsub.publish(&clients, b"news", b"3", 0), 0);
        assert_eq!(
            (pubsub.clients(), pubsub.heard.load(Relaxed), pubsub.channels(ChannelKind::Channel, None).len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_subscriber_that_does_not_read_is_closed_at_its_limit() {
        let (pubsub, clients, slow) = (PubSub::default(), Clients::default(), client(1));
        let mut limits = crate::clients::OutputLimits::default();
        let limit = crate::clients::OutputLimit { hard_bytes: 1000, ..Default::default() };
        limits.set(crate::clients::ClientClass::PubSub, limit);
        clients.set_output_limits(&limits);
        pubsub.subscribe(ChannelKind::Channel, b"c", &slow);
        (0..100).for_each(|_| _ = pubsub.publish(&clients, b"c", &[b'x'; 100], 0));
        let mail = slow.collect(None);
        assert!(mail.close && mail.overflowed && mail.pushes.is_empty());
    }

    proptest! {
        #[test]
        fn the_patterns_of_a_channel_are_those_that_match_it(
            names in prop::collection::btree_set("[ab*?^\\[\\]\\\\-]{0,5}", 0..30),
            gone in 0usize..30,
            channel in "[ab\\]]{0,6}",
        ) {
            let (listener, mut patterns) = (client(1), Patterns::default());
            names.iter().for_each(|name| patterns.add(name.as_bytes(), &listener));
            names.iter().take(gone).for_each(|name| patterns.remove(name.as_bytes(), &listener));
            let left = || names.iter().skip(gone).map(String::as_bytes);
            prop_assert_eq!(patterns.len, left().count());
            let found: BTreeSet<&[u8]> = patterns.matching(channel.as_bytes()).map(|p| &*p.pattern).collect();
            prop_assert_eq!(found, left().filter(|name| glob::matches(name, channel.as_bytes(), false)).collect());
            left().for_each(|name| patterns.remove(name, &listener));
            prop_assert!(patterns.len == 0 && patterns.lengths.is_empty() && patterns.by_prefix.is_empty());
        }
    }
}
