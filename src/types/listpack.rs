//! Listpacks: short sequences of strings and integers in one block, in Redis's own bytes.
//!
//! ```text
//! total bytes 4 LE | count 2 LE, 65535 for unknown | entry … | 0xFF
//! entry: encoding and data | length of those, 7 bits a byte, readable from behind
//! ```
//! Small hashes, sets and sorted sets are one listpack each, lists are many; RDB, DUMP and replication copy the bytes
//! as they are. Strings that read as integers are kept as integers. A **position** is the offset of an entry from the
//! block's start; it is valid until the listpack changes in front of it.
//! Invariant: the bytes are well formed. Bytes from outside come in through [`Listpack::from_untrusted`] only.
//! Cost: finding is a walk; inserting and removing move what is behind. Source of the format: Redis's listpack.

use super::blob::Blob;
use super::text::{Text, as_int};
use crate::mover::{Movable, Mover};
use smallvec::SmallVec;
use std::ops::Range;

/// A listpack.
#[derive(Clone)]
pub struct Listpack(Blob);

/// Where an entry begins.
pub type Position = usize;

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl Movable for Listpack {
    fn relocate(&mut self, mover: &mut Mover) {
        self.0.relocate(mover);
    }
}

impl Listpack {
    pub fn new() -> Self {
        Self(Blob::of(&[7, 0, 0, 0, 0, 0, END]))
    }

    /// Where the first entry begins, if there is one.
    pub const FRONT: Position = HEADER;

    /// Takes bytes from a file or a client: every entry is looked at once, in time linear in the bytes.
    pub fn from_untrusted(bytes: &[u8]) -> Option<Self> {
        Self::from_untrusted_seen(bytes, |_| {})
    }

    /// As [`Listpack::from_untrusted`]; `see` gets the entries on the way, also those in front of damage.
    #[inline]
    pub fn from_untrusted_seen(bytes: &[u8], see: impl FnMut(Text<'_>)) -> Option<Self> {
        is_well_formed(bytes, see).then(|| Self(Blob::of(bytes)))
    }

    /// The listpack in its own format.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// See [`Blob::address`].
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.0.address()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Number of entries; a walk from 65,535 on.
    #[inline]
    pub fn len(&self) -> usize {
        match self.stored_count() {
            COUNT_UNKNOWN => self.iter().count(),
            n => n as usize,
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes()[HEADER] == END
    }

    fn stored_count(&self) -> u16 {
        u16::from_le_bytes([self.bytes()[4], self.bytes()[5]])
    }

    #[inline]
    pub fn first(&self) -> Option<Position> {
        self.live(HEADER)
    }

    pub fn last(&self) -> Option<Position> {
        self.prev(self.end())
    }

    /// The position behind the last entry: where appending inserts.
    #[inline]
    pub fn end(&self) -> Position {
        self.bytes().len() - 1
    }

    #[inline]
    pub fn next(&self, at: Position) -> Option<Position> {
        self.live(self.behind(at))
    }

    /// The entry `count` behind the one at `at`.
    #[inline]
    pub fn skip(&self, at: Position, count: usize) -> Option<Position> {
        (0..count).try_fold(at, |at, _| self.next(at))
    }

    pub fn prev(&self, at: Position) -> Option<Position> {
        (at > HEADER).then(|| {
            let size = read_back_length(self.bytes(), at);
            at - size - back_length_bytes(size)
        })
    }

    /// The entry at an index, counted from the front or, if negative, from behind; walks from the nearer end.
    pub fn seek(&self, index: isize) -> Option<Position> {
        let count = self.stored_count();
        let (mut index, mut forward) = (index, index >= 0);
        if count != COUNT_UNKNOWN {
            let count = count as isize;
            let from_front = if index < 0 { index + count } else { index };
            if !(0..count).contains(&from_front) {
                return None;
            }
            forward = from_front <= count / 2;
            index = if forward { from_front } else { from_front - count };
        }
        if forward {
            (0..index).try_fold(self.first()?, |at, _| self.next(at))
        } else {
            (index..-1).try_fold(self.last()?, |at, _| self.prev(at))
        }
    }

    /// Entries in front of a position.
    pub fn count_before(&self, at: Position) -> usize {
        std::iter::successors(self.first(), |&at| self.next(at)).take_while(|&before| before < at).count()
    }

    /// The entry at a position.
    #[inline]
    pub fn get(&self, at: Position) -> Text<'_> {
        decode(&self.bytes()[at..]).0
    }

    /// The entries from the front.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(HEADER)
    }

    /// The entries from a position on; behind the last one there are none.
    #[inline]
    pub fn iter_from(&self, at: Position) -> Iter<'_> {
        Iter(&self.bytes()[at..])
    }

    /// Entries two by two: a hash's fields and values, a sorted set's members and scores.
    #[inline]
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs(self.iter())
    }

    /// The first entry that equals `wanted`, looking at every `stride`-th from `from` on.
    #[inline]
    pub fn find(&self, from: Option<Position>, wanted: &[u8], stride: usize) -> Option<Position> {
        let (at, len) = (from?, wanted.len());
        match (as_int(wanted), wanted.last()) {
            (Some(number), _) => self.find_by(at, stride, |entry| match decode(entry).0 {
                Text::Bytes(b) => b == wanted,
                Text::Int(n) => n == number,
            }),
            // Nearly all entries are told from a short text by their length, which is in the header, or their last byte.
            (None, Some(&last)) if len < SHORT_TEXT => self.find_by(at, stride, |entry| match entry[0] {
                header @ 0x80..=0xbf => header == 0x80 | len as u8 && entry[len] == last && entry[1..=len] == *wanted,
                _ => decode(entry).0 == Text::Bytes(wanted),
            }),
            _ => self.find_by(at, stride, |entry| decode(entry).0 == Text::Bytes(wanted)),
        }
    }

    /// The first for which `is` holds of every `stride`-th entry from `at` on. `is` sees all bytes from the entry's on.
    #[inline]
    fn find_by(&self, mut at: Position, stride: usize, is: impl Fn(&[u8]) -> bool) -> Option<Position> {
        let bytes = self.bytes();
        while bytes[at] != END {
            if is(&bytes[at..]) {
                return Some(at);
            }
            at += entry_bytes(&bytes[at..]);
            for _ in 1..stride {
                if bytes[at] != END {
                    at += entry_bytes(&bytes[at..]);
                }
            }
        }
        None
    }

    pub fn push_back(&mut self, text: &[u8]) {
        self.insert(self.end(), text);
    }

    pub fn push_front(&mut self, text: &[u8]) {
        self.insert(HEADER, text);
    }

    /// Puts an entry in front of the one at `at`, or at the end; it then stands at `at`.
    pub fn insert(&mut self, at: Position, text: &[u8]) {
        self.insert_all(at, [text]);
    }

    /// Puts entries in front of the one at `at`, or at the end; the first then stands at `at`.
    pub fn insert_all<const N: usize>(&mut self, at: Position, texts: [&[u8]; N]) {
        self.put(at, 0, texts);
        self.count_changed(N as isize);
    }

    /// Puts entries at the end, all at once.
    pub fn extend<'a>(&mut self, texts: impl Iterator<Item = Text<'a>>) {
        let entries: SmallVec<[_; EXTENDED_ROOM]> = texts
            .map(|text| {
                let (bytes, encoding) = match text {
                    Text::Bytes(bytes) => (bytes, Encoding::of(bytes)),
                    Text::Int(n) => (&b""[..], Encoding::Int(n)),
                };
                let size = encoding.bytes(bytes);
                (bytes, encoding, size)
            })
            .collect();
        let added = entries.iter().map(|(_, _, size)| size + back_length_bytes(*size)).sum();
        let end = self.end();
        fill(self.0.splice(end, 0, added), &entries);
        self.write_total();
        self.count_changed(entries.len() as isize);
    }

    /// Puts another entry in the place of the one at `at`.
    pub fn replace(&mut self, at: Position, text: &[u8]) {
        self.put(at, entry_bytes(&self.bytes()[at..]), [text]);
    }

    /// Removes `count` entries from `at` on, or as many as there are; what follows then stands at `at`.
    pub fn remove(&mut self, at: Position, count: usize) {
        let bytes = self.bytes();
        let (mut end, mut removed) = (at, 0);
        while removed < count && bytes[end] != END {
            end += entry_bytes(&bytes[end..]);
            removed += 1;
        }
        self.0.splice(at, end - at, 0);
        self.write_total();
        self.count_changed(-(removed as isize));
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Text<'_>) -> bool) {
        let bytes = self.0.bytes_mut();
        let (mut from, mut to, mut count) = (HEADER, HEADER, 0);
        while bytes[from] != END {
            let (text, size) = decode(&bytes[from..]);
            let end = from + size + back_length_bytes(size);
            if keep(text) {
                bytes.copy_within(from..end, to);
                (to, count) = (to + end - from, count + 1);
            }
            from = end;
        }
        self.0.splice(to, from - to, 0);
        self.write_total();
        self.write_count(count);
    }

    /// Moves the entries of a range in front of the one at `to`, or to the end; where they stand then. `to` is not inside.
    pub fn shift(&mut self, range: Range<Position>, to: Position) -> Position {
        let (bytes, len) = (self.0.bytes_mut(), range.len());
        if to <= range.start {
            bytes[to..range.end].rotate_right(len);
            return to;
        }
        bytes[range.start..to].rotate_left(len);
        to - len
    }

    /// Cuts off the entries from `at` on and returns them.
    pub fn split_off(&mut self, at: Position) -> Self {
        let mut tail = Self::new();
        let moved = &self.bytes()[at..self.end()];
        tail.0.splice(HEADER, 0, moved.len()).copy_from_slice(moved);
        tail.write_total();
        tail.recount();
        let gone = self.end() - at;
        self.0.splice(at, gone, 0);
        self.write_total();
        self.recount();
        tail
    }

    /// Appends all of another listpack's entries.
    pub fn append(&mut self, other: &Self) {
        let moved = &other.bytes()[HEADER..other.end()];
        let at = self.end();
        self.0.splice(at, 0, moved.len()).copy_from_slice(moved);
        self.write_total();
        self.count_changed(other.len() as isize);
    }

    /// Bytes that an entry of this text takes.
    pub fn entry_size(text: &[u8]) -> usize {
        let size = Encoding::of(text).bytes(text);
        size + back_length_bytes(size)
    }

    /// Puts entries in the place of `removed` bytes.
    fn put<const N: usize>(&mut self, at: Position, removed: usize, texts: [&[u8]; N]) {
        let entries = texts.map(|text| {
            let encoding = Encoding::of(text);
            let size = encoding.bytes(text);
            (text, encoding, size)
        });
        let added = entries.iter().map(|(_, _, size)| size + back_length_bytes(*size)).sum();
        fill(self.0.splice(at, removed, added), &entries);
        self.write_total();
    }

    fn write_total(&mut self) {
        let total = self.0.len() as u32;
        self.0.bytes_mut()[..4].copy_from_slice(&total.to_le_bytes());
    }

    fn count_changed(&mut self, by: isize) {
        match self.stored_count() {
            COUNT_UNKNOWN if by < 0 => self.recount(),
            COUNT_UNKNOWN => {}
            n => self.write_count((n as usize).saturating_add_signed(by)),
        }
    }

    fn recount(&mut self) {
        let count = self.iter().count();
        self.write_count(count);
    }

    fn write_count(&mut self, count: usize) {
        let stored = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.0.bytes_mut()[4..6].copy_from_slice(&stored.to_le_bytes());
    }

    #[inline]
    fn live(&self, at: Position) -> Option<Position> {
        (self.bytes()[at] != END).then_some(at)
    }

    /// The position behind an entry.
    #[inline]
    pub fn behind(&self, at: Position) -> Position {
        at + entry_bytes(&self.bytes()[at..])
    }
}

/// A walk over the entries: what is still to come, the end mark included.
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = Text<'a>;

    #[inline]
    fn next(&mut self) -> Option<Text<'a>> {
        if self.0[0] == END {
            return None;
        }
        let (text, size) = decode(self.0);
        self.0 = &self.0[size + back_length_bytes(size)..];
        Some(text)
    }
}

/// A walk over the entries two by two.
pub struct Pairs<'a>(Iter<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// Writes entries into the room made for them.
#[inline]
fn fill(mut room: &mut [u8], entries: &[(&[u8], Encoding, usize)]) {
    for &(text, ref encoding, size) in entries {
        let (data, behind) = room.split_at_mut(size);
        let (back, rest) = behind.split_at_mut(back_length_bytes(size));
        encoding.write(text, data);
        write_back_length(back, size);
        room = rest;
    }
}

/// How a text is written in front of its data.
enum Encoding {
    Int(i64),
    Text,
}

impl Encoding {
    fn of(text: &[u8]) -> Self {
        as_int(text).map_or(Self::Text, Self::Int)
    }

    /// Bytes of header and data, without the length behind them.
    fn bytes(&self, text: &[u8]) -> usize {
        match *self {
            Self::Int(0..=127) => 1,
            Self::Int(-4096..=4095) => 2,
            Self::Int(n) if i16::try_from(n).is_ok() => 3,
            Self::Int(-0x80_0000..=0x7f_ffff) => 4,
            Self::Int(n) if i32::try_from(n).is_ok() => 5,
            Self::Int(_) => 9,
            Self::Text if text.len() < SHORT_TEXT => 1 + text.len(),
            Self::Text if text.len() < 4096 => 2 + text.len(),
            Self::Text => 5 + text.len(),
        }
    }

    fn write(&self, text: &[u8], out: &mut [u8]) {
        let size = out.len();
        match (self, size) {
            (Self::Int(n), 1) => out[0] = *n as u8,
            (Self::Int(n), 2) => {
                let bits = (*n as u16) & 0x1fff;
                out.copy_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            (Self::Int(n), _) => {
                out[0] = match size {
                    3 => INT16,
                    4 => INT24,
                    5 => INT32,
                    _ => INT64,
                };
                out[1..].copy_from_slice(&n.to_le_bytes()[..size - 1]);
            }
            (Self::Text, _) => {
                let header = size - text.len();
                match header {
                    1 => out[0] = 0x80 | text.len() as u8,
                    2 => out[..2].copy_from_slice(&[0xe0 | (text.len() >> 8) as u8, text.len() as u8]),
                    _ => {
                        out[0] = TEXT32;
                        out[1..5].copy_from_slice(&(text.len() as u32).to_le_bytes());
                    }
                }
                out[header..].copy_from_slice(text);
            }
        }
    }
}

/// An entry and the size of its header and data. `entry` begins with a well-formed entry.
#[inline]
fn decode(entry: &[u8]) -> (Text<'_>, usize) {
    let first = entry[0];
    let int = |n: usize| {
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(&entry[1..=n]);
        let unused = 64 - 8 * n as u32;
        (Text::Int(i64::from_le_bytes(bytes) << unused >> unused), n + 1)
    };
    match first {
        0..=0x7f => (Text::Int(i64::from(first)), 1),
        0x80..=0xbf => {
            let len = (first & 0x3f) as usize;
            (Text::Bytes(&entry[1..1 + len]), 1 + len)
        }
        0xc0..=0xdf => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(entry[1]);
            (Text::Int(if bits >= 4096 { bits - 8192 } else { bits }), 2)
        }
        0xe0..=0xef => {
            let len = ((first & 0xf) as usize) << 8 | entry[1] as usize;
            (Text::Bytes(&entry[2..2 + len]), 2 + len)
        }
        INT16 => int(2),
        INT24 => int(3),
        INT32 => int(4),
        INT64 => int(8),
        _ => {
            let len = u32::from_le_bytes([entry[1], entry[2], entry[3], entry[4]]) as usize;
            (Text::Bytes(&entry[5..5 + len]), 5 + len)
        }
    }
}

/// The size of an entry's header and data by its first bytes; `None` where the format has no such entry.
#[inline]
fn data_bytes(entry: &[u8]) -> Option<usize> {
    Some(match *entry.first()? {
        0..=0x7f => 1,
        first @ 0x80..=0xbf => 1 + (first & 0x3f) as usize,
        0xc0..=0xdf => 2,
        first @ 0xe0..=0xef => 2 + (((first & 0xf) as usize) << 8 | *entry.get(1)? as usize),
        INT16 => 3,
        INT24 => 4,
        INT32 => 5,
        INT64 => 9,
        TEXT32 => 5 + u32::from_le_bytes(entry.get(1..5)?.try_into().ok()?) as usize,
        _ => return None,
    })
}

/// All bytes of a well-formed entry.
#[inline]
fn entry_bytes(entry: &[u8]) -> usize {
    // Nearly all are short texts.
    if let header @ 0x80..=0xbf = entry[0] {
        return usize::from(header & 0x3f) + 2;
    }
    let size = data_bytes(entry).expect("the entry is well formed");
    size + back_length_bytes(size)
}

#[inline]
fn back_length_bytes(size: usize) -> usize {
    match size {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0xfff_ffff => 4,
        _ => 5,
    }
}

/// The size, most significant seven bits first; every byte but the first says that there is more in front of it.
fn write_back_length(out: &mut [u8], size: usize) {
    let n = out.len();
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = (size >> (7 * (n - 1 - i)) & 0x7f) as u8 | if i == 0 { 0 } else { 0x80 };
    }
}

/// The size of the entry that ends in front of `end`.
fn read_back_length(bytes: &[u8], end: Position) -> usize {
    let (mut size, mut shift) = (0usize, 0);
    for &byte in bytes[..end].iter().rev().take(BACK_LENGTH_BYTES_MAX) {
        size |= ((byte & 0x7f) as usize) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    size
}

/// Whether bytes from outside are a listpack: lengths in both directions, count and end.
#[inline]
fn is_well_formed(bytes: &[u8], mut see: impl FnMut(Text<'_>)) -> bool {
    let total_fits = bytes.len() > HEADER
        && bytes.len() <= super::blob::BYTES_MAX
        && bytes[..4] == (bytes.len() as u32).to_le_bytes()
        && bytes[bytes.len() - 1] == END;
    if !total_fits {
        return false;
    }
    let (mut at, mut count, end) = (HEADER, 0usize, bytes.len() - 1);
    while at < end {
        let Some(size) = data_bytes(&bytes[at..end]) else { return false };
        if size < ONE_BYTE_BACK {
            // Nearly all are so short: the length behind is the one byte that it must be.
            if at + size >= end || usize::from(bytes[at + size]) != size {
                return false;
            }
            see(decode(&bytes[at..]).0);
            (at, count) = (at + size + 1, count + 1);
            continue;
        }
        let Some(behind) = at.checked_add(size).and_then(|b| b.checked_add(back_length_bytes(size))) else {
            return false;
        };
        if behind > end || read_back_length(bytes, behind) != size {
            return false;
        }
        // A longer form of the length behind would be read differently from the two directions.
        let mut back = [0; BACK_LENGTH_BYTES_MAX];
        let back = &mut back[..back_length_bytes(size)];
        write_back_length(back, size);
        if bytes[behind - back.len()..behind] != *back {
            return false;
        }
        see(decode(&bytes[at..]).0);
        (at, count) = (behind, count + 1);
    }
    let stored = u16::from_le_bytes([bytes[4], bytes[5]]);
    stored == COUNT_UNKNOWN || usize::from(stored) == count
}

const HEADER: usize = 6;
/// Entries put in at once without an allocation.
const EXTENDED_ROOM: usize = 16;
/// Entries shorter than this have a length of one byte behind them.
const ONE_BYTE_BACK: usize = 0x80;
/// Texts shorter than this have a header of one byte.
const SHORT_TEXT: usize = 64;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;
const TEXT32: u8 = 0xf0;
const INT16: u8 = 0xf1;
const INT24: u8 = 0xf2;
const INT32: u8 = 0xf3;
const INT64: u8 = 0xf4;
const BACK_LENGTH_BYTES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(items: &[&[u8]]) -> Listpack {
        let mut packed = Listpack::new();
        items.iter().for_each(|item| packed.push_back(item));
        packed
    }

    #[test]
    fn bytes_are_those_of_redis() {
        // `RPUSH l a 1 -1 300 70000` as DUMP of a real server shows it.
        let packed = of(&[b"a", b"1", b"-1", b"300", b"70000"]);
        let expected =
            [22, 0, 0, 0, 5, 0, 0x81, b'a', 2, 1, 1, 0xdf, 0xff, 2, 0xc1, 0x2c, 2, 0xf2, 0x70, 0x11, 0x01, 4, 0xff];
        let mut expected = expected.to_vec();
        expected[0] = expected.len() as u8;
        assert_eq!(packed.bytes(), expected);
    }

    fn item() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
            (-9_000_000i64..9_000_000).prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..80),
            (0usize..70_000).prop_map(|n| vec![b'x'; n]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_listpack_is_a_vector_of_strings(steps in prop::collection::vec((0u8..10, any::<u16>(), item()), 1..40)) {
            let (mut packed, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
            for (step, at, item) in steps {
                let index = at as usize % (model.len() + 1);
                let position = packed.seek(index as isize).unwrap_or(packed.end());
                match step {
                    0..4 => {
                        packed.insert(position, &item);
                        model.insert(index, item);
                    }
                    4 if index < model.len() => {
                        packed.replace(position, &item);
                        model[index] = item;
                    }
                    5 => {
                        let count = item.len() % 4;
                        packed.remove(position, count);
                        model.drain(index..(index + count).min(model.len()));
                    }
                    6 => {
                        let tail = packed.split_off(position);
                        let moved = model.split_off(index);
                        prop_assert_eq!(tail.len(), moved.len());
                        packed.append(&tail);
                        model.extend(moved);
                    }
                    7 => {
                        packed.retain(|text| text.len() % 4 != 1);
                        model.retain(|text| text.len() % 4 != 1);
                    }
                    8 if index < model.len() => {
                        let (count, place) = ((item.len() % 4).min(model.len() - index), item.len() / 4 % (model.len() + 1));
                        if !(index + 1..index + count).contains(&place) {
                            let position_of = |i: usize| packed.seek(i as isize).unwrap_or(packed.end());
                            let (range, to) = (position..position_of(index + count), position_of(place));
                            let moved: Vec<_> = model.drain(index..index + count).collect();
                            let place = if place > index { place - count } else { place };
                            model.splice(place..place, moved);
                            let at = packed.shift(range, to);
                            prop_assert_eq!(at, packed.seek(place as isize).unwrap_or(packed.end()));
                        }
                    }
                    9 if at % 2 == 0 => {
                        let number = i64::from(at) * i64::from(at) - 70_000;
                        packed.extend([Text::Bytes(&item), Text::Int(number)].into_iter());
                        model.extend([item, number.to_string().into_bytes()]);
                    }
                    _ => {
                        let found = packed.find(packed.first(), &item, 1);
                        prop_assert_eq!(found.is_some(), model.contains(&item));
                    }
                }
                let mut seen = Vec::new();
                prop_assert!(is_well_formed(packed.bytes(), |text| seen.push(text.to_vec())));
                prop_assert!(packed.iter().map(Text::to_vec).eq(seen));
                prop_assert_eq!(packed.len(), model.len());
                prop_assert_eq!(packed.iter().map(Text::to_vec).collect::<Vec<_>>(), model.clone());
                let (mut back, mut at) = (Vec::new(), packed.last());
                while let Some(p) = at {
                    back.push(packed.get(p).to_vec());
                    at = packed.prev(p);
                }
                back.reverse();
                prop_assert_eq!(&back, &model);
                for (i, text) in model.iter().enumerate().rev().step_by(3) {
                    let found = packed.find(packed.seek((i % 3) as isize), text, 3);
                    let first = model.iter().skip(i % 3).step_by(3).position(|other| other == text);
                    prop_assert_eq!(found, first.and_then(|n| packed.seek((i % 3 + 3 * n) as isize)));
                }
                if let Some(last) = model.last() {
                    prop_assert_eq!(&packed.get(packed.seek(-1).unwrap()).to_vec(), last);
                    prop_assert_eq!(packed.get(packed.find(packed.first(), last, 1).unwrap()).to_vec(), last.clone());
                }
            }
        }

        #[test]
        fn untrusted_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60), fix in any::<bool>()) {
            if fix && bytes.len() >= 7 {
                let total = (bytes.len() as u32).to_le_bytes();
                bytes[..4].copy_from_slice(&total);
                bytes[4..6].copy_from_slice(&[0xff, 0xff]);
                *bytes.last_mut().unwrap() = END;
            }
            if let Some(packed) = Listpack::from_untrusted(&bytes) {
                let all: Vec<Vec<u8>> = packed.iter().map(Text::to_vec).collect();
                prop_assert_eq!(packed.len(), all.len());
            }
        }
    }
}
