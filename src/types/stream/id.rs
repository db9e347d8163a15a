//! The name of a stream's entry: milliseconds and a number within them.

use std::fmt;

/// An entry's id. Ids of one stream rise; `0-0` names no entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub ms: u64,
    pub seq: u64,
}

impl Id {
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The id behind this one; none behind the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The id in front of this one; none in front of `0-0`.
    pub fn prev(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// As files have it: both parts big-endian, so that bytes compare as ids do.
    pub fn to_bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        bytes[..8].copy_from_slice(&self.ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// `ms-seq`.
    pub fn text(self) -> IdText {
        let (mut text, mut len) = ([0; TEXT_MAX], 0);
        let mut digits = itoa::Buffer::new();
        for part in [digits.format(self.ms).as_bytes(), b"-"] {
            text[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        let seq = digits.format(self.seq).as_bytes();
        text[len..len + seq.len()].copy_from_slice(seq);
        IdText { text, len: len + seq.len() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// An id in digits.
#[derive(Clone, Copy)]
pub struct IdText {
    text: [u8; TEXT_MAX],
    len: usize,
}

impl std::ops::Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// Bytes of an id in a file.
pub const ID_BYTES: usize = 16;
/// Two numbers of twenty digits and a hyphen.
const TEXT_MAX: usize = 41;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_neighbours() {
        let edge = Id::new(5, u64::MAX);
        assert_eq!((edge.next(), Id::new(6, 0).prev()), (Some(Id::new(6, 0)), Some(edge)));
        assert_eq!((Id::MAX.next(), Id::ZERO.prev()), (None, None));
        assert_eq!(Id::new(1, 1).next(), Some(Id::new(1, 2)));
    }

    #[test]
    fn ids_are_written_in_two_forms() {
        for id in [Id::ZERO, Id::new(1, 2), Id::MAX, Id::new(1_700_000_000_000, 7)] {
            assert_eq!(&*id.text(), id.to_string().as_bytes());
            assert_eq!(Id::from_bytes(id.to_bytes()), id);
        }
        assert!(Id::new(1, 300).to_bytes() < Id::new(2, 0).to_bytes());
    }
}
