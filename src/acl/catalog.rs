//! The commands as rules see them: a number, a name, categories, and a place under a container.
//!
//! Built once from the server's rows, so that rules know no row. Names are the rows' own: `rename-command` changes
//! nothing about rights, as in Redis.

use std::collections::BTreeMap;
use std::ops::Range;

/// Categories of a command, one bit each, in the order of [`Catalog::categories`].
pub type Categories = u32;

/// All commands, numbered as the server's rows are.
pub struct Catalog {
    categories: Vec<&'static str>,
    commands: Vec<Known>,
    numbers: BTreeMap<String, usize>,
}

struct Known {
    /// `config|get`, in lower case.
    name: String,
    categories: Categories,
    /// Its subcommands, if it is a container: they follow it.
    subcommands: Range<usize>,
    container: Option<usize>,
}

impl Catalog {
    /// `commands`: full names with categories, a container right before its subcommands.
    pub fn new(categories: Vec<&'static str>, commands: impl Iterator<Item = (String, Categories)>) -> Self {
        let mut known: Vec<Known> = Vec::new();
        let mut numbers = BTreeMap::new();
        for (id, (name, categories)) in commands.enumerate() {
            let container = name.split_once('|').and_then(|(container, _)| numbers.get(container).copied());
            if let Some(container) = container {
                let of_container: &mut Known = &mut known[container];
                of_container.subcommands.end = id + 1;
            }
            numbers.insert(name.clone(), id);
            known.push(Known { name, categories, subcommands: id + 1..id + 1, container });
        }
        Self { categories, commands: known, numbers }
    }

    pub fn categories(&self) -> &[&'static str] {
        &self.categories
    }

    /// The bit of a category, by name in any case and without `@`.
    pub fn category(&self, name: &[u8]) -> Option<Categories> {
        let at = self.categories.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some(1 << at)
    }

    /// The commands of a category.
    pub fn in_category(&self, category: Categories) -> impl Iterator<Item = usize> {
        self.commands.iter().enumerate().filter(move |(_, known)| known.categories & category != 0).map(|(id, _)| id)
    }

    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// A command by full name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.numbers.get(&std::str::from_utf8(name).ok()?.to_ascii_lowercase()).copied()
    }

    pub fn name(&self, id: usize) -> &str {
        &self.commands[id].name
    }

    pub(super) fn is_subcommand(&self, id: usize) -> bool {
        self.commands[id].container.is_some()
    }

    pub(super) fn has_subcommands(&self, id: usize) -> bool {
        !self.commands[id].subcommands.is_empty()
    }

    /// A command and, of a container, what is in it.
    pub(super) fn with_subcommands(&self, id: usize) -> impl Iterator<Item = usize> + use<> {
        std::iter::once(id).chain(self.commands[id].subcommands.clone())
    }
}
