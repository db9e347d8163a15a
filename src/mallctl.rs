//! The allocator's controls by name, as jemalloc calls them: for defragmentation, and for debugging a server.
//!
//! jemalloc checks the size of what is read and written, so a [`Control`] of plain numbers can at worst be refused. What
//! it does not check are pointers, and some controls destroy memory in use: [`get`] and [`set`], which take names from
//! clients, know those that only tell or tune and refuse all others as if they were not permitted.
//! Not here: the statistics of INFO, which have typed readers in tikv-jemalloc-ctl.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;
use tikv_jemalloc_sys::{mallctl, mallctlbymib, mallctlnametomib};

/// A control found once, to be asked often.
pub struct Control {
    path: [usize; DEPTH_MAX],
    depth: usize,
}

/// What controls read and write: plain numbers, for which any bits will do.
pub trait Plain: Copy + Default {}
impl Plain for u8 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for usize {}
impl<const N: usize> Plain for [usize; N] where Self: Default {}

/// A number of the C library's `errno`.
pub type Errno = i32;

impl Control {
    /// `None` if there is no such control.
    pub fn named(name: &CStr) -> Option<Self> {
        let (mut path, mut depth) = ([0; DEPTH_MAX], DEPTH_MAX);
        // SAFETY: the path has room for the depth given.
        let error = unsafe { mallctlnametomib(name.as_ptr(), path.as_mut_ptr(), &mut depth) };
        (error == 0).then_some(Self { path, depth })
    }

    /// The control of the same name with another number in it.
    pub fn at(&mut self, position: usize, number: usize) -> &Self {
        self.path[position] = number;
        self
    }

    /// Reads; `None` if the control does not have this size, or does not answer.
    pub fn read<O: Plain>(&self) -> Option<O> {
        let (mut value, mut size) = (O::default(), size_of::<O>());
        // SAFETY: value and size agree, and any bits are an `O`.
        let error = unsafe {
            let value = (&raw mut value).cast();
            mallctlbymib(self.path.as_ptr(), self.depth, value, &mut size, null_mut(), 0)
        };
        (error == 0).then_some(value)
    }

    /// Asks a control that answers about an address. The address is looked up and not followed.
    pub fn ask<O: Plain>(&self, address: usize) -> Option<O> {
        let (mut value, mut size, mut address) = (O::default(), size_of::<O>(), address);
        // SAFETY: as in `read`; the address is a number of a pointer's size.
        let error = unsafe {
            let (value, address) = ((&raw mut value).cast(), (&raw mut address).cast());
            mallctlbymib(self.path.as_ptr(), self.depth, value, &mut size, address, size_of::<usize>())
        };
        (error == 0).then_some(value)
    }
}

/// What a control holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    Number(i64),
    Text(Vec<u8>),
}

/// Reads a number, whatever its width.
pub fn get(name: &[u8]) -> Result<Held, Errno> {
    let found = readable(name)?;
    number::<u64>(&found)
        .or_else(|e| if e == libc::EINVAL { number::<u32>(&found) } else { Err(e) })
        .or_else(|e| if e == libc::EINVAL { number::<u8>(&found) } else { Err(e) })
        .map(Held::Number)
}

/// Reads a string.
pub fn get_text(name: &[u8]) -> Result<Held, Errno> {
    let found = if is_text(name) { named(name)? } else { refused(name)? };
    let (mut text, mut size) = (std::ptr::null::<c_char>(), size_of::<*const c_char>());
    // SAFETY: controls on the list hold a pointer to text; it is written where a pointer fits.
    let error = unsafe { mallctl(found.as_ptr(), (&raw mut text).cast(), &mut size, null_mut(), 0) };
    match error {
        0 if text.is_null() => Ok(Held::Text(Vec::new())),
        // SAFETY: the allocator's own text, zero-terminated, constant while the process lives.
        0 => Ok(Held::Text(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())),
        error => Err(error),
    }
}

/// Writes a number, and tells the one that was there if the control can be read.
pub fn set(name: &[u8], value: i64) -> Result<Option<Held>, Errno> {
    let found = writable(name)?;
    let old = get(name).ok();
    write(&found, &value.to_ne_bytes())
        .or_else(|e| if e == libc::EINVAL { write(&found, &(value as i32).to_ne_bytes()) } else { Err(e) })
        .or_else(|e| if e == libc::EINVAL { write(&found, &[u8::from(value != 0)]) } else { Err(e) })
        .map(|()| old)
}

/// Sets a control off that takes nothing.
pub fn touch(name: &[u8]) -> Result<(), Errno> {
    write(&writable(name)?, &[])
}

fn number<T: Plain + TryInto<i64>>(name: &CStr) -> Result<i64, Errno> {
    let (mut value, mut size) = (T::default(), size_of::<T>());
    // SAFETY: value and size agree; a control of another size refuses.
    let error = unsafe { mallctl(name.as_ptr(), (&raw mut value).cast(), &mut size, null_mut(), 0) };
    if error == 0 { value.try_into().map_err(|_| libc::ERANGE) } else { Err(error) }
}

fn write(name: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let mut bytes = bytes.to_vec();
    let value = if bytes.is_empty() { null_mut() } else { bytes.as_mut_ptr().cast() };
    // SAFETY: pointer and size agree; controls on the list take numbers, or nothing.
    let error = unsafe { mallctl(name.as_ptr(), null_mut(), null_mut(), value, bytes.len()) };
    if error == 0 { Ok(()) } else { Err(error) }
}

/// Controls that hold a pointer to text of the process's lifetime.
fn is_text(name: &[u8]) -> bool {
    TEXTS.contains(&name) || name.starts_with(b"arena.") && name.ends_with(b".dss")
}

/// Controls whose reading makes nothing new and shows no address.
fn readable(name: &[u8]) -> Result<CString, Errno> {
    let tells = TELLING.iter().any(|first| name.starts_with(first));
    let more = TEXTS.contains(&name) || NOT_TELLING.iter().any(|last| name.ends_with(last));
    if tells && !more { named(name) } else { refused(name) }
}

/// Controls that tune, and survive any number.
fn writable(name: &[u8]) -> Result<CString, Errno> {
    let of_arena = name.starts_with(b"arena.") && ARENA_TUNING.iter().any(|last| name.ends_with(last));
    if of_arena || TUNING.contains(&name) { named(name) } else { refused(name) }
}

fn named(name: &[u8]) -> Result<CString, Errno> {
    CString::new(name).map_err(|_| libc::ENOENT)
}

/// What exists is not permitted; other names are said not to exist.
fn refused(name: &[u8]) -> Result<CString, Errno> {
    let known = CString::new(name).is_ok_and(|name| Control::named(&name).is_some());
    Err(if known { libc::EPERM } else { libc::ENOENT })
}

/// jemalloc's names have fewer parts.
const DEPTH_MAX: usize = 8;
const TELLING: &[&[u8]] = &[
    b"arena.",
    b"arenas.",
    b"background_thread",
    b"config.",
    b"epoch",
    b"max_background_threads",
    b"opt.",
    b"stats.",
    b"thread.",
];
/// What makes something, and what shows where things are.
const NOT_TELLING: &[&[u8]] =
    &[b".create", b".lookup", b"hooks", b"edp", b"_opts", b".dss", b"_style", b"_symlink", b"_var", b".name", b".junk"];
const TEXTS: &[&[u8]] = &[
    b"config.malloc_conf",
    b"opt.dss",
    b"opt.metadata_thp",
    b"opt.percpu_arena",
    b"opt.thp",
    b"opt.zero_realloc",
    b"version",
];
const TUNING: &[&[u8]] = &[
    b"arenas.dirty_decay_ms",
    b"arenas.muzzy_decay_ms",
    b"background_thread",
    b"epoch",
    b"max_background_threads",
    b"thread.tcache.enabled",
    b"thread.tcache.flush",
];
const ARENA_TUNING: &[&[u8]] = &[b".decay", b".dirty_decay_ms", b".muzzy_decay_ms", b".purge"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_width_and_texts_are_read() {
        assert_eq!(get(b"arenas.page"), Ok(Held::Number(4096)));
        assert!(matches!(get(b"arenas.narenas"), Ok(Held::Number(1..))));
        assert_eq!(get(b"config.stats"), Ok(Held::Number(1)));
        assert!(matches!(get_text(b"version"), Ok(Held::Text(text)) if text.starts_with(b"5.")));
    }

    #[test]
    fn what_tunes_is_written_and_what_could_break_memory_refused() {
        assert_eq!(touch(b"thread.tcache.flush"), Ok(()));
        let before = set(b"arenas.dirty_decay_ms", 5000).unwrap();
        assert!(matches!(before, Some(Held::Number(_))));
        assert_eq!(get(b"arenas.dirty_decay_ms"), Ok(Held::Number(5000)));
        for name in [&b"arena.0.extent_hooks"[..], b"arena.0.destroy", b"arena.0.reset", b"thread.arena", b"prof.dump"]
        {
            assert_eq!(set(name, 1), Err(libc::EPERM), "{}", String::from_utf8_lossy(name));
            assert_eq!(touch(name), Err(libc::EPERM));
        }
        for name in [&b"arena.0.extent_hooks"[..], b"thread.allocatedp", b"arenas.create", b"tcache.create", b"opt.dss"]
        {
            assert_eq!(get(name), Err(libc::EPERM));
        }
        assert_eq!(get_text(b"arenas.page"), Err(libc::EPERM), "a number is no text");
        for name in [&b"no.such"[..], b"", b"opt.\0dss"] {
            assert!(get(name).is_err() && set(name, 1).is_err() && get_text(name).is_err());
        }
    }
}
