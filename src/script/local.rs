//! A thread's own states: what it has compiled so far. Made when first needed, thrown away when the cache was flushed.

use super::cache::{Script, Scripts, Sha};
use super::functions::{Library, Loader};
use super::state::{Compiled, Environment, Options};
use super::{Engine, Host, Version};
use crate::table::keyed_hasher;
use ahash::RandomState;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A state for EVAL, and the scripts compiled in it.
pub struct Evals {
    pub engine: Box<Engine>,
    compiled: HashMap<Sha, (Arc<Script>, Compiled), RandomState>,
    generation: u64,
}

/// A state for functions, and the libraries loaded in it.
pub struct Functions {
    pub engine: Box<Engine>,
    /// By the library's id.
    loaded: HashMap<u64, Vec<Compiled>>,
    generation: u64,
}

thread_local! {
    static EVALS: RefCell<Option<Evals>> = const { RefCell::new(None) };
    static FUNCTIONS: RefCell<Option<Functions>> = const { RefCell::new(None) };
}

fn options(scripts: &Scripts, kind: Environment) -> Options {
    let text = *scripts.version.read();
    let used = if kind == Environment::Eval { &scripts.eval_bytes } else { &scripts.function_bytes };
    Options {
        kind,
        version: Version { text, number: number(text) },
        deprecated_api: scripts.deprecated_api.load(Relaxed),
        memory_max: MEMORY_MAX,
        used: used.clone(),
    }
}

/// A version as `0xMMmmpp`.
fn number(version: &str) -> u32 {
    version.split('.').fold(0, |all, part| all << 8 | part.parse::<u32>().unwrap_or(0))
}

impl Evals {
    /// The thread's state, taken out while it is used. `None` if there is no memory for one.
    pub fn take(scripts: &Scripts) -> Option<Self> {
        let generation = scripts.generation();
        let kept = EVALS.with_borrow_mut(Option::take);
        match kept.filter(|evals| evals.generation == generation) {
            Some(evals) => Some(evals),
            None => {
                let engine = Engine::open(&options(scripts, Environment::Eval))?;
                Some(Self { engine, compiled: HashMap::with_hasher(keyed_hasher()), generation })
            }
        }
    }

    pub fn give_back(self) {
        EVALS.set(Some(self));
    }

    /// A script that is compiled here and still in the cache.
    pub fn ready(&mut self, sha: &Sha) -> Option<(&mut Engine, &Script, Compiled)> {
        let (script, compiled) = self.compiled.get(sha)?;
        if script.gone.load(Relaxed) {
            return None;
        }
        Some((&mut self.engine, script, *compiled))
    }

    /// Compiles a script, unless it is. Errors: the text for the client.
    pub fn compile(&mut self, script: &Arc<Script>, host: &mut dyn Host) -> Result<(), Vec<u8>> {
        if let Some((known, compiled)) = self.compiled.get(&script.sha) {
            if Arc::ptr_eq(known, script) {
                return Ok(());
            }
            self.engine.forget(*compiled);
        }
        if self.compiled.len() >= COMPILED_MAX {
            self.forget_those_gone();
        }
        let compiled = self.engine.compile(script.code(), host)?;
        self.compiled.insert(script.sha, (script.clone(), compiled));
        Ok(())
    }

    /// Scripts evicted from the cache are not run again here.
    fn forget_those_gone(&mut self) {
        let Self { engine, compiled, .. } = self;
        compiled.retain(|_, (script, compiled)| {
            let stays = !script.gone.load(Relaxed);
            if !stays {
                engine.forget(*compiled);
            }
            stays
        });
    }

    /// Tries out whether a text compiles. Errors: the text for the client.
    pub fn try_compile(&mut self, code: &[u8], host: &mut dyn Host) -> Result<Compiled, Vec<u8>> {
        self.engine.compile(code, host)
    }

    /// Keeps what was tried out.
    pub fn keep(&mut self, script: &Arc<Script>, compiled: Compiled) {
        if let Some((_, old)) = self.compiled.insert(script.sha, (script.clone(), compiled)) {
            self.engine.forget(old);
        }
        if self.compiled.len() > COMPILED_MAX {
            self.forget_those_gone();
        }
    }
}

impl Functions {
    pub fn take(scripts: &Scripts) -> Option<Self> {
        let generation = scripts.libraries.current().generation;
        let kept = FUNCTIONS.with_borrow_mut(Option::take);
        match kept.filter(|functions| functions.generation == generation) {
            Some(functions) => Some(functions),
            None => {
                let engine = Engine::open(&options(scripts, Environment::Functions))?;
                Some(Self { engine, loaded: HashMap::new(), generation })
            }
        }
    }

    pub fn give_back(self) {
        FUNCTIONS.set(Some(self));
    }

    /// A library's function, ready to run here. Errors: the text for the client.
    pub fn ready(&mut self, scripts: &Scripts, library: &Library, function: usize) -> Result<Compiled, Vec<u8>> {
        if let Some(compiled) = self.loaded.get(&library.id).and_then(|functions| functions.get(function)) {
            return Ok(*compiled);
        }
        // Those deleted or replaced since are not called any more.
        let current = scripts.libraries.current();
        let Self { engine, loaded, .. } = self;
        loaded.retain(|id, functions| {
            let stays = current.libraries().any(|library| library.id == *id);
            if !stays {
                functions.iter().for_each(|compiled| engine.forget(*compiled));
            }
            stays
        });
        let functions = engine.load_library(library.code(), &mut Loader::new(None))?;
        let compiled: Vec<_> = functions.iter().map(|function| function.compiled).collect();
        let wanted = compiled.get(function).copied();
        loaded.insert(library.id, compiled);
        wanted.ok_or_else(|| b"ERR Function not found".to_vec())
    }
}

/// Runs `work` with the thread's state for functions. `None` if there is no memory for one.
pub fn with_functions<R>(scripts: &Scripts, work: impl FnOnce(&mut Engine) -> R) -> Option<R> {
    let mut functions = Functions::take(scripts)?;
    let result = work(&mut functions.engine);
    functions.give_back();
    Some(result)
}

/// Frees the thread's states of an older generation.
pub fn tidy(scripts: &Scripts) {
    let stale = |generation: u64, current: u64| generation != current;
    EVALS.with_borrow_mut(|kept| _ = kept.take_if(|evals| stale(evals.generation, scripts.generation())));
    let generation = scripts.libraries.current().generation;
    FUNCTIONS.with_borrow_mut(|kept| _ = kept.take_if(|functions| stale(functions.generation, generation)));
}

/// A script that holds more hears `not enough memory`.
const MEMORY_MAX: usize = 1 << 30;
/// Beyond this many, those evicted from the cache are forgotten here too.
const COMPILED_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{cache, hex_digest};

    #[test]
    fn a_version_has_a_number() {
        assert_eq!([number("7.0.15"), number("8.2.3"), number("")], [0x0007_000f, 0x0008_0203, 0]);
    }

    #[test]
    fn a_script_is_compiled_once_and_forgotten_with_the_cache() {
        let scripts = Scripts::default();
        let text = b"return 1";
        let script = scripts.add(cache::script(text, hex_digest(text)).unwrap(), true);
        let mut evals = Evals::take(&scripts).expect("a state");
        assert!(evals.ready(&script.sha).is_none());
        evals.compile(&script, &mut Loader::new(None)).unwrap();
        assert!(evals.ready(&script.sha).is_some());
        evals.give_back();
        assert!(Evals::take(&scripts).expect("the same").ready(&script.sha).is_some());
        scripts.flush();
        assert!(Evals::take(&scripts).expect("a new one").ready(&script.sha).is_none());
    }
}
