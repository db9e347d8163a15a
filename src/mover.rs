//! Moving allocations together: what defragmentation does to one pointer.
//!
//! jemalloc keeps small allocations in slabs, one size to a slab, and a slab stays as long as one of them lives. After
//! many were freed, slabs are sparse: the process holds several times what it uses. A [`Mover`] takes an allocation that
//! is in a sparse slab to a hole of a fuller one of the same arena; slabs that lose all they had are given back.
//!
//! * **What is worth moving**: what is in a slab with holes that is less full than such slabs and those being filled are on
//!   average, give or take an eighth, so that slabs equally full do not stop it (about Redis's criterion). The slab's own
//!   numbers are asked anew for each allocation, the averages are of the last [`Mover::refresh`]. What is too big for a
//!   slab is left alone, and so is a size that has nothing to gain, without asking.
//! * **How**: allocate past the thread's cache, copy the bytes, free past the cache. The owner then points to the copy.
//!   Size and alignment stay, so that `used_memory` does too.
//! * **Owners** implement [`Movable`] next to their drop code: who may free an allocation may move it, by the same
//!   right: `&mut` to the only pointer to it. Readers who keep pointers beyond a borrow (cuts) are known to their owner,
//!   which moves nothing then.
//!
//! All memory must be the global allocator's, and that be [`memory::Counting`]; [`Mover::of_allocator`] makes sure. Tests
//! of owners use [`Mover::of_everything`], which moves whatever it sees by the global allocator's own calls.
//! Cost: some 50 ns for an allocation that stays, some 300 for one that moves.

#![allow(unsafe_code)]

use crate::mallctl::Control;
use crate::memory;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// An owner of allocations.
pub trait Movable {
    /// Moves what is worth moving of what it owns. Contents stay as they are.
    fn relocate(&mut self, mover: &mut Mover);
}

/// Decides, moves and counts.
pub struct Mover {
    aim: Aim,
    /// Allocations moved, and those looked at and left, ever.
    pub moved: u64,
    pub kept: u64,
    /// Of this visit.
    looked: usize,
    bytes: usize,
    looked_max: usize,
}

enum Aim {
    /// What is in sparse slabs.
    Sparse(Box<Slabs>),
    /// Everything, for tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "made by tests alone"))]
    Everything,
}

impl Mover {
    /// For this process's memory; `None` if its allocator is not the one this module knows.
    pub fn of_allocator() -> Option<Self> {
        let slabs = Slabs::new()?;
        let probe = Box::new(0u64);
        slabs.arena_of(std::ptr::from_ref(&*probe) as usize)?;
        Some(Self::aiming_at(Aim::Sparse(Box::new(slabs))))
    }

    #[cfg(test)]
    pub fn of_everything() -> Self {
        Self::aiming_at(Aim::Everything)
    }

    fn aiming_at(aim: Aim) -> Self {
        Self { aim, moved: 0, kept: 0, looked: 0, bytes: 0, looked_max: usize::MAX }
    }

    /// Reads how full slabs are on average.
    pub fn refresh(&mut self) {
        if let Aim::Sparse(slabs) = &mut self.aim {
            slabs.refresh();
        }
    }

    /// Before a walk over everything: counts the slabs being filled, of which each arena has one of each size it uses.
    pub fn begin_pass(&mut self) {
        if let Aim::Sparse(slabs) = &mut self.aim {
            slabs.count_being_filled();
        }
    }

    /// Begins a visit, which may look at about `looked_max` allocations.
    pub fn begin_visit(&mut self, looked_max: usize) {
        (self.looked, self.bytes, self.looked_max) = (0, 0, looked_max);
    }

    /// The visit has done enough.
    pub fn is_tired(&self) -> bool {
        self.looked >= self.looked_max || self.bytes >= VISIT_BYTES_MAX
    }

    /// Moves an allocation if it is worth it: the old one is free then, and what is returned takes its place.
    ///
    /// # Safety
    /// `memory` is a live allocation of the global allocator with this layout, the caller owns it, and nothing else
    /// keeps its address.
    pub unsafe fn moved(&mut self, memory: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promise; freed right after it was copied.
        unsafe {
            let copy = self.copied(memory, layout)?;
            match self.aim {
                Aim::Sparse(_) => memory::free_uncached(memory.as_ptr(), layout),
                Aim::Everything => dealloc(memory.as_ptr(), layout),
            }
            Some(copy)
        }
    }

    /// The same, but the old allocation is left for the caller to free when it is no longer read.
    ///
    /// # Safety
    /// As [`Mover::moved`], but for readers of the old one.
    pub unsafe fn copied(&mut self, memory: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
        self.looked += 1;
        let copy = match &self.aim {
            // SAFETY: the layout is one of the global allocator's, which is `Counting` where slabs are known.
            Aim::Sparse(slabs) => slabs
                .place_to_move(memory.as_ptr() as usize, layout)
                .and_then(|arena| NonNull::new(unsafe { memory::alloc_in(arena, layout) })),
            // SAFETY: as above.
            Aim::Everything => NonNull::new(unsafe { alloc(layout) }),
        };
        let Some(copy) = copy else {
            self.kept += 1;
            return None;
        };
        // SAFETY: both are allocations of this size, and different ones.
        unsafe { std::ptr::copy_nonoverlapping(memory.as_ptr(), copy.as_ptr(), layout.size()) };
        self.moved += 1;
        self.bytes += layout.size();
        Some(copy)
    }

    /// The allocation of a box. What is in it must not be pointed to, and is not looked into.
    pub fn boxed<T>(&mut self, content: &mut Box<T>) {
        let layout = Layout::new::<T>();
        if layout.size() == 0 {
            return;
        }
        let memory = NonNull::from(&mut **content).cast();
        // SAFETY: a box is an allocation of its content's layout, and borrowed by us alone; it is put back whole.
        unsafe {
            if let Some(copy) = self.moved(memory, layout) {
                std::ptr::write(content, Box::from_raw(copy.cast().as_ptr()));
            }
        }
    }

    /// The allocation of a vector.
    pub fn vec<T>(&mut self, items: &mut Vec<T>) {
        let Ok(layout) = Layout::array::<T>(items.capacity()) else { return };
        if layout.size() == 0 {
            return;
        }
        let Some(memory) = NonNull::new(items.as_mut_ptr().cast()) else { return };
        let old = ManuallyDrop::new(std::mem::take(items));
        // SAFETY: a vector's allocation is an array of its capacity; pointer, length and capacity go back together.
        *items = unsafe {
            let memory = self.moved(memory, layout).unwrap_or(memory);
            Vec::from_raw_parts(memory.cast().as_ptr(), old.len(), old.capacity())
        };
    }

    /// The allocation of a deque, if it is small; a large one would have to be put in order first, for nothing.
    pub fn deque<T>(&mut self, items: &mut VecDeque<T>) {
        if items.capacity() * size_of::<T>() <= SLAB_BYTES_MAX {
            let mut row = Vec::from(std::mem::take(items));
            self.vec(&mut row);
            *items = row.into();
        }
    }
}

/// How full the allocator's slabs are.
struct Slabs {
    /// By size, ascending.
    bins: Vec<Bin>,
    query: Control,
    arena: Control,
    /// Of all arenas together.
    slabs: Control,
    used: Control,
    not_full: Control,
}

/// The slabs of one size of all arenas.
struct Bin {
    size: usize,
    /// Allocations a slab has room for.
    room: usize,
    /// Slabs with holes; those being filled; the allocations in both.
    sparse: usize,
    being_filled: usize,
    used: usize,
}

impl Slabs {
    fn new() -> Option<Self> {
        let bins = Control::named(c"arenas.nbins")?.read::<u32>()? as usize;
        let (mut size, mut room) = (Control::named(c"arenas.bin.0.size")?, Control::named(c"arenas.bin.0.nregs")?);
        let bin = |i| {
            let (size, room) = (size.at(2, i).read()?, room.at(2, i).read::<u32>()? as usize);
            Some(Bin { size, room, sparse: 0, being_filled: 0, used: 0 })
        };
        Some(Self {
            bins: (0..bins).map(bin).collect::<Option<_>>()?,
            query: Control::named(c"experimental.utilization.query")?,
            arena: Control::named(c"arenas.lookup")?,
            slabs: Control::named(c"stats.arenas.4096.bins.0.curslabs")?,
            used: Control::named(c"stats.arenas.4096.bins.0.curregs")?,
            not_full: Control::named(c"stats.arenas.4096.bins.0.nonfull_slabs")?,
        })
    }

    fn refresh(&mut self) {
        // A stale reading moves too little or too much, and harms nothing.
        let _ = tikv_jemalloc_ctl::epoch::advance();
        for (i, bin) in self.bins.iter_mut().enumerate() {
            let read = |control: &mut Control| control.at(BIN_IN_NAME, i).read::<usize>().unwrap_or(0);
            let (slabs, used, sparse) = (read(&mut self.slabs), read(&mut self.used), read(&mut self.not_full));
            let full = slabs.saturating_sub(sparse + bin.being_filled);
            (bin.sparse, bin.used) = (sparse, used.saturating_sub(full * bin.room));
        }
    }

    fn count_being_filled(&mut self) {
        let arenas = Control::named(c"arenas.narenas").and_then(|arenas| arenas.read::<u32>()).unwrap_or(0);
        self.bins.iter_mut().for_each(|bin| bin.being_filled = 0);
        for arena in 0..arenas as usize {
            for (i, bin) in self.bins.iter_mut().enumerate() {
                let read = |control: &mut Control| {
                    control.at(ARENA_IN_NAME, arena);
                    control.at(BIN_IN_NAME, i).read::<usize>()
                };
                // What is neither full nor has holes is being filled, or full and about to be left.
                let Some((slabs, sparse)) = read(&mut self.slabs).zip(read(&mut self.not_full)) else { break };
                bin.being_filled += usize::from(slabs > sparse);
            }
        }
        self.slabs.at(ARENA_IN_NAME, ALL_ARENAS);
        self.not_full.at(ARENA_IN_NAME, ALL_ARENAS);
    }

    fn arena_of(&self, address: usize) -> Option<usize> {
        self.arena.ask::<u32>(address).map(|arena| arena as usize)
    }

    /// The arena in which an allocation has a better place, if it is worth moving.
    fn place_to_move(&self, address: usize, layout: Layout) -> Option<usize> {
        let size = memory::size_class_of(layout.size(), layout.align());
        let bin = self.bins.get(self.bins.partition_point(|bin| bin.size < size))?;
        if bin.sparse < SPARSE_MIN {
            return None;
        }
        let [current, free, room, bytes, _, _] = self.query.ask::<[usize; QUERY_WORDS]>(address)?;
        let being_filled = (current..current + bytes).contains(&address);
        if free == 0 || being_filled {
            return None;
        }
        let used = room - free;
        (used * (bin.sparse + bin.being_filled) <= bin.used + bin.used / 8).then(|| self.arena_of(address)).flatten()
    }
}

/// Bytes copied in one visit: some tens of microseconds.
const VISIT_BYTES_MAX: usize = 128 << 10;
/// What is larger has pages of its own.
const SLAB_BYTES_MAX: usize = 14 << 10;
/// Fewer sparse slabs of a size cannot be emptied into each other to any effect.
const SPARSE_MIN: usize = 2;
/// The parts of the statistics' names that are the arena's number, and the bin's.
const ARENA_IN_NAME: usize = 2;
const BIN_IN_NAME: usize = 4;
/// The number that stands for all arenas.
const ALL_ARENAS: usize = 4096;
/// The address of the slab being filled; free and all places of the slab asked about, its bytes; the same of its bin.
const QUERY_WORDS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Counting;
    use std::alloc::GlobalAlloc;
    use std::collections::HashSet;

    fn slabs(all: &[NonNull<u8>]) -> usize {
        // All of them are smaller than a page, and slabs begin with one.
        all.iter().map(|memory| memory.as_ptr() as usize / 4096).collect::<HashSet<_>>().len()
    }

    #[test]
    fn what_is_sparse_moves_together_and_what_is_dense_stays() {
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: allocated here, each freed once, in this test only, by the layout it has.
        let (mut all, mut mover) = unsafe {
            let all: Vec<_> = (0..4000).map(|_| NonNull::new(Counting.alloc(layout)).unwrap()).collect();
            for (i, memory) in all.iter().enumerate() {
                memory.cast::<usize>().write(i);
                if i % 4 > 0 {
                    memory::free_uncached(memory.as_ptr(), layout);
                }
            }
            let all: Vec<_> = all.into_iter().step_by(4).collect();
            (all, Mover::aiming_at(Aim::Sparse(Box::new(Slabs::new().expect("jemalloc is linked")))))
        };
        let before = slabs(&all);
        for _ in 0..4 {
            mover.begin_pass();
            mover.refresh();
            for memory in &mut all {
                // SAFETY: as above.
                *memory = unsafe { mover.moved(*memory, layout) }.unwrap_or(*memory);
            }
        }
        assert!(slabs(&all) * 2 < before, "{} of {before} slabs", slabs(&all));
        let (moved, kept) = (mover.moved, mover.kept);
        mover.refresh();
        for (i, memory) in all.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                let memory = mover.moved(memory, layout).unwrap_or(memory);
                assert_eq!(memory.cast::<usize>().read(), i * 4);
                Counting.dealloc(memory.as_ptr(), layout);
            }
        }
        assert!(mover.moved - moved < (mover.kept - kept) / 4, "{} still move", mover.moved - moved);
    }

    #[test]
    fn memory_of_another_allocator_is_not_moved() {
        assert!(Mover::of_allocator().is_none(), "tests use the system's");
    }

    #[test]
    fn containers_keep_what_they_hold() {
        let mut mover = Mover::of_everything();
        let (mut boxed, mut items, mut row) = (Box::new(7u64), Vec::with_capacity(9), VecDeque::from(vec![2, 3]));
        items.extend(["a".to_owned(), "b".to_owned()]);
        row.push_front(1);
        mover.boxed(&mut boxed);
        mover.vec(&mut items);
        mover.deque(&mut row);
        mover.vec(&mut Vec::<u64>::new());
        mover.boxed(&mut Box::new(()));
        assert_eq!(
            (*boxed, items.capacity(), &items[..], row),
            (7, 9, &["a".into(), "b".into()][..], [1, 2, 3].into())
        );
        assert_eq!((mover.moved, mover.kept), (3, 0));
    }
}
