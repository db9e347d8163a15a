//! Users and their rights: who may run which command, on which keys and channels.
//!
//! A user's [`Rules`] are its passwords and one or more [`Selector`]s; a request is allowed if one selector allows all of
//! it: the command, every key with the kind of access it needs, and every channel. Rules are made from words in Redis's
//! grammar ([`Grammar`]), described again in words that make the same rules, and judge an [`Attempt`].
//! [`Users`] is the server's table of users: a user's name and place stay while its rules change, so that a session holds
//! its user and a change holds for all its sessions at once.
//! Invariants: describing and reading rules gives the same rights (property test); no text makes the parser panic.
//! Not here: what a request's keys and channels are (`command::permission`), files (`commands::acl`), clients.
//! Cost: a user that may do everything is asked for one flag; others for a bit, and for each key as many globs as rules.

mod catalog;
mod check;
mod file;
mod grammar;
mod log;
mod rules;
#[cfg(test)]
mod tests;
mod users;

pub use catalog::{Catalog, Categories};
pub use check::{Attempt, Channels, Denied};
pub use file::{Declared, line, parse_file, render_file};
pub use grammar::{Grammar, is_name};
pub use log::{Context, Entry, Incident, Log, Reason};
pub use rules::{Access, DEFAULT, Pattern, READ, Rules, Selector, WRITE};
pub use users::{Replaced, User, Users};
