//! The words of rules: `on >secret ~cache:* +@read`, as ACL SETUSER, `user` lines and ACL files have them.
//!
//! The grammar and the error texts are Redis's. Three things that Redis takes are syntax errors here. It could not read
//! the first two again from its own file: a first argument (`+select|0`) with a blank in it, and a word of a selector
//! that holds quotes or ends in `)`. The third is a selector with unbalanced quotes, which Redis takes for an empty one.
//! `%RW~*` is described as such, so that a pattern beside it is read again; Redis writes `~*`, and refuses its own file.

use super::catalog::Catalog;
use super::rules::{Access, Pattern, Payload, READ, Rules, Selector, WRITE};
use crate::checksum::sha256_hex;
use crate::quote::split_args;

/// What words mean depends on: the commands, and `acl-pubsub-default`.
#[derive(Clone, Copy)]
pub struct Grammar<'a> {
    pub catalog: &'a Catalog,
    /// New users and selectors may use all channels.
    pub all_channels: bool,
}

/// Why a word is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax,
    Unknown,
    KeysAreAll,
    ChannelsAreAll,
    NoSuchPassword,
    NotAHash,
    FirstOfSubcommand,
}

impl Fault {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Syntax => "Syntax error",
            Self::Unknown => "Unknown command or category name in ACL",
            Self::KeysAreAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::ChannelsAreAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::NotAHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::FirstOfSubcommand => "Allowing first-arg of a subcommand is not supported",
        }
    }
}

impl Grammar<'_> {
    /// A new user: no commands, keys or passwords, and the channels of `acl-pubsub-default`.
    pub fn new_user(&self) -> Rules {
        Rules::new(self.catalog, self.all_channels)
    }

    /// Rules after the words of ACL SETUSER, all or none. The error's text is for the client.
    pub fn change<W: AsRef<[u8]>>(&self, rules: &Rules, words: &[W]) -> Result<Rules, Vec<u8>> {
        let words = join_selectors(words).map_err(|start| {
            [b"Unmatched parenthesis in acl selector starting at '".as_slice(), start, b"'."].concat()
        })?;
        let mut changed = rules.clone();
        for word in &words {
            self.apply(&mut changed, word).map_err(|fault| {
                [b"Error in ACL SETUSER modifier '".as_slice(), word, b"': ", fault.text().as_bytes()].concat()
            })?;
        }
        Ok(changed)
    }

    /// A user line's rules; the error, for the log, is the word and what is wrong with it.
    pub fn declare<W: AsRef<[u8]>>(&self, words: &[W]) -> Result<Rules, (Vec<u8>, &'static str)> {
        let words = join_selectors(words).map_err(|start| (start.to_vec(), UNMATCHED))?;
        let mut rules = self.new_user();
        for word in words {
            self.apply(&mut rules, &word).map_err(|fault| (shown(word), fault.text()))?;
        }
        Ok(rules)
    }

    /// One word about a user.
    pub(super) fn apply(&self, rules: &mut Rules, word: &[u8]) -> Result<(), Fault> {
        match &*word.to_ascii_lowercase() {
            b"" => {}
            b"on" => rules.enabled = true,
            b"off" => rules.enabled = false,
            b"skip-sanitize-payload" => rules.payload = Payload::Skip,
            b"sanitize-payload" => rules.payload = Payload::Sanitize,
            b"nopass" => (rules.nopass, rules.passwords) = (true, Vec::new()),
            b"resetpass" => (rules.nopass, rules.passwords) = (false, Vec::new()),
            b"clearselectors" => rules.selectors.clear(),
            b"reset" => *rules = Rules { payload: Payload::Sanitize, ..self.new_user() },
            [b'>' | b'#', ..] => {
                let hash = hash_of(word)?;
                rules.nopass = false;
                if !rules.passwords.contains(&hash) {
                    rules.passwords.push(hash);
                }
            }
            [b'<' | b'!', ..] => {
                let hash = hash_of(word)?;
                let at = rules.passwords.iter().position(|known| *known == hash).ok_or(Fault::NoSuchPassword)?;
                rules.passwords.remove(at);
            }
            [b'(', .., b')'] => rules.selectors.push(self.selector(&word[1..word.len() - 1])?),
            _ => self.apply_to_selector(&mut rules.root, word)?,
        }
        Ok(())
    }

    fn selector(&self, inside: &[u8]) -> Result<Selector, Fault> {
        let mut selector = Selector::new(self.catalog, self.all_channels);
        for word in split_args(inside).map_err(|_| Fault::Syntax)? {
            if word.ends_with(b")") || word.iter().any(|b| matches!(b, b'"' | b'\'')) {
                return Err(Fault::Syntax);
            }
            self.apply_to_selector(&mut selector, &word)?;
        }
        Ok(selector)
    }

    /// One word about commands, keys or channels.
    fn apply_to_selector(&self, selector: &mut Selector, word: &[u8]) -> Result<(), Fault> {
        match &*word.to_ascii_lowercase() {
            b"allkeys" | b"~*" => selector.keys = None,
            b"resetkeys" => selector.keys = Some(Vec::new()),
            b"allchannels" | b"&*" => selector.channels = None,
            b"resetchannels" => selector.channels = Some(Vec::new()),
            b"allcommands" | b"+@all" => selector.commands.set_all(true),
            b"nocommands" | b"-@all" => selector.commands.set_all(false),
            [b'~', ..] => add_keys(selector, READ | WRITE, &word[1..])?,
            [b'%', ..] => {
                let (access, glob) = access_of(&word[1..])?;
                add_keys(selector, access, glob)?;
            }
            [b'&', ..] => {
                let channels = selector.channels.as_mut().ok_or(Fault::ChannelsAreAll)?;
                let glob = without_blanks(&word[1..])?;
                if !channels.iter().any(|known| **known == *glob) {
                    channels.push(glob.into());
                }
            }
            [sign @ (b'+' | b'-'), b'@', ..] => self.category(selector, *sign == b'+', &word[1..])?,
            [b'+', ..] => self.allow(selector, &word[1..])?,
            [b'-', ..] => {
                let id = self.catalog.find(&word[1..]).ok_or(Fault::Unknown)?;
                self.change_command(selector, id, false);
            }
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    /// `word`: the category with its `@`.
    fn category(&self, selector: &mut Selector, allow: bool, word: &[u8]) -> Result<(), Fault> {
        let category = self.catalog.category(&word[1..]).ok_or(Fault::Unknown)?;
        for id in self.catalog.in_category(category) {
            selector.commands.change(self.catalog, id, allow);
        }
        selector.commands.note(allow, word);
        Ok(())
    }

    fn change_command(&self, selector: &mut Selector, id: usize, allow: bool) {
        selector.commands.change(self.catalog, id, allow);
        selector.commands.note(allow, self.catalog.name(id).as_bytes());
    }

    /// `+command`, `+container|subcommand`, `+command|first-argument`.
    fn allow(&self, selector: &mut Selector, word: &[u8]) -> Result<(), Fault> {
        let Some(bar) = memchr::memrchr(b'|', word) else {
            let id = self.catalog.find(word).ok_or(Fault::Unknown)?;
            self.change_command(selector, id, true);
            return Ok(());
        };
        let (command, first) = (&word[..bar], &word[bar + 1..]);
        let id = self.catalog.find(command).ok_or(Fault::Unknown)?;
        if self.catalog.is_subcommand(id) {
            return Err(Fault::FirstOfSubcommand);
        }
        if first.is_empty() {
            return Err(Fault::Syntax);
        }
        if self.catalog.has_subcommands(id) {
            let id = self.catalog.find(word).ok_or(Fault::Unknown)?;
            self.change_command(selector, id, true);
            return Ok(());
        }
        selector.commands.add_first_argument(id, without_blanks(first)?);
        selector.commands.note(true, word);
        Ok(())
    }
}

/// A word as logs may show it.
fn shown(word: Vec<u8>) -> Vec<u8> {
    if word.starts_with(b"<") || word.starts_with(b"!") { b"(redacted)".to_vec() } else { word }
}

/// Selectors may come in several words; each becomes one. The error is the word with the parenthesis that stays open.
pub(super) fn join_selectors<W: AsRef<[u8]>>(words: &[W]) -> Result<Vec<Vec<u8>>, &[u8]> {
    let mut joined: Vec<Vec<u8>> = Vec::with_capacity(words.len());
    let mut open: Option<&[u8]> = None;
    for word in words.iter().map(AsRef::as_ref) {
        match (open, joined.last_mut()) {
            (Some(_), Some(selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
            }
            _ => joined.push(word.to_vec()),
        }
        if open.is_some() || word.starts_with(b"(") {
            open = if word.ends_with(b")") { None } else { open.or(Some(word)) };
        }
    }
    open.map_or(Ok(joined), Err)
}

fn add_keys(selector: &mut Selector, access: Access, glob: &[u8]) -> Result<(), Fault> {
    let keys = selector.keys.as_mut().ok_or(Fault::KeysAreAll)?;
    let glob = without_blanks(glob)?;
    match keys.iter_mut().find(|known| *known.glob == *glob) {
        Some(known) => known.access |= access,
        None => keys.push(Pattern { glob: glob.into(), access }),
    }
    Ok(())
}

/// `R~glob`, `W~glob`, `RW~glob`. Without `~` the glob is empty, which matches no key but the empty one: so does Redis.
fn access_of(word: &[u8]) -> Result<(Access, &[u8]), Fault> {
    let mut access = 0;
    for (i, letter) in word.iter().enumerate() {
        let kind = match letter.to_ascii_uppercase() {
            b'R' => READ,
            b'W' => WRITE,
            b'~' if access != 0 => return Ok((access, &word[i + 1..])),
            _ => return Err(Fault::Syntax),
        };
        if access & kind != 0 {
            return Err(Fault::Syntax);
        }
        access |= kind;
    }
    if access == 0 { Err(Fault::Syntax) } else { Ok((access, b"")) }
}

/// The hash in `#hash` and `!hash`, and of the password in `>password` and `<password`.
fn hash_of(word: &[u8]) -> Result<String, Fault> {
    let (sign, rest) = (word[0], &word[1..]);
    if matches!(sign, b'>' | b'<') {
        return Ok(sha256_hex(rest));
    }
    let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    match std::str::from_utf8(rest) {
        Ok(hash) if hash.len() == HASH_DIGITS && rest.iter().all(is_digit) => Ok(hash.to_owned()),
        _ => Err(Fault::NotAHash),
    }
}

fn without_blanks(text: &[u8]) -> Result<&[u8], Fault> {
    if has_blanks(text) { Err(Fault::Syntax) } else { Ok(text) }
}

/// Whether a user may be called so.
pub fn is_name(name: &[u8]) -> bool {
    !has_blanks(name)
}

/// Blanks and zero bytes, which names and patterns must not have: lists and files are read at blanks.
pub(super) fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0))
}

/// SHA-256.
const HASH_DIGITS: usize = 64;
const UNMATCHED: &str = "Unmatched parenthesis in acl selector";
