//! Numbers as C writes, reads and converts them: `%.14g`, `%.17g`, `strtod`, a double cast to an integer as x86-64 does it.
//! Scripts and their libraries see exactly these.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

/// Appends a number as `%.<precision>g` writes it.
pub fn push_g(out: &mut Vec<u8>, n: f64, precision: u8) {
    if n == n.trunc() && n.abs() < DIGITS_EXACT && precision >= 14 && !(n == 0.0 && n.is_sign_negative()) {
        return crate::num::push_i64(out, n as i64);
    }
    let mut text = [0u8; 64];
    // SAFETY: the buffer's size is passed; 64 bytes hold any number of 17 digits.
    let len = unsafe {
        libc::snprintf(text.as_mut_ptr().cast::<c_char>(), text.len(), c"%.*g".as_ptr(), c_int::from(precision), n)
    };
    out.extend_from_slice(&text[..usize::try_from(len).unwrap_or(0).min(text.len())]);
}

/// The number at the beginning of a text and how long it is, as `strtod` finds them.
pub fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let shown = text.iter().take(NUMBER_BYTES_MAX).take_while(|b| is_of_number(**b)).count();
    if shown == NUMBER_BYTES_MAX {
        return None;
    }
    let mut copy = [0u8; NUMBER_BYTES_MAX + 1];
    copy[..shown].copy_from_slice(&text[..shown]);
    let mut end = std::ptr::null_mut();
    // SAFETY: the copy ends in a zero, at which reading stops at the latest.
    let (number, len) = unsafe {
        let begin = copy.as_ptr().cast::<c_char>();
        let number = libc::strtod(begin, &raw mut end);
        (number, end.offset_from(begin))
    };
    let len = usize::try_from(len).unwrap_or(0);
    (len > 0).then_some((number, len))
}

/// A double cast to `long`: one that has no such integer becomes the least one.
pub fn to_i64(n: f64) -> i64 {
    if (-TWO_63..TWO_63).contains(&n) { n as i64 } else { i64::MIN }
}

/// A double cast to `int`: one that has no such integer becomes the least one.
pub fn to_i32(n: f64) -> i32 {
    if (f64::from(i32::MIN)..TWO_31).contains(&n.trunc()) { n as i32 } else { i32::MIN }
}

/// A double cast to `unsigned long`: a negative one becomes its 64-bit complement, one from 2^64 on 0.
pub fn to_u64(n: f64) -> u64 {
    if n >= TWO_63 { (to_i64(n - TWO_63) as u64).wrapping_add(1 << 63) } else { to_i64(n) as u64 }
}

/// Digits, signs, points, exponents, `0x`, `inf`, `infinity`, `nan(...)`.
fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'(' | b')' | b'_')
}

/// Longer than this it is no number that anyone meant.
const NUMBER_BYTES_MAX: usize = 1024;
/// Below this every whole number has at most 14 digits.
const DIGITS_EXACT: f64 = 1e14;
const TWO_31: f64 = 2_147_483_648.0;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let written = |n, precision| {
            let mut out = Vec::new();
            push_g(&mut out, n, precision);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(1e15, 14), "1e+15");
        assert_eq!(written(-0.0, 17), "-0");
        assert_eq!(written(0.1, 17), "0.10000000000000001");
        assert_eq!(written(12_345_678.0, 17), "12345678");
        assert_eq!(written(1e15, 17), "1000000000000000");
    }

    #[test]
    fn doubles_become_integers_as_c_casts_them() {
        assert_eq!([3.99, -3.99, f64::NAN, TWO_63, -1e300].map(to_i64), [3, -3, i64::MIN, i64::MIN, i64::MIN]);
        assert_eq!([-2_147_483_648.5, TWO_31, f64::NAN].map(to_i32), [i32::MIN; 3]);
        assert_eq!([TWO_31 - 1.0, -1.5].map(to_i32), [i32::MAX, -1]);
        assert_eq!([-1.0, TWO_63, 2.0 * TWO_63, f64::INFINITY].map(to_u64), [u64::MAX, 1 << 63, 0, 0]);
        assert_eq!([f64::NAN, f64::NEG_INFINITY].map(to_u64), [1 << 63; 2]);
    }

    #[test]
    fn numbers_are_read_as_strtod_reads_them() {
        assert_eq!(parse_prefix(b"0x10,"), Some((16.0, 4)));
        assert_eq!(parse_prefix(b"1.]"), Some((1.0, 2)));
        assert_eq!(parse_prefix(b"-inf]"), Some((f64::NEG_INFINITY, 4)));
        assert_eq!(parse_prefix(b"x"), None);
    }
}
