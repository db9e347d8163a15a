//! The table of directives: every directive of Redis 7.0, the new ones of Redis 8 and Valkey 9, and our own.
//!
//! The rows stand in one file per subject, sorted by name. [`PARAMS`] merges them at compile time into one sorted
//! table; [`SECTIONS`] keeps the subjects, for the sample file and the man page. A row reads
//!
//! ```text
//! row(name, kind(lens on the field, bounds), default, flags, doc).alias(other name)
//! ```
//!
//! and a new directive is one row here and one field in `Config`.
//!
//! Defaults are those compiled into redis-server 7.0, what a server started without a file says. A directive marked
//! UNSUPPORTED is checked and remembered and has no effect; giving it one removes the mark.
//!
//! Invariant: names and aliases are unique and lower case, rows of a file are sorted (tests in `config::tests`).

mod aof;
mod cluster;
mod general;
mod logging;
mod memory;
mod network;
mod rdb;
mod replication;
mod security;
mod tls;
mod types;

use super::param::Param;

/// A subject and its directives.
pub struct Section {
    pub title: &'static str,
    pub rows: &'static [Param],
}

/// The subjects, in the order of the sample file.
#[rustfmt::skip]
pub static SECTIONS: [Section; 11] = [
    Section { title: "Network", rows: network::ROWS },
    Section { title: "TLS", rows: tls::ROWS },
    Section { title: "General", rows: general::ROWS },
    Section { title: "Security", rows: security::ROWS },
    Section { title: "Logging and observability", rows: logging::ROWS },
    Section { title: "Memory, expiry and eviction", rows: memory::ROWS },
    Section { title: "Append-only file", rows: aof::ROWS },
    Section { title: "Snapshots", rows: rdb::ROWS },
    Section { title: "Replication", rows: replication::ROWS },
    Section { title: "Cluster", rows: cluster::ROWS },
    Section { title: "Data types", rows: types::ROWS },
];

/// Every directive, sorted by name.
pub static PARAMS: &[Param] = &MERGED;

static MERGED: [Param; COUNT] = merged();

/// The row with this name or alias, in any case of letters, and the name as the table spells it.
pub fn lookup(name: &[u8]) -> Option<(&'static Param, &'static str)> {
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    match PARAMS.binary_search_by(|p| p.name.cmp(&name)) {
        Ok(i) => Some((&PARAMS[i], PARAMS[i].name)),
        Err(_) => PARAMS.iter().find_map(|p| p.alias.filter(|a| *a == name).map(|a| (p, a))),
    }
}

const COUNT: usize = {
    let (mut total, mut i) = (0, 0);
    while i < FILES.len() {
        total += FILES[i].len();
        i += 1;
    }
    total
};

#[rustfmt::skip]
const FILES: [&[Param]; 11] = [
    aof::ROWS, cluster::ROWS, general::ROWS, logging::ROWS, memory::ROWS, network::ROWS, rdb::ROWS,
    replication::ROWS, security::ROWS, tls::ROWS, types::ROWS,
];

/// Takes the smallest head of all files until every file is empty.
const fn merged() -> [Param; COUNT] {
    let mut all = [FILES[0][0]; COUNT];
    let mut heads = [0; FILES.len()];
    let mut n = 0;
    while n < COUNT {
        let (mut best, mut i) = (usize::MAX, 0);
        while i < FILES.len() {
            let waiting = heads[i] < FILES[i].len();
            if waiting && (best == usize::MAX || less(FILES[i][heads[i]].name, FILES[best][heads[best]].name)) {
                best = i;
            }
            i += 1;
        }
        all[n] = FILES[best][heads[best]];
        heads[best] += 1;
        n += 1;
    }
    all
}

const fn less(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() {
        if a[i] != b[i] {
            return a[i] < b[i];
        }
        i += 1;
    }
    a.len() < b.len()
}
