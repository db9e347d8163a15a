//! The repository's rules, as a test. The lists of exceptions may only shrink.
//!
//! Floors: the order of `mod` lines in `src/lib.rs` is the dependency order, groups are floors, and a module may use
//! only floors above its own. Every file has a header; files and functions have a greatest length; `unsafe` lives in a
//! list of files and every block says why it is sound; nothing outside tests unwraps.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that may contain `unsafe`.
const UNSAFE_FILES: &[&str] = &[
    "src/clock.rs",
    "src/command/scripts.rs",
    "src/keyspace/db.rs",
    "src/keyspace/defrag.rs",
    "src/keyspace/entry.rs",
    "src/keyspace/evict.rs",
    "src/keyspace/expire.rs",
    "src/keyspace/generic.rs",
    "src/keyspace/snapshot.rs",
    "src/keyspace/stripe.rs",
    "src/keyspace/walk.rs",
    "src/log.rs",
    "src/mallctl.rs",
    "src/memory.rs",
    "src/mover.rs",
    "src/net/incoming.rs",
    "src/listeners.rs",
    "src/process.rs",
    "src/process/crash.rs",
    "src/process/machine.rs",
    "src/resp/argv.rs",
    "src/resp/bulk.rs",
    "src/resp/parse.rs",
    "src/script/decimal.rs",
    "src/script/engine.rs",
    "src/script/ffi.rs",
    "src/script/redis.rs",
    "src/script/sandbox.rs",
    "src/script/state.rs",
    "src/script/vm.rs",
    "src/table.rs",
    "src/types/bits.rs",
    "src/types/blob.rs",
    "src/types/cut.rs",
    "src/types/fields.rs",
    "src/types/items.rs",
    "src/types/nodes.rs",
    "src/types/piece.rs",
    "src/types/ranked.rs",
];
/// Commands whose arity is Redis's and not what their syntax says: every filter of CLIENT KILL is told as optional, and
/// QUIT takes what it is given; what replicas say has no syntax that is told, or more than is told.
const ARITY_EXCEPTIONS: &[&str] = &["CLIENT KILL", "PSYNC", "QUIT", "REPLCONF"];
const FILE_LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 70;

fn sources(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&p).unwrap();
            (name, text)
        })
        .collect()
}

/// The part of a file before its inline tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// Top-level modules and their floors, from `lib.rs`.
fn floors() -> HashMap<String, usize> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let (mut floor, mut floors) = (0, HashMap::new());
    for line in text.lines() {
        if line.starts_with("// floor ") {
            floor += 1;
        } else if let Some(name) = line.strip_prefix("pub mod ").and_then(|l| l.strip_suffix(';')) {
            floors.insert(name.to_owned(), floor);
        }
    }
    floors
}

fn check(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn modules_use_only_floors_above_their_own() {
    let floors = floors();
    let mut problems = Vec::new();
    for (name, text) in sources("src") {
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        let Some(&own) = floors.get(&module) else { continue };
        for (number, line) in without_tests(&text).lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                match floors.get(&used) {
                    Some(&floor) if used != module && floor > own => problems.push(format!(
                        "{name}:{}: `{module}` (floor {own}) must not use `{used}` (floor {floor})",
                        number + 1
                    )),
                    _ => {}
                }
            }
        }
    }
    check(problems);
}

#[test]
fn every_file_has_a_header_and_an_end() {
    let mut problems = Vec::new();
    for (name, text) in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        if !text.starts_with("//!") {
            problems.push(format!("{name}: no header"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{name}: {lines} lines, {FILE_LINES_MAX} at most"));
        }
    }
    check(problems);
}

#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    for (name, text) in sources("src") {
        let mut start: Option<(usize, usize, String)> = None;
        for (number, line) in without_tests(&text).lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_fn = line
                .trim_start()
                .split('(')
                .next()
                .is_some_and(|head| !head.starts_with("//") && head.split_whitespace().any(|w| w == "fn"));
            if is_fn && line.trim_end().ends_with('{') && start.is_none() {
                start = Some((number, indent, line.trim().to_owned()));
            }
            if let Some((from, at, head)) = &start
                && line.starts_with(&format!("{}}}", " ".repeat(*at)))
                && indent == *at
            {
                if number - from + 1 > FUNCTION_LINES_MAX {
                    problems.push(format!("{name}:{}: {} lines: {head}", from + 1, number - from + 1));
                }
                start = None;
            }
        }
    }
    check(problems);
}

#[test]
fn unsafe_is_rare_and_says_why() {
    let mut problems = Vec::new();
    for (name, text) in sources("src") {
        let text = without_tests(&text);
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !code.contains("unsafe ") && !code.contains("unsafe{") {
                continue;
            }
            if !UNSAFE_FILES.contains(&name.as_str()) {
                problems.push(format!("{name}:{}: unsafe outside the list", i + 1));
            }
            let near = &lines[i.saturating_sub(8)..=i];
            let explained = near.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
            if !explained {
                problems.push(format!("{name}:{}: unsafe without SAFETY", i + 1));
            }
        }
    }
    check(problems);
}

#[test]
fn nothing_outside_tests_unwraps_or_is_unfinished() {
    let mut problems = Vec::new();
    for (name, text) in sources("src").into_iter().filter(|(name, _)| !is_test_file(name)) {
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in [".unwrap()", "todo!(", "unimplemented!(", "#[ignore", "dbg!("] {
                if code.contains(word) {
                    problems.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    check(problems);
}

#[test]
fn command_rows_are_complete() {
    use memkv::command::syntax::{arguments, counts};
    use memkv::command::{CONTAINER, HIDDEN};
    let mut problems = Vec::new();
    for family in memkv::commands::FAMILIES {
        let names: Vec<&str> = family.iter().map(|c| c.name).collect();
        if !names.is_sorted() {
            problems.push(format!("not sorted: {names:?}"));
        }
        for command in family.iter().filter(|c| c.flags & HIDDEN == 0) {
            if command.doc.is_empty() {
                problems.push(format!("{}: no doc", command.name));
            }
            if command.examples.is_empty() && command.flags & CONTAINER == 0 {
                problems.push(format!("{}: no example", command.name));
            }
            if command.flags & CONTAINER == 0 && !ARITY_EXCEPTIONS.contains(&command.name) {
                let (least, open) = counts(&arguments(command.args));
                let words = (command.name.split(' ').count() + least) as i32;
                let expected = if open { -words } else { words };
                if command.arity != expected {
                    problems.push(format!("{}: arity {}, {expected} by its syntax", command.name, command.arity));
                }
            }
        }
    }
    check(problems);
}

/// What is accepted works or is named in the log as what does not (`UNSUPPORTED`).
#[test]
fn a_directive_that_nobody_reads_is_marked_as_without_effect() {
    use memkv::config::PARAMS;
    use memkv::config::param::UNSUPPORTED;
    let generic = ["src/config/table/", "src/config/tests/"];
    let readers: String = sources("src")
        .iter()
        .filter(|(name, _)| !generic.iter().any(|dir| name.starts_with(dir)))
        .flat_map(|(_, text)| without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//")))
        .flat_map(|line| [line, "\n"])
        .collect();
    let is_read = |name: &str| {
        let field = format!(".{}", name.replace('-', "_"));
        readers
            .match_indices(&field)
            .any(|(at, _)| !readers[at + field.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    // Another name for `threads`.
    let unread =
        PARAMS.iter().filter(|param| !param.has(UNSUPPORTED) && param.name != "io-threads" && !is_read(param.name));
    check(unread.map(|param| format!("{}: neither read nor marked as UNSUPPORTED", param.name)).collect());
}
