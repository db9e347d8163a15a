//! Judging a request.

use super::rules::{Access, READ, Rules, Selector};
use crate::glob;
use crate::resp::ArgvView;

/// A request as rules see it.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The command's number in the catalog.
    pub command: usize,
    /// Everybody may run it: AUTH and its like.
    pub free: bool,
    /// Where the argument stands that `+command|first-argument` speaks of.
    pub first_argument: usize,
    pub argv: ArgvView<'a>,
    pub keys: &'a KeyVisitor<'a>,
    pub channels: Channels,
}

/// Visits the number of each key argument and the access it needs.
pub type KeyVisitor<'a> = dyn Fn(&mut dyn FnMut(usize, Access)) + 'a;

/// Which arguments name channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    None,
    /// The first.
    First,
    /// All.
    Names,
    /// All, and they are patterns: only those may be used that the rules have letter by letter.
    Patterns,
}

/// What a user may not do. The later, the more telling: of several selectors' reasons the greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    Command,
    /// Use the key in this argument so.
    Key(usize),
    /// Use the channel in this argument.
    Channel(usize),
}

impl Rules {
    pub fn check(&self, attempt: &Attempt<'_>) -> Result<(), Denied> {
        let mut reason = Denied::Command;
        for selector in self.all_selectors() {
            match selector.check(attempt) {
                Ok(()) => return Ok(()),
                Err(denied) => reason = reason.max(denied),
            }
        }
        Err(reason)
    }

    /// Whether the request is allowed by a selector that may read all keys: what SORT BY and GET ask, which find their
    /// keys in data.
    pub fn check_reading_all(&self, attempt: &Attempt<'_>) -> bool {
        self.all_selectors().any(|selector| selector.reads_all() && selector.check(attempt).is_ok())
    }

    /// Whether some selector allows to read a key.
    pub fn may_read(&self, key: &[u8]) -> bool {
        self.all_selectors().any(|selector| selector.may_use(key, READ))
    }

    /// The channel patterns of all selectors; `None` if one has all channels.
    pub fn channels(&self) -> Option<Vec<&[u8]>> {
        let mut all = Vec::new();
        for selector in self.all_selectors() {
            all.extend(selector.channels.as_ref()?.iter().map(|glob| &**glob));
        }
        Some(all)
    }

    /// Whether a subscription to a channel, or to a pattern, may stay.
    pub fn may_hear(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_selectors().any(|selector| selector.may_hear(name, is_pattern))
    }
}

impl Selector {
    #[inline]
    fn check(&self, attempt: &Attempt<'_>) -> Result<(), Denied> {
        let Attempt { command, argv, .. } = *attempt;
        let first = || argv.len() > 1 && self.commands.has_first_argument(command, argv.get(attempt.first_argument));
        if !attempt.free && !self.commands.has(command) && !first() {
            return Err(Denied::Command);
        }
        if self.keys.is_some() {
            let mut denied = None;
            (attempt.keys)(&mut |i, access| {
                if denied.is_none() && !self.may_use(argv.get(i), access) {
                    denied = Some(Denied::Key(i));
                }
            });
            denied.map_or(Ok(()), Err)?;
        }
        let last = match attempt.channels {
            Channels::None => return Ok(()),
            Channels::First => 2.min(argv.len()),
            Channels::Names | Channels::Patterns => argv.len(),
        };
        let is_pattern = attempt.channels == Channels::Patterns;
        let unheard = (1..last).find(|&i| !self.may_hear(argv.get(i), is_pattern));
        unheard.map_or(Ok(()), |i| Err(Denied::Channel(i)))
    }

    fn may_use(&self, key: &[u8], access: Access) -> bool {
        let Some(patterns) = &self.keys else { return true };
        patterns.iter().any(|p| p.access & access == access && glob::matches(&p.glob, key, false))
    }

    fn reads_all(&self) -> bool {
        let Some(patterns) = &self.keys else { return true };
        patterns.iter().any(|p| p.access & READ != 0 && *p.glob == *b"*")
    }

    fn may_hear(&self, name: &[u8], is_pattern: bool) -> bool {
        let Some(channels) = &self.channels else { return true };
        channels.iter().any(|glob| if is_pattern { **glob == *name } else { glob::matches(glob, name, false) })
    }
}
