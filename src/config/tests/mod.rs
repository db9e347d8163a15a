//! The promises of the configuration, by file: the table and its values here, the file, the rewrite, the command line
//! and, where a redis-server is on the PATH, the comparison with it.

mod cli;
mod file;
mod live;
mod oracle;
mod rewrite;

use super::param::*;
use super::*;
use crate::config::file::{Host, NO_SUCH_COMMAND, load};

/// Names and defaults as servers without a file print them: `CONFIG GET *`, and hidden ones asked for by name.
const REDIS_7: &str = include_str!("redis-7.0.15.txt");
const REDIS_8: &str = include_str!("redis-8.2.3.txt");
const VALKEY_9: &str = include_str!("valkey-9.1.2.txt");

fn rows(fixture: &str) -> impl Iterator<Item = (&str, &str)> {
    fixture.lines().map(|line| line.split_once(' ').unwrap_or((line, "")))
}

/// A world in which everything works and nothing can be included.
struct Lonely;

impl Host for Lonely {
    fn include(&mut self, _: &str) -> Result<Vec<Vec<u8>>, String> {
        Err("No such file or directory".into())
    }

    fn enter(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn try_log(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn rename_command(&mut self, _: &[u8], _: &[u8]) -> Result<(), String> {
        Err(NO_SUCH_COMMAND.into())
    }
}

#[test]
fn every_directive_of_redis_7_is_known_with_its_default() {
    let defaults = Config::default();
    for (name, value) in rows(REDIS_7) {
        let (param, _) = lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is unknown"));
        assert_eq!(String::from_utf8_lossy(&param.get(&defaults)), value, "{name}");
        assert!(!param.has(EXTENSION), "{name} is Redis's");
    }
}

#[test]
fn what_redis_7_does_not_have_is_marked_as_an_extension() {
    let names: Vec<&str> = rows(REDIS_7).map(|(name, _)| name).collect();
    for param in PARAMS {
        assert_eq!(names.contains(&param.name), !param.has(EXTENSION), "{}", param.name);
        if let Some(alias) = param.alias {
            assert_eq!(names.contains(&alias), !param.has(ALIAS_HIDDEN), "{alias}");
        }
    }
}

#[test]
fn directives_of_redis_8_and_valkey_9_are_accepted() {
    for (name, _) in rows(REDIS_8).chain(rows(VALKEY_9)) {
        assert!(lookup(name.as_bytes()).is_some(), "{name}");
    }
}

#[test]
fn new_directives_have_the_default_of_the_server_that_brought_them() {
    let defaults = Config::default();
    for (name, value) in rows(REDIS_8).chain(rows(VALKEY_9)) {
        let (param, _) = lookup(name.as_bytes()).unwrap();
        // Valkey has other opinions than Redis 8 about these.
        if param.has(EXTENSION) && name != "hide-user-data-from-log" {
            assert_eq!(String::from_utf8_lossy(&param.get(&defaults)), value, "{name}");
        }
    }
}

#[test]
fn every_default_reads_back() {
    let defaults = Config::default();
    // `replicaof` with nothing after it is an error.
    for param in PARAMS.iter().filter(|p| p.name != "replicaof") {
        let mut config = Config::default();
        param.set(&mut config, &param.get(&defaults)).unwrap_or_else(|e| panic!("{}: {e}", param.name));
        assert_eq!(String::from_utf8_lossy(&param.get(&config)), param.default, "{}", param.name);
        // Said aloud, `io-threads 1` asks for one thread.
        let threads = if param.name == "io-threads" { 1 } else { 0 };
        assert_eq!(std::mem::take(&mut config.threads), threads);
        assert!(config == defaults, "{}", param.name);
    }
}

#[test]
fn bounds_fit_their_fields_and_what_is_outside_is_refused() {
    for param in PARAMS {
        let ParamKind::Number(n) = param.kind else {
            continue;
        };
        for bound in [n.min, n.max] {
            let mut config = Config::default();
            (n.field.set)(&mut config, bound);
            if !["hz", "repl-backlog-size"].contains(&param.name) {
                assert_eq!((n.field.get)(&config), bound, "{}", param.name);
            }
        }
        let outside = n.max.checked_add(1).filter(|v| *v <= i128::from(u64::MAX));
        for bad in outside.into_iter().chain([n.min - 1]).filter(|_| n.unit != Unit::Octal) {
            let mut config = Config::default();
            assert!(param.set(&mut config, bad.to_string().as_bytes()).is_err(), "{} {bad}", param.name);
            assert_eq!(config, Config::default(), "{}", param.name);
        }
    }
}

#[test]
fn every_word_of_a_choice_reads_back() {
    for param in PARAMS {
        let ParamKind::Choice(choice) = param.kind else {
            continue;
        };
        for word in choice.names {
            let mut config = Config::default();
            param.set(&mut config, word.to_ascii_uppercase().as_bytes()).unwrap();
            let expected = if (param.name, *word) == ("oom-score-adj", "relative") { "yes" } else { word };
            assert_eq!(param.get(&config), expected.as_bytes(), "{}", param.name);
        }
    }
}

#[test]
fn rows_are_sorted_unique_lower_case_and_documented() {
    assert!(PARAMS.is_sorted_by(|a, b| a.name < b.name));
    let mut names: Vec<&str> = PARAMS.iter().flat_map(|p| [Some(p.name), p.alias]).flatten().collect();
    assert!(names.iter().all(|name| name.bytes().all(|b| !b.is_ascii_uppercase())));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands for two directives");
    for section in &table::SECTIONS {
        assert!(section.rows.is_sorted_by(|a, b| a.name < b.name), "{}", section.title);
    }
    assert_eq!(table::SECTIONS.iter().map(|s| s.rows.len()).sum::<usize>(), PARAMS.len());
    for param in PARAMS {
        assert!(param.doc.ends_with('.') && param.doc.len() > 10, "{}", param.name);
        assert_eq!(
            param.has(MULTI_ARG),
            matches!(param.kind, ParamKind::Shutdown(_)) || takes_list(param),
            "{}",
            param.name
        );
    }
}

fn takes_list(param: &Param) -> bool {
    let lists = ["bind", "client-output-buffer-limit", "latency-tracking-info-percentiles"];
    lists.contains(&param.name) || ["oom-score-adj-values", "replicaof", "save"].contains(&param.name)
}

#[test]
fn names_are_found_in_any_case_and_by_alias() {
    assert_eq!(lookup(b"MaxMemory").unwrap().1, "maxmemory");
    let (param, spelling) = lookup(b"SLAVE-priority").unwrap();
    assert_eq!((param.name, spelling), ("replica-priority", "slave-priority"));
    assert!(lookup(b"no-such").is_none() && lookup(b"\xff").is_none());
}

#[test]
fn keyspace_events_print_as_redis_prints_them() {
    for (letters, printed) in [("KEA", "AKE"), ("An", "A"), ("mnlg", "glnm"), ("g$lshzxetd", "A"), ("", "")] {
        assert_eq!(events::KeyspaceEvents::parse(letters.as_bytes()).unwrap().letters(), printed);
    }
    assert_eq!(events::KeyspaceEvents::parse(b"Q"), None);
}

#[test]
fn directives_without_effect_are_named_when_given_a_value() {
    let mut config = Config::default();
    assert_eq!(config.without_effect().count(), 0);
    lookup(b"activerehashing").unwrap().0.set(&mut config, b"no").unwrap();
    assert_eq!(config.without_effect().map(|p| p.name).collect::<Vec<_>>(), ["activerehashing"]);
}

#[test]
fn the_sample_says_the_defaults() {
    let sample = sample::sample_conf();
    let directives = sample
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())));
    let text: String = directives.flat_map(|line| [line, "\n"]).collect();
    let mut config = Config { port: 1, ..Config::default() };
    load(&mut config, text.as_bytes(), &mut Lonely).unwrap_or_else(|e| panic!("{e}"));
    // The one line that says io-threads 1 asks for one thread.
    assert_eq!(config, Config { threads: config.threads, ..Config::default() });
    assert!(sample.lines().all(|line| line.starts_with('#') || line.is_empty()));
    assert!(sample.lines().all(|line| line.len() <= 120), "a line is too long");
}

#[test]
fn help_man_page_and_completions_name_the_directives() {
    let (short, long) = (help::help(true), help::help(false));
    assert!(short.contains("--check-system") && !short.contains("--maxmemory"), "{short}");
    assert!(long.contains("--maxmemory-policy") && !long.contains("--rdma-port"));
    let man = String::from_utf8(help::man()).unwrap();
    assert!(man.starts_with(".ie") && man.contains("maxmemory\\-policy"), "{man:.300}");
    assert!(man.contains("What to evict when maxmemory is reached."));
    for shell in [help::Shell::Bash, help::Shell::Zsh, help::Shell::Fish] {
        let script = String::from_utf8(help::completions(shell)).unwrap();
        assert!(script.contains("maxmemory-policy") && script.contains("allkeys-lru"), "{shell:?}");
    }
}

#[test]
fn the_sample_file_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/memkv.conf");
    match std::fs::read_to_string(path) {
        Ok(text) => assert!(text == sample::sample_conf(), "run: memkv-server --sample-conf > memkv.conf"),
        Err(error) => eprintln!("skipped: memkv.conf: {error}"),
    }
}
