//! MIGRATE: keys to another server, and away from here once it has them.
//!
//! The handler runs twice. First, owning the world, it finds the keys that exist, lists and watches them, and waits; then,
//! when the service has sent them (`migrator`), it removes those that the target has taken and that have not changed, and
//! says so to the log and to replicas as one DEL. What is held back meanwhile: see `migrations`.
//! Not here: the sending. Inside MULTI and scripts, where nothing can wait, it is refused; Redis blocks there too.

use crate::command::error::{NOT_INT, SYNTAX};
use crate::command::keys::{ACCESS, Begin, DELETE, Find, INCOMPLETE, RW, Spec};
use crate::command::waiting::ROLE_CHANGED;
use crate::command::*;
use crate::migrations::{Migration, Moving};
use crate::num;
use crate::resp::ArgvView;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub const MIGRATE: Command = Command {
    name: "MIGRATE",
    args: "host port <key-selector: key | empty-string> destination-db timeout:integer [COPY@3.0.0] [REPLACE@3.0.0] [authentication: AUTH@4.0.7 auth=password | AUTH2@6.0.0 username password] [KEYS@3.0.6 keys=key#2 [keys ...]]",
    arity: -6,
    since: "2.6.0",
    group: Group::Generic,
    flags: WRITE | MOVABLE_KEYS | DANGEROUS | WORLD,
    keys: Keys::one(3, MOVED).and(Keys::spec(BEHIND_KEYS)).found_by(find_keys),
    doc: "Sends keys to another server and removes them here, unless COPY. O(N) in their size.",
    examples: "> MIGRATE 127.0.0.1 6379 missing 0 100\nNOKEY\n> MIGRATE 127.0.0.1 6379 k 0 100 COPY KEYS k\n(error) ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
    run: migrate,
};

const MOVED: u16 = RW | ACCESS | DELETE;
const BEHIND_KEYS: Spec = Spec {
    begin: Begin::Keyword("KEYS", -2),
    find: Find::Range { last: -1, step: 1, limit: 0 },
    flags: MOVED | INCOMPLETE,
    notes: None,
};

/// The first word KEYS among the options ends them, unless it is a password.
fn find_keys(argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
    let (mut first, mut count) = (3, 1);
    if argv.get(3).is_empty() {
        let mut i = OPTIONS_AT;
        while i < argv.len() {
            match &argv.get(i).to_ascii_uppercase()[..] {
                b"KEYS" => {
                    (first, count) = (i + 1, argv.len() - i - 1);
                    break;
                }
                b"AUTH" => i += 2,
                b"AUTH2" => i += 3,
                _ => i += 1,
            }
        }
    }
    (first..first + count).for_each(|i| visit(i, MOVED));
}

/// What a MIGRATE asks of the target.
pub struct Order<'a> {
    pub host: &'a [u8],
    pub port: u16,
    pub db: i64,
    /// How long the target may be silent.
    pub patience: Duration,
    pub copy: bool,
    pub replace: bool,
    /// The user, if one is named, and the password.
    pub auth: Vec<&'a [u8]>,
    /// Argument numbers of the user and the password.
    secrets: Vec<usize>,
}

impl<'a> Order<'a> {
    pub fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let (mut copy, mut replace, mut secrets) = (false, false, Vec::new());
        args.skip_to(OPTIONS_AT);
        while let Some(word) = args.word() {
            let words = match &*word {
                b"COPY" => {
                    copy = true;
                    continue;
                }
                b"REPLACE" => {
                    replace = true;
                    continue;
                }
                b"AUTH" => 1,
                b"AUTH2" => 2,
                b"KEYS" if args.get(3).is_empty() => break,
                b"KEYS" => return Err(KEYS_AND_KEY),
                _ => return Err(SYNTAX),
            };
            secrets = (args.cursor()..args.cursor() + words).collect();
            (0..words).try_for_each(|_| args.required().map(drop))?;
        }
        let ms = args.int_in(5, i64::MIN..=i64::MAX, NOT_INT)?;
        let db = args.int_in(4, i64::MIN..=i64::MAX, NOT_INT)?;
        let ms = u64::try_from(ms).ok().filter(|&ms| ms > 0).unwrap_or(DEFAULT_TIMEOUT_MS);
        Ok(Self {
            host: args.get(1),
            // A port out of range is one without a server, as in Redis.
            port: num::parse_i64(args.get(2)).and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
            db,
            patience: Duration::from_millis(ms.min(TIMEOUT_MS_MAX)),
            copy,
            replace,
            auth: secrets.iter().map(|&i| args.get(i)).collect(),
            secrets,
        })
    }
}

fn migrate(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let order = Order::parse(&mut ctx.args);
    if let Ok(order) = &order {
        order.secrets.iter().for_each(|&i| ctx.redact(i));
    }
    let order = order?;
    if ctx.again {
        return finish(ctx, order.copy);
    }
    let (mut keys, view) = (Vec::new(), ctx.args.view());
    ctx.row.command.keys.for_each(view, &mut |i, _| {
        let key = view.get(i);
        if let Some(entry) = ctx.db.read_any(key) {
            let (expiry, dirty) = (entry.expiry(), Default::default());
            ctx.db.watch(key, &dirty);
            keys.push(Moving { key: key.into(), expiry, dirty, taken: false });
        }
    });
    if keys.is_empty() {
        return ctx.out.simple("NOKEY");
    }
    let migration = Migration::new(ctx.db.index(), keys);
    if !ctx.may_wait() {
        unwatch(ctx, &migration);
        return Err(CANNOT_WAIT);
    }
    ctx.node.migrations.begin(ctx.session.client.id, migration);
    ctx.wait(Wait { on: Awaits::Migration, ..Wait::keys(Patience(None)) })
}

/// The keys have been sent, or not.
fn finish(ctx: &mut Ctx<'_, '_>, copy: bool) -> Outcome {
    let Some(migration) = ctx.node.migrations.end(ctx.session.client.id) else { return ctx.out.ok() };
    unwatch(ctx, &migration);
    let mut changed = false;
    if !copy {
        if ctx.node.replication.is_replica() {
            // What is removed here is the primary's to say.
            return Err(ROLE_CHANGED);
        }
        let now = ctx.db.now();
        let (mut clean, mut removed): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), vec![b"DEL"]);
        for Moving { key, expiry, dirty, .. } in migration.keys.iter().filter(|moving| moving.taken) {
            if !dirty.load(Relaxed) {
                clean.push(key);
            } else if expiry.is_none_or(|at| at > now) {
                changed = true;
            }
        }
        removed.extend(clean.into_iter().filter(|key| ctx.db.remove(key)));
        if removed.len() > 1 {
            ctx.propagate(&removed);
        }
    }
    match migration.result {
        Err(text) => Err(Error::owned(text)),
        Ok(()) if changed => Err(CHANGED),
        Ok(()) => ctx.out.ok(),
    }
}

fn unwatch(ctx: &mut Ctx<'_, '_>, migration: &Migration) {
    for moving in &migration.keys {
        let watched = (migration.db, moving.key.clone());
        ctx.db.unwatch(std::iter::once(&watched), &Arc::clone(&moving.dirty));
    }
}

const OPTIONS_AT: usize = 6;
/// In place of a timeout that is none, as in Redis.
const DEFAULT_TIMEOUT_MS: u64 = 1000;
/// No step takes longer than a day.
const TIMEOUT_MS_MAX: u64 = 86_400_000;
const KEYS_AND_KEY: Error =
    Error::new("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string");
const CANNOT_WAIT: Error =
    Error::new("ERR MIGRATE is not allowed in a transaction or a script: nothing can wait there");
const CHANGED: Error = Error::new(
    "ERR A key was changed while it was migrated: the target has what it was, and what it is now stays here",
);
