//! Several fields of one listpack at once: HMGET of a feature vector, without a walk for each field.
//!
//! Fields asked for in the order they are stored in are met one behind the other. The others are found in one walk over
//! the listpack: names asked for hang in chains by a hash of their last bytes, so that most entries are compared with
//! none of them. Nothing is allocated. Cost: O(stored + asked), for every [`BATCH`] fields asked for.

use super::listpack::{Listpack, Position};
use super::text::{Text, as_int};

/// Calls `found` with the value of each wanted field in turn; `None` where there is no such field. `stride`: entries per
/// field, of which the first is its name and the second its value.
pub fn values<'p, 'w>(
    packed: &'p Listpack,
    stride: usize,
    mut wanted: impl ExactSizeIterator<Item = &'w [u8]>,
    mut found: impl FnMut(Option<Text<'p>>),
) {
    let mut at = packed.first();
    while let Some(name) = wanted.next() {
        let Some(here) = at.filter(|&here| packed.get(here).is(name)) else {
            let few = wanted.len() < FEW;
            let rest = std::iter::once(name).chain(wanted);
            return if few { each(packed, stride, rest, found) } else { scattered(packed, stride, rest, found) };
        };
        let value = packed.behind(here);
        found(Some(packed.get(value)));
        at = packed.skip(value, stride - 1);
    }
}

fn each<'p, 'w>(
    packed: &'p Listpack,
    stride: usize,
    wanted: impl Iterator<Item = &'w [u8]>,
    mut found: impl FnMut(Option<Text<'p>>),
) {
    for name in wanted {
        let at = packed.find(packed.first(), name, stride);
        found(at.map(|at| packed.get(packed.behind(at))));
    }
}

fn scattered<'p, 'w>(
    packed: &'p Listpack,
    stride: usize,
    mut wanted: impl Iterator<Item = &'w [u8]>,
    mut found: impl FnMut(Option<Text<'p>>),
) {
    let mut batch = Batch::default();
    loop {
        batch.clear();
        while batch.len < BATCH
            && let Some(name) = wanted.next()
        {
            batch.add(name);
        }
        if batch.len == 0 {
            return;
        }
        batch.search(packed, stride);
        for value in &batch.values[..batch.len] {
            found(value.map(|at| packed.get(at)));
        }
    }
}

/// Names asked for, in chains by their hash.
struct Batch<'w> {
    names: [&'w [u8]; BATCH],
    values: [Option<Position>; BATCH],
    /// For each hash the last name that has it, counted from 1.
    heads: [u8; HASHES],
    /// For each name the one before it in its chain, likewise.
    chain: [u8; BATCH],
    len: usize,
}

impl Default for Batch<'_> {
    fn default() -> Self {
        Self { names: [b""; BATCH], values: [None; BATCH], heads: [0; HASHES], chain: [0; BATCH], len: 0 }
    }
}

impl<'w> Batch<'w> {
    fn clear(&mut self) {
        self.heads = [0; HASHES];
        self.values[..self.len].fill(None);
        self.len = 0;
    }

    fn add(&mut self, name: &'w [u8]) {
        let head = &mut self.heads[hash(as_int(name).map_or(Text::Bytes(name), Text::Int))];
        self.names[self.len] = name;
        self.chain[self.len] = *head;
        self.len += 1;
        *head = self.len as u8;
    }

    fn search(&mut self, packed: &Listpack, stride: usize) {
        let (mut at, mut missing) = (packed.first(), self.len);
        while let Some(here) = at {
            let (name, value) = (packed.get(here), packed.behind(here));
            let mut candidate = self.heads[hash(name)] as usize;
            while candidate > 0 {
                let i = candidate - 1;
                if name.is(self.names[i]) {
                    self.values[i] = Some(value);
                    missing -= 1;
                }
                candidate = self.chain[i] as usize;
            }
            at = if missing == 0 { None } else { packed.skip(value, stride - 1) };
        }
    }
}

/// Names of features often differ in their last bytes only.
#[inline]
fn hash(name: Text<'_>) -> usize {
    let word = match name {
        Text::Int(n) => n as u64,
        Text::Bytes(bytes) => match bytes.last_chunk() {
            Some(tail) => u64::from_le_bytes(*tail),
            None => bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        },
    };
    (word.wrapping_mul(SPREAD) >> (u64::BITS - HASHES.ilog2())) as usize
}

/// So few fields are found sooner by a walk for each than by setting up a batch.
const FEW: usize = 3;
/// How many fields one walk looks for.
const BATCH: usize = 64;
const HASHES: usize = 256;
/// 2^64 divided by the golden ratio: multiplying by it spreads all bits to the upper ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0u8..200).prop_map(|n| format!("feature:{n}").into_bytes()),
            (-20i64..20).prop_map(|n| n.to_string().into_bytes()),
            "[ab]{0,3}".prop_map(String::into_bytes),
            Just(b"007".to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn many_at_once_are_the_same_as_one_by_one(
            stored in prop::collection::vec(name(), 0..100),
            asked in prop::collection::vec(name(), 0..150),
            in_order in 0usize..20,
            stride in 2usize..4,
        ) {
            let (mut packed, mut names) = (Listpack::new(), Vec::new());
            for (i, name) in stored.into_iter().enumerate() {
                if names.contains(&name) {
                    continue;
                }
                packed.push_back(&name);
                packed.push_back(format!("value {i}").as_bytes());
                (2..stride).for_each(|_| packed.push_back(b"0"));
                names.push(name);
            }
            let asked: Vec<Vec<u8>> = names.iter().take(in_order).cloned().chain(asked).collect();
            let mut answers = Vec::new();
            values(&packed, stride, asked.iter().map(|n| &n[..]), |value| answers.push(value.map(Text::to_vec)));
            let single = |n: &Vec<u8>| packed.find(packed.first(), n, stride).map(|at| packed.get(packed.behind(at)).to_vec());
            prop_assert_eq!(answers, asked.iter().map(single).collect::<Vec<_>>());
        }
    }
}
