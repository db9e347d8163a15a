//! Members inside a circle, a box or a polygon, replied with what is asked about them, or stored.

use super::{coordinates, distance, metres, place};
use crate::command::error::{NOT_INT, SYNTAX};
use crate::command::keys::{Begin, Find, Spec};
use crate::command::*;
use crate::keyspace::Expiry;
use crate::num;
use crate::persist::rdb::dump;
use crate::resp::ArgvView;
use crate::types::geo::{self, Extent, Point, Shape};
use crate::types::zset::Zset;
use crate::types::{Kind, Text};

const STORE_WORDS: [&str; 2] = ["STORE", "STOREDIST"];

/// A source, and the keys behind the words that store: the specifications tell of the first, the last one counts.
const fn keys_storing(from: i32) -> Keys {
    let find = Find::Range { last: 0, step: 1, limit: 0 };
    let flags = keys::OW | keys::UPDATE;
    let store = Spec { begin: Begin::Keyword(STORE_WORDS[0], from), find, flags, notes: None };
    let store_distances = Spec { begin: Begin::Keyword(STORE_WORDS[1], from), find, flags, notes: None };
    Keys::read(1).and(Keys::spec(store)).and(Keys::spec(store_distances)).found_by(source_and_target)
}

/// As the options are read: a word that stores takes the argument behind it, whatever that is.
fn source_and_target(argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
    visit(1, keys::RO | keys::ACCESS);
    let (mut i, mut target) = (OPTIONS_FROM, None);
    while i + 1 < argv.len() {
        if STORE_WORDS.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(argv.get(i))) {
            i += 1;
            target = Some(i);
        }
        i += 1;
    }
    if let Some(target) = target {
        visit(target, keys::OW | keys::UPDATE);
    }
}

pub const GEORADIUS: Command = Command {
    name: "GEORADIUS",
    args: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [count-block: COUNT count [ANY@6.2.0]] [ASC | DESC] [store: STORE storekey=key | STOREDIST storedistkey=key]",
    arity: -6,
    since: "3.2.0",
    group: Group::Geo,
    flags: WRITE | DENYOOM | MOVABLE_KEYS,
    keys: keys_storing(6),
    doc: "Members within a radius of a place. O(N + log M), N members in the cells around, M in all.",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEORADIUS Sicily 15 37 200 km WITHDIST ASC\n1) 1) \"Catania\"\n   2) \"56.4413\"\n2) 1) \"Palermo\"\n   2) \"190.4424\"",
    run: |ctx| search(ctx, Form::Radius { stores: true }),
};

pub const GEORADIUS_RO: Command = Command {
    name: "GEORADIUS_RO",
    args: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [count-block: COUNT count [ANY@6.2.0]] [ASC | DESC]",
    since: "3.2.10",
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members within a radius of a place; stores nothing. O(N + log M).",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEORADIUS_RO Sicily 15 37 100 km\n1) \"Catania\"",
    run: |ctx| search(ctx, Form::Radius { stores: false }),
    ..GEORADIUS
};

pub const GEORADIUSBYMEMBER: Command = Command {
    name: "GEORADIUSBYMEMBER",
    args: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [count-block: COUNT count [ANY]] [ASC | DESC] [store: STORE storekey=key | STOREDIST storedistkey=key]",
    arity: -5,
    keys: keys_storing(5),
    doc: "Members within a radius of one of them. O(N + log M).",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEORADIUSBYMEMBER Sicily Palermo 200 km STORE near\n(integer) 2",
    run: |ctx| search(ctx, Form::ByMember { stores: true }),
    ..GEORADIUS
};

pub const GEORADIUSBYMEMBER_RO: Command = Command {
    name: "GEORADIUSBYMEMBER_RO",
    args: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [count-block: COUNT count [ANY]] [ASC | DESC]",
    since: "3.2.10",
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members within a radius of one of them; stores nothing. O(N + log M).",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEORADIUSBYMEMBER_RO Sicily Palermo 10 km\n1) \"Palermo\"",
    run: |ctx| search(ctx, Form::ByMember { stores: false }),
    ..GEORADIUSBYMEMBER
};

pub const GEOSEARCH: Command = Command {
    name: "GEOSEARCH",
    args: "key <FROMMEMBER member | FROMLONLAT longitude latitude> <by: circle: BYRADIUS radius <M | KM | FT | MI> | box: BYBOX width height <M | KM | FT | MI> | polygon: BYPOLYGON@9.0.0 num-vertices:integer longitude latitude [longitude latitude ...]> [ASC | DESC] [count-block: COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
    arity: -7,
    since: "6.2.0",
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members inside a circle or a box around a place or a member; or inside a polygon (Valkey's), which is named without a place: distances are from its centre. O(N + log M).",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEOSEARCH Sicily FROMLONLAT 15 37 BYBOX 400 400 km ASC COUNT 1\n1) \"Catania\"\n> GEOSEARCH Sicily BYPOLYGON 3 14 37 16 37 15 38 WITHDIST\n1) 1) \"Catania\"\n   2) \"20061.7479\"\n> GEOSEARCH Sicily BYPOLYGON 2 14 37 16 37 15 38\n(error) ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
    run: |ctx| search(ctx, Form::Search { source: 1 }),
    ..GEORADIUS
};

pub const GEOSEARCHSTORE: Command = Command {
    name: "GEOSEARCHSTORE",
    args: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <by: circle: BYRADIUS radius <M | KM | FT | MI> | box: BYBOX width height <M | KM | FT | MI> | polygon: BYPOLYGON@9.0.0 num-vertices:integer longitude latitude [longitude latitude ...]> [ASC | DESC] [count-block: COUNT count [ANY]] [STOREDIST]",
    arity: -8,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::OW | keys::UPDATE).and(Keys::read(2)),
    doc: "Stores the members inside a circle or a box, with their places or their distances as scores; how many. O(N + log M).",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEOSEARCHSTORE near Sicily FROMMEMBER Palermo BYRADIUS 200 km STOREDIST\n(integer) 2\n> ZRANGE near 0 -1\n1) \"Palermo\"\n2) \"Catania\"",
    run: |ctx| search(ctx, Form::Search { source: 2 }),
    ..GEOSEARCH
};

/// How a command is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Radius {
        stores: bool,
    },
    ByMember {
        stores: bool,
    },
    /// `source`: the argument with the key that is searched; the first one is the target if it is the second.
    Search {
        source: usize,
    },
}

/// What is asked for. Where the source key is missing, what depends on its members is not.
#[derive(Default)]
struct Query<'a> {
    centre: Option<Point>,
    /// A centre was named, whether or not it could be looked up.
    from: Option<From>,
    extent: Option<(Extent, f64)>,
    order: Option<Order>,
    /// 0: all.
    count: usize,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_coordinates: bool,
    target: Option<&'a [u8]>,
    store_distances: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Member,
    Point,
    /// The centre of what is searched.
    Polygon,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// A member found.
struct Found<'s> {
    name: Text<'s>,
    score: f64,
    place: Point,
    metres: f64,
}

fn search(ctx: &mut Ctx<'_, '_>, form: Form) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let source = if let Form::Search { source } = form { source } else { 1 };
    let set = db.read::<Zset>(args.key(source))?;
    let query = Query::read(args, form, set)?;
    let unit = query.extent.as_ref().map_or(1.0, |(_, metres)| *metres);
    let found = match (set, query.centre, &query.extent) {
        (Some(set), Some(centre), Some((extent, metres))) => {
            query.run(set, &Shape { centre, extent: extent.clone(), metres: *metres })
        }
        _ => Vec::new(),
    };
    let Some(target) = query.target else { return query.reply(out, &found, unit) };
    if found.is_empty() {
        let had = db.remove(target);
        out.int(0)?;
        if had {
            ctx.propagate_removal(target, ctx.config.lazyfree_lazy_server_del);
        }
        return Ok(());
    }
    let members = found.iter().map(|f| (f.name, if query.store_distances { f.metres / unit } else { f.score }));
    let (count, stored) = (found.len(), Zset::build(members, config.zset_max()));
    drop(found);
    let event = if matches!(form, Form::Search { .. }) { "geosearchstore" } else { "georadiusstore" };
    db.put_value(target, stored, Expiry::Clear, Kind::Zset.event_class(), event);
    db.changes.dirty += count as u64 - 1;
    out.count(count)?;
    propagate(ctx, target);
    Ok(())
}

/// What was stored, not how it was found, if not all versions know how.
fn propagate(ctx: &mut Ctx<'_, '_>, target: &[u8]) {
    if !ctx.node.journal.records() || !ctx.args.view().iter().any(is_newer) {
        return;
    }
    let Some(entry) = ctx.db.inspect(target) else { return };
    let payload = dump::lowest(&entry.body(), ctx.config.rdbcompression);
    ctx.propagate(&[b"RESTORE", target, b"0", &payload, b"REPLACE"]);
}

impl<'a> Query<'a> {
    fn read(args: &mut Args<'a>, form: Form, set: Option<&Zset>) -> Result<Self, Error> {
        let mut query = Self::default();
        match form {
            Form::Radius { .. } => {
                query.centre = Some(place(args.get(2), args.get(3))?);
                query.extent = Some(radius(args.get(4), args.get(5))?);
                args.skip_to(6);
            }
            Form::ByMember { .. } => {
                if let Some(set) = set {
                    query.centre = Some(member(set, args.get(2))?);
                    query.extent = Some(radius(args.get(3), args.get(4))?);
                }
                args.skip_to(5);
            }
            Form::Search { source } => {
                query.target = (source == 2).then(|| args.key(1));
                args.skip_to(source + 1);
            }
        }
        while let Some(word) = args.word() {
            if !query.accept(&word, args)? && !query.accept_of_form(&word, args, form, set)? {
                return Err(SYNTAX);
            }
        }
        query.check(args, form)?;
        Ok(query)
    }

    /// Takes an option that all forms have.
    fn accept(&mut self, word: &[u8], args: &mut Args<'a>) -> Result<bool, Error> {
        match word {
            b"WITHDIST" => self.with_distance = true,
            b"WITHHASH" => self.with_hash = true,
            b"WITHCOORD" => self.with_coordinates = true,
            b"ANY" => self.any = true,
            b"ASC" => self.order = Some(Order::Nearest),
            b"DESC" => self.order = Some(Order::Farthest),
            b"COUNT" if !args.is_done() => {
                let count = num::parse_i64(args.required()?).ok_or(NOT_INT)?;
                self.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(COUNT_NOT_POSITIVE)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes an option that this form has.
    fn accept_of_form(
        &mut self,
        word: &[u8],
        args: &mut Args<'a>,
        form: Form,
        set: Option<&Zset>,
    ) -> Result<bool, Error> {
        let left = args.left();
        let Form::Search { source } = form else {
            let stores = matches!(form, Form::Radius { stores: true } | Form::ByMember { stores: true });
            if !stores || left == 0 || !STORE_WORDS.iter().any(|w| w.as_bytes() == word) {
                return Ok(false);
            }
            self.target = args.shift();
            self.store_distances = word == b"STOREDIST";
            return Ok(true);
        };
        let may_be = |from| self.from.is_none_or(|said| said == from);
        let is_open = |same: fn(&Extent) -> bool| self.extent.as_ref().is_none_or(|(extent, _)| same(extent));
        match word {
            b"STOREDIST" if source == 2 => self.store_distances = true,
            b"FROMMEMBER" if left >= 1 && may_be(From::Member) => {
                let name = args.required()?;
                self.centre = set.map(|set| member(set, name)).transpose()?;
                self.from = Some(From::Member);
            }
            b"FROMLONLAT" if left >= 2 && may_be(From::Point) => {
                self.centre = Some(place(args.required()?, args.required()?)?);
                self.from = Some(From::Point);
            }
            b"BYRADIUS" if left >= 2 && is_open(|e| matches!(e, Extent::Radius(_))) => {
                self.extent = Some(radius(args.required()?, args.required()?)?);
            }
            b"BYBOX" if left >= 3 && is_open(|e| matches!(e, Extent::Box { .. })) => {
                let length = |text, error| num::parse_f64(text).ok_or(error);
                let (width, height) = (args.required()?, args.required()?);
                let (width, height) = (length(width, BAD_WIDTH)?, length(height, BAD_HEIGHT)?);
                if width < 0.0 || height < 0.0 {
                    return Err(NEGATIVE_SIDE);
                }
                self.extent = Some((Extent::Box { width, height }, metres(args.required()?)?));
            }
            b"BYPOLYGON" if left >= 1 && may_be(From::Polygon) && is_open(|e| matches!(e, Extent::Polygon(_))) => {
                let corners = corners(args)?;
                (self.centre, self.from) = (Some(geo::centre(&corners)), Some(From::Polygon));
                self.extent = Some((Extent::Polygon(corners), 1.0));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&mut self, args: &Args<'_>, form: Form) -> Result<(), Error> {
        let searches = matches!(form, Form::Search { .. });
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_coordinates) {
            return Err(if searches { SEARCHSTORE_WITH } else { STORE_WITH });
        }
        let missing = match (self.from, &self.extent) {
            _ if !searches => None,
            (None, _) => Some("FROMMEMBER or FROMLONLAT"),
            (_, None) => Some("BYRADIUS and BYBOX"),
            _ => None,
        };
        if let Some(words) = missing {
            let text = format!("ERR exactly one of {words} can be specified for ");
            return Err(Error::owned([text.as_bytes(), args.get(0)].concat()));
        }
        if self.any && self.count == 0 {
            return Err(ANY_NEEDS_COUNT);
        }
        if self.count > 0 && !self.any {
            // The first few of no order would be of little use.
            self.order.get_or_insert(Order::Nearest);
        }
        Ok(())
    }

    fn run<'s>(&self, set: &'s Zset, shape: &Shape) -> Vec<Found<'s>> {
        let limit = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        for range in shape.ranges() {
            let from = set.count_scores(|score| score < range.start);
            for (name, score) in set.walk(from..usize::MAX, false) {
                if found.len() >= limit || score >= range.end {
                    break;
                }
                let place = Point::of_score(score);
                if let Some(metres) = shape.reach(place) {
                    found.push(Found { name, score, place, metres });
                }
            }
        }
        match self.order {
            Some(Order::Nearest) => found.sort_by(|a, b| a.metres.total_cmp(&b.metres)),
            Some(Order::Farthest) => found.sort_by(|a, b| b.metres.total_cmp(&a.metres)),
            None => {}
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    fn reply(&self, out: &mut ctx::Reply<'_>, found: &[Found<'_>], unit: f64) -> Outcome {
        let extras = [self.with_distance, self.with_hash, self.with_coordinates].iter().filter(|&&with| with).count();
        out.array(found.len());
        for Found { name, score, place, metres } in found {
            if extras > 0 {
                out.array(1 + extras);
            }
            out.text(*name)?;
            if self.with_distance {
                distance(out, metres / unit)?;
            }
            if self.with_hash {
                out.int(*score as i64)?;
            }
            if self.with_coordinates {
                coordinates(out, *place)?;
            }
        }
        Ok(())
    }
}

/// A word that Redis 6.2 does not know: a unit in capitals, a polygon. A name may look like one, at the cost of a longer log.
fn is_newer(word: &[u8]) -> bool {
    let capital = word.iter().any(u8::is_ascii_uppercase);
    capital && metres(word).is_ok() || word.eq_ignore_ascii_case(b"BYPOLYGON")
}

fn radius(radius: &[u8], unit: &[u8]) -> Result<(Extent, f64), Error> {
    let radius = num::parse_f64(radius).ok_or(BAD_RADIUS)?;
    if radius < 0.0 {
        return Err(NEGATIVE_RADIUS);
    }
    Ok((Extent::Radius(radius), metres(unit)?))
}

/// A polygon's corners, with their number in front.
fn corners(args: &mut Args<'_>) -> Result<Vec<Point>, Error> {
    let count = num::parse_i64(args.required()?).and_then(|n| i32::try_from(n).ok()).ok_or(BAD_CORNERS)?;
    let count = usize::try_from(count).ok().filter(|&n| n >= CORNERS_MIN && n <= args.left() / 2).ok_or(FEW_CORNERS)?;
    (0..count).map(|_| place(args.required()?, args.required()?)).collect()
}

fn member(set: &Zset, name: &[u8]) -> Result<Point, Error> {
    set.score(name).map(Point::of_score).ok_or(NO_MEMBER)
}

/// Where options begin at the earliest, in both forms that store.
const OPTIONS_FROM: usize = 5;
const CORNERS_MIN: usize = 3;
const BAD_CORNERS: Error = Error::new("ERR invalid number of vertices");
const FEW_CORNERS: Error = Error::new("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices");
const BAD_RADIUS: Error = Error::new("ERR need numeric radius");
const BAD_WIDTH: Error = Error::new("ERR need numeric width");
const BAD_HEIGHT: Error = Error::new("ERR need numeric height");
const NEGATIVE_RADIUS: Error = Error::new("ERR radius cannot be negative");
const NEGATIVE_SIDE: Error = Error::new("ERR height or width cannot be negative");
const NO_MEMBER: Error = Error::new("ERR could not decode requested zset member");
const COUNT_NOT_POSITIVE: Error = Error::new("ERR COUNT must be > 0");
const ANY_NEEDS_COUNT: Error = Error::new("ERR the ANY argument requires COUNT argument");
const STORE_WITH: Error =
    Error::new("ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
const SEARCHSTORE_WITH: Error =
    Error::new("ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
