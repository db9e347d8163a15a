//! A user's rules, and their description in words.
//!
//! What commands are allowed is a bit per command; beside it stand the words that led there, in their order and without
//! those that a later one made void (as Redis does since 7.2), so that a description says what was meant: `+@all -@admin`
//! and not a list of the commands of today.

use super::catalog::Catalog;
use std::collections::BTreeMap;

/// Kinds of access to a key, one bit each.
pub type Access = u8;
pub const READ: Access = 1;
pub const WRITE: Access = 2;

/// The name of the user that connections begin as.
pub const DEFAULT: &[u8] = b"default";

/// Everything about a user but its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub enabled: bool,
    /// Any password will do.
    pub nopass: bool,
    pub(super) payload: Payload,
    /// SHA-256 in hexadecimal digits.
    pub(super) passwords: Vec<String>,
    /// What words outside parentheses make.
    pub(super) root: Selector,
    pub(super) selectors: Vec<Selector>,
}

/// Whether RESTORE checks what the user gives it. Kept and shown; every payload is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Unsaid,
    Skip,
    Sanitize,
}

/// Commands, keys and channels that may be used together.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    pub(super) commands: Commands,
    /// None for all.
    pub(super) keys: Option<Vec<Pattern>>,
    /// None for all.
    pub(super) channels: Option<Vec<Box<[u8]>>>,
}

/// Keys by a glob, and what may be done to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub(super) glob: Box<[u8]>,
    pub(super) access: Access,
}

/// Which commands are allowed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Commands {
    bits: Box<[u64]>,
    /// The words begin with `+@all`.
    pub(super) from_all: bool,
    /// The words behind `+@all` or `-@all`.
    words: Vec<Box<[u8]>>,
    /// Of commands that are not allowed otherwise: the first arguments with which they are.
    first_arguments: BTreeMap<usize, Vec<Box<[u8]>>>,
    len: usize,
}

impl Rules {
    /// A new user: off, and without any right but, if so configured (`acl-pubsub-default`), to all channels.
    pub fn new(catalog: &Catalog, all_channels: bool) -> Self {
        let root = Selector::new(catalog, all_channels);
        Self {
            enabled: false,
            nopass: false,
            payload: Payload::Unsaid,
            passwords: Vec::new(),
            root,
            selectors: Vec::new(),
        }
    }

    /// A user that may do everything without a password: `default` as shipped.
    pub fn unrestricted(catalog: &Catalog) -> Self {
        let mut rules = Self::new(catalog, true);
        (rules.enabled, rules.nopass, rules.root.keys) = (true, true, None);
        rules.root.commands.set_all(true);
        rules
    }

    /// `requirepass`: this is the only password; empty for none needed.
    pub fn require(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.nopass = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(crate::checksum::sha256_hex(password));
        }
    }

    /// Connections may begin as this user without a word.
    pub fn is_open(&self) -> bool {
        self.enabled && self.nopass
    }

    pub fn is_unrestricted(&self) -> bool {
        self.all_selectors().any(Selector::is_unrestricted)
    }

    pub(super) fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The selectors in parentheses.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    pub fn passwords(&self) -> &[String] {
        &self.passwords
    }

    /// `on` and its like, in Redis's order.
    pub fn flags(&self) -> Vec<&'static str> {
        let flags = [
            ("on", self.enabled),
            ("off", !self.enabled),
            ("nopass", self.nopass),
            ("skip-sanitize-payload", self.payload == Payload::Skip),
            ("sanitize-payload", self.payload == Payload::Sanitize),
        ];
        flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }

    /// Words that make these rules from a new user.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.passwords.iter().map(|hash| format!("#{hash}").into_bytes()));
        words.extend(self.root.words());
        words.extend(self.selectors.iter().map(|s| [b"(".as_slice(), &s.words().join(&b' '), b")"].concat()));
        words
    }
}

impl Selector {
    pub(super) fn new(catalog: &Catalog, all_channels: bool) -> Self {
        let channels = if all_channels { None } else { Some(Vec::new()) };
        Self { commands: Commands::none(catalog.len()), keys: Some(Vec::new()), channels }
    }

    pub(super) fn is_unrestricted(&self) -> bool {
        self.commands.is_all() && self.keys.is_none() && self.channels.is_none()
    }

    /// As ACL GETUSER shows it.
    pub fn keys_text(&self) -> Vec<u8> {
        match &self.keys {
            None => b"~*".to_vec(),
            Some(patterns) => patterns.iter().map(Pattern::text).collect::<Vec<_>>().join(&b' '),
        }
    }

    pub fn channels_text(&self) -> Vec<u8> {
        match &self.channels {
            None => b"&*".to_vec(),
            Some(channels) => channels.iter().map(|glob| [b"&", &**glob].concat()).collect::<Vec<_>>().join(&b' '),
        }
    }

    pub fn commands_text(&self) -> Vec<u8> {
        self.commands.words().join(&b' ')
    }

    fn words(&self) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = match &self.keys {
            None => vec![b"~*".to_vec()],
            Some(patterns) => patterns.iter().map(Pattern::text).collect(),
        };
        match &self.channels {
            None => words.push(b"&*".to_vec()),
            Some(channels) => {
                words.push(b"resetchannels".to_vec());
                words.extend(channels.iter().map(|glob| [b"&", &**glob].concat()));
            }
        }
        words.extend(self.commands.words());
        words
    }
}

impl Pattern {
    fn text(&self) -> Vec<u8> {
        if &*self.glob == b"*" && self.access == READ | WRITE {
            // `~*` would be read as all keys, behind which no other pattern may stand.
            return b"%RW~*".to_vec();
        }
        let head: &[u8] = match self.access {
            READ => b"%R~",
            WRITE => b"%W~",
            _ => b"~",
        };
        [head, &self.glob].concat()
    }
}

impl Commands {
    fn none(len: usize) -> Self {
        let bits = vec![0; len.div_ceil(64)].into();
        Self { bits, from_all: false, words: Vec::new(), first_arguments: BTreeMap::new(), len }
    }

    pub(super) fn is_all(&self) -> bool {
        (0..self.len).all(|id| self.has(id))
    }

    #[inline]
    pub(super) fn has(&self, id: usize) -> bool {
        self.bits.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Whether a first argument allows what its command does not.
    pub(super) fn has_first_argument(&self, id: usize, argument: &[u8]) -> bool {
        self.first_arguments.get(&id).is_some_and(|known| known.iter().any(|a| a.eq_ignore_ascii_case(argument)))
    }

    /// `+@all`, `-@all`.
    pub(super) fn set_all(&mut self, allow: bool) {
        let len = self.len;
        *self = Self::none(len);
        self.from_all = allow;
        (0..len).for_each(|id| self.set(id, allow));
    }

    fn set(&mut self, id: usize, allow: bool) {
        let bit = 1 << (id % 64);
        match allow {
            true => self.bits[id / 64] |= bit,
            false => self.bits[id / 64] &= !bit,
        }
    }

    /// A command, with all its subcommands.
    pub(super) fn change(&mut self, catalog: &Catalog, id: usize, allow: bool) {
        catalog.with_subcommands(id).for_each(|id| self.set(id, allow));
        self.first_arguments.remove(&id);
    }

    pub(super) fn add_first_argument(&mut self, id: usize, argument: &[u8]) {
        if !self.has_first_argument(id, argument) {
            self.first_arguments.entry(id).or_default().push(argument.into());
        }
    }

    /// Remembers a word, in lower case and without its sign; what it makes void is forgotten: the same about the same
    /// command or category, and about the subcommands of the command.
    pub(super) fn note(&mut self, allow: bool, word: &[u8]) {
        let word = word.to_ascii_lowercase();
        self.words.retain(|old| match old[1..].strip_prefix(&*word) {
            None => true,
            Some(rest) => !(rest.is_empty() || rest.starts_with(b"|")),
        });
        let sign: &[u8] = if allow { b"+" } else { b"-" };
        self.words.push([sign, &word].concat().into());
    }

    fn words(&self) -> Vec<Vec<u8>> {
        let all: &[u8] = if self.from_all { b"+@all" } else { b"-@all" };
        std::iter::once(all.to_vec()).chain(self.words.iter().map(|word| word.to_vec())).collect()
    }
}
