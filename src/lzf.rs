//! LZF, the compression of long strings inside RDB files and DUMP payloads.
//!
//! The format is LibLZF's: a control byte below 32 starts a run of up to 32 literal bytes; any other names a copy of
//! 3 to 264 bytes from up to 8 KiB back. Bytes need not equal Redis's compressor's; what either one wrote, both read.
//! Invariants: `compress` answers only when it saves the few bytes its header costs; `decompress_into` believes no
//! declared length beyond what the input could possibly expand to, and never panics, whatever the bytes.
//! Cost: one pass each way; compressing takes a hash table of 256 bytes to 64 KiB.

use smallvec::{SmallVec, smallvec};

/// Compresses `input`, or `None` if that would not make it at least four bytes shorter (as in Redis: an RDB string
/// in compressed form costs that much more to describe).
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let limit = input.len().checked_sub(SAVED_BYTES_MIN).filter(|n| *n > 0)?;
    u32::try_from(input.len()).ok()?;
    // A place for each position, within limits: clearing a large table costs more than a short string's compression.
    let hash_bits = (input.len().ilog2() + 1).clamp(HASH_BITS_MIN, HASH_BITS_MAX);
    // Positions plus one, so that zero means "never seen". RDB strings are below 4 GiB.
    let mut seen: SmallVec<[u32; SLOTS_ON_STACK]> = smallvec![0; 1 << hash_bits];
    let mut out = Vec::with_capacity(limit);
    let (mut at, mut literals_from) = (0, 0);
    while at + COPY_BYTES_MIN < input.len() {
        let place = hash(&input[at..], hash_bits);
        let candidate = std::mem::replace(&mut seen[place], at as u32 + 1) as usize;
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

/// Decompresses `input` into exactly `out_len` bytes in place of what is in `out`, or `None` if it is not LZF of that
/// length: then the bytes in `out` mean nothing.
pub fn decompress_into(input: &[u8], out_len: usize, out: &mut Vec<u8>) -> Option<()> {
    if out_len > input.len().checked_mul(EXPANSION_MAX)? {
        return None;
    }
    // Short pieces are copied by the block: what is too much is overwritten by what follows, or cut off.
    out.resize(out_len + BLOCK, 0);
    let (mut from, mut at) = (0, 0);
    while let Some(&control) = input.get(from) {
        from += 1;
        let control = usize::from(control);
        if control < LITERALS_MAX {
            let len = control + 1;
            if len > out_len - at {
                return None;
            }
            match input.get(from..from + BLOCK) {
                Some(block) => out[at..at + BLOCK].copy_from_slice(block),
                None => out[at..at + len].copy_from_slice(input.get(from..from + len)?),
            }
            from += len;
            at += len;
            continue;
        }
        let mut len = (control >> 5) + 2;
        if len == 9 {
            len += usize::from(*input.get(from)?);
            from += 1;
        }
        let distance = ((control & 31) << 8 | usize::from(*input.get(from)?)) + 1;
        from += 1;
        if len > out_len - at {
            return None;
        }
        repeat(out, at.checked_sub(distance)?, at, len);
        at += len;
    }
    out.truncate(out_len);
    (at == out_len).then_some(())
}

/// Copies `len` bytes to `at` from before it, with room for a block behind them. Source and target may overlap, which
/// repeats the bytes between them.
#[inline]
fn repeat(out: &mut [u8], from: usize, at: usize, len: usize) {
    let distance = at - from;
    if distance >= BLOCK {
        for done in (0..len).step_by(BLOCK) {
            out.copy_within(from + done..from + done + BLOCK, at + done);
        }
        return;
    }
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(distance + done);
        out.copy_within(from..from + piece, at + done);
        done += piece;
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
/// As much as the longest run of literals.
const BLOCK: usize = LITERALS_MAX;
const SAVED_BYTES_MIN: usize = 4;
const HASH_BITS_MIN: u32 = 6;
const HASH_BITS_MAX: u32 = 14;
const SLOTS_ON_STACK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decompress(input: &[u8], out_len: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decompress_into(input, out_len, &mut out).map(|()| out)
    }

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

        /// Every run and copy that the format has, not only what this compressor writes, byte by byte.
        #[test]
        fn runs_and_copies_mean_what_the_format_says(steps in prop::collection::vec((any::<bool>(), 0usize..300, 1usize..9000, any::<u8>()), 1..60)) {
            let (mut packed, mut want) = (Vec::new(), Vec::<u8>::new());
            for (literal, len, distance, byte) in steps {
                if literal || want.is_empty() {
                    let run: Vec<u8> = (0..=len % LITERALS_MAX).map(|i| byte.wrapping_add(i as u8)).collect();
                    push_literals(&mut packed, &run);
                    want.extend(run);
                } else {
                    let (len, distance) = (len.clamp(COPY_BYTES_MIN, COPY_BYTES_MAX), (distance - 1) % want.len().min(DISTANCE_MAX) + 1);
                    push_copy(&mut packed, len, distance);
                    (0..len).for_each(|_| want.push(want[want.len() - distance]));
                }
            }
            let mut out = vec![7; 50];
            prop_assert!(decompress_into(&packed, want.len(), &mut out).is_some() && out == want);
            prop_assert_eq!(decompress(&packed, want.len() - 1), None);
            prop_assert_eq!(decompress(&packed, want.len() + 1), None);
        }

        #[test]
        fn hostile_bytes_are_harmless(input: Vec<u8>, len in 0usize..100_000) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
