//! Strings as arrays of bits: counting, searching, combining, and integers of any width at any bit.
//!
//! Bit 0 is the highest bit of byte 0, as in Redis. Everything works on borrowed bytes; what lies behind their end reads
//! as zero. Counting and combining go through memory once, in pieces that stay in the first-level cache, written so that
//! the compiler uses vector registers. Not here: limits on offsets, argument syntax, replies.

#![allow(unsafe_code)]

/// How BITOP combines its sources, of which the first is X and the others are Y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    And,
    Or,
    Xor,
    /// The complement of the one source.
    Not,
    /// In X and in no Y.
    Diff,
    /// In some Y and not in X.
    Diff1,
    /// In X and in some Y.
    AndOr,
    /// In exactly one source.
    One,
}

/// An integer inside a string: its width in bits and how they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub offset: u64,
    /// 1 to 64; at most 63 if unsigned.
    pub width: u32,
    pub signed: bool,
}

/// What becomes of a value that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

pub fn get(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8).ok().and_then(|i| bytes.get(i)).copied().unwrap_or(0);
    byte & mask(offset) != 0
}

/// Sets a bit of a string that reaches so far.
pub fn set(bytes: &mut [u8], offset: u64, on: bool) {
    let byte = &mut bytes[(offset / 8) as usize];
    *byte = if on { *byte | mask(offset) } else { *byte & !mask(offset) };
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// How many bits are set. Whole vectors are counted at once where the processor can, as fast as memory delivers them.
pub fn count(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WIDE_COUNT_BYTES_MIN && std::arch::is_x86_feature_detected!("avx512vpopcntdq") {
        // SAFETY: the processor has what the function is compiled for, as was just asked.
        return unsafe { count_in_vectors(bytes) };
    }
    #[cfg(target_feature = "avx2")]
    if bytes.len() >= CARRY_COUNT_BYTES_MIN {
        let (blocks, tail) = bytes.as_chunks();
        // SAFETY: the whole program is compiled for processors that have it.
        return unsafe { carries::count(blocks) }.wrapping_add(count_words(tail));
    }
    count_words(bytes)
}

/// [`count_words`], for processors that count the bits of a whole vector in one instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512vpopcntdq")]
fn count_in_vectors(bytes: &[u8]) -> u64 {
    count_words(bytes)
}

/// The compiler makes vectors of it if nothing stands in its way: the sums wrap because they cannot, and a check for it
/// costs three times the count.
#[inline(always)]
fn count_words(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let of = |total: u64, ones: u32| total.wrapping_add(u64::from(ones));
    let words = words.iter().fold(0, |total, word| of(total, u64::from_ne_bytes(*word).count_ones()));
    tail.iter().fold(words, |total, byte| of(total, byte.count_ones()))
}

/// Counting without counting: sixteen vectors are added bit by bit, every bit of a vector a column of its own, and only
/// the carries out of the fourth place, one vector in sixteen, have their bits counted (Harley and Seal's method). In
/// the processor's own words: whether the compiler finds these vectors depends on what is around them.
#[cfg(target_feature = "avx2")]
mod carries {
    use std::arch::x86_64::*;

    pub(super) const BLOCK_BYTES: usize = 16 * 32;

    #[target_feature(enable = "avx2")]
    pub(super) fn count(blocks: &[[u8; BLOCK_BYTES]]) -> u64 {
        let zero = _mm256_setzero_si256();
        let (mut ones, mut twos, mut fours, mut eights, mut total) = (zero, zero, zero, zero, zero);
        for block in blocks {
            let mut four = [zero; 4];
            for (four, quarter) in four.iter_mut().zip(block.as_chunks::<128>().0) {
                // SAFETY: a quarter is four vectors of 32 bytes, which may lie anywhere.
                let [a, b, c, d] =
                    [0, 1, 2, 3].map(|i| unsafe { _mm256_loadu_si256(quarter.as_ptr().cast::<__m256i>().add(i)) });
                let (first, second) = (add(&mut ones, a, b), add(&mut ones, c, d));
                *four = add(&mut twos, first, second);
            }
            let (first, second) = (add(&mut fours, four[0], four[1]), add(&mut fours, four[2], four[3]));
            total = _mm256_add_epi64(total, bits_of(add(&mut eights, first, second)));
        }
        for place in [eights, fours, twos, ones] {
            total = _mm256_add_epi64(_mm256_add_epi64(total, total), bits_of(place));
        }
        let halves = _mm_add_epi64(_mm256_castsi256_si128(total), _mm256_extracti128_si256::<1>(total));
        (_mm_extract_epi64::<0>(halves) as u64).wrapping_add(_mm_extract_epi64::<1>(halves) as u64)
    }

    /// Adds two bits to every column of a place; what is carried into the next one. What waits for the place comes last:
    /// it is the one chain of dependent steps.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(place: &mut __m256i, a: __m256i, b: __m256i) -> __m256i {
        let sum = _mm256_xor_si256(a, b);
        let carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(*place, sum));
        *place = _mm256_xor_si256(*place, sum);
        carry
    }

    /// The bits of each 64: looked up by halves of bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn bits_of(x: __m256i) -> __m256i {
        let of_half = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        let half = _mm256_set1_epi8(0xf);
        let low = _mm256_shuffle_epi8(of_half, _mm256_and_si256(x, half));
        let high = _mm256_shuffle_epi8(of_half, _mm256_and_si256(_mm256_srli_epi16::<4>(x), half));
        _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
    }
}

/// How many of the bits `first..=last` are set; both are inside the string.
pub fn count_between(bytes: &[u8], first: u64, last: u64) -> u64 {
    let (start, end) = ((first / 8) as usize, (last / 8) as usize);
    let before = bytes[start] & !(0xff >> (first % 8));
    let behind = bytes[end] & (0x7f >> (last % 8));
    count(&bytes[start..=end]) - u64::from(before.count_ones() + behind.count_ones())
}

/// Where among the bits `first..=last`, all inside the string, the first one with this value is.
pub fn position(bytes: &[u8], bit: bool, first: u64, last: u64) -> Option<u64> {
    let (start, end) = ((first / 8) as usize, (last / 8) as usize);
    // After flipping, it is always a set bit that is looked for.
    let flip = if bit { 0 } else { 0xff };
    let head = (bytes[start] ^ flip) & (0xff >> (first % 8));
    let at = if head != 0 { start } else { start + 1 + position_not(&bytes[start + 1..=end], flip)? };
    let byte = if head != 0 { head } else { bytes[at] ^ flip };
    let found = at as u64 * 8 + u64::from(byte.leading_zeros());
    (found <= last).then_some(found)
}

/// The first byte that is not `dull`.
fn position_not(bytes: &[u8], dull: u8) -> Option<usize> {
    let is_dull = |piece: &[u8; 64]| piece.iter().fold(0, |seen, byte| seen | (byte ^ dull)) == 0;
    let skipped = 64 * bytes.as_chunks::<64>().0.iter().take_while(|piece| is_dull(piece)).count();
    bytes[skipped..].iter().position(|&byte| byte != dull).map(|i| skipped + i)
}

/// Puts the combination of some strings in the place of `out`, which may be one of them (`None`). It is as long as the
/// longest; shorter ones are filled up with zeros. Memory that `out` has is used again: new memory costs several times
/// what the combining does.
pub fn combine(how: Combine, out: &mut Vec<u8>, sources: &[Option<&[u8]>]) {
    if !sources.contains(&None) {
        out.clear();
    }
    let len = sources.iter().map(|source| source.map_or(out.len(), <[u8]>::len)).max().unwrap_or(0);
    out.reserve_exact(len - out.len());
    let mut piece = [0; PIECE_BYTES];
    for start in (0..len).step_by(PIECE_BYTES) {
        let end = len.min(start + PIECE_BYTES);
        let piece = &mut piece[..end - start];
        let mut parts = sources.iter().map(|source| {
            let source = source.unwrap_or(out);
            &source[start.min(source.len())..end.min(source.len())]
        });
        if let Some(x) = parts.next() {
            combine_piece(how, piece, x, parts);
        }
        let (old, new) = piece.split_at((out.len() - start.min(out.len())).min(piece.len()));
        out[start..start + old.len()].copy_from_slice(old);
        out.extend_from_slice(new);
    }
}

/// Combines into all of `out`; no source is longer.
fn combine_piece<'a>(how: Combine, out: &mut [u8], x: &[u8], ys: impl Iterator<Item = &'a [u8]>) {
    let begun_with = if matches!(how, Combine::Diff1 | Combine::AndOr) { &[] } else { x };
    out[..begun_with.len()].copy_from_slice(begun_with);
    out[begun_with.len()..].fill(0);
    match how {
        Combine::And => ys.for_each(|y| intersect(out, y)),
        Combine::Or => ys.for_each(|y| unite(out, y)),
        Combine::Xor => ys.for_each(|y| apply(out, y, |o, y| o ^ y)),
        Combine::Not => out.iter_mut().for_each(|o| *o = !*o),
        Combine::Diff => ys.for_each(|y| apply(out, y, |o, y| o & !y)),
        Combine::Diff1 => {
            ys.for_each(|y| unite(out, y));
            apply(out, x, |o, x| o & !x);
        }
        Combine::AndOr => {
            ys.for_each(|y| unite(out, y));
            intersect(out, x);
        }
        Combine::One => {
            let mut twice = [0; PIECE_BYTES];
            for y in ys {
                for ((twice, o), y) in twice.iter_mut().zip(&mut *out).zip(y) {
                    *twice |= *o & y;
                    *o |= y;
                }
            }
            apply(out, &twice, |o, twice| o & !twice);
        }
    }
}

#[inline(always)]
fn apply(out: &mut [u8], source: &[u8], with: impl Fn(u8, u8) -> u8) {
    out.iter_mut().zip(source).for_each(|(o, &s)| *o = with(*o, s));
}

fn unite(out: &mut [u8], source: &[u8]) {
    apply(out, source, |o, s| o | s);
}

fn intersect(out: &mut [u8], source: &[u8]) {
    apply(out, source, |o, s| o & s);
    out[source.len()..].fill(0);
}

impl Field {
    /// The value in the field.
    pub fn read(self, bytes: &[u8]) -> i64 {
        let at = usize::try_from(self.offset / 8).unwrap_or(usize::MAX).min(bytes.len());
        let (window, _) = self.window(&bytes[at..]);
        let raw = (window << (self.offset % 8)) >> (128 - self.width);
        self.wrap(raw as i128)
    }

    /// Writes a value that fits into a string that reaches so far.
    pub fn write(self, bytes: &mut [u8], value: i64) {
        let bytes = &mut bytes[(self.offset / 8) as usize..];
        let (window, len) = self.window(bytes);
        let shift = 128 - self.width - (self.offset % 8) as u32;
        let field = (u128::MAX >> (128 - self.width)) << shift;
        let window = (window & !field) | (((value as u128) << shift) & field);
        bytes[..len].copy_from_slice(&window.to_be_bytes()[..len]);
    }

    /// The bytes the field touches, at the upper end of a number, and how many of them there are.
    fn window(self, bytes: &[u8]) -> (u128, usize) {
        let len = ((self.offset % 8) as usize + self.width as usize).div_ceil(8).min(bytes.len());
        let mut window = [0; 16];
        window[..len].copy_from_slice(&bytes[..len]);
        (u128::from_be_bytes(window), len)
    }

    /// What to store for a value; `None` if it does not fit and shall fail.
    pub fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = match self.signed {
            true => (-1i128 << (self.width - 1), (1i128 << (self.width - 1)) - 1),
            false => (0, (1i128 << self.width) - 1),
        };
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(value)),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }

    /// The value that the field's lowest bits make.
    fn wrap(self, value: i128) -> i64 {
        let unused = 128 - self.width;
        if self.signed { ((value << unused) >> unused) as i64 } else { (((value as u128) << unused) >> unused) as i64 }
    }

    /// The last bit of the field.
    pub fn last(self) -> u64 {
        self.offset + u64::from(self.width) - 1
    }
}

/// Result, scratch and a source's piece fit the first-level cache together.
const PIECE_BYTES: usize = 4096;
/// Below this, adding up the places at the end costs what the carries save.
#[cfg(target_feature = "avx2")]
const CARRY_COUNT_BYTES_MIN: usize = 4 * carries::BLOCK_BYTES;
/// Below this a vector's beginning and end cost more than it saves.
#[cfg(target_arch = "x86_64")]
const WIDE_COUNT_BYTES_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits_of(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() as u64 * 8).map(|i| get(bytes, i)).collect()
    }

    fn naive(how: Combine, column: &[bool]) -> bool {
        let (x, some_y) = (column[0], column[1..].iter().any(|&y| y));
        match how {
            Combine::And => column.iter().all(|&bit| bit),
            Combine::Or => x || some_y,
            Combine::Xor => column.iter().filter(|&&bit| bit).count() % 2 == 1,
            Combine::Not => !x,
            Combine::Diff => x && !some_y,
            Combine::Diff1 => !x && some_y,
            Combine::AndOr => x && some_y,
            Combine::One => column.iter().filter(|&&bit| bit).count() == 1,
        }
    }

    const ALL: [Combine; 8] = [
        Combine::And,
        Combine::Or,
        Combine::Xor,
        Combine::Not,
        Combine::Diff,
        Combine::Diff1,
        Combine::AndOr,
        Combine::One,
    ];

    proptest! {
        #[test]
        fn counting_and_searching_agree_with_looking_at_every_bit(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 1..1500),
            a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), bit in any::<bool>(),
        ) {
            let bits = bits_of(&bytes);
            let (a, b) = (a.index(bits.len()), b.index(bits.len()));
            let (first, last) = (a.min(b), a.max(b));
            prop_assert_eq!(count(&bytes), bits.iter().filter(|&&bit| bit).count() as u64);
            let between = bits[first..=last].iter().filter(|&&bit| bit).count() as u64;
            prop_assert_eq!(count_between(&bytes, first as u64, last as u64), between);
            let found = bits[first..=last].iter().position(|&b| b == bit).map(|i| (first + i) as u64);
            prop_assert_eq!(position(&bytes, bit, first as u64, last as u64), found);
        }

        #[test]
        fn counting_by_carries_agrees_with_counting_words(
            bytes in prop::collection::vec(any::<u8>(), 0..6000), full in 0usize..6000, from in 0usize..64,
        ) {
            let mut bytes = bytes;
            // Long runs of ones carry through all places.
            let full = full.min(bytes.len());
            bytes[..full].fill(0xff);
            let bytes = &bytes[from.min(bytes.len())..];
            prop_assert_eq!(count(bytes), count_words(bytes));
            #[cfg(target_feature = "avx2")]
            {
                let (blocks, tail) = bytes.as_chunks();
                // SAFETY: the whole program is compiled for processors that have it.
                prop_assert_eq!(unsafe { carries::count(blocks) } + count_words(tail), count_words(bytes));
            }
        }

        #[test]
        fn combining_agrees_with_combining_bit_by_bit(
            sources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 2..5),
            far in 0usize..2, how in 0..ALL.len(), own in prop::option::of(0usize..4),
        ) {
            let mut sources = sources;
            // Once in a while over the end of a piece.
            sources.iter_mut().for_each(|source| { source.splice(0..0, vec![0xa5; far * (PIECE_BYTES - 20)]); });
            let how = ALL[how];
            sources.truncate(if how == Combine::Not { 1 } else { 4 });
            // The result may replace one of the sources.
            let own = own.filter(|&i| i < sources.len());
            let borrowed: Vec<Option<&[u8]>> =
                sources.iter().enumerate().map(|(i, source)| (own != Some(i)).then_some(source.as_slice())).collect();
            let mut result = own.map_or(vec![1, 2, 3], |i| sources[i].clone());
            combine(how, &mut result, &borrowed);
            let len = sources.iter().map(Vec::len).max().unwrap_or(0);
            prop_assert_eq!(result.len(), len);
            for i in 0..len as u64 * 8 {
                let column: Vec<bool> = sources.iter().map(|source| get(source, i)).collect();
                prop_assert_eq!(get(&result, i), naive(how, &column), "{:?} bit {}", how, i);
            }
        }

        #[test]
        fn a_field_reads_what_was_written_and_touches_nothing_else(
            bytes in prop::collection::vec(any::<u8>(), 12), offset in 0u64..30, width in 1u32..=64, value in any::<i64>(),
            signed in any::<bool>(),
        ) {
            let field = Field { offset, width: width - u32::from(!signed && width == 64), signed };
            let stored = field.fit(i128::from(value), Overflow::Wrap).unwrap();
            let mut changed = bytes.clone();
            field.write(&mut changed, stored);
            prop_assert_eq!(field.read(&changed), stored);
            let touched = field.offset..=field.last();
            for i in (0..96).filter(|i| !touched.contains(i)) {
                prop_assert_eq!(get(&bytes, i), get(&changed, i));
            }
            // Behind the end are zeros.
            prop_assert_eq!(field.read(&[]), 0);
        }

        #[test]
        fn a_value_that_does_not_fit_wraps_saturates_or_fails(value in any::<i64>(), width in 1u32..=63, signed in any::<bool>()) {
            let field = Field { offset: 0, width, signed };
            let (min, max) = if signed { (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1) } else { (0, (1 << width) - 1) };
            let value = i128::from(value);
            let fits = value >= min && value <= max;
            prop_assert_eq!(field.fit(value, Overflow::Fail).is_some(), fits);
            prop_assert_eq!(i128::from(field.fit(value, Overflow::Saturate).unwrap()), value.max(min).min(max));
            let wrapped = i128::from(field.fit(value, Overflow::Wrap).unwrap());
            prop_assert!(wrapped >= min && wrapped <= max && (wrapped - value) % (1i128 << width) == 0);
        }
    }
}
