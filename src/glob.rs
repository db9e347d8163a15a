//! Glob patterns of KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL rules, with Redis's meaning down to its oddities.
//!
//! `*` any run, `?` one byte, `[a-c]` `[^a-c]` a class, `\` takes the next byte literally. The oddities, kept because
//! clients see them: an empty text matches only the empty pattern (`*` does not match it); a range may be written
//! backwards; an unclosed class ends with the pattern; bytes in a range compare as signed; a `\` at the end stands
//! for itself; an escaped byte in a class ignores `nocase`; more than a thousand stars match nothing.
//! How: every pattern element but `*` takes exactly one byte, so it is enough to remember the last star and retry it
//! one byte later. Invariant: no recursion, no allocation, time at most pattern length times text length, and some ten
//! milliseconds.

/// Whether `pattern` matches the whole of `text`; `nocase` folds ASCII letters. Nothing matches that is not decided after
/// [`WORK_MAX`] bytes of pattern.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut at, mut from, mut work) = (0, 0, 0);
    let mut star: Option<(usize, usize)> = None; // Where to go on in the pattern, and the text to retry from.
    let mut stars = 0;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += pattern[at..].iter().take_while(|b| **b == b'*').count();
            if at == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            star = Some((at, from));
            continue;
        }
        if work > WORK_MAX {
            return false;
        }
        let (matched, width) = step(&pattern[at..], text[from], nocase);
        work += width + 1;
        match matched.then_some(width) {
            Some(width) => {
                at += width;
                from += 1;
            }
            None => {
                let Some((after, tried)) = star else { return false };
                (at, from) = (after, tried + 1);
                star = Some((at, from));
            }
        }
    }
    // Out of text: starting the last star's rest further right would only be shorter of it. Stars may be left over,
    // unless there was no text at all.
    pattern[at..].iter().all(|b| *b == b'*' && !text.is_empty())
}

/// Whether one byte matches the pattern's first element, and how long that element is.
#[inline]
fn step(pattern: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    match *pattern {
        [] => (false, 0),
        [b'?', ..] => (true, 1),
        [b'[', ref class @ ..] => {
            let (matched, width) = class_has(class, byte, nocase);
            (matched, width + 1)
        }
        [b'\\', escaped, ..] => (same(escaped, byte, nocase), 2),
        [literal, ..] => (same(literal, byte, nocase), 1),
    }
}

/// Whether the class holds `byte`, and how many bytes it takes up with its closing bracket.
fn class_has(class: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        at += match class[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                2
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [start, b'-', end, ..] => {
                found |= in_range(start, end, byte, nocase);
                3
            }
            [literal, ..] => {
                found |= same(literal, byte, nocase);
                1
            }
        };
    }
    (found != negated, at)
}

/// Ends may be swapped; they are put in order before their case is folded, and compare as C's signed char.
fn in_range(start: u8, end: u8, byte: u8, nocase: bool) -> bool {
    let (a, b) = (start as i8, end as i8);
    let fold = |c: i8| if nocase { (c as u8).to_ascii_lowercase() as i8 } else { c };
    (fold(a.min(b))..=fold(a.max(b))).contains(&fold(byte as i8))
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || nocase && a.eq_ignore_ascii_case(&b)
}

/// A long class, or a long rest behind a star, that is tried at each byte of a long text.
const WORK_MAX: usize = 1 << 23;
/// Redis's nesting limit: each star but a final one is a level there.
const STARS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_match_takes_a_bounded_time() {
        // Four hundred million bytes of classes without the bound.
        let pattern = [b"*[", &[b'b'; 20_000][..], b"]c"].concat();
        assert!(!matches(&pattern, &vec![b'b'; 20_000], false));
        assert!(matches(&[b"*[", &[b'b'; 200][..], b"]c"].concat(), &[&[b'b'; 2000][..], b"c"].concat(), false));
    }

    /// The rules once more, as a plain recursion over every way to split the text.
    fn model(pattern: &[u8], text: &[u8], nocase: bool, inside: bool) -> bool {
        match pattern {
            [] => text.is_empty(),
            _ if text.is_empty() => inside && pattern.iter().all(|b| *b == b'*'),
            [b'*', rest @ ..] => model(rest, text, nocase, true) || model(pattern, &text[1..], nocase, true),
            _ => {
                let (matched, width) = step(pattern, text[0], nocase);
                matched && model(&pattern[width..], &text[1..], nocase, true)
            }
        }
    }

    fn check(pattern: &str, text: &str, want: bool) {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), want, "{pattern:?} on {text:?}");
    }

    #[test]
    fn patterns_match_as_a_real_server_said() {
        // Pattern and text in hexadecimal, then KEYS's answer on 8.2.3 with that one key.
        for line in include_str!("../tests/golden/glob.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let bytes = |word: &str| -> Vec<u8> {
                let digits = if word == "-" { "" } else { word };
                (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
            };
            let nocase = words.len() == 4;
            assert_eq!(matches(&bytes(words[0]), &bytes(words[1]), nocase), words[2] == "1", "{line}");
        }
    }

    #[test]
    fn oddities_are_kept() {
        check("*", "", false);
        check("", "", true);
        check("", "a", false);
        check("a*", "a", true);
        check("[", "a", false);
        check("[^", "a", true);
        check("[abc", "c", true);
        check("[z-a]", "m", true);
        check("[a-]", "_", true);
        check("[]a]", "a]", false);
        check("[\\]]", "]", true);
        check("\\", "\\", true);
        check("a\\*", "a*", true);
        check("a\\*", "ab", false);
        assert!(matches(b"[A-C]x", b"bX", true));
        assert!(!matches(b"[\\A]", b"a", true));
        assert!(matches(b"[a-\xff]", b"\x01", false));
    }

    #[test]
    fn more_than_a_thousand_stars_match_nothing() {
        let text = vec![b'a'; 1100];
        assert!(matches(&b"*a".repeat(1000), &text, false));
        assert!(!matches(&b"*a".repeat(1001), &text, false));
        assert!(matches(&b"a*".repeat(1001), &text, false));
        assert!(!matches(&b"a*".repeat(1002), &text, false));
    }

    #[test]
    fn a_bomb_costs_at_most_the_product_of_the_lengths() {
        let text = vec![b'a'; 20_000];
        let started = std::time::Instant::now();
        assert!(!matches(&[b"a*".repeat(900), b"b".to_vec()].concat(), &text, false));
        assert!(!matches(&[b"*".to_vec(), b"[^b]".repeat(2000), b"b".to_vec()].concat(), &text, false));
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn retrying_the_last_star_is_enough(pattern in "[abAB*?^\\[\\]\\\\-]{0,12}", text in "[abAB\\]^-]{0,10}", nocase: bool) {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), nocase),
                model(pattern.as_bytes(), text.as_bytes(), nocase, false)
            );
        }

        #[test]
        fn any_bytes_are_harmless(pattern: Vec<u8>, text: Vec<u8>, nocase: bool) {
            matches(&pattern, &text, nocase);
        }
    }
}
