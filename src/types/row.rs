//! Values by position in one block: a hash whose field names are in a [template](super::template).
//!
//! ```text
//! end of each value, 1, 2 or 4 bytes LE each | values
//! ```
//! How wide the ends are follows from the block's length and the number of values, which the template knows: so 10 values
//! of 8 bytes are 90 bytes. Values are kept as they came, numbers as their digits.
//! Cost: reading a value is O(1); writing one of another length moves what is behind.

use super::blob::Blob;
use super::text::Text;
use crate::mover::{Movable, Mover};

/// The values of a hash, each at its field's position.
#[derive(Clone)]
pub struct Row(Blob);

impl Movable for Row {
    fn relocate(&mut self, mover: &mut Mover) {
        self.0.relocate(mover);
    }
}

impl Row {
    pub fn new<'a>(values: impl ExactSizeIterator<Item = Text<'a>> + Clone) -> Self {
        let (count, total) = (values.len(), values.clone().map(Text::len).sum());
        let width = Width::of(total);
        let mut blob = Blob::zeroed(count * width.bytes() + total);
        let (ends, mut rest) = blob.bytes_mut().split_at_mut(count * width.bytes());
        let (mut end, mut digits) = (0, itoa::Buffer::new());
        for (position, value) in values.enumerate() {
            let value = value.bytes(&mut digits);
            let (place, behind) = rest.split_at_mut(value.len());
            place.copy_from_slice(value);
            end += value.len();
            width.write(ends, position, end);
            rest = behind;
        }
        Self(blob)
    }

    /// The values, of which there are `count`.
    #[inline]
    pub fn values(&self, count: usize) -> Values<'_> {
        let bytes = self.0.bytes();
        let width = Width::of_block(bytes.len(), count);
        let (ends, bytes) = bytes.split_at(count * width.bytes());
        Values { width, ends, bytes }
    }

    /// Puts another value at a position.
    #[inline]
    pub fn set(&mut self, count: usize, position: usize, value: &[u8]) {
        let values = self.values(count);
        let (width, base, (start, end)) = (values.width, values.ends.len(), values.range(position));
        if end - start == value.len() {
            return self.0.bytes_mut()[base + start..base + end].copy_from_slice(value);
        }
        if Width::of(values.bytes.len() - (end - start) + value.len()) != width {
            let replaced = (0..count).map(|i| if i == position { value } else { values.get(i) });
            let row = Self::new(replaced.map(Text::Bytes));
            return *self = row;
        }
        self.0.splice(base + start, end - start, value.len()).copy_from_slice(value);
        let bytes = self.0.bytes_mut();
        for later in position..count {
            let moved = width.read(bytes, later) + value.len() - (end - start);
            width.write(bytes, later, moved);
        }
    }

    /// See [`Blob::address`].
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.0.address()
    }

    /// Bytes of the block.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "no hash is without values")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// The values of a row, for reading.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    width: Width,
    ends: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    /// The value at a position.
    #[inline]
    pub fn get(self, position: usize) -> &'a [u8] {
        let (start, end) = self.range(position);
        &self.bytes[start..end]
    }

    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        let (count, mut start) = (self.ends.len() / self.width.bytes(), 0);
        (0..count).map(move |position| {
            let end = self.width.read(self.ends, position);
            &self.bytes[std::mem::replace(&mut start, end)..end]
        })
    }

    /// Where the value at a position begins and ends.
    #[inline]
    fn range(self, position: usize) -> (usize, usize) {
        let start = if position == 0 { 0 } else { self.width.read(self.ends, position - 1) };
        (start, self.width.read(self.ends, position))
    }
}

/// Of the ends in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    One,
    Two,
    Four,
}

impl Width {
    #[inline]
    fn of(values_bytes: usize) -> Self {
        match values_bytes {
            _ if values_bytes <= ONE_MAX => Self::One,
            _ if values_bytes <= TWO_MAX => Self::Two,
            _ => Self::Four,
        }
    }

    /// The wider the ends, the longer the block: the lengths of blocks with different widths never meet.
    #[inline]
    fn of_block(bytes: usize, count: usize) -> Self {
        match bytes {
            _ if bytes <= count + ONE_MAX => Self::One,
            _ if bytes <= 2 * count + TWO_MAX => Self::Two,
            _ => Self::Four,
        }
    }

    #[inline]
    fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    #[inline]
    fn read(self, ends: &[u8], position: usize) -> usize {
        match self {
            Self::One => ends[position].into(),
            Self::Two => u16::from_le_bytes([ends[2 * position], ends[2 * position + 1]]).into(),
            Self::Four => {
                let end = &ends[4 * position..4 * position + 4];
                u32::from_le_bytes([end[0], end[1], end[2], end[3]]) as usize
            }
        }
    }

    #[inline]
    fn write(self, ends: &mut [u8], position: usize, end: usize) {
        match self {
            Self::One => ends[position] = end as u8,
            Self::Two => ends[2 * position..2 * position + 2].copy_from_slice(&(end as u16).to_le_bytes()),
            Self::Four => ends[4 * position..4 * position + 4].copy_from_slice(&(end as u32).to_le_bytes()),
        }
    }
}

const ONE_MAX: usize = u8::MAX as usize;
const TWO_MAX: usize = u16::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_an_array_of_texts(
            lens in prop::collection::vec(0usize..40, 1..30),
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0usize..60, any::<u8>(), 0u8..9), 0..40),
        ) {
            let mut model: Vec<Vec<u8>> = lens.iter().map(|&len| vec![len as u8; len]).collect();
            let mut row = Row::new(model.iter().map(|value| Text::Bytes(value)));
            for (index, len, fill, grows) in steps {
                // Now and then so long that the ends get wider.
                let len = match grows { 0 => len * 20, 1 => len * 2000, _ => len };
                let position = index.index(model.len());
                model[position] = vec![fill; len];
                row.set(model.len(), position, &model[position]);
                let values = row.values(model.len());
                prop_assert_eq!(values.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), model.clone());
                let each: Vec<Vec<u8>> = (0..model.len()).map(|i| values.get(i).to_vec()).collect();
                prop_assert_eq!(&each, &model);
            }
            prop_assert!(row.clone().heap_bytes() >= row.len());
        }
    }

    #[test]
    fn ten_values_of_eight_bytes_take_a_block_of_96() {
        let row = Row::new([Text::Bytes(b"12345678"); 10].into_iter());
        assert_eq!((row.len(), row.heap_bytes()), (90, 96));
    }
}
