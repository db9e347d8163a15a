//! Templates: the field names that many hashes have in common, in one order, stored once.
//!
//! A hash refers to its template by a number ([`Template`], 4 bytes), which is a place in [`TEMPLATES`]; reading the names
//! there takes no lock. The registry's lock is taken when a thread meets a layout that it does not remember, and when the
//! last hash of a layout goes.
//!
//! **When a layout gets a template.** Each thread remembers the last layouts it met, [`REMEMBERED`] of those met once and
//! as many of the others. What it meets once is a hash of 64 bits; what it meets again becomes a template, which the
//! thread then holds for as long as it remembers it. So a stream of layouts of which each is met once costs a hash over the names and no memory, and the
//! threads hold a bounded number of templates that no hash uses.
//! Invariant: the count of a template's users rises from zero under the registry's lock only, and the thread that brings it to
//! zero looks again under that lock before the place is free for another.
//! Limits: [`TEMPLATES_MAX`], [`FIELDS_MAX`], [`NAMES_BYTES_MAX`]; a layout beyond them is not shared.

use super::text::Text;
use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::ops::{Deref, RangeInclusive};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, LazyLock};

/// A user of a template.
pub struct Template(u32);

/// A template's names, on loan.
pub struct Lent(Guard<Option<Arc<Names>>>);

/// The fields of a layout.
pub struct Names {
    /// The names, one behind the other, and where each ends.
    bytes: Box<[u8]>,
    ends: Box<[u32]>,
    /// Positions counted from 1 at places by the names' hashes, the next free place for those that collide; twice as many
    /// places as names at least.
    index: Box<[u16]>,
    /// The hash over all of them.
    layout: u64,
    users: Users,
}

/// Hashes and threads that use a template: written by all workers, so on a cache line of its own.
type Users = crossbeam_utils::CachePadded<AtomicUsize>;

/// Which hashes share their names.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Those with a number of fields in this range.
    pub fields: RangeInclusive<usize>,
    /// Known to be one of many: no need to meet the layout twice.
    pub at_once: bool,
}

impl Sharing {
    /// By the directives; 0 turns it off.
    pub fn of_directives(min: usize, max: usize) -> Self {
        let max = if min == 0 { 0 } else { max.min(FIELDS_MAX) };
        Self { fields: min.max(1)..=max, at_once: false }
    }
}

/// What the templates are and take, for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub templates: usize,
    pub hashes: usize,
    pub bytes: usize,
}

impl Usage {
    pub fn now() -> Self {
        let registry = REGISTRY.lock();
        let mut usage = Self { bytes: registry.bytes, ..Self::default() };
        for &place in registry.by_layout.values() {
            if let Some(names) = &*TEMPLATES[place as usize].load() {
                usage.templates += 1;
                usage.hashes += names.users.load(Relaxed);
            }
        }
        usage.hashes = usage.hashes.saturating_sub(REMEMBERED_NOW.load(Relaxed));
        usage
    }
}

impl Template {
    /// The template of a layout, if it is one that is shared.
    #[inline]
    pub fn of<'a>(names: impl ExactSizeIterator<Item = Text<'a>> + Clone, sharing: &Sharing) -> Option<Self> {
        if !sharing.fields.contains(&names.len()) {
            return None;
        }
        let layout = layout(names.clone());
        RECENT.with_borrow_mut(|recent| recent.template(layout, names, sharing.at_once))
    }

    #[inline]
    pub fn names(&self) -> Lent {
        Lent(TEMPLATES[self.0 as usize].load())
    }
}

impl Clone for Template {
    #[inline]
    fn clone(&self) -> Self {
        self.names().users.fetch_add(1, Relaxed);
        Self(self.0)
    }
}

impl Drop for Template {
    #[inline]
    fn drop(&mut self) {
        if self.names().users.fetch_sub(1, AcqRel) == 1 {
            REGISTRY.lock().free(self.0);
        }
    }
}

impl Deref for Lent {
    type Target = Names;

    #[inline]
    fn deref(&self) -> &Names {
        self.0.as_deref().expect("a template stays while it has users")
    }
}

impl Names {
    /// `None` if a name is there twice, or they are beyond the limits.
    fn new<'a>(names: impl ExactSizeIterator<Item = Text<'a>>, layout: u64) -> Option<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(names.len()));
        for name in names {
            bytes.extend_from_slice(name.bytes(&mut itoa::Buffer::new()));
            ends.push(u32::try_from(bytes.len()).ok()?);
        }
        if bytes.len() > NAMES_BYTES_MAX || ends.len() > FIELDS_MAX {
            return None;
        }
        let index = vec![0; (ends.len() * 2).next_power_of_two()].into();
        let mut this = Self { bytes: bytes.into(), ends: ends.into(), index, layout, users: Users::default() };
        let all: HashSet<&[u8]> = this.iter().collect();
        if all.len() < this.len() {
            return None;
        }
        for position in 0..this.len() {
            let mut place = this.place(this.name(position));
            while this.index[place] != 0 {
                place = (place + 1) & (this.index.len() - 1);
            }
            this.index[place] = position as u16 + 1;
        }
        Some(this)
    }

    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "no layout is without fields")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name at a position.
    #[inline]
    pub fn name(&self, position: usize) -> &[u8] {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.bytes[start as usize..self.ends[position] as usize]
    }

    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.bytes[std::mem::replace(&mut start, end as usize)..end as usize])
    }

    /// Where a name stands.
    #[inline]
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        let mut place = self.place(name);
        loop {
            let position = self.index[place].checked_sub(1)? as usize;
            if self.name(position) == name {
                return Some(position);
            }
            place = (place + 1) & (self.index.len() - 1);
        }
    }

    /// The same for one that probably stands at `guess`.
    #[inline]
    pub fn position_near(&self, guess: usize, name: &[u8]) -> Option<usize> {
        if guess < self.len() && self.name(guess) == name { Some(guess) } else { self.position(name) }
    }

    /// Where in the index to begin: names of features mostly differ in their first or last bytes.
    #[inline]
    fn place(&self, name: &[u8]) -> usize {
        let word = match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) => u64::from_le_bytes(*head).rotate_left(32) ^ u64::from_le_bytes(*tail),
            _ => name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        (word.wrapping_mul(SPREAD) >> (u64::BITS - self.index.len().ilog2())) as usize
    }

    fn are<'a>(&self, names: impl ExactSizeIterator<Item = Text<'a>>) -> bool {
        names.len() == self.len() && names.zip(self.iter()).all(|(wanted, name)| wanted.is(name))
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.ends.len() * size_of::<u32>() + self.index.len() * size_of::<u16>()
    }
}

/// All templates; a place without a user is empty.
static TEMPLATES: [ArcSwapOption<Names>; TEMPLATES_MAX] = [const { ArcSwapOption::const_empty() }; TEMPLATES_MAX];
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

/// Which layout has which template.
#[derive(Default)]
struct Registry {
    by_layout: HashMap<u64, u32>,
    /// Places that were used and are not, and the first that never was.
    freed: Vec<u32>,
    unused: u32,
    /// What the templates take.
    bytes: usize,
}

impl Registry {
    /// A layout's template, made if there is none. `None` if the layout cannot have one.
    fn template<'a>(
        &mut self,
        layout: u64,
        names: impl ExactSizeIterator<Item = Text<'a>> + Clone,
    ) -> Option<Template> {
        if let Some(&place) = self.by_layout.get(&layout) {
            let held = TEMPLATES[place as usize].load_full()?;
            return held.are(names).then(|| {
                held.users.fetch_add(1, Relaxed);
                Template(place)
            });
        }
        let place = self.freed.last().copied().unwrap_or(self.unused);
        if place as usize >= TEMPLATES_MAX {
            return None;
        }
        let made = Names::new(names, layout)?;
        made.users.store(1, Relaxed);
        if self.freed.pop().is_none() {
            self.unused += 1;
        }
        self.bytes += made.heap_bytes();
        TEMPLATES[place as usize].store(Some(Arc::new(made)));
        self.by_layout.insert(layout, place);
        Some(Template(place))
    }

    /// Frees a place whose template has no user, unless it got one meanwhile.
    #[cold]
    fn free(&mut self, place: u32) {
        let Some(names) = TEMPLATES[place as usize].load_full() else { return };
        if names.users.load(Acquire) == 0 {
            self.by_layout.remove(&names.layout);
            self.bytes -= names.heap_bytes();
            TEMPLATES[place as usize].store(None);
            self.freed.push(place);
        }
    }
}

thread_local! {
    static RECENT: RefCell<Recent> =
        const { RefCell::new(Recent { once: [0; REMEMBERED], known: [const { None }; REMEMBERED] }) };
}

/// The layouts that a thread remembers, each at a place by its hash.
struct Recent {
    /// Met once. They have places of their own, so that layouts of single hashes displace no others.
    once: [u64; REMEMBERED],
    known: [Option<Known>; REMEMBERED],
}

/// A layout that was met again.
struct Known {
    layout: u64,
    /// None if it cannot have one.
    template: Option<Remembered>,
}

impl Recent {
    #[inline]
    fn template<'a>(
        &mut self,
        layout: u64,
        names: impl ExactSizeIterator<Item = Text<'a>> + Clone,
        at_once: bool,
    ) -> Option<Template> {
        let place = layout as usize % REMEMBERED;
        if let Some(known) = self.known[place].as_ref().filter(|known| known.layout == layout) {
            let held = known.template.as_ref()?;
            let lent = held.0.names();
            return lent.are(names).then(|| {
                lent.users.fetch_add(1, Relaxed);
                Template(held.0.0)
            });
        }
        if !at_once && self.once[place] != layout {
            self.once[place] = layout;
            return None;
        }
        let template = REGISTRY.lock().template(layout, names);
        self.known[place] = Some(Known { layout, template: template.clone().map(Remembered::new) });
        template
    }
}

/// A thread's own use of a template.
struct Remembered(Template);

impl Remembered {
    fn new(template: Template) -> Self {
        REMEMBERED_NOW.fetch_add(1, Relaxed);
        Self(template)
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        REMEMBERED_NOW.fetch_sub(1, Relaxed);
    }
}

/// Keyed anew in every process, so that a client cannot choose layouts that collide.
#[inline]
fn layout<'a>(names: impl Iterator<Item = Text<'a>>) -> u64 {
    static HASHER: LazyLock<ahash::RandomState> = LazyLock::new(crate::table::keyed_hasher);
    let mut hasher = HASHER.build_hasher();
    names.for_each(|name| hasher.write(name.bytes(&mut itoa::Buffer::new())));
    hasher.finish()
}

/// Templates that threads remember: users that are no hashes.
static REMEMBERED_NOW: AtomicUsize = AtomicUsize::new(0);

/// A service has a few layouts, and a few versions of each.
const TEMPLATES_MAX: usize = 4096;
/// Layouts that a thread remembers: more than are written at a time, and few enough to be held for nothing.
const REMEMBERED: usize = 64;
/// 2^64 divided by the golden ratio: multiplying by it spreads all bits to the upper ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// What the index can tell.
const FIELDS_MAX: usize = 1 << 14;
/// Of one template.
const NAMES_BYTES_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], sharing: &Sharing) -> Option<Template> {
        Template::of(names.iter().map(|name| Text::Bytes(name.as_bytes())), sharing)
    }

    #[test]
    fn a_layout_is_shared_from_the_second_time_on() {
        let sharing = Sharing::of_directives(2, 4);
        assert!(of(&["second", "time"], &sharing).is_none());
        let first = of(&["second", "time"], &sharing).unwrap();
        let second = std::thread::spawn(move || of(&["second", "time"], &Sharing { at_once: true, ..sharing }));
        let second = second.join().unwrap().unwrap();
        assert_eq!((first.0, second.names().users.load(Relaxed)), (second.0, 3));
        let sharing = Sharing { at_once: true, ..Sharing::of_directives(2, 4) };
        assert!(of(&["one"], &sharing).is_none() && of(&["1", "2", "3", "4", "5"], &sharing).is_none());
        assert!(of(&["twice", "twice"], &sharing).is_none());
        assert!(of(&["a", "b"], &Sharing::of_directives(0, 4)).is_none());
    }

    #[test]
    fn names_are_found_by_name_and_by_position() {
        let names: Vec<String> = (0..300).map(|n| format!("{}_clicks_last_7_days_{}", n / 2, n % 2)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["", "x", "007", "7"]).collect();
        let template = of(&names, &Sharing { fields: 1..=1000, at_once: true }).unwrap();
        let lent = template.names();
        for (position, name) in names.iter().enumerate() {
            assert_eq!((lent.name(position), lent.position(name.as_bytes())), (name.as_bytes(), Some(position)));
            assert_eq!(lent.position_near(position + 1, name.as_bytes()), Some(position));
        }
        assert_eq!((lent.position(b"none"), lent.position_near(1000, b"none")), (None, None));
        assert!(lent.iter().eq(names.iter().map(|name| name.as_bytes())));
    }

    #[test]
    fn a_template_goes_with_its_last_user() {
        let at_once = Sharing { fields: 2..=2, at_once: true };
        let place = std::thread::spawn(move || {
            let template = of(&["goes", "away"], &at_once).unwrap();
            let copy = template.clone();
            drop(template);
            assert_eq!(copy.names().users.load(Relaxed), 2);
            copy
        });
        // The thread's own use ended with it.
        let copy = place.join().unwrap();
        assert_eq!(copy.names().users.load(Relaxed), 1);
        let layout = copy.names().layout;
        assert!(REGISTRY.lock().by_layout.contains_key(&layout));
        drop(copy);
        assert!(!REGISTRY.lock().by_layout.contains_key(&layout));
    }

    /// Each thread makes, copies and drops users of a few layouts; the last of them frees the places.
    #[test]
    fn threads_agree_who_uses_a_template() {
        let names: Vec<[String; 2]> = (0..9).map(|n| [format!("agree {n}"), "on this".into()]).collect();
        std::thread::scope(|scope| {
            let worker = |seed| {
                let names = &names;
                scope.spawn(move || {
                    let (mut dice, mut held) = (fastrand::Rng::with_seed(seed), Vec::new());
                    for _ in 0..5_000 {
                        let layout = &names[dice.usize(..names.len())];
                        let sharing = Sharing { fields: 2..=2, at_once: true };
                        let template = of(&[&layout[0], &layout[1]], &sharing).unwrap();
                        assert_eq!(template.names().name(0), layout[0].as_bytes());
                        held.push(template);
                        // Forgets, as a thread does that meets many others.
                        RECENT.with_borrow_mut(|recent| recent.known[dice.usize(..REMEMBERED)] = None);
                        while held.len() > dice.usize(..6) {
                            held.swap_remove(dice.usize(..held.len()));
                        }
                    }
                })
            };
            // Joined, so that what the threads remembered is gone as well.
            let threads: Vec<_> = (0..4).map(worker).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let all: Vec<Vec<u8>> = names.iter().map(|layout| layout[0].clone().into_bytes()).collect();
        let registry = REGISTRY.lock();
        for &place in registry.by_layout.values() {
            let left = TEMPLATES[place as usize].load_full().unwrap();
            assert!(!all.contains(&left.name(0).to_vec()), "{} users", left.users.load(Relaxed));
        }
    }
}
