//! LZF, the compression of long strings inside RDB files and DUMP payloads.
//!
//! The format is LibLZF's: a control byte below 32 starts a run of up to 32 literal bytes; any other names a copy of
//! 3 to 264 bytes from up to 8 KiB back. Bytes need not equal Redis's compressor's; what either one wrote, both read.
//! Invariants: `compress` answers only when it saves the few bytes its header costs; `decompress` believes no
//! declared length beyond what the input could possibly expand to, and never panics, whatever the bytes.
//! Cost: one pass each way; compressing takes a hash table of 256 bytes to 64 KiB.

use smallvec::{SmallVec, smallvec};

/// Compresses `input`, or `None` if that would not make it at least four bytes shorter (as in Redis: an RDB string
/// in compressed form costs that much more to describe).
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let limit = input.len().checked_sub(SAVED_BYTES_MIN).filter(|n| *n > 0)?;
    u32::try_from(input.len()).ok()?;
    // A slot for each position, within limits: clearing a large table costs more than a short string's compression.
    let hash_bits = (input.len().ilog2() + 1).clamp(HASH_BITS_MIN, HASH_BITS_MAX);
    // Positions plus one, so that zero means "never seen". RDB strings are below 4 GiB.
    let mut seen: SmallVec<[u32; SLOTS_ON_STACK]> = smallvec![0; 1 << hash_bits];
    let mut out = Vec::with_capacity(limit);
    let (mut at, mut literals_from) = (0, 0);
    while at + COPY_BYTES_MIN < input.len() {
        let slot = hash(&input[at..], hash_bits);
        let candidate = std::mem::replace(&mut seen[slot], at as u32 + 1) as usize;
        let length = match candidate.checked_sub(1) {
            Some(from) if at - from <= DISTANCE_MAX => common_length(input, from, at),
            _ => 0,
        };
        if length < COPY_BYTES_MIN {
            at += 1;
            continue;
        }
        push_literals(&mut out, &input[literals_from..at]);
        push_copy(&mut out, length, at - (candidate - 1));
        // Positions inside the copy: the last two are enough to find the next repetition.
        for inside in at + length - 2..at + length {
            if inside + COPY_BYTES_MIN <= input.len() {
                seen[hash(&input[inside..], hash_bits)] = inside as u32 + 1;
            }
        }
        at += length;
        literals_from = at;
        if out.len() > limit {
            return None;
        }
    }
    push_literals(&mut out, &input[literals_from..]);
    (out.len() <= limit).then_some(out)
}

/// Decompresses `input` into exactly `out_len` bytes, or `None` if it is not LZF of that length.
pub fn decompress(input: &[u8], out_len: usize) -> Option<Vec<u8>> {
    if out_len > input.len().checked_mul(EXPANSION_MAX)? {
        return None;
    }
    let mut out = Vec::with_capacity(out_len);
    let mut rest = input;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if usize::from(control) < LITERALS_MAX {
            let (literals, after) = rest.split_at_checked(usize::from(control) + 1)?;
            rest = after;
            if literals.len() > out_len - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
            continue;
        }
        let mut length = usize::from(control >> 5) + 2;
        if length == 9 {
            let (&more, after) = rest.split_first()?;
            rest = after;
            length += usize::from(more);
        }
        let (&low, after) = rest.split_first()?;
        rest = after;
        let distance = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
        if length > out_len - out.len() {
            return None;
        }
        let from = out.len().checked_sub(distance)?;
        copy_within(&mut out, from, length);
    }
    (out.len() == out_len).then_some(out)
}

/// Appends `length` bytes from `from` on; source and copy may overlap, which repeats the bytes between them.
fn copy_within(out: &mut Vec<u8>, from: usize, length: usize) {
    let period = out.len() - from;
    let mut left = length;
    while left > 0 {
        let piece = left.min(period);
        let start = out.len() - period;
        out.extend_from_within(start..start + piece);
        left -= piece;
    }
}

fn hash(bytes: &[u8], bits: u32) -> usize {
    let three = match bytes {
        // One word where there is one.
        [a, b, c, _, ..] => u32::from_le_bytes([*a, *b, *c, 0]),
        _ => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]),
    };
    (three.wrapping_mul(2_654_435_761) >> (32 - bits)) as usize
}

fn common_length(input: &[u8], from: usize, at: usize) -> usize {
    let max = (input.len() - at).min(COPY_BYTES_MAX);
    let (here, there) = (&input[at..at + max], &input[from..from + max]);
    // By words, to the one that differs; its lowest byte that differs is the first.
    let words = here.as_chunks::<8>().0.iter().zip(there.as_chunks::<8>().0);
    for (i, (a, b)) in words.enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return 8 * i + differ.trailing_zeros() as usize / 8;
        }
    }
    let rest = max / 8 * 8;
    rest + here[rest..].iter().zip(&there[rest..]).take_while(|(a, b)| a == b).count()
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn push_copy(out: &mut Vec<u8>, length: usize, distance: usize) {
    let (code, offset) = (length - 2, distance - 1);
    let high = (offset >> 8) as u8;
    if code < 7 {
        out.push((code as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (code - 7) as u8]);
    }
    out.push(offset as u8);
}

/// A control byte counts literals in five bits, of a length less one.
const LITERALS_MAX: usize = 32;
/// Three bits of length, less two, with 7 continued in one more byte.
const COPY_BYTES_MAX: usize = 264;
const COPY_BYTES_MIN: usize = 3;
/// Thirteen bits of distance, less one.
const DISTANCE_MAX: usize = 1 << 13;
/// Three bytes of input give at most 264 of output.
const EXPANSION_MAX: usize = COPY_BYTES_MAX / 3;
const SAVED_BYTES_MIN: usize = 4;
const HASH_BITS_MIN: u32 = 6;
const HASH_BITS_MAX: u32 = 14;
const SLOTS_ON_STACK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_real_servers_dump_unpacks() {
        // The compressed body of DUMP, on 7.0.15, of "abcdefgh" 400 times and then "z" 1600 times: 4800 bytes.
        let body = include_bytes!("../tests/golden/lzf.bin");
        let want = ["abcdefgh".repeat(400), "z".repeat(1600)].concat();
        assert_eq!(decompress(body, want.len()).unwrap(), want.as_bytes());
        assert!(compress(want.as_bytes()).unwrap().len() <= body.len() + 4);
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        assert_eq!(compress(b""), None);
        assert_eq!(compress(b"aaaa"), None);
        assert_eq!(compress(b"aaaaa"), None);
        assert!(compress(&[b'a'; 30]).is_some());
        let distinct: Vec<u8> = (0..=255).collect();
        assert_eq!(compress(&distinct), None);
    }

    #[test]
    fn a_declared_length_is_not_believed() {
        assert_eq!(decompress(b"\x00a", usize::MAX), None);
        assert_eq!(decompress(b"\x00a", 2), None);
        assert_eq!(decompress(b"\x00a", 0), None);
        assert_eq!(decompress(b"", 0), Some(vec![]));
        assert_eq!(decompress(b"\x20\x00", 3), None);
        assert_eq!(decompress(b"\x00a\xe0", 300), None);
        assert_eq!(decompress(b"\x05ab", 6), None);
    }

    proptest! {
        #[test]
        fn everything_comes_back(input in prop_oneof![
            prop::collection::vec(0u8..4, 0..3000),
            prop::collection::vec("[a-c]{1,9}", 0..2000).prop_map(|words| words.concat().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..500),
        ]) {
            if let Some(packed) = compress(&input) {
                prop_assert!(packed.len() + 4 <= input.len());
                prop_assert_eq!(decompress(&packed, input.len()), Some(input));
            }
        }

        #[test]
        fn hostile_bytes_are_harmless(input: Vec<u8>, len in 0usize..100_000) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
