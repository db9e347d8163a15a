//! CONFIG: reading, changing and writing back the configuration while the server runs.
//!
//! The rules of names and values are `config`'s; here is what a change sets in motion. CONFIG SET works on a copy: what
//! must be done in the world before the new values hold, and may fail, is a [`Hook`]; then the copy is swapped in and
//! the services that keep copies of values get them. Two changes at once wait for each other.

use super::connection::evict;
use crate::acl::User;
use crate::command::*;
use crate::config::choices::LogLevel;
use crate::config::live::{self, Caller, SetError};
use crate::config::param::{Param, SENSITIVE};
use crate::config::rewrite::{Rewrite, rewrite};
use crate::config::{Config, lookup, quoted, split_args};
use crate::log;
use crate::node::{Loads, Node};
use crate::process;
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub const COMMANDS: &[Command] = &[CONFIG, GET, HELP, RESETSTAT, REWRITE, SET];

/// What a directive's new value asks of the world before it holds. It may correct the new configuration. The text of
/// its error goes to the client.
struct Hook {
    /// It runs once if any of these is changed.
    params: &'static [&'static str],
    run: fn(&Node, &Config, &mut Config) -> Result<(), String>,
}

/// In the order in which they run. Those that let clients in elsewhere come last: what fails before leaves them alone.
const HOOKS: &[Hook] = &[
    Hook { params: &["dir"], run: enter_dir },
    Hook { params: &["maxclients"], run: allow_clients },
    Hook { params: &["appendonly"], run: switch_log },
    Hook { params: &["aof-disable-auto-gc"], run: delete_history },
    Hook { params: &["proc-title-template"], run: show_title },
    Hook { params: &["oom-score-adj", "oom-score-adj-values"], run: adjust_oom_score },
    Hook { params: OF_TLS, run: configure_tls },
    Hook { params: &["bind"], run: rebind },
    Hook { params: &["port", "tls-port"], run: reopen_ports },
    Hook { params: &["requirepass"], run: require_password },
];

/// What the settings of a TLS handshake are made of.
const OF_TLS: &[&str] = &[
    "tls-auth-clients",
    "tls-ca-cert-dir",
    "tls-ca-cert-file",
    "tls-cert-file",
    "tls-ciphers",
    "tls-ciphersuites",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-client-key-file-pass",
    "tls-cluster",
    "tls-key-file",
    "tls-key-file-pass",
    "tls-port",
    "tls-prefer-server-ciphers",
    "tls-protocols",
    "tls-replication",
    "tls-session-cache-size",
    "tls-session-cache-timeout",
    "tls-session-caching",
];

const CONFIG: Command = Command {
    name: "CONFIG",
    args: "",
    arity: -2,
    since: "2.0.0",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on the configuration.",
    examples: "> CONFIG\n(error) ERR wrong number of arguments for 'config' command",
    run: container,
};

const GET: Command = Command {
    name: "CONFIG GET",
    args: "parameter [parameter ...]",
    arity: -3,
    since: "2.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The values of directives, by name or pattern. O(N) in the number of directives.",
    examples: "> CONFIG GET hash-max-listpack-entries\n1) \"hash-max-listpack-entries\"\n2) \"512\"\n> CONFIG GET nosuchdirective\n(empty array)",
    run: get,
};

fn get(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, config, .. } = ctx;
    let patterns: Vec<&[u8]> = args.from(2).collect();
    let found = live::get_matching(config, &patterns);
    out.map(found.len());
    for (name, value) in found {
        out.0.bulk(&name);
        out.0.bulk(&value);
    }
    Ok(())
}

const HELP: Command = Command {
    name: "CONFIG HELP",
    args: "",
    arity: 2,
    since: "5.0.0",
    group: Group::Server,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> CONFIG HELP too many\n(error) ERR wrong number of arguments for 'config|help' command",
    run: |ctx| ctx.out.help("CONFIG", HELP_LINES),
};

const RESETSTAT: Command = Command {
    name: "CONFIG RESETSTAT",
    args: "",
    arity: 2,
    since: "2.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Lets the statistics of INFO begin anew. O(N) in the number of commands.",
    examples: "> CONFIG RESETSTAT\nOK",
    run: |ctx| {
        ctx.node.observatory.reset(ctx.db.now());
        ctx.node.reaper.reset();
        ctx.node.journal.stats.reset();
        ctx.node.aof.reset_counts();
        ctx.node.rdb.saves.store(0, Relaxed);
        ctx.out.ok()
    },
};

const REWRITE: Command = Command {
    name: "CONFIG REWRITE",
    args: "",
    arity: 2,
    since: "2.8.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Writes the values of today into the configuration file, keeping its comments. O(N) in the file's length.",
    examples: "> CONFIG REWRITE\n(error) ERR The server is running without a config file",
    run: |ctx| {
        let path = ctx.node.life.config_file.get().ok_or(NO_FILE)?;
        rewrite_file(path, ctx.node, ctx.config, false).map_err(|e| failed("ERR Rewriting config file: ", &e))?;
        log::notice!("CONFIG REWRITE executed with success.");
        ctx.out.ok()
    },
};

fn failed(what: &str, e: &io::Error) -> Error {
    log::warning!("CONFIG REWRITE failed: {e}");
    Error::owned(format!("{what}{}", log::cause(e)))
}

/// Puts the rewritten file in the place of the old one, whole or not at all.
pub fn rewrite_file(path: &Path, node: &Node, config: &Config, all: bool) -> io::Result<()> {
    let old = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    // Users of an ACL file are that file's.
    let users = if config.aclfile.is_empty() { user_lines(node) } else { Vec::new() };
    replace_file(path, &rewrite(&old, config, Rewrite { all, users: Some(&users) }))
}

/// Every user, as the words behind `user`; quoted where a file needs it.
fn user_lines(node: &Node) -> Vec<Vec<u8>> {
    let word = |word: &[u8]| match split_args(word) {
        Ok(words) if words == [word] => word.to_vec(),
        _ => quoted(word),
    };
    let line = |user: &Arc<User>| {
        let rules = user.rules().words();
        let words: Vec<Vec<u8>> =
            std::iter::once(user.name()).chain(rules.iter().map(Vec::as_slice)).map(word).collect();
        words.join(&b' ')
    };
    node.acl.all().iter().map(line).collect()
}

/// Puts a text in the place of a file, whole or not at all.
pub fn replace_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(format!("-{}.tmp", std::process::id()));
    let written = File::create(&temp).and_then(|mut file| {
        if let Ok(metadata) = fs::metadata(path) {
            file.set_permissions(metadata.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&temp, path));
    if placed.is_err() {
        let _ = fs::remove_file(&temp);
    }
    placed?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

const SET: Command = Command {
    name: "CONFIG SET",
    args: "parameter value [parameter value ...]",
    arity: -4,
    since: "2.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Changes directives, all or none. O(N) in their number.",
    examples: "> CONFIG SET maxmemory-samples 7\nOK\n> CONFIG GET maxmemory-samples\n1) \"maxmemory-samples\"\n2) \"7\"\n> CONFIG SET maxmemory-samples 5 nosuch 1\n(error) ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\n> CONFIG SET maxmemory-samples 5\nOK",
    run: set,
};

fn set(ctx: &mut Ctx<'_, '_>) -> Outcome {
    for i in (2..ctx.args.len()).step_by(2) {
        if lookup(ctx.args.get(i)).is_some_and(|(param, _)| param.has(SENSITIVE)) {
            ctx.redact(i + 1);
        }
    }
    if !ctx.args.len().is_multiple_of(2) {
        return Err(error::SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = ctx.args.pairs(2).collect();
    let caller =
        Caller { loading: ctx.node.life.loads() != Loads::Nothing, local: gates::is_local(&ctx.session.client) };
    change(ctx.node, &pairs, caller).map_err(|error| Error::owned(error.text()))?;
    evict::relieve(ctx.node, ctx.registry, ctx.stats, &ctx.node.config.load());
    ctx.out.ok()
}

/// Changes the running server's configuration, all pairs or none.
pub fn change(node: &Node, pairs: &[(&[u8], &[u8])], caller: Caller) -> Result<(), SetError> {
    let _one_at_a_time = CHANGING.lock();
    let old = node.config.load_full();
    let (mut new, changed) = live::set_many(&old, pairs, caller)?;
    let first_of = |names: &[&str]| changed.iter().find(|param| names.contains(&param.name)).copied();
    let mut done: Vec<&Hook> = Vec::new();
    for (hook, param) in HOOKS.iter().filter_map(|hook| Some((hook, first_of(hook.params)?))) {
        if let Err(reason) = (hook.run)(node, &old, &mut new) {
            // All or none: what was done is taken back, the last of it first.
            for hook in done.into_iter().rev() {
                let _ = (hook.run)(node, &new, &mut (*old).clone());
            }
            return Err(refused(param, reason));
        }
        done.push(hook);
    }
    for param in new.without_effect().filter(|param| first_of(&[param.name]).is_some()) {
        log::warning!("The directive {} has no effect in this server", param.name);
    }
    let level = new.loglevel;
    node.config.store(Arc::new(new));
    node.apply_settings();
    if first_of(&["loglevel"]).is_some()
        && let Some(log) = log::running()
    {
        log.set_level(log_level(level));
    }
    Ok(())
}

fn refused(param: &Param, reason: String) -> SetError {
    SetError::apply(param, reason)
}

/// The log's level for the directive's.
pub fn log_level(level: LogLevel) -> log::Level {
    match level {
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Verbose => log::Level::Verbose,
        LogLevel::Notice => log::Level::Notice,
        LogLevel::Warning => log::Level::Warning,
    }
}

/// `dir`: the process changes its directory, and the directive shows it by its full name.
fn enter_dir(_: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    std::env::set_current_dir(&new.dir).map_err(|e| log::cause(&e))?;
    if let Ok(dir) = std::env::current_dir() {
        new.dir = dir.to_string_lossy().into_owned();
    }
    Ok(())
}

/// `maxclients`: each client is a descriptor, whose number the system limits.
fn allow_clients(_: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    let possible = process::adjust_open_files(new.maxclients, process::worker_threads(new)).unwrap_or(0);
    if possible >= new.maxclients {
        return Ok(());
    }
    let what = "The operating system is not able to handle the specified number of clients, try with";
    Err(format!("{what} {possible}"))
}

fn rebind(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.doors.reopen(new).map_err(|_| "Failed to bind to specified addresses.".to_owned())
}

fn configure_tls(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.tls.configure(new).map_err(|cause| {
        log::warning!("{cause}");
        "Unable to update TLS configuration. Check server logs.".to_owned()
    })
}

fn reopen_ports(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.doors.reopen(new).map_err(|_| "Unable to listen on this port. Check server logs.".to_owned())
}

/// `requirepass`: the default user's one password, or none needed.
fn require_password(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.acl.set_default_password(&new.requirepass);
    Ok(())
}

fn switch_log(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.switch_log(new.appendonly)
}

/// `aof-disable-auto-gc`: what was kept goes when nothing is to be kept any more.
fn delete_history(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    if let Some(dir) = node.aof.files.lock().as_mut() {
        dir.delete_history(new);
    }
    Ok(())
}

fn show_title(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.show_title(new);
    Ok(())
}

fn adjust_oom_score(node: &Node, _: &Config, new: &mut Config) -> Result<(), String> {
    node.oom_score.apply(new, node.replication.is_replica()).map_err(|e| {
        log::warning!("Unable to apply oom-score-adj: {e}");
        "Failed to set current oom_score_adj. Check server logs.".to_owned()
    })
}

/// Held while the configuration is read, changed and swapped. Nothing else is waited for inside.
static CHANGING: Mutex<()> = Mutex::new(());

const HELP_LINES: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

const NO_FILE: Error = Error::new("ERR The server is running without a config file");
