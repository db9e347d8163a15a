//! What the page shows, as JSON: `/figures.json`.
//!
//! The samples of [`History`] that the page does not have yet (`?after=NUMBER`), and how things are now: fields of INFO
//! under their own names, hot keys, the slow log, keys by prefix. Bounds: rows of each list, bytes of each text, and the
//! keys that are sampled, which a request for the figures does, at most every ten seconds.
//! Keys, arguments and names of clients come from anybody: they are told as text in which nothing is invisible
//! ([`plain`]), and the page must not read them as anything else.

use super::health;
use super::history::{self, History, SAMPLE_INTERVAL, SAMPLES_MAX};
use crate::clock;
use crate::commands::server::hotkeys;
use crate::commands::server::info::Figures;
use crate::config::Config;
use crate::keyspace::sizes::Prefix;
use crate::node::Node;
use crate::observe::{CAUSES, Costs, SlowlogEntry};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// What the admin listener keeps for the page.
pub struct Board {
    node: &'static Node,
    history: Mutex<History>,
    prefixes: Mutex<Option<(Instant, Vec<Prefix>)>>,
}

impl Board {
    pub fn new(node: &'static Node) -> Self {
        Self { node, history: Mutex::new(History::new(node)), prefixes: Mutex::default() }
    }

    /// Takes samples as long as the listener is served.
    pub async fn keep_history(&self) {
        let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + SAMPLE_INTERVAL, SAMPLE_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.sample();
        }
    }

    /// Takes a sample now.
    pub fn sample(&self) {
        self.history.lock().sample(self.node);
    }

    /// The figures, with the samples after the one that the query of a request names.
    pub fn json(&self, query: Option<&str>) -> Value {
        let after = query.and_then(|query| query.strip_prefix("after=")?.parse().ok()).unwrap_or(0);
        let (node, now, config) = (self.node, clock::now_ms(), self.node.config.load_full());
        let bounds: Vec<u64> = history::bounds_ns().collect();
        json!({
            "run_id": node.life.run_id,
            "now_ms": now,
            "interval_ms": SAMPLE_INTERVAL.as_millis() as u64,
            "samples_max": SAMPLES_MAX,
            "bounds_ns": bounds,
            "causes": CAUSES,
            "samples": self.history.lock().json(after),
            "info": info(&Figures::read(node, &config, now)),
            "keys": node.keyspace.keys(),
            "prefixes": self.prefixes(),
            "hotkeys": hot_keys(node, now),
            "turns_s": health::turns(node).into_iter().map(|(_, seconds)| seconds).collect::<Value>(),
            "slowlog": slow_log(node, &config),
        })
    }

    /// Keys and bytes by prefix; what is beyond the rows shown is summed up in one without a name.
    fn prefixes(&self) -> Value {
        let mut kept = self.prefixes.lock();
        if kept.as_ref().is_none_or(|(at, _)| at.elapsed() >= PREFIXES_INTERVAL) {
            *kept = Some((Instant::now(), self.node.keyspace.prefixes(KEYS_SAMPLED)));
        }
        let prefixes = kept.as_ref().map(|(_, prefixes)| prefixes.as_slice()).unwrap_or_default();
        let (shown, others) = prefixes.split_at(prefixes.len().min(PREFIXES_MAX));
        let row = |prefix: &Prefix| json!({"name": plain(&prefix.name), "keys": prefix.keys, "bytes": prefix.bytes});
        let sum = |figure: fn(&Prefix) -> u64| others.iter().map(figure).fold(0, u64::saturating_add);
        let rows: Vec<Value> = shown.iter().map(row).collect();
        json!({
            "sampled_max": KEYS_SAMPLED,
            "rows": rows,
            "others": others.len(),
            "others_keys": sum(|prefix| prefix.keys),
            "others_bytes": sum(|prefix| prefix.bytes),
        })
    }
}

fn info(figures: &Figures) -> Value {
    let shown = INFO.iter().filter_map(|name| Some(((*name).to_owned(), figures.get(name)?.into())));
    Value::Object(shown.collect::<Map<_, _>>())
}

/// The session of HOTKEYS, null if there is none. Times are microseconds.
fn hot_keys(node: &Node, now: clock::Millis) -> Value {
    let Some((session, found)) = hotkeys::present(node, now) else { return Value::Null };
    let rows = |costs: &Costs, unit: u64| {
        let shown = costs.iter().take(HOT_KEYS_MAX);
        shown.map(|(key, cost)| json!({"key": plain(key), "cost": cost / unit})).collect::<Value>()
    };
    json!({
        "is_active": session.is_active(now),
        "started_ms": session.started,
        "by_time": session.wanted.cpu.then(|| rows(&found.by_time, 1000)),
        "by_bytes": session.wanted.net.then(|| rows(&found.by_bytes, 1)),
    })
}

/// The newest entries of the slow log, which has them without secrets already.
fn slow_log(node: &Node, config: &Config) -> Value {
    let row = |entry: &SlowlogEntry| {
        json!({
            "id": entry.id,
            "unix_s": entry.unix_s,
            "us": entry.cost,
            "command": plain(&entry.argv.join(&b' ')),
            "client": entry.client_addr,
            "name": plain(&entry.client_name),
        })
    };
    let entries = node.observatory.slowlog.get(SLOW_MAX);
    json!({
        "slower_than_us": config.slowlog_log_slower_than,
        "length": node.observatory.slowlog.len(),
        "entries": entries.iter().map(|entry| row(entry)).collect::<Value>(),
    })
}

/// Bytes as text of bounded length: what is not UTF-8 as `\xHH`; as `\u{HHHH}` what controls a terminal or the direction of
/// writing, or is not to be seen.
fn plain(bytes: &[u8]) -> String {
    let (head, is_cut) =
        bytes.split_at_checked(TEXT_BYTES_MAX).map_or((bytes, false), |(head, rest)| (head, !rest.is_empty()));
    let mut text = String::new();
    for chunk in head.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}' => text.extend(letter.escape_unicode()),
                _ if letter.is_control() => text.extend(letter.escape_unicode()),
                _ => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    if is_cut { text + "…" } else { text }
}

/// Fields of INFO that the page shows.
const INFO: &[&str] = &[
    "redis_version",
    "memkv_version",
    "role",
    "tcp_port",
    "uptime_in_seconds",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "connected_slaves",
    "master_link_status",
    "maxmemory_policy",
    "used_memory_peak",
    "allocator_frag_ratio",
    "mem_fragmentation_ratio",
    "loading",
    "loading_loaded_bytes",
    "loading_total_bytes",
    "loading_eta_seconds",
    "current_save_keys_processed",
    "current_save_keys_total",
    "rdb_changes_since_last_save",
    "rdb_bgsave_in_progress",
    "rdb_current_bgsave_time_sec",
    "rdb_last_save_time",
    "rdb_last_bgsave_status",
    "rdb_last_bgsave_time_sec",
    "aof_enabled",
    "aof_rewrite_in_progress",
    "aof_current_rewrite_time_sec",
    "aof_last_bgrewrite_status",
    "aof_last_write_status",
    "aof_current_size",
    "aof_waiting_clients",
    "aof_not_durable_bytes",
];
/// Rows of the lists: what one looks at, not what there is.
const PREFIXES_MAX: usize = 12;
const HOT_KEYS_MAX: usize = 12;
const SLOW_MAX: usize = 20;
/// Bytes of which a text is made: enough for a line or two. Escaped, they are six times as many at most.
const TEXT_BYTES_MAX: usize = 240;
/// Keys looked at for the prefixes: a millisecond, or a few.
const KEYS_SAMPLED: usize = 4096;
const PREFIXES_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_bytes_become_text_that_shows_everything_and_ends() {
        assert_eq!(plain("größe <b>\"&".as_bytes()), "größe <b>\"&");
        assert_eq!(plain(b"a\xff\xfe\x00\x1b[0m"), "a\\xff\\xfe\\u{0}\\u{1b}[0m");
        assert_eq!(plain("\u{202e}evil\u{feff}".as_bytes()), "\\u{202e}evil\\u{feff}");
        assert!(plain(&[b'x'; 1 << 20]).len() < TEXT_BYTES_MAX + 16);
        assert!(plain(&[0xff; 1 << 20]).len() < 6 * TEXT_BYTES_MAX + 16);
        assert!(plain(&[1; 1 << 20]).len() < 6 * TEXT_BYTES_MAX + 16);
    }
}
