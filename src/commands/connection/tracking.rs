//! CLIENT TRACKING: server-assisted client-side caching. What a read notes is in `keyspace::tracking`, how a client hears
//! of a change in `clients::tracker` and `command::unit`.

use crate::clients::Tracker;
use crate::command::session::{Tracking, TrackingMode};
use crate::command::*;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub const TRACKING: Command = Command {
    name: "CLIENT TRACKING",
    args: "<status: ON | OFF> [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
    arity: -3,
    since: "6.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Tells this client, or another, which keys are no longer what it has read. O(1), or O(N) in the prefixes.",
    examples: "> CLIENT TRACKING ON OPTIN OPTOUT\n(error) ERR You can't specify both OPTIN mode and OPTOUT mode\n> CLIENT TRACKING OFF\nOK",
    run: tracking,
};

#[derive(Default)]
struct Options<'a> {
    redirect: i64,
    prefixes: Vec<&'a [u8]>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
}

fn tracking(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let on = match &*ctx.args.word_at(2) {
        b"ON" => true,
        b"OFF" => false,
        _ => return Err(error::SYNTAX),
    };
    let options = parse(ctx)?;
    if !on {
        ctx.session.stop_tracking(ctx.node);
        return ctx.out.ok();
    }
    check(ctx, &options)?;
    start(ctx, &options);
    ctx.out.ok()
}

fn parse<'a>(ctx: &mut Ctx<'a, '_>) -> Result<Options<'a>, Error> {
    let mut options = Options::default();
    ctx.args.skip_to(3);
    while let Some(word) = ctx.args.word() {
        match &*word {
            b"REDIRECT" => {
                if options.redirect != 0 {
                    return Err(REDIRECTS_TWICE);
                }
                options.redirect = crate::num::parse_i64(ctx.args.required()?).ok_or(error::NOT_INT)?;
                u64::try_from(options.redirect).ok().and_then(|id| ctx.node.clients.get(id)).ok_or(NO_SUCH_TARGET)?;
            }
            b"BCAST" => options.broadcast = true,
            b"OPTIN" => options.opt_in = true,
            b"OPTOUT" => options.opt_out = true,
            b"NOLOOP" => options.no_loop = true,
            b"PREFIX" => options.prefixes.push(ctx.args.required()?),
            _ => return Err(error::SYNTAX),
        }
    }
    Ok(options)
}

/// The options must agree with each other, and with what is on already.
fn check(ctx: &Ctx<'_, '_>, options: &Options<'_>) -> Result<(), Error> {
    if !options.broadcast && !options.prefixes.is_empty() {
        return Err(PREFIX_NEEDS_BROADCAST);
    }
    let mode = ctx.session.tracking.as_ref().map(|tracking| tracking.mode);
    if mode.is_some_and(|mode| (mode == TrackingMode::Broadcast) != options.broadcast) {
        return Err(SWITCHES_BROADCAST);
    }
    if options.broadcast && (options.opt_in || options.opt_out) {
        return Err(OPTS_WITH_BROADCAST);
    }
    if options.opt_in && options.opt_out {
        return Err(OPTS_IN_AND_OUT);
    }
    let switches = (mode == Some(TrackingMode::OptOut) && options.opt_in)
        || (mode == Some(TrackingMode::OptIn) && options.opt_out);
    if switches {
        return Err(SWITCHES_OPT);
    }
    if options.broadcast {
        let existing = ctx.session.tracking.iter().flat_map(|tracking| &tracking.prefixes);
        let existing: Vec<&[u8]> = existing.map(|prefix| &**prefix).collect();
        check_prefixes(&existing, &options.prefixes)?;
    }
    Ok(())
}

fn check_prefixes(existing: &[&[u8]], prefixes: &[&[u8]]) -> Result<(), Error> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refused = |new: &[u8], kind: &str, other: &[u8]| {
        let middle = format!("' overlaps with {kind} prefix '");
        let end = b"'. Prefixes for a single client must not overlap.";
        Error::owned([b"ERR Prefix '", new, middle.as_bytes(), other, end].concat())
    };
    for (i, new) in prefixes.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| overlap(new, other)) {
            return Err(refused(new, "an existing", other));
        }
        if let Some(other) = prefixes[i + 1..].iter().find(|other| overlap(new, other)) {
            return Err(refused(new, "another provided", other));
        }
    }
    Ok(())
}

fn start(ctx: &mut Ctx<'_, '_>, options: &Options<'_>) {
    let Ctx { session, node, .. } = ctx;
    let mode = match options {
        Options { broadcast: true, .. } => TrackingMode::Broadcast,
        Options { opt_in: true, .. } => TrackingMode::OptIn,
        Options { opt_out: true, .. } => TrackingMode::OptOut,
        _ => session.tracking.as_ref().map_or(TrackingMode::Every, |tracking| tracking.mode),
    };
    let mut prefixes: Vec<Box<[u8]>> = session.tracking.take().map_or_else(Vec::new, |before| {
        node.clients.trackers.remove(&before.tracker);
        node.pubsub.remove_prefixes(&before.tracker);
        before.prefixes
    });
    let redirect = u64::try_from(options.redirect).ok().filter(|&id| id > 0).and_then(|id| node.clients.get(id));
    let facts = &session.client.facts;
    facts.tracks.store(true, Relaxed);
    facts.broadcasts.store(mode == TrackingMode::Broadcast, Relaxed);
    facts.redirect.store(redirect.as_ref().map_or(0, |target| target.id), Relaxed);
    let tracker: Arc<Tracker> = Tracker::new(session.client.clone(), session.user.clone(), redirect, options.no_loop);
    node.clients.trackers.add(&tracker);
    if mode == TrackingMode::Broadcast {
        prefixes.extend(options.prefixes.iter().map(|&prefix| Box::from(prefix)));
        if prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        prefixes.iter().for_each(|prefix| node.pubsub.add_prefix(prefix, &tracker));
        node.apply_events();
    }
    let bytes: usize = prefixes.iter().map(|prefix| 2 * prefix.len() + size_of::<[Box<[u8]>; 2]>()).sum();
    session.client.facts.memory.prefixes.store(bytes, Relaxed);
    session.tracking = Some(Box::new(Tracking { tracker, mode, caching: false, prefixes }));
}

pub const CACHING: Command = Command {
    name: "CLIENT CACHING",
    args: "<mode: YES | NO>",
    arity: 3,
    since: "6.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Whether the next command's keys are tracked, in the modes OPTIN and OPTOUT. O(1).",
    examples: "> CLIENT CACHING YES\n(error) ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    run: caching,
};

fn caching(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let tracking = ctx.session.tracking.as_mut();
    let opts = |t: &&mut Box<Tracking>| matches!(t.mode, TrackingMode::OptIn | TrackingMode::OptOut);
    let tracking = tracking.filter(opts).ok_or(CACHING_NEEDS_OPT)?;
    match (&*ctx.args.word_at(2), tracking.mode) {
        (b"YES", TrackingMode::OptIn) | (b"NO", TrackingMode::OptOut) => tracking.caching = true,
        (b"YES", _) => return Err(YES_NEEDS_OPTIN),
        (b"NO", _) => return Err(NO_NEEDS_OPTOUT),
        _ => return Err(error::SYNTAX),
    }
    ctx.out.ok()
}

pub const GETREDIR: Command = Command {
    name: "CLIENT GETREDIR",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The client to which invalidations are redirected; 0 for none, -1 without tracking. O(1).",
    examples: "> CLIENT GETREDIR\n(integer) -1",
    run: |ctx| {
        let redirect = redirect(ctx.session);
        ctx.out.int(redirect)
    },
};

fn redirect(session: &Session) -> i64 {
    let target = |t: &Tracking| t.tracker.redirect.as_ref().map_or(0, |target| target.id as i64);
    session.tracking.as_deref().map_or(-1, target)
}

pub const TRACKINGINFO: Command = Command {
    name: "CLIENT TRACKINGINFO",
    args: "",
    arity: 2,
    since: "6.2.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "How this connection tracks. O(1).",
    examples: "> CLIENT TRACKINGINFO\n1) \"flags\"\n2) 1) \"off\"\n3) \"redirect\"\n4) (integer) -1\n5) \"prefixes\"\n6) (empty array)",
    run: tracking_info,
};

fn tracking_info(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { out, session, .. } = ctx;
    let tracking = session.tracking.as_deref();
    let mut flags = vec![if tracking.is_some() { "on" } else { "off" }];
    if let Some(t) = tracking {
        match t.mode {
            TrackingMode::Broadcast => flags.push("bcast"),
            TrackingMode::OptIn => flags.extend(["optin"].into_iter().chain(t.caching.then_some("caching-yes"))),
            TrackingMode::OptOut => flags.extend(["optout"].into_iter().chain(t.caching.then_some("caching-no"))),
            TrackingMode::Every => {}
        }
        flags.extend(t.tracker.is_no_loop().then_some("noloop"));
        flags.extend(t.tracker.is_broken().then_some("broken_redirect"));
    }
    out.map(3);
    out.0.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.0.bulk(flag.as_bytes()));
    out.0.bulk(b"redirect");
    out.0.int(redirect(session));
    out.0.bulk(b"prefixes");
    let prefixes: &[Box<[u8]>] = tracking.map_or(&[], |t| &t.prefixes);
    out.bulks(prefixes.iter());
    Ok(())
}

const REDIRECTS_TWICE: Error = Error::new("ERR A client can only redirect to a single other client");
const NO_SUCH_TARGET: Error = Error::new("ERR The client ID you want redirect to does not exist");
const PREFIX_NEEDS_BROADCAST: Error = Error::new("ERR PREFIX option requires BCAST mode to be enabled");
const SWITCHES_BROADCAST: Error = Error::new(
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
);
const OPTS_WITH_BROADCAST: Error = Error::new("ERR OPTIN and OPTOUT are not compatible with BCAST");
const OPTS_IN_AND_OUT: Error = Error::new("ERR You can't specify both OPTIN mode and OPTOUT mode");
const SWITCHES_OPT: Error = Error::new(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
);
const CACHING_NEEDS_OPT: Error = Error::new(
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
);
const YES_NEEDS_OPTIN: Error =
    Error::new("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
const NO_NEEDS_OPTOUT: Error =
    Error::new("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
