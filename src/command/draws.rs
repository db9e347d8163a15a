//! Members drawn again and again (HRANDFIELD, SRANDMEMBER, ZRANDMEMBER with a negative count): a bound on the reply.
//!
//! A count of any size makes a reply of any length from a small collection. One that would pass [`REPLY_BYTES_MAX`] is
//! refused: at once where the count alone tells, else as soon as the members drawn so far tell how long it will be.

use super::Error;
use super::error::OUT_OF_RANGE;

/// The draws of one reply.
pub struct Draws {
    pub count: usize,
    begin: usize,
    drawn: usize,
}

impl Draws {
    /// `begin`: the length of the buffer in front of the reply.
    pub fn of(count: u64, begin: usize) -> Result<Self, Error> {
        let longest = REPLY_BYTES_MAX / ELEMENT_BYTES_MIN;
        let count = usize::try_from(count).ok().filter(|&count| count <= longest).ok_or(OUT_OF_RANGE)?;
        Ok(Self { count, begin, drawn: 0 })
    }

    /// One more was drawn, and the buffer is so long now. False if the reply becomes too long.
    pub fn goes_on(&mut self, len: usize) -> bool {
        self.drawn += 1;
        let bytes = len - self.begin;
        if !self.drawn.is_multiple_of(PROBE) {
            return bytes <= REPLY_BYTES_MAX;
        }
        bytes as u128 * self.count as u128 / self.drawn as u128 <= REPLY_BYTES_MAX as u128
    }
}

/// As long as the longest string by default.
const REPLY_BYTES_MAX: usize = 512 << 20;
/// An empty bulk string.
const ELEMENT_BYTES_MIN: usize = 6;
/// Draws after which the mean length of a member is known well enough.
const PROBE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_too_long_is_refused_before_it_is_written() {
        assert!(Draws::of(1 << 53, 0).is_err() && Draws::of(u64::MAX, 0).is_err());
        let mut draws = Draws::of(80_000_000, 0).unwrap();
        let written = (1..).take_while(|n| draws.goes_on(n * 20)).count();
        assert!(written < PROBE, "{written}");
        let mut draws = Draws::of(20_000_000, 7).unwrap();
        assert!((1..=100_000).all(|n| draws.goes_on(7 + n * 20)));
        assert!(!Draws::of(3, 0).unwrap().goes_on(REPLY_BYTES_MAX + 1), "one long member is enough");
    }
}
