//! The libraries of functions, by name: one set for all workers, which each runs in states of its own.
//!
//! A library is code that registers functions. It is run when it is loaded, to learn what it registers, and once more in
//! each state that calls one of its functions. The set is replaced as a whole: a reader's stays as it is.

use super::cache::Scripts;
use super::library::{self, Loaded};
use super::text::{self, Flags};
use super::{Called, Host, Tick, local};
use crate::clock;
use crate::resp::ArgvView;
use arc_swap::{ArcSwap, Guard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A library of functions.
#[derive(Debug)]
pub struct Library {
    pub name: Vec<u8>,
    /// As it was loaded, first line and all.
    pub text: Vec<u8>,
    pub functions: Vec<Described>,
    /// Differs between two libraries of one name.
    pub id: u64,
    /// A function of it reached keys that one thread alone may reach.
    pub needs_world: AtomicBool,
    code_at: usize,
}

/// A function as others see it.
#[derive(Clone, Debug)]
pub struct Described {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: Flags,
}

impl Library {
    pub fn code(&self) -> &[u8] {
        &self.text[self.code_at..]
    }
}

/// One set of libraries. Names mean the same in any case; the maps have them in lower case.
#[derive(Clone, Default, Debug)]
pub struct Set {
    libraries: BTreeMap<Vec<u8>, Arc<Library>>,
    functions: HashMap<Vec<u8>, (Arc<Library>, usize)>,
    /// Counts FUNCTION FLUSH and RESTORE FLUSH: states of another generation begin anew.
    pub generation: u64,
}

impl Set {
    pub fn libraries(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    fn has(&self, library: &[u8]) -> bool {
        self.libraries.contains_key(&library.to_ascii_lowercase())
    }

    /// A function's library and its number there.
    pub fn find(&self, function: &[u8]) -> Option<(&Arc<Library>, usize)> {
        self.functions.get(&function.to_ascii_lowercase()).map(|(library, i)| (library, *i))
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Library>> {
        let library = self.libraries.remove(&name.to_ascii_lowercase())?;
        library.functions.iter().for_each(|function| _ = self.functions.remove(&function.name.to_ascii_lowercase()));
        Some(library)
    }

    /// Adds a library. Errors: the text for the client.
    fn add(&mut self, library: Arc<Library>) -> Result<(), Vec<u8>> {
        for function in &library.functions {
            if self.functions.contains_key(&function.name.to_ascii_lowercase()) {
                return Err([b"ERR Function ", &function.name[..], b" already exists"].concat());
            }
        }
        for (i, function) in library.functions.iter().enumerate() {
            self.functions.insert(function.name.to_ascii_lowercase(), (library.clone(), i));
        }
        self.libraries.insert(library.name.to_ascii_lowercase(), library);
        Ok(())
    }

    /// Bytes of the libraries and what goes with them.
    pub fn bytes(&self) -> usize {
        let function = |f: &Described| 2 * f.name.len() + f.description.as_ref().map_or(0, Vec::len) + FUNCTION_BYTES;
        let library = |l: &Arc<Library>| {
            2 * l.name.len() + l.text.len() + LIBRARY_BYTES + l.functions.iter().map(function).sum::<usize>()
        };
        self.libraries.values().map(library).sum()
    }
}

/// What happens to libraries that are there when others are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Flush,
    Append,
    Replace,
}

/// The current set. A thread that changes it owns the world, or is alone while loading.
#[derive(Default)]
pub struct Libraries {
    set: ArcSwap<Set>,
}

impl Libraries {
    #[inline]
    pub fn current(&self) -> Guard<Arc<Set>> {
        self.set.load()
    }
}

impl Scripts {
    /// Loads a library. `timeout_ms`: how long its code may run. Returns its name. Errors: the text for the client.
    pub fn load_library(&self, text: &[u8], replace: bool, timeout_ms: Option<u64>) -> Result<Vec<u8>, Vec<u8>> {
        let mut set = (**self.libraries.current()).clone();
        let (name, _) = text::library(text)?;
        if set.has(&name) && !replace {
            return Err([b"ERR Library '", &name[..], b"' already exists"].concat());
        }
        set.remove(&name);
        set.add(Arc::new(self.library(text, timeout_ms)?))?;
        self.libraries.set.store(Arc::new(set));
        Ok(name)
    }

    /// Runs a library's code to learn what it holds.
    fn library(&self, text: &[u8], timeout_ms: Option<u64>) -> Result<Library, Vec<u8>> {
        let (name, code) = text::library(text)?;
        let loaded = local::with_functions(self, |engine| {
            let loaded = engine.load_library(code, &mut Loader::new(timeout_ms))?;
            loaded.iter().for_each(|function| engine.forget(function.compiled));
            Ok::<Loaded, Vec<u8>>(loaded)
        })
        .unwrap_or_else(|| Err(library::NO_STATE.to_vec()))?;
        if loaded.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        let functions =
            loaded.into_iter().map(|f| Described { name: f.name, description: f.description, flags: f.flags });
        // Of the process: a thread's states outlive a server that a test makes.
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Relaxed);
        let (functions, code_at) = (functions.collect(), text.len() - code.len());
        Ok(Library { name, text: text.to_vec(), functions, id, needs_world: AtomicBool::new(false), code_at })
    }

    /// False if there is no such library.
    pub fn delete_library(&self, name: &[u8]) -> bool {
        let mut set = (**self.libraries.current()).clone();
        let found = set.remove(name).is_some();
        self.libraries.set.store(Arc::new(set));
        found
    }

    pub fn flush_libraries(&self) {
        self.replace_libraries(Set::default());
    }

    /// A set of libraries given by their texts, not in force yet. Errors: the text for the client.
    pub fn set_of(&self, texts: &[Vec<u8>], timeout_ms: Option<u64>) -> Result<Set, Vec<u8>> {
        let mut set = Set::default();
        for text in texts {
            let (name, _) = text::library(text)?;
            if set.has(&name) {
                return Err([b"ERR Library '", &name[..], b"' already exists"].concat());
            }
            set.add(Arc::new(self.library(text, timeout_ms)?))?;
        }
        Ok(set)
    }

    /// Puts a set of libraries in place of all there are.
    pub fn replace_libraries(&self, set: Set) {
        let generation = self.libraries.current().generation + 1;
        self.libraries.set.store(Arc::new(Set { generation, ..set }));
    }

    /// Takes in libraries given by their texts, all or none. Errors: the text for the client.
    pub fn restore_libraries(&self, texts: &[Vec<u8>], policy: Policy, timeout_ms: Option<u64>) -> Result<(), Vec<u8>> {
        let (before, restored) = (self.libraries.current(), self.set_of(texts, timeout_ms)?);
        let mut set = match policy {
            Policy::Flush => Set { generation: before.generation + 1, ..Set::default() },
            Policy::Append | Policy::Replace => (**before).clone(),
        };
        for library in restored.libraries.values() {
            if set.has(&library.name) {
                if policy == Policy::Append {
                    return Err([b"ERR Library ", &library.name[..], b" already exists"].concat());
                }
                set.remove(&library.name);
            }
        }
        restored.libraries.into_values().try_for_each(|library| set.add(library))?;
        self.libraries.set.store(Arc::new(set));
        Ok(())
    }
}

/// The host of a library that loads: it may do nothing but log, for a limited time.
pub struct Loader {
    ends_at: Option<u64>,
}

impl Loader {
    pub fn new(timeout_ms: Option<u64>) -> Self {
        let now = clock::ticks_to_ns(clock::ticks());
        Self { ends_at: timeout_ms.map(|ms| now + ms * 1_000_000) }
    }
}

impl Host for Loader {
    fn call(&mut self, _: ArgvView<'_>, _: bool, _: &mut Vec<u8>) -> Called {
        Called::Abandon
    }

    fn set_repl(&mut self, _: u8) {}

    fn may_run(&mut self, _: ArgvView<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, level: u8, text: &[u8]) {
        log_script(level, text);
    }

    fn tick(&mut self) -> Tick {
        match self.ends_at {
            Some(end) if clock::ticks_to_ns(clock::ticks()) > end => Tick::Kill("ERR FUNCTION LOAD timeout"),
            _ => Tick::GoOn,
        }
    }
}

/// `redis.log`, at its level.
pub fn log_script(level: u8, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        0 => crate::log::debug!("{text}"),
        1 => crate::log::verbose!("{text}"),
        2 => crate::log::notice!("{text}"),
        _ => crate::log::warning!("{text}"),
    }
}

/// How long the code of a library may run when a client loads it.
pub const LOAD_TIMEOUT_MS: u64 = 500;
/// What a function and a library take beside their texts.
const FUNCTION_BYTES: usize = size_of::<Described>() + 64;
const LIBRARY_BYTES: usize = size_of::<Library>() + 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(library: &str, function: &str) -> Vec<u8> {
        format!("#!lua name={library}\nredis.register_function('{function}', function() return 1 end)").into_bytes()
    }

    #[test]
    fn libraries_are_taken_in_all_or_none() {
        let scripts = Scripts::default();
        assert_eq!(scripts.load_library(&text("a", "f"), false, None), Ok(b"a".to_vec()));
        assert_eq!(scripts.load_library(&text("a", "f"), false, None), Err(b"ERR Library 'a' already exists".to_vec()));
        assert_eq!(scripts.load_library(&text("b", "f"), false, None), Err(b"ERR Function f already exists".to_vec()));
        assert_eq!(scripts.load_library(&text("a", "g"), true, None), Ok(b"a".to_vec()));
        let failed = scripts.restore_libraries(&[text("c", "h"), text("d", "g")], Policy::Append, None);
        assert_eq!(failed, Err(b"ERR Function g already exists".to_vec()));
        let names =
            |scripts: &Scripts| scripts.libraries.current().libraries().map(|l| l.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&scripts), [b"a"]);
        assert_eq!(scripts.restore_libraries(&[text("c", "h")], Policy::Flush, None), Ok(()));
        assert_eq!(names(&scripts), [b"c"]);
        let endless = b"#!lua name=e\nwhile true do end";
        let failed = scripts.load_library(endless, false, Some(20)).expect_err("it never ends");
        assert!(failed.starts_with(b"ERR Error registering functions: ERR FUNCTION LOAD timeout"));
    }
}
