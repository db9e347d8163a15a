//! redis-check-aof: is a log made of whole commands and transactions; with `--fix` and `--truncate-to-timestamp` it is
//! cut where it stops being so, or where a later time begins. Only the last file of a log may be cut.

use super::{Console, Stop, rdb, until_nul};
use crate::log::{self, cause};
use crate::persist::manifest::{BadManifest, Manifest};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn main(console: &mut Console<'_>, args: &[Vec<u8>]) -> Result<(), Stop> {
    let words: Vec<&[u8]> = args.iter().skip(1).map(Vec::as_slice).collect();
    let (fix, until, name) = match words[..] {
        [name] => (false, 0, name),
        [b"--fix", name] => (true, 0, name),
        [b"--truncate-to-timestamp", at, name] => match whole_number(at) {
            Some(at) => (false, at, name),
            None => return console.stop(format_args!("Invalid timestamp, aborting...")),
        },
        _ => return usage(console, args),
    };
    if name.len() > PATH_BYTES_MAX {
        console.say(format_args!("Error: filepath is too long (exceeds PATH_MAX)"));
        return usage(console, args);
    }
    let (path, name) = (Path::new(OsStr::from_bytes(name)), String::from_utf8_lossy(name));
    let mut check = Check { console, fix, until, line: 1, trouble: Vec::new() };
    match check.kind(path)? {
        FileKind::Manifest(text) => check.several(&name, &text),
        kind => check.single(&name, kind),
    }
}

fn usage(console: &mut Console<'_>, args: &[Vec<u8>]) -> Result<(), Stop> {
    let name = String::from_utf8_lossy(args.first().map_or(&[], |name| name));
    console.stop(format_args!("Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"))
}

/// What a file is.
enum FileKind {
    /// With its text.
    Manifest(String),
    Preamble,
    Commands,
}

/// How the check of a file that may stay went.
enum Found {
    Valid,
    Empty,
    /// What could not be read is cut off.
    Cut,
    /// What came after the time is cut off.
    CutAtTime,
}

/// Why reading a file ended.
enum Ended {
    End,
    Trouble,
    NoCommand,
    CutAtTime,
}

struct Check<'c, 'a> {
    console: &'c mut Console<'a>,
    fix: bool,
    /// Unix seconds behind which a log is cut; 0 for never.
    until: i64,
    /// Counted over all files, as Redis does.
    line: u64,
    /// What is wrong, once something is.
    trouble: Vec<u8>,
}

/// A file as it is checked.
struct Log<'p> {
    /// As messages on the whole file name it.
    name: &'p str,
    path: &'p str,
    last: bool,
    input: Input,
}

impl Check<'_, '_> {
    fn kind(&mut self, path: &Path) -> Result<FileKind, Stop> {
        let name = path.display();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) => return self.console.stop(format_args!("Cannot open file {name}: {}", cause(&e))),
        };
        let mut head = Vec::new();
        if (&mut file).take(HEAD_BYTES).read_to_end(&mut head).is_err() {
            return self.console.stop(format_args!("Cannot read file: {name}"));
        }
        let mut lines = head.split(|b| *b == b'\n').skip_while(|line| line.starts_with(b"#"));
        if lines.next().is_some_and(|line| line.starts_with(b"file")) {
            // A manifest is short; what is longer is refused by its lines.
            let _ = (&mut file).take(MANIFEST_BYTES_MAX).read_to_end(&mut head);
            return match String::from_utf8(head) {
                Ok(text) => Ok(FileKind::Manifest(text)),
                Err(_) => self.console.stop(format_args!("Invalid AOF manifest file format")),
            };
        }
        Ok(if is_rdb(&head) { FileKind::Preamble } else { FileKind::Commands })
    }

    fn single(&mut self, path: &str, kind: FileKind) -> Result<(), Stop> {
        self.console.say(format_args!("Start checking Old-Style AOF"));
        let found = self.file(path, path, true, matches!(kind, FileKind::Preamble))?;
        self.tell("AOF", path, &found);
        Ok(())
    }

    fn several(&mut self, path: &str, text: &str) -> Result<(), Stop> {
        self.console.say(format_args!("Start checking Multi Part AOF"));
        let manifest = Manifest::parse(text).map_err(|e| refuse(self.console, &e))?;
        let directory = directory(path);
        let count = manifest.to_load().count();
        for (i, info) in manifest.to_load().enumerate() {
            let (path, last) = (format!("{directory}/{}", info.name), i + 1 == count);
            let is_base = i == 0 && manifest.base.is_some();
            let preamble = is_base && matches!(self.kind(Path::new(&path))?, FileKind::Preamble);
            if is_base {
                let form = if preamble { "RDB" } else { "RESP" };
                self.console.say(format_args!("Start to check BASE AOF ({form} format)."));
            } else if i == usize::from(manifest.base.is_some()) {
                self.console.say(format_args!("Start to check INCR files."));
            }
            let found = self.file(&info.name, &path, last, preamble)?;
            self.tell(if is_base { "BASE AOF" } else { "INCR AOF" }, &info.name, &found);
        }
        self.console.say(format_args!("All AOF files and manifest are valid"));
        Ok(())
    }

    fn tell(&mut self, what: &str, name: &str, found: &Found) {
        match found {
            Found::Valid => self.console.say(format_args!("{what} {name} is valid")),
            Found::Empty => self.console.say(format_args!("{what} {name} is empty")),
            Found::Cut => self.console.say(format_args!("Successfully truncated AOF {name}")),
            Found::CutAtTime => {
                self.console.say(format_args!("Successfully truncated AOF {name} to timestamp {}", self.until));
            }
        }
    }

    fn file(&mut self, name: &str, path: &str, last: bool, preamble: bool) -> Result<Found, Stop> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(e) => return self.console.stop(format_args!("Cannot open file {path}: {}, aborting...", cause(&e))),
        };
        let Ok(size) = file.metadata().map(|m| m.len()) else {
            return self.console.stop(format_args!("Cannot stat file: {name}, aborting..."));
        };
        if size == 0 {
            return Ok(Found::Empty);
        }
        let mut log = Log { name, path, last, input: Input::new(file) };
        if preamble {
            let Ok(len) = rdb::check_preamble(self.console, name, &mut log.input.reader) else {
                return self.console.stop(format_args!("RDB preamble of AOF file is not sane, aborting."));
            };
            log.input.at = len;
            self.console.say(format_args!("RDB preamble is OK, proceeding with AOF tail..."));
        }
        let (good, ended) = self.commands(&mut log)?;
        match ended {
            Ended::CutAtTime => return Ok(Found::CutAtTime),
            Ended::NoCommand => self.console.say(format_args!("AOF {name} format error")),
            Ended::End | Ended::Trouble => {}
        }
        self.judge(&log, size, good)
    }

    /// Reads command by command. Returns the offset behind the last whole unit.
    fn commands(&mut self, log: &mut Log<'_>) -> Result<(u64, Ended), Stop> {
        let (mut good, mut open) = (log.input.at, false);
        loop {
            if !open {
                good = log.input.at;
            }
            let ended = match log.input.peek() {
                Err(_) => {
                    let name = log.name;
                    return self.console.stop(format_args!("Failed to read from AOF {name}, aborting..."));
                }
                Ok(None) => Some(Ended::End),
                Ok(Some(b'#')) => self.annotation(log)?,
                Ok(Some(b'*')) => self.command(log, &mut open).err(),
                Ok(Some(_)) => Some(Ended::NoCommand),
            };
            if let Some(ended) = ended {
                if matches!(ended, Ended::End) && open && self.trouble.is_empty() {
                    self.trouble(log.input.began, b"Reached EOF before reading EXEC for MULTI");
                }
                return Ok((good, ended));
            }
        }
    }

    /// What is said of a file that was read, and the cut that `--fix` makes.
    fn judge(&mut self, log: &Log<'_>, size: u64, good: u64) -> Result<Found, Stop> {
        let (name, diff, until) = (log.name, size - good, self.until);
        if !self.trouble.is_empty() {
            self.console.say_bytes("", &self.trouble, "");
        }
        if diff == 0 && until != 0 {
            self.console.say(format_args!("Truncate nothing in AOF {name} to timestamp {until}"));
            return Ok(Found::Valid);
        }
        self.console.say(format_args!(
            "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, ok_up_to_line={}, diff={diff}",
            self.line
        ));
        if diff == 0 {
            return Ok(Found::Valid);
        }
        if !self.fix {
            return self.console.stop(format_args!("AOF {name} is not valid. Use the --fix option to try fixing it."));
        }
        if !log.last {
            return self.console.stop(format_args!("Failed to truncate AOF {name} because it is not the last file"));
        }
        self.console
            .say(format_args!("This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {good} bytes"));
        if !self.console.confirms() {
            return self.console.stop(format_args!("Aborting..."));
        }
        match log.input.cut(good) {
            Ok(()) => Ok(Found::Cut),
            Err(_) => self.console.stop(format_args!("Failed to truncate AOF {name}")),
        }
    }

    /// A line that begins with `#`. It ends the log when it begins what is too late, which is cut off then, or is torn:
    /// what is appended behind it would be read as a part of it.
    fn annotation(&mut self, log: &mut Log<'_>) -> Result<Option<Ended>, Stop> {
        let (path, until) = (log.path, self.until);
        let at = log.input.at;
        let Ok(line) = log.input.line(ANNOTATION_BYTES_MAX) else {
            return self.console.stop(format_args!("Failed to read annotations from AOF {path}, aborting..."));
        };
        if !line.ends_with(b"\n") && (line.len() as u64) < ANNOTATION_BYTES_MAX {
            return Ok(Some(self.trouble(at, b"Reached EOF in an annotation")));
        }
        let Some(text) = line.strip_prefix(b"#TS:").filter(|_| until != 0) else { return Ok(None) };
        let Some((time, [b'\r', ..])) = number(text) else {
            return self.console.stop(format_args!("Invalid timestamp annotation"));
        };
        if time <= until {
            return Ok(None);
        }
        if at == 0 {
            return self.console.stop(format_args!("AOF {path} has nothing before timestamp {until}, aborting..."));
        }
        if !log.last {
            self.console.say(format_args!(
                "Failed to truncate AOF {path} to timestamp {until} to offset {at} because it is not the last file."
            ));
            return self.console.stop(format_args!(
                "If you insist, please delete all files after this file according to the manifest file and delete the corresponding records in manifest file manually. Then re-run redis-check-aof."
            ));
        }
        match log.input.cut(at) {
            Ok(()) => Ok(Some(Ended::CutAtTime)),
            Err(_) => self.console.stop(format_args!("Failed to truncate AOF {path} to timestamp {until}")),
        }
    }

    /// One command. `open` tells whether a transaction is.
    fn command(&mut self, log: &mut Log<'_>, open: &mut bool) -> Result<(), Ended> {
        let count = self.count(&mut log.input, b'*')?;
        for i in 0..count {
            let word = self.word(&mut log.input)?;
            if i > 0 {
                continue;
            }
            let (multi, exec) = (word.eq_ignore_ascii_case(b"multi"), word.eq_ignore_ascii_case(b"exec"));
            if multi && *open || exec && !*open {
                let name = if multi { "MULTI" } else { "EXEC" };
                let text = format!("Unexpected {name} in AOF {}", log.path);
                return Err(self.trouble(log.input.began, text.as_bytes()));
            }
            *open = (*open || multi) && !exec;
        }
        Ok(())
    }

    /// A line that is a number behind `prefix`.
    fn count(&mut self, input: &mut Input, prefix: u8) -> Result<i64, Ended> {
        input.began = input.at;
        let line = input.line(COUNT_BYTES_MAX).unwrap_or_default();
        let Some((&first, rest)) = line.split_first() else { return Err(Ended::End) };
        if first != prefix {
            let text = [b"Expected prefix '", &[prefix][..], b"', got: '", &[first], b"'"].concat();
            return Err(self.trouble(input.began, &text));
        }
        let (count, rest) = number(rest).unwrap_or((0, rest));
        self.line_end(input, rest)?;
        Ok(count)
    }

    /// A text behind its length; as much of it as a command's name may have.
    fn word(&mut self, input: &mut Input) -> Result<Vec<u8>, Ended> {
        let len = self.count(input, b'$')?;
        let Some(all) = u64::try_from(len).ok().and_then(|n| n.checked_add(2)).filter(|_| len <= i64::MAX - 2) else {
            let text = format!("Expected to read string of {len} bytes, which is not in the suitable range");
            return Err(self.trouble(input.began, text.as_bytes()));
        };
        input.began = input.at;
        let (read, name, end) = input.text(all);
        if read < all {
            let text = format!("Expected to read {all} bytes, got {read} bytes");
            return Err(self.trouble(input.began, text.as_bytes()));
        }
        self.line_end(input, &end)?;
        Ok(until_nul(&name).to_vec())
    }

    fn line_end(&mut self, input: &Input, found: &[u8]) -> Result<(), Ended> {
        if found.starts_with(b"\r\n") {
            self.line += 1;
            return Ok(());
        }
        // Redis prints signed characters.
        let shown = |i: usize| i32::from(found.get(i).copied().unwrap_or_default().cast_signed());
        let text = format!("Expected \\r\\n, got: {:02x}{:02x}", shown(0), shown(1));
        Err(self.trouble(input.began, text.as_bytes()))
    }

    fn trouble(&mut self, at: u64, text: &[u8]) -> Ended {
        self.trouble = format!("0x{at:>16x}: ").into_bytes();
        self.trouble.extend_from_slice(text);
        Ended::Trouble
    }
}

/// Says what is wrong with a manifest in the lines of a log, as Redis does.
fn refuse(console: &mut Console<'_>, e: &BadManifest) -> Stop {
    let _ = console.out.flush();
    log::warning!("\n*** FATAL AOF MANIFEST FILE ERROR ***\n");
    if let Some((number, line)) = &e.line {
        log::warning!("Reading the manifest file, at line {number}\n");
        log::warning!(">>> '{line}'\n");
    }
    log::warning!("{}\n", e.cause);
    Stop
}

fn is_rdb(head: &[u8]) -> bool {
    head.len() >= RDB_HEADER_BYTES && crate::persist::rdb::is_rdb(head)
}

/// The directory a path is in, as dirname(3) names it.
fn directory(path: &str) -> &str {
    match path.rsplit_once('/') {
        None => ".",
        Some((directory, _)) => match directory.trim_end_matches('/') {
            "" => "/",
            directory => directory,
        },
    }
}

/// A number as strtol(3) reads it, and what follows; `None` if there is none.
fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let blanks = text.iter().take_while(|b| b.is_ascii_whitespace() || **b == 0x0b).count();
    let signed = usize::from(matches!(text.get(blanks), Some(b'+' | b'-')));
    let (digits, negative) = (blanks + signed, text.get(blanks) == Some(&b'-'));
    let end = digits + text[digits..].iter().take_while(|b| b.is_ascii_digit()).count();
    if end == digits {
        return None;
    }
    let value = text[digits..end].iter().fold(0i64, |sum, digit| {
        let digit = i64::from(digit - b'0');
        let sum = sum.saturating_mul(10);
        if negative { sum.saturating_sub(digit) } else { sum.saturating_add(digit) }
    });
    Some((value, &text[end..]))
}

/// A word that is a number and nothing else; the empty one is 0.
fn whole_number(word: &[u8]) -> Option<i64> {
    match number(word) {
        None => word.is_empty().then_some(0),
        Some((value, rest)) => rest.is_empty().then_some(value),
    }
}

/// A file's bytes and how far they were read.
struct Input {
    reader: BufReader<File>,
    at: u64,
    /// Where what is being read began.
    began: u64,
}

impl Input {
    fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(READ_BYTES, file), at: 0, began: 0 }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    /// A line with its end, or as much of it as `bytes_max`; empty at the end.
    fn line(&mut self, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let len = (&mut self.reader).take(bytes_max).read_until(b'\n', &mut line)?;
        self.at += len as u64;
        Ok(line)
    }

    /// Passes over `len` bytes, two at least. Returns how many there were, the first few, and the last two.
    fn text(&mut self, len: u64) -> (u64, Vec<u8>, Vec<u8>) {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let head_len = (len - 2).min(NAME_BYTES_KEPT);
        let mut read = (&mut self.reader).take(head_len).read_to_end(&mut head).unwrap_or_default() as u64;
        let between = len - 2 - head_len;
        read += io::copy(&mut (&mut self.reader).take(between), &mut io::sink()).unwrap_or_default();
        if read == len - 2 {
            read += (&mut self.reader).take(2).read_to_end(&mut tail).unwrap_or_default() as u64;
        }
        self.at += read;
        (read, head, tail)
    }

    /// Shortens the file, and waits until the device knows.
    fn cut(&self, len: u64) -> io::Result<()> {
        let file = self.reader.get_ref();
        file.set_len(len)?;
        file.sync_all()
    }
}

const PATH_BYTES_MAX: usize = 4096;
/// What is looked at to tell what a file is: several comment lines.
const HEAD_BYTES: u64 = 64 << 10;
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Redis looks for a snapshot only in a file with room for magic and version, less one.
const RDB_HEADER_BYTES: usize = 8;
const ANNOTATION_BYTES_MAX: u64 = 1023;
const COUNT_BYTES_MAX: u64 = 127;
/// Enough to know MULTI and EXEC.
const NAME_BYTES_KEPT: u64 = 8;
const READ_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::spoken;
    use super::*;
    use std::fs;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

    /// What is said of files in a directory of their own, whether all is well, and the last file as it is then.
    fn check(options: &[&str], files: &[(&str, &[u8])], answer: &str) -> (String, bool, Vec<u8>) {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).into_os_string().into_encoded_bytes();
        for (name, content) in files {
            fs::write(place.path().join(name), content).unwrap();
        }
        let mut words: Vec<Vec<u8>> =
            ["redis-check-aof"].iter().chain(options).map(|w| w.as_bytes().to_vec()).collect();
        words.push(path(files[0].0));
        let (said, ok) = spoken(answer, |console| main(console, &words));
        let directory = format!("{}/", place.path().display());
        (said.replace(&directory, ""), ok, fs::read(place.path().join(files.last().unwrap().0)).unwrap())
    }

    #[test]
    fn a_torn_log_is_told_and_mended_only_after_a_yes() {
        let torn = [SET, MULTI, SET].concat();
        let told = "Start checking Old-Style AOF\n0x              42: Reached EOF before reading EXEC for MULTI\n\
                    AOF analyzed: filename=a, size=69, ok_up_to=27, ok_up_to_line=18, diff=42\n";
        let (said, ok, after) = check(&[], &[("a", &torn)], "");
        assert_eq!(said, format!("{told}AOF a is not valid. Use the --fix option to try fixing it.\n"));
        assert!(!ok && after == torn);
        let asks =
            format!("{told}This will shrink the AOF a from 69 bytes, with 42 bytes, to 27 bytes\nContinue? [y/N]: ");
        let (said, ok, after) = check(&["--fix"], &[("a", &torn)], "n\n");
        assert_eq!(said, format!("{asks}Aborting...\n"));
        assert!(!ok && after == torn);
        let (said, ok, after) = check(&["--fix"], &[("a", &torn)], "Y\n");
        assert_eq!(said, format!("{asks}Successfully truncated AOF a\n"));
        assert!(ok && after == SET);
    }

    #[test]
    fn a_torn_annotation_is_cut_off() {
        let torn = [SET, b"#TS:17999"].concat();
        let (said, ok, after) = check(&[], &[("a", &torn)], "");
        assert!(!ok && said.contains("Reached EOF in an annotation\n") && after == torn, "{said}");
        let (_, ok, after) = check(&["--fix"], &[("a", &torn)], "y\n");
        assert!(ok && after == SET);
    }

    #[test]
    fn a_manifest_that_is_no_text_is_refused_as_it_is() {
        let manifest: &[u8] = b"file b\xff seq 1 type b\n";
        let (said, ok, _) = check(&["--fix"], &[("m", manifest), ("b", SET)], "y\n");
        assert!(!ok && said.contains("Invalid AOF manifest file format"), "{said}");
    }

    #[test]
    fn only_the_last_file_of_a_manifest_may_be_cut() {
        let manifest: &[u8] = b"file b seq 1 type b\nfile i seq 1 type i\n";
        let torn = &SET[..9];
        let (said, ok, after) = check(&["--fix"], &[("m", manifest), ("b", SET), ("i", torn)], "y");
        assert!(ok && said.ends_with("Successfully truncated AOF i\nAll AOF files and manifest are valid\n"), "{said}");
        assert!(after.is_empty());
        let (said, ok, after) = check(&["--fix"], &[("m", manifest), ("i", SET), ("b", torn)], "y");
        assert!(!ok && said.ends_with("Failed to truncate AOF b because it is not the last file\n"), "{said}");
        assert_eq!(after, torn);
    }

    #[test]
    fn a_log_can_be_cut_where_a_later_time_begins() {
        let log = [b"#TS:10\r\n", SET, b"#TS:20\r\n", SET].concat();
        let until = |at: &str| check(&["--truncate-to-timestamp", at], &[("a", &log)], "");
        let (said, ok, after) = until("15");
        assert!(ok && after == log[..35], "{said}");
        assert_eq!(said, "Start checking Old-Style AOF\nSuccessfully truncated AOF a to timestamp 15\n");
        let (said, ok, after) = until("20");
        assert!(
            ok && after == log && said.contains("Truncate nothing in AOF a to timestamp 20\nAOF a is valid"),
            "{said}"
        );
        let (said, ok, after) = until("9");
        assert!(!ok && after == log && said.contains("AOF a has nothing before timestamp 9, aborting...\n"), "{said}");
    }

    #[test]
    fn a_key_called_file_makes_no_manifest() {
        let log: &[u8] = b"*2\r\n$3\r\nDEL\r\n$4\r\nfile\r\n";
        let (said, ok, _) = check(&[], &[("a", log)], "");
        assert!(ok && said.ends_with("AOF a is valid\n"), "{said}");
    }

    #[test]
    fn a_declared_length_costs_nothing() {
        let log: &[u8] = b"*1\r\n$9223372036854775805\r\nGET";
        let (said, ok, _) = check(&[], &[("a", log)], "");
        assert!(!ok && said.contains("Expected to read 9223372036854775807 bytes, got 3 bytes"), "{said}");
    }
}
