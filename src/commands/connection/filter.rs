//! Which clients CLIENT LIST and CLIENT KILL are about: those that match everything that is given.
//!
//! The options are those of Redis 8.2 for CLIENT KILL, and Valkey 9's for both, with a form that begins in NOT- of most.
//! Of an option that is repeated the last one counts; but in CLIENT LIST ids add up, as in Valkey.

use super::client::{ClientType, client_type};
use super::kill::is_user;
use crate::clients::{Client, Names};
use crate::clock::Millis;
use crate::command::line;
use crate::command::*;
use crate::node::Node;
use crate::num;
use std::mem::discriminant;
use std::sync::atomic::Ordering::Relaxed;

/// What a client must be, or must not be.
#[derive(Default)]
pub struct Filter<'a> {
    tests: Vec<(Test<'a>, bool)>,
    skips_me: bool,
    /// Ids given again are more ids, not others in place of the first.
    ids_add_up: bool,
}

enum Test<'a> {
    Ids(Vec<u64>),
    Type(ClientType),
    User(&'a [u8]),
    Address(&'a [u8]),
    LocalAddress(&'a [u8]),
    Ip(&'a [u8]),
    /// All of these letters.
    Flags(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVersion(&'a [u8]),
    Db(usize),
    Redirects,
    /// At least this many seconds old, or without a command.
    Age(i64),
    Idle(i64),
}

impl<'a> Filter<'a> {
    /// One address, and one's own is allowed: the old form of CLIENT KILL.
    pub fn address(address: &'a [u8]) -> Self {
        Self { tests: vec![(Test::Address(address), true)], ..Self::default() }
    }

    /// Reads CLIENT KILL from the third argument to the end: the asker is spared unless SKIPME says otherwise.
    pub fn for_kill(args: &mut Args<'a>, node: &Node) -> Result<Self, Error> {
        Self::read(args, node, Self { skips_me: true, ..Self::default() })
    }

    /// Reads CLIENT LIST from the third argument to the end.
    pub fn for_list(args: &mut Args<'a>, node: &Node) -> Result<Self, Error> {
        Self::read(args, node, Self { ids_add_up: true, ..Self::default() })
    }

    fn read(args: &mut Args<'a>, node: &Node, mut filter: Self) -> Result<Self, Error> {
        args.skip_to(2);
        while let Some(word) = args.word() {
            let value = args.required()?;
            if *word == *b"SKIPME" {
                filter.skips_me = match &*args::Word::of(value) {
                    b"YES" => true,
                    b"NO" => false,
                    _ => return Err(error::SYNTAX),
                };
                continue;
            }
            let (name, wanted) = word.strip_prefix(b"NOT-").map_or((&*word, true), |name| (name, false));
            let mut test = Test::read(name, value, wanted, args, node)?;
            let is_same =
                |(other, was): &mut (Test<'_>, bool)| *was == wanted && discriminant(other) == discriminant(&test);
            let before = filter.tests.extract_if(.., is_same).next();
            if let (Test::Ids(ids), Some((Test::Ids(more), _)), true) = (&mut test, before, filter.ids_add_up) {
                ids.extend(more);
            }
            filter.tests.push((test, wanted));
        }
        Ok(filter)
    }

    /// `me`: the client that asks.
    pub fn matches(&self, client: &Client, me: u64, now: Millis) -> bool {
        !(self.skips_me && client.id == me)
            && self.tests.iter().all(|(test, wanted)| test.holds(client, now) == *wanted)
    }
}

impl<'a> Test<'a> {
    fn read(name: &[u8], value: &'a [u8], wanted: bool, args: &mut Args<'a>, node: &Node) -> Result<Self, Error> {
        Ok(match name {
            b"ID" => {
                let mut ids = vec![id(value)?];
                while !args.is_done() && num::parse_i64(args.get(args.cursor())).is_some() {
                    ids.push(id(args.required()?)?);
                }
                Self::Ids(ids)
            }
            b"TYPE" => Self::Type(client_type(value)?),
            b"USER" if node.acl.get(value).is_some() => Self::User(value),
            b"USER" => return Err(Error::owned([b"ERR No such user '", value, b"'"].concat())),
            b"ADDR" => Self::Address(value),
            b"LADDR" => Self::LocalAddress(value),
            b"IP" => Self::Ip(value),
            b"FLAGS" if value.iter().all(|flag| FLAGS.contains(flag)) => Self::Flags(value),
            b"FLAGS" => return Err(Error::owned([UNKNOWN_FLAGS, value].concat())),
            b"NAME" => Self::Name(value),
            b"LIB-NAME" => Self::LibName(value),
            b"LIB-VER" => Self::LibVersion(value),
            b"DB" => Self::Db(db(value, node)?),
            b"CAPA" if value == b"r" => Self::Redirects,
            b"CAPA" => return Err(Error::owned([UNKNOWN_CAPA, value].concat())),
            b"MAXAGE" if wanted => Self::Age(seconds(value, "maxage")?),
            b"IDLE" if wanted => Self::Idle(seconds(value, "idle")?),
            _ => return Err(error::SYNTAX),
        })
    }

    fn holds(&self, client: &Client, now: Millis) -> bool {
        let facts = &client.facts;
        let since = |at: Millis| now.saturating_sub(at) / 1000;
        let is_named =
            |field: fn(&Names) -> &Vec<u8>, value: &[u8]| !value.is_empty() && field(&facts.names.lock()) == value;
        match self {
            Self::Ids(ids) => ids.contains(&client.id),
            Self::Type(wanted) => ClientType::of(client) == *wanted,
            Self::User(user) => is_user(client, user),
            Self::Address(address) => client.address.as_bytes() == *address,
            Self::LocalAddress(address) => client.local_address.as_bytes() == *address,
            Self::Ip(ip) => {
                let host = client.address.rsplit_once(':').map_or("", |(host, _)| host);
                host.trim_start_matches('[').trim_end_matches(']').as_bytes() == *ip
            }
            Self::Flags(letters) => {
                let flags = line::flags(client);
                letters.iter().all(|letter| flags.as_bytes().contains(letter))
            }
            Self::Name(name) => is_named(|names| &names.name, name),
            Self::LibName(name) => is_named(|names| &names.lib_name, name),
            Self::LibVersion(version) => is_named(|names| &names.lib_version, version),
            Self::Db(db) => facts.db.load(Relaxed) == *db,
            Self::Redirects => facts.redirects.load(Relaxed),
            Self::Age(least) => since(client.created_ms) >= *least,
            Self::Idle(least) => since(facts.last_active_ms.load(Relaxed)) >= *least,
        }
    }
}

fn id(text: &[u8]) -> Result<u64, Error> {
    num::parse_i64(text).filter(|&n| n > 0).and_then(|n| u64::try_from(n).ok()).ok_or(BAD_ID)
}

fn db(text: &[u8], node: &Node) -> Result<usize, Error> {
    let count = node.keyspace.databases();
    let number = num::parse_i64(text).ok_or(DB_NOT_INT)?;
    let known = usize::try_from(number).ok().filter(|&db| db < count);
    known.ok_or_else(|| Error::owned(format!("ERR DB number should be between 0 and {}", count - 1)))
}

fn seconds(text: &[u8], name: &str) -> Result<i64, Error> {
    match num::parse_i64(text) {
        None => Err(Error::owned(format!("ERR {name} is not an integer or out of range"))),
        Some(..=0) => Err(Error::owned(format!("ERR {name} should be greater than 0"))),
        Some(seconds) => Ok(seconds),
    }
}

/// Every letter that a client of some server may be flagged with.
const FLAGS: &[u8] = b"ABEINMOPRSTUbcdeirtux";
const UNKNOWN_FLAGS: &[u8] = b"ERR Unknown flags found in the provided filter: ";
const UNKNOWN_CAPA: &[u8] = b"ERR Unknown capa found in the provided filter: ";
const BAD_ID: Error = Error::new("ERR client-id should be greater than 0");
const DB_NOT_INT: Error = Error::new("ERR DB is not an integer or out of range");
