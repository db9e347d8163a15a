//! DEBUG LOADAOF and DEBUG RELOAD: the data as the files tell it, inside a unit that owns the world.

use crate::command::session::Session;
use crate::command::*;
use crate::keyspace::walk::Garbage;
use crate::node::{Loads, Node};
use crate::persist::aof::AofDir;
use crate::persist::load::{self, Apply};
use crate::persist::rdb::read::{Delivered, Loaded};
use crate::resp::ArgvView;

/// Writes the log out, empties the keyspace and loads the log.
pub fn load_log(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let node = ctx.node;
    let unreadable = |e: std::io::Error| {
        crate::log::warning!("{e}");
        CANNOT_LOAD
    };
    if node.journal.is_on() && !node.journal.finish() {
        return Err(CANNOT_LOAD);
    }
    let files = node.aof.files.lock();
    // What BGREWRITEAOF has written while the log is off.
    let at_rest = match *files {
        Some(_) => None,
        None => Some(AofDir::open(ctx.config, &node.aof.storage).map_err(unreadable)?),
    };
    let Some(files) = files.as_ref().or(at_rest.as_ref()).filter(|files| files.manifest.base.is_some()) else {
        return ctx.out.ok();
    };
    let selected = ctx.db.index();
    flush_all(ctx);
    let mut session = Session::for_log(ctx.db.now());
    let mut reload = Reload { ctx, session: &mut session, loaded: 0 };
    // A slow script in the log lets others in.
    node.life.set_loads(Loads::Data);
    let loaded = load::load(files, reload.ctx.config, &node.rdb.loading, &mut reload);
    node.life.set_loads(Loads::Nothing);
    ctx.db.select(selected);
    ctx.db.changes.dirty = 0;
    ctx.propagate_nothing();
    loaded.map_err(unreadable)?;
    ctx.out.ok()
}

fn flush_all(ctx: &mut Ctx<'_, '_>) {
    ctx.node.scripts.flush_libraries();
    for db in 0..ctx.node.keyspace.databases() {
        ctx.db.select(db);
        ctx.node.reaper.send(Garbage::Flushed(ctx.db.flush()));
    }
}

/// Saves, empties the keyspace and loads the snapshot; NOSAVE, NOFLUSH and MERGE leave steps out.
pub fn reload(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (mut saves, mut flushes, mut merges) = (true, true, false);
    ctx.args.skip_to(2);
    while let Some(word) = ctx.args.word() {
        match &*word {
            b"NOSAVE" => saves = false,
            b"NOFLUSH" => flushes = false,
            b"MERGE" => merges = true,
            _ => return Err(Error::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")),
        }
    }
    if saves {
        crate::commands::persistence::save_here(ctx)?;
    }
    let unreadable = |e: std::io::Error| {
        crate::log::warning!("{e}");
        CANNOT_RELOAD
    };
    let (now, path) = (ctx.db.now(), std::path::PathBuf::from(&ctx.config.dbfilename));
    // Nothing is given up for a file of a version that is not read.
    load::check_head(&path, ctx.config).map_err(unreadable)?;
    let selected = ctx.db.index();
    if flushes {
        flush_all(ctx);
    }
    let keep_expired = std::mem::replace(&mut ctx.db.mode.keep_expired, true);
    let (db, node) = (&mut *ctx.db, ctx.node);
    let loaded = load::load_snapshot(&path, (ctx.config, &ctx.node.rdb.loading), now, &mut |loaded| {
        let loaded = match loaded {
            Delivered::Key(key) => key,
            Delivered::Library(text) => return load_library(node, &text, merges),
        };
        db.select(loaded.db);
        if merges {
            loaded.merge(db);
            return Ok(());
        }
        loaded.put(db)
    });
    ctx.db.mode.keep_expired = keep_expired;
    ctx.db.select(selected);
    ctx.db.changes.dirty = 0;
    ctx.propagate_nothing();
    loaded.map_err(unreadable)?;
    crate::log::warning!("DB reloaded by DEBUG RELOAD");
    ctx.out.ok()
}

/// The log's commands inside a unit that owns the world. MULTI and EXEC are nothing here: all of it is one unit.
struct Reload<'r, 'a, 'k> {
    ctx: &'r mut Ctx<'a, 'k>,
    session: &'r mut Session,
    loaded: u64,
}

impl Apply for Reload<'_, '_, '_> {
    fn command(&mut self, argv: ArgvView<'_>) -> Result<(), String> {
        let row = self.ctx.registry.resolve(argv).map_err(|e| String::from_utf8_lossy(e.text()).into_owned())?;
        if row.command.has(NO_QUEUE) {
            return Ok(());
        }
        self.ctx.replay(row, argv, self.session);
        self.loaded += 1;
        load::rest(self.ctx.config.key_load_delay, self.loaded, 1);
        if self.loaded.is_multiple_of(LOADED_PER_VISIT) {
            let Ctx { node, db, config, stats, .. } = self.ctx;
            node.defrag.visit_for_a_while(db, config, &node.observatory, stats);
        }
        Ok(())
    }

    fn key(&mut self, loaded: Loaded) -> Result<(), String> {
        self.ctx.db.select(loaded.db);
        loaded.put(self.ctx.db)
    }

    fn library(&mut self, text: &[u8]) -> Result<(), String> {
        load_library(self.ctx.node, text, false)
    }

    fn end_of_file(&mut self) -> Result<(), String> {
        Ok(())
    }
}

fn load_library(node: &Node, text: &[u8], replace: bool) -> Result<(), String> {
    let loaded = node.scripts.load_library(text, replace, None);
    loaded.map(drop).map_err(|text| format!("Failed creating the library: {}", String::from_utf8_lossy(&text)))
}

const CANNOT_RELOAD: Error = Error::new("ERR Error trying to load the RDB dump, check server logs");
const CANNOT_LOAD: Error = Error::new("ERR Error trying to load the AOF, check server logs.");
/// Commands between two looks whether defragmentation is due: nothing else can see to it meanwhile.
const LOADED_PER_VISIT: u64 = 256;
