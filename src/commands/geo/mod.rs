//! Places on Earth: sorted sets whose scores are geohashes.
//!
//! Only the commands know that a score is a place; to everything else it is a sorted set. Shapes and distances are
//! `types::geo`.

mod places;
mod search;

use crate::command::*;
use crate::num;
use crate::types::geo::Point;

pub const COMMANDS: &[Command] = &[
    places::GEOADD,
    places::GEODIST,
    places::GEOHASH,
    places::GEOPOS,
    search::GEORADIUS,
    search::GEORADIUSBYMEMBER,
    search::GEORADIUSBYMEMBER_RO,
    search::GEORADIUS_RO,
    search::GEOSEARCH,
    search::GEOSEARCHSTORE,
];

/// A place as a client writes it: longitude, then latitude.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Point, Error> {
    let degrees = |text| num::parse_f64(text).ok_or(error::NOT_FLOAT);
    let (longitude, latitude) = (degrees(longitude)?, degrees(latitude)?);
    Point::new(longitude, latitude)
        .ok_or_else(|| Error::owned(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// A unit of length: metres in it.
fn metres(unit: &[u8]) -> Result<f64, Error> {
    match &*args::Word::of(unit) {
        b"M" => Ok(1.0),
        b"KM" => Ok(1000.0),
        b"FT" => Ok(0.3048),
        b"MI" => Ok(1609.34),
        _ => Err(NO_UNIT),
    }
}

/// A distance as a bulk of four decimals, ties going to the even digit.
fn distance(out: &mut ctx::Reply<'_>, distance: f64) -> Outcome {
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    out.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes())
}

fn coordinates(out: &mut ctx::Reply<'_>, place: Point) -> Outcome {
    out.array(2);
    out.double(place.longitude)?;
    out.double(place.latitude)
}

const NO_UNIT: Error = Error::new("ERR unsupported unit provided. please use M, KM, FT, MI");
