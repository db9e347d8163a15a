//! Directives whose values are lists or have rules of their own, and the checks of names and templates.
//!
//! Each is three functions: read arguments, print the value, and give the lines that CONFIG REWRITE writes. A line is
//! forced when it must be written even if the old file did not mention the directive.
//!
//! Hosts and addresses are written to the file without quotes, so blanks and control bytes in them are refused here
//! and a value can never become a second line.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::events::KeyspaceEvents;
use super::limits::{ClientClass, OutputLimit, OutputLimits};
use super::param::{Number, Param, Unit, num, number};
use super::rewrite::{Line, memory_text};
use super::value::{Reason, c_string, parse_c_long};
use super::{Config, SavePoint};
use crate::num::parse_memory;
use crate::quote::quoted;

/// The three functions of a directive with rules of its own.
pub struct Special {
    /// The values it takes, for the reader.
    pub syntax: &'static str,
    pub set: fn(&mut Config, &[&[u8]]) -> Result<(), Reason>,
    pub get: fn(&Config) -> Vec<u8>,
    pub(super) lines: fn(&Config, &Param) -> Vec<Line>,
}

impl std::fmt::Debug for Special {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Special")
    }
}

/// More addresses than these are refused, as Redis does.
const BIND_ADDRESSES_MAX: usize = 16;
/// Longest host name, one more than fits.
const HOST_NAME_LEN: usize = 256;

const WRONG_NUMBER: Reason = Reason::Borrowed("wrong number of arguments");

// ---- bind -----------------------------------------------------------------------------------------------------

pub(super) const BIND: Special = Special {
    syntax: "address ...",
    set: |config, args| {
        if args.len() > BIND_ADDRESSES_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        let args = if args == [b""] { &[] } else { args };
        if args.contains(&b"".as_slice()) {
            return Err("Failed to bind to specified addresses.".into());
        }
        config.bind = args.iter().map(|address| bare_word(address)).collect::<Result<_, _>>()?;
        Ok(())
    },
    get: |config| config.bind.join(" ").into_bytes(),
    lines: |config, param| {
        let addresses = config.bind.join(" ");
        match addresses.as_str() {
            default if default == param.default => Vec::new(),
            "" => vec![Line::forced("bind \"\"")],
            addresses => vec![Line::forced(format!("bind {addresses}"))],
        }
    },
};

/// A word that can stand in a file without quotes.
fn bare_word(word: &[u8]) -> Result<String, Reason> {
    let word = std::str::from_utf8(c_string(word)).map_err(|_| "argument must be valid UTF-8")?;
    if word.is_empty() {
        return Err("an address must not be empty".into());
    }
    if word.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'#".contains(c)) {
        return Err("an address must not contain blanks, quotes or control characters".into());
    }
    Ok(word.to_owned())
}

// ---- client-output-buffer-limit -------------------------------------------------------------------------------

pub(super) const CLIENT_OUTPUT_BUFFER_LIMIT: Special = Special {
    syntax: "class hard soft seconds ...",
    set: |config, args| {
        config.client_output_buffer_limit = parse_limits(config.client_output_buffer_limit, args)?;
        Ok(())
    },
    get: |config| {
        let limit = |class: ClientClass| {
            let l = config.client_output_buffer_limit.of(class);
            format!("{} {} {} {}", class.old_name(), l.hard_bytes, l.soft_bytes, l.soft_seconds)
        };
        ClientClass::ALL.map(limit).join(" ").into_bytes()
    },
    lines: |config, param| {
        let limits = config.client_output_buffer_limit;
        let defaults: Vec<&[u8]> = param.default.split(' ').map(str::as_bytes).collect();
        let defaults = parse_limits(limits, &defaults).unwrap_or_default();
        let line = |class: ClientClass| {
            let limit = limits.of(class);
            let (hard, soft) = (memory_text(limit.hard_bytes.into()), memory_text(limit.soft_bytes.into()));
            let text = format!("{} {} {hard} {soft} {}", param.name, class.name(), limit.soft_seconds);
            Line { text: text.into_bytes(), forced: limit != defaults.of(class) }
        };
        ClientClass::ALL.map(line).into()
    },
};

/// Groups of class, hard limit, soft limit and seconds; classes that are not named keep their limits.
fn parse_limits(mut limits: OutputLimits, args: &[&[u8]]) -> Result<OutputLimits, Reason> {
    let (groups, rest) = args.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for [class, hard, soft, seconds] in groups {
        let Some(class) = ClientClass::named(c_string(class)) else {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        };
        let seconds = parse_c_long(seconds, 10).and_then(|s| u32::try_from(s).ok()).filter(|s| *s <= i32::MAX as u32);
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) =
            (parse_memory(c_string(hard)), parse_memory(c_string(soft)), seconds)
        else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        limits.set(class, OutputLimit { hard_bytes, soft_bytes, soft_seconds });
    }
    Ok(limits)
}

// ---- latency-tracking-info-percentiles ------------------------------------------------------------------------

pub(super) const LATENCY_TRACKING_INFO_PERCENTILES: Special = Special {
    syntax: "percentile ...",
    set: |config, args| {
        let args = if args == [b""] { &[] } else { args };
        let mut percentiles = Vec::with_capacity(args.len());
        for arg in args {
            let parsed = std::str::from_utf8(arg).ok().and_then(|s| s.parse::<f64>().ok());
            match parsed.filter(|p| !p.is_nan()) {
                None => return Err("Invalid latency-tracking-info-percentiles parameters".into()),
                Some(p) if !(0.0..=100.0).contains(&p) => {
                    return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
                }
                // Kept as it prints, so that what a file says is what was meant.
                Some(p) => percentiles.push((p * 1e6).round() / 1e6),
            }
        }
        config.latency_tracking_info_percentiles = percentiles;
        Ok(())
    },
    get: |config| percentiles_text(config).into_bytes(),
    lines: |config, param| match percentiles_text(config) {
        none if none.is_empty() => vec![Line::forced(format!("{} \"\"", param.name))],
        list => vec![Line::forced(format!("{} {list}", param.name))],
    },
};

/// Six digits after the point, without the zeros at the end.
fn percentiles_text(config: &Config) -> String {
    let print = |p: &f64| {
        let text = format!("{p:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    config.latency_tracking_info_percentiles.iter().map(print).collect::<Vec<_>>().join(" ")
}

// ---- notify-keyspace-events -----------------------------------------------------------------------------------

pub(super) const NOTIFY_KEYSPACE_EVENTS: Special = Special {
    syntax: "letters of Ag$lshzxeKEtmdn",
    set: |config, args| {
        let [letters] = args else {
            return Err(WRONG_NUMBER);
        };
        let events = KeyspaceEvents::parse(c_string(letters));
        config.notify_keyspace_events = events.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(())
    },
    get: |config| config.notify_keyspace_events.letters().into_bytes(),
    lines: |config, param| {
        let events = config.notify_keyspace_events;
        let mut text = format!("{} ", param.name).into_bytes();
        text.extend(quoted(events.letters_to_read().as_bytes()));
        vec![Line { text, forced: events != KeyspaceEvents::default() }]
    },
};

// ---- oom-score-adj-values -------------------------------------------------------------------------------------

pub(super) const OOM_SCORE_ADJ_VALUES: Special = Special {
    syntax: "primary replica child",
    set: |config, args| {
        if args.len() != config.oom_score_adj_values.len() {
            return Err(WRONG_NUMBER);
        }
        let mut scores = config.oom_score_adj_values;
        for (score, arg) in scores.iter_mut().zip(args) {
            *score = parse_c_long(arg, 10)
                .and_then(|v| i32::try_from(v).ok())
                .filter(|v| (-2000..=2000).contains(v))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        config.oom_score_adj_values = scores;
        Ok(())
    },
    get: |config| config.oom_score_adj_values.map(|v| v.to_string()).join(" ").into_bytes(),
    lines: |config, param| {
        let scores = config.oom_score_adj_values.map(|v| v.to_string()).join(" ");
        let forced = scores != param.default;
        vec![Line { text: format!("{} {scores}", param.name).into_bytes(), forced }]
    },
};

// ---- replicaof ------------------------------------------------------------------------------------------------

pub(super) const REPLICAOF: Special = Special {
    syntax: "host port",
    set: |config, args| {
        let [host, port] = args else {
            return Err(WRONG_NUMBER);
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            config.replicaof = None;
            return Ok(());
        }
        let port = parse_c_long(port, 10).and_then(|p| u16::try_from(p).ok()).ok_or("Invalid master port")?;
        config.replicaof = Some((bare_word(host)?, port));
        Ok(())
    },
    get: |config| match &config.replicaof {
        Some((host, port)) => format!("{host} {port}").into_bytes(),
        None => Vec::new(),
    },
    lines: |config, param| match &config.replicaof {
        Some((host, port)) if !config.cluster_enabled => {
            vec![Line::forced(format!("{} {host} {port}", param.name))]
        }
        _ => Vec::new(),
    },
};

// ---- save -----------------------------------------------------------------------------------------------------

pub(super) const SAVE: Special = Special {
    syntax: "seconds changes ...",
    set: |config, args| {
        config.save = parse_save(args).ok_or("Invalid save parameters")?;
        Ok(())
    },
    get: |config| {
        let point = |p: &SavePoint| format!("{} {}", p.seconds, p.changes);
        config.save.iter().map(point).collect::<Vec<_>>().join(" ").into_bytes()
    },
    lines: |config, _| {
        if config.save.is_empty() {
            return vec![Line::forced("save \"\"")];
        }
        config.save.iter().map(|p| Line::forced(format!("save {} {}", p.seconds, p.changes))).collect()
    },
};

fn parse_save(args: &[&[u8]]) -> Option<Vec<SavePoint>> {
    let args = if args == [b""] { &[] } else { args };
    let (pairs, rest) = args.as_chunks::<2>();
    let point = |[seconds, changes]: &[&[u8]; 2]| {
        let seconds = parse_c_long(seconds, 10).and_then(|s| u64::try_from(s).ok()).filter(|s| *s >= 1)?;
        let changes = parse_c_long(changes, 10).and_then(|c| u64::try_from(c).ok())?;
        (changes <= i32::MAX as u64).then_some(SavePoint { seconds, changes })
    };
    if rest.is_empty() { pairs.iter().map(point).collect() } else { None }
}

// ---- threads and io-threads -------------------------------------------------------------------------------------

// Both name the number of workers, and whichever is said last wins. A file has one line for both: `io-threads` while
// they agree, which Redis understands too, else `threads`.

const THREADS_RANGE: Number = number(num!(threads), 0, 1_024, Unit::Plain);
const IO_THREADS_RANGE: Number = number(num!(io_threads), 1, 128, Unit::Plain);

pub(super) const THREADS: Special = Special {
    syntax: "number",
    set: |config, args| {
        let threads = THREADS_RANGE.parse(args.first().copied().unwrap_or_default())?;
        (THREADS_RANGE.field.set)(config, threads);
        Ok(())
    },
    get: |config| config.threads.to_string().into_bytes(),
    lines: |config, param| {
        if config.threads == config.io_threads {
            return Vec::new();
        }
        let text = format!("{} {}", param.name, config.threads).into_bytes();
        vec![Line { text, forced: config.threads != 0 }]
    },
};

pub(super) const IO_THREADS: Special = Special {
    syntax: "number",
    set: |config, args| {
        let threads = IO_THREADS_RANGE.parse(args.first().copied().unwrap_or_default())?;
        (IO_THREADS_RANGE.field.set)(config, threads);
        config.threads = config.io_threads;
        Ok(())
    },
    get: |config| config.io_threads.to_string().into_bytes(),
    lines: |config, param| {
        if config.threads != config.io_threads {
            return Vec::new();
        }
        vec![Line::forced(format!("{} {}", param.name, config.io_threads))]
    },
};

// ---- checks of text -------------------------------------------------------------------------------------------

pub(super) fn dbfilename(name: &str) -> Result<(), &'static str> {
    if is_base_name(name) { Ok(()) } else { Err("dbfilename can't be a path, just a filename") }
}

pub(super) fn appendfilename(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appendfilename can't be a path, just a filename"),
    }
}

pub(super) fn appenddirname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appenddirname can't be a path, just a dirname"),
    }
}

fn is_base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

pub(super) fn cluster_announce_hostname(name: &str) -> Result<(), &'static str> {
    if name.len() >= HOST_NAME_LEN {
        return Err("Hostnames must be less than 256 characters");
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Ok(());
    }
    Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
}

pub(super) fn cluster_announce_human_nodename(name: &str) -> Result<(), &'static str> {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        return Ok(());
    }
    Err("Announced human node name contained invalid character")
}

pub(super) fn cluster_announce_client_ipv4(address: &str) -> Result<(), &'static str> {
    if address.is_empty() || address.parse::<Ipv4Addr>().is_ok() { Ok(()) } else { Err("Invalid IPv4 address") }
}

pub(super) fn cluster_announce_client_ipv6(address: &str) -> Result<(), &'static str> {
    if address.is_empty() || address.parse::<Ipv6Addr>().is_ok() { Ok(()) } else { Err("Invalid IPv6 address") }
}

/// A template of the process title must leave something to show even when the variables that may be empty are.
pub(super) fn proc_title_template(template: &str) -> Result<(), &'static str> {
    let shown = expand_title(template, |variable| match variable {
        "listen-addr" | "config-file" | "port" | "tls-port" => Some("something"),
        "title" | "server-mode" | "unixsocket" => Some(""),
        _ => None,
    });
    if shown.is_some_and(|text| !text.is_empty()) {
        return Ok(());
    }
    Err("template format is invalid or contains unknown variables")
}

/// Text with variables in braces; `{{` is a brace. `None` if it is malformed or a variable unknown.
pub fn expand_title<'a>(template: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let (mut rest, mut text) = (template, String::new());
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            text.push('{');
            rest = after;
            continue;
        }
        let (variable, after) = after.split_once('}')?;
        text.push_str(value(variable)?);
        rest = after;
    }
    text.push_str(rest);
    Some(text.trim_matches(' ').to_owned())
}
