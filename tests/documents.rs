//! Documents that are generated, or partly so, say what the tables say: README's commands and memkv.conf.
//!
//! `UPDATE_README=1 cargo test --test documents` writes them anew.

use memkv::command::{CONTAINER, Command, Group, HIDDEN};
use memkv::config::sample::sample_conf;
use std::fs;
use std::path::{Path, PathBuf};

/// Commands, without subcommands, of each group in Redis 8.2.
const GROUPS: [(Group, usize); 16] = [
    (Group::String, 22),
    (Group::Generic, 29),
    (Group::Transactions, 5),
    (Group::Connection, 8),
    (Group::Server, 29),
    (Group::List, 22),
    (Group::Hash, 28),
    (Group::Set, 17),
    (Group::SortedSet, 35),
    (Group::Bitmap, 7),
    (Group::HyperLogLog, 5),
    (Group::Geo, 10),
    (Group::Stream, 17),
    (Group::PubSub, 9),
    (Group::Scripting, 8),
    (Group::Cluster, 4),
];
/// Commands that no other server has.
const OWN: &[&str] = &["LATENCY JSON", "MEXISTS"];
/// Commands that only Valkey has; their rows tell since which of its versions.
const OF_VALKEY: &[&str] = &["CLIENT CAPA", "CLIENT IMPORT-SOURCE", "COMMANDLOG", "DELIFEQ", "SCRIPT SHOW"];
/// Subcommands in Redis 8.2.
const SUBCOMMANDS: usize = 130;

#[test]
fn the_readme_lists_the_commands_there_are_and_what_the_suite_says() {
    let path = root("README.md");
    let text = fs::read_to_string(&path).unwrap();
    compare(&path, &text, &between(&between(&text, "commands", &table()), "score", &score()));
}

/// The text with something else between a pair of marks.
fn between(text: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
    let (head, rest) = text.split_once(&begin).expect("the first mark");
    let (_, tail) = rest.split_once(&end).expect("the last mark");
    format!("{head}{begin}{content}{end}{tail}")
}

/// What the last full run of the official suite counted.
fn score() -> String {
    let text = fs::read_to_string(root("compat/suite/score.json")).unwrap();
    let score: serde_json::Value = serde_json::from_str(&text).unwrap();
    let count = |name: &str| {
        let digits = score[name].as_u64().expect("a count").to_string();
        match digits.len() {
            4.. => format!("{},{}", &digits[..digits.len() - 3], &digits[digits.len() - 3..]),
            _ => digits,
        }
    };
    format!(
        "Redis's own test suite (7.0.15, unmodified, starting this server itself): **{} of {} tests** pass, in {} files.\n",
        count("passed"),
        count("whole"),
        count("files")
    )
}

#[test]
fn the_sample_configuration_is_that_of_the_directives() {
    let path = root("memkv.conf");
    compare(&path, &fs::read_to_string(&path).unwrap_or_default(), &sample_conf());
}

/// Lines of the log and replies that the page on troubles quotes are the server's own.
#[test]
fn the_lines_that_the_documents_explain_are_those_of_the_server() {
    let said = sources(&root("src"));
    let page = fs::read_to_string(root("docs/troubleshooting.md")).unwrap();
    let first_columns = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let quoted: Vec<&str> = first_columns.flat_map(|column| column.split('`').skip(1).step_by(2)).collect();
    assert!(quoted.len() > 25, "{quoted:?}");
    for text in quoted.iter().flat_map(|text| text.split('…')).map(str::trim).filter(|text| text.len() > 5) {
        // What is put together from parts: names of signals, codes of replies.
        let parts = text.replace("SIGTERM", "{name}");
        let parts = parts.trim_start_matches('-');
        assert!(said.contains(parts) || parts == "bye bye", "docs/troubleshooting.md: nothing in src says {text:?}");
    }
}

/// Links between the documents lead somewhere.
#[test]
fn links_between_documents_lead_to_files() {
    let files = fs::read_dir(root("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let tops = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "compat/README.md"].map(root);
    for page in pages.chain(tops) {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let there = file.contains("://") || file.is_empty() || page.parent().unwrap().join(file).exists();
            assert!(there, "{}: {link}", page.display());
        }
    }
}

/// All the source as one text.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

fn root(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn compare(path: &PathBuf, there: &str, wanted: &str) {
    if there == wanted {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_README").is_some(),
        "{} is stale: UPDATE_README=1 cargo test --test documents",
        path.display()
    );
    fs::write(path, wanted).unwrap();
}

fn table() -> String {
    let rows: Vec<&Command> = memkv::commands::FAMILIES.iter().copied().flatten().filter(|c| !c.has(HIDDEN)).collect();
    let mut lines = vec!["| group | of Redis 8.2 | commands |".to_owned(), "|---|---|---|".to_owned()];
    let (mut have, mut all) = (0, 0);
    for (group, known) in GROUPS {
        let mut of_group: Vec<&&Command> =
            rows.iter().filter(|c| c.group == group && !is_newer(c) && !is_own(c)).collect();
        of_group.sort_by_key(|c| c.name);
        let listed = of_group.iter().filter(|c| !c.name.contains(' ')).map(|c| shown(c, &of_group));
        let listed: Vec<String> = listed.collect();
        let names = if listed.is_empty() { "not built yet".to_owned() } else { listed.join(" · ") };
        lines.push(format!("| {} | {}/{known} | {names} |", group.name(), listed.len()));
        (have, all) = (have + listed.len(), all + known);
    }
    lines.push(format!("| all | {have}/{all} | the vector sets of 8.2, a module, are not counted |"));
    let subcommands = rows.iter().filter(|c| c.name.contains(' ') && !is_own(c) && !is_newer(c)).count();
    lines.push(format!("| subcommands | {subcommands}/{SUBCOMMANDS} | |"));
    for (whose, of_valkey) in [("Redis 8.4 to 8.10", false), ("Valkey", true)] {
        let mut newer: Vec<&&Command> = rows.iter().filter(|c| is_newer(c) && is_of_valkey(c) == of_valkey).collect();
        newer.sort_by_key(|c| c.name);
        let named = newer.iter().map(|c| format!("{} ({})", c.name.to_lowercase(), c.since));
        lines.push(format!("| of {whose} | {} | {} |", newer.len(), named.collect::<Vec<_>>().join(" · ")));
    }
    let own: Vec<String> = rows.iter().filter(|c| is_own(c)).map(|c| c.name.to_lowercase()).collect();
    lines.push(format!("| memkv's own | {} | {} |", own.len(), own.join(" · ")));
    lines.join("\n") + "\n"
}

/// A name; with its subcommands, if it is a container.
fn shown(command: &Command, group: &[&&Command]) -> String {
    let prefix = format!("{} ", command.name);
    let subcommands: Vec<String> =
        group.iter().filter_map(|c| c.name.strip_prefix(&prefix)).map(str::to_lowercase).collect();
    let name = command.name.to_lowercase();
    if command.has(CONTAINER) && !subcommands.is_empty() { format!("{name} ({})", subcommands.join(" ")) } else { name }
}

/// No other server has it.
fn is_own(command: &Command) -> bool {
    OWN.contains(&command.name)
}

/// Redis 8.2 does not have it.
fn is_newer(command: &Command) -> bool {
    let mut numbers = command.since.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    is_of_valkey(command) || (numbers.next(), numbers.next()) > (Some(8), Some(2))
}

fn is_of_valkey(command: &Command) -> bool {
    OF_VALKEY.iter().any(|name| command.name.split(' ').next() == Some(name) || command.name == *name)
}
