//! The text of an ACL file: a `user` line for each user, nothing else.
//!
//! All or nothing: one bad line and no user is read; the error tells all of them, in Redis's words. Where 7.0.15 and 8.2.3
//! crash, at a parenthesis that stays open, there is an error here.

use super::grammar::{Fault, Grammar, has_blanks, join_selectors};
use super::rules::Rules;
use std::collections::BTreeMap;

/// Users by name.
pub type Declared = BTreeMap<Box<[u8]>, Rules>;

/// Reads the text of the file at `path`, which the error names.
pub fn parse_file(grammar: Grammar<'_>, path: &str, text: &[u8]) -> Result<Declared, Vec<u8>> {
    let (mut users, mut errors) = (Declared::new(), Vec::new());
    for (index, line) in text.split(|b| *b == b'\n').enumerate() {
        let line = trimmed(line, b" \t\r\n");
        if !line.is_empty() {
            parse_line(grammar, &format!("{path}:{}", index + 1), index + 1, line, &mut users, &mut errors);
        }
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.extend_from_slice(NOTHING_CHANGED);
    Err(errors)
}

fn parse_line(
    grammar: Grammar<'_>,
    place: &str,
    number: usize,
    line: &[u8],
    users: &mut Declared,
    errors: &mut Vec<u8>,
) {
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let (name, rules) = match &*words {
        [b"user", name, rules @ ..] => (*name, rules),
        _ => {
            let text = format!("{place} should start with user keyword followed by the username. ");
            return errors.extend_from_slice(text.as_bytes());
        }
    };
    if has_blanks(name) {
        let parts = [b"'", place.as_bytes(), b": username '", name, b"' contains invalid characters. "];
        return errors.extend(parts.concat());
    }
    if users.contains_key(name) {
        let on_line = format!("' found on line {number}. ");
        return errors.extend([b"WARNING: Duplicate user '", name, on_line.as_bytes()].concat());
    }
    let mut made = grammar.new_user();
    match join_selectors(rules) {
        Ok(words) => apply_all(grammar, place, &mut made, &words, errors),
        Err(_) => errors.extend(format!("{place}: Unmatched parenthesis in selector definition. ").into_bytes()),
    }
    users.insert(name.into(), made);
}

/// All unknown commands are told; of other faults, which may be next to a password, only the first and without the word.
fn apply_all(grammar: Grammar<'_>, place: &str, rules: &mut Rules, words: &[Vec<u8>], errors: &mut Vec<u8>) {
    let mut told = false;
    for word in words.iter().map(|word| trimmed(word, b"\t\r\n")) {
        let Err(fault) = grammar.apply(rules, word) else { continue };
        let text = fault.text().as_bytes();
        let place = place.as_bytes();
        if fault == Fault::Unknown {
            errors.extend([place, b": Error in applying operation '", word, b"': ", text, b". "].concat());
        } else if !told {
            errors.extend([place, b": ", text, b". "].concat());
            told = true;
        }
    }
}

fn trimmed<'a>(text: &'a [u8], blanks: &[u8]) -> &'a [u8] {
    let start = text.iter().position(|b| !blanks.contains(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !blanks.contains(b)).map_or(start, |i| i + 1);
    &text[start..end]
}

/// The file that [`parse_file`] reads as these users.
pub fn render_file<'a>(users: impl Iterator<Item = (&'a [u8], &'a Rules)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, rules) in users {
        text.extend(line(name, rules));
        text.push(b'\n');
    }
    text
}

/// `user name rules`, as ACL LIST has it.
pub fn line(name: &[u8], rules: &Rules) -> Vec<u8> {
    [b"user ".as_slice(), name, b" ", &rules.words().join(&b' ')].concat()
}

const NOTHING_CHANGED: &[u8] =
    b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
