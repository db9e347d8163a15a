//! A big value as it was at one moment: what a snapshot keeps of it in place of a copy.
//!
//! Small values are copied, or written while their stripe is locked; long strings are shared. What is big beyond that is
//! cut ([`Value::cut`]) and then read in pieces of some tens of microseconds, whatever becomes of the key meanwhile.

use super::cut::TableCut;
use super::fields::Field;
use super::listpack::Listpack;
use super::nodes::NodesCut;
use super::piece::Piece;
use super::stream;
use super::value::{Kind, Value};
use crate::clock::Millis;
use std::sync::Arc;

/// One moment of a big value. Dropping it tells the value that it is no longer read.
pub enum Big {
    List(Arc<NodesCut>),
    /// The time is that at which the first field was to expire.
    Hash(Arc<TableCut<Field>>, Option<Millis>),
    Set(Arc<TableCut<Piece<(), false>>>),
    Zset(Arc<TableCut<Piece<f64, false>>>),
    /// What it shares with the stream itself is copied when one of them changes.
    Stream(Box<stream::Cut>),
}

/// A part of a big value.
pub enum Part<'a> {
    Pack(&'a Listpack),
    Field(&'a Field),
    Member(&'a [u8]),
    Scored(&'a [u8], f64),
    Stream(stream::Part<'a>),
}

impl Value {
    /// A big value as it is now. One reader at a time.
    pub fn cut(&mut self) -> Option<Big> {
        if !self.is_big() {
            return None;
        }
        Some(match self {
            Self::List(list) => Big::List(list.cut()),
            Self::HashTable(fields) => {
                let first_due = fields.next_due();
                Big::Hash(fields.cut(), first_due)
            }
            Self::SetTable(members) => Big::Set(members.cut()),
            Self::ZsetTree(ranked) => Big::Zset(ranked.cut()),
            Self::Stream(stream) => Big::Stream(Box::new(stream::Cut::of(stream))),
            _ => return None,
        })
    }
}

impl Big {
    pub fn kind(&self) -> Kind {
        match self {
            Self::List(_) => Kind::List,
            Self::Hash(..) => Kind::Hash,
            Self::Set(_) => Kind::Set,
            Self::Zset(_) => Kind::Zset,
            Self::Stream(_) => Kind::Stream,
        }
    }

    /// How many parts it has: members, or listpacks of a list or a stream.
    pub fn len(&self) -> usize {
        match self {
            Self::List(cut) => cut.len(),
            Self::Hash(cut, _) => cut.len(),
            Self::Set(cut) => cut.len(),
            Self::Zset(cut) => cut.len(),
            Self::Stream(cut) => cut.stream().nodes(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits the next piece: a list's from the left, a stream's in the order of files, others in no particular order.
    /// False behind the last.
    pub fn step(&self, mut visit: impl FnMut(Part<'_>)) -> bool {
        match self {
            Self::List(cut) => cut.step(|pack| visit(Part::Pack(pack))),
            Self::Hash(cut, _) => cut.step(|field| visit(Part::Field(field))),
            Self::Set(cut) => cut.step(|member| visit(Part::Member(member.name()))),
            Self::Zset(cut) => cut.step(|member| visit(Part::Scored(member.name(), member.header()))),
            Self::Stream(cut) => cut.step(|part| visit(Part::Stream(part))),
        }
    }
}

impl Drop for Big {
    fn drop(&mut self) {
        match self {
            Self::List(cut) => cut.close(),
            Self::Hash(cut, _) => cut.close(),
            Self::Set(cut) => cut.close(),
            Self::Zset(cut) => cut.close(),
            Self::Stream(_) => {}
        }
    }
}
