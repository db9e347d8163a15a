//! The sample configuration file, generated from the table of directives.
//!
//! Every directive stands under its subject with its sentence, the values it takes and its default. All are commented
//! out, so that the file as it is changes nothing and a reader uncomments what they mean; a `#` without a blank after
//! it tells a directive from a sentence.

use super::help::syntax;
use super::param::{HIDDEN, IMMUTABLE, Param, ParamKind, UNSUPPORTED};
use super::rewrite::memory_text;
use super::table::SECTIONS;
use crate::quote::quoted;

/// The whole file.
pub fn sample_conf() -> String {
    let mut text = String::from(HEAD);
    for section in &SECTIONS {
        let rule = "#".repeat(COLUMNS.saturating_sub(section.title.len() + 5));
        text.push_str(&format!("\n### {} {rule}\n", section.title));
        for param in section.rows.iter().filter(|p| !p.has(HIDDEN)) {
            text.push('\n');
            entry(&mut text, param);
        }
    }
    text
}

const HEAD: &str = "\
# memkv configuration
#
# The format is redis.conf's: one directive and its values per line. Start the server with the path of the file:
#
#   memkv-server /path/to/memkv.conf
#
# Options of the command line are read after the file and win over it. Units: 1k is 1000 bytes, 1kb is 1024, and so
# on with m, mb, g and gb, in any case of letters. Values with blanks stand in quotes. Other files are read with
#
#   include /path/to/other.conf
#
# Lines that begin with # are comments. Below, every directive stands with its default, commented out: remove the
# mark and change the value.
";

/// Width of a line of text.
const COLUMNS: usize = 100;

fn entry(text: &mut String, param: &Param) {
    let values = values(param);
    let stop = if values.ends_with("...") { "" } else { "." };
    let mut words = vec![param.doc.to_owned(), format!("Values: {values}{stop}")];
    if let Some(alias) = param.alias {
        words.push(format!("Also called {alias}."));
    }
    if param.has(IMMUTABLE) {
        words.push("Read at start only.".into());
    }
    if param.has(UNSUPPORTED) {
        words.push("Accepted without effect.".into());
    }
    wrap(text, &words.join(" "));
    for line in lines(param) {
        text.push_str(&format!("#{} {line}\n", param.name));
    }
}

fn values(param: &Param) -> String {
    match param.kind {
        ParamKind::Number(n) if n.max < i128::from(i32::MAX) => {
            format!("{} from {} to {}", syntax(param), n.bound_text(n.min), n.bound_text(n.max))
        }
        // A list that no line holds is one of words.
        _ if syntax(param).len() > COLUMNS => syntax(param).replace('|', " | "),
        _ => syntax(param),
    }
}

/// The default, as it would stand in the file.
fn lines(param: &Param) -> Vec<String> {
    let words: Vec<&str> = param.default.split(' ').collect();
    match (param.name, param.kind) {
        ("replicaof", _) => vec!["no one".to_owned()],
        ("save", _) => words.chunks(2).map(|point| point.join(" ")).collect(),
        ("client-output-buffer-limit", _) => words.chunks(4).map(|limit| limit.join(" ")).collect(),
        (_, ParamKind::Number(n)) => match (n.unit, param.default.parse()) {
            (super::param::Unit::Memory, Ok(bytes)) => vec![memory_text(bytes)],
            _ => vec![param.default.to_owned()],
        },
        (_, ParamKind::Text(_) | ParamKind::Secret(_)) => {
            vec![String::from_utf8_lossy(&quoted(param.default.as_bytes())).into()]
        }
        _ if param.default.is_empty() => vec!["\"\"".to_owned()],
        _ => vec![param.default.to_owned()],
    }
}

fn wrap(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split(' ') {
        if column == 0 || column + 1 + word.len() > COLUMNS {
            text.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push('\n');
}
