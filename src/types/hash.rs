//! Hashes: fields with values, each field possibly with an expiry of its own.
//!
//! * `HashPacked`: a listpack of field, value, field, value … in the order they were added.
//! * `HashTimed`: a small hash some of whose fields expire, or did once: a listpack of field, value, time (0 for none),
//!   the earliest first and those without a time behind them; Redis's `listpackex`, in its bytes and its order.
//! * `HashTable`: everything beyond the `hash-max-listpack-*` limits, [`Fields`].
//!
//! A hash never goes back to a smaller encoding. Not here: keys, who removes fields that are due.

use super::PackedMax;
use super::fields::{Due, Fields};
use super::lookup;
use super::packed::{Packed, Position};
use super::text::Text;
use super::value::Value;
use crate::clock::Millis;
use ref_cast::RefCast;
use std::collections::HashSet;

/// A value that is a hash.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Hash(Value);

/// The three encodings, for reading.
enum Repr<'a> {
    /// A listpack with so many entries a field.
    Packed(&'a Packed, usize),
    Table(&'a Fields),
}

impl Hash {
    #[inline]
    fn repr(&self) -> Repr<'_> {
        match &self.0 {
            Value::HashPacked(packed) => Repr::Packed(packed, PAIR),
            Value::HashTimed(packed) => Repr::Packed(packed, TRIPLE),
            Value::HashTable(fields) => Repr::Table(fields),
            _ => unreachable!("a hash is one of the hash variants"),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self.repr() {
            Repr::Packed(packed, stride) => packed.len() / stride,
            Repr::Table(fields) => fields.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A field's value.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Text<'_>> {
        match self.repr() {
            Repr::Packed(packed, stride) => {
                packed.find(packed.first(), field, stride).map(|at| packed.get(packed.behind(at)))
            }
            Repr::Table(fields) => fields.get(field).map(|found| found.text()),
        }
    }

    /// The values of several fields, in the order asked for.
    #[inline]
    pub fn get_all<'h, 'w>(
        &'h self,
        wanted: impl ExactSizeIterator<Item = &'w [u8]>,
        mut found: impl FnMut(Option<Text<'h>>),
    ) {
        match self.repr() {
            Repr::Packed(packed, stride) => lookup::values(packed, stride, wanted, found),
            Repr::Table(fields) => wanted.for_each(|field| found(fields.get(field).map(|f| f.text()))),
        }
    }

    /// When a field expires: `None` if there is no such field, `Some(None)` if it does not expire.
    pub fn due(&self, field: &[u8]) -> Option<Option<Millis>> {
        match self.repr() {
            Repr::Packed(packed, PAIR) => packed.find(packed.first(), field, PAIR).map(|_| None),
            Repr::Packed(packed, _) => packed.find(packed.first(), field, TRIPLE).map(|at| due_at(packed, at)),
            Repr::Table(fields) => fields.get(field).map(|f| f.due()),
        }
    }

    /// Every field with its value and expiry.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(Text<'_>, Text<'_>, Option<Millis>)) {
        match self.repr() {
            Repr::Packed(packed, PAIR) => packed.pairs().for_each(|(field, value)| visit(field, value, None)),
            Repr::Packed(packed, _) => {
                let mut next = packed.first();
                while let Some(at) = next {
                    let value = packed.behind(at);
                    visit(packed.get(at), packed.get(value), due_at(packed, at));
                    next = packed.skip(value, TRIPLE - 1);
                }
            }
            Repr::Table(fields) => {
                fields.for_each(|f| visit(Text::Bytes(f.name()), Text::Bytes(f.value()), f.due()));
            }
        }
    }

    /// One step of a scan: about `count` fields and the next cursor, 0 at the end. A small hash comes whole, whatever the
    /// cursor.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(Text<'_>, Text<'_>)) -> u64 {
        let Repr::Table(fields) = self.repr() else {
            self.for_each(|field, value, _| emit(field, value));
            return 0;
        };
        let (mut cursor, mut seen, mut steps) = (cursor, 0, 0);
        loop {
            cursor = fields.scan(cursor, |f| {
                seen += 1;
                emit(Text::Bytes(f.name()), Text::Bytes(f.value()));
            });
            steps += 1;
            if cursor == 0 || seen >= count || steps >= count.saturating_mul(STEPS_PER_FIELD) {
                return cursor;
            }
        }
    }

    /// `count` times a field, each time any with the same chance; ends early when `visit` says so by false.
    pub fn sample(&self, count: usize, mut visit: impl FnMut(Text<'_>, Text<'_>) -> bool) {
        match self.repr() {
            Repr::Packed(packed, stride) => {
                let next = |&at: &Position| packed.skip(at, stride);
                // A single one is reached from the nearer end; many are looked up.
                let positions: Vec<Position> = match count {
                    1 => {
                        packed.seek((fastrand::usize(..packed.len() / stride) * stride) as isize).into_iter().collect()
                    }
                    _ => std::iter::successors(packed.first(), next).collect(),
                };
                for _ in 0..count {
                    let at = positions[fastrand::usize(..positions.len())];
                    if !visit(packed.get(at), packed.get(packed.behind(at))) {
                        return;
                    }
                }
            }
            Repr::Table(fields) => {
                let drawn = (0..count).map_while(|_| fields.sample());
                let mut drawn = drawn.map(|f| visit(Text::Bytes(f.name()), f.text()));
                while drawn.next() == Some(true) {}
            }
        }
    }

    /// `count` different fields, or all if there are fewer; every choice of them has the same chance.
    pub fn sample_distinct(&self, count: usize, mut visit: impl FnMut(Text<'_>, Text<'_>)) {
        let len = self.len();
        if let Repr::Table(fields) = self.repr()
            && count.saturating_mul(SPARSE) < len
        {
            let mut seen = HashSet::with_capacity(count);
            while seen.len() < count
                && let Some(f) = fields.sample()
            {
                if seen.insert(f.name().as_ptr() as usize) {
                    visit(Text::Bytes(f.name()), f.text());
                }
            }
            return;
        }
        // Taken in one walk: each field with the chance that those still needed bear to those still left.
        let (mut needed, mut left) = (count.min(len), len);
        self.for_each(|field, value, _| {
            if needed > 0 && fastrand::usize(..left) < needed {
                needed -= 1;
                visit(field, value);
            }
            left -= 1;
        });
    }

    /// Writes a field; says whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], due: Due, max: PackedMax) -> bool {
        if field.len() > max.bytes || value.len() > max.bytes || self.is_full(field.len() + value.len()) {
            self.become_table();
        }
        if matches!(due, Due::At(_)) {
            self.become_timed();
        }
        let created = match &mut self.0 {
            Value::HashPacked(packed) => set_pair(packed, field, value),
            Value::HashTimed(packed) => set_triple(packed, field, value, due),
            Value::HashTable(fields) => return fields.set(field, value, due),
            _ => unreachable!("a hash is one of the hash variants"),
        };
        if created {
            self.expect_fields(self.len(), max);
        }
        created
    }

    /// Changes the encoding if a hash of so many fields is not a listpack.
    pub fn expect_fields(&mut self, fields: usize, max: PackedMax) {
        if fields > max.entries {
            self.become_table();
        }
    }

    /// Sets or clears a field's expiry; says whether there is such a field.
    pub fn set_due(&mut self, field: &[u8], due: Option<Millis>) -> bool {
        if self.due(field).is_none() {
            return false;
        }
        if due.is_some() {
            self.become_timed();
        }
        match &mut self.0 {
            Value::HashTimed(packed) => {
                if let Some(at) = packed.find(packed.first(), field, TRIPLE)
                    && due_at(packed, at) != due
                {
                    let value = packed.get(packed.behind(at)).to_vec();
                    packed.remove(at, TRIPLE);
                    insert_triple(packed, field, &value, due);
                }
            }
            Value::HashTable(fields) => _ = fields.set_due(field, due),
            _ => {}
        }
        true
    }

    /// Takes a field out; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let (packed, stride) = match &mut self.0 {
            Value::HashPacked(packed) => (packed, PAIR),
            Value::HashTimed(packed) => (packed, TRIPLE),
            Value::HashTable(fields) => return fields.remove(field),
            _ => unreachable!("a hash is one of the hash variants"),
        };
        let found = packed.find(packed.first(), field, stride);
        if let Some(at) = found {
            packed.remove(at, stride);
        }
        found.is_some()
    }

    /// A listpack that has no room for so many bytes more, whatever the limits are set to.
    fn is_full(&self, more: usize) -> bool {
        matches!(self.repr(), Repr::Packed(packed, _) if packed.bytes().len() + more > PACKED_BYTES_MAX)
    }

    fn become_timed(&mut self) {
        if let Value::HashPacked(pairs) = &self.0 {
            let (mut triples, mut digits) = (Packed::new(), itoa::Buffer::new());
            for (field, value) in pairs.pairs() {
                triples.push_back(field.bytes(&mut digits));
                triples.push_back(value.bytes(&mut digits));
                triples.push_back(NO_TIME);
            }
            self.0 = Value::HashTimed(triples);
        }
    }

    fn become_table(&mut self) {
        if !matches!(self.0, Value::HashTable(_)) {
            let (mut fields, mut digits) = (Fields::default(), (itoa::Buffer::new(), itoa::Buffer::new()));
            self.for_each(|field, value, due| {
                let (field, value) = (field.bytes(&mut digits.0), value.bytes(&mut digits.1));
                fields.set(field, value, due.map_or(Due::Clear, Due::At));
            });
            self.0 = Value::HashTable(Box::new(fields));
        }
    }
}

fn set_pair(packed: &mut Packed, field: &[u8], value: &[u8]) -> bool {
    match packed.find(packed.first(), field, PAIR) {
        Some(at) => packed.replace(packed.behind(at), value),
        None => {
            packed.push_back(field);
            packed.push_back(value);
            return true;
        }
    }
    false
}

fn set_triple(packed: &mut Packed, field: &[u8], value: &[u8], due: Due) -> bool {
    let found = packed.find(packed.first(), field, TRIPLE);
    let wanted = match (due, found) {
        (Due::At(at), _) => Some(at),
        (Due::Keep, Some(at)) => due_at(packed, at),
        _ => None,
    };
    match found {
        // Stays at its place; a time of its own moves a field even if it is the same.
        Some(at) if due_at(packed, at) == wanted && !matches!(due, Due::At(_)) => {
            packed.replace(packed.behind(at), value);
        }
        Some(at) => {
            packed.remove(at, TRIPLE);
            insert_triple(packed, field, value, wanted);
        }
        None => insert_triple(packed, field, value, wanted),
    }
    found.is_none()
}

/// Puts a field in front of the first one that is not due before it; one without a time at the end.
fn insert_triple(packed: &mut Packed, field: &[u8], value: &[u8], due: Option<Millis>) {
    let place = due.map_or(packed.end(), |due| {
        let mut next = packed.first();
        while let Some(at) = next
            && due_at(packed, at).is_some_and(|other| other < due)
        {
            next = packed.skip(at, TRIPLE);
        }
        next.unwrap_or(packed.end())
    });
    // Each goes in front of what was put there before.
    match due {
        Some(due) => packed.insert(place, itoa::Buffer::new().format(due).as_bytes()),
        None => packed.insert(place, NO_TIME),
    }
    packed.insert(place, value);
    packed.insert(place, field);
}

/// The time of the field that stands at a position.
fn due_at(packed: &Packed, at: Position) -> Option<Millis> {
    match packed.get(packed.behind(packed.behind(at))) {
        Text::Int(time) if time != 0 => Some(time),
        _ => None,
    }
}

/// When the first field of a `HashTimed` expires.
pub(super) fn first_due(packed: &Packed) -> Option<Millis> {
    packed.first().and_then(|at| due_at(packed, at))
}

/// Takes the fields that are due out of a `HashTimed`; their names.
pub(super) fn remove_due(packed: &mut Packed, now: Millis) -> Vec<Box<[u8]>> {
    let mut names = Vec::new();
    while let Some(at) = packed.first()
        && due_at(packed, at).is_some_and(|due| due <= now)
    {
        names.push(packed.get(at).to_vec().into());
        packed.remove(at, TRIPLE);
    }
    names
}

/// Entries a field in the listpacks.
const PAIR: usize = 2;
const TRIPLE: usize = 3;
/// Half of what a listpack can be: a field's own length bytes and time fit in any case.
const PACKED_BYTES_MAX: usize = super::blob::BYTES_MAX / 2;
const NO_TIME: &[u8] = b"0";
/// Sparse buckets looked at per field asked for, before a scan answers with fewer (as in Redis).
const STEPS_PER_FIELD: usize = 10;
/// Drawing different fields one by one is quicker than a walk while no more than a third is asked for.
const SPARSE: usize = 3;
