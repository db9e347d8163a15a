//! Places by member: adding them, where they are, how far apart.

use super::{coordinates, distance, metres, place};
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::commands::zsets::change::{self, Options};
use crate::types::geo::Point;
use crate::types::zset::Zset;
use smallvec::SmallVec;

pub const GEOADD: Command = Command {
    name: "GEOADD",
    args: "key [condition@6.2.0: NX | XX] [change@6.2.0: CH] longitude latitude member [longitude latitude member ...]",
    arity: -5,
    since: "3.2.0",
    group: Group::Geo,
    flags: WRITE | DENYOOM,
    keys: Keys::write(1),
    doc: "Adds places to a sorted set or moves them; how many were added. O(log N) for each.",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> ZSCORE Sicily Palermo\n\"3479099956230698\"\n> GEODIST Sicily Palermo Catania km\n\"166.2742\"",
    run: geoadd,
};

fn geoadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let args = &mut ctx.args;
    let mut options = Options::default();
    let mut first = 2;
    loop {
        match &*args.word_at(first) {
            b"NX" => options.nx = true,
            b"XX" => options.xx = true,
            b"CH" => options.ch = true,
            _ => break,
        }
        first += 1;
    }
    if !args.len().saturating_sub(first).is_multiple_of(3) || options.nx && options.xx {
        return Err(SYNTAX);
    }
    let mut members = SmallVec::<[(f64, &[u8]); 4]>::new();
    for at in (first..args.len()).step_by(3) {
        members.push((place(args.get(at), args.get(at + 1))?.score(), args.get(at + 2)));
    }
    // The log has the score, which is read back without rounding.
    let scores: Vec<String> = members.iter().map(|(score, _)| (*score as u64).to_string()).collect();
    let mut happened: Vec<&[u8]> = vec![b"ZADD"];
    happened.extend((1..first).map(|i| args.get(i)));
    happened.extend(scores.iter().zip(&members).flat_map(|(score, (_, name))| [score.as_bytes(), name]));
    if change::add(ctx, options, &members)? > 0 {
        ctx.propagate(&happened);
    }
    Ok(())
}

pub const GEODIST: Command = Command {
    name: "GEODIST",
    args: "key member1 member2 [M | KM | FT | MI]",
    arity: -4,
    since: "3.2.0",
    group: Group::Geo,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "How far two members are from each other, in metres unless another unit is given. O(1).",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n(integer) 2\n> GEODIST Sicily Palermo Catania\n\"166274.1516\"\n> GEODIST Sicily Palermo Rome\n(nil)",
    run: geodist,
};

fn geodist(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let unit = match args.len() {
        4 => 1.0,
        5 => metres(args.get(4))?,
        _ => return Err(SYNTAX),
    };
    let set = db.read::<Zset>(args.key(1))?;
    let place = |i| set.and_then(|set| set.score(args.get(i))).map(Point::of_score);
    match (place(2), place(3)) {
        (Some(a), Some(b)) => distance(out, a.distance(b) / unit),
        _ => out.null(),
    }
}

pub const GEOHASH: Command = Command {
    name: "GEOHASH",
    args: "key [member [member ...]]",
    arity: -2,
    since: "3.2.0",
    group: Group::Geo,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members' places as geohash strings of eleven characters. O(1) for each.",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo\n(integer) 1\n> GEOHASH Sicily Palermo Rome\n1) \"sqc8b49rny0\"\n2) (nil)",
    run: geohash,
};

fn geohash(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let set = db.read::<Zset>(args.key(1))?;
    let names = args.from(2);
    out.array(names.len());
    for name in names {
        match set.and_then(|set| set.score(name)) {
            Some(score) => out.bulk(&Point::of_score(score).geohash())?,
            None => out.null()?,
        }
    }
    Ok(())
}

pub const GEOPOS: Command = Command {
    name: "GEOPOS",
    args: "key [member [member ...]]",
    arity: -2,
    since: "3.2.0",
    group: Group::Geo,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members' longitudes and latitudes, as exact as a score keeps them. O(1) for each.",
    examples: "> GEOADD Sicily 13.361389 38.115556 Palermo\n(integer) 1\n> GEOPOS Sicily Palermo Rome\n1) 1) \"13.361389338970184\"\n   2) \"38.1155563954963\"\n2) (nil)",
    run: geopos,
};

fn geopos(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let set = db.read::<Zset>(args.key(1))?;
    let names = args.from(2);
    out.array(names.len());
    for name in names {
        match set.and_then(|set| set.score(name)) {
            Some(score) => coordinates(out, Point::of_score(score))?,
            None => out.null_array()?,
        }
    }
    Ok(())
}
