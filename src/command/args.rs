//! Arguments as a handler reads them: by number, or one after the other; every conversion carries Redis's error.

use super::error::{Error, NOT_FLOAT, NOT_INT, SYNTAX};
use crate::num;
use crate::resp::ArgvView;

/// A command's arguments and a cursor over its options. Number 0 is the command's name.
pub struct Args<'a> {
    argv: ArgvView<'a>,
    next: usize,
}

impl<'a> Args<'a> {
    pub fn new(argv: ArgvView<'a>) -> Self {
        Self { argv, next: 1 }
    }

    pub fn view(&self) -> ArgvView<'a> {
        self.argv
    }

    pub fn len(&self) -> usize {
        self.argv.len()
    }

    pub fn is_empty(&self) -> bool {
        self.argv.is_empty()
    }

    /// Argument `i`; empty if there is none (arity is checked before handlers run).
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        self.argv.get(i)
    }

    /// Argument `i`, which is a key.
    #[inline]
    pub fn key(&self, i: usize) -> &'a [u8] {
        self.argv.get(i)
    }

    pub fn int(&self, i: usize) -> Result<i64, Error> {
        num::parse_i64(self.get(i)).ok_or(NOT_INT)
    }

    /// An integer within bounds, with the error the command gives when it is not.
    pub fn int_in(&self, i: usize, range: std::ops::RangeInclusive<i64>, error: Error) -> Result<i64, Error> {
        num::parse_i64(self.get(i)).filter(|n| range.contains(n)).ok_or(error)
    }

    pub fn float(&self, i: usize) -> Result<f64, Error> {
        num::parse_f64(self.get(i)).ok_or(NOT_FLOAT)
    }

    /// Arguments from `i` to the end.
    pub fn from(&self, i: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let argv = self.argv;
        (i.min(argv.len())..argv.len()).map(move |i| argv.get(i))
    }

    /// Pairs from `i` to the end.
    pub fn pairs(&self, i: usize) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let argv = self.argv;
        (0..(argv.len() - i.min(argv.len())) / 2).map(move |p| (argv.get(i + 2 * p), argv.get(i + 2 * p + 1)))
    }

    /// Moves the cursor to argument `i`.
    pub fn skip_to(&mut self, i: usize) {
        self.next = i;
    }

    pub fn cursor(&self) -> usize {
        self.next
    }

    pub fn is_done(&self) -> bool {
        self.next >= self.argv.len()
    }

    /// How many arguments are left behind the cursor.
    pub fn left(&self) -> usize {
        self.argv.len().saturating_sub(self.next)
    }

    /// The next argument as it is.
    pub fn shift(&mut self) -> Option<&'a [u8]> {
        let i = self.next;
        (i < self.argv.len()).then(|| {
            self.next += 1;
            self.argv.get(i)
        })
    }

    /// The next argument, which an option requires.
    pub fn required(&mut self) -> Result<&'a [u8], Error> {
        self.shift().ok_or(SYNTAX)
    }

    pub fn required_int(&mut self) -> Result<i64, Error> {
        num::parse_i64(self.required()?).ok_or(NOT_INT)
    }

    /// The next argument as an option word, in upper case. Words longer than any option come back as an empty word,
    /// which no `match` arm accepts.
    pub fn word(&mut self) -> Option<Word> {
        self.shift().map(Word::of)
    }

    /// Argument `i` as an option word.
    pub fn word_at(&self, i: usize) -> Word {
        Word::of(self.get(i))
    }
}

/// A cursor of SCAN and its family, read as liberally as Redis 8 does: blanks in front, a sign, zeros in front; but not a
/// plain negative number.
pub fn scan_cursor(text: &[u8]) -> Option<u64> {
    if num::parse_i64(text).is_some_and(|n| n < 0) {
        return None;
    }
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | b'\t'..=b'\r')).count();
    match &text[blanks..] {
        [b'-', digits @ ..] => num::parse_u64(digits).map(u64::wrapping_neg),
        [b'+', digits @ ..] => num::parse_u64(digits),
        digits => num::parse_u64(digits),
    }
}

/// An option word in upper case, comparable with byte literals: `match &*word { b"NX" => … }`.
pub struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    len: usize,
}

impl Word {
    pub fn of(arg: &[u8]) -> Self {
        let mut word = Self { bytes: [0; WORD_BYTES_MAX], len: 0 };
        if arg.len() <= WORD_BYTES_MAX {
            word.len = arg.len();
            word.bytes[..arg.len()].copy_from_slice(arg);
            word.bytes.make_ascii_uppercase();
        }
        word
    }
}

impl std::ops::Deref for Word {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Longer than every option word of every command.
const WORD_BYTES_MAX: usize = 24;
