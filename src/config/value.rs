//! Reading and printing one directive's value, kind by kind, with Redis's rules and error texts.
//!
//! The same reader serves the file, the command line and CONFIG SET; they differ only in how a line becomes
//! arguments. What Redis reads as a C string ends at the first NUL byte here too.
//!
//! Invariant: `get` prints what `set` reads back to the same value. A refused value leaves the field as it was.

use std::borrow::Cow;

use super::choices::ShutdownFlags;
use super::param::{Choice, MULTI_ARG, Number, Param, ParamKind, TextParam, Unit};
use super::rewrite::memory_text;
use super::{Config, MemoryShare};
use crate::num::{parse_i64, parse_memory};

/// Why a value was refused, in Redis's words.
pub type Reason = Cow<'static, str>;

impl Param {
    /// The value as CONFIG GET prints it.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        match self.kind {
            ParamKind::Flag(lens) => yes_no(*(lens.get)(config)).into(),
            ParamKind::Number(n) => n.print((n.field.get)(config)).into_bytes(),
            ParamKind::Share(lens) => print_share(*(lens.get)(config)).into_bytes(),
            ParamKind::Choice(choice) => choice.names[(choice.get)(config)].into(),
            ParamKind::Shutdown(lens) => print_shutdown(*(lens.get)(config)).into_bytes(),
            ParamKind::Text(text) => (text.field.get)(config).clone().into_bytes(),
            ParamKind::Secret(lens) => (lens.get)(config).clone(),
            ParamKind::Special(special) => (special.get)(config),
        }
    }

    /// Sets the value from one string, as CONFIG SET is given it: directives of several arguments split it at every
    /// single space.
    pub fn set(&self, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
        if !self.has(MULTI_ARG) {
            return self.set_args(config, &[value]);
        }
        let args: Vec<&[u8]> = if value.is_empty() { Vec::new() } else { value.split(|b| *b == b' ').collect() };
        self.set_args(config, &args)
    }

    /// Sets the value from arguments. Directives that are not MULTI_ARG read the first.
    pub fn set_args(&self, config: &mut Config, args: &[&[u8]]) -> Result<(), Reason> {
        let first = args.first().copied().unwrap_or_default();
        match self.kind {
            ParamKind::Flag(lens) => *(lens.at)(config) = parse_flag(first)?,
            ParamKind::Number(n) => {
                let value = n.parse(first)?;
                (n.field.set)(config, value);
            }
            ParamKind::Share(lens) => *(lens.at)(config) = parse_share(first)?,
            ParamKind::Choice(choice) => {
                let index = choice.parse(args)?;
                (choice.set)(config, index);
            }
            ParamKind::Shutdown(lens) => *(lens.at)(config) = parse_shutdown(args)?,
            ParamKind::Text(text) => *(text.field.at)(config) = text.parse(first)?,
            ParamKind::Secret(lens) => *(lens.at)(config) = first.to_vec(),
            ParamKind::Special(special) => (special.set)(config, args)?,
        }
        Ok(())
    }
}

impl Number {
    fn print(&self, value: i128) -> String {
        match self.unit {
            Unit::Octal => format!("{value:o}"),
            Unit::Plain | Unit::Memory => value.to_string(),
        }
    }

    /// A bound, as the sample file names it.
    pub(super) fn bound_text(&self, bound: i128) -> String {
        if self.unit == Unit::Memory { memory_text(bound) } else { self.print(bound) }
    }

    pub(super) fn parse(&self, text: &[u8]) -> Result<i128, Reason> {
        let (value, complaint) = match self.unit {
            Unit::Plain => (parse_i64(text).map(i128::from), "argument couldn't be parsed into an integer"),
            Unit::Octal => (parse_c_long(text, 8), "argument couldn't be parsed as an octal number"),
            Unit::Memory => (self.parse_memory(text), "argument must be a memory value"),
        };
        let value = value.ok_or(complaint)?;
        if value < self.min || value > self.max {
            let (min, max) = (self.print(self.min), self.print(self.max));
            return Err(format!("argument must be between {min} and {max} inclusive").into());
        }
        (self.check)(value)?;
        Ok(value)
    }

    /// Where negative amounts are allowed, they are plain numbers.
    fn parse_memory(&self, text: &[u8]) -> Option<i128> {
        let plain = if self.min < 0 { parse_i64(text).map(i128::from) } else { None };
        plain.or_else(|| parse_memory(c_string(text)).map(i128::from))
    }
}

impl Choice {
    fn parse(&self, args: &[&[u8]]) -> Result<usize, Reason> {
        let word = if let [word] = args { c_string(word) } else { b"" };
        position(self.names, word).ok_or_else(|| one_of(self.names))
    }
}

impl TextParam {
    fn parse(&self, value: &[u8]) -> Result<String, Reason> {
        let value = std::str::from_utf8(c_string(value)).map_err(|_| "argument must be valid UTF-8")?;
        (self.check)(value)?;
        Ok(value.to_owned())
    }
}

pub(super) fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn parse_flag(text: &[u8]) -> Result<bool, Reason> {
    match c_string(text) {
        word if word.eq_ignore_ascii_case(b"yes") => Ok(true),
        word if word.eq_ignore_ascii_case(b"no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn print_share(share: MemoryShare) -> String {
    match share {
        MemoryShare::Bytes(bytes) => bytes.to_string(),
        MemoryShare::Percent(percent) => format!("{percent}%"),
    }
}

fn parse_share(text: &[u8]) -> Result<MemoryShare, Reason> {
    if let Some(bytes) = parse_memory(c_string(text)) {
        return match i64::try_from(bytes) {
            Ok(_) => Ok(MemoryShare::Bytes(bytes)),
            Err(_) => Err(format!("argument must be between -100 and {} inclusive", i64::MAX).into()),
        };
    }
    let percent = text.strip_suffix(b"%").and_then(parse_i64).filter(|p| *p >= 0);
    match percent.ok_or("argument must be a memory or percent value")? {
        0 => Ok(MemoryShare::Bytes(0)),
        percent => match u8::try_from(percent) {
            Ok(percent @ 1..=100) => Ok(MemoryShare::Percent(percent)),
            _ => Err("percentage argument must be less or equal to 100".into()),
        },
    }
}

fn print_shutdown(flags: ShutdownFlags) -> String {
    let ShutdownFlags { save, nosave, now, force } = flags;
    let default = flags == ShutdownFlags::default();
    let words = ShutdownFlags::NAMES.iter().zip([default, save, nosave, now, force]);
    words.filter(|(_, set)| *set).map(|(word, _)| *word).collect::<Vec<_>>().join(" ")
}

fn parse_shutdown(args: &[&[u8]]) -> Result<ShutdownFlags, Reason> {
    let mut flags = ShutdownFlags::default();
    for word in args {
        match position(ShutdownFlags::NAMES, c_string(word)) {
            Some(0) => {}
            Some(1) => flags.save = true,
            Some(2) => flags.nosave = true,
            Some(3) => flags.now = true,
            Some(_) => flags.force = true,
            None => return Err(one_of(ShutdownFlags::NAMES)),
        }
    }
    if args.is_empty() {
        return Err(one_of(ShutdownFlags::NAMES));
    }
    if flags.save && flags.nosave {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(flags)
}

fn position(names: &[&str], word: &[u8]) -> Option<usize> {
    names.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(word))
}

fn one_of(names: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", names.join(", ")).into()
}

// ---- numbers as Redis reads them ------------------------------------------------------------------------------

/// The bytes before the first NUL.
pub(super) fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// A number as C's `strtoll` reads it, if nothing is left over: leading spaces, a sign, leading zeros, and nothing at
/// all for zero. `None` outside 64 bits.
pub(super) fn parse_c_long(text: &[u8], radix: u32) -> Option<i128> {
    let text = c_string(text);
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.trim_ascii_start();
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for digit in digits {
        value = value * i128::from(radix) + i128::from(char::from(*digit).to_digit(radix)?);
        if value > 1 << 64 {
            return None;
        }
    }
    let value = if negative { -value } else { value };
    i64::try_from(value).ok().map(i128::from)
}
