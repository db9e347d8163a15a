//! ACL categories: which of them a command is in follows from its flags and its group.
//!
//! Rows do not list categories. The few that are in one which neither flag nor group implies say so with a flag
//! ([`super::IN_KEYSPACE`] and its like, [`super::DANGEROUS`]). Containers are in no category of their group.

use super::{
    ADMIN, BLOCKING, CONTAINER, Command, DANGEROUS, FAST, Group, IN_ADMIN, IN_CONNECTION, IN_KEYSPACE, PATTERNS,
    PUBSUB, READONLY, WRITE,
};
use crate::acl::Categories;

/// A category and what puts a command into it.
struct Category {
    name: &'static str,
    holds: fn(&Command) -> bool,
}

/// In the order COMMAND INFO prints them.
const CATEGORIES: &[Category] = &[
    Category {
        name: "keyspace",
        holds: |c| (is(c, Group::Generic) && !c.has(IN_CONNECTION | PATTERNS)) || c.has(IN_KEYSPACE),
    },
    Category { name: "read", holds: |c| c.has(READONLY) && !is(c, Group::Scripting) },
    Category { name: "write", holds: |c| c.has(WRITE) },
    Category { name: "set", holds: |c| is(c, Group::Set) || c.has(PATTERNS) },
    Category { name: "sortedset", holds: |c| is(c, Group::SortedSet) || c.has(PATTERNS) },
    Category { name: "list", holds: |c| is(c, Group::List) || c.has(PATTERNS) },
    Category { name: "hash", holds: |c| is(c, Group::Hash) },
    Category { name: "string", holds: |c| is(c, Group::String) },
    Category { name: "bitmap", holds: |c| is(c, Group::Bitmap) },
    Category { name: "hyperloglog", holds: |c| is(c, Group::HyperLogLog) },
    Category { name: "geo", holds: |c| is(c, Group::Geo) },
    Category { name: "stream", holds: |c| is(c, Group::Stream) },
    Category { name: "pubsub", holds: |c| c.has(PUBSUB) },
    Category { name: "admin", holds: |c| c.has(ADMIN | IN_ADMIN) },
    Category { name: "fast", holds: |c| c.has(FAST) },
    Category { name: "slow", holds: |c| !c.has(FAST) },
    Category { name: "blocking", holds: |c| c.has(BLOCKING) },
    Category { name: "dangerous", holds: |c| c.has(ADMIN | IN_ADMIN | DANGEROUS) },
    Category { name: "connection", holds: |c| is(c, Group::Connection) || c.has(IN_CONNECTION) },
    Category { name: "transaction", holds: |c| is(c, Group::Transactions) },
    Category { name: "scripting", holds: |c| is(c, Group::Scripting) },
];

fn is(command: &Command, group: Group) -> bool {
    command.group == group && !command.has(CONTAINER)
}

/// All categories, in their order.
pub fn names() -> Vec<&'static str> {
    CATEGORIES.iter().map(|category| category.name).collect()
}

impl Command {
    /// The categories the command is in, a bit for each of [`names`].
    pub fn category_bits(&self) -> Categories {
        CATEGORIES
            .iter()
            .enumerate()
            .filter(|(_, category)| (category.holds)(self))
            .fold(0, |bits, (i, _)| bits | 1 << i)
    }

    /// The names of the categories the command is in, without the `@`.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        CATEGORIES.iter().filter(|category| (category.holds)(self)).map(|category| category.name)
    }
}
