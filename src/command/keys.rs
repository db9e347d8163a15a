//! Which arguments of a command are keys, and what happens to them: Redis's key specifications, as data.
//!
//! One description serves locking, cluster routing, ACL rules, COMMAND INFO and COMMAND GETKEYS. A row has up to three
//! specifications; the few commands whose keys no specification describes bring a function.

use crate::resp::ArgvView;

/// A command's key arguments.
#[derive(Clone, Copy)]
pub struct Keys {
    specs: [Option<Spec>; 3],
    custom: Option<Custom>,
    flags_by: Option<FlagsBy>,
}

/// Calls the visitor with the number of each key argument and its flags.
pub type Custom = fn(ArgvView<'_>, &mut dyn FnMut(usize, u16));

/// What a command does to its keys, told by its arguments: where the specification says only what it may do.
pub type FlagsBy = fn(ArgvView<'_>) -> u16;

/// One specification: where keys begin and how they go on.
#[derive(Clone, Copy)]
pub struct Spec {
    pub begin: Begin,
    pub find: Find,
    pub flags: u16,
    /// What COMMAND INFO adds in words.
    pub notes: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub enum Begin {
    Index(usize),
    /// Behind this word, searched from an argument number on (from the end if negative).
    Keyword(&'static str, i32),
    /// Where, only the command knows; its row brings a function.
    Unknown,
}

#[derive(Clone, Copy)]
pub enum Find {
    /// Every `step`th argument up to `last`, counted from the beginning's argument (negative: from the end of all).
    /// `limit` n > 1: only the first 1/n of the rest.
    Range {
        last: i32,
        step: usize,
        limit: usize,
    },
    /// The number of keys stands `at` arguments behind the beginning, the first key `first` behind it.
    Counted {
        at: usize,
        first: usize,
        step: usize,
    },
    Unknown,
}

pub const RW: u16 = 1;
pub const RO: u16 = 2;
pub const OW: u16 = 4;
pub const RM: u16 = 8;
pub const ACCESS: u16 = 16;
pub const UPDATE: u16 = 32;
pub const INSERT: u16 = 64;
pub const DELETE: u16 = 128;
pub const NOT_KEY: u16 = 256;
pub const INCOMPLETE: u16 = 512;
pub const VARIABLE: u16 = 1024;

/// Flag bits and the names COMMAND INFO prints for them.
pub const FLAG_NAMES: [(u16, &str); 11] = [
    (RO, "RO"),
    (RW, "RW"),
    (OW, "OW"),
    (RM, "RM"),
    (ACCESS, "access"),
    (UPDATE, "update"),
    (INSERT, "insert"),
    (DELETE, "delete"),
    (NOT_KEY, "not_key"),
    (INCOMPLETE, "incomplete"),
    (VARIABLE, "variable_flags"),
];

impl Keys {
    pub const NONE: Self = Self { specs: [None; 3], custom: None, flags_by: None };

    /// One key, read: the default flags of a reading command.
    pub const fn read(at: usize) -> Self {
        Self::range(at, 0, 1, RO | ACCESS)
    }

    /// One key, read and changed.
    pub const fn write(at: usize) -> Self {
        Self::range(at, 0, 1, RW | UPDATE)
    }

    /// One key with flags of its own.
    pub const fn one(at: usize, flags: u16) -> Self {
        Self::range(at, 0, 1, flags)
    }

    /// Keys from argument `first` on; `last` counts from `first`, or from the end if negative (-1 is the last one).
    pub const fn range(first: usize, last: i32, step: usize, flags: u16) -> Self {
        Self::spec(Spec { begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 }, flags, notes: None })
    }

    /// `numkeys` at argument `at`, the keys right behind it.
    pub const fn counted(at: usize, flags: u16) -> Self {
        Self::spec(Spec {
            begin: Begin::Index(at),
            find: Find::Counted { at: 0, first: 1, step: 1 },
            flags,
            notes: None,
        })
    }

    /// Keys somewhere: beside others, and only with [`Self::found_by`].
    pub const fn unknown(flags: u16) -> Self {
        Self::spec(Spec { begin: Begin::Unknown, find: Find::Unknown, flags, notes: None })
    }

    pub const fn spec(spec: Spec) -> Self {
        Self { specs: [Some(spec), None, None], custom: None, flags_by: None }
    }

    /// Another specification beside these.
    pub const fn and(mut self, other: Self) -> Self {
        let mut i = 0;
        while i < 3 {
            if self.specs[i].is_none() {
                self.specs[i] = other.specs[0];
                return self;
            }
            i += 1;
        }
        panic!("at most three key specifications");
    }

    /// Words to the specification that was added last.
    pub const fn noted(mut self, notes: &'static str) -> Self {
        let mut i = self.specs.len();
        while i > 0 {
            i -= 1;
            if let Some(spec) = &mut self.specs[i] {
                spec.notes = Some(notes);
                return self;
            }
        }
        panic!("notes are about a key specification");
    }

    /// The specifications stand in COMMAND INFO, the function finds the keys.
    pub const fn found_by(mut self, custom: Custom) -> Self {
        self.custom = Some(custom);
        self
    }

    /// The arguments decide which of the specification's flags hold ([`VARIABLE`]).
    pub const fn flags_by(mut self, flags_by: FlagsBy) -> Self {
        self.flags_by = Some(flags_by);
        self
    }

    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.specs.iter().flatten()
    }

    pub fn is_none(&self) -> bool {
        self.specs[0].is_none() && self.custom.is_none()
    }

    /// The only key's argument number, for the many commands with exactly one key at a fixed place.
    #[inline]
    pub fn single(&self) -> Option<usize> {
        match (&self.specs, self.custom) {
            ([Some(Spec { begin: Begin::Index(i), find: Find::Range { last: 0, .. }, .. }), None, None], None) => {
                Some(*i)
            }
            _ => None,
        }
    }

    /// Everything behind the name is a key.
    pub fn is_any_number(&self) -> bool {
        let all = |spec: &Spec| {
            matches!(spec, Spec { begin: Begin::Index(1), find: Find::Range { last: -1, step: 1, limit: 0 }, .. })
        };
        self.custom.is_none() && self.specs().count() == 1 && self.specs().all(all)
    }

    /// Visits each key argument's number and flags. Arguments that cannot be keys of a well-formed command (a count
    /// that is no number or too large) end the visit: the handler will refuse them.
    pub fn for_each(&self, argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
        if let Some(custom) = self.custom {
            return custom(argv, visit);
        }
        let exact = self.flags_by.map(|flags_by| flags_by(argv));
        for spec in self.specs() {
            if spec.flags & NOT_KEY == 0 {
                spec.for_each(argv, &mut |i, flags| visit(i, exact.unwrap_or(flags)));
            }
        }
    }

    /// Visits the number of each argument that lies in a slot of a cluster: keys, and names of shard channels.
    pub fn for_each_in_slots(&self, argv: ArgvView<'_>, visit: &mut dyn FnMut(usize)) {
        match self.custom {
            Some(custom) => custom(argv, &mut |i, _| visit(i)),
            None => self.specs().for_each(|spec| spec.for_each(argv, &mut |i, _| visit(i))),
        }
    }
}

impl Keys {
    /// Whether counts of keys are counts, and that many keys are there: what COMMAND GETKEYS asks before it answers.
    pub fn fit(&self, argv: ArgvView<'_>) -> bool {
        self.specs().all(|spec| match (spec.begin.find(argv), spec.find) {
            (Some(begin), Find::Counted { at, first, step }) => {
                let count = crate::num::parse_i64(argv.get(begin + at)).and_then(|n| usize::try_from(n).ok());
                count.is_some_and(|n| (1..=argv.len()).contains(&n) && begin + first + (n - 1) * step < argv.len())
            }
            _ => true,
        })
    }
}

impl Spec {
    fn for_each(&self, argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
        let Some(begin) = self.begin.find(argv) else { return };
        match self.find {
            Find::Range { last, step, limit } => {
                let end = match usize::try_from(last) {
                    Ok(last) => begin + last,
                    Err(_) if limit > 1 => begin + (argv.len() - begin.min(argv.len())) / limit - 1,
                    Err(_) => match argv.len().checked_sub(last.unsigned_abs() as usize) {
                        Some(end) => end,
                        None => return,
                    },
                };
                (begin..=end).step_by(step).take_while(|&i| i < argv.len()).for_each(|i| visit(i, self.flags));
            }
            Find::Unknown => {}
            Find::Counted { at, first, step } => {
                let count = crate::num::parse_i64(argv.get(begin + at)).and_then(|n| usize::try_from(n).ok());
                let Some(count) = count.filter(|&n| n <= argv.len()) else { return };
                let keys = (0..count).map(|i| begin + first + i * step);
                if keys.clone().next_back().is_none_or(|last| last < argv.len()) {
                    keys.for_each(|i| visit(i, self.flags));
                }
            }
        }
    }
}

impl Begin {
    fn find(&self, argv: ArgvView<'_>) -> Option<usize> {
        match *self {
            Self::Unknown => None,
            Self::Index(i) => (i < argv.len()).then_some(i),
            Self::Keyword(word, from) => {
                let matches = |i: &usize| argv.get(*i).eq_ignore_ascii_case(word.as_bytes());
                let found = match usize::try_from(from) {
                    Ok(from) => (from..argv.len()).find(matches),
                    Err(_) => (1..=argv.len().checked_sub(from.unsigned_abs() as usize)?).rev().find(matches),
                };
                found.map(|i| i + 1).filter(|&i| i < argv.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Argv;

    #[test]
    fn a_count_must_fit() {
        let fits = |line: &str| Keys::counted(1, RO).fit(Argv::of(line.split(' ')).view());
        assert!(fits("ZUNION 2 a b") && fits("ZUNION 1 a b"));
        for line in ["ZUNION 3 a b", "ZUNION 0 a b", "ZUNION -1 a b", "ZUNION x a b", "ZUNION 9223372036854775807 a b"]
        {
            assert!(!fits(line), "{line}");
        }
    }

    fn keys_of(keys: Keys, line: &str) -> Vec<usize> {
        let (argv, mut found) = (Argv::of(line.split(' ')), Vec::new());
        keys.for_each(argv.view(), &mut |i, _| found.push(i));
        found
    }

    #[test]
    fn specifications_find_their_keys() {
        assert_eq!(keys_of(Keys::read(1), "GET a"), [1]);
        assert_eq!(keys_of(Keys::range(1, -1, 2, OW), "MSET a 1 b 2"), [1, 3]);
        assert_eq!(keys_of(Keys::range(1, -1, 1, RO), "MGET a b c"), [1, 2, 3]);
        assert_eq!(keys_of(Keys::range(1, -2, 1, RO), "BLPOP a b 0"), [1, 2]);
        assert_eq!(keys_of(Keys::counted(1, RO), "SINTERCARD 2 a b LIMIT 1"), [2, 3]);
        assert_eq!(keys_of(Keys::counted(1, RO), "SINTERCARD 99 a b"), [] as [usize; 0]);
        assert_eq!(keys_of(Keys::counted(1, RO), "SINTERCARD 3 a b"), [] as [usize; 0]);
        let streams = Spec {
            begin: Begin::Keyword("STREAMS", 1),
            find: Find::Range { last: -1, step: 1, limit: 2 },
            flags: RO,
            notes: None,
        };
        assert_eq!(keys_of(Keys::spec(streams), "XREAD COUNT 2 STREAMS a b 0 0"), [4, 5]);
    }
}
