//! The server's users.
//!
//! Sessions hold a [`User`]: its name stays, its rules are exchanged. A deleted user is one without rights, for the
//! sessions that still have it; who creates a user of that name later makes another.
//! Changes wait for each other; readers never wait.

use super::catalog::Catalog;
use super::file::{Declared, line};
use super::grammar::Grammar;
use super::log::{Entry, Incident, Log};
use super::rules::{DEFAULT, Rules};
use crate::checksum::sha256_hex;
use crate::clock::Millis;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use subtle::ConstantTimeEq;

pub struct User {
    name: Box<[u8]>,
    rules: ArcSwap<Rules>,
    unrestricted: AtomicBool,
}

type Table = BTreeMap<Box<[u8]>, Arc<User>>;

pub struct Users {
    catalog: Catalog,
    table: ArcSwap<Table>,
    default: Arc<User>,
    changing: Mutex<()>,
    log: Mutex<Log>,
}

impl User {
    pub fn new(name: &[u8], rules: Rules) -> Arc<Self> {
        let unrestricted = AtomicBool::new(rules.is_unrestricted());
        Arc::new(Self { name: name.into(), rules: ArcSwap::from_pointee(rules), unrestricted })
    }

    /// For sessions that no client has: the log's, and those of tests.
    pub fn of_server() -> Arc<Self> {
        static SERVER: OnceLock<Arc<User>> = OnceLock::new();
        let no_commands = || Catalog::new(Vec::new(), std::iter::empty());
        SERVER.get_or_init(|| Self::new(DEFAULT, Rules::unrestricted(&no_commands()))).clone()
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// May do everything: nothing is checked.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted.load(Relaxed)
    }

    #[inline]
    pub fn rules(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.rules.load()
    }

    fn set(&self, rules: Rules) {
        self.unrestricted.store(rules.is_unrestricted(), Relaxed);
        self.rules.store(Arc::new(rules));
    }
}

/// A user and its rules before the change.
pub type Changed = (Arc<User>, Arc<Rules>);

/// What an ACL file has changed.
pub struct Replaced {
    /// Users that are no more.
    pub gone: Vec<Arc<User>>,
    /// Users with other rules than before.
    pub changed: Vec<Changed>,
}

impl Users {
    /// The default user alone, who may do everything; `password` is `requirepass`.
    pub fn new(catalog: Catalog, password: &[u8]) -> Self {
        let mut rules = Rules::unrestricted(&catalog);
        rules.require(password);
        let default = User::new(DEFAULT, rules);
        let table = Table::from([(DEFAULT.into(), default.clone())]);
        let (changing, log) = (Mutex::default(), Mutex::default());
        Self { catalog, table: ArcSwap::from_pointee(table), default, changing, log }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The words of rules; `all_channels`: `acl-pubsub-default`.
    pub fn grammar(&self, all_channels: bool) -> Grammar<'_> {
        Grammar { catalog: &self.catalog, all_channels }
    }

    /// Who connections begin as.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    pub fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.table.load().get(name).cloned()
    }

    /// Everyone, by name.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.table.load().values().cloned().collect()
    }

    /// `user name rules` of everyone, by name.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.all().iter().map(|user| line(&user.name, &user.rules())).collect()
    }

    /// The user whose name and password these are. Takes the same time whichever password is right, and for no user.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let hash = sha256_hex(password);
        let user = self.get(name)?;
        let rules = user.rules();
        let right = rules
            .passwords
            .iter()
            .fold(false, |right, known| right | bool::from(known.as_bytes().ct_eq(hash.as_bytes())));
        let may_enter = rules.enabled & (rules.nopass | right);
        drop(rules);
        may_enter.then_some(user)
    }

    /// Changes a user's rules, or creates the user from `initial`. Returns the user with its rules before, if it was
    /// there. The error is `change`'s.
    pub fn change<E>(
        &self,
        name: &[u8],
        initial: &Rules,
        change: impl FnOnce(&Rules) -> Result<Rules, E>,
    ) -> Result<Option<Changed>, E> {
        let _one_at_a_time = self.changing.lock();
        if let Some(user) = self.get(name) {
            let before = user.rules.load_full();
            user.set(change(&before)?);
            return Ok(Some((user, before)));
        }
        let user = User::new(name, change(initial)?);
        let mut table = Table::clone(&self.table.load());
        table.insert(name.into(), user);
        self.table.store(Arc::new(table));
        Ok(None)
    }

    /// `CONFIG SET requirepass`.
    pub fn set_default_password(&self, password: &[u8]) {
        let _one_at_a_time = self.changing.lock();
        let mut rules = Rules::clone(&self.default.rules());
        rules.require(password);
        self.default.set(rules);
    }

    /// Deletes a user; its sessions can do nothing any more.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<User>> {
        let _one_at_a_time = self.changing.lock();
        let mut table = Table::clone(&self.table.load());
        let user = table.remove(name)?;
        self.table.store(Arc::new(table));
        user.set(Rules::new(&self.catalog, false));
        Some(user)
    }

    /// Puts the users of a file in the place of all. `default`: who that is if the file does not say.
    pub fn replace(&self, mut declared: Declared, default: impl FnOnce(&Catalog) -> Rules) -> Replaced {
        let _one_at_a_time = self.changing.lock();
        declared.entry(DEFAULT.into()).or_insert_with(|| default(&self.catalog));
        let old = self.table.load_full();
        let (mut table, mut changed) = (Table::new(), Vec::new());
        for (name, rules) in declared {
            let user = match old.get(&name) {
                None => User::new(&name, rules),
                Some(user) => {
                    let before = user.rules.load_full();
                    if *before != rules {
                        user.set(rules);
                        changed.push((user.clone(), before));
                    }
                    user.clone()
                }
            };
            table.insert(name, user);
        }
        let gone: Vec<_> = old.values().filter(|user| !table.contains_key(&user.name)).cloned().collect();
        self.table.store(Arc::new(table));
        gone.iter().for_each(|user| user.set(Rules::new(&self.catalog, false)));
        Replaced { gone, changed }
    }

    /// ACL LOG's entry of something that was denied. `len_max`: `acllog-max-len`.
    pub fn log(&self, incident: Incident<'_>, now: Millis, len_max: usize) {
        self.log.lock().add(incident, now, len_max);
    }

    /// The newest entries first, and no more than `count`.
    pub fn log_entries(&self, count: usize) -> Vec<Entry> {
        self.log.lock().entries().take(count).cloned().collect()
    }

    pub fn reset_log(&self) {
        self.log.lock().reset();
    }
}
