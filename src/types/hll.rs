//! HyperLogLog: how many different elements were added, within about 0.8 %, in at most 12 kilobytes.
//!
//! An element's hash picks one of 16384 registers and offers it a rank (how many zeros its other bits end in, and one);
//! a register keeps the highest. The value is a string in Redis's own format, so that it may come from and go anywhere:
//! ```text
//! "HYLL" | encoding 1 | unused 3 | cached cardinality 8, little-endian, its highest bit set when stale | registers
//! dense:  16384 numbers of 6 bits, from the lowest bit of the first byte on
//! sparse: runs.  00llllll: l+1 zeros.  01llllll llllllll: l+1 zeros.  1vvvvvll: l+1 registers of rank v+1
//! ```
//! The hash is MurmurHash64A; the estimate is Otmar Ertl's ("New cardinality estimation algorithms for HyperLogLog
//! sketches", arXiv:1702.01284). Both give Redis's numbers exactly.
//! Invariant: bytes are never trusted. Runs that do not add up to all registers are [`Corrupt`], wherever it is noticed.
//! Not here: keys, replies, when to look at the cache.

pub const REGISTERS: usize = 1 << INDEX_BITS;
/// All registers, one byte each: what unions are computed in.
pub type Registers = [u8; REGISTERS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// The runs of a sparse value do not make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Neighbouring registers of equal rank in the sparse encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub rank: u8,
    pub len: usize,
    /// Bytes it takes: 1, or 2 for a long run of zeros.
    pub size: usize,
}

/// How a string is encoded, if it is a HyperLogLog as far as its header tells.
pub fn encoding(hll: &[u8]) -> Option<Encoding> {
    match (hll.get(..HEADER_BYTES)?, hll.len()) {
        ([b'H', b'Y', b'L', b'L', DENSE, ..], DENSE_BYTES) => Some(Encoding::Dense),
        ([b'H', b'Y', b'L', b'L', SPARSE, ..], _) => Some(Encoding::Sparse),
        _ => None,
    }
}

/// One without elements.
pub fn empty() -> Vec<u8> {
    let mut hll = vec![0; HEADER_BYTES];
    hll[..MAGIC.len()].copy_from_slice(MAGIC);
    hll[ENCODING_AT] = SPARSE;
    push_run(&mut hll, 0, REGISTERS);
    hll
}

/// The cardinality as it was last computed, unless something changed since then.
pub fn cached(hll: &[u8]) -> Option<u64> {
    let cache: [u8; 8] = hll[CACHE_AT..HEADER_BYTES].try_into().expect("eight bytes");
    let count = u64::from_le_bytes(cache);
    (count & STALE == 0).then_some(count)
}

pub fn set_cached(hll: &mut [u8], count: u64) {
    hll[CACHE_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

pub fn forget_cached(hll: &mut [u8]) {
    hll[HEADER_BYTES - 1] |= 0x80;
}

/// The register an element belongs to, and the rank it offers.
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element);
    let rest = (hash >> INDEX_BITS) | 1 << RANK_BITS;
    (hash as usize % REGISTERS, rest.trailing_zeros() as u8 + 1)
}

/// Adds an element; says whether that changed a register. A sparse value grows dense over `sparse_bytes_max`.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_bytes_max: usize) -> Result<bool, Corrupt> {
    let (register, rank) = place(element);
    raise(hll, register, rank, sparse_bytes_max)
}

/// Raises a register to a rank if it is lower; says whether it was.
pub fn raise(hll: &mut Vec<u8>, register: usize, rank: u8, sparse_bytes_max: usize) -> Result<bool, Corrupt> {
    if hll[ENCODING_AT] == DENSE {
        return Ok(raise_dense(hll, register, rank));
    }
    if rank <= SPARSE_RANK_MAX {
        let (mut at, mut first, mut previous) = (HEADER_BYTES, 0, HEADER_BYTES);
        let run = loop {
            let run = run_at(hll, at).ok_or(Corrupt)?;
            if register < first + run.len {
                break run;
            }
            (previous, at, first) = (at, at + run.size, first + run.len);
        };
        if run.rank >= rank {
            return Ok(false);
        }
        let mut split = Vec::with_capacity(5);
        push_run(&mut split, run.rank, register - first);
        push_run(&mut split, rank, 1);
        push_run(&mut split, run.rank, first + run.len - 1 - register);
        if split.len() <= run.size || hll.len() + split.len() - run.size <= sparse_bytes_max {
            hll.splice(at..at + run.size, split);
            join_runs(hll, previous);
            forget_cached(hll);
            return Ok(true);
        }
    }
    *hll = to_dense(hll)?;
    Ok(raise_dense(hll, register, rank))
}

/// As [`raise`], for a value that is dense already.
pub fn raise_dense(hll: &mut [u8], register: usize, rank: u8) -> bool {
    let group = &mut hll[HEADER_BYTES + register / 4 * 3..][..3];
    let shift = register % 4 * 6;
    let word = u32::from_le_bytes([group[0], group[1], group[2], 0]);
    let is_higher = u32::from(rank) > (word >> shift) & RANK_MASK;
    if is_higher {
        let word = word & !(RANK_MASK << shift) | u32::from(rank) << shift;
        group.copy_from_slice(&word.to_le_bytes()[..3]);
    }
    is_higher
}

/// The run that begins at a byte; `None` behind the last one, or if it is cut off.
fn run_at(hll: &[u8], at: usize) -> Option<Run> {
    let head = *hll.get(at)?;
    Some(match head >> 6 {
        0b00 => Run { rank: 0, len: usize::from(head) + 1, size: 1 },
        0b01 => Run { rank: 0, len: (usize::from(head & 0x3f) << 8 | usize::from(*hll.get(at + 1)?)) + 1, size: 2 },
        _ => Run { rank: (head >> 2 & 0x1f) + 1, len: usize::from(head & 3) + 1, size: 1 },
    })
}

fn push_run(out: &mut Vec<u8>, rank: u8, len: usize) {
    match (rank, len) {
        (_, 0) => {}
        (0, ..=ZERO_RUN_MAX) => out.push(len as u8 - 1),
        (0, _) => out.extend_from_slice(&[0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
        _ => out.push(0x80 | (rank - 1) << 2 | (len - 1) as u8),
    }
}

/// Makes one run of neighbours of equal rank, as far as one can be so long. Looks at five runs from `at` on: more a
/// change of one register cannot have made joinable.
fn join_runs(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Some(run) = run_at(hll, at) else { return };
        match run_at(hll, at + run.size) {
            Some(next) if run.rank > 0 && next.rank == run.rank && run.len + next.len <= RANKED_RUN_MAX => {
                hll[at + 1] = 0x80 | (run.rank - 1) << 2 | (run.len + next.len - 1) as u8;
                hll.remove(at);
            }
            _ => at += run.size,
        }
    }
}

/// The runs of a sparse value, whether they make sense or not; no more than could.
pub fn runs(hll: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER_BYTES;
    let runs = std::iter::from_fn(move || run_at(hll, at).inspect(|run| at += run.size));
    runs.take(REGISTERS)
}

/// Visits all runs of a sparse value; they must cover all registers exactly.
fn for_each_run(hll: &[u8], mut visit: impl FnMut(Run)) -> Result<(), Corrupt> {
    let (mut at, mut covered) = (HEADER_BYTES, 0);
    while let Some(run) = run_at(hll, at) {
        covered += run.len;
        if covered > REGISTERS {
            return Err(Corrupt);
        }
        visit(run);
        at += run.size;
    }
    if at == hll.len() && covered == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// The dense form, header and cache kept.
pub fn to_dense(hll: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER_BYTES].copy_from_slice(&hll[..HEADER_BYTES]);
    dense[ENCODING_AT] = DENSE;
    let mut register = 0;
    for_each_run(hll, |run| {
        for i in (register..register + run.len).filter(|_| run.rank > 0) {
            raise_dense(&mut dense, i, run.rank);
        }
        register += run.len;
    })?;
    Ok(dense)
}

/// Raises registers to those of a value.
pub fn merge(into: &mut Registers, hll: &[u8]) -> Result<(), Corrupt> {
    if hll[ENCODING_AT] == DENSE {
        // Two loops that become vectors, where one over both steps does not.
        let mut ranks = [0; PIECE];
        for (piece, packed) in into.chunks_exact_mut(PIECE).zip(hll[HEADER_BYTES..].chunks_exact(PIECE * 6 / 8)) {
            for (ranks, group) in ranks.as_chunks_mut().0.iter_mut().zip(packed.as_chunks().0) {
                *ranks = unpack_32(group);
            }
            piece.iter_mut().zip(&ranks).for_each(|(register, &rank)| *register = (*register).max(rank));
        }
        return Ok(());
    }
    let mut register = 0;
    for_each_run(hll, |run| {
        if run.rank > 0 {
            into[register..register + run.len].iter_mut().for_each(|rank| *rank = (*rank).max(run.rank));
        }
        register += run.len;
    })
}

/// Makes a dense value's registers these.
pub fn fill_dense(hll: &mut [u8], registers: &Registers) {
    let (groups, _) = hll[HEADER_BYTES..].as_chunks_mut::<6>();
    let (eights, _) = registers.as_chunks::<8>();
    groups.iter_mut().zip(eights).for_each(|(group, eight)| *group = pack(*eight));
}

/// 32 registers of six bits: four words of eight, which are moved apart in three steps, halves of 24 bits, quarters of
/// 12, eighths.
#[inline(always)]
fn unpack_32(group: &[u8; 24]) -> [u8; 32] {
    let word = |at: usize| u64::from_le_bytes(*group[at..].first_chunk().expect("eight bytes are left"));
    // Six bytes of each word count; the last one has them at its upper end.
    let words = [word(0), word(6), word(12), word(16) >> 16].map(|x| {
        let x = x & 0x0000_0000_00ff_ffff | x << 8 & 0x00ff_ffff_0000_0000;
        let x = x & 0x0000_0fff_0000_0fff | x << 4 & 0x0fff_0000_0fff_0000;
        x & 0x003f_003f_003f_003f | x << 2 & 0x3f00_3f00_3f00_3f00
    });
    let mut ranks = [0; 32];
    for (ranks, word) in ranks.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *ranks = word.to_le_bytes();
    }
    ranks
}

/// The way back.
fn pack(ranks: [u8; 8]) -> [u8; 6] {
    let x = u64::from_le_bytes(ranks);
    let x = x & 0x003f_003f_003f_003f | x >> 2 & 0x0fc0_0fc0_0fc0_0fc0;
    let x = x & 0x0000_0fff_0000_0fff | x >> 4 & 0x00ff_f000_00ff_f000;
    let x = x & 0x0000_0000_00ff_ffff | x >> 8 & 0x0000_ffff_ff00_0000;
    let [a, b, c, d, e, f, ..] = x.to_le_bytes();
    [a, b, c, d, e, f]
}

/// The estimate for a value, computed anew.
pub fn count(hll: &[u8]) -> Result<u64, Corrupt> {
    if hll[ENCODING_AT] == DENSE {
        let mut registers = [0; REGISTERS];
        merge(&mut registers, hll)?;
        return Ok(count_registers(&registers));
    }
    let mut histogram = [0; RANKS];
    for_each_run(hll, |run| histogram[usize::from(run.rank)] += run.len as u32)?;
    Ok(estimate(&histogram))
}

/// The estimate for registers.
pub fn count_registers(registers: &Registers) -> u64 {
    // Neighbours count in tables of their own: equal ranks in a row would wait for each other.
    let mut histograms = [[0u32; RANKS]; 4];
    for eight in registers.as_chunks::<8>().0 {
        // What was sparse is mostly zeros.
        if *eight == [0; 8] {
            histograms[0][0] += 8;
            continue;
        }
        (0..8).for_each(|i| histograms[i % 4][usize::from(eight[i]) % RANKS] += 1);
    }
    estimate(&std::array::from_fn(|rank| histograms.iter().map(|histogram| histogram[rank]).sum()))
}

/// From how many registers have each rank. Ranks that no hash can give, in a forged value, count as nothing.
fn estimate(histogram: &[u32; RANKS]) -> u64 {
    let m = REGISTERS as f64;
    let top = RANK_BITS as usize + 1;
    let mut z = m * tau((m - f64::from(histogram[top])) / m);
    for &registers in histogram[1..top].iter().rev() {
        z = (z + f64::from(registers)) * 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    let estimate = (ALPHA_INF * m * m / z).round();
    // Only a forged value has no finite estimate; this is what the processor makes of it in Redis.
    if estimate.is_finite() { estimate as u64 } else { STALE }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// Austin Appleby's MurmurHash64A, with the seed Redis has.
fn murmur64a(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut h = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = (h ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    h = (h ^ h >> R).wrapping_mul(M);
    h ^ h >> R
}

const SEED: u64 = 0xadc8_3b19;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const CACHE_AT: usize = 8;
const HEADER_BYTES: usize = 16;
/// Set in the cache when it is not to be used.
const STALE: u64 = 1 << 63;
/// Bits of the hash that pick a register, and the rest, which make the rank.
const INDEX_BITS: u32 = 14;
const RANK_BITS: u32 = 64 - INDEX_BITS;
/// What six bits can say.
const RANKS: usize = 64;
const RANK_MASK: u32 = RANKS as u32 - 1;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
const SPARSE_RANK_MAX: u8 = 32;
/// Registers unpacked at a time: they stay in the first-level cache.
const PIECE: usize = 1024;
const ZERO_RUN_MAX: usize = 64;
const RANKED_RUN_MAX: usize = 4;
/// 0.5 / ln 2
const ALPHA_INF: f64 = 0.721_347_520_444_481_7;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registers(hll: &[u8]) -> Box<Registers> {
        let mut registers = Box::new([0; REGISTERS]);
        merge(&mut registers, hll).unwrap();
        registers
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // Known to come out the same in Redis: these elements alone, as `PFDEBUG DECODE` shows them.
        assert_eq!(place(b"a"), (12711, 2));
    }

    #[test]
    fn the_estimate_stays_near_the_truth_and_both_encodings_agree() {
        let (mut sparse, mut dense) = (empty(), to_dense(&empty()).unwrap());
        for n in 1..=100_000u64 {
            add(&mut sparse, &n.to_le_bytes(), 3000).unwrap();
            add(&mut dense, &n.to_le_bytes(), 0).unwrap();
            if [1, 10, 100, 1000, 10_000, 100_000].contains(&n) {
                let estimate = count(&sparse).unwrap();
                assert_eq!((estimate, estimate), (count(&dense).unwrap(), count_registers(&registers(&sparse))));
                assert!(estimate.abs_diff(n) <= n / 20, "{estimate} for {n}");
                assert_eq!(encoding(&sparse) == Some(Encoding::Sparse), n <= 1000, "{n}");
            }
        }
    }

    proptest! {
        #[test]
        fn both_encodings_keep_the_highest_rank_of_every_register(
            raises in prop::collection::vec((0..REGISTERS, prop_oneof![4 => 1u8..4, 1 => 1u8..52]), 0..400),
            near in 1..REGISTERS, bytes_max in prop_oneof![Just(200usize), Just(3000)],
        ) {
            let (mut hll, mut model) = (empty(), Box::new([0u8; REGISTERS]));
            for (register, rank) in raises {
                // Near to each other, so that runs meet.
                let register = register % near;
                prop_assert_eq!(raise(&mut hll, register, rank, bytes_max), Ok(rank > model[register]));
                model[register] = model[register].max(rank);
            }
            prop_assert!(encoding(&hll).is_some());
            prop_assert!(registers(&hll) == model);
            prop_assert_eq!(count(&hll).unwrap(), count_registers(&model));
            if encoding(&hll) == Some(Encoding::Sparse) {
                prop_assert!(hll.len() <= bytes_max);
                hll = to_dense(&hll).unwrap();
                prop_assert!(registers(&hll) == model);
            }
            let mut filled = to_dense(&empty()).unwrap();
            fill_dense(&mut filled, &model);
            prop_assert!(filled[HEADER_BYTES..] == hll[HEADER_BYTES..]);
        }

        #[test]
        fn no_bytes_behind_a_header_do_harm(
            body in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x7f), Just(0xff), Just(0x3f)], 0..300),
            dense in any::<bool>(), elements in prop::collection::vec(any::<[u8; 3]>(), 0..50),
        ) {
            let mut hll = empty();
            hll.truncate(HEADER_BYTES);
            if dense {
                hll[ENCODING_AT] = DENSE;
                hll.extend(body.iter().chain([&0xff]).cycle().take(DENSE_BYTES - HEADER_BYTES));
            } else {
                hll.extend(body);
            }
            prop_assert!(encoding(&hll).is_some());
            let whole = count(&hll).is_ok();
            prop_assert_eq!(merge(&mut [0; REGISTERS], &hll).is_ok(), whole);
            prop_assert!(dense || to_dense(&hll).is_ok() == whole);
            for element in elements {
                let added = add(&mut hll, &element, 3000);
                prop_assert!(added.is_ok() || !whole);
            }
            prop_assert!(encoding(&hll).is_some());
        }
    }
}
