//! INFO: sections of fields, each field a row with a name and a function that reads its value.
//!
//! This file is the engine and the list of sections; the fields are in `fields.rs`. A reading is taken once for a whole
//! INFO; what is costly in it (memory, processor time) only when a section asks.

use super::fields;
use super::memory;
use crate::clock::Millis;
use crate::command::*;
use crate::config::Config;
use crate::node::Node;
use crate::observe::{Counts, Rates};
use crate::usage::{self, Cpu};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt::Write;

pub const INFO: Command = Command {
    name: "INFO",
    args: "[section [section ...]]",
    arity: -1,
    since: "1.0.0",
    group: Group::Server,
    flags: LOADING | STALE | DANGEROUS | WALK,
    keys: Keys::NONE,
    doc: "The state of the server as text, in sections. O(1).",
    examples: "> INFO nosuchsection\n\"\"",
    run: info,
};

/// A section. Its title stands above its fields; `more` writes lines that are no fixed list.
pub struct Section {
    pub name: &'static str,
    pub title: &'static str,
    pub fields: &'static [Field],
    pub more: Option<fn(&Reading<'_>, &mut String)>,
    /// Shown when no section is asked for.
    pub by_default: bool,
}

/// A line of its own; one without a name writes whole lines.
pub struct Field {
    pub name: &'static str,
    pub value: fn(&Reading<'_>) -> Value,
}

/// A field's value as text, or nothing: then the field is left out.
pub struct Value(pub Option<String>);

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::from(i64::from(yes))
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl From<$type> for Value {
            fn from(n: $type) -> Self {
                Self(Some(n.to_string()))
            }
        }
    )+};
}

numbers!(i64, u64, u32, u16, usize);

/// What the fields read.
pub struct Reading<'a> {
    pub node: &'a Node,
    pub config: &'a Config,
    pub now: Millis,
    pub counts: Counts,
    pub rates: Rates,
    memory: OnceCell<memory::Reading>,
    cpu: OnceCell<(Cpu, Cpu)>,
}

impl<'a> Reading<'a> {
    fn take(node: &'a Node, config: &'a Config, now: Millis) -> Self {
        let (counts, rates) = (node.observatory.counts(), node.observatory.rates());
        Self { node, config, now, counts, rates, memory: OnceCell::new(), cpu: OnceCell::new() }
    }

    pub fn memory(&self) -> &memory::Reading {
        self.memory.get_or_init(|| memory::Reading::take(self.node))
    }

    /// Of the process, and of the thread that serves this INFO.
    pub fn cpu(&self) -> &(Cpu, Cpu) {
        self.cpu.get_or_init(|| (usage::cpu(), usage::cpu_of_thread()))
    }
}

/// The figures of INFO by their names, for monitors.
pub struct Figures(HashMap<&'static str, String>);

impl Figures {
    pub fn read(node: &Node, config: &Config, now: Millis) -> Self {
        let reading = Reading::take(node, config, now);
        let fields = fields::SECTIONS.iter().flat_map(|section| section.fields).filter(|field| !field.name.is_empty());
        Self(fields.filter_map(|field| Some((field.name, (field.value)(&reading).0?))).collect())
    }

    /// None of a figure that INFO leaves out at the moment.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// All sections, for a crash report.
pub fn everything(node: &Node, config: &Config, now: Millis) -> String {
    let reading = Reading::take(node, config, now);
    let mut text = String::new();
    fields::SECTIONS.iter().for_each(|section| write_section(section, &reading, &mut text));
    text.replace("\r\n", "\n")
}

fn info(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let reading = Reading::take(ctx.node, ctx.config, ctx.db.now());
    let mut text = String::new();
    for section in fields::SECTIONS.iter().filter(|section| is_wanted(section, &ctx.args)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        write_section(section, &reading, &mut text);
    }
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn is_wanted(section: &Section, args: &Args<'_>) -> bool {
    let names = |name: &str| args.from(1).any(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    let by_default = section.by_default && (args.len() == 1 || names("default"));
    by_default || names(section.name) || names("all") || names("everything")
}

fn write_section(section: &Section, reading: &Reading<'_>, text: &mut String) {
    let _ = write!(text, "# {}\r\n", section.title);
    for field in section.fields {
        if let Value(Some(value)) = (field.value)(reading) {
            let _ = match field.name {
                "" => write!(text, "{value}\r\n"),
                name => write!(text, "{name}:{value}\r\n"),
            };
        }
    }
    if let Some(more) = section.more {
        more(reading, text);
    }
}
