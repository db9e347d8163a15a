//! The configuration file: lines of words.
//!
//! A line is a directive and its arguments in the words of [`quote`](crate::quote); `#` as the first byte makes a
//! comment. Later lines win, except `save`, whose lines add up once the first has replaced the default. A directive of
//! several arguments may get them as one quoted word. The command line arrives here too, as lines after those of the
//! file (see [`cli`](super::cli)).
//!
//! What a line asks of the world is asked of the [`Host`]: to read included files, to enter a directory (at once,
//! because a later `include` may be relative to it), to rename a command, to take an ACL user. By default a host
//! refuses what not every server can do, so that nothing about security is silently dropped.
//!
//! Errors carry the line and the text that redis-server prints for it. Differs from Redis: `save` lines after an
//! `include` still add up, and including in a circle is an error instead of a crash.

use std::fmt;

use super::param::MULTI_ARG;
use super::table::lookup;
use super::{Config, Param, REDIS_VERSION};
use crate::quote::split_args;

/// What reading a configuration asks of the world. Errors are texts for the reader of stderr.
pub trait Host {
    /// The contents of the files a path names, in order. A path with `*`, `?` or `[` is a pattern and may name none;
    /// one without must name a file.
    fn include(&mut self, path: &str) -> Result<Vec<Vec<u8>>, String>;

    /// Makes this the working directory.
    fn enter(&mut self, dir: &str) -> Result<(), String>;

    /// Whether the log can be written there. Asked at the end.
    fn try_log(&mut self, path: &str) -> Result<(), String>;

    /// Renames a command; to nothing, to remove it. Redis's two complaints are [`NO_SUCH_COMMAND`] and
    /// [`COMMAND_EXISTS`].
    fn rename_command(&mut self, from: &[u8], to: &[u8]) -> Result<(), String>;

    /// Takes an ACL user: the words after `user`.
    fn user(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let name = words.first().map(|w| String::from_utf8_lossy(w)).unwrap_or_default();
        Err(format!("Error in user declaration '{name}': ACL users are not supported, use requirepass"))
    }
}

pub const NO_SUCH_COMMAND: &str = "No such command in rename-command";
pub const COMMAND_EXISTS: &str = "Target command name already exists";

/// Files that include files that include files, and so on, end here.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong. The text is what redis-server prints on stderr.
    Line { number: usize, line: Vec<u8>, reason: String },
    /// The lines are good, the whole is not.
    Whole { reason: String },
    /// An included file cannot be read: a line for the log.
    Open { path: String, reason: String },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let LoadError::Open { path, reason } = self {
            return write!(f, "Fatal error, can't open config file '{path}': {reason}");
        }
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***")?;
        match self {
            LoadError::Line { number, line, reason } => {
                writeln!(f, "Reading the configuration file, at line {number}")?;
                writeln!(f, ">>> '{}'", String::from_utf8_lossy(line))?;
                writeln!(f, "{reason}")
            }
            LoadError::Whole { reason } | LoadError::Open { reason, .. } => writeln!(f, "{reason}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads the text of a configuration into `config`. After an error `config` is half changed and of no use.
pub fn load(config: &mut Config, text: &[u8], host: &mut dyn Host) -> Result<(), LoadError> {
    Loader { config, host, save_seen: false }.text(text, 0)
}

/// Reads the file at `path`, as redis-server does with its first argument.
pub fn read(path: &str, host: &mut dyn Host) -> Result<Vec<u8>, LoadError> {
    let open = |reason| LoadError::Open { path: path.to_owned(), reason };
    host.include(path).map(|texts| texts.concat()).map_err(open)
}

struct Loader<'a> {
    config: &'a mut Config,
    host: &'a mut dyn Host,
    save_seen: bool,
}

/// A line that cannot be used, or an error that already knows its place.
enum Trouble {
    Here(String),
    Elsewhere(LoadError),
}

impl<T: Into<String>> From<T> for Trouble {
    fn from(reason: T) -> Trouble {
        Trouble::Here(reason.into())
    }
}

impl Loader<'_> {
    fn text(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = trimmed(line);
            if matches!(line.first(), None | Some(b'#')) {
                continue;
            }
            self.line(line, depth).map_err(|trouble| match trouble {
                Trouble::Here(reason) => LoadError::Line { number: index + 1, line: line.to_vec(), reason },
                Trouble::Elsewhere(error) => error,
            })?;
        }
        self.whole().map_err(|reason| LoadError::Whole { reason })
    }

    /// Checks that concern more than one line. Redis makes them at the end of every file, included ones too.
    fn whole(&mut self) -> Result<(), String> {
        if !self.config.logfile.is_empty() {
            let open = self.host.try_log(&self.config.logfile);
            open.map_err(|reason| format!("Can't open the log file: {reason}"))?;
        }
        if self.config.cluster_enabled && self.config.replicaof.is_some() {
            return Err("replicaof directive not allowed in cluster mode".into());
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], depth: usize) -> Result<(), Trouble> {
        let words = split_args(line).map_err(|_| "Unbalanced quotes in configuration line")?;
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        if let Some((param, _)) = lookup(name) {
            return self.directive(param, args).map_err(Trouble::Here);
        }
        let name = name.to_ascii_lowercase();
        match (name.as_slice(), args) {
            (obsolete, [_]) if OBSOLETE.contains(&obsolete) => {}
            (b"include", [path]) => return self.include(path, depth),
            (b"rename-command", [from, to]) => self.host.rename_command(from, to)?,
            (b"user", [_, ..]) => self.host.user(args)?,
            (b"loadmodule", [_, ..]) => return Err("loadmodule: modules are not supported".into()),
            (name, []) if name.contains(&b'.') => {
                return Err("Module config specified without value".into());
            }
            (name, _) if name.contains(&b'.') => {
                return Err("Module Configuration detected, but modules are not supported".into());
            }
            (b"sentinel", []) => return Err(super::cli::NO_SENTINEL.into()),
            (b"sentinel", _) => return Err("sentinel directive while not in sentinel mode".into()),
            _ => return Err("Bad directive or wrong number of arguments".into()),
        }
        Ok(())
    }

    fn directive(&mut self, param: &Param, args: &[Vec<u8>]) -> Result<(), String> {
        let multiple = param.has(MULTI_ARG);
        if !multiple && args.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        let split;
        let args = match args {
            // Redis takes unbalanced quotes in here for no words at all.
            [one] if multiple && !one.is_empty() => {
                split = split_args(one).unwrap_or_default();
                &split
            }
            args => args,
        };
        let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        match param.name {
            "save" => self.save(param, &words),
            "dir" => {
                param.set_args(self.config, &words)?;
                self.host.enter(&self.config.dir)
            }
            _ => Ok(param.set_args(self.config, &words)?),
        }
    }

    /// The first line replaces the default, later ones add to it, and an empty word clears all.
    fn save(&mut self, param: &Param, words: &[&[u8]]) -> Result<(), String> {
        let before = if self.save_seen { std::mem::take(&mut self.config.save) } else { Vec::new() };
        self.save_seen = true;
        param.set_args(self.config, words)?;
        if *words != [b""] {
            self.config.save.splice(0..0, before);
        }
        Ok(())
    }

    fn include(&mut self, path: &[u8], depth: usize) -> Result<(), Trouble> {
        let path = std::str::from_utf8(path).map_err(|_| "include: the path is not UTF-8")?;
        if depth == INCLUDE_DEPTH_MAX {
            return Err("include: too many files that include each other".into());
        }
        let text = read(path, self.host).map_err(Trouble::Elsewhere)?;
        self.text(&text, depth + 1).map_err(Trouble::Elsewhere)
    }
}

/// Directives that are gone: one argument, whatever it is.
const OBSOLETE: [&[u8]; 3] = [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let blank = |b: &u8| b" \t\r\n".contains(b);
    let start = line.iter().position(|b| !blank(b)).unwrap_or(line.len());
    let end = line.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
    &line[start..end]
}
