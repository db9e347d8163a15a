//! Number formats exactly as Redis reads and prints them: one wrong digit here is a visible difference everywhere.
//!
//! What: integers (this file), doubles (`double`), the 80-bit long double of INCRBYFLOAT (`long_double`), and the
//! grammar both kinds of float share (`literal`). Everything works on bytes and appends to the caller's buffer.
//! Invariants: parsing never fails loudly, never allocates by a declared size and never accepts surrounding blanks;
//! `parse_i64` takes canonical text only, so that `push_i64(parse_i64(x)) == x` and a string may be stored as an
//! integer without changing what GET returns. Not here: error texts, ranges of single commands.
//! Cost: tens of nanoseconds, except the long double (about a microsecond) and doubles in hexadecimal.

mod double;
mod literal;
mod long_double;

pub use double::{parse_f64, push_f64, push_g17};
pub use long_double::LongDouble;

/// Reads a signed integer in canonical form: an optional `-`, no `+`, no leading zeros, no `-0`, no blanks.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= I64_DIGITS_MAX => {}
        _ => return None,
    }
    // Nineteen digits cannot overflow a u64, so one range check at the end is enough.
    let mut magnitude = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Reads an unsigned integer: decimal digits only. Leading zeros are allowed, as in SCAN cursors and stream IDs.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Appends the decimal text of `value`.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the decimal text of `value`.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Reads an amount of memory as the configuration writes it: digits and an optional unit, in any case.
/// `k`, `m`, `g` count in thousands, `kb`, `mb`, `gb` in 1024s. A unit alone is zero, as in Redis; where old Redis
/// versions wrap around silently, this answers `None`.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits_end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let amount = if digits.is_empty() { 0 } else { parse_u64(digits)? };
    amount.checked_mul(factor)
}

/// The text of `used_memory_human` and its like: `512B`, `1.23M`, and plain bytes from an exbibyte on.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    let step = bytes.checked_ilog2().unwrap_or(0) / 10;
    match step.checked_sub(1).and_then(|i| UNITS.get(i as usize)) {
        Some(unit) => format!("{:.2}{unit}", bytes as f64 / (1u64 << (10 * step)) as f64),
        None => format!("{bytes}B"),
    }
}

/// The longest magnitude an i64 can have; one more digit is out of range whatever they are.
const I64_DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_accepted_in_canonical_form_only() {
        let good = ["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "1000000000000000000"];
        for text in good {
            assert_eq!(parse_i64(text.as_bytes()), text.parse().ok(), "{text}");
        }
        let bad = [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "1\0",
            "--1",
        ];
        for text in bad {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers_may_have_leading_zeros() {
        assert_eq!(parse_u64(b"0007"), Some(7));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "+1", "-1", "18446744073709551616", "1 ", "a"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn memory_amounts_read_as_the_configuration_does() {
        let cases: [(&str, Option<u64>); 17] = [
            ("0", Some(0)),
            ("007", Some(7)),
            ("1b", Some(1)),
            ("1B", Some(1)),
            ("2k", Some(2000)),
            ("1Kb", Some(1024)),
            ("3m", Some(3_000_000)),
            ("1mB", Some(1 << 20)),
            ("1g", Some(1_000_000_000)),
            ("2GB", Some(2 << 30)),
            ("", Some(0)),
            ("mb", Some(0)),
            ("-1", None),
            ("+1", None),
            ("1 k", None),
            ("1.5g", None),
            ("17179869184gb", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_memory(text.as_bytes()), want, "{text:?}");
        }
        assert_eq!(parse_memory(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_memory(b"18446744073709551616"), None);
    }

    #[test]
    fn human_sizes_have_two_decimals_and_a_letter() {
        let cases: [(u64, &str); 9] = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1536, "1.50K"),
            ((1 << 20) - 1, "1024.00K"),
            (1_289_748, "1.23M"),
            (5 << 30, "5.00G"),
            (3 << 50, "3.00P"),
            (1 << 60, "1152921504606846976B"),
        ];
        for (bytes, want) in cases {
            assert_eq!(human_bytes(bytes), want);
        }
    }

    /// What real servers answered; `tests/golden/num.txt` holds lines of three kinds:
    /// `d input zscore %.17g` (8.2.3 and 7.0.15), `p input zscore-or-!` (8.2.3, `!` for refused), `l a b a+b`
    /// (INCRBYFLOAT, the same on both; `!inf` for a sum that is refused).
    #[test]
    fn floats_print_and_read_as_real_servers_did() {
        let text = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            String::from_utf8(out).unwrap()
        };
        for line in include_str!("../tests/golden/num.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = match words[..] {
                ["d", input, _, g17] => {
                    let value = parse_f64(input.as_bytes()).unwrap();
                    let got = text(&|out| push_g17(out, value));
                    // Whole numbers up to 2^62 reached that reply as integers.
                    assert!(got == g17 || !g17.contains(['.', 'e']), "{line}: {got}");
                    text(&|out| push_f64(out, value))
                }
                ["p", input, _] => match parse_f64(input.as_bytes()) {
                    Some(value) => text(&|out| push_f64(out, value)),
                    None => "!".into(),
                },
                ["l", a, b, _] => match (LongDouble::parse(a.as_bytes()), LongDouble::parse(b.as_bytes())) {
                    (Some(a), Some(b)) if (a + b).is_finite() => String::from_utf8((a + b).to_text()).unwrap(),
                    (Some(_), Some(_)) => "!inf".into(),
                    _ => "!".into(),
                },
                _ => panic!("{line}"),
            };
            let want = if words[0] == "l" { words[3] } else { words[2] };
            assert_eq!(answer, want, "{line}");
        }
    }

    #[test]
    fn special_doubles_have_names() {
        let mut out = Vec::new();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0] {
            push_f64(&mut out, value);
            out.push(b' ');
            push_g17(&mut out, value);
            out.push(b' ');
        }
        assert_eq!(out, b"nan nan inf inf -inf -inf -0 -0 0 0 ");
    }

    proptest! {
        #[test]
        fn doubles_read_back_as_printed(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for push in [push_f64, push_g17] {
                let mut text = Vec::new();
                push(&mut text, value);
                prop_assert_eq!(parse_f64(&text), Some(value));
            }
        }

        #[test]
        fn any_text_is_read_without_harm(
            text in prop_oneof!["[-+0-9.eExXpP]{0,40}", "[-+]?(0x)?0{0,30}[.]?[0-9]{0,60}[eEpP]?[-+]?[0-9]{0,25}", "\\PC*"]
        ) {
            let (double, long) = (parse_f64(text.as_bytes()), LongDouble::parse(text.as_bytes()));
            prop_assert!(long.is_some() || double.is_none());
            if let Some(long) = long {
                prop_assert!(!long.to_text().is_empty());
            }
        }

        #[test]
        fn long_double_sums_of_integers_are_exact(a: i64, b in -(1i64 << 62)..1 << 62) {
            let sum = i128::from(a / 2) + i128::from(b);
            let read = |n: i64| LongDouble::parse(n.to_string().as_bytes()).unwrap();
            prop_assert_eq!((read(a / 2) + read(b)).to_text(), sum.to_string().into_bytes());
        }

        #[test]
        fn integers_round_trip(value: i64, other: u64) {
            let mut text = Vec::new();
            push_i64(&mut text, value);
            prop_assert_eq!(parse_i64(&text), Some(value));
            text.clear();
            push_u64(&mut text, other);
            prop_assert_eq!(parse_u64(&text), Some(other));
        }

        #[test]
        fn what_reads_as_an_integer_prints_the_same(text in "[-+ 0-9]{0,21}") {
            if let Some(value) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text);
            }
        }
    }
}
