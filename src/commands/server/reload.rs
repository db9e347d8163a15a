//! DEBUG LOADAOF: the data as the log tells it, inside a unit that owns the world.

use crate::command::session::Session;
use crate::command::*;
use crate::keyspace::Expiry;
use crate::keyspace::walk::Garbage;
use crate::persist::load::{self, Apply};
use crate::persist::rdb::read::Loaded;
use crate::resp::ArgvView;

/// Writes the log out, empties the keyspace and loads the log.
pub fn load_log(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let node = ctx.node;
    if !node.journal.is_on() {
        return ctx.out.ok();
    }
    if !node.journal.finish() {
        return Err(Error::new("ERR Error trying to load the AOF, check server logs."));
    }
    let selected = ctx.db.index();
    for db in 0..node.keyspace.databases() {
        ctx.db.select(db);
        node.reaper.send(Garbage::Flushed(ctx.db.flush()));
    }
    let mut session = Session::for_log(ctx.db.now());
    let files = node.aof.files.lock();
    let loaded = match files.as_ref() {
        Some(files) => load::load(files, ctx.config.aof_load_truncated, &mut Reload { ctx, session: &mut session }),
        None => Ok(()),
    };
    drop(files);
    ctx.db.select(selected);
    ctx.db.changes.dirty = 0;
    ctx.propagate_nothing();
    if let Err(e) = loaded {
        crate::log::warning!("{e}");
        return Err(Error::new("ERR Error trying to load the AOF, check server logs."));
    }
    ctx.out.ok()
}

/// The log's commands inside a unit that owns the world. MULTI and EXEC are nothing here: all of it is one unit.
struct Reload<'r, 'a, 'k> {
    ctx: &'r mut Ctx<'a, 'k>,
    session: &'r mut Session,
}

impl Apply for Reload<'_, '_, '_> {
    fn command(&mut self, argv: ArgvView<'_>) -> Result<(), String> {
        let row = self.ctx.registry.resolve(argv).map_err(|e| String::from_utf8_lossy(e.text()).into_owned())?;
        if row.command.has(NO_QUEUE) {
            return Ok(());
        }
        self.ctx.replay(row, argv, self.session);
        Ok(())
    }

    fn key(&mut self, loaded: Loaded) -> Result<(), String> {
        self.ctx.db.select(loaded.db);
        let expiry = loaded.expiry.map_or(Expiry::Clear, Expiry::At);
        self.ctx.db.set_string(&loaded.key, &loaded.value, expiry);
        Ok(())
    }

    fn end_of_file(&mut self) {}
}
