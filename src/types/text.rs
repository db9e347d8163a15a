//! A string as it is stored: bytes, or the integer whose digits it is.

/// A stored string for reading: numbers are kept as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Text<'a> {
    Bytes(&'a [u8]),
    Int(i64),
}

impl<'a> Text<'a> {
    /// The string's bytes; an integer's digits are written to `scratch`.
    #[inline]
    pub fn bytes<'b>(self, scratch: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Bytes(b) => b,
            Self::Int(n) => scratch.format(n).as_bytes(),
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    pub fn len(self) -> usize {
        match self {
            Self::Bytes(b) => b.len(),
            Self::Int(n) => itoa::Buffer::new().format(n).len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is this string.
    pub fn is(self, bytes: &[u8]) -> bool {
        self.bytes(&mut itoa::Buffer::new()) == bytes
    }
}

/// The number a string stands for, if it is written the one way Redis writes it.
#[inline]
pub fn as_int(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    if bytes.len() > INT_DIGITS_MAX || !(first.is_ascii_digit() || first == b'-') {
        return None;
    }
    crate::num::parse_i64(bytes)
}

/// `-9223372036854775808` has 20 characters.
const INT_DIGITS_MAX: usize = 20;
