//! The x87 80-bit long double, in which Redis adds for INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Why: in doubles 0.1 + 0.2 is 0.30000000000000004, in 64 bits of precision it prints as 0.3, and clients see it.
//! How: decimal reading and addition come from rustc_apfloat, hexadecimal reading from `literal`; printing (C's
//! `%.17Lf` with the zeros cut) is exact integer arithmetic here. On machines whose C long double is wider, Redis
//! itself answers other digits; we are x86 everywhere. Invariant: a parsed value is finite or an infinity, never NaN.
//! Cost: about a microsecond; up to 0.3 ms for the 4,933 digits of the largest values.

use super::literal::{self, Format, Magnitude};
use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round, Status};
use std::ops::{Add, Neg, Sub};

/// A value of the 80-bit format.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct LongDouble(X87DoubleExtended);

impl LongDouble {
    pub const ZERO: Self = Self(X87DoubleExtended::ZERO);

    /// The greatest finite value.
    pub fn largest() -> Self {
        Self(X87DoubleExtended::largest())
    }

    /// Reads a long double as Redis does: the grammar of `parse_f64` in a wider range. `inf` is read, and makes the
    /// sum infinite, which callers refuse.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let literal = literal::scan(text)?;
        let magnitude = match literal.magnitude {
            Magnitude::Infinity => X87DoubleExtended::INFINITY,
            Magnitude::Decimal { zero: true, .. } => X87DoubleExtended::ZERO,
            Magnitude::Decimal { text, .. } => {
                let parsed = X87DoubleExtended::from_str_r(text, Round::NearestTiesToEven).ok()?;
                let lost = parsed.status.contains(Status::OVERFLOW) || parsed.value.is_zero();
                Some(parsed.value).filter(|_| !lost)?
            }
            Magnitude::Hex(binary) if binary.significand == 0 => X87DoubleExtended::ZERO,
            Magnitude::Hex(binary) => assemble(literal::round(&binary, &EXTENDED))?,
        };
        Some(LongDouble(if literal.negative { -magnitude } else { magnitude }))
    }

    /// False for infinities and for their difference, which is not a number.
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The nearest double, which is what RESP3 carries.
    pub fn to_f64(self) -> f64 {
        let double: Double = self.0.convert(&mut false).value;
        f64::from_bits(double.to_bits() as u64)
    }

    /// The text Redis stores and replies: at most 17 decimals, no trailing zeros, no `-0`.
    pub fn to_text(self) -> Vec<u8> {
        if self.0.is_nan() {
            return b"nan".to_vec();
        }
        let bits = self.0.to_bits();
        let mut text = if bits >> 79 & 1 == 1 { b"-".to_vec() } else { Vec::new() };
        if self.0.is_infinite() {
            text.extend_from_slice(b"inf");
            return text;
        }
        let biased = (bits >> 64 & 0x7fff) as i32;
        push_fixed(&mut text, bits as u64, biased.max(1) - EXPONENT_BIAS - 63);
        if text == b"-0" { b"0".to_vec() } else { text }
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    /// Rounded to nearest, ties to even.
    fn add(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 + other.0).value)
    }
}

impl Sub for LongDouble {
    type Output = LongDouble;

    fn sub(self, other: LongDouble) -> LongDouble {
        self + -other
    }
}

impl Neg for LongDouble {
    type Output = LongDouble;

    fn neg(self) -> LongDouble {
        LongDouble(-self.0)
    }
}

/// Appends `significand * 2^exponent` with up to 17 decimals, rounded to nearest, ties to even.
fn push_fixed(text: &mut Vec<u8>, significand: u64, exponent: i32) {
    const ONE: u128 = 10u128.pow(DECIMALS);
    if exponent >= 0 {
        return push_shifted(text, significand, exponent.unsigned_abs());
    }
    // 64 bits times 10^17 stay below 2^121, so one u128 holds the value exactly.
    let scaled = u128::from(significand) * ONE;
    let drop = exponent.unsigned_abs();
    let rounded = if drop >= u128::BITS {
        0
    } else {
        let (kept, half) = (scaled >> drop, 1u128 << (drop - 1));
        let rest = scaled & (half | (half - 1));
        kept + u128::from(rest > half || (rest == half && kept & 1 == 1))
    };
    super::push_u64(text, (rounded / ONE) as u64);
    if !rounded.is_multiple_of(ONE) {
        let decimals = format!(".{:0width$}", rounded % ONE, width = DECIMALS as usize);
        text.extend_from_slice(decimals.trim_end_matches('0').as_bytes());
    }
}

/// Appends the integer `significand * 2^shift`, of up to 4,933 digits.
fn push_shifted(text: &mut Vec<u8>, significand: u64, shift: u32) {
    const BASE: u64 = 1_000_000_000;
    // Nine decimal digits a limb, the lowest first.
    let mut limbs = vec![significand % BASE, significand / BASE % BASE, significand / BASE / BASE];
    let mut left = shift;
    while left > 0 {
        let step = left.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let wide = (*limb << step) + carry;
            *limb = wide % BASE;
            carry = wide / BASE;
        }
        while carry > 0 {
            limbs.push(carry % BASE);
            carry /= BASE;
        }
        left -= step;
    }
    let top = limbs.iter().rposition(|limb| *limb != 0).unwrap_or(0);
    super::push_u64(text, limbs[top]);
    for limb in limbs[..top].iter().rev() {
        text.extend_from_slice(format!("{limb:09}").as_bytes());
    }
}

fn assemble((significand, exponent): (u64, i64)) -> Option<X87DoubleExtended> {
    let biased = if significand >> 63 == 0 { 0 } else { exponent + i64::from(EXPONENT_BIAS) + 63 };
    let biased = u128::try_from(biased).ok().filter(|e| *e < 0x7fff)?;
    Some(X87DoubleExtended::from_bits(biased << 64 | u128::from(significand))).filter(|v| !v.is_zero())
}

const EXTENDED: Format = Format { precision: 64, bit_min: -16445 };
const EXPONENT_BIAS: i32 = 16383;

/// Redis prints 17 decimals: most short decimal fractions come back as they were typed.
const DECIMALS: u32 = 17;

/// Redis reads through a buffer of this size less its terminator; 4,933 digits and 17 decimals fit.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
