//! ACL LOG: what was denied of late, the newest first.
//!
//! The same denied again within a minute adds to the count of its entry. Bounded by `acllog-max-len` entries, each with
//! names cut to [`NAME_SHOWN_MAX`] bytes: what a client sends must not fill the log.

use crate::clock::Millis;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Command,
    Key,
    Channel,
    Auth,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

/// Where the denied command was to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    TopLevel,
    Multi,
    Script,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Script => "lua",
        }
    }
}

/// Something that was denied.
pub struct Incident<'a> {
    pub reason: Reason,
    pub context: Context,
    /// The command, key or channel.
    pub object: &'a [u8],
    pub user: &'a [u8],
    /// The client's line of CLIENT LIST.
    pub client_info: String,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    pub object: Box<[u8]>,
    pub user: Box<[u8]>,
    pub client_info: String,
    pub created_ms: Millis,
    pub updated_ms: Millis,
}

#[derive(Debug, Default)]
pub struct Log {
    /// The newest first.
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    pub fn add(&mut self, incident: Incident<'_>, now: Millis, len_max: usize) {
        let shown = |name: &[u8]| Box::from(&name[..name.len().min(NAME_SHOWN_MAX)]);
        let Incident { reason, context, object, user, client_info } = incident;
        let (object, user): (Box<[u8]>, Box<[u8]>) = (shown(object), shown(user));
        let is_same = |e: &Entry| {
            (e.reason, e.context, &e.object, &e.user) == (reason, context, &object, &user)
                && now.abs_diff(e.updated_ms) <= SAME_WITHIN_MS
        };
        let at = self.entries.iter().take(LOOKED_AT_MAX).position(is_same);
        if let Some(mut entry) = at.and_then(|at| self.entries.remove(at)) {
            (entry.client_info, entry.updated_ms) = (client_info, now);
            entry.count += 1;
            self.entries.push_front(entry);
            return;
        }
        let (id, count, created_ms, updated_ms) = (self.next_id, 1, now, now);
        self.next_id += 1;
        self.entries.push_front(Entry {
            id,
            count,
            reason,
            context,
            object,
            user,
            client_info,
            created_ms,
            updated_ms,
        });
        self.entries.truncate(len_max);
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn reset(&mut self) {
        self.entries.clear();
    }
}

/// Entries that are looked at for one that says the same.
const LOOKED_AT_MAX: usize = 10;
const SAME_WITHIN_MS: u64 = 60_000;
const NAME_SHOWN_MAX: usize = 1024;
