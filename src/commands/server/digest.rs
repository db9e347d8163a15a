//! DEBUG DIGEST: a fingerprint of the data, equal on every server that holds the same.
//!
//! The construction is that of the official test suite's reference server, so that data sets can be compared with it:
//! SHA-1 sums of the parts, xored where order does not matter and chained where it does.

use crate::keyspace::Db;
use crate::keyspace::entry::{Body, EntryRef};
use crate::num;
use crate::types::stream::Id;
use crate::types::{Kind, Text, View};
use sha1::{Digest as _, Sha1};

/// A fingerprint in the making.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// Of all databases. The unit owns the world.
    pub fn of_everything(db: &mut Db<'_>) -> Self {
        let (selected, databases) = (db.index(), db.keyspace().databases());
        let mut all = Self::default();
        for index in 0..databases {
            if db.keyspace().counts(index).0 == 0 {
                continue;
            }
            db.select(index);
            // The database's number goes in, so that the same keys in another database differ.
            all.chain(&u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes());
            db.for_each_entry(|entry| {
                let mut one = Self::default();
                one.chain(entry.key());
                one.add_value(entry);
                all.add(&one.0);
            });
        }
        db.select(selected);
        all
    }

    /// Of one key's value and of whether it expires; its name is left out.
    pub fn of_value(entry: EntryRef<'_>) -> Self {
        let mut digest = Self::default();
        digest.add_value(entry);
        digest
    }

    fn add_value(&mut self, entry: EntryRef<'_>) {
        self.chain(&type_number(entry.kind()).to_be_bytes());
        match entry.body() {
            Body::Bytes(bytes) => self.chain(bytes),
            Body::Int(n) => self.chain(itoa::Buffer::new().format(n).as_bytes()),
            Body::Value(value) => self.add_view(value.view()),
        }
        if entry.expiry().is_some() {
            self.add(b"!!expire!!");
        }
    }

    fn add_view(&mut self, view: View<'_>) {
        match view {
            View::Str(bytes) => self.chain(bytes),
            View::List(list) => {
                list.iter_from(0).for_each(|text| self.chain(text.bytes(&mut itoa::Buffer::new())));
            }
            View::Hash(hash) => {
                hash.for_each(|field, value, due| self.add_members(&[field, value], due.is_some()));
            }
            View::Set(set) => set.for_each(|member| self.add(member.bytes(&mut itoa::Buffer::new()))),
            View::Zset(zset) => {
                for (member, score) in zset.walk(0..zset.len(), false) {
                    let mut digits = Vec::new();
                    num::push_g17(&mut digits, score);
                    self.add_members(&[member, Text::Bytes(&digits)], false);
                }
            }
            View::Stream(stream) => {
                for entry in stream.range(Id::ZERO, Id::MAX) {
                    self.chain(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for text in entry.pairs().flat_map(|(name, value)| [name, value]) {
                        self.chain(text.bytes(&mut itoa::Buffer::new()));
                    }
                }
            }
        }
    }

    /// Adds a member of a collection without order, chained from its parts.
    fn add_members(&mut self, parts: &[Text<'_>], expires: bool) {
        let mut one = Self::default();
        parts.iter().for_each(|part| one.chain(part.bytes(&mut itoa::Buffer::new())));
        if expires {
            one.add(b"!!hexpire!!");
        }
        self.add(&one.0);
    }

    /// Adds a part whose place among others does not matter.
    fn add(&mut self, part: &[u8]) {
        let sum = Sha1::digest(part);
        self.0.iter_mut().zip(sum).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds a part whose place matters.
    fn chain(&mut self, part: &[u8]) {
        self.add(part);
        let sum = Sha1::digest(self.0);
        self.0.copy_from_slice(&sum);
    }

    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn type_number(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::Zset => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

const DIGEST_BYTES: usize = 20;
