//! The texts of scripts by their SHA-1, and the libraries of functions: what all workers have in common.
//!
//! Each worker compiles what it runs into states of its own (`local.rs`). Texts that came with EVAL are at most
//! [`EVAL_TEXTS_MAX`]; beyond that the one used longest ago is evicted, as in Redis since 7.4. SCRIPT LOAD's stay.

use super::functions::Libraries;
use super::running::Runs;
use super::text::{self, Flags};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// 40 hexadecimal digits in lower case.
pub type Sha = [u8; 40];

/// A script in the cache.
pub struct Script {
    pub sha: Sha,
    pub text: Box<[u8]>,
    pub flags: Flags,
    /// Its code begins here: behind the words of the first line.
    code_at: usize,
    /// It reached keys that one thread alone may reach: from now on it owns the world from its start.
    pub needs_world: AtomicBool,
    /// No longer in the cache.
    pub gone: AtomicBool,
    evictable: AtomicBool,
    /// How many scripts had come by EVAL when it was used last.
    used: AtomicU64,
}

impl Script {
    pub fn code(&self) -> &[u8] {
        &self.text[self.code_at..]
    }

    fn bytes(&self) -> usize {
        self.text.len() + size_of::<Self>() + 2 * size_of::<Sha>()
    }
}

/// The service: scripts, libraries, and what runs at the moment.
#[derive(Default)]
pub struct Scripts {
    cache: RwLock<Cache>,
    pub libraries: Libraries,
    pub runs: Runs,
    /// Counts SCRIPT FLUSH: states of another generation begin anew.
    generation: AtomicU64,
    /// Counts what came by EVAL.
    clock: AtomicU64,
    pub evicted: AtomicU64,
    /// What `redis.REDIS_VERSION` tells in states made from now on.
    pub version: RwLock<&'static str>,
    /// `lua-enable-deprecated-api`, as the process was started.
    pub deprecated_api: AtomicBool,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS: scripts may run commands that are not for scripts.
    pub allow_all: AtomicBool,
    /// Some script needs the world.
    pub any_needs_world: AtomicBool,
    /// Bytes of all states.
    pub eval_bytes: Arc<AtomicUsize>,
    pub function_bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Cache {
    scripts: HashMap<Sha, Arc<Script>>,
    evictable: usize,
    bytes: usize,
}

impl Scripts {
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// The script of a SHA in any case.
    pub fn find(&self, sha: &[u8]) -> Option<Arc<Script>> {
        self.cache.read().scripts.get(&lower(sha)?).cloned()
    }

    pub fn count(&self) -> usize {
        self.cache.read().scripts.len()
    }

    /// Bytes of the texts and what goes with them.
    pub fn bytes(&self) -> usize {
        self.cache.read().bytes
    }

    /// Puts a script that compiles into the cache. `loaded`: by SCRIPT LOAD, to stay there.
    pub fn add(&self, script: Script, loaded: bool) -> Arc<Script> {
        let mut cache = self.cache.write();
        if let Some(known) = cache.scripts.get(&script.sha).cloned() {
            if loaded && known.evictable.swap(false, Relaxed) {
                cache.evictable -= 1;
            }
            return known;
        }
        let script = Arc::new(script);
        if !loaded {
            script.used.store(self.clock.fetch_add(1, Relaxed) + 1, Relaxed);
            script.evictable.store(true, Relaxed);
            cache.evictable += 1;
            if cache.evictable > EVAL_TEXTS_MAX {
                self.evicted.fetch_add(cache.evict(), Relaxed);
            }
        }
        cache.bytes += script.bytes();
        cache.scripts.insert(script.sha, script.clone());
        script
    }

    /// SCRIPT LOAD: a script that came by EVAL is not evicted any more.
    pub fn stay(&self, script: &Script) {
        if script.evictable.load(Relaxed) {
            let mut cache = self.cache.write();
            if cache.scripts.contains_key(&script.sha) && script.evictable.swap(false, Relaxed) {
                cache.evictable -= 1;
            }
        }
    }

    /// A script is about to run.
    #[inline]
    pub fn note_use(&self, script: &Script) {
        let now = self.clock.load(Relaxed);
        if script.used.load(Relaxed) != now && script.evictable.load(Relaxed) {
            script.used.store(now, Relaxed);
        }
    }

    pub fn flush(&self) {
        let mut cache = self.cache.write();
        cache.scripts.values().for_each(|script| script.gone.store(true, Relaxed));
        *cache = Cache::default();
        self.generation.fetch_add(1, Relaxed);
    }
}

impl Cache {
    /// Removes the evictable script used longest ago. How many went.
    fn evict(&mut self) -> u64 {
        let evictable = self.scripts.values().filter(|script| script.evictable.load(Relaxed));
        let Some(oldest) = evictable.min_by_key(|script| script.used.load(Relaxed)).cloned() else { return 0 };
        oldest.gone.store(true, Relaxed);
        self.scripts.remove(&oldest.sha);
        self.bytes -= oldest.bytes();
        self.evictable -= 1;
        1
    }
}

/// A script from its text; the text's first line is read, nothing is compiled. Errors: the text for the client.
pub fn script(text: &[u8], sha: Sha) -> Result<Script, Vec<u8>> {
    let (flags, code) = text::script(text)?;
    Ok(Script {
        sha,
        text: text.into(),
        flags,
        code_at: text.len() - code.len(),
        needs_world: AtomicBool::new(false),
        gone: AtomicBool::new(false),
        evictable: AtomicBool::new(false),
        used: AtomicU64::new(0),
    })
}

/// A SHA as the cache has it, if it may be one.
pub fn lower(sha: &[u8]) -> Option<Sha> {
    let mut lower: Sha = sha.try_into().ok()?;
    lower.make_ascii_lowercase();
    Some(lower)
}

/// As in Redis 7.4.
const EVAL_TEXTS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::hex_digest;

    fn add(scripts: &Scripts, text: &str, loaded: bool) -> Sha {
        let sha = hex_digest(text.as_bytes());
        scripts.add(script(text.as_bytes(), sha).unwrap(), loaded);
        sha
    }

    #[test]
    fn texts_of_eval_are_evicted_in_the_order_of_their_use() {
        let scripts = Scripts::default();
        let kept = add(&scripts, "return 'loaded'", true);
        let first = add(&scripts, "return 'first'", false);
        let second = add(&scripts, "return 'second'", false);
        for i in 0..EVAL_TEXTS_MAX - 2 {
            add(&scripts, &format!("return {i}"), false);
        }
        scripts.note_use(&scripts.find(&first).expect("there"));
        add(&scripts, "return 'one more'", false);
        assert!(scripts.find(&second).is_none() && scripts.find(&first).is_some() && scripts.find(&kept).is_some());
        assert_eq!((scripts.count(), scripts.evicted.load(Relaxed)), (EVAL_TEXTS_MAX + 1, 1));
        scripts.flush();
        assert_eq!((scripts.count(), scripts.bytes()), (0, 0));
    }
}
