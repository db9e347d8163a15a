//! The repository's rules, as a test. The lists of exceptions may only shrink.
//!
//! Floors: the order of `mod` lines in `src/lib.rs` is the dependency order, groups are floors, and a module may use
//! only floors above its own. Every file has a header; files and functions have a greatest length; `unsafe` is allowed by
//! few files and every block says why it is sound; nothing outside tests unwraps; what is public or depended on is used.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files that may contain `unsafe`, which the compiler denies to all that do not say `#![allow(unsafe_code)]`.
const UNSAFE_FILES: usize = 38;
/// Files of a folder that are in a circle of `use`s: each reaches itself through others.
const IN_CIRCLES: &[(&str, usize)] = &[
    ("command", 14),
    ("config", 8),
    ("keyspace", 12),
    ("net", 6),
    ("persist", 7),
    ("resp", 2),
    ("script", 14),
    ("types", 6),
];
/// Public for integration tests and benches alone.
const FOR_TESTS: &[&str] = &["due_records", "fix_seeds", "offline", "run_here"];
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
                    Some(&floor) if used != module && floor >= own => problems.push(format!(
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

/// The signature may take several lines.
#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    for (name, text) in sources("src") {
        let lines: Vec<&str> = without_tests(&text).lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let head = line.trim_start().split('(').next().unwrap();
            if head.starts_with("//") || !head.split_whitespace().any(|word| word == "fn") {
                continue;
            }
            let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
            let signature = lines[start..].iter().position(|line| line.ends_with(['{', '}', ';'])).unwrap_or(0);
            if !lines[start + signature].ends_with('{') {
                continue;
            }
            let length = lines[start..].iter().position(|line| line.starts_with(&end)).unwrap_or(0) + 1;
            if length > FUNCTION_LINES_MAX {
                problems.push(format!("{name}:{}: {length} lines: {}", start + 1, line.trim()));
            }
        }
    }
    check(problems);
}

#[test]
fn unsafe_is_rare_and_says_why() {
    let (mut problems, mut files) = (Vec::new(), 0);
    for (name, text) in sources("src") {
        let lines: Vec<&str> = without_tests(&text).lines().collect();
        let is_unsafe = |line: &&str| {
            let code = line.split("//").next().unwrap();
            code.contains("unsafe ") || code.contains("unsafe{")
        };
        for (i, _) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let near = &lines[i.saturating_sub(8)..=i];
            if !near.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
                problems.push(format!("{name}:{}: unsafe without SAFETY", i + 1));
            }
        }
        let allows = lines.contains(&"#![allow(unsafe_code)]");
        if allows && !lines.iter().any(is_unsafe) {
            problems.push(format!("{name}: allows unsafe code and has none"));
        }
        files += usize::from(allows);
    }
    if files != UNSAFE_FILES {
        problems.push(format!("{files} files allow unsafe code, {UNSAFE_FILES} by the list, which may only shrink"));
    }
    check(problems);
}

/// Words of code: comments and tests left out.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let code = without_tests(text).lines().map(|line| line.split("//").next().unwrap());
    code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).filter(|word| !word.is_empty())
}

/// What is `pub` the compiler does not call unused. A name that stands once in all of `src` is used by nothing there.
#[test]
fn what_is_public_is_used() {
    const ITEMS: &[&str] = &["fn", "struct", "enum", "trait", "type", "static", "const"];
    let files: Vec<_> = sources("src").into_iter().filter(|(name, _)| !is_test_file(name)).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    files.iter().flat_map(|(_, text)| words_of(text)).for_each(|word| *counts.entry(word).or_default() += 1);
    let (mut problems, mut for_tests) = (Vec::new(), Vec::new());
    for (name, text) in &files {
        for line in without_tests(text).lines().filter(|line| line.trim_start().starts_with("pub")) {
            let words: Vec<&str> = words_of(line).collect();
            let Some(at) = words.iter().position(|word| ITEMS.contains(word)) else { continue };
            // `const fn`
            let item = words[at + 1..].iter().find(|word| !ITEMS.contains(word));
            let Some(item) = item.filter(|item| counts.get(*item) == Some(&1)) else { continue };
            if FOR_TESTS.contains(item) {
                for_tests.push(*item);
            } else {
                problems.push(format!("{name}: `{item}` is public and used by nothing"));
            }
        }
    }
    let needless = FOR_TESTS.iter().filter(|item| !for_tests.contains(item));
    problems.extend(needless.map(|item| format!("`{item}` need not be in the list FOR_TESTS")));
    check(problems);
}

#[test]
fn every_dependency_is_used() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (mut section, mut problems) = (String::new(), Vec::new());
    let mut words: HashMap<&str, HashSet<String>> = HashMap::new();
    for (section, dirs) in [
        ("[dependencies]", &["src"][..]),
        ("[build-dependencies]", &["src"]),
        ("[dev-dependencies]", &["src", "tests", "benches"]),
    ] {
        let all = dirs.iter().flat_map(|dir| sources(dir)).flat_map(|(_, text)| {
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.map(str::to_owned).collect::<Vec<_>>()
        });
        words.insert(section, all.collect());
    }
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let (Some(words), Some((name, _))) = (words.get(&*section), line.split_once(" = "))
            && !words.contains(&name.replace('-', "_"))
        {
            problems.push(format!("{section}: `{name}` is used by nothing"));
        }
    }
    check(problems);
}

/// Inside a folder, a file that reaches itself through others can be understood only with all of them.
#[test]
fn circles_in_a_folder_only_shrink() {
    let mut folders: HashMap<String, HashMap<String, HashSet<String>>> = HashMap::new();
    for (name, text) in sources("src").into_iter().filter(|(name, _)| !is_test_file(name)) {
        let path = name.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        // Of a file in a folder of a folder, the inner folder is the module.
        let Some((folder, inner)) = path.split_once('/') else { continue };
        let (module, depth) = (inner.split('/').next().unwrap(), inner.matches('/').count());
        if module == "mod" {
            continue;
        }
        let sibling = format!("{}::", ["super"; 8][..=depth].join("::"));
        let absolute = format!("crate::{folder}::");
        let code: String = without_tests(&text).lines().map(|line| line.split("//").next().unwrap()).collect();
        let used = [sibling, absolute].into_iter().flat_map(|prefix| {
            let ends: Vec<String> = code.split(&prefix).skip(1).flat_map(first_names).collect();
            ends
        });
        let edges = folders.entry(folder.to_owned()).or_default().entry(module.to_owned()).or_default();
        edges.extend(used.filter(|other| other != module));
    }
    let mut found: Vec<(String, usize)> =
        folders.iter().map(|(folder, edges)| (folder.clone(), in_circles(edges))).collect();
    found.retain(|(_, count)| *count > 0);
    found.sort();
    let listed: Vec<(String, usize)> =
        IN_CIRCLES.iter().map(|(folder, count)| ((*folder).to_owned(), *count)).collect();
    assert_eq!(found, listed, "left: what there is, right: the list IN_CIRCLES, which may only shrink");
}

/// The names that a path goes on with: one, or those in braces.
fn first_names(rest: &str) -> Vec<String> {
    let list = rest
        .strip_prefix('{')
        .map_or(rest.split([';', ' ', ',', ')']).next().unwrap(), |rest| rest.split("};").next().unwrap());
    let name = |path: &str| path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    list.split(',').map(name).collect()
}

/// How many modules reach themselves through others.
fn in_circles(edges: &HashMap<String, HashSet<String>>) -> usize {
    let reaches_itself = |module: &String| {
        let (mut seen, mut open) = (HashSet::new(), vec![module]);
        while let Some(at) = open.pop() {
            for next in edges.get(at).into_iter().flatten() {
                if next == module {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    };
    edges.keys().filter(|module| reaches_itself(module)).count()
}

/// Comments name what they speak of: the client, the thread, a number.
#[test]
fn comments_name_their_subject() {
    let riddles = ["so many", "somebody", "nobody", "whoever"];
    let mut problems = Vec::new();
    for (name, text) in sources("src") {
        for (number, line) in text.lines().enumerate() {
            let comment = line.split_once("//").map_or(String::new(), |(_, comment)| comment.to_lowercase());
            for word in riddles.iter().filter(|word| comment.contains(**word)) {
                problems.push(format!("{name}:{}: `{word}`", number + 1));
            }
        }
    }
    check(problems);
}

/// Of commits since the rule is tested; a checkout without a history has none to look at.
#[test]
fn commits_have_a_subject_and_a_body() {
    const SUBJECT_CHARACTERS_MAX: usize = 72;
    let git = std::process::Command::new("git")
        .args(["log", "--no-merges", "--format=%h%x00%s%x00%b%x01", "7dc6f82..HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let Some(log) = git.ok().filter(|git| git.status.success()) else { return };
    let log = String::from_utf8(log.stdout).unwrap();
    let mut problems = Vec::new();
    for commit in log.split('\u{1}').map(str::trim).filter(|commit| !commit.is_empty()) {
        let parts: Vec<&str> = commit.split('\0').collect();
        if parts[1].chars().count() > SUBJECT_CHARACTERS_MAX {
            problems.push(format!("{}: the subject is longer than {SUBJECT_CHARACTERS_MAX} characters", parts[0]));
        }
        if parts[2].trim().is_empty() {
            problems.push(format!("{}: no body that says why", parts[0]));
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
            if command.flags & CONTAINER == 0 {
                let (least, open) = counts(&arguments(command.args));
                let words = (command.name.split(' ').count() + least) as i32;
                let expected = if open { -words } else { words };
                if (command.arity != expected) != ARITY_EXCEPTIONS.contains(&command.name) {
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
