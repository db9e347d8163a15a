//! The grammar of a floating-point number as C's strtod reads it in the "C" locale, minus blanks and NaN.
//!
//! What: `scan` splits a text into sign and magnitude and says which of three notations it is (decimal, hexadecimal,
//! infinity); `round` fits an exact binary value into a format, to nearest, ties to even.
//! Invariant: a text is accepted whole or not at all; a decimal handed on is plain ASCII `[0-9.eE+-]`, so the digit
//! converters behind it need no grammar of their own. Not here: decimal conversion itself.

pub(super) struct Literal<'a> {
    pub negative: bool,
    pub magnitude: Magnitude<'a>,
}

pub(super) enum Magnitude<'a> {
    Infinity,
    /// `zero` tells a true zero from a number too small for its format, which is refused.
    Decimal {
        text: &'a str,
        zero: bool,
    },
    Hex(Binary),
}

/// `significand * 2^exponent`, exact but for a sticky lowest bit when more than 124 bits were written.
pub(super) struct Binary {
    pub significand: u128,
    pub exponent: i64,
}

/// What a binary format can hold; `bit_min` is the exponent of its smallest subnormal.
pub(super) struct Format {
    pub precision: u32,
    pub bit_min: i64,
}

pub(super) fn scan(text: &[u8]) -> Option<Literal<'_>> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let magnitude = match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => Magnitude::Hex(scan_hex(digits)?),
        [b'i' | b'I', ..] if is_infinity(magnitude) => Magnitude::Infinity,
        _ => scan_decimal(magnitude)?,
    };
    Some(Literal { negative, magnitude })
}

/// Rounds to `format`: the significand has at most `precision` bits and, unless subnormal, exactly that many.
pub(super) fn round(value: &Binary, format: &Format) -> (u64, i64) {
    if value.significand == 0 {
        return (0, format.bit_min);
    }
    let bits = i64::from(u128::BITS - value.significand.leading_zeros());
    let excess = (bits - i64::from(format.precision)).max(format.bit_min.saturating_sub(value.exponent));
    if excess > bits {
        return (0, format.bit_min); // Less than half of the smallest value.
    }
    let exponent = value.exponent.saturating_add(excess);
    if excess <= 0 {
        return ((value.significand << -excess) as u64, exponent);
    }
    let half = 1u128 << (excess - 1);
    let kept = value.significand.checked_shr(excess as u32).unwrap_or(0);
    let rest = value.significand & (half | (half - 1));
    let rounded = kept + u128::from(rest > half || (rest == half && kept & 1 == 1));
    if rounded >> format.precision == 0 { (rounded as u64, exponent) } else { ((rounded >> 1) as u64, exponent + 1) }
}

fn is_infinity(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

fn scan_decimal(text: &[u8]) -> Option<Magnitude<'_>> {
    let mark = text.iter().position(|b| matches!(b, b'e' | b'E'));
    let mantissa = &text[..mark.unwrap_or(text.len())];
    let (mut dots, mut digits, mut zero) = (0, 0, true);
    for byte in mantissa {
        match byte {
            b'.' => dots += 1,
            b'0'..=b'9' => {
                digits += 1;
                zero &= *byte == b'0';
            }
            _ => return None,
        }
    }
    if dots > 1 || digits == 0 {
        return None;
    }
    if let Some(at) = mark {
        scan_exponent(&text[at + 1..])?;
    }
    Some(Magnitude::Decimal { text: std::str::from_utf8(text).ok()?, zero })
}

/// A decimal exponent, saturated: beyond the limit every format over- or underflows anyway.
fn scan_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, d| (value * 10 + i64::from(d - b'0')).min(EXPONENT_MAX));
    Some(if negative { -value } else { value })
}

fn scan_hex(text: &[u8]) -> Option<Binary> {
    let mark = text.iter().position(|b| matches!(b, b'p' | b'P'));
    let mantissa = &text[..mark.unwrap_or(text.len())];
    let (mut significand, mut exponent, mut digits, mut dot) = (0u128, 0i64, 0usize, false);
    for byte in mantissa {
        if *byte == b'.' && !dot {
            dot = true;
            continue;
        }
        let digit = (*byte as char).to_digit(16)?;
        digits += 1;
        if significand >> HEX_BITS_MAX == 0 {
            significand = significand << 4 | u128::from(digit);
            exponent -= if dot { 4 } else { 0 };
        } else {
            significand |= u128::from(digit != 0);
            exponent += if dot { 0 } else { 4 };
        }
    }
    if digits == 0 {
        return None;
    }
    let written = mark.map_or(Some(0), |at| scan_exponent(&text[at + 1..]))?;
    Some(Binary { significand, exponent: exponent.saturating_add(written) })
}

/// Far above what a text of any possible length can bring back into a format's range.
const EXPONENT_MAX: i64 = 1 << 50;

/// Once this many bits are taken, four more would still fit, and both formats round below bit 64.
const HEX_BITS_MAX: u32 = 120;
