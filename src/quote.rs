//! Words and quotes, as the configuration file, the command line and inline commands write them.
//!
//! A line is words between blanks. `"double quotes"` know the escapes `\n \r \t \b \a`, `\xHH` and `\` before any other
//! byte; `'single quotes'` know only `\'`. A closing quote must end its word; quotes may open in the middle of one.
//! A NUL byte ends the line, as it does for Redis, whose lines are C strings.
//!
//! Invariant: `split_args(quoted(x)) == [x]` for any bytes `x`. Cost: one pass, one allocation per word.

/// A quote that is not closed, or is not followed by a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// Splits a line into words.
pub fn split_args(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut rest = line.split(|b| *b == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    loop {
        let blanks = rest.iter().take_while(|b| is_blank(**b)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(words);
        }
        let mut word = Vec::new();
        rest = read_word(rest, &mut word)?;
        words.push(word);
    }
}

/// Reads one word and returns what follows it.
fn read_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            // Vertical tab and form feed separate words but do not end one: so does Redis.
            b' ' | b'\n' | b'\r' | b'\t' => return Ok(after),
            b'"' => return closed(read_double(after, word)?),
            b'\'' => return closed(read_single(after, word)?),
            byte => word.push(*byte),
        }
        rest = after;
    }
    Ok(rest)
}

fn closed(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    if rest.first().is_none_or(|b| is_blank(*b)) { Ok(rest) } else { Err(UnbalancedQuotes) }
}

fn read_double<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                word.push(hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default());
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => BACKSPACE,
                    b'a' => BELL,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

fn read_single<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\'', after @ ..] => return Ok(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

/// The bytes in double quotes, so that they are one word of printable ASCII.
pub fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + 2);
    text.push(b'"');
    for byte in bytes {
        match *byte {
            b'\\' | b'"' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            b'\t' => text.extend(b"\\t"),
            BELL => text.extend(b"\\a"),
            BACKSPACE => text.extend(b"\\b"),
            b' '..=b'~' => text.push(*byte),
            other => text.extend(format!("\\x{other:02x}").bytes()),
        }
    }
    text.push(b'"');
    text
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | VERTICAL_TAB | FORM_FEED)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

const BELL: u8 = 7;
const BACKSPACE: u8 = 8;
const VERTICAL_TAB: u8 = 11;
const FORM_FEED: u8 = 12;
