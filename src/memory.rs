//! `used_memory`: every allocation of the process, counted as it happens.
//!
//! [`Counting`] wraps jemalloc as the global allocator and counts size classes, that is what an allocation really
//! occupies, in one padded counter per thread. A thread that owns its counter adds with a plain load and store; threads
//! beyond the first [`SHARED`] share the last counter and pay an atomic addition. The sum over all counters is exact
//! whenever nothing is being allocated; a counter alone may be negative, because memory is freed by whichever thread.
//! It also sees to alignment, which the wrapped allocator gets wrong with an 8-byte quantum ([`padded`]).
//! Cost: about two nanoseconds a call when optimised (the test prints it), and one load per live thread for [`used`].
//!
//! Not here: what the allocator keeps beyond that (resident, fragmentation); the allocator's own statistics tell it.

#![allow(unsafe_code)]

use crate::clock::{self, Millis};
use crossbeam_utils::CachePadded;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use tikv_jemalloc_sys::{MALLOCX_ALIGN, MALLOCX_ARENA, MALLOCX_TCACHE_NONE, mallocx, sdallocx};
use tikv_jemallocator::Jemalloc;

/// jemalloc, counted.
pub struct Counting;

// SAFETY: every call is handed to jemalloc unchanged; counting touches only static atomics and a thread-local cell
// that needs neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = padded(layout);
        // SAFETY: the caller's promise is jemalloc's condition; padding keeps it.
        let memory = unsafe { Jemalloc.alloc(layout) };
        if memory.is_null() {
            note_failure(layout.size());
        } else {
            count(size_class(layout) as i64);
        }
        memory
    }

    // SAFETY: the trait's contract, handed on.
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = padded(layout);
        // SAFETY: as above.
        let memory = unsafe { Jemalloc.alloc_zeroed(layout) };
        if memory.is_null() {
            note_failure(layout.size());
        } else {
            count(size_class(layout) as i64);
        }
        memory
    }

    // SAFETY: the trait's contract, handed on.
    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let layout = padded(layout);
        count(-(size_class(layout) as i64));
        // SAFETY: as above; it was allocated with the padded layout too.
        unsafe { Jemalloc.dealloc(memory, layout) }
    }

    // SAFETY: the trait's contract, handed on.
    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let layout = padded(layout);
        let new_size = padded_size(new_size, layout.align());
        // SAFETY: as above.
        let moved = unsafe { Jemalloc.realloc(memory, layout, new_size) };
        if moved.is_null() {
            note_failure(new_size);
        } else {
            let new = size_class_of(new_size, layout.align());
            count(new as i64 - size_class(layout) as i64);
        }
        moved
    }
}

/// Allocates in one of the allocator's arenas, past the thread's own cache: where a slab has holes, they are filled.
///
/// # Safety
/// As [`GlobalAlloc::alloc`]; freed with [`free_uncached`] or by [`Counting`].
pub unsafe fn alloc_in(arena: usize, layout: Layout) -> *mut u8 {
    let layout = padded(layout);
    // SAFETY: a layout of the global allocator is not empty.
    let memory = unsafe { mallocx(layout.size(), aligned(layout) | MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE) };
    if !memory.is_null() {
        count(size_class(layout) as i64);
    }
    memory.cast()
}

/// Frees past the thread's own cache, so that the slab knows at once.
///
/// # Safety
/// As [`GlobalAlloc::dealloc`], of memory that [`Counting`] allocated.
pub unsafe fn free_uncached(memory: *mut u8, layout: Layout) {
    let layout = padded(layout);
    count(-(size_class(layout) as i64));
    // SAFETY: the caller's promise; size and alignment are those it was allocated with.
    unsafe { sdallocx(memory.cast(), layout.size(), aligned(layout) | MALLOCX_TCACHE_NONE) }
}

/// jemalloc's flag for an alignment beyond that of every size class.
fn aligned(layout: Layout) -> i32 {
    if layout.align() <= QUANTUM { 0 } else { MALLOCX_ALIGN(layout.align()) }
}

/// The wrapped allocator takes it for granted that every size class is aligned to 16 bytes. With a quantum of 8 that
/// holds only for sizes which are multiples of 16, so others are made so where the alignment is asked for: tables of
/// hashbrown are among them, and read with instructions that fault.
#[inline]
fn padded(layout: Layout) -> Layout {
    if layout.align() <= QUANTUM {
        return layout;
    }
    // SAFETY: the alignment is unchanged, and a size rounded up to it is what `Layout` itself promises to fit.
    unsafe { Layout::from_size_align_unchecked(padded_size(layout.size(), layout.align()), layout.align()) }
}

#[inline]
fn padded_size(size: usize, align: usize) -> usize {
    if align <= QUANTUM { size } else { (size + align - 1) & !(align - 1) }
}

/// Bytes allocated by the whole process.
pub fn used() -> u64 {
    let taken = THREADS.load(Relaxed).min(COUNTERS_LEN);
    let sum: i64 = COUNTERS[..taken].iter().map(|counter| counter.load(Relaxed)).sum();
    u64::try_from(sum).unwrap_or(0)
}

/// Reads [`used`] and remembers the highest value ever read. Cron calls it, and what shows the peak.
pub fn sample() -> u64 {
    let used = used();
    if PEAK.fetch_max(used, Relaxed) < used {
        PEAK_MS.store(clock::now_ms(), Relaxed);
    }
    used
}

/// The highest value sampled.
pub fn peak() -> u64 {
    PEAK.load(Relaxed)
}

/// When that was, on the wall clock.
pub fn peak_ms() -> Millis {
    PEAK_MS.load(Relaxed)
}

/// Notes that the server is up and empty: what is used now is overhead of start.
pub fn mark_startup() {
    STARTUP.store(sample(), Relaxed);
}

/// What was used when the server was up and empty.
pub fn startup() -> u64 {
    STARTUP.load(Relaxed)
}

/// Bytes of this thread's last allocation that failed, if one did.
pub fn failed_allocation() -> Option<usize> {
    let bytes = FAILED.get();
    (bytes > 0).then_some(bytes)
}

#[cold]
fn note_failure(bytes: usize) {
    FAILED.set(bytes);
}

/// Asks jemalloc to give its unused pages back to the system.
pub fn purge() -> bool {
    // SAFETY: a control without input or output; the name ends in a zero byte, all other pointers may be null.
    let error = unsafe {
        let null = std::ptr::null_mut();
        tikv_jemalloc_sys::mallctl(PURGE_ALL.as_ptr(), null, null.cast(), null, 0)
    };
    error == 0
}

/// What an allocation of `size` bytes occupies.
pub fn size_class_of(size: usize, align: usize) -> usize {
    let size = padded_size(size, align);
    if size <= QUANTUM {
        return QUANTUM;
    }
    // Four classes per doubling, never closer than the quantum and never further apart than a page.
    let shift = ((size - 1).ilog2().saturating_sub(2)).clamp(QUANTUM.ilog2(), PAGE.ilog2());
    let step = 1usize << shift;
    size.checked_add(step - 1).map_or(size, |s| s & !(step - 1))
}

#[inline]
fn size_class(layout: Layout) -> usize {
    size_class_of(layout.size(), layout.align())
}

#[inline]
fn count(bytes: i64) {
    let mine = MINE.get();
    if mine < SHARED {
        let counter = &COUNTERS[mine];
        // Only this thread writes here.
        counter.store(counter.load(Relaxed) + bytes, Relaxed);
    } else {
        count_elsewhere(mine, bytes);
    }
}

/// A thread's first allocation, and every one of a thread without a counter of its own.
#[cold]
fn count_elsewhere(mine: usize, bytes: i64) {
    if mine == NO_COUNTER {
        let mine = THREADS.fetch_add(1, Relaxed).min(SHARED);
        MINE.set(mine);
        if mine < SHARED {
            return count(bytes);
        }
    }
    COUNTERS[SHARED].fetch_add(bytes, Relaxed);
}

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(NO_COUNTER) };
    static FAILED: Cell<usize> = const { Cell::new(0) };
}

static COUNTERS: [CachePadded<AtomicI64>; COUNTERS_LEN] = [const { CachePadded::new(AtomicI64::new(0)) }; COUNTERS_LEN];
/// Threads that ever allocated. Counters are not given back: threads of a server are few and live long.
static THREADS: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
static PEAK_MS: AtomicI64 = AtomicI64::new(0);
static STARTUP: AtomicU64 = AtomicU64::new(0);

const COUNTERS_LEN: usize = 64;
/// The last counter is for all threads that come too late for one of their own.
const SHARED: usize = COUNTERS_LEN - 1;
/// The control that purges; 4096 stands for all arenas.
const PURGE_ALL: &CStr = c"arena.4096.purge";
const NO_COUNTER: usize = usize::MAX;
/// jemalloc's smallest step, as it is built here.
const QUANTUM: usize = 8;
/// Large allocations are whole pages.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::time::Instant;

    #[test]
    fn size_classes_are_the_allocators_own_and_aligned() {
        for align in [1, 8, 16, 32, 64, 128, 4096] {
            for size in (1..9000).chain((9000..300_000).step_by(511)) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // Several at a time, so that not only a slab's first place is seen.
                // SAFETY: allocated and freed with one layout; `usable_size` reads the allocator's own bookkeeping.
                let (real, misaligned) = unsafe {
                    let all: [*mut u8; 3] = std::array::from_fn(|_| Counting.alloc(layout));
                    let seen = (
                        tikv_jemallocator::usable_size(all[0]),
                        all.iter().any(|m| !(*m as usize).is_multiple_of(align)),
                    );
                    all.into_iter().for_each(|memory| Counting.dealloc(memory, layout));
                    seen
                };
                assert!(!misaligned, "{size}/{align}");
                assert_eq!(size_class(layout), real, "{size}/{align}");
            }
        }
    }

    #[test]
    fn what_is_freed_elsewhere_is_counted_once() {
        let sum = || COUNTERS.iter().map(|c| c.load(Relaxed)).sum::<i64>();
        let layout = Layout::from_size_align(100_000, 8).unwrap();
        let once = || {
            let before = sum();
            // SAFETY: allocated here, freed once in the other thread, by the same layout.
            let address = unsafe { Counting.alloc(layout) } as usize;
            let counted = sum() - before == size_class(layout) as i64;
            std::thread::spawn(move || unsafe { Counting.dealloc(address as *mut u8, layout) }).join().unwrap();
            counted && sum() == before
        };
        // Other tests allocate at the same time, but not all the time; what is counted wrongly is so every time.
        assert!((0..ATTEMPTS).any(|_| once()));
    }

    /// Prints what counting costs; machines differ, so nothing is asserted.
    #[test]
    fn counting_is_cheap() {
        let layout = Layout::from_size_align(48, 8).unwrap();
        let time = |allocator: &dyn Fn()| {
            let started = Instant::now();
            (0..LOOPS).for_each(|_| allocator());
            started.elapsed().as_nanos() as f64 / f64::from(LOOPS)
        };
        // SAFETY: freed right away by the same layout.
        let plain = || unsafe { Jemalloc.dealloc(black_box(Jemalloc.alloc(black_box(layout))), layout) };
        // SAFETY: as above.
        let counted = || unsafe { Counting.dealloc(black_box(Counting.alloc(black_box(layout))), layout) };
        let rounds: Vec<(f64, f64)> = (0..5).map(|_| (time(&plain), time(&counted))).collect();
        let best = |pick: fn(&(f64, f64)) -> f64| rounds.iter().map(pick).fold(f64::MAX, f64::min);
        println!("malloc+free {:.2} ns, counted {:.2} ns", best(|r| r.0), best(|r| r.1));
    }

    const LOOPS: u32 = 1_000_000;
    const ATTEMPTS: usize = 10_000;
}
