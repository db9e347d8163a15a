//! Hashes: fields with values, each field possibly with an expiry of its own.
//!
//! * `HashListpack`: a listpack of field, value, field, value … in the order they were added.
//! * `HashRow`: the same for a hash whose layout others have too: a [template](super::template) of the names, and the
//!   values in their order. It is made when all fields are written at once, and lasts until a field is added, removed or
//!   given a time. To clients it is a listpack.
//! * `HashTimed`: a small hash some of whose fields expire, or did once: a listpack of field, value, time (0 for none),
//!   the earliest first and those without a time behind them; Redis's `listpackex`, in its bytes and its order.
//! * `HashTable`: everything beyond the `hash-max-listpack-*` limits, [`Fields`].
//!
//! A hash never goes back to a smaller encoding. Not here: keys, who removes fields that are due.

use super::ListpackMax;
use super::blob::PACKED_BYTES_MAX;
use super::fields::{Due, Fields};
use super::listpack::{Listpack, Position};
use super::lookup;
use super::row::Row;
use super::template::{Sharing, Template};
use super::text::Text;
use super::value::Value;
use crate::clock::Millis;
use ref_cast::RefCast;
use smallvec::SmallVec;
use std::collections::HashSet;

/// A value that is a hash.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Hash(Value);

/// The encodings, for reading.
enum Repr<'a> {
    /// A listpack, and its entries for each field.
    Listpack(&'a Listpack, usize),
    Row(&'a Template, &'a Row),
    Table(&'a Fields),
}

impl Hash {
    #[inline]
    fn repr(&self) -> Repr<'_> {
        match &self.0 {
            Value::HashListpack(packed) => Repr::Listpack(packed, PAIR),
            Value::HashRow(template, row) => Repr::Row(template, row),
            Value::HashTimed(packed) => Repr::Listpack(packed, TRIPLE),
            Value::HashTable(fields) => Repr::Table(fields),
            _ => unreachable!("a hash is one of the hash variants"),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self.repr() {
            Repr::Listpack(packed, stride) => packed.len() / stride,
            Repr::Row(template, _) => template.names().len(),
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
            Repr::Listpack(packed, stride) => {
                packed.find(packed.first(), field, stride).map(|at| packed.get(packed.behind(at)))
            }
            Repr::Row(template, row) => {
                let names = template.names();
                names.position(field).map(|position| Text::Bytes(row.values(names.len()).get(position)))
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
            Repr::Listpack(packed, stride) => lookup::values(packed, stride, wanted, found),
            Repr::Row(template, row) => {
                let (names, mut guess) = (template.names(), 0);
                let values = row.values(names.len());
                wanted.for_each(|field| {
                    let position = names.position_near(guess, field);
                    guess = position.map_or(guess, |position| position + 1);
                    found(position.map(|position| Text::Bytes(values.get(position))));
                });
            }
            Repr::Table(fields) => wanted.for_each(|field| found(fields.get(field).map(|f| f.text()))),
        }
    }

    /// When a field expires: `None` if there is no such field, `Some(None)` if it does not expire.
    pub fn due(&self, field: &[u8]) -> Option<Option<Millis>> {
        match self.repr() {
            Repr::Listpack(packed, PAIR) => packed.find(packed.first(), field, PAIR).map(|_| None),
            Repr::Listpack(packed, _) => packed.find(packed.first(), field, TRIPLE).map(|at| due_at(packed, at)),
            Repr::Row(template, _) => template.names().position(field).map(|_| None),
            Repr::Table(fields) => fields.get(field).map(|f| f.due()),
        }
    }

    /// Every field with its value and expiry.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(Text<'_>, Text<'_>, Option<Millis>)) {
        match self.repr() {
            Repr::Listpack(packed, PAIR) => packed.pairs().for_each(|(field, value)| visit(field, value, None)),
            Repr::Listpack(packed, _) => {
                let mut next = packed.first();
                while let Some(at) = next {
                    let value = packed.behind(at);
                    visit(packed.get(at), packed.get(value), due_at(packed, at));
                    next = packed.skip(value, TRIPLE - 1);
                }
            }
            Repr::Row(template, row) => {
                let names = template.names();
                let pairs = names.iter().zip(row.values(names.len()).iter());
                pairs.for_each(|(field, value)| visit(Text::Bytes(field), Text::Bytes(value), None));
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
            Repr::Listpack(packed, stride) => {
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
            Repr::Row(template, row) => {
                let (names, values) = (template.names(), row.values(template.names().len()));
                for _ in 0..count {
                    let position = fastrand::usize(..names.len());
                    if !visit(Text::Bytes(names.name(position)), Text::Bytes(values.get(position))) {
                        return;
                    }
                }
            }
            Repr::Table(fields) => fields.sample(count, |f| visit(Text::Bytes(f.name()), f.text())),
        }
    }

    /// `count` different fields, or all if there are fewer; every choice of them has the same chance.
    pub fn sample_distinct(&self, count: usize, mut visit: impl FnMut(Text<'_>, Text<'_>)) {
        let len = self.len();
        if count == 0 {
            return;
        }
        if let Repr::Table(fields) = self.repr()
            && count.saturating_mul(SPARSE) < len
        {
            let mut seen = HashSet::with_capacity(count);
            return fields.sample(usize::MAX, |f| {
                if seen.insert(f.name().as_ptr() as usize) {
                    visit(Text::Bytes(f.name()), f.text());
                }
                seen.len() < count
            });
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
    pub fn set(&mut self, field: &[u8], value: &[u8], due: Due, max: ListpackMax) -> bool {
        self.set_guessing(field, value, due, max, &mut None)
    }

    /// Writes several fields; how many are new. Those written in the order they are stored in are met one behind the
    /// other. `sharing`: whether a new hash may share their names with others.
    pub fn set_all<'a>(
        &mut self,
        pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
        max: ListpackMax,
        sharing: &Sharing,
    ) -> usize {
        let add = |sum: usize, (field, value): (&[u8], &[u8])| {
            (field.len().max(value.len()) <= max.bytes).then(|| sum + field.len() + value.len())
        };
        if matches!(&self.0, Value::HashListpack(packed) if packed.is_empty())
            && pairs.len() <= max.entries
            && let Some(template) = Template::of(pairs.clone().map(|(field, _)| Text::Bytes(field)), sharing)
            && pairs.clone().try_fold(0, add).is_some_and(|bytes| bytes <= SHARED_BYTES_MAX)
        {
            self.0 = Value::HashRow(template, Row::new(pairs.clone().map(|(_, value)| Text::Bytes(value))));
            return pairs.len();
        }
        let mut guess = None;
        pairs.filter(|(field, value)| self.set_guessing(field, value, Due::Clear, max, &mut guess)).count()
    }

    /// Lets a listpack share its names, if others are of its layout.
    pub fn share(&mut self, sharing: &Sharing) {
        let Value::HashListpack(packed) = &self.0 else { return };
        let pairs: SmallVec<[_; SHARED_ROOM]> = packed.pairs().collect();
        let template = Template::of(pairs.iter().map(|(field, _)| *field), sharing);
        let row = template.map(|template| (template, Row::new(pairs.iter().map(|(_, value)| *value))));
        drop(pairs);
        if let Some((template, row)) = row {
            self.0 = Value::HashRow(template, row);
        }
    }

    /// As one listpack of fields and values: what a file gets of a small hash without times.
    pub fn pairs(&self) -> Listpack {
        let mut packed = Listpack::new();
        match self.repr() {
            Repr::Row(template, row) => {
                let names = template.names();
                let pairs = names.iter().zip(row.values(names.len()).iter());
                packed.extend(pairs.flat_map(|(field, value)| [Text::Bytes(field), Text::Bytes(value)]));
            }
            _ => self.for_each(|field, value, _| packed.extend([field, value].into_iter())),
        }
        packed
    }

    /// `guess`: where the field may stand in a listpack or row; afterwards, where the next one may.
    fn set_guessing(
        &mut self,
        field: &[u8],
        value: &[u8],
        due: Due,
        max: ListpackMax,
        guess: &mut Option<Position>,
    ) -> bool {
        if field.len() > max.bytes || value.len() > max.bytes || self.is_full(field.len() + value.len()) {
            self.become_table();
        }
        if matches!(due, Due::At(_)) {
            self.expect_times();
        }
        if let Value::HashRow(template, row) = &mut self.0 {
            let names = template.names();
            if let Some(position) = names.position_near(guess.unwrap_or(0), field) {
                row.set(names.len(), position, value);
                *guess = Some(position + 1);
                return false;
            }
            drop(names);
            *guess = None;
            self.0 = Value::HashListpack(self.pairs());
        }
        let created = match &mut self.0 {
            Value::HashListpack(packed) => set_pair(packed, field, value, guess),
            Value::HashTimed(packed) => set_triple(packed, field, value, due),
            Value::HashTable(fields) => return fields.set(field, value, due),
            _ => unreachable!("a hash is one of the hash variants"),
        };
        if created {
            self.expect_fields(self.len(), max);
        }
        created
    }

    /// Changes the encoding if a hash of `fields` is not a listpack.
    pub fn expect_fields(&mut self, fields: usize, max: ListpackMax) {
        if fields > max.entries {
            self.become_table();
        }
    }

    /// Changes the encoding of a listpack to one that has times; Redis does so before it looks whether any is set.
    pub fn expect_times(&mut self) {
        if matches!(self.0, Value::HashListpack(_) | Value::HashRow(..)) {
            let mut triples = Listpack::new();
            self.for_each(|field, value, _| triples.extend([field, value, Text::Int(NO_TIME)].into_iter()));
            self.0 = Value::HashTimed(triples);
        }
    }

    /// Sets or clears a field's expiry; says whether there is such a field.
    pub fn set_due(&mut self, field: &[u8], due: Option<Millis>) -> bool {
        if matches!(self.0, Value::HashListpack(_) | Value::HashRow(..)) {
            let found = self.due(field).is_some();
            if !found || due.is_none() {
                return found;
            }
            self.expect_times();
        }
        match &mut self.0 {
            Value::HashTimed(packed) => {
                let found = packed.find(packed.first(), field, TRIPLE);
                if let Some(at) = found
                    && (due.is_some() || due_at(packed, at).is_some())
                {
                    move_triple(packed, at, due);
                }
                found.is_some()
            }
            Value::HashTable(fields) => fields.set_due(field, due),
            _ => unreachable!("a hash is one of the hash variants"),
        }
    }

    /// Takes a field out; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        if let Value::HashRow(template, _) = &self.0 {
            if template.names().position(field).is_none() {
                return false;
            }
            self.0 = Value::HashListpack(self.pairs());
        }
        let (packed, stride) = match &mut self.0 {
            Value::HashListpack(packed) => (packed, PAIR),
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

    /// A listpack that has no room for `more` bytes, whatever the limits are set to.
    fn is_full(&self, more: usize) -> bool {
        let bytes = match self.repr() {
            Repr::Listpack(packed, _) => packed.bytes().len(),
            // With its names and what a listpack has around each.
            Repr::Row(_, row) => row.len() * 2 + ROW_EXTRA,
            Repr::Table(_) => return false,
        };
        bytes + more > PACKED_BYTES_MAX
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

fn set_pair(packed: &mut Listpack, field: &[u8], value: &[u8], guess: &mut Option<Position>) -> bool {
    let guessed = guess.filter(|&at| packed.get(at).is(field));
    let Some(at) = guessed.or_else(|| packed.find(packed.first(), field, PAIR)) else {
        packed.insert_all(packed.end(), [field, value]);
        *guess = None;
        return true;
    };
    let value_at = packed.behind(at);
    packed.replace(value_at, value);
    *guess = packed.next(value_at);
    false
}

fn set_triple(packed: &mut Listpack, field: &[u8], value: &[u8], due: Due) -> bool {
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
            packed.replace(packed.behind(at), value);
            move_triple(packed, at, wanted);
        }
        None => insert_triple(packed, field, value, wanted),
    }
    found.is_none()
}

/// Adds a field that is not there.
fn insert_triple(packed: &mut Listpack, field: &[u8], value: &[u8], due: Option<Millis>) {
    let place = place_of(packed, None, due);
    packed.insert_all(place, [field, value, itoa::Buffer::new().format(due.unwrap_or(NO_TIME)).as_bytes()]);
}

/// Gives the field at a position another time, and the place where that belongs.
fn move_triple(packed: &mut Listpack, at: Position, due: Option<Millis>) {
    let time = packed.behind(packed.behind(at));
    packed.replace(time, itoa::Buffer::new().format(due.unwrap_or(NO_TIME)).as_bytes());
    let field = at..packed.behind(time);
    let place = place_of(packed, Some(at), due);
    if place != at {
        packed.shift(field, place);
    }
}

/// In front of the first field that is not due before this time, not counting the one that stands at a position; for
/// none the end.
fn place_of(packed: &Listpack, except: Option<Position>, due: Option<Millis>) -> Position {
    let Some(due) = due else { return packed.end() };
    let mut at = Listpack::FRONT;
    while at < packed.end() {
        let time = packed.behind(packed.behind(at));
        if Some(at) != except && time_at(packed, time).is_none_or(|other| other >= due) {
            break;
        }
        at = packed.behind(time);
    }
    at
}

/// The time of the field that stands at a position.
fn due_at(packed: &Listpack, at: Position) -> Option<Millis> {
    time_at(packed, packed.behind(packed.behind(at)))
}

fn time_at(packed: &Listpack, at: Position) -> Option<Millis> {
    match packed.get(at) {
        Text::Int(time) if time != NO_TIME => Some(time),
        _ => None,
    }
}

/// When the first field of a `HashTimed` expires.
pub(super) fn first_due(packed: &Listpack) -> Option<Millis> {
    packed.first().and_then(|at| due_at(packed, at))
}

/// Takes the fields that are due out of a `HashTimed`; their names.
pub(super) fn remove_due(packed: &mut Listpack, now: Millis) -> Vec<Box<[u8]>> {
    let (mut names, mut next) = (Vec::new(), packed.first());
    while let Some(at) = next
        && due_at(packed, at).is_some_and(|due| due <= now)
    {
        names.push(packed.get(at).to_vec().into());
        next = packed.skip(at, TRIPLE);
    }
    // They stand in front of the others, who move up once.
    if let Some(first) = packed.first().filter(|_| !names.is_empty()) {
        packed.remove(first, TRIPLE * names.len());
    }
    names
}

/// Most layouts have fewer fields.
const SHARED_ROOM: usize = 32;
/// A longer hash is better off as what [`Hash::set`] makes of it.
const SHARED_BYTES_MAX: usize = PACKED_BYTES_MAX / 4;
/// Of a row as a listpack, at most: names, and what surrounds them.
const ROW_EXTRA: usize = 1 << 20;
/// Entries a field in the listpacks.
const PAIR: usize = 2;
const TRIPLE: usize = 3;
const NO_TIME: Millis = 0;
/// Sparse buckets looked at per field asked for, before a scan answers with fewer (as in Redis).
const STEPS_PER_FIELD: usize = 10;
/// Drawing different fields one by one is quicker than a walk while no more than a third is asked for.
const SPARSE: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::value::Collection;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<Millis>)>;

    /// What the log makes of the hash: there fields stay until it says that they were removed.
    #[derive(Default)]
    struct Log(Model);

    impl Log {
        /// Fields of the hash were removed because they were due.
        fn removed(&mut self, names: &[Box<[u8]>]) {
            names.iter().for_each(|name| assert!(self.0.remove(&**name).is_some()));
        }

        /// The hash was changed to what the model is, of which the log is told except for what is gone.
        fn follows(&mut self, value: &mut Value, model: &Model) {
            self.removed(&value.take_replaced_fields());
            let is_gone = |name: &Vec<u8>| !model.contains_key(name);
            let gone = self.0.iter().filter(|(name, _)| is_gone(name)).count();
            assert_eq!(gone, value.fields_gone());
            self.0.extend(model.clone());
        }
    }

    fn contents(hash: &Hash) -> Model {
        let mut all = Model::new();
        hash.for_each(|field, value, due| assert!(all.insert(field.to_vec(), (value.to_vec(), due)).is_none()));
        all
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0u8..30).prop_map(|n| format!("field {n}").into_bytes()),
            (-9i64..9).prop_map(|n| n.to_string().into_bytes()),
            (0usize..40).prop_map(|n| vec![b'x'; n]),
        ]
    }

    proptest! {
        #[test]
        fn a_hash_is_a_map_whose_fields_expire(
            entries in prop_oneof![Just(0usize), Just(6), Just(100)],
            shared in 0usize..12,
            steps in prop::collection::vec((0u8..9, text(), text(), 1i64..50), 1..200),
        ) {
            let max = ListpackMax { entries, bytes: 30 };
            let (mut value, mut model, mut log, mut now) = (Hash::empty(), Model::new(), Log::default(), 0);
            let sharing = Sharing { fields: 2..=10, at_once: true };
            let first: Vec<_> = (0..shared).map(|n| (format!("field {n}").into_bytes(), vec![b'v'; n])).collect();
            Hash::of_mut(&mut value).unwrap().set_all(first.iter().map(|(f, v)| (&f[..], &v[..])), max, &sharing);
            let shares = (2..=entries.min(10)).contains(&shared);
            prop_assert_eq!(matches!(value, Value::HashRow(..)), shares);
            // The order of fields, which a hash keeps while it is a listpack or shares its names.
            let mut order: Vec<Vec<u8>> = first.iter().map(|(field, _)| field.clone()).collect();
            model.extend(first.into_iter().map(|(field, text)| (field, (text, None))));
            log.follows(&mut value, &model);
            for (step, field, text, ahead) in steps {
                // A time that has passed is the caller's to turn into a removal.
                let (time, visit) = (now + ahead, ahead % 3);
                let hash = Hash::of_mut(&mut value).unwrap();
                let known = model.get(&field).cloned();
                match step {
                    0..4 => {
                        let due = [Due::Clear, Due::Clear, Due::Keep, Due::At(time)][usize::from(step)];
                        prop_assert_eq!(hash.set(&field, &text, due, max), known.is_none());
                        let kept = match due {
                            Due::Clear => None,
                            Due::Keep => known.and_then(|(_, due)| due),
                            Due::At(at) => Some(at),
                        };
                        model.insert(field, (text, kept));
                    }
                    4 => {
                        let due = (visit > 0).then_some(time);
                        prop_assert_eq!(hash.set_due(&field, due), known.is_some());
                        if let Some(entry) = model.get_mut(&field) { entry.1 = due; }
                    }
                    5 => {
                        let pairs: Vec<_> = model.keys().chain([&field]).map(|f| (f.clone(), text.clone())).collect();
                        let created = hash.set_all(pairs.iter().map(|(f, v)| (&f[..], &v[..])), max, &sharing);
                        prop_assert_eq!(created, usize::from(known.is_none()));
                        model = pairs.into_iter().map(|(f, v)| (f, (v, None))).collect();
                    }
                    6 => {
                        let removed = model.remove(&field).is_some();
                        prop_assert_eq!(hash.remove(&field), removed);
                        if removed { log.0.remove(&field); }
                    }
                    7 => {
                        now += ahead / 9;
                        let is_due = |due: Option<Millis>| due.is_some_and(|at| at <= now);
                        let due = log.0.values().filter(|(_, due)| is_due(*due)).count();
                        let max = [2, 5, usize::MAX][visit as usize];
                        let removed = value.remove_due_fields(now, max);
                        let bounded = if value.encoding() == "hashtable" { due.min(max) } else { due };
                        prop_assert_eq!(removed.len(), bounded);
                        prop_assert!(removed.iter().all(|name| is_due(log.0[&**name].1)));
                        prop_assert!(!value.shows_due(now));
                        log.removed(&removed);
                        model.retain(|_, e| !is_due(e.1));
                    }
                    _ => value = value.clone(),
                }
                log.follows(&mut value, &model);
                let hash = Hash::of(&value).unwrap();
                prop_assert_eq!(hash.len(), model.len());
                order.retain(|field| model.contains_key(field));
                let added: Vec<_> = model.keys().filter(|field| !order.contains(field)).cloned().collect();
                order.extend(added);
                if value.encoding() == "listpack" {
                    let mut stored = Vec::new();
                    hash.for_each(|field, _, _| stored.push(field.to_vec()));
                    prop_assert_eq!(&stored, &order);
                    prop_assert_eq!(hash.pairs().pairs().map(|(field, _)| field.to_vec()).collect::<Vec<_>>(), stored);
                }
                let asked: Vec<&[u8]> = order.iter().rev().chain(&order).map(|f| &f[..]).chain([&b"no such"[..]]).collect();
                let mut found = Vec::new();
                hash.get_all(asked.iter().copied(), |text| found.push(text.map(Text::to_vec)));
                let expected: Vec<_> = asked.iter().map(|&field| model.get(field).map(|(text, _)| text.clone())).collect();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(&contents(hash), &model);
                prop_assert_eq!(value.first_due(), model.values().filter_map(|(_, due)| *due).min());
                prop_assert_eq!(value.fields_due(), log.0.values().filter_map(|(_, due)| *due).min());
                if value.encoding() != "hashtable" {
                    prop_assert!(model.len() <= entries && model.iter().all(|(f, (v, _))| f.len().max(v.len()) <= 30));
                    prop_assert!(value.encoding() == "listpackex" || model.values().all(|(_, due)| due.is_none()));
                }
            }
            let hash = Hash::of(&value).unwrap();
            for (field, (text, due)) in &model {
                prop_assert_eq!((hash.get(field).map(Text::to_vec), hash.due(field)), (Some(text.clone()), Some(*due)));
            }
            let (mut scanned, mut cursor) = (Model::new(), 0);
            loop {
                cursor = hash.scan(cursor, 3, |f, v| _ = scanned.insert(f.to_vec(), (v.to_vec(), hash.due(&f.to_vec()).unwrap())));
                if cursor == 0 { break; }
            }
            prop_assert_eq!(&scanned, &model);
            for count in [0, 1, 5, model.len(), model.len() + 1] {
                let mut drawn = Model::new();
                hash.sample_distinct(count, |f, v| assert!(drawn.insert(f.to_vec(), (v.to_vec(), None)).is_none()));
                prop_assert_eq!(drawn.len(), count.min(model.len()));
                prop_assert!(drawn.iter().all(|(f, (v, _))| model[f].0 == *v));
                let mut times = 0;
                if !model.is_empty() {
                    hash.sample(count, |f, v| { times += 1; model[&f.to_vec()].0 == v.to_vec() });
                    prop_assert_eq!(times, count);
                }
            }
        }
    }

    #[test]
    fn every_field_is_drawn_as_often_as_any_other() {
        for entries in [0, 100] {
            let mut value = Hash::empty();
            let hash = Hash::of_mut(&mut value).unwrap();
            let max = ListpackMax { entries, bytes: 64 };
            (0..20).for_each(|n| assert!(hash.set(format!("field{n}").as_bytes(), b"v", Due::Clear, max)));
            let mut drawn = BTreeMap::<Vec<u8>, usize>::new();
            hash.sample(20_000, |f, _| {
                *drawn.entry(f.to_vec()).or_default() += 1;
                true
            });
            (0..10_000).for_each(|_| {
                hash.sample(1, |f, _| {
                    *drawn.entry(f.to_vec()).or_default() += 1;
                    true
                })
            });
            (0..5_000).for_each(|_| hash.sample_distinct(2, |f, _| *drawn.entry(f.to_vec()).or_default() += 1));
            // 2,000 each on average; five standard deviations are about 220.
            assert!(drawn.len() == 20 && drawn.values().all(|n| (1780..2220).contains(n)), "{drawn:?}");
        }
    }

    #[test]
    fn a_listpack_with_times_has_the_earliest_first() {
        let mut value = Hash::empty();
        let hash = Hash::of_mut(&mut value).unwrap();
        let max = ListpackMax { entries: 100, bytes: 64 };
        for (field, due) in [("a", Due::Clear), ("b", Due::At(20)), ("c", Due::At(10)), ("d", Due::At(20))] {
            hash.set(field.as_bytes(), b"v", due, max);
        }
        let order = |hash: &Hash| {
            let mut all = String::new();
            hash.for_each(|field, _, _| all.push(field.to_vec()[0] as char));
            all
        };
        assert_eq!(order(hash), "cdba");
        hash.set(b"c", b"w", Due::Clear, max);
        hash.set(b"b", b"w", Due::Keep, max);
        assert_eq!((order(hash), hash.due(b"b")), ("dbac".into(), Some(Some(20))));
    }

    /// The budget of design: fields of a big hash with short names and values.
    #[test]
    fn a_field_of_a_big_hash_is_small() {
        let mut value = Hash::empty();
        let hash = Hash::of_mut(&mut value).unwrap();
        for n in 0..200_000 {
            let (field, text) = (format!("field:{n:010}"), format!("value:{n:010}"));
            hash.set(field.as_bytes(), text.as_bytes(), Due::Clear, ListpackMax { entries: 512, bytes: 64 });
        }
        let bytes = value.heap_bytes() as f64 / 200_000.0;
        assert!(bytes <= 61.0, "{bytes} bytes a field");
    }
}
