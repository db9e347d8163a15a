//! A key in memory: one allocation for header, expiry, key and short value.
//!
//! ```text
//! Head 8 | integer 8, or Value 16, or lengths of a wide string 8 | expiry 8, if any | key | string, to the allocation's end
//! ```
//! The header keeps the access word (LRU clock or LFU counter), flags and key length. A string up to
//! [`INLINE_BYTES_MAX`] lives behind its key and is overwritten in place while it fits; longer ones are a
//! [`Value::Str`], so that EXPIRE or RENAME never copy them. Of most strings the header holds all lengths (8 bits for the
//! key's, 12 for the string's, 10 for the allocation's in words); where one does not fit, the string is a wide one. A
//! 16-byte key with a 16-byte value takes 40 bytes.
//!
//! [`Entry`] is a plain pointer and stays inside the keyspace, where the stripe's lock is held while it is used and where
//! what takes an entry out of the table frees it. Commands get an [`EntryRef`], which the compiler ends before the `Db`
//! can change anything. All unsafety of the layout is in this file.

#![allow(unsafe_code)]

use crate::clock::Millis;
use crate::mover::Mover;
use crate::resp::parse::REQUEST_BYTES_MAX;
use crate::table::prefetch;
use crate::types::{Kind, MEMBER_BYTES_MAX, Value};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ptr::NonNull;

/// A pointer to an entry's allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(NonNull<Head>);

/// An entry on loan, for reading: it ends before the `Db` that lends it is used again.
///
/// ```
/// fn reads(db: &mut memkv::keyspace::Db<'_>) -> usize {
///     db.inspect(b"key").map_or(0, |entry| entry.key().len())
/// }
/// ```
/// After a write it is gone:
/// ```compile_fail,E0499
/// fn reads(db: &mut memkv::keyspace::Db<'_>) -> usize {
///     let entry = db.inspect(b"key");
///     db.remove(b"key");
///     entry.map_or(0, |entry| entry.key().len())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(Entry, PhantomData<&'a Entry>);

// SAFETY: an entry is owned by the table that holds it; access is serialised by the stripe's lock.
unsafe impl Send for Entry {}

#[repr(C)]
struct Head {
    /// 25 bits of access word, 7 bits of flags.
    access: u32,
    /// The key's length; of an inline string that is not wide all [`Lengths`].
    lengths: u32,
}

/// What a header knows of an inline string.
#[derive(Clone, Copy)]
struct Lengths(u32);

impl Lengths {
    const KEY_BITS: u32 = 8;
    const TEXT_BITS: u32 = 12;

    /// `None` if one of them does not fit. `size`: of the allocation, in bytes.
    fn new(key: usize, text: usize, room: usize, size: usize) -> Option<Self> {
        let fits = key < 1 << Self::KEY_BITS && room < 1 << Self::TEXT_BITS;
        let words = (size / WORD_BYTES) as u32;
        fits.then_some(Self(words << (Self::KEY_BITS + Self::TEXT_BITS) | (text as u32) << Self::KEY_BITS | key as u32))
    }

    #[inline]
    fn key(self) -> usize {
        (self.0 & ((1 << Self::KEY_BITS) - 1)) as usize
    }

    #[inline]
    fn text(self) -> usize {
        (self.0 >> Self::KEY_BITS & ((1 << Self::TEXT_BITS) - 1)) as usize
    }

    #[inline]
    fn size(self) -> usize {
        (self.0 >> (Self::KEY_BITS + Self::TEXT_BITS)) as usize * WORD_BYTES
    }

    #[inline]
    fn with_text(self, text: usize) -> Self {
        let others = self.0 & !(((1 << Self::TEXT_BITS) - 1) << Self::KEY_BITS);
        Self(others | (text as u32) << Self::KEY_BITS)
    }
}

/// Of an inline string: its length and the room for it.
#[repr(C)]
#[derive(Clone, Copy)]
struct TextLengths {
    len: u32,
    room: u32,
}

/// What an entry holds, for reading.
pub enum Body<'a> {
    Bytes(&'a [u8]),
    Int(i64),
    Value(&'a Value),
}

/// What an entry tells of its key besides the value.
#[derive(Clone, Copy)]
pub struct Marks {
    pub expiry: Option<Millis>,
    /// The access word.
    pub access: u32,
}

/// What a new entry shall hold.
pub enum New<'a> {
    /// An inline string with at least this much room (`bytes.len()` if smaller).
    Bytes {
        bytes: &'a [u8],
        room: usize,
    },
    Int(i64),
    Value(Value),
}

impl<'a> EntryRef<'a> {
    pub fn key(self) -> &'a [u8] {
        self.0.key()
    }

    pub fn body(self) -> Body<'a> {
        self.0.body()
    }

    pub fn kind(self) -> Kind {
        self.0.kind()
    }

    /// The name OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        self.0.encoding()
    }

    pub fn expiry(self) -> Option<Millis> {
        self.0.expiry()
    }

    /// LRU clock in seconds, or LFU minutes and counter; see [`super::access`].
    pub fn access(self) -> u32 {
        self.0.access()
    }

    pub fn marks(self) -> Marks {
        self.0.marks()
    }

    /// Bytes of the entry and of what it points to.
    pub fn heap_bytes(self) -> usize {
        self.0.heap_bytes()
    }

    /// Where it stands in memory, for DEBUG OBJECT.
    pub fn address(self) -> NonZeroU64 {
        self.0.word()
    }
}

impl Entry {
    /// Lends the entry for as long as `lender`, which holds the stripe's lock, is borrowed.
    #[inline]
    pub fn lent<T: ?Sized>(self, _lender: &T) -> EntryRef<'_> {
        EntryRef(self, PhantomData)
    }

    /// Allocates an entry. `New::Bytes` must be at most [`INLINE_BYTES_MAX`] of room.
    pub fn new(key: &[u8], body: New<'_>, expiry: Option<Millis>, access: u32) -> Self {
        let key_len = u32::try_from(key.len()).expect("a key is shorter than 4 GiB");
        let expires = if expiry.is_some() { EXPIRES } else { 0 };
        let before_room = |body: u32| key_offset(body | expires) + key.len();
        let size_of = |body: u32, room: usize| (before_room(body) + room).next_multiple_of(WORD_BYTES);
        let (body_flag, lengths, size) = match &body {
            New::Bytes { bytes, room } => {
                let room = (*room).max(bytes.len());
                let size = size_of(INLINE, room);
                match Lengths::new(key.len(), bytes.len(), size - before_room(INLINE), size) {
                    Some(lengths) => (INLINE, lengths.0, size),
                    None => (WIDE, key_len, size_of(WIDE, room)),
                }
            }
            New::Int(_) => (INT, key_len, size_of(INT, 0)),
            New::Value(_) => (BOXED, key_len, size_of(BOXED, 0)),
        };
        let flags = body_flag | expires;
        let key_at = key_offset(flags);
        let head = Head { access: access & ACCESS_MASK | flags << FLAGS_SHIFT, lengths };
        let layout = Layout::from_size_align(size, WORD_BYTES).expect("an entry is smaller than the address space");
        // SAFETY: the layout is not empty; every write below stays inside `size` by the offsets computed above.
        unsafe {
            let memory = alloc(layout);
            let Some(this) = NonNull::new(memory.cast::<Head>()) else { handle_alloc_error(layout) };
            this.write(head);
            let mut entry = Self(this);
            if let Some(at) = expiry {
                entry.expiry_ptr().write(at);
            }
            std::ptr::copy_nonoverlapping(key.as_ptr(), memory.add(key_at), key.len());
            match body {
                New::Bytes { bytes, .. } => {
                    if body_flag == WIDE {
                        let room = (size - key_at - key.len()) as u32;
                        entry.body_ptr().cast::<TextLengths>().write(TextLengths { len: 0, room });
                    }
                    entry.write_inline(bytes);
                }
                New::Int(n) => entry.body_ptr().cast::<i64>().write(n),
                New::Value(value) => entry.body_ptr().cast::<Value>().write(value),
            }
            entry
        }
    }

    #[inline]
    pub fn word(self) -> NonZeroU64 {
        NonZeroU64::new(self.0.as_ptr() as u64).expect("a pointer is not null")
    }

    /// # Safety
    /// `word` came from [`Self::word`] of an entry that has not been freed.
    #[inline]
    pub unsafe fn from_word(word: NonZeroU64) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(word.get() as *mut Head) })
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: an entry points to a live allocation (type's contract).
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: as above; the stripe's lock makes us the only one.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    fn flags(&self) -> u32 {
        self.head().access >> FLAGS_SHIFT
    }

    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers pass offsets inside the allocation.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset) }
    }

    #[inline]
    fn body_ptr(&self) -> *mut u8 {
        self.at(size_of::<Head>())
    }

    #[inline]
    fn expiry_ptr(&self) -> *mut i64 {
        self.at(expiry_offset(self.flags())).cast()
    }

    /// Lengths of an inline string; of other bodies nothing.
    #[inline]
    fn text(&self) -> TextLengths {
        match self.flags() & BODY {
            INLINE => {
                let lengths = Lengths(self.head().lengths);
                let room = lengths.size() - key_offset(self.flags()) - lengths.key();
                TextLengths { len: lengths.text() as u32, room: room as u32 }
            }
            // SAFETY: the flag says that `new` wrote them.
            WIDE => unsafe { self.body_ptr().cast::<TextLengths>().read() },
            _ => TextLengths { len: 0, room: 0 },
        }
    }

    #[inline]
    fn key_len(&self) -> usize {
        let lengths = self.head().lengths;
        if self.flags() & BODY == INLINE { Lengths(lengths).key() } else { lengths as usize }
    }

    /// The lifetime is the caller's to bound: as long as the stripe is locked and the entry in place.
    #[inline]
    pub fn key<'a>(self) -> &'a [u8] {
        // SAFETY: the key's bytes were written by `new` and stay while the entry is in place.
        unsafe { std::slice::from_raw_parts(self.at(key_offset(self.flags())), self.key_len()) }
    }

    /// Whether it is a key's entry. Most keys are 8 to 32 bytes long, for which a call to compare them costs more than the
    /// comparison.
    #[inline]
    pub fn is_of(self, key: &[u8]) -> bool {
        let own: &[u8] = self.key();
        match key.len() {
            len if len != own.len() => false,
            8..=16 => own.first_chunk::<8>() == key.first_chunk() && own.last_chunk::<8>() == key.last_chunk(),
            17..=32 => own.first_chunk::<16>() == key.first_chunk() && own.last_chunk::<16>() == key.last_chunk(),
            _ => own == key,
        }
    }

    pub fn marks(self) -> Marks {
        Marks { expiry: self.expiry(), access: self.access() }
    }

    #[inline]
    pub fn expiry(self) -> Option<Millis> {
        // SAFETY: the flag says the field is there.
        (self.flags() & EXPIRES != 0).then(|| unsafe { self.expiry_ptr().read() })
    }

    #[inline]
    pub fn is_due(self, now: Millis) -> bool {
        self.expiry().is_some_and(|at| at <= now)
    }

    /// When the first field of a hash expires.
    pub fn fields_due(self) -> Option<Millis> {
        if let Body::Value(value) = self.body() { value.fields_due() } else { None }
    }

    /// Fields of a hash are due that are not gone for who asks.
    pub fn shows_due(self, now: Millis) -> bool {
        if let Body::Value(value) = self.body() { value.shows_due(now) } else { false }
    }

    /// Fields of this hash expire, or did: the cheap question before [`Self::fields_due`].
    #[inline]
    pub fn has_expiring_fields(self) -> bool {
        self.has(FIELDS_EXPIRE)
    }

    pub fn set_expiring_fields(&mut self) {
        self.set(FIELDS_EXPIRE, true);
    }

    /// When the key or something in it expires first.
    pub fn next_due(self) -> Option<Millis> {
        let fields = if self.has_expiring_fields() { self.fields_due() } else { None };
        self.expiry().into_iter().chain(fields).min()
    }

    /// Overwrites the expiry of an entry that has one.
    pub fn write_expiry(self, at: Millis) {
        debug_assert!(self.flags() & EXPIRES != 0);
        // SAFETY: the flag says the field is there.
        unsafe { self.expiry_ptr().write(at) }
    }

    #[inline]
    pub fn body<'a>(self) -> Body<'a> {
        // SAFETY: the flags say which body was written by `new`.
        unsafe {
            match self.flags() & BODY {
                INT => Body::Int(self.body_ptr().cast::<i64>().read()),
                BOXED => Body::Value(&*self.body_ptr().cast::<Value>()),
                _ => Body::Bytes(std::slice::from_raw_parts(self.inline_ptr(), self.text().len as usize)),
            }
        }
    }

    /// Asks the memory for an entry of which only the word is known, perhaps an outdated one.
    #[inline]
    pub fn prefetch(word: u64) {
        prefetch(word as *const u8);
        prefetch((word as *const u8).wrapping_add(CACHE_LINE_BYTES));
    }

    /// Asks the memory for the beginning of the collection that the entry points to.
    #[inline]
    pub fn prefetch_value(self) {
        if let Body::Value(value) = self.body() {
            (0..VALUE_LINES).for_each(|line| prefetch(value.address().wrapping_add(CACHE_LINE_BYTES * line)));
        }
    }

    /// The boxed value, for changing. The caller holds the stripe's lock and makes no second reference.
    #[inline]
    pub fn value_mut<'a>(self) -> Option<&'a mut Value> {
        // SAFETY: the flag says a Value was written here; exclusivity is the caller's, by the lock.
        (self.flags() & BODY == BOXED).then(|| unsafe { &mut *self.body_ptr().cast::<Value>() })
    }

    /// The inline string's bytes, for changing in place.
    pub fn inline_mut<'a>(self) -> Option<&'a mut [u8]> {
        let len = self.text().len as usize;
        // SAFETY: as in `body` and `value_mut`.
        self.is_inline().then(|| unsafe { std::slice::from_raw_parts_mut(self.inline_ptr(), len) })
    }

    fn is_inline(self) -> bool {
        matches!(self.flags() & BODY, INLINE | WIDE)
    }

    pub fn is_int(self) -> bool {
        self.flags() & BODY == INT
    }

    pub fn write_int(self, n: i64) {
        debug_assert!(self.is_int());
        // SAFETY: the flag says the field is there.
        unsafe { self.body_ptr().cast::<i64>().write(n) }
    }

    #[inline]
    fn inline_ptr(&self) -> *mut u8 {
        self.at(key_offset(self.flags()) + self.key_len())
    }

    /// Room for an inline string; 0 for other bodies.
    #[inline]
    pub fn room(self) -> usize {
        self.text().room as usize
    }

    /// Puts a string in place of an inline one; it must fit the room.
    #[inline]
    pub fn write_inline(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "the string fits its entry");
        // SAFETY: checked against the room just above; source and entry do not overlap (a client's buffer).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.inline_ptr(), bytes.len()) };
        self.set_text_len(bytes.len());
    }

    /// Lengthens an inline string with zero bytes; it must fit the room.
    pub fn extend_inline(&mut self, len: usize) {
        let had = self.text().len as usize;
        assert!(len <= self.room() && len >= had, "the string fits its entry");
        // SAFETY: inside the room, checked above.
        unsafe { std::ptr::write_bytes(self.inline_ptr().add(had), 0, len - had) };
        self.set_text_len(len);
    }

    #[inline]
    fn set_text_len(&mut self, len: usize) {
        debug_assert!(self.is_inline());
        if self.flags() & BODY == INLINE {
            let head = self.head_mut();
            head.lengths = Lengths(head.lengths).with_text(len).0;
        } else {
            // SAFETY: the lengths of a wide string stand there; callers write inline strings only.
            unsafe { (*self.body_ptr().cast::<TextLengths>()).len = len as u32 }
        }
    }

    pub fn kind(self) -> Kind {
        match self.body() {
            Body::Value(value) => value.kind(),
            _ => Kind::String,
        }
    }

    pub fn encoding(self) -> &'static str {
        match self.body() {
            Body::Int(_) => "int",
            Body::Value(value) => value.encoding(),
            Body::Bytes(b) if self.has(RAW) || b.len() > EMBSTR_BYTES_MAX => "raw",
            Body::Bytes(_) => "embstr",
        }
    }

    /// A string that was changed in place reads as `raw` from then on, as in Redis.
    pub fn set_raw(&mut self, yes: bool) {
        self.set(RAW, yes);
    }

    /// The snapshot that has this entry, by its parity bit.
    #[inline]
    pub fn snapshot_parity(self) -> bool {
        self.has(PARITY)
    }

    pub fn set_snapshot_parity(&mut self, parity: bool) {
        self.set(PARITY, parity);
    }

    fn has(self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    fn set(&mut self, flag: u32, yes: bool) {
        let bit = flag << FLAGS_SHIFT;
        let head = self.head_mut();
        head.access = if yes { head.access | bit } else { head.access & !bit };
    }

    /// LRU clock in seconds, or LFU minutes and counter; see [`super::access`].
    #[inline]
    pub fn access(self) -> u32 {
        self.head().access & ACCESS_MASK
    }

    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let head = self.head_mut();
        if (head.access ^ access) & ACCESS_MASK != 0 {
            head.access = head.access & !ACCESS_MASK | access & ACCESS_MASK;
        }
    }

    fn size(self) -> usize {
        if self.flags() & BODY == INLINE {
            return Lengths(self.head().lengths).size();
        }
        (key_offset(self.flags()) + self.key_len() + self.room()).next_multiple_of(WORD_BYTES)
    }

    /// Bytes of the entry and of what it points to.
    pub fn heap_bytes(self) -> usize {
        self.size() + if let Body::Value(value) = self.body() { value.heap_bytes() } else { 0 }
    }

    /// The same key, flags and access word around another body or expiry. The old entry stays whole and must be freed
    /// or forgotten by the caller.
    pub fn rebuilt(self, body: New<'_>, expiry: Option<Millis>) -> Self {
        let mut new = Self::new(self.key(), body, expiry, self.access());
        new.set(PARITY, self.has(PARITY));
        new.set(FIELDS_EXPIRE, self.has(FIELDS_EXPIRE));
        new
    }

    /// Takes the boxed value out and frees the rest.
    pub fn into_value(self) -> Option<Value> {
        // SAFETY: read once, and the allocation is freed without dropping it again.
        let value = (self.flags() & BODY == BOXED).then(|| unsafe { self.body_ptr().cast::<Value>().read() });
        self.free_memory();
        value
    }

    /// Frees the entry and its value.
    pub fn free(self) {
        drop(self.into_value());
    }

    /// The same entry in a better place, if its place is worth leaving; what it points to stays. The caller owns it and
    /// forgets the old one, by the lock that readers need too.
    pub fn relocated(self, mover: &mut Mover) -> Self {
        // SAFETY: an allocation of this layout, owned by the caller.
        unsafe { mover.moved(self.0.cast(), self.layout()) }.map_or(self, |copy| Self(copy.cast()))
    }

    /// Size depends only on fields fixed since `new`.
    fn layout(self) -> Layout {
        Layout::from_size_align(self.size(), WORD_BYTES).expect("the layout it was made with")
    }

    fn free_memory(self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), self.layout()) }
    }
}

#[inline]
fn expiry_offset(flags: u32) -> usize {
    size_of::<Head>()
        + match flags & BODY {
            INLINE => 0,
            INT => size_of::<i64>(),
            WIDE => size_of::<TextLengths>(),
            _ => size_of::<Value>(),
        }
}

#[inline]
fn key_offset(flags: u32) -> usize {
    expiry_offset(flags) + if flags & EXPIRES != 0 { 8 } else { 0 }
}

/// What a client sends is short enough to be a key or a member; files are asked ([`MEMBER_BYTES_MAX`]).
const _: () = assert!(REQUEST_BYTES_MAX as usize <= MEMBER_BYTES_MAX);
const FLAGS_SHIFT: u32 = 25;
const ACCESS_MASK: u32 = (1 << FLAGS_SHIFT) - 1;
const EXPIRES: u32 = 1;
const BODY: u32 = 0b110;
const INLINE: u32 = 0b000;
const INT: u32 = 0b010;
const BOXED: u32 = 0b100;
/// An inline string whose lengths do not fit the header.
const WIDE: u32 = 0b110;
/// Entries are whole words, aligned to them.
const WORD_BYTES: usize = 8;
const RAW: u32 = 0b1000;
const PARITY: u32 = 0b1_0000;
const FIELDS_EXPIRE: u32 = 0b10_0000;
/// Longer strings get an allocation of their own.
pub const INLINE_BYTES_MAX: usize = 4096;
/// Cache lines of a collection that are asked for: a small hash has about three, the first two of a large one tell the way.
const VALUE_LINES: usize = 3;
const CACHE_LINE_BYTES: usize = 64;
/// Redis names strings up to here `embstr`.
const EMBSTR_BYTES_MAX: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_body_round_trips_with_and_without_expiry() {
        for expiry in [None, Some(1_700_000_000_000)] {
            let e = Entry::new(b"key", New::Bytes { bytes: b"value", room: 0 }, expiry, 77);
            assert!(matches!(e.body(), Body::Bytes(b"value")));
            assert_eq!((e.key(), e.expiry(), e.access(), e.encoding()), (&b"key"[..], expiry, 77, "embstr"));
            let n = e.rebuilt(New::Int(-5), Some(9));
            assert!(matches!(n.body(), Body::Int(-5)) && n.is_due(9) && !n.is_due(8) && n.access() == 77);
            let v = n.rebuilt(New::Value(Value::Str(Arc::new(vec![1; 9000]))), None);
            assert!(matches!(v.body(), Body::Value(Value::Str(s)) if s.len() == 9000));
            [e, n].into_iter().for_each(Entry::free);
            assert!(matches!(v.into_value(), Some(Value::Str(_))));
        }
    }

    #[test]
    fn an_entry_is_of_its_key_and_of_no_other() {
        for len in 0..40 {
            let key: Vec<u8> = (1..=len).collect();
            let entry = Entry::new(&key, New::Int(1), None, 0);
            assert!(entry.is_of(&key) && !entry.is_of(&[&key[..], b"x"].concat()));
            for at in 0..key.len() {
                let mut other = key.clone();
                other[at] ^= 0x80;
                assert!(!entry.is_of(&other) && !entry.is_of(&key[..at]), "{len} {at}");
            }
            entry.free();
        }
    }

    #[test]
    fn a_string_is_overwritten_in_place_while_it_fits() {
        let mut e = Entry::new(b"sixteen byte key", New::Bytes { bytes: b"sixteen byte val", room: 0 }, None, 0);
        assert_eq!(e.heap_bytes(), 40);
        e.write_inline(b"short");
        e.extend_inline(7);
        assert!(matches!(e.body(), Body::Bytes(b"short\0\0")));
        e.free();
    }

    #[test]
    fn lengths_that_do_not_fit_the_header_are_kept_elsewhere() {
        for key in [0, 1, 7, 255, 256, 70_000] {
            for (len, room) in [(0, 0), (1, 0), (17, 100), (4080, 0), (4087, 4087), (4088, 0), (4089, 0), (7, 4096)] {
                for expiry in [None, Some(5)] {
                    let (key, text) = (vec![b'k'; key], vec![b't'; len]);
                    let mut e = Entry::new(&key, New::Bytes { bytes: &text, room }, expiry, 3);
                    assert_eq!((e.key(), e.expiry(), e.access()), (&key[..], expiry, 3));
                    assert!(matches!(e.body(), Body::Bytes(bytes) if bytes == text));
                    assert!((room.max(len)..room.max(len) + WORD_BYTES).contains(&e.room()), "{} {len}", e.room());
                    e.extend_inline(e.room());
                    e.inline_mut().unwrap().fill(b'x');
                    assert!(matches!(e.body(), Body::Bytes(b) if b.len() == e.room() && b.iter().all(|&b| b == b'x')));
                    assert_eq!(e.key(), key);
                    e.free();
                }
            }
        }
    }
}
