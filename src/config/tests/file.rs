//! The configuration file.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::config::file::*;
use crate::config::*;
use crate::quote::*;

/// A world of named files.
#[derive(Default)]
struct Files {
    files: HashMap<&'static str, &'static str>,
    entered: Vec<String>,
    renamed: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Host for Files {
    fn include(&mut self, path: &str) -> Result<Vec<Vec<u8>>, String> {
        match self.files.get(path) {
            Some(text) => Ok(vec![text.as_bytes().to_vec()]),
            None if path.contains('*') => Ok(Vec::new()),
            None => Err("No such file or directory".into()),
        }
    }

    fn enter(&mut self, dir: &str) -> Result<(), String> {
        self.entered.push(dir.to_owned());
        if dir.contains("missing") { Err("No such file or directory".into()) } else { Ok(()) }
    }

    fn try_log(&mut self, path: &str) -> Result<(), String> {
        if path.contains("missing") { Err("No such file or directory".into()) } else { Ok(()) }
    }

    fn rename_command(&mut self, from: &[u8], to: &[u8]) -> Result<(), String> {
        self.renamed.push((from.to_vec(), to.to_vec()));
        if from == b"NOPE" { Err(NO_SUCH_COMMAND.into()) } else { Ok(()) }
    }
}

fn loaded(text: &str) -> Result<Config, String> {
    let files = [("a.conf", "hz 7\nsave 7 7\n"), ("circle", "include circle"), ("bad", "\nhz x")];
    let mut host = Files { files: files.into(), ..Files::default() };
    let mut config = Config::default();
    load(&mut config, text.as_bytes(), &mut host).map(|()| config).map_err(|e| e.to_string())
}

fn block(number: usize, line: &str, reason: &str) -> String {
    format!(
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line {number}\n\
         >>> '{line}'\n{reason}\n"
    )
}

#[test]
fn debians_file_loads() {
    let config = loaded(include_str!("debian-redis.conf")).unwrap();
    assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
    assert_eq!((config.dir.as_str(), config.daemonize), ("/var/lib/redis", true));
    assert_eq!(config.without_effect().map(|p| p.name).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn lines_comments_quotes_and_cases() {
    let text =
        "  # comment\r\n\nPORT 7000\r\n\tmaxmemory \"1gb\"\nrequirepass 'a b\\'c'\nlogfile \"\"\nslave-priority 5\n";
    let config = loaded(text).unwrap();
    assert_eq!((config.port, config.maxmemory, config.replica_priority), (7000, 1 << 30, 5));
    assert_eq!(config.requirepass, b"a b'c");
}

#[test]
fn save_lines_add_up_and_an_empty_one_clears() {
    let points = |text: &str| {
        let config = loaded(text).unwrap();
        config.save.iter().map(|p| (p.seconds, p.changes)).collect::<Vec<_>>()
    };
    assert_eq!(points(""), [(3600, 1), (300, 100), (60, 10000)]);
    assert_eq!(points("save 900 1\nhz 1\nsave 300 10 60 100"), [(900, 1), (300, 10), (60, 100)]);
    assert_eq!(points("save \"900 1 300 10\""), [(900, 1), (300, 10)]);
    assert_eq!(points("save 900 1\nsave \"\""), []);
    assert_eq!(points("save \"\"\nsave 1 1"), [(1, 1)]);
    assert_eq!(points("save 900 1\nsave"), [(900, 1)]);
    assert_eq!(points("save"), []);
    assert_eq!(points("save 1 1\ninclude a.conf\nsave 2 2"), [(1, 1), (7, 7), (2, 2)]);
}

#[test]
fn include_reads_files_and_passes_by_patterns_that_name_none() {
    assert_eq!(loaded("include a.conf").unwrap().hz, 7);
    assert_eq!(loaded("include a.conf\nhz 9").unwrap().hz, 9);
    assert!(loaded("include none*").is_ok());
    assert_eq!(
        loaded("include nope").unwrap_err(),
        "Fatal error, can't open config file 'nope': No such file or directory"
    );
    assert_eq!(
        loaded("port 1\ninclude bad").unwrap_err(),
        block(2, "hz x", "argument couldn't be parsed into an integer")
    );
    assert!(loaded("include circle").unwrap_err().contains("include each other"));
}

#[test]
fn lines_that_are_not_directives_go_to_the_host_or_are_refused() {
    let mut host = Files::default();
    let mut config = Config::default();
    load(&mut config, b"rename-command FLUSHALL \"\"\ndir /x", &mut host).unwrap();
    assert_eq!(host.renamed, [(b"FLUSHALL".to_vec(), Vec::new())]);
    assert_eq!(host.entered, ["/x"]);
    let reasons = [
        ("rename-command NOPE x", NO_SUCH_COMMAND),
        ("user alice on", "Error in user declaration 'alice': ACL users are not supported, use requirepass"),
        ("loadmodule /x.so", "loadmodule: modules are not supported"),
        ("a.b", "Module config specified without value"),
        ("a.b c", "Module Configuration detected, but modules are not supported"),
        ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
        ("nope 1", "Bad directive or wrong number of arguments"),
        ("include", "Bad directive or wrong number of arguments"),
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("logfile \"x", "Unbalanced quotes in configuration line"),
        ("dir missing", "No such file or directory"),
    ];
    for (line, reason) in reasons {
        assert_eq!(loaded(line).unwrap_err(), block(1, line, reason));
    }
    assert!(loaded("list-max-ziplist-entries x\nlua-replicate-commands yes").is_ok());
}

#[test]
fn the_whole_is_checked_at_the_end() {
    let head = "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\n";
    let both = "cluster-enabled yes\nreplicaof a 1";
    assert_eq!(loaded(both).unwrap_err(), format!("{head}replicaof directive not allowed in cluster mode\n"));
    let log = loaded("logfile missing/x").unwrap_err();
    assert_eq!(log, format!("{head}Can't open the log file: No such file or directory\n"));
}

#[test]
fn io_threads_and_threads_are_one_number() {
    assert_eq!(loaded("io-threads 4").unwrap().threads, 4);
    assert_eq!(loaded("io-threads 4\nthreads 2").unwrap().threads, 2);
    assert_eq!(Config::default().threads, 0);
}

#[test]
fn words_split_as_redis_splits_them() {
    let words = |line: &str| {
        split_args(line.as_bytes())
            .map(|w| w.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect::<Vec<_>>())
    };
    let ok: [(&str, &[&str]); 10] = [
        ("", &[]),
        ("  a\tb \n", &["a", "b"]),
        (r#""a b" 'c d'"#, &["a b", "c d"]),
        (r#""\x41\n\"\q" '\n\''"#, &["A\n\"q", "\\n'"]),
        (r#"a"b" c"#, &["ab", "c"]),
        (r#""" ''"#, &["", ""]),
        ("a\u{b}b \u{c}c", &["a\u{b}b", "c"]),
        ("a\0b", &["a"]),
        (r#""\x4""#, &["x4"]),
        (r"a\ b", &["a\\", "b"]),
    ];
    for (line, expected) in ok {
        assert_eq!(words(line).unwrap(), expected, "{line}");
    }
    for line in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\", "a\"b\"c"] {
        assert_eq!(words(line), Err(UnbalancedQuotes), "{line}");
    }
}

proptest! {
    #[test]
    fn quoted_bytes_are_one_word(bytes: Vec<u8>) {
        let line = quoted(&bytes);
        prop_assert!(line.iter().all(|b| (b' '..=b'~').contains(b)));
        prop_assert_eq!(split_args(&line), Ok(vec![bytes]));
    }

    #[test]
    fn any_bytes_load_or_fail_without_a_crash(text in "([a-z-]{1,9}|port|save|bind|include|[ \"'\\\\x0-9#\n.])*") {
        let _ = loaded(&text);
    }
}
