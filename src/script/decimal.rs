//! Numbers as C writes and reads them: `%.14g`, `%.17g`, `strtod`. Scripts and their libraries see exactly these.

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

/// Digits, signs, points, exponents, `0x`, `inf`, `infinity`, `nan(...)`.
fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'(' | b')' | b'_')
}

/// Longer than this it is no number that anyone meant.
const NUMBER_BYTES_MAX: usize = 1024;
/// Below this every whole number has at most 14 digits.
const DIGITS_EXACT: f64 = 1e14;

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
    fn numbers_are_read_as_strtod_reads_them() {
        assert_eq!(parse_prefix(b"0x10,"), Some((16.0, 4)));
        assert_eq!(parse_prefix(b"1.]"), Some((1.0, 2)));
        assert_eq!(parse_prefix(b"-inf]"), Some((f64::NEG_INFINITY, 4)));
        assert_eq!(parse_prefix(b"x"), None);
    }
}
