//! The hash table under the keyspace, big hashes, big sets and sorted-set members: linear hashing over cache lines.
//!
//! A bucket is one 64-byte line: seven words, a one-byte tag for each, and a byte of presence bits. A full bucket
//! turns its seventh word into a pointer to a further bucket. The table grows by **splitting one bucket at a time**
//! (Litwin's linear hashing) and shrinks by merging one: an insert moves at most one bucket's words, whatever the
//! table's size, so nothing ever pauses, and the load is always near its best instead of swinging by a factor of two.
//! Buckets live in segments that growth never moves or copies: 1, 1, 2, 4 … 32, then 64 at a time.
//!
//! * The table stores non-zero words of 48 bits and knows nothing of them; callers pass equality and hash as closures.
//! * Bits of a hash: the low ones choose the bucket, bits 24–31 are the tag. A 32-bit prefix therefore finds a word.
//!   The low sixteen stand above the word in its place, so that a split reads nothing but buckets below 65,536 of them:
//!   what the words point to would be a cache miss each.
//! * [`Table::scan`] walks in the order of reversed hash bits. A bucket covers one interval of that order at any
//!   size, so a word that stays in the table for a whole scan is seen, whatever grows or shrinks in between.
//! * A [`Probe`] lets readers without the lock prefetch while another thread changes the table. They read words, tags
//!   and directory atomically and follow only pointers to memory that outlives them: segments and directories that
//!   fall out of use go to [`Table::take_retired`] and must be freed after such readers are gone.
//!
//! Cost: 64 bytes for 5.5 words on average, 11.6 bytes a word, and chains for the buckets not yet split of this
//! round (measured: 12.3 in all). A find touches one line, sometimes two.

#![allow(unsafe_code)]

use crate::mover::Mover;
use smallvec::SmallVec;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// A hasher for names that clients choose: keyed at random, so that a client cannot choose names that collide.
pub fn keyed_hasher() -> ahash::RandomState {
    let [a, b, c, d] = FIXED_SEEDS.get().copied().unwrap_or_else(|| {
        let mut seeds = [0u8; 32];
        getrandom::fill(&mut seeds).expect("the system's random source answers");
        std::array::from_fn(|i| u64::from_le_bytes(seeds[i * 8..][..8].try_into().expect("eight bytes")))
    });
    ahash::RandomState::with_seeds(a, b, c, d)
}

/// Keys every hasher made from here on alike, so that a benchmark counts the same instructions in every run. No server
/// calls it.
pub fn fix_seeds(seeds: [u64; 4]) {
    let _ = FIXED_SEEDS.set(seeds);
}

static FIXED_SEEDS: OnceLock<[u64; 4]> = OnceLock::new();

/// What a table holds: usually a pointer. Never zero, below 2^48.
pub type Word = NonZeroU64;

/// A found word's place. Valid until the table is next changed.
#[derive(Clone, Copy)]
pub struct Found {
    bucket: NonNull<Bucket>,
    index: usize,
    /// The first bucket of the chain: what removal compacts.
    home: usize,
}

/// One cache line. `meta` holds seven tags and, in its top byte, seven presence bits and the chain bit.
#[repr(C, align(64))]
struct Bucket {
    meta: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// Pointers to segments, behind their count. Replaced, never changed in size.
#[repr(C)]
struct Directory {
    capacity: usize,
    segments: [AtomicPtr<Bucket>; 0],
}

/// Memory that lock-free readers may still look at. Freed when dropped.
pub struct Retired {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a retired block is owned memory without references into it.
unsafe impl Send for Retired {}

impl Retired {
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        // SAFETY: allocated by this module with this very layout, and owned here alone.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

/// A table of words. What a find needs stands first.
#[repr(C)]
pub struct Table {
    directory: *mut Directory,
    /// Number of buckets, 0 before the first insert.
    buckets: usize,
    len: usize,
    chained: usize,
    retired: Vec<Retired>,
}

// SAFETY: the raw pointers are owned; words are plain integers here.
unsafe impl Send for Table {}
// SAFETY: `&self` methods only read.
unsafe impl Sync for Table {}

/// A table's address book for readers without its lock: what prefetching needs, published after each change.
#[derive(Default)]
pub struct Probe {
    directory: AtomicPtr<Directory>,
    buckets: AtomicU64,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    pub const fn new() -> Self {
        Self { directory: null_mut(), buckets: 0, len: 0, chained: 0, retired: Vec::new() }
    }

    /// The table as it is now, for who reads it elsewhere: of the same buckets, which it neither owns nor frees.
    ///
    /// # Safety
    /// It is not used any more once this table has changed, or has been relocated or dropped.
    pub unsafe fn lend(&self) -> ManuallyDrop<Self> {
        let Self { directory, buckets, len, chained, retired: _ } = *self;
        ManuallyDrop::new(Self { directory, buckets, len, chained, retired: Vec::new() })
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of addressable buckets.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// Bytes of index allocated: segments, directory and chained buckets.
    pub fn heap_bytes(&self) -> usize {
        let buckets = self.buckets();
        if buckets == 0 {
            return 0;
        }
        let last = segment_of(buckets - 1).0;
        let segments: usize = (0..=last).map(segment_len).sum();
        (segments + self.chained) * size_of::<Bucket>() + Self::directory_layout(self.directory_capacity()).size()
    }

    fn directory_capacity(&self) -> usize {
        // SAFETY: a non-null directory lives until it is retired, which needs `&mut self`.
        if self.directory.is_null() { 0 } else { unsafe { (*self.directory).capacity } }
    }

    /// The word with this hash for which `eq` holds.
    #[inline]
    pub fn find(&self, hash: u64, mut eq: impl FnMut(Word) -> bool) -> Option<Found> {
        let buckets = self.buckets();
        if buckets == 0 {
            return None;
        }
        let home = address(hash, buckets);
        let mut bucket = self.bucket(home);
        loop {
            // SAFETY: `bucket` and chain pointers point to live buckets while `&self` is held.
            let b = unsafe { bucket.as_ref() };
            let meta = b.meta.load(Relaxed);
            let mut hits = tag_hits(meta, tag_of(hash));
            while hits != 0 {
                let index = hits.trailing_zeros() as usize;
                if eq(word_of(b.words[index].load(Relaxed))) {
                    return Some(Found { bucket, index, home });
                }
                hits &= hits - 1;
            }
            bucket = b.next(meta)?;
        }
    }

    /// Visits every word whose hash may have these low 16 bits and this tag: for indexes that keep so much of a hash.
    /// One bucket up to 65,536 buckets, one in 65,536 beyond.
    pub fn for_each_like(&self, low: u16, tag: u8, mut visit: impl FnMut(Word)) {
        if self.buckets == 0 {
            return;
        }
        let hash = u64::from(low);
        if self.buckets <= 1 << LOW_BITS {
            return self.chain_like(address(hash, self.buckets), low, tag, &mut visit);
        }
        for index in (usize::from(low)..self.buckets).step_by(1 << LOW_BITS) {
            self.chain_like(index, low, tag, &mut visit);
        }
    }

    fn chain_like(&self, index: usize, low: u16, tag: u8, visit: &mut impl FnMut(Word)) {
        let mut bucket = Some(self.bucket(index));
        while let Some(this) = bucket {
            // SAFETY: live while `&self` is held.
            let b = unsafe { this.as_ref() };
            let meta = b.meta.load(Relaxed);
            let mut hits = tag_hits(meta, tag);
            while hits != 0 {
                let held = b.words[hits.trailing_zeros() as usize].load(Relaxed);
                if low_of(held) == low {
                    visit(word_of(held));
                }
                hits &= hits - 1;
            }
            bucket = b.next(meta);
        }
    }

    #[inline]
    pub fn word(&self, found: Found) -> Word {
        // SAFETY: what was found is valid until the table changes, which its holder promises.
        word_of(unsafe { found.bucket.as_ref() }.words[found.index].load(Relaxed))
    }

    /// Puts another word with the same hash in a found word's place.
    #[inline]
    pub fn replace(&mut self, found: Found, word: Word) {
        // SAFETY: as in `word`.
        let cell = &unsafe { found.bucket.as_ref() }.words[found.index];
        cell.store(held(low_of(cell.load(Relaxed)).into(), word), Relaxed);
    }

    /// Adds a word that is not in the table. `rehash` gives the hash of a word already there.
    #[inline]
    pub fn insert(&mut self, hash: u64, word: Word, rehash: impl Fn(Word) -> u64) {
        let mut buckets = self.buckets();
        if buckets == 0 {
            self.add_bucket(0);
            buckets = 1;
        }
        self.push(self.bucket(address(hash, buckets)), tag_of(hash), held(hash, word));
        self.len += 1;
        if self.len * 2 > buckets * LOAD_TIMES_TWO {
            self.split(rehash);
        }
    }

    /// Takes a found word out.
    pub fn remove(&mut self, found: Found) -> Word {
        let word = self.word(found);
        self.compact(found);
        self.len -= 1;
        let buckets = self.buckets();
        if buckets > 1 && self.len < buckets * SHRINK_LOAD {
            self.merge();
        }
        word
    }

    /// One step of a scan: emits the words of one bucket and returns the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(Word)) -> u64 {
        self.scan_cells(cursor, |cell| emit(word_of(cell.load(Relaxed))))
    }

    #[inline]
    fn scan_cells(&self, cursor: u64, mut emit: impl FnMut(&AtomicU64)) -> u64 {
        let Some((index, bits)) = self.scanned(cursor) else { return 0 };
        self.chain_cells(index, &mut emit);
        (cursor | !mask(bits)).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// The bucket at which a scan stands, and how many bits of the cursor choose it.
    #[inline]
    fn scanned(&self, cursor: u64) -> Option<(usize, u32)> {
        let (level, split) = (self.buckets > 0).then(|| shape(self.buckets))?;
        let low = cursor & mask(level);
        Some(if low < split { ((cursor & mask(level + 1)) as usize, level + 1) } else { (low as usize, level) })
    }

    /// A step as [`Table::scan`]'s that moves what is worth it of the chain, and puts what `change` returns in the place of
    /// each word: another word of the same hash. What the words point to is asked for first.
    pub fn relocate_step(
        &mut self,
        cursor: u64,
        mover: &mut Mover,
        mut change: impl FnMut(Word, &mut Mover) -> Word,
    ) -> u64 {
        if let Some((home, _)) = self.scanned(cursor) {
            self.relocate_chain(home, mover);
        }
        self.scan_cells(cursor, |cell| prefetch(word_of(cell.load(Relaxed)).get() as *const u8));
        self.scan_cells(cursor, |cell| {
            let old = cell.load(Relaxed);
            let new = change(word_of(old), mover);
            cell.store(held(low_of(old).into(), new), Relaxed);
        })
    }

    /// Moves what is worth it of the chain in which a word was found, unless it is in the bucket that begins it. What was found is
    /// no longer valid then.
    pub fn relocate_around(&mut self, found: Found, mover: &mut Mover) {
        if found.bucket != self.bucket(found.home) {
            self.relocate_chain(found.home, mover);
        }
    }

    fn relocate_chain(&mut self, home: usize, mover: &mut Mover) {
        let mut bucket = self.bucket(home);
        // SAFETY: live buckets under `&mut self`; one that is chained is an allocation of its own, to which its parent has
        // the only pointer that anybody follows.
        while let Some(mut next) = unsafe { bucket.as_ref() }.next(unsafe { bucket.as_ref() }.meta.load(Relaxed)) {
            // SAFETY: as above.
            unsafe {
                if let Some(copy) = mover.moved(next.cast(), Layout::new::<Bucket>()) {
                    next = copy.cast();
                    bucket.as_ref().words[WORDS - 1].store(next.as_ptr() as u64, Relaxed);
                }
            }
            bucket = next;
        }
    }

    /// Moves what is worth it of the index before a walk: its small segments, which racing readers may go on seeing where
    /// they were. Full segments are whole pages; the directory stays.
    pub fn relocate(&mut self, mover: &mut Mover) {
        let segments = self.buckets.checked_sub(1).map_or(0, |last| segment_of(last).0 + 1);
        (0..segments.min(SMALL_SEGMENTS)).for_each(|segment| self.relocate_segment(segment, mover));
    }

    fn relocate_segment(&mut self, segment: usize, mover: &mut Mover) {
        // SAFETY: the directory holds the table's segments. Racing readers write nothing, so that the copy is whole, and
        // the old segment is retired for them.
        unsafe {
            let cell = self.segment_cell(segment);
            let memory = NonNull::new((*cell).load(Relaxed)).expect("a segment in use is allocated").cast();
            if let Some(copy) = mover.copied(memory, Self::segment_layout(segment)) {
                (*cell).store(copy.cast().as_ptr(), Release);
                self.retired.push(Retired { memory, layout: Self::segment_layout(segment) });
            }
        }
    }

    /// Every word, in bucket order.
    pub fn for_each(&self, mut visit: impl FnMut(Word)) {
        for index in 0..self.buckets() {
            self.chain(index, &mut visit);
        }
    }

    /// The words of one bucket, below [`Table::buckets`].
    #[inline]
    pub fn for_each_in(&self, index: usize, mut visit: impl FnMut(Word)) {
        assert!(index < self.buckets, "a bucket of this table");
        self.chain(index, &mut visit);
    }

    /// Asks the memory for the bucket that `hash` addresses: for finds that follow each other and should not wait in turn.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if self.buckets > 0 {
            prefetch(self.bucket(address(hash, self.buckets)).as_ptr().cast());
        }
    }

    /// Calls `hint` with each word in the addressed bucket whose tag fits, and asks the memory for a bucket chained to it.
    #[inline]
    pub fn prefetch_words(&self, hash: u64, hint: impl FnMut(u64)) {
        if self.buckets == 0 {
            return;
        }
        // SAFETY: live while `&self` is held.
        let b = unsafe { self.bucket(address(hash, self.buckets)).as_ref() };
        let meta = b.hint(hash, hint);
        if let Some(next) = b.next(meta) {
            prefetch(next.as_ptr().cast());
        }
    }

    /// A word chosen with equal chance for all: a random bucket is accepted with a chance proportional to what it
    /// holds. Chains beyond `FAIR_CHAIN` words, which a keyed hash makes astronomically rare, count as that long.
    pub fn sample(&self, mut random: impl FnMut() -> u64) -> Option<Word> {
        if self.len == 0 {
            return None;
        }
        let buckets = self.buckets();
        loop {
            let r = random();
            let index = (((r >> 32) * buckets as u64) >> 32) as usize;
            let ticket = (r as u32 % FAIR_CHAIN) as usize;
            let (mut seen, mut found) = (0, None);
            self.chain(index, &mut |word| {
                if seen == ticket {
                    found = Some(word);
                }
                seen += 1;
            });
            if found.is_some() {
                return found;
            }
        }
    }

    /// About `wanted` words that are neighbours, beginning at a random one: for who needs some, quickly, and not each with
    /// the same chance.
    pub fn sample_run(&self, random: u64, wanted: usize, mut visit: impl FnMut(Word)) {
        let wanted = wanted.min(self.len);
        if wanted == 0 {
            return;
        }
        let start = (((random >> 32) * self.buckets as u64) >> 32) as usize;
        // Not always from a bucket's first word on, or the last ones would seldom be seen.
        let mut skip = random as usize % WORDS.min(self.len);
        let mut seen = 0;
        for index in (start..self.buckets).chain(0..self.buckets) {
            self.chain(index, &mut |word| {
                if skip > 0 {
                    skip -= 1;
                } else if seen < wanted {
                    seen += 1;
                    visit(word);
                }
            });
            if seen == wanted {
                return;
            }
        }
    }

    /// Retires all memory of a table without words.
    pub fn release(&mut self) {
        if self.len > 0 || self.chained > 0 || self.directory.is_null() {
            return;
        }
        let last = segment_of(self.buckets.saturating_sub(1)).0;
        (0..=last).for_each(|segment| self.retire_segment(segment));
        let layout = Self::directory_layout(self.directory_capacity());
        if let Some(memory) = NonNull::new(std::mem::replace(&mut self.directory, null_mut())) {
            self.retired.push(Retired { memory: memory.cast(), layout });
        }
        self.buckets = 0;
    }

    /// Memory that fell out of use; drop it when no racing reader can see it any more.
    pub fn take_retired(&mut self) -> Vec<Retired> {
        std::mem::take(&mut self.retired)
    }

    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    #[inline]
    fn chain(&self, index: usize, visit: &mut impl FnMut(Word)) {
        self.chain_cells(index, &mut |cell: &AtomicU64| visit(word_of(cell.load(Relaxed))));
    }

    #[inline]
    fn chain_cells(&self, index: usize, visit: &mut impl FnMut(&AtomicU64)) {
        let mut bucket = self.bucket(index);
        loop {
            // SAFETY: live while `&self` is held.
            let b = unsafe { bucket.as_ref() };
            let meta = b.meta.load(Relaxed);
            let mut present = presence(meta);
            while present != 0 {
                let i = present.trailing_zeros() as usize;
                visit(&b.words[i]);
                present &= present - 1;
            }
            match b.next(meta) {
                Some(next) => bucket = next,
                None => return,
            }
        }
    }

    #[inline]
    fn bucket(&self, index: usize) -> NonNull<Bucket> {
        let (segment, offset) = segment_of(index);
        let directory = self.directory;
        // SAFETY: index < buckets, so the directory exists, holds the segment, and the segment holds the offset.
        unsafe {
            let segments = &raw const (*directory).segments as *const AtomicPtr<Bucket>;
            NonNull::new_unchecked((*segments.add(segment)).load(Relaxed).add(offset))
        }
    }

    /// Appends to a chain that has room somewhere, or grows it by a bucket.
    #[inline]
    fn push(&mut self, mut bucket: NonNull<Bucket>, tag: u8, held: u64) {
        loop {
            // SAFETY: live bucket under `&mut self`.
            let b = unsafe { bucket.as_ref() };
            let meta = b.meta.load(Relaxed);
            if let Some(next) = b.next(meta) {
                let free = !presence(meta) & (CHAINED_WORDS_MASK);
                if free == 0 {
                    bucket = next;
                    continue;
                }
                b.put(meta, free.trailing_zeros() as usize, tag, held);
                return;
            }
            let free = !presence(meta) & WORDS_MASK;
            if free != 0 {
                b.put(meta, free.trailing_zeros() as usize, tag, held);
                return;
            }
            bucket = self.extend_chain(b, meta);
        }
    }

    /// Moves the seventh word of a full bucket to a new one chained behind it, which is returned.
    #[cold]
    fn extend_chain(&mut self, b: &Bucket, meta: u64) -> NonNull<Bucket> {
        let child: NonNull<Bucket> = allocate(Layout::new::<Bucket>()).cast();
        self.chained += 1;
        let moved = b.words[WORDS - 1].load(Relaxed);
        // SAFETY: freshly allocated, zeroed, ours alone.
        let c = unsafe { child.as_ref() };
        c.words[0].store(moved, Relaxed);
        c.meta.store((meta >> (8 * (WORDS - 1))) & 0xff | 1 << PRESENCE_SHIFT, Relaxed);
        // The chain bit goes up before the pointer goes in, so that a racing reader never takes it for a word.
        b.meta.store((meta & !(1 << (PRESENCE_SHIFT + WORDS - 1))) | CHAINED, Release);
        b.words[WORDS - 1].store(child.as_ptr() as u64, Relaxed);
        child
    }

    /// Fills the hole at `found` with the chain's last word, and drops a bucket that becomes empty.
    fn compact(&mut self, found: Found) {
        let mut parent: Option<NonNull<Bucket>> = None;
        let mut last = self.bucket(found.home);
        // SAFETY: live buckets under `&mut self`, here and below.
        while let Some(next) = unsafe { last.as_ref() }.next(unsafe { last.as_ref() }.meta.load(Relaxed)) {
            parent = Some(last);
            last = next;
        }
        // SAFETY: as above.
        let (hole, tail) = unsafe { (found.bucket.as_ref(), last.as_ref()) };
        let tail_meta = tail.meta.load(Relaxed);
        if last == found.bucket {
            hole.clear(found.index);
        } else {
            let from = (63 - presence(tail_meta).leading_zeros()) as usize;
            let tag = (tail_meta >> (8 * from)) as u8;
            hole.put(hole.meta.load(Relaxed), found.index, tag, tail.words[from].load(Relaxed));
            tail.clear(from);
        }
        if let Some(parent) = parent
            && presence(tail.meta.load(Relaxed)) == 0
        {
            // SAFETY: `last` is the empty end of the chain; its only reference is the parent's pointer, cut here.
            unsafe { self.cut_chain(parent.as_ref(), last) };
        }
    }

    /// # Safety
    /// `last` is chained directly behind `parent`, ends the chain and holds nothing.
    unsafe fn cut_chain(&mut self, parent: &Bucket, last: NonNull<Bucket>) {
        parent.words[WORDS - 1].store(0, Relaxed);
        parent.meta.fetch_and(!CHAINED, Relaxed);
        // SAFETY: allocated as one bucket in `extend_chain`. Racing readers never follow chain pointers.
        unsafe { dealloc(last.as_ptr().cast(), Layout::new::<Bucket>()) };
        self.chained -= 1;
    }

    /// Empties the chain of one bucket; what it held goes to `moving` with their tags.
    fn drain_chain(&mut self, index: usize, moving: &mut Moving) {
        let home = self.bucket(index);
        loop {
            let (mut parent, mut bucket) = (None, home);
            // SAFETY: live buckets under `&mut self`, here and below.
            while let Some(next) = unsafe { bucket.as_ref() }.next(unsafe { bucket.as_ref() }.meta.load(Relaxed)) {
                parent = Some(bucket);
                bucket = next;
            }
            // SAFETY: as above.
            let b = unsafe { bucket.as_ref() };
            let meta = b.meta.load(Relaxed);
            for i in 0..WORDS {
                if presence(meta) >> i & 1 == 1 {
                    moving.push((b.words[i].load(Relaxed), (meta >> (8 * i)) as u8));
                    b.clear(i);
                }
            }
            match parent {
                // SAFETY: the bucket ends the chain and was emptied just now.
                Some(parent) => unsafe { self.cut_chain(parent.as_ref(), bucket) },
                None => return,
            }
        }
    }

    /// Adds bucket `n` and moves there what belongs to it.
    fn split(&mut self, rehash: impl Fn(Word) -> u64) {
        let n = self.buckets();
        if n >= BUCKETS_MAX {
            return;
        }
        let (level, split) = shape(n);
        let mut moving = Moving::new();
        self.drain_chain(split as usize, &mut moving);
        self.add_bucket(n);
        let (stay, go) = (self.bucket(split as usize), self.bucket(n));
        for (held, tag) in moving {
            let hash = if level < LOW_BITS { low_of(held).into() } else { rehash(word_of(held)) };
            self.push(if hash >> level & 1 == 1 { go } else { stay }, tag, held);
        }
    }

    /// Gives the last bucket's words back to the one it was split from, and drops it.
    fn merge(&mut self) {
        let last = self.buckets() - 1;
        let mut moving = Moving::new();
        self.drain_chain(last, &mut moving);
        self.buckets = last;
        let (_, buddy) = shape(last);
        let buddy = self.bucket(buddy as usize);
        for (held, tag) in moving {
            self.push(buddy, tag, held);
        }
        let (segment, offset) = segment_of(last);
        if offset == 0 && segment > 0 {
            self.retire_segment(segment);
        }
    }

    fn add_bucket(&mut self, index: usize) {
        let (segment, offset) = segment_of(index);
        if offset == 0 {
            if segment >= self.directory_capacity() {
                self.grow_directory(segment);
            }
            let memory = allocate(Self::segment_layout(segment)).cast::<Bucket>();
            // SAFETY: the directory was just made to hold `segment`.
            unsafe { (*self.segment_cell(segment)).store(memory.as_ptr(), Release) };
        }
        self.buckets = index + 1;
    }

    fn retire_segment(&mut self, segment: usize) {
        // SAFETY: the segment existed until now, and every bucket in it is empty and unaddressed.
        let memory = unsafe { (*self.segment_cell(segment)).swap(null_mut(), Relaxed) };
        let memory = NonNull::new(memory).expect("a segment in use is allocated");
        self.retired.push(Retired { memory: memory.cast(), layout: Self::segment_layout(segment) });
    }

    /// # Safety
    /// `segment` is below the directory's capacity.
    unsafe fn segment_cell(&self, segment: usize) -> *const AtomicPtr<Bucket> {
        // SAFETY: the caller's promise.
        unsafe { (&raw const (*self.directory).segments as *const AtomicPtr<Bucket>).add(segment) }
    }

    fn grow_directory(&mut self, segment: usize) {
        let old = self.directory;
        let old_capacity = self.directory_capacity();
        let capacity = (segment + 1).next_power_of_two().max(DIRECTORY_MIN);
        let new: NonNull<Directory> = allocate(Self::directory_layout(capacity)).cast();
        // SAFETY: zeroed memory of the right layout; null segments are valid; the copied cells fit both.
        unsafe {
            (*new.as_ptr()).capacity = capacity;
            let to = &raw mut (*new.as_ptr()).segments as *mut AtomicPtr<Bucket>;
            for i in 0..old_capacity {
                (*to.add(i)).store((*self.segment_cell(i)).load(Relaxed), Relaxed);
            }
        }
        self.directory = new.as_ptr();
        if let Some(memory) = NonNull::new(old) {
            self.retired.push(Retired { memory: memory.cast(), layout: Self::directory_layout(old_capacity) });
        }
    }

    fn segment_layout(segment: usize) -> Layout {
        Layout::array::<Bucket>(segment_len(segment)).expect("at most 64 buckets")
    }

    fn directory_layout(capacity: usize) -> Layout {
        Layout::array::<u64>(capacity + 1).expect("a directory is far smaller than memory")
    }
}

impl Probe {
    /// Makes a table's present shape known. Cheap when nothing changed; the caller excludes other publishers.
    #[inline]
    pub fn publish(&self, table: &Table) {
        if self.buckets.load(Relaxed) as usize != table.buckets || self.directory.load(Relaxed) != table.directory {
            self.directory.store(table.directory, Release);
            self.buckets.store(table.buckets as u64, Release);
        }
    }

    /// Asks the memory for the bucket that `hash` addresses.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if let Some(bucket) = self.bucket_racing(hash) {
            prefetch(bucket.as_ptr().cast());
        }
    }

    /// Calls `hint` with each word in the addressed bucket whose tag fits: candidates to prefetch.
    #[inline]
    pub fn prefetch_words(&self, hash: u64, hint: impl FnMut(u64)) {
        if let Some(bucket) = self.bucket_racing(hash) {
            // SAFETY: segments outlive racing readers (header); all fields are atomics.
            unsafe { bucket.as_ref() }.hint(hash, hint);
        }
    }

    /// [`Table::bucket`] for a reader without the lock: every step may be stale, none may be wild.
    #[inline]
    fn bucket_racing(&self, hash: u64) -> Option<NonNull<Bucket>> {
        let buckets = self.buckets.load(Acquire) as usize;
        let directory = self.directory.load(Acquire);
        if buckets == 0 || directory.is_null() {
            return None;
        }
        let (segment, offset) = segment_of(address(hash, buckets));
        // SAFETY: a directory outlives racing readers; the capacity check keeps a stale index inside it; a segment
        // pointer is null or a live segment of exactly `segment_len(segment)` buckets.
        unsafe {
            if segment >= (*directory).capacity {
                return None;
            }
            let segments = &raw const (*directory).segments as *const AtomicPtr<Bucket>;
            let base = (*segments.add(segment)).load(Acquire);
            if base.is_null() { None } else { Some(NonNull::new_unchecked(base.add(offset))) }
        }
    }
}

impl Drop for Table {
    /// Frees the index. The words are the owner's.
    fn drop(&mut self) {
        let buckets = self.buckets();
        if buckets == 0 {
            return;
        }
        let mut gone = Moving::new();
        for index in 0..buckets {
            // Only chained buckets need freeing one by one.
            // SAFETY: live bucket.
            if unsafe { self.bucket(index).as_ref() }.meta.load(Relaxed) & CHAINED != 0 {
                self.drain_chain(index, &mut gone);
                gone.clear();
            }
        }
        for segment in 0..=segment_of(buckets - 1).0 {
            self.retire_segment(segment);
        }
        let (memory, capacity) = (self.directory, self.directory_capacity());
        // SAFETY: the directory's own memory and layout; nothing can read it any more.
        unsafe { dealloc(memory.cast(), Self::directory_layout(capacity)) };
    }
}

impl Bucket {
    #[inline]
    fn next(&self, meta: u64) -> Option<NonNull<Bucket>> {
        if meta & CHAINED == 0 { None } else { NonNull::new(self.words[WORDS - 1].load(Relaxed) as *mut Bucket) }
    }

    /// Calls `hint` with each word whose tag fits; returns the meta word they were found by.
    #[inline]
    fn hint(&self, hash: u64, mut hint: impl FnMut(u64)) -> u64 {
        let meta = self.meta.load(Relaxed);
        let mut hits = tag_hits(meta, tag_of(hash));
        while hits != 0 {
            hint(self.words[hits.trailing_zeros() as usize].load(Relaxed) & WORD_MASK);
            hits &= hits - 1;
        }
        meta
    }

    #[inline]
    fn put(&self, meta: u64, index: usize, tag: u8, held: u64) {
        self.words[index].store(held, Relaxed);
        let cleared = meta & !(0xff << (8 * index));
        self.meta.store(cleared | u64::from(tag) << (8 * index) | 1 << (PRESENCE_SHIFT + index), Relaxed);
    }

    fn clear(&self, index: usize) {
        let meta = self.meta.load(Relaxed);
        self.meta.store(meta & !(1 << (PRESENCE_SHIFT + index)), Relaxed);
        self.words[index].store(0, Relaxed);
    }
}

/// What buckets held that moves to another bucket, with their tags.
type Moving = SmallVec<[(u64, u8); 2 * WORDS]>;

/// A place's content: the word and the low bits of its hash.
#[inline]
fn held(hash: u64, word: Word) -> u64 {
    assert!(word.get() <= WORD_MASK, "a word has 48 bits");
    word.get() | hash << WORD_BITS
}

#[inline]
fn word_of(held: u64) -> Word {
    NonZeroU64::new(held & WORD_MASK).expect("a place that is present holds a word")
}

#[inline]
fn low_of(held: u64) -> u16 {
    (held >> WORD_BITS) as u16
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here has size zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Level and split point of `buckets` > 0: buckets below the split point use one more bit.
#[inline]
fn shape(buckets: usize) -> (u32, u64) {
    let level = usize::BITS - 1 - buckets.leading_zeros();
    (level, buckets as u64 - (1 << level))
}

#[inline]
fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[inline]
fn address(hash: u64, buckets: usize) -> usize {
    // `buckets` > 0: one bit more than its level.
    let mask = u64::MAX.wrapping_shr(buckets.leading_zeros());
    let long = hash & mask;
    // With one bit more the bucket may not exist yet; then it still lives where one bit less says.
    (if long < buckets as u64 { long } else { long & mask >> 1 }) as usize
}

/// Which segment holds a bucket, and where in it: 1, 1, 2, 4, 8, 16, 32 buckets, then 64 each.
#[inline]
fn segment_of(index: usize) -> (usize, usize) {
    if index >= SEGMENT {
        return (index / SEGMENT + SMALL_SEGMENTS - 1, index % SEGMENT);
    }
    match index {
        0 => (0, 0),
        _ => {
            let log = (usize::BITS - 1 - index.leading_zeros()) as usize;
            (log + 1, index - (1 << log))
        }
    }
}

fn segment_len(segment: usize) -> usize {
    match segment {
        0 => 1,
        s if s < SMALL_SEGMENTS => 1 << (s - 1),
        _ => SEGMENT,
    }
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 24) as u8
}

#[inline]
fn presence(meta: u64) -> u64 {
    (meta >> PRESENCE_SHIFT) & WORDS_MASK
}

/// Bit i is set if place i is present and has this tag. Exact zero-byte detection, gathered by a multiplication.
#[inline]
fn tag_hits(meta: u64, tag: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let x = meta ^ (u64::from(tag) * LOW);
    let nonzero = ((x & (0x7f * LOW)) + 0x7f * LOW) | x;
    let zero = (!nonzero >> 7) & LOW;
    (zero.wrapping_mul(0x0102_0408_1020_4080) >> 56) & presence(meta)
}

/// Asks for a cache line without touching it.
#[inline]
pub fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Pointers of user space have no more bits, here and on every system that does not ask for more.
const WORD_BITS: u32 = 48;
const WORD_MASK: u64 = (1 << WORD_BITS) - 1;
const LOW_BITS: u32 = u64::BITS - WORD_BITS;
const WORDS: usize = 7;
const WORDS_MASK: u64 = 0x7f;
const CHAINED_WORDS_MASK: u64 = 0x3f;
const PRESENCE_SHIFT: usize = 56;
const CHAINED: u64 = 1 << 63;
/// Buckets in a full segment: 4 KiB.
const SEGMENT: usize = 64;
const SMALL_SEGMENTS: usize = 7;
const DIRECTORY_MIN: usize = 8;
/// A bucket is split for every 5.5 words more. Higher saves index and costs second lines.
const LOAD_TIMES_TWO: usize = 11;
/// Below this many words a bucket, one is merged; far from the growth load, so that nothing flaps.
const SHRINK_LOAD: usize = 2;
/// A 32-bit hash prefix addresses this many buckets.
const BUCKETS_MAX: usize = 1 << 32;
const FAIR_CHAIN: u32 = 24;

#[cfg(test)]
mod tests;
