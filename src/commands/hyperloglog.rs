//! HyperLogLog: adding elements, counting different ones, merging; and looking inside.
//!
//! The format and the estimate are in `types::hll`. PFCOUNT of one key keeps its result in the value, which is a change
//! like any other: watched, and propagated. Not here: checks of the value beyond its header; runs that make no sense are
//! found where they are read.

use crate::command::*;
use crate::keyspace::{Db, Expiry};
use crate::types::hll::{self, Corrupt, Encoding, REGISTERS, Registers};

pub const COMMANDS: &[Command] = &[PFADD, PFCOUNT, PFDEBUG, PFMERGE, PFSELFTEST];

const PFADD: Command = Command {
    name: "PFADD",
    args: "key [element [element ...]]",
    arity: -2,
    since: "2.8.9",
    group: Group::HyperLogLog,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::INSERT),
    doc: "Adds elements to a HyperLogLog, creating it if need be; 1 if its estimate may have changed. O(1) an element.",
    examples: "> PFADD k a b c\n(integer) 1\n> PFADD k a\n(integer) 0\n> PFCOUNT k\n(integer) 3",
    run: pfadd,
};

fn pfadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (key, elements) = (args.key(1), args.from(2));
    let changes = match look(db, key)? {
        Some((Encoding::Dense, _)) => db.modify_string_if(key, 0, "pfadd", |hll| {
            let places = elements.map(hll::place);
            let raised = places.filter(|&(register, rank)| hll::raise_dense(hll, register, rank)).count();
            if raised > 0 {
                hll::forget_cached(hll);
            }
            raised as u64
        })?,
        found => {
            let (mut value, mut changes) = found.map_or((hll::empty(), 1), |(_, bytes)| (bytes.to_vec(), 0));
            let sparse_bytes_max = config.hll_sparse_max_bytes;
            let added = elements.map(|element| hll::add(&mut value, element, sparse_bytes_max));
            let result: Result<(), Corrupt> = added.into_iter().try_for_each(|raised| {
                changes += u64::from(raised?);
                Ok(())
            });
            if changes > 0 {
                hll::forget_cached(&mut value);
                db.put_raw(key, value, Expiry::Keep, "pfadd", changes);
            }
            result.map_err(|Corrupt| CORRUPT)?;
            changes
        }
    };
    out.int(i64::from(changes > 0))
}

const PFCOUNT: Command = Command {
    name: "PFCOUNT",
    args: "key [key ...]",
    arity: -2,
    since: "2.8.9",
    group: Group::HyperLogLog,
    flags: READONLY | MAY_REPLICATE,
    keys: Keys::range(1, -1, 1, keys::RW | keys::ACCESS)
        .noted("RW because it may change the internal representation of the key, and propagate to replicas"),
    doc: "About how many different elements were added to a HyperLogLog, or to several together. O(1) for one key counted before, else O(N) in keys with a large constant.",
    examples: "> PFADD a x y\n(integer) 1\n> PFADD b y z\n(integer) 1\n> PFCOUNT a\n(integer) 2\n> PFCOUNT a b\n(integer) 3",
    run: pfcount,
};

fn pfcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    if args.len() > 2 {
        let (registers, _) = union(db, args.from(1))?;
        return out.int(hll::count_registers(&registers) as i64);
    }
    let key = args.key(1);
    let mut digits = itoa::Buffer::new();
    let Some(text) = db.string(key)? else { return out.int(0) };
    let value = text.bytes(&mut digits);
    hll::encoding(value).ok_or(NOT_HLL)?;
    if let Some(count) = hll::cached(value) {
        return out.int(count as i64);
    }
    let count = hll::count(value).map_err(|Corrupt| CORRUPT)?;
    db.modify_string(key, 0, "", |value| hll::set_cached(value, count))?;
    out.int(count as i64)
}

const PFDEBUG: Command = Command {
    name: "PFDEBUG",
    args: "subcommand key",
    arity: 3,
    since: "2.8.9",
    group: Group::HyperLogLog,
    flags: WRITE | DENYOOM | ADMIN,
    keys: Keys::one(2, keys::RW | keys::ACCESS),
    doc: "Looks into a HyperLogLog: ENCODING, GETREG (makes it dense), DECODE (of a sparse one), TODENSE. O(N).",
    examples: "> PFADD k a\n(integer) 1\n> PFDEBUG ENCODING k\nsparse\n> PFDEBUG DECODE k\n\"Z:12711 v:2,1 Z:3672\"\n> PFDEBUG TODENSE k\n(integer) 1",
    run: pfdebug,
};

fn pfdebug(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, word) = (args.key(2), args.word_at(1));
    if &*word == b"SIMD" {
        return match &*args.word_at(2) {
            b"ON" => out.simple("enabled"),
            b"OFF" => out.simple("disabled"),
            _ => Err(NOT_ON_OR_OFF),
        };
    }
    let (encoding, value) = look(db, key)?.ok_or(NO_KEY)?;
    match (&*word, encoding) {
        (b"ENCODING", Encoding::Dense) => out.simple("dense"),
        (b"ENCODING", Encoding::Sparse) => out.simple("sparse"),
        (b"DECODE", Encoding::Dense) => Err(NOT_SPARSE),
        (b"DECODE", Encoding::Sparse) => out.bulk(decode(value).as_bytes()),
        (b"TODENSE", Encoding::Dense) => out.int(0),
        (b"TODENSE" | b"GETREG", _) => {
            let mut registers: Registers = [0; REGISTERS];
            hll::merge(&mut registers, value).map_err(|Corrupt| CORRUPT)?;
            if encoding == Encoding::Sparse {
                let dense = hll::to_dense(value).map_err(|Corrupt| CORRUPT)?;
                db.put_raw(key, dense, Expiry::Keep, "", 1);
            }
            if &*word == b"TODENSE" {
                return out.int(1);
            }
            out.array(REGISTERS);
            registers.iter().try_for_each(|&rank| out.int(i64::from(rank)))
        }
        _ => Err(Error::owned([b"ERR Unknown PFDEBUG subcommand '", args.get(1), b"'"].concat())),
    }
}

/// A sparse value's runs: `z:` zeros, `Z:` many zeros, `v:` a rank and how often.
fn decode(value: &[u8]) -> String {
    let words = hll::runs(value).map(|run| match (run.rank, run.size) {
        (0, 1) => format!("z:{}", run.len),
        (0, _) => format!("Z:{}", run.len),
        (rank, _) => format!("v:{rank},{}", run.len),
    });
    words.collect::<Vec<_>>().join(" ")
}

const PFMERGE: Command = Command {
    name: "PFMERGE",
    args: "destkey [sourcekey [sourcekey ...]]",
    arity: -2,
    since: "2.8.9",
    group: Group::HyperLogLog,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::INSERT).and(Keys::range(2, -1, 1, keys::RO | keys::ACCESS)),
    doc: "Makes a HyperLogLog count what it and others count together. O(N) in keys with a large constant.",
    examples: "> PFADD a x y\n(integer) 1\n> PFADD b y z\n(integer) 1\n> PFMERGE c a b\nOK\n> PFCOUNT c\n(integer) 3",
    run: pfmerge,
};

fn pfmerge(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let target = args.key(1);
    let (registers, any_dense) = union(db, args.from(1))?;
    let mut value = look(db, target)?.map_or_else(hll::empty, |(_, value)| value.to_vec());
    if any_dense {
        if hll::encoding(&value) == Some(Encoding::Sparse) {
            value = hll::to_dense(&value).map_err(|Corrupt| CORRUPT)?;
        }
        // The target is in the union itself, so nothing gets lower.
        hll::fill_dense(&mut value, &registers);
    } else {
        for (register, &rank) in registers.iter().enumerate().filter(|&(_, &rank)| rank > 0) {
            hll::raise(&mut value, register, rank, config.hll_sparse_max_bytes).map_err(|Corrupt| CORRUPT)?;
        }
    }
    hll::forget_cached(&mut value);
    db.put_raw(target, value, Expiry::Keep, "pfadd", 1);
    out.ok()
}

const PFSELFTEST: Command = Command {
    name: "PFSELFTEST",
    args: "",
    arity: 1,
    since: "2.8.9",
    group: Group::HyperLogLog,
    flags: ADMIN,
    keys: Keys::NONE,
    doc: "Counts a million made-up elements and checks the estimates on the way. Takes a good part of a second.",
    examples: "> PFSELFTEST\nOK",
    run: pfselftest,
};

fn pfselftest(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let sparse_bytes_max = ctx.config.hll_sparse_max_bytes;
    let mut dense = hll::to_dense(&hll::empty()).map_err(|Corrupt| CORRUPT)?;
    let mut mixed = hll::empty();
    let mut checkpoint = 1;
    for n in 1..=SELFTEST_ELEMENTS {
        let (register, rank) = hll::place(&n.to_le_bytes());
        hll::raise_dense(&mut dense, register, rank);
        hll::raise(&mut mixed, register, rank, sparse_bytes_max).map_err(|Corrupt| CORRUPT)?;
        if n == checkpoint {
            let counts = (hll::count(&dense), hll::count(&mixed));
            if counts.0 != counts.1 {
                return Err(Error::new("TESTFAILED dense/sparse disagree"));
            }
            // Six standard errors; small counts are exact but for one collision.
            let error = counts.0.unwrap_or_default().abs_diff(n);
            if error > 1 + n * 5 / 100 {
                return Err(Error::owned(format!("TESTFAILED Too big error. card:{n} abserr:{error}")));
            }
            checkpoint *= 10;
        }
    }
    ctx.out.ok()
}

/// A HyperLogLog about to be changed.
fn look<'d>(db: &'d mut Db<'_>, key: &[u8]) -> Result<Option<(Encoding, &'d [u8])>, Error> {
    use crate::keyspace::Text::{Bytes, Int};
    match db.string_for_write(key)? {
        Some(Bytes(value)) => Ok(Some((hll::encoding(value).ok_or(NOT_HLL)?, value))),
        Some(Int(_)) => Err(NOT_HLL),
        None => Ok(None),
    }
}

/// The highest ranks among some HyperLogLogs, and whether one of them is dense.
fn union<'a>(db: &mut Db<'_>, keys: impl Iterator<Item = &'a [u8]>) -> Result<(Box<Registers>, bool), Error> {
    let mut registers: Box<Registers> = Box::new([0; REGISTERS]);
    let mut any_dense = false;
    for key in keys {
        let Some(text) = db.string(key)? else { continue };
        let mut digits = itoa::Buffer::new();
        let value = text.bytes(&mut digits);
        any_dense |= hll::encoding(value).ok_or(NOT_HLL)? == Encoding::Dense;
        hll::merge(&mut registers, value).map_err(|Corrupt| CORRUPT)?;
    }
    Ok((registers, any_dense))
}

const NOT_HLL: Error = Error::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: Error = Error::new("INVALIDOBJ Corrupted HLL object detected");
const NO_KEY: Error = Error::new("ERR The specified key does not exist");
const NOT_SPARSE: Error = Error::new("ERR HLL encoding is not sparse");
const NOT_ON_OR_OFF: Error = Error::new("ERR Argument must be ON or OFF");
const SELFTEST_ELEMENTS: u64 = 1_000_000;
