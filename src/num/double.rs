//! Doubles: what a score or a float argument may look like, and the digits a reply shows.
//!
//! How: decimals are read by fast-float2 behind our own grammar (`literal`), hexadecimal ones by `literal` itself.
//! Printing follows Redis 7.2 and later: whole numbers as integers, all others with the digits of Grisu2
//! (Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers", 2010) laid out as below.
//! Grisu2 and not a truly shortest printer, because Redis uses it: for one double in about 2,000 it gives another
//! last digit than the closest shortest text, and a reply's bytes are a promise.
//! Invariant: what is printed reads back as the same double. Cost: some 50 ns to print, 20 ns to read.

use super::literal::{self, Format, Magnitude};

/// Reads a double as Redis reads float arguments and scores: decimal or hexadecimal notation, `inf` and `infinity`
/// in any case, an optional sign. Refuses NaN, blanks, and numbers too large or too small to be told from inf or 0.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let literal = literal::scan(text)?;
    let value = match literal.magnitude {
        Magnitude::Infinity => f64::INFINITY,
        Magnitude::Decimal { zero: true, .. } => 0.0,
        Magnitude::Decimal { text, .. } => {
            fast_float2::parse(text).ok().filter(|v: &f64| v.is_normal() || v.is_subnormal())?
        }
        Magnitude::Hex(binary) if binary.significand == 0 => 0.0,
        Magnitude::Hex(binary) => assemble(literal::round(&binary, &DOUBLE))?,
    };
    Some(if literal.negative { -value } else { value })
}

/// Appends a double as replies and ZSCORE show it: `3`, `0.1`, `1e+22`, `inf`, `-0`.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        out.extend_from_slice(b"inf");
    } else if magnitude <= INTEGER_MAX && magnitude.trunc() == magnitude {
        super::push_u64(out, magnitude as u64);
    } else {
        let (digits, scale) = grisu2(magnitude);
        lay_out(out, digits.as_bytes(), scale);
    }
}

/// Appends a double as C's `%.17g` prints it: every digit that matters, for links and files that must not lose one.
pub fn push_g17(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    let text = format!("{:.16e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("scientific notation has a decimal exponent");
    let digits: Vec<u8> = mantissa.bytes().filter(|b| *b != b'.').collect();
    let kept = digits.iter().rposition(|d| *d != b'0').map_or(1, |last| last + 1);
    if (-4..17).contains(&exponent) {
        push_plain(out, &digits[..kept], exponent + 1 - kept as i32);
    } else {
        push_scientific(out, &digits[..kept], exponent, 2);
    }
}

/// Redis's layout of `digits * 10^scale`: plain while that is short, else scientific.
fn lay_out(out: &mut Vec<u8>, digits: &[u8], scale: i32) {
    let exponent = scale + digits.len() as i32 - 1;
    let plain_integer = scale >= 0 && exponent < digits.len() as i32 + 7;
    let plain_decimal = scale < 0 && (scale > -7 || exponent.abs() < 4);
    if plain_integer || plain_decimal {
        push_plain(out, digits, scale);
    } else {
        push_scientific(out, digits, exponent, 1);
    }
}

fn push_plain(out: &mut Vec<u8>, digits: &[u8], scale: i32) {
    let point = digits.len() as i32 + scale;
    if scale >= 0 {
        out.extend_from_slice(digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if point > 0 {
        let (whole, fraction) = digits.split_at(point as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    }
}

fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32, exponent_digits_min: usize) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent_digits_min == 2 && exponent.abs() < 10 {
        out.push(b'0');
    }
    super::push_u64(out, u64::from(exponent.unsigned_abs()));
}

fn assemble((significand, exponent): (u64, i64)) -> Option<f64> {
    const HIDDEN: u64 = 1 << 52;
    let bits = if significand & HIDDEN == 0 {
        significand
    } else {
        let biased = u64::try_from(exponent + 1075).ok().filter(|e| (1..2047).contains(e))?;
        biased << 52 | significand & (HIDDEN - 1)
    };
    Some(f64::from_bits(bits)).filter(|v| *v != 0.0)
}

/// `significand * 2^exponent`, the "do-it-yourself floating point" of the paper.
#[derive(Clone, Copy)]
struct Diy {
    significand: u64,
    exponent: i32,
}

impl Diy {
    fn normalized(self) -> Diy {
        let shift = self.significand.leading_zeros();
        Diy { significand: self.significand << shift, exponent: self.exponent - shift as i32 }
    }

    /// The upper half of the 128-bit product, rounded half up.
    fn times(self, power: Diy) -> Diy {
        let product = u128::from(self.significand) * u128::from(power.significand);
        let rounded = (product >> 64) as u64 + ((product >> 63) as u64 & 1);
        Diy { significand: rounded, exponent: self.exponent + power.exponent + 64 }
    }
}

/// Up to 17 digits; 20 leaves room for no thought.
struct Digits {
    bytes: [u8; 20],
    len: usize,
}

impl Digits {
    fn push(&mut self, digit: u64) {
        // A leading zero is no digit.
        if digit != 0 || self.len > 0 {
            self.bytes[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Digits and decimal scale of a finite positive double: `value == digits * 10^scale`, read back to nearest.
fn grisu2(value: f64) -> (Digits, i32) {
    let bits = value.to_bits();
    let (fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52) as i32);
    let exact = if biased == 0 {
        Diy { significand: fraction, exponent: -1074 }
    } else {
        Diy { significand: fraction | 1 << 52, exponent: biased - 1075 }
    };
    // Half-way to the neighbours; below a power of two the lower neighbour is only half as far.
    let upper = Diy { significand: (exact.significand << 1) + 1, exponent: exact.exponent - 1 }.normalized();
    let below = if exact.significand == 1 << 52 { 2 } else { 1 };
    let lower = Diy { significand: (exact.significand << below) - 1, exponent: exact.exponent - below };
    let lower = Diy { significand: lower.significand << (lower.exponent - upper.exponent), exponent: upper.exponent };

    let (power, decimal) = cached_power(upper.exponent);
    let target = exact.normalized().times(power);
    // One unit of uncertainty on each side: everything within stays inside the true interval.
    let high = Diy { significand: upper.times(power).significand - 1, ..upper.times(power) };
    let low = lower.times(power).significand + 1;
    let (digits, kappa) = generate(target.significand, high, high.significand - low);
    (digits, kappa - decimal)
}

/// Digits of `high` until the rest is within `delta`, then walked back toward `target`. Also their power of ten.
fn generate(target: u64, high: Diy, mut delta: u64) -> (Digits, i32) {
    let shift = high.exponent.unsigned_abs(); // 32..=60 by the choice of the cached power.
    let one = 1u64 << shift;
    let mut distance = high.significand - target;
    let (mut whole, mut fraction) = (high.significand >> shift, high.significand & (one - 1));
    let mut digits = Digits { bytes: [0; 20], len: 0 };
    for kappa in (0..10).rev() {
        let unit = 10u64.pow(kappa);
        digits.push(whole / unit);
        whole %= unit;
        let rest = (whole << shift) + fraction;
        if rest <= delta {
            round_down(&mut digits, delta, rest, unit << shift, distance);
            return (digits, kappa as i32);
        }
    }
    let mut kappa = 0;
    loop {
        fraction *= 10;
        delta *= 10;
        // Beyond 10^8 the distance may wrap; the walk back then stops early, which keeps the digits valid.
        distance = distance.wrapping_mul(10);
        kappa -= 1;
        digits.push(fraction >> shift);
        fraction &= one - 1;
        if fraction < delta {
            round_down(&mut digits, delta, fraction, one, distance);
            return (digits, kappa);
        }
    }
}

/// Lowers the last digit while that comes closer to the exact value and stays inside the interval.
fn round_down(digits: &mut Digits, delta: u64, mut rest: u64, unit: u64, distance: u64) {
    while rest < distance
        && delta - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        digits.bytes[digits.len - 1] -= 1;
        rest += unit;
    }
}

/// The cached power of ten that brings `2^exponent` into the window where digits come out of a u64, and its index.
fn cached_power(exponent: i32) -> (Diy, i32) {
    let guess = (-f64::from(exponent + POWERS.len() as i32) * std::f64::consts::LOG10_2) as i32;
    let mut index = (guess - POWER_FIRST) / POWER_STEP;
    loop {
        let decimal = POWER_FIRST + index * POWER_STEP;
        // floor(log2(10^decimal)) - 63; exact over the table's range.
        let binary = ((decimal * 217_706) >> 16) - 63;
        let reached = exponent + binary + 64;
        if reached < -60 {
            index += 1;
        } else if reached > -32 {
            index -= 1;
        } else {
            return (Diy { significand: POWERS[index as usize], exponent: binary }, decimal);
        }
    }
}

const DOUBLE: Format = Format { precision: 53, bit_min: -1074 };

/// Whole numbers up to 2^62 print as integers, larger ones by the general rule.
const INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0;

const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;

/// The upper 64 bits, rounded to nearest, of 10^-348, 10^-340 … 10^340.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288, 0xbaaee17fa23ebf76, 0x8b16fb203055ac76, 0xcf42894a5dce35ea, 0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df, 0xab70fe17c79ac6ca, 0xff77b1fcbebcdc4f, 0xbe5691ef416bd60c, 0x8dd01fad907ffc3c,
    0xd3515c2831559a83, 0x9d71ac8fada6c9b5, 0xea9c227723ee8bcb, 0xaecc49914078536d, 0x823c12795db6ce57,
    0xc21094364dfb5637, 0x9096ea6f3848984f, 0xd77485cb25823ac7, 0xa086cfcd97bf97f4, 0xef340a98172aace5,
    0xb23867fb2a35b28e, 0x84c8d4dfd2c63f3b, 0xc5dd44271ad3cdba, 0x936b9fcebb25c996, 0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6, 0xf3e2f893dec3f126, 0xb5b5ada8aaff80b8, 0x87625f056c7c4a8b, 0xc9bcff6034c13053,
    0x964e858c91ba2655, 0xdff9772470297ebd, 0xa6dfbd9fb8e5b88f, 0xf8a95fcf88747d94, 0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b, 0xcdb02555653131b6, 0x993fe2c6d07b7fac, 0xe45c10c42a2b3b06, 0xaa242499697392d3,
    0xfd87b5f28300ca0e, 0xbce5086492111aeb, 0x8cbccc096f5088cc, 0xd1b71758e219652c, 0x9c40000000000000,
    0xe8d4a51000000000, 0xad78ebc5ac620000, 0x813f3978f8940984, 0xc097ce7bc90715b3, 0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068, 0x9f4f2726179a2245, 0xed63a231d4c4fb27, 0xb0de65388cc8ada8, 0x83c7088e1aab65db,
    0xc45d1df942711d9a, 0x924d692ca61be758, 0xda01ee641a708dea, 0xa26da3999aef774a, 0xf209787bb47d6b85,
    0xb454e4a179dd1877, 0x865b86925b9bc5c2, 0xc83553c5c8965d3d, 0x952ab45cfa97a0b3, 0xde469fbd99a05fe3,
    0xa59bc234db398c25, 0xf6c69a72a3989f5c, 0xb7dcbf5354e9bece, 0x88fcf317f22241e2, 0xcc20ce9bd35c78a5,
    0x98165af37b2153df, 0xe2a0b5dc971f303a, 0xa8d9d1535ce3b396, 0xfb9b7cd9a4a7443c, 0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a, 0xd01fef10a657842c, 0x9b10a4e5e9913129, 0xe7109bfba19c0c9d, 0xac2820d9623bf429,
    0x80444b5e7aa7cf85, 0xbf21e44003acdd2d, 0x8e679c2f5e44ff8f, 0xd433179d9c8cb841, 0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9, 0xaf87023b9bf0ee6b,
];
