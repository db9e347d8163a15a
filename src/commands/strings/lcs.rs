//! LCS: the longest common subsequence of two strings, by the classic table of all pairs of prefixes.
//!
//! Invariant: `table[i, j]` is the length for the first `i` and `j` bytes. Walking it back from the far corner gives the
//! text and the matching ranges, last first. Cost: time and memory are the product of the lengths; the memory is bounded
//! by `proto-max-bulk-len` and asked for before anything is computed.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::num;
use crate::resp::Out;

pub const LCS: Command = Command {
    name: "LCS",
    args: "key1#0 key2#0 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    arity: -3,
    since: "7.0.0",
    group: Group::String,
    flags: READONLY,
    keys: Keys::range(1, 1, 1, keys::RO | keys::ACCESS),
    doc: "The longest common subsequence of two strings, its length or where it lies. O(N*M).",
    examples: "> MSET a ohmytext b mynewtext\nOK\n> LCS a b\n\"mytext\"\n> LCS a b LEN\n(integer) 6",
    run: lcs,
};

fn lcs(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let mut read = |key| db.string(key).map(|text| text.map_or(Vec::new(), |text| text.to_vec()));
    let (a, b) = match (read(args.key(1)), read(args.key(2))) {
        (Ok(a), Ok(b)) => (a, b),
        _ => return Err(NOT_STRINGS),
    };
    let options = Options::read(args)?;
    let table = Table::new(&a, &b, config.proto_max_bulk_len)?;
    let len = table.at(a.len(), b.len());
    if options.ranges {
        out.map(2);
        out.bulk(b"matches")?;
        let hole = out.later();
        let mut matches = 0;
        table.walk_back(|step| {
            if let Step::Range(range) = step
                && i64::from(range.len) >= options.min_len
            {
                range.write(out, options.with_len);
                matches += 1;
            }
        });
        out.fill_array(hole, matches)?;
        out.bulk(b"len")?;
        out.int(i64::from(len))
    } else if options.len {
        out.int(i64::from(len))
    } else {
        let mut text = Vec::with_capacity(len as usize);
        table.walk_back(|step| {
            if let Step::Byte(byte) = step {
                text.push(byte);
            }
        });
        text.reverse();
        out.bulk(&text)
    }
}

#[derive(Default)]
struct Options {
    len: bool,
    ranges: bool,
    with_len: bool,
    min_len: i64,
}

impl Options {
    fn read(args: &mut Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        args.skip_to(3);
        while let Some(word) = args.word() {
            match &*word {
                b"IDX" => options.ranges = true,
                b"LEN" => options.len = true,
                b"WITHMATCHLEN" => options.with_len = true,
                b"MINMATCHLEN" => options.min_len = num::parse_i64(args.required()?).ok_or(error::NOT_INT)?.max(0),
                _ => return Err(SYNTAX),
            }
        }
        if options.len && options.ranges { Err(LEN_AND_IDX) } else { Ok(options) }
    }
}

/// Lengths for all pairs of prefixes, row by row.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    lengths: Vec<u32>,
}

/// What the walk back meets.
enum Step {
    /// A byte of the subsequence, the last first.
    Byte(u8),
    /// A run of bytes that follow each other in both strings.
    Range(Range),
}

struct Range {
    a: usize,
    b: usize,
    len: u32,
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8], bytes_max: u64) -> Result<Self, Error> {
        if a.len().max(b.len()) >= u32::MAX as usize - 1 {
            return Err(TOO_LONG);
        }
        let (rows, columns) = (a.len() + 1, b.len() + 1);
        let cells = rows.checked_mul(columns).ok_or(TOO_MUCH_MEMORY)?;
        if cells.checked_mul(size_of::<u32>()).is_none_or(|bytes| bytes as u64 > bytes_max) {
            return Err(TOO_MUCH_MEMORY);
        }
        let mut lengths = Vec::new();
        lengths.try_reserve_exact(cells).map_err(|_| NO_MEMORY)?;
        lengths.resize(cells, 0u32);
        for i in 1..rows {
            let (above, row) = lengths[(i - 1) * columns..][..2 * columns].split_at_mut(columns);
            for j in 1..columns {
                row[j] = if a[i - 1] == b[j - 1] { above[j - 1] + 1 } else { above[j].max(row[j - 1]) };
            }
        }
        Ok(Self { a, b, lengths })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * (self.b.len() + 1) + j]
    }

    /// From the far corner to the near one. Among equally long subsequences the one Redis chooses.
    fn walk_back(&self, mut visit: impl FnMut(Step)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut run: Option<Range> = None;
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                (i, j) = (i - 1, j - 1);
                visit(Step::Byte(self.a[i]));
                let len = run.take().map_or(0, |run| run.len);
                run = Some(Range { a: i, b: j, len: len + 1 });
                continue;
            }
            if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1
            } else {
                j -= 1
            }
            if let Some(run) = run.take() {
                visit(Step::Range(run));
            }
        }
        if let Some(run) = run {
            visit(Step::Range(run));
        }
    }
}

impl Range {
    fn write(&self, out: &mut Out<'_>, with_len: bool) {
        out.array(2 + usize::from(with_len));
        for start in [self.a, self.b] {
            out.array(2);
            out.int(start as i64);
            out.int((start + self.len as usize - 1) as i64);
        }
        if with_len {
            out.int(i64::from(self.len));
        }
    }
}

const NOT_STRINGS: Error = Error::new("ERR The specified keys must contain string values");
const LEN_AND_IDX: Error = Error::new("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: Error = Error::new("ERR String too long for LCS");
const TOO_MUCH_MEMORY: Error =
    Error::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
const NO_MEMORY: Error = Error::new("ERR Insufficient memory, failed allocating transient memory for LCS");
