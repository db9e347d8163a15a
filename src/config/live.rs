//! CONFIG GET and CONFIG SET, without the server around them.
//!
//! [`set_many`] is atomic by construction: it works on a copy, so an error at the last pair leaves nothing behind. It
//! returns the new configuration and the rows whose value changed. The caller makes the change real (listens on the
//! new port, opens the journal) and swaps the snapshot; if making it real fails it drops the copy and answers with
//! [`SetError::apply`], which has the text Redis has for that case.
//!
//! Error texts are Redis's, with its rule of what names an argument: a directive that may not be set is named as the
//! client wrote it, a value that was refused by the directive's name in the table.
//!
//! Not here: redaction of SENSITIVE arguments in the slow log.

use super::choices::ProtectedAction;
use super::param::{ALIAS_HIDDEN, DENY_LOADING, EXTENSION, HIDDEN, IMMUTABLE, PROTECTED, VOLATILE};
use super::table::{PARAMS, lookup};
use super::value::Reason;
use super::{Config, Param};
use crate::glob;
use crate::mover::Mover;

/// Who asks for a change, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The data set is being loaded.
    pub loading: bool,
    /// The client is on this machine (loopback or Unix socket).
    pub local: bool,
}

/// Why CONFIG SET changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    Loading,
    Unknown { name: Vec<u8> },
    Refused { name: Vec<u8>, reason: Reason },
}

impl SetError {
    /// The values were good, but the server could not do what they ask for.
    pub fn apply(param: &Param, reason: impl Into<Reason>) -> SetError {
        SetError::Refused { name: param.name.into(), reason: reason.into() }
    }

    /// The error as it follows the `-` of the reply. Bytes the client sent cannot break the line.
    pub fn text(&self) -> Vec<u8> {
        let parts: &[&[u8]] = match self {
            SetError::Loading => &[b"LOADING Redis is loading the dataset in memory"],
            SetError::Unknown { name } => {
                &[b"ERR Unknown option or number of arguments for CONFIG SET - '", name, b"'"]
            }
            SetError::Refused { name, reason } => {
                &[b"ERR CONFIG SET failed (possibly related to argument '", name, b"') - ", reason.as_bytes()]
            }
        };
        let one_line = |b: &u8| if matches!(b, b'\r' | b'\n') { b' ' } else { *b };
        parts.concat().iter().map(one_line).collect()
    }
}

/// Sets all pairs or none. Returns the new configuration and the rows that changed, in the order given.
pub fn set_many(
    config: &Config,
    pairs: &[(&[u8], &[u8])],
    caller: Caller,
) -> Result<(Config, Vec<&'static Param>), SetError> {
    let mut found: Vec<(&'static Param, &'static str)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let Some((param, spelling)) = lookup(name) else {
            return Err(SetError::Unknown { name: name.to_vec() });
        };
        allowed(param, config, value, caller).map_err(|error| error.named(name))?;
        // As in Redis, a name and its alias are two parameters, of which the last wins.
        if found.iter().any(|(_, earlier)| *earlier == spelling) {
            return Err(Refusal::Reason("duplicate parameter").named(name));
        }
        found.push((param, spelling));
    }
    let mut new = config.clone();
    let mut changed = Vec::new();
    for ((param, spelling), (_, value)) in found.into_iter().zip(pairs) {
        let before = param.get(&new);
        set_one(param, &mut new, value).map_err(|reason| SetError::Refused { name: spelling.into(), reason })?;
        if param.has(VOLATILE) || param.get(&new) != before {
            changed.push(param);
        }
    }
    Ok((new, changed))
}

enum Refusal {
    Loading,
    Reason(&'static str),
}

impl Refusal {
    fn named(self, name: &[u8]) -> SetError {
        match self {
            Refusal::Loading => SetError::Loading,
            Refusal::Reason(reason) => SetError::Refused { name: name.to_vec(), reason: reason.into() },
        }
    }
}

/// Whether this directive may be given this value now, by this client.
fn allowed(param: &Param, config: &Config, value: &[u8], caller: Caller) -> Result<(), Refusal> {
    // Scripts that read all directives and set them again know Redis's immutable ones and skip them. Those it does
    // not have are accepted with the value they already hold.
    let unchanged = param.has(EXTENSION) && param.get(config) == value;
    if param.has(IMMUTABLE) && !unchanged {
        return Err(Refusal::Reason("can't set immutable config"));
    }
    let protected_ok = match config.enable_protected_configs {
        ProtectedAction::No => false,
        ProtectedAction::Yes => true,
        ProtectedAction::Local => caller.local,
    };
    if param.has(PROTECTED) && !protected_ok {
        return Err(Refusal::Reason("can't set protected config"));
    }
    if param.has(DENY_LOADING) && caller.loading {
        return Err(Refusal::Loading);
    }
    Ok(())
}

/// Sets one value, with the one refusal that a file does not know.
fn set_one(param: &Param, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
    param.set(config, value)?;
    if param.name == "activedefrag" && config.activedefrag && Mover::of_allocator().is_none() {
        return Err(NO_DEFRAGMENTATION.into());
    }
    Ok(())
}

/// Redis's answer when its allocator cannot defragment. A file that asks for it is accepted, so that it starts.
const NO_DEFRAGMENTATION: &str = "Active defragmentation cannot be enabled: it requires a Redis server compiled \
     with a modified Jemalloc like the one shipped by default with the Redis source distribution";

/// The directives that any of the patterns names, each once: names as the table spells them when a pattern matched,
/// as the client wrote them when it asked for one by name.
pub fn get_matching(config: &Config, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |name: &[u8], param: &Param| {
        if !found.iter().any(|(seen, _)| seen.eq_ignore_ascii_case(name)) {
            found.push((name.to_vec(), param.get(config)));
        }
    };
    for pattern in patterns {
        if !pattern.iter().any(|b| b"[*?".contains(b)) {
            if let Some((param, _)) = lookup(pattern) {
                add(pattern, param);
            }
            continue;
        }
        for param in PARAMS.iter().filter(|p| !p.has(HIDDEN)) {
            let alias = param.alias.filter(|_| !param.has(ALIAS_HIDDEN));
            for name in [Some(param.name), alias].into_iter().flatten() {
                if glob::matches(pattern, name.as_bytes(), true) {
                    add(name.as_bytes(), param);
                }
            }
        }
    }
    found
}
