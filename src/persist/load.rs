//! Reading the log back: base and increments, command by command.
//!
//! The last file that holds anything may end in the middle: a crash cuts it anywhere. With `aof-load-truncated` it is cut back to the last
//! whole unit, which is before MULTI when the cut lies inside a transaction (Redis keeps the open MULTI and so loses
//! what is written next), and a tail of zero bytes, as some filesystems leave it, is a torn tail too. Anything else
//! that is not a command is damage: the start is refused and nothing is changed.

use super::aof::{AofDir, at};
use super::progress::Loading;
use super::rdb;
use super::rdb::read::{Delivered, RdbFile};
use super::rdb::write::History;
use super::storage::Storage;
use crate::clock::Millis;
use crate::config::Config;
use crate::resp::{ArgvView, Limits, Parser, Span, Step};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Who applies what is read.
pub trait Apply {
    /// Commands that will be applied next, one by one: what they need can be fetched already.
    fn foresee<'a>(&mut self, _commands: impl Iterator<Item = ArgvView<'a>>) -> Result<(), String> {
        Ok(())
    }
    /// One command of the log; `Err` is fatal.
    fn command(&mut self, argv: ArgvView<'_>) -> Result<(), String>;
    /// One key of an RDB base.
    fn key(&mut self, loaded: rdb::read::Loaded) -> Result<(), String>;
    /// A library of functions in an RDB base.
    fn library(&mut self, text: &[u8]) -> Result<(), String>;
    /// A file is over: a transaction left open is forgotten.
    fn end_of_file(&mut self) -> Result<(), String>;
}

pub fn empty_rdb() -> Vec<u8> {
    rdb::read::empty()
}

/// Loads the whole log. The error's text is for the operator.
pub fn load(files: &AofDir, config: &Config, loading: &Loading, apply: &mut impl Apply) -> io::Result<()> {
    let all: Vec<_> = files.manifest.to_load().cloned().collect();
    // Nothing is loaded of a set that is not complete.
    for info in &all {
        std::fs::metadata(files.path(info)).map_err(|e| {
            let cause =
                if e.kind() == io::ErrorKind::NotFound { "No such file or directory".into() } else { e.to_string() };
            io::Error::new(e.kind(), format!("Unable to obtain the AOF file {} length. stat: {cause}", info.name))
        })?;
    }
    loading.begin(files.size());
    for (i, info) in all.iter().enumerate() {
        let path = files.path(info);
        let started = std::time::Instant::now();
        // A rewrite names the next increment before the present one is synced for the last time, and writes nothing to
        // it until then: a power cut may tear a file that only empty ones follow.
        let last = all[i + 1..].iter().all(|next| std::fs::metadata(files.path(next)).is_ok_and(|m| m.len() == 0));
        load_file(&files.storage, &path, last.then_some(config.aof_load_truncated), (config, loading), apply)?;
        apply.end_of_file().map_err(rdb::read::bad)?;
        loading.passed(std::fs::metadata(&path).map_or(0, |m| m.len()));
        let kind = if files.manifest.base.as_ref() == Some(info) { "base" } else { "incr" };
        crate::log::notice!("DB loaded from {kind} file {}: {:.3} seconds", info.name, started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// What a snapshot file held.
#[derive(Clone, Copy, Default)]
pub struct SnapshotCounts {
    pub loaded: u64,
    /// Keys whose time was over already, which are left out.
    pub expired: u64,
}

/// Whether a snapshot file's first bytes are those of one that is read; a missing one is.
pub fn check_head(path: &Path, config: &Config) -> io::Result<()> {
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        file => file.and_then(|file| RdbFile::open(io::BufReader::new(file), config).map(drop)).map_err(at(path)),
    }
}

/// Loads a snapshot file; a missing one is an empty one. Keys that are due at `now` are left out.
pub fn load_snapshot(
    path: &Path,
    (config, loading): (&Config, &Loading),
    now: Millis,
    put: &mut dyn FnMut(Delivered) -> Result<(), String>,
) -> io::Result<SnapshotCounts> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(SnapshotCounts::default()),
        file => file.map_err(at(path))?,
    };
    let len = file.metadata().map_or(0, |m| m.len());
    let input = io::BufReader::with_capacity(READ_BYTES, file);
    read_snapshot(input, len, (config, loading), now, put).map_err(at(path))
}

/// The same of what comes from elsewhere. `len`: how many bytes there will be; 0 if that is not known.
pub fn read_snapshot(
    input: impl BufRead,
    len: u64,
    (config, loading): (&Config, &Loading),
    now: Millis,
    put: &mut dyn FnMut(Delivered) -> Result<(), String>,
) -> io::Result<SnapshotCounts> {
    let mut counts = SnapshotCounts::default();
    loading.begin(len);
    rdb::read::read(input, config, loading, |delivered| {
        if let Delivered::Key(key) = &delivered {
            let is_due = key.expiry.is_some_and(|at| at <= now);
            *(if is_due { &mut counts.expired } else { &mut counts.loaded }) += 1;
            // Replicas that go on in the file's history are told of what goes: it expires behind the load.
            if is_due && !loading.tells_history() {
                return Ok(());
            }
        }
        put(delivered).map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text))
    })?;
    Ok(counts)
}

/// Rests behind `count` keys or commands more, `loaded` in all, as `key-load-delay` wishes: microseconds for each, or, if
/// negative, one microsecond for that many keys. Tests use it to make a load slow.
pub fn rest(delay: i32, loaded: u64, count: u64) {
    let us = match delay {
        0 => return,
        1.. => count * u64::from(delay.unsigned_abs()),
        _ if loaded.is_multiple_of(delay.unsigned_abs().into()) => 1,
        _ => return,
    };
    std::thread::sleep(Duration::from_micros(us));
}

/// `truncate`: `None` if the file must be whole; else whether a torn tail may be cut off.
fn load_file(
    storage: &Storage,
    path: &Path,
    truncate: Option<bool>,
    (config, loading): (&Config, &Loading),
    apply: &mut impl Apply,
) -> io::Result<()> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut start = [0; rdb::MAGIC_BYTES_MAX];
    let head = read_up_to(&mut file, &mut start).map_err(at(path))?;
    let mut reader = LogReader::default();
    if rdb::is_rdb(&start[..head]) {
        let mut whole = io::BufReader::with_capacity(READ_BYTES, (&start[..head]).chain(&mut file));
        // Commands may follow the preamble: what the buffer holds already, then the rest.
        reader.offset = rdb::read::read(&mut whole, config, loading, |delivered| {
            let applied = match delivered {
                Delivered::Key(key) => apply.key(key),
                Delivered::Library(text) => apply.library(&text),
            };
            applied.map_err(rdb::read::bad)
        })
        .map_err(at(path))?;
        reader.held.extend_from_slice(whole.buffer());
    } else {
        reader.held.extend_from_slice(&start[..head]);
    }
    let ended = reader.run(&mut file, loading, apply).map_err(at(path))?;
    if reader.offset > 0 || !reader.held.is_empty() {
        loading.set_history(reader.history.take());
    }
    match ended {
        Ended::Whole => Ok(()),
        Ended::Torn(offset) => cut(storage, path, offset, truncate),
        Ended::Damaged(text) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text}", path.display()))),
    }
}

fn cut(storage: &Storage, path: &Path, offset: u64, truncate: Option<bool>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if truncate != Some(true) {
        let advice = "You can: 1) Make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. \
                      2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server.";
        let text = format!("Unexpected end of file reading the append only file {name}. {advice}");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    crate::log::warning!("!!! Warning: short read while loading the AOF file {name}!!!");
    crate::log::warning!("AOF {name} loaded anyway because aof-load-truncated is enabled");
    crate::log::warning!("Truncating the AOF {name} at offset {offset}");
    let mut file = storage.append(path)?;
    file.cut(offset).and_then(|()| file.sync()).map_err(at(path))
}

enum Ended {
    Whole,
    /// Cut in the middle; good up to this offset.
    Torn(u64),
    Damaged(String),
}

/// A file's bytes as commands.
#[derive(Default)]
struct LogReader {
    held: Vec<u8>,
    consumed: usize,
    /// Offset in the file of `held[0]`.
    offset: u64,
    /// Behind the last whole unit.
    good: u64,
    in_multi: bool,
    parser: Parser,
    /// The replication history that a line told of, with nothing behind it.
    history: Option<History>,
    /// The commands found last, and their arguments.
    commands: Vec<Command>,
    spans: Vec<Span>,
}

/// Where a command stands in what is held.
struct Command {
    at: usize,
    end: usize,
    spans: Range<usize>,
}

/// Why no further command was found.
enum Stop {
    /// Enough for now.
    Full,
    /// More bytes are needed.
    Short,
    Zeros,
    Damage,
}

impl LogReader {
    fn run(&mut self, file: &mut File, loading: &Loading, apply: &mut impl Apply) -> io::Result<Ended> {
        self.good = self.offset;
        loop {
            match self.consume(apply) {
                Some(Ended::Damaged(_)) if self.is_torn_then_zeros(file)? => return Ok(Ended::Torn(self.good)),
                Some(ended) => return Ok(ended),
                None => {}
            }
            self.held.drain(..self.consumed);
            self.offset += self.consumed as u64;
            self.consumed = 0;
            loading.reached(self.offset);
            let before = self.held.len();
            self.held.resize(before + READ_BYTES, 0);
            let n = read_up_to(file, &mut self.held[before..])?;
            self.held.truncate(before + n);
            if n == 0 {
                let torn = !self.held.is_empty() || self.in_multi;
                return Ok(if torn { Ended::Torn(self.good) } else { Ended::Whole });
            }
        }
    }

    /// Runs every whole command held. `Some` when the file cannot be read on.
    fn consume(&mut self, apply: &mut impl Apply) -> Option<Ended> {
        loop {
            let (parsed, stop) = self.parse_some();
            let (held, spans) = (std::mem::take(&mut self.held), std::mem::take(&mut self.spans));
            let argv = |c: &Command| ArgvView::new(&held[c.at..c.end], &spans[c.spans.clone()]);
            let commands = std::mem::take(&mut self.commands);
            let foreseen = apply.foresee(commands.iter().map(argv));
            let mut run = |command: &Command| {
                let argv = argv(command);
                self.consumed = command.at;
                self.in_multi = match (self.in_multi, argv.get(0)) {
                    (false, name) => name.eq_ignore_ascii_case(b"MULTI"),
                    (true, name) => !name.eq_ignore_ascii_case(b"EXEC"),
                };
                apply.command(argv)?;
                self.advance_to(command.end);
                Ok(())
            };
            let applied = foreseen.and_then(|()| commands.iter().try_for_each(&mut run));
            (self.held, self.spans, self.commands) = (held, spans, commands);
            if let Err(text) = applied {
                return Some(Ended::Damaged(text));
            }
            self.advance_to(parsed);
            match stop {
                Stop::Full => {}
                Stop::Short => return None,
                Stop::Zeros => return self.zero_tail(),
                Stop::Damage => return Some(self.damaged()),
            }
        }
    }

    /// Finds the next commands. Returns up to where, and why not further.
    fn parse_some(&mut self) -> (usize, Stop) {
        self.spans.clear();
        self.commands.clear();
        let mut at = self.consumed;
        while self.commands.len() < COMMANDS_AHEAD {
            let rest = &mut self.held[at..];
            match rest.first() {
                None => return (at, Stop::Short),
                Some(b'*') => {}
                Some(b'#') => match memchr::memchr(b'\n', rest) {
                    Some(end) => {
                        self.history = History::of_line(&rest[..end]).or(self.history.take());
                        at += end + 1;
                        continue;
                    }
                    None => return (at, Stop::Short),
                },
                Some(0) => return (at, Stop::Zeros),
                Some(_) => return (at, Stop::Damage),
            }
            let first = self.spans.len();
            match self.parser.next(rest, &mut self.spans, &LIMITS) {
                Step::Incomplete => return (at, Stop::Short),
                Step::Error(_) => return (at, Stop::Damage),
                Step::Request { len, argc, .. } => {
                    if argc > 0 {
                        // What it changes is behind the place that was noted.
                        self.history = None;
                        self.commands.push(Command { at, end: at + len, spans: first..self.spans.len() });
                    }
                    at += len;
                }
            }
        }
        (at, Stop::Full)
    }

    /// Whether what cannot be read is the beginning of a command with nothing but zeros behind it: a torn write in a
    /// file that was lengthened before its data arrived.
    fn is_torn_then_zeros(&mut self, file: &mut File) -> io::Result<bool> {
        let mut rest = self.held[self.consumed..].to_vec();
        file.take(TORN_BYTES_MAX).read_to_end(&mut rest)?;
        let data = rest.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        if data == rest.len() {
            return Ok(false);
        }
        let step = Parser::default().next(&mut rest[..data], &mut Vec::new(), &LIMITS);
        Ok(matches!(step, Step::Incomplete) && rest.first() == Some(&b'*'))
    }

    fn advance_to(&mut self, at: usize) {
        self.consumed = at;
        if !self.in_multi {
            self.good = self.offset + self.consumed as u64;
        }
    }

    /// Zeros up to the end of what is held; more may follow, which must be zeros too.
    fn zero_tail(&mut self) -> Option<Ended> {
        let rest = &self.held[self.consumed..];
        if rest.iter().any(|&b| b != 0) { Some(self.damaged()) } else { None }
    }

    fn damaged(&self) -> Ended {
        let text = format!(
            "Bad file format reading the append only file at offset {}: make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>",
            self.offset + self.consumed as u64
        );
        Ended::Damaged(text)
    }
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

const READ_BYTES: usize = 1 << 20;
/// Commands found before the first of them is applied.
const COMMANDS_AHEAD: usize = 32;
/// A torn tail is looked through up to here.
const TORN_BYTES_MAX: u64 = 64 << 20;
/// The log was accepted when it was written.
const LIMITS: Limits = Limits { bulk_bytes_max: u64::MAX, authenticated: true };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::manifest::{FileInfo, Manifest};

    #[derive(Default)]
    struct Record {
        units: Vec<String>,
        open: Option<Vec<String>>,
    }

    impl Apply for Record {
        fn command(&mut self, argv: ArgvView<'_>) -> Result<(), String> {
            let line = argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect::<Vec<_>>().join(" ");
            match (line.as_str(), self.open.take()) {
                ("MULTI", _) => self.open = Some(Vec::new()),
                ("EXEC", Some(open)) => self.units.push(open.join(";")),
                (_, Some(mut open)) => {
                    open.push(line);
                    self.open = Some(open);
                }
                (_, None) => self.units.push(line),
            }
            Ok(())
        }

        fn key(&mut self, loaded: rdb::read::Loaded) -> Result<(), String> {
            self.units.push(format!("RDB {}", String::from_utf8_lossy(&loaded.key)));
            Ok(())
        }

        fn library(&mut self, _: &[u8]) -> Result<(), String> {
            unreachable!("no libraries here")
        }

        fn end_of_file(&mut self) -> Result<(), String> {
            self.open = None;
            Ok(())
        }
    }

    fn command(words: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        crate::resp::encode_request(&mut out, words.into_iter());
        out
    }

    fn dir_with(bytes: &[u8]) -> (tempfile::TempDir, AofDir) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a.1.incr.aof"), bytes).unwrap();
        let incr = vec![FileInfo { name: "a.1.incr.aof".into(), seq: 1 }];
        let files = AofDir {
            dir: temp.path().into(),
            name: "a".into(),
            manifest: Manifest { incr, ..Manifest::default() },
            storage: Storage::default(),
        };
        (temp, files)
    }

    fn config(aof_load_truncated: bool) -> Config {
        Config { aof_load_truncated, ..Config::default() }
    }

    #[test]
    fn a_power_cut_at_every_byte_recovers_whole_units_and_the_next_start_agrees() {
        let units = ["SET a 1", "#TS", "MULTI", "SET b 2", "SET c 3", "EXEC", "SET d 4"];
        let (mut log, mut ends) = (Vec::new(), vec![]);
        for unit in units {
            if unit == "#TS" {
                log.extend_from_slice(b"#TS:1700000000\r\n")
            } else {
                log.extend(command(unit))
            }
            ends.push(log.len());
        }
        for (padding, n) in (0..=log.len()).flat_map(|n| [(0, n), (700, n)]) {
            let mut bytes = log[..n].to_vec();
            bytes.extend(vec![0; padding]);
            let (_keep, files) = dir_with(&bytes);
            let mut first = Record::default();
            load(&files, &config(true), &Loading::default(), &mut first).unwrap();
            let whole: Vec<&str> = [(ends[0], "SET a 1"), (ends[5], "SET b 2;SET c 3"), (ends[6], "SET d 4")]
                .iter()
                .filter(|(end, _)| *end <= n)
                .map(|(_, u)| *u)
                .collect();
            // A cut inside a bulk that the padding happens to complete cannot occur: lengths are followed by CRLF.
            assert_eq!(first.units, whole, "cut at {n}, {padding} zeros");
            let mut again = Record::default();
            load(&files, &config(false), &Loading::default(), &mut again).unwrap();
            assert_eq!(again.units, first.units, "what was cut off stays cut off");
        }
    }

    #[test]
    fn damage_is_refused_and_left_as_it_is() {
        for bad in [&b"*1\r\n:3\r\n"[..], b"garbage\r\n", b"*x\r\n"] {
            let mut bytes = command("SET a 1");
            bytes.extend_from_slice(bad);
            let (keep, files) = dir_with(&bytes);
            assert!(load(&files, &config(true), &Loading::default(), &mut Record::default()).is_err());
            assert_eq!(std::fs::read(keep.path().join("a.1.incr.aof")).unwrap(), bytes);
        }
        let (_keep, files) = dir_with(&command("SET a 1")[..9]);
        let error = load(&files, &config(false), &Loading::default(), &mut Record::default()).unwrap_err();
        assert!(error.to_string().contains("Unexpected end of file"));
    }

    #[test]
    fn commands_may_follow_an_rdb_preamble() {
        let mut bytes = empty_rdb();
        bytes.extend(command("SET a 1"));
        let (_keep, files) = dir_with(&bytes);
        let mut record = Record::default();
        load(&files, &config(true), &Loading::default(), &mut record).unwrap();
        assert_eq!(record.units, ["SET a 1"]);
    }
}
