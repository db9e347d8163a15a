//! CONFIG GET and SET.

use crate::config::live::*;
use crate::config::*;

type Pair<'a> = (&'a str, &'a str);

fn set(config: &Config, pairs: &[Pair<'_>], caller: Caller) -> Result<(Config, Vec<&'static str>), String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    match set_many(config, &pairs, caller) {
        Ok((config, changed)) => Ok((config, changed.iter().map(|p| p.name).collect())),
        Err(error) => Err(String::from_utf8(error.text()).unwrap()),
    }
}

fn refusal(pairs: &[Pair<'_>]) -> String {
    set(&Config::default(), pairs, Caller::default()).unwrap_err()
}

#[test]
fn set_returns_what_changed() {
    let (config, changed) =
        set(&Config::default(), &[("maxmemory", "1gb"), ("hz", "10"), ("save", "")], Caller::default()).unwrap();
    assert_eq!((config.maxmemory, changed), (1 << 30, vec!["maxmemory", "save"]));
    assert!(config.save.is_empty());
    let (_, changed) = set(&config, &[("tls-cert-file", "")], Caller::default()).unwrap();
    assert_eq!(changed, ["tls-cert-file"], "a file named again may have new contents");
}

#[test]
fn set_refuses_with_the_texts_of_redis() {
    let failed =
        |name: &str, why: &str| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
    let cases: &[(&[Pair<'_>], String)] = &[
        (&[("foo\nbar", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'foo bar'".into()),
        (&[("DAEMONIZE", "yes")], failed("DAEMONIZE", "can't set immutable config")),
        (&[("dir", "/")], failed("dir", "can't set protected config")),
        (&[("hz", "1"), ("HZ", "2")], failed("HZ", "duplicate parameter")),
        (&[("APPENDONLY", "maybe")], failed("appendonly", "argument must be 'yes' or 'no'")),
        (
            &[("maxmemory", "1"), ("Slave-Priority", "x")],
            failed("slave-priority", "argument couldn't be parsed into an integer"),
        ),
        (
            &[("maxmemory-clients", "200%")],
            failed("maxmemory-clients", "percentage argument must be less or equal to 100"),
        ),
        (
            &[("loglevel", "loud")],
            failed("loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning"),
        ),
        (
            &[("shutdown-on-sigterm", "save nosave")],
            failed("shutdown-on-sigterm", "shutdown options SAVE and NOSAVE can't be used simultaneously"),
        ),
        (&[("stripes", "64")], failed("stripes", "can't set immutable config")),
    ];
    for (pairs, text) in cases {
        assert_eq!(&refusal(pairs), text);
    }
    assert!(refusal(&[("activedefrag", "yes")]).contains("modified Jemalloc"));
    let port = lookup(b"port").unwrap().0;
    let error = SetError::apply(port, "Unable to listen on this port. Check server logs.");
    assert_eq!(error.text(), failed("port", "Unable to listen on this port. Check server logs.").into_bytes());
}

#[test]
fn set_knows_who_asks_and_when() {
    let local = Caller { local: true, ..Caller::default() };
    let loading = Caller { loading: true, ..Caller::default() };
    let with = |action| Config { enable_protected_configs: action, ..Config::default() };
    assert!(set(&with(choices::ProtectedAction::Yes), &[("dir", "/")], Caller::default()).is_ok());
    assert!(set(&with(choices::ProtectedAction::Local), &[("dir", "/")], local).is_ok());
    assert!(set(&with(choices::ProtectedAction::Local), &[("dir", "/")], Caller::default()).is_err());
    let busy = set(&Config::default(), &[("appendonly", "yes")], loading);
    assert_eq!(busy.unwrap_err(), "LOADING Redis is loading the dataset in memory");
}

#[test]
fn every_visible_extension_can_be_set_to_the_value_it_has() {
    let config = Config::default();
    for param in PARAMS.iter().filter(|p| p.has(param::EXTENSION)) {
        if !param.has(param::PROTECTED) {
            let value = param.get(&config);
            let set = set_many(&config, &[(param.name.as_bytes(), &value)], Caller::default());
            assert_eq!(set.map(|(new, _)| new), Ok(config.clone()), "{}", param.name);
        }
    }
}

fn names(patterns: &[&str]) -> Vec<String> {
    let patterns: Vec<&[u8]> = patterns.iter().map(|p| p.as_bytes()).collect();
    let found = get_matching(&Config::default(), &patterns);
    found.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn get_matches_patterns_and_spells_names_as_asked() {
    assert_eq!(names(&["MaxMemory", "maxmemory", "nope"]), ["MaxMemory"]);
    assert_eq!(names(&["Slave-r*", "replica-read-only"]), ["slave-read-only", "replica-read-only"]);
    assert_eq!(names(&["maxmemory-s*", "maxmemory*"]).len(), 5);
    assert_eq!(names(&["key-load*"]), [""; 0], "hidden from patterns");
    assert_eq!(names(&["key-load-delay"]), ["key-load-delay"]);
}

#[test]
fn get_of_everything_is_redis_7_and_what_is_new() {
    let all = names(&["*"]);
    let seven: Vec<&str> = super::rows(super::REDIS_7).map(|(name, _)| name).collect();
    for name in &seven {
        let hidden = lookup(name.as_bytes()).unwrap().0.has(param::HIDDEN);
        assert_eq!(all.iter().any(|n| n == name), !hidden, "{name}");
    }
    let ours = [
        "threads",
        "stripes",
        "admin-port",
        "admin-bind",
        "aof-batch-commands",
        "aof-reply-after",
        "compatibility-level",
        "encoding-names",
    ];
    assert!(ours.iter().all(|name| all.iter().any(|n| n == name)));
    assert!(!all.iter().any(|n| n == "rdma-port" || n == "primaryauth" || n == "server-cpulist"));
}
