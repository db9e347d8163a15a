//! The hottest reply of all: a bulk string, `$<length>\r\n<bytes>\r\n`, put behind what a buffer holds.
//!
//! Wide replies (MGET, HGETALL, LRANGE) are thousands of short ones. A short one is written with one look at the buffer's
//! room and a handful of whole words; three appends to a `Vec`, each with a call of `memcpy`, cost twice as much.

#![allow(unsafe_code)]

use super::block::{attached_bytes, without_blocks};
use std::cell::Cell;

/// Appends a bulk string.
#[inline(always)]
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len();
    if len > SHORT_BYTES_MAX || out.capacity() - out.len() < len + AROUND_BYTES_MAX {
        return push_any(out, bytes);
    }
    let (header, header_len) = short_header(len);
    // SAFETY: there is room for the header's whole word, the bytes and CRLF, by the question just above, and all of it up
    // to the new length is written. The bytes are not the buffer's own: that is borrowed for writing.
    unsafe {
        let start = out.as_mut_ptr().add(out.len());
        start.cast::<u64>().write_unaligned(header);
        let payload = start.add(header_len);
        copy_short(bytes, payload);
        payload.add(len).cast::<[u8; 2]>().write(*b"\r\n");
        out.set_len(out.len() + header_len + len + 2);
    }
}

/// Says how long a reply's buffer may become on this thread: bulk strings beyond it are left out, and
/// [`take_overflow`] tells. The client is then closed in place of being answered, so that one command's reply takes no
/// more memory than its client's hard limit (`client-output-buffer-limit`).
pub fn limit_output(bytes: usize) {
    ROOM.set(bytes);
    OVERFLOWED.set(false);
}

/// Whether a bulk string was left out since the limit was set, or since this was last asked. Asked after each command.
#[inline]
pub fn take_overflow() -> bool {
    OVERFLOWED.get() && OVERFLOWED.replace(false)
}

/// Runs `work` without the limit, and without blocks attached to replies: replies to others.
pub fn unlimited<R>(work: impl FnOnce() -> R) -> R {
    let room = ROOM.replace(usize::MAX);
    let result = without_blocks(work);
    ROOM.set(room);
    result
}

/// Whether a reply's buffer may become this long. If not, that is told.
pub(super) fn has_room(bytes: usize) -> bool {
    let fits = bytes <= ROOM.get();
    if !fits {
        OVERFLOWED.set(true);
    }
    fits
}

thread_local! {
    static ROOM: Cell<usize> = const { Cell::new(usize::MAX) };
    static OVERFLOWED: Cell<bool> = const { Cell::new(false) };
}

/// Of any length, into any buffer.
#[cold]
#[inline(never)]
fn push_any(out: &mut Vec<u8>, bytes: &[u8]) {
    if !has_room(out.len() + attached_bytes() + bytes.len()) {
        return;
    }
    out.reserve(bytes.len() + AROUND_BYTES_MAX);
    out.push(b'$');
    crate::num::push_u64(out, bytes.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// `$<len>\r\n` as the first bytes of a word, and how many they are.
#[inline]
fn short_header(len: usize) -> (u64, usize) {
    let (tens, ones) = (b'0' + (len / 10) as u8, b'0' + (len % 10) as u8);
    if len < 10 {
        (u64::from_le_bytes([b'$', ones, b'\r', b'\n', 0, 0, 0, 0]).to_le(), 4)
    } else {
        (u64::from_le_bytes([b'$', tens, ones, b'\r', b'\n', 0, 0, 0]).to_le(), 5)
    }
}

/// Copies by two overlapping words of the widest kind that fits; nothing beyond `from` is read.
///
/// # Safety
/// `to` has room for `from`, and does not overlap it.
#[inline]
unsafe fn copy_short(from: &[u8], to: *mut u8) {
    /// The first and the last `W` of `from`.
    ///
    /// # Safety
    /// As of [`copy_short`], and `from` is at least as long as a `W`.
    #[inline]
    unsafe fn ends<W: Copy>(from: &[u8], to: *mut u8) {
        let last = from.len() - size_of::<W>();
        // SAFETY: both words lie inside `from` and inside the room, by the caller's promise.
        unsafe {
            let (front, back) =
                (from.as_ptr().cast::<W>().read_unaligned(), from.as_ptr().add(last).cast::<W>().read_unaligned());
            to.cast::<W>().write_unaligned(front);
            to.add(last).cast::<W>().write_unaligned(back);
        }
    }
    // SAFETY: each arm has the length that `ends` asks for; the rest is the caller's promise.
    unsafe {
        match from.len() {
            len @ 65.. => std::ptr::copy_nonoverlapping(from.as_ptr(), to, len),
            32.. => ends::<[u128; 2]>(from, to),
            16.. => ends::<u128>(from, to),
            8.. => ends::<u64>(from, to),
            4.. => ends::<u32>(from, to),
            2.. => ends::<[u8; 2]>(from, to),
            1 => to.write(from[0]),
            0 => {}
        }
    }
}

/// Header and CRLF of any length, and the header's whole word.
const AROUND_BYTES_MAX: usize = 32;
/// Two digits of length.
const SHORT_BYTES_MAX: usize = 99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_length_is_written_as_format_would() {
        let source: Vec<u8> = (0..=255u8).cycle().take(1200).collect();
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for len in (0..300).chain([999, 1000, 1200]) {
            push_bulk(&mut out, &source[..len]);
            expected.extend_from_slice(format!("${len}\r\n").as_bytes());
            expected.extend_from_slice(&source[..len]);
            expected.extend_from_slice(b"\r\n");
            assert_eq!(out.len(), expected.len(), "{len}");
        }
        assert_eq!(out, expected);
    }
}
