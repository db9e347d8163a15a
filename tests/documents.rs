//! Documents that are generated, or partly so, say what the tables say: README's commands and memkv.conf.
//!
//! `UPDATE_README=1 cargo test --test documents` writes them anew.

use memkv::command::{CONTAINER, Command, Group, HIDDEN};
use memkv::config::sample::sample_conf;
use std::fs;
use std::path::PathBuf;

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
const BEGIN: &str = "<!-- commands: begin -->\n";
const END: &str = "<!-- commands: end -->\n";

#[test]
fn the_readme_lists_the_commands_there_are() {
    let path = root("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the table's first mark");
    let (_, tail) = rest.split_once(END).expect("the table's last mark");
    compare(&path, &text, &format!("{head}{BEGIN}{}{END}{tail}", table()));
}

#[test]
fn the_sample_configuration_is_that_of_the_directives() {
    let path = root("memkv.conf");
    compare(&path, &fs::read_to_string(&path).unwrap_or_default(), &sample_conf());
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
        let mut of_group: Vec<&&Command> = rows.iter().filter(|c| c.group == group).collect();
        of_group.sort_by_key(|c| c.name);
        let count = of_group.iter().filter(|c| !c.name.contains(' ') && !is_newer(c)).count();
        let listed = of_group.iter().filter(|c| !c.name.contains(' ')).map(|c| shown(c, &of_group));
        let names = listed.collect::<Vec<_>>().join(" · ");
        let names = if names.is_empty() { "not built yet".to_owned() } else { names };
        lines.push(format!("| {} | {count}/{known} | {names} |", group.name()));
        (have, all) = (have + count, all + known);
    }
    lines.push(format!("| all | {have}/{all} | the vector sets of 8.2, a module, are not counted |"));
    lines.join("\n") + "\n"
}

/// A name; with its subcommands, if it is a container; marked if Redis 8.2 does not have it.
fn shown(command: &Command, group: &[&&Command]) -> String {
    let prefix = format!("{} ", command.name);
    let subcommands: Vec<String> =
        group.iter().filter_map(|c| c.name.strip_prefix(&prefix)).map(str::to_lowercase).collect();
    let name = command.name.to_lowercase();
    match (command.has(CONTAINER), is_newer(command)) {
        (true, _) if !subcommands.is_empty() => format!("{name} ({})", subcommands.join(" ")),
        (_, true) => format!("{name} (of {})", command.since),
        _ => name,
    }
}

fn is_newer(command: &Command) -> bool {
    let mut numbers = command.since.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) > (Some(8), Some(2))
}
