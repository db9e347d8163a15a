//! What a directive is: one row of data.
//!
//! A [`Param`] owns everything there is to know about a directive: its names, how its text is read and printed, its
//! default, who may change it and when, and one sentence for the reader. The parser of the file, CONFIG GET, SET and
//! REWRITE, the sample file, the man page and the shell completions all read rows; none of them names a directive
//! that is not special to it.
//!
//! A row reaches its field of [`Config`] through a [`Lens`], two function pointers that `at!` writes out, so the
//! fields stay plain and typed for those who only want to read `config.maxmemory`.
//!
//! Not here: reading and printing values (`value`), the rows themselves (`table`), directives whose values are lists
//! (`special`).

use super::choices::ShutdownFlags;
use super::special::Special;
use super::{Config, MemoryShare};

/// One directive.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// The name that CONFIG REWRITE writes.
    pub name: &'static str,
    /// An older or newer name for the same directive.
    pub alias: Option<&'static str>,
    pub kind: ParamKind,
    /// The default, as it would stand in a file.
    pub default: &'static str,
    pub flags: Flags,
    /// One sentence, in plain words.
    pub doc: &'static str,
}

/// How a directive's text is read, checked and printed, and which field it lives in.
#[derive(Clone, Copy, Debug)]
pub enum ParamKind {
    /// `yes` or `no`.
    Flag(Lens<bool>),
    /// A whole number with bounds.
    Number(Number),
    /// Bytes, or a percentage of maxmemory.
    Share(Lens<MemoryShare>),
    /// One word of a list.
    Choice(Choice),
    /// `default`, or any of `save`, `nosave`, `now`, `force`.
    Shutdown(Lens<ShutdownFlags>),
    /// UTF-8 text.
    Text(TextParam),
    /// Bytes that must not be shown; empty means unset.
    Secret(Lens<Vec<u8>>),
    /// A list with rules of its own.
    Special(&'static Special),
}

/// The way from a configuration to one of its fields.
pub struct Lens<T: 'static> {
    pub get: fn(&Config) -> &T,
    pub at: fn(&mut Config) -> &mut T,
}

impl<T> Clone for Lens<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Lens<T> {}

impl<T> std::fmt::Debug for Lens<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lens")
    }
}

/// A whole number. All arithmetic is done in `i128`, which holds every signed and unsigned 64-bit value.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    pub field: NumberLens,
    pub min: i128,
    pub max: i128,
    pub unit: Unit,
    pub check: fn(i128) -> Result<(), &'static str>,
}

/// The way to a numeric field of any width. `set` is given values within the row's bounds only.
#[derive(Clone, Copy, Debug)]
pub struct NumberLens {
    pub get: fn(&Config) -> i128,
    pub set: fn(&mut Config, i128),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Plain,
    /// Bytes; a file may say `64kb`, `1gb`, `10m` (units of 1024 with `b`, of 1000 without).
    Memory,
    /// A file mode.
    Octal,
}

/// One word of a list, known by its place in it.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub names: &'static [&'static str],
    pub get: fn(&Config) -> usize,
    pub set: fn(&mut Config, usize),
}

#[derive(Clone, Copy, Debug)]
pub struct TextParam {
    pub field: Lens<String>,
    pub check: fn(&str) -> Result<(), &'static str>,
    pub empty: Empty,
}

/// What an empty text means when the file is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// A value like another: `logfile ""` stays.
    Kept,
    /// The same as not being in the file: the line goes.
    Unset,
}

/// A set of the constants below.
pub type Flags = u16;
/// CONFIG SET may change it at run time.
pub const MODIFIABLE: Flags = 0;
/// Only the file and the command line set it.
pub const IMMUTABLE: Flags = 1;
/// CONFIG SET needs `enable-protected-configs`.
pub const PROTECTED: Flags = 1 << 1;
/// The value must not show up in logs.
pub const SENSITIVE: Flags = 1 << 2;
/// Takes several arguments.
pub const MULTI_ARG: Flags = 1 << 3;
/// CONFIG GET shows it only when asked for by its exact name.
pub const HIDDEN: Flags = 1 << 4;
/// Part of a crash report.
pub const DEBUG: Flags = 1 << 5;
/// CONFIG SET is refused while the data set is being loaded.
pub const DENY_LOADING: Flags = 1 << 6;
/// Accepted, checked and remembered, without effect.
pub const UNSUPPORTED: Flags = 1 << 7;
/// Setting it is a change even if the value stays the same: it names a file whose contents may have changed.
pub const VOLATILE: Flags = 1 << 8;
/// Unknown to Redis 7.0: ours, or of a newer server.
pub const EXTENSION: Flags = 1 << 9;
/// The alias (not the name) is HIDDEN.
pub const ALIAS_HIDDEN: Flags = 1 << 10;

impl Param {
    pub const fn has(&self, flag: Flags) -> bool {
        self.flags & flag != 0
    }

    /// Completes a row with its second name.
    pub(super) const fn alias(mut self, alias: &'static str) -> Param {
        self.alias = Some(alias);
        self
    }
}

// ---- words of the table ---------------------------------------------------------------------------------------

pub(super) const INT: i128 = i32::MAX as i128;
pub(super) const I32_MIN: i128 = i32::MIN as i128;
pub(super) const UINT: i128 = u32::MAX as i128;
pub(super) const LONG: i128 = i64::MAX as i128;
pub(super) const ULONG: i128 = u64::MAX as i128;
pub(super) const MB: i128 = 1 << 20;

pub(super) const fn row(
    name: &'static str,
    kind: ParamKind,
    default: &'static str,
    flags: Flags,
    doc: &'static str,
) -> Param {
    Param { name, alias: None, kind, default, flags, doc }
}

pub(super) const fn int(field: NumberLens, min: i128, max: i128) -> ParamKind {
    ParamKind::Number(number(field, min, max, Unit::Plain))
}

pub(super) const fn memory(field: NumberLens, min: i128, max: i128) -> ParamKind {
    ParamKind::Number(number(field, min, max, Unit::Memory))
}

pub(super) const fn octal(field: NumberLens, min: i128, max: i128) -> ParamKind {
    ParamKind::Number(number(field, min, max, Unit::Octal))
}

pub(super) const fn number(field: NumberLens, min: i128, max: i128, unit: Unit) -> Number {
    Number { field, min, max, unit, check: any_number }
}

/// Text whose empty value is a value.
pub(super) const fn text(field: Lens<String>) -> ParamKind {
    checked(field, any_text, Empty::Kept)
}

/// Text whose empty value means that there is none.
pub(super) const fn optional(field: Lens<String>) -> ParamKind {
    checked(field, any_text, Empty::Unset)
}

pub(super) const fn checked(
    field: Lens<String>,
    check: fn(&str) -> Result<(), &'static str>,
    empty: Empty,
) -> ParamKind {
    ParamKind::Text(TextParam { field, check, empty })
}

fn any_number(_: i128) -> Result<(), &'static str> {
    Ok(())
}

fn any_text(_: &str) -> Result<(), &'static str> {
    Ok(())
}

pub(super) fn power_of_two(n: i128) -> Result<(), &'static str> {
    if n.count_ones() == 1 { Ok(()) } else { Err("argument must be a power of two") }
}

/// Housekeeping runs 1 to 500 times a second; like Redis, values outside are accepted and moved inside.
pub(super) const HERTZ: NumberLens =
    NumberLens { get: |c| i128::from(c.hz), set: |c, v| c.hz = u32::try_from(v).unwrap_or(u32::MAX).clamp(1, 500) };

/// A backlog smaller than 16 kilobytes is of no use to anyone; like Redis, smaller values are accepted and raised.
pub(super) const BACKLOG: NumberLens = NumberLens {
    get: |c| i128::from(c.repl_backlog_size),
    set: |c, v| c.repl_backlog_size = u64::try_from(v).unwrap_or(u64::MAX).max(16 << 10),
};

/// The lens on a field.
macro_rules! at {
    ($field:ident) => {
        $crate::config::param::Lens { get: |c| &c.$field, at: |c| &mut c.$field }
    };
}

/// The lens on a numeric field. Values that do not fit cannot arrive: the row's bounds are checked first.
macro_rules! num {
    ($field:ident) => {
        $crate::config::param::NumberLens {
            get: |c| c.$field as i128,
            set: |c, v| {
                if let Ok(v) = v.try_into() {
                    c.$field = v
                }
            },
        }
    };
}

/// The lens on a field of an enum that [`choices!`](super::choices) made.
macro_rules! choice {
    ($field:ident, $type:ident) => {{
        use $crate::config::choices::$type;
        $crate::config::param::Choice {
            names: $type::NAMES,
            get: |c| $type::ALL.iter().position(|v| *v == c.$field).unwrap_or_default(),
            set: |c, i| {
                if let Some(v) = $type::ALL.get(i) {
                    c.$field = *v
                }
            },
        }
    }};
}

pub(super) use {at, choice, num};
