//! Values in RDB form, read: every form since Redis 2.4.
//!
//! What comes in is distrusted: blocks are checked entry by entry, members must be distinct, nothing is allocated by a
//! declared length alone. A collection without members, as old servers wrote them by mistake, is [`Content::Empty`].

use super::read::{Reader, bad};
use super::value::{CONTAINER_PACKED, CONTAINER_PLAIN};
use super::*;
use crate::clock::Millis;
use crate::config::Config;
use crate::keyspace::{Db, Expiry};
use crate::num;
use crate::types::fields::Due;
use crate::types::hash::Hash;
use crate::types::intset::Intset;
use crate::types::list::{End, List, NodeMax};
use crate::types::listpack::Listpack;
use crate::types::set::{INTS_MAX, Set, SetMax};
use crate::types::zset::Zset;
use crate::types::{Collection, ListpackMax, Text, Value, legacy};
use ahash::AHashSet;
use smallvec::SmallVec;
use std::io::{self, BufRead};

/// A value as read.
pub enum Content {
    Text(Vec<u8>),
    Value(Value),
    /// A collection without members, as old servers wrote them by mistake: no value, and no damage either.
    Empty,
}

impl Content {
    /// Makes a key of it, whatever was there. False if there is nothing to put.
    pub fn put(self, db: &mut Db<'_>, key: &[u8], expiry: Option<Millis>, event: &'static str) -> bool {
        let expiry = expiry.map_or(Expiry::Clear, Expiry::At);
        match self {
            Self::Text(text) => db.set_string_as(key, &text, expiry, event),
            Self::Value(value) => db.put_value(key, value, expiry, b'g', event),
            Self::Empty => return false,
        }
        true
    }
}

/// Reads a value behind its type byte.
pub fn decode<R: BufRead>(r: &mut Reader<R>, kind: u8, config: &Config) -> io::Result<Content> {
    let value = match kind {
        STRING => return Ok(Content::Text(r.string()?)),
        LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => list(r, kind, config.list_max())?,
        HASH | HASH_ZIPMAP | HASH_ZIPLIST | HASH_LISTPACK | HASH_TIMED | HASH_TIMED_LISTPACK => {
            shared(hash(r, kind, config.hash_max())?, config)
        }
        HASH_TIMED_VALKEY if r.is_valkey => shared(hash_valkey(r, config.hash_max())?, config),
        SET | SET_INTSET | SET_LISTPACK => set(r, kind, config.set_max())?,
        ZSET | ZSET_BINARY | ZSET_ZIPLIST | ZSET_LISTPACK => zset(r, kind, config.zset_max())?,
        STREAM | STREAM_2 | STREAM_3 => streams::read(r, kind)?,
        other => return Err(bad(format!("RDB type {other} is not supported"))),
    };
    Ok(if value.is_empty_collection() { Content::Empty } else { Content::Value(value) })
}

fn list<R: BufRead>(r: &mut Reader<R>, kind: u8, max: NodeMax) -> io::Result<Value> {
    let mut list = List::default();
    let mut push = |text: Text<'_>| list.push(End::Right, text.bytes(&mut itoa::Buffer::new()), max);
    match kind {
        LIST => {
            for _ in 0..r.length()? {
                push(Text::Bytes(&r.member()?));
            }
        }
        LIST_ZIPLIST => ziplist(&r.string()?)?.into_iter().for_each(push),
        LIST_QUICKLIST => {
            for _ in 0..r.length()? {
                ziplist(&r.string()?)?.into_iter().for_each(&mut push);
            }
        }
        _ => {
            let nodes = r.length()?;
            if nodes == 0 {
                return Err(bad("Quicklist without nodes: integrity check failed."));
            }
            for _ in 0..nodes {
                match r.length()? {
                    CONTAINER_PLAIN => match r.member()? {
                        empty if empty.is_empty() => {
                            return Err(bad("Quicklist integrity check failed: an empty node."));
                        }
                        text => list.push(End::Right, &text, max),
                    },
                    CONTAINER_PACKED => list.push_pack(r.string_with(listpack)?),
                    other => return Err(bad(format!("Quicklist container {other} is unknown"))),
                }
            }
        }
    }
    Ok(Value::List(Box::new(list)))
}

fn set<R: BufRead>(r: &mut Reader<R>, kind: u8, max: SetMax) -> io::Result<Value> {
    let mut set = Set::default();
    let mut add = |member: &[u8]| match set.insert(member, max) {
        true => Ok(()),
        false => Err(bad("Set integrity check failed: a member is there twice.")),
    };
    match kind {
        SET => {
            for _ in 0..r.length()? {
                add(&r.member()?)?;
            }
        }
        SET_INTSET => {
            let bytes = r.string()?;
            let ints = Intset::from_untrusted(&bytes).ok_or_else(|| bad("Intset integrity check failed."))?;
            if ints.len() <= max.ints.min(INTS_MAX) {
                return Ok(Value::SetInts(ints));
            }
            ints.iter().try_for_each(|n| add(itoa::Buffer::new().format(n).as_bytes()))?;
        }
        _ => {
            let packed = r.string_with(listpack)?;
            packed.iter().try_for_each(|member| add(member.bytes(&mut itoa::Buffer::new())))?;
        }
    }
    Ok(set.into_value())
}

fn zset<R: BufRead>(r: &mut Reader<R>, kind: u8, max: ListpackMax) -> io::Result<Value> {
    let mut value = Zset::empty();
    let zset = Zset::of_mut(&mut value).expect("an empty sorted set is one");
    let mut add = |member: &[u8], score: f64| {
        let mut is_new = !score.is_nan();
        zset.update(member, max, |had| {
            is_new &= had.is_none();
            Some(score).filter(|_| is_new)
        });
        if is_new {
            Ok(())
        } else {
            Err(bad("Zset ziplist integrity check failed: a member is there twice, or a score is no number."))
        }
    };
    match kind {
        ZSET => {
            for _ in 0..r.length()? {
                let member = r.member()?;
                add(&member, ascii_score(r)?)?;
            }
        }
        ZSET_BINARY => {
            for _ in 0..r.length()? {
                let member = r.member()?;
                add(&member, f64::from_le_bytes(r.array()?))?;
            }
        }
        _ => {
            let bytes = r.string()?;
            let packed;
            let texts = match kind {
                ZSET_ZIPLIST => ziplist(&bytes)?,
                _ => {
                    packed = listpack(&bytes)?;
                    packed.iter().collect()
                }
            };
            for pair in texts.chunks(PAIR) {
                let [member, score] = pair else { return Err(bad("Listpack integrity check failed: a pair is cut.")) };
                let (mut a, mut b) = (itoa::Buffer::new(), itoa::Buffer::new());
                let score = num::parse_f64(score.bytes(&mut b)).ok_or_else(|| bad("A score is not a number"))?;
                add(member.bytes(&mut a), score)?;
            }
        }
    }
    Ok(value)
}

/// A score as old files have it: digits behind their length, or a length that stands for no finite number.
fn ascii_score<R: BufRead>(r: &mut Reader<R>) -> io::Result<f64> {
    Ok(match r.byte()? {
        253 => f64::NAN,
        254 => f64::INFINITY,
        255 => f64::NEG_INFINITY,
        len => num::parse_f64(&r.bytes(len.into())?).ok_or_else(|| bad("A score is not a number"))?,
    })
}

fn hash<R: BufRead>(r: &mut Reader<R>, kind: u8, max: ListpackMax) -> io::Result<Value> {
    if kind == HASH_LISTPACK {
        let (packed, fits) = r.string_with(|bytes| pairs(bytes, max))?;
        if fits {
            return Ok(Value::HashListpack(packed));
        }
        return hash_of(packed.iter().collect(), PAIR, max);
    }
    match kind {
        HASH_ZIPMAP => {
            hash_of(legacy::zipmap(&r.string()?).ok_or_else(|| bad("Zipmap integrity check failed."))?, PAIR, max)
        }
        HASH_ZIPLIST => hash_of(ziplist(&r.string()?)?, PAIR, max),
        HASH_TIMED_LISTPACK => {
            r.array::<8>()?;
            hash_of(r.string_with(listpack)?.iter().collect(), TRIPLE, max)
        }
        HASH_TIMED => {
            let first = i64::from_le_bytes(r.array()?);
            hash_members(r, Some(first), max)
        }
        _ => hash_members(r, None, max),
    }
}

/// Hashes of one layout share their names.
fn shared(mut value: Value, config: &Config) -> Value {
    if let Some(hash) = Hash::of_mut(&mut value) {
        hash.share(&config.hash_load_sharing());
    }
    value
}

/// Field by field; with times behind `first` if there are any.
fn hash_members<R: BufRead>(r: &mut Reader<R>, first: Option<Millis>, max: ListpackMax) -> io::Result<Value> {
    let mut value = Hash::empty();
    let hash = Hash::of_mut(&mut value).expect("an empty hash is a hash");
    for _ in 0..r.length()? {
        let due = match first {
            None => Due::Clear,
            Some(first) => match r.length()? {
                0 => Due::Clear,
                behind => due_at(first.checked_add_unsigned(behind - 1))?,
            },
        };
        if !hash.set(&r.member()?, &r.member()?, due, max) {
            return Err(bad("Hash integrity check failed: a field is there twice."));
        }
    }
    Ok(value)
}

/// Field by field, each with its time behind it, or all ones.
fn hash_valkey<R: BufRead>(r: &mut Reader<R>, max: ListpackMax) -> io::Result<Value> {
    let mut value = Hash::empty();
    let hash = Hash::of_mut(&mut value).expect("an empty hash is a hash");
    for _ in 0..r.length()? {
        let (name, text) = (r.member()?, r.member()?);
        let due = match i64::from_le_bytes(r.array()?) {
            -1 => Due::Clear,
            at => due_at(Some(at))?,
        };
        if !hash.set(&name, &text, due, max) {
            return Err(bad("Hash integrity check failed: a field is there twice."));
        }
    }
    Ok(value)
}

/// From the entries of one block, `stride` for each field.
fn hash_of(texts: Vec<Text<'_>>, stride: usize, max: ListpackMax) -> io::Result<Value> {
    let mut value = Hash::empty();
    let hash = Hash::of_mut(&mut value).expect("an empty hash is a hash");
    let (mut a, mut b) = (itoa::Buffer::new(), itoa::Buffer::new());
    for chunk in texts.chunks(stride) {
        let due = match chunk {
            [_, _] => Due::Clear,
            [_, _, Text::Int(0)] => Due::Clear,
            [_, _, Text::Int(at)] => due_at(Some(*at))?,
            _ => return Err(bad("Hash integrity check failed: a field is cut.")),
        };
        if !hash.set(chunk[0].bytes(&mut a), chunk[1].bytes(&mut b), due, max) {
            return Err(bad("Hash integrity check failed: a field is there twice."));
        }
    }
    Ok(value)
}

/// A block of pairs, and whether it may stay as it is: within the limits. Names must be distinct and pairs whole.
fn pairs(bytes: &[u8], max: ListpackMax) -> io::Result<(Listpack, bool)> {
    let (mut within, mut is_name, mut prints) = (true, true, SmallVec::<[u64; PACKED_FIELDS]>::new());
    let packed = Listpack::from_untrusted_seen(bytes, |text| {
        within &= match text {
            Text::Bytes(bytes) => bytes.len() <= max.bytes,
            Text::Int(_) => max.bytes >= INT_TEXT_MAX || text.len() <= max.bytes,
        };
        if is_name {
            prints.push(fingerprint(text));
        }
        is_name = !is_name;
    });
    let packed = packed.ok_or_else(|| bad(LISTPACK_DAMAGED))?;
    if !is_name {
        return Err(bad("Listpack integrity check failed: a pair is cut."));
    }
    within &= prints.len() <= max.entries;
    // Equal fingerprints are rare: only they are looked into, by a table of all names.
    let mut seen = AHashSet::new();
    if has_doubles(&mut prints) && !packed.pairs().all(|(name, _)| seen.insert(name)) {
        return Err(bad("Hash listpack with dup elements: integrity check failed."));
    }
    Ok((packed, within))
}

/// Equal for equal names; of short ones nothing but a multiplication.
#[inline]
fn fingerprint(name: Text<'_>) -> u64 {
    match name {
        Text::Bytes(bytes) if (4..=16).contains(&bytes.len()) => {
            let word = |four: &[u8]| u64::from(u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            let (len, half) = (bytes.len(), bytes.len() / 8 * 4);
            let a = word(bytes) << 32 | word(&bytes[half..]);
            let b = word(&bytes[len - 4..]) << 32 | word(&bytes[len - 4 - half..]);
            let wide = u128::from(a ^ FOLD[0]) * u128::from(b ^ FOLD[1]);
            (wide as u64 ^ (wide >> 64) as u64).wrapping_add(len as u64)
        }
        other => ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(other),
    }
}

fn has_doubles(prints: &mut [u64]) -> bool {
    if prints.len() <= PAIRWISE_MAX {
        // No branch that could be foreseen wrongly.
        return (1..prints.len()).any(|i| prints[..i].contains(&prints[i]));
    }
    prints.sort_unstable();
    prints.windows(2).any(|two| two[0] == two[1])
}

/// A field's time, if it is one that any server can hold.
fn due_at(at: Option<Millis>) -> io::Result<Due> {
    at.filter(|at| FIELD_TIMES.contains(at)).map(Due::At).ok_or_else(|| bad("A field's expiry is out of range"))
}

fn ziplist(bytes: &[u8]) -> io::Result<Vec<Text<'_>>> {
    legacy::ziplist(bytes).ok_or_else(|| bad("Zset ziplist integrity check failed, or another type's."))
}

fn listpack(bytes: &[u8]) -> io::Result<Listpack> {
    Listpack::from_untrusted(bytes).ok_or_else(|| bad(LISTPACK_DAMAGED))
}

/// The longest integer, with its sign.
const INT_TEXT_MAX: usize = 20;
const LISTPACK_DAMAGED: &str = "Listpack integrity check failed.";
/// Any two odd numbers without a pattern: digits of pi.
const FOLD: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];
/// Most names that are compared each with each.
const PAIRWISE_MAX: usize = 24;
/// Fields of a small hash by the default `hash-max-listpack-entries`.
const PACKED_FIELDS: usize = 128;
/// Redis has 48 bits for a field's time and refuses a file with a greater one.
const FIELD_TIMES: std::ops::Range<Millis> = 0..1 << 48;
/// Entries of a block for each field.
const PAIR: usize = 2;
const TRIPLE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(kind: u8, bytes: &[u8]) -> bool {
        decode(&mut Reader::new(bytes), kind, &Config::default()).is_err()
    }

    #[test]
    fn a_field_time_beyond_48_bits_is_refused() {
        let by_field = |at: i64| [&at.to_le_bytes()[..], b"\x01\x01\x01f\x01v"].concat();
        assert!(!is_refused(HASH_TIMED, &by_field((1 << 48) - 1)));
        for at in [1 << 48, i64::MAX, -1, i64::MIN] {
            assert!(is_refused(HASH_TIMED, &by_field(at)), "{at}");
        }
        let packed = |at: i64| {
            let mut block = Listpack::new();
            [b"f", b"v", at.to_string().as_bytes()].iter().for_each(|text: &&[u8]| block.push_back(text));
            [&[0; 8][..], &[block.bytes().len() as u8], block.bytes()].concat()
        };
        assert!(!is_refused(HASH_TIMED_LISTPACK, &packed((1 << 48) - 1)));
        assert!(is_refused(HASH_TIMED_LISTPACK, &packed(1 << 48)));
    }

    #[test]
    fn a_field_that_comes_twice_is_found_wherever_it_stands() {
        let block = |names: &[String]| {
            let mut packed = Listpack::new();
            names.iter().flat_map(|name| [name.as_str(), "value"]).for_each(|text| packed.push_back(text.as_bytes()));
            packed
        };
        let names: Vec<String> =
            (0..300).map(|n| if n % 7 == 0 { n.to_string() } else { format!("field{n}") }).collect();
        let max = ListpackMax { entries: 512, bytes: 64 };
        let fits = |packed: Listpack, max| pairs(packed.bytes(), max).map(|(_, fits)| fits);
        assert!(fits(block(&names), max).unwrap() && fits(Listpack::new(), max).unwrap());
        assert!(!fits(block(&names), ListpackMax { entries: 299, ..max }).unwrap());
        assert!(!fits(block(&names), ListpackMax { bytes: 4, ..max }).unwrap());
        for (count, from, to) in
            [(300, 0, 1), (300, 0, 299), (300, 299, 5), (300, 298, 0), (20, 0, 19), (20, 19, 3), (2, 0, 1)]
        {
            let mut names = names[..count].to_vec();
            assert!(fits(block(&names), max).is_ok());
            names[to] = names[from].clone();
            assert!(fits(block(&names), max).is_err(), "{from} again at {to} of {count}");
        }
    }
}
