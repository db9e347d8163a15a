//! The manifest: which files make up the append-only log, in Redis 7's format.
//!
//! One line a file: `file <name> seq <n> type b|h|i`, further key–value pairs are ignored, `#` lines are comments. One
//! base at most, then history (to be deleted), then increments in strictly rising order.

use std::fmt::{self, Write as _};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    pub seq: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<FileInfo>,
    pub history: Vec<FileInfo>,
    pub incr: Vec<FileInfo>,
}

/// Why a manifest is refused, in Redis's words.
#[derive(Debug)]
pub struct BadManifest {
    pub cause: &'static str,
    /// Its number and its words, if a single line is to blame.
    pub line: Option<(usize, String)>,
}

impl fmt::Display for BadManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            None => f.write_str(self.cause),
            Some((number, line)) => write!(f, "{} at line {number}: {line:?}", self.cause),
        }
    }
}

impl std::error::Error for BadManifest {}

impl Manifest {
    pub fn parse(text: &str) -> Result<Self, BadManifest> {
        let whole = |cause| BadManifest { cause, line: None };
        let mut manifest = Self::default();
        if text.is_empty() {
            return Err(whole("Found an empty AOF manifest"));
        }
        for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, l)| !l.starts_with('#')) {
            if line.len() > LINE_BYTES_MAX || !line.ends_with('\n') {
                return Err(whole("The AOF manifest file contains too long line"));
            }
            let line = line.trim_matches([' ', '\t', '\r', '\n']);
            let told = |cause| BadManifest { cause, line: Some((number + 1, line.to_owned())) };
            manifest.add_line(line).map_err(told)?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &str) -> Result<(), &'static str> {
        let words = crate::quote::split_args(line.as_bytes()).map_err(|_| BAD_FORMAT)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(BAD_FORMAT);
        }
        let (mut name, mut seq, mut kind) = (None, None, None);
        for pair in words.chunks_exact(2) {
            let value = String::from_utf8(pair[1].clone()).map_err(|_| BAD_FORMAT)?;
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" if value.contains('/') => return Err("File can't be a path, just a filename"),
                b"file" => name = Some(value),
                b"seq" => seq = value.parse().ok().filter(|&seq| seq > 0),
                b"type" => kind = value.bytes().next(),
                _ => {}
            }
        }
        let (Some(name), Some(seq), Some(kind)) = (name, seq, kind) else { return Err(BAD_FORMAT) };
        let file = FileInfo { name, seq };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => self.base = Some(file),
            b'h' => self.history.push(file),
            b'i' if self.incr.last().is_some_and(|last| last.seq >= seq) => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => self.incr.push(file),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    pub fn format(&self) -> String {
        let mut text = String::new();
        let kinds = [('b', self.base.as_slice()), ('h', &self.history), ('i', &self.incr)];
        for (kind, files) in kinds {
            for f in files {
                let _ = writeln!(text, "file {} seq {} type {kind}", quoted_if_needed(&f.name), f.seq);
            }
        }
        text
    }

    pub fn next_base_seq(&self) -> u64 {
        let history = self.history.iter().filter(|f| f.name.contains(".base.")).map(|f| f.seq);
        history.chain(self.base.iter().map(|f| f.seq)).max().unwrap_or(0) + 1
    }

    /// The same with one increment more.
    pub fn with_incr(&self, incr: &FileInfo) -> Self {
        let mut manifest = self.clone();
        manifest.incr.push(incr.clone());
        manifest
    }

    pub fn next_incr_seq(&self) -> u64 {
        let history = self.history.iter().filter(|f| f.name.contains(".incr.")).map(|f| f.seq);
        history.chain(self.incr.iter().map(|f| f.seq)).max().unwrap_or(0) + 1
    }

    /// The files to load, in order.
    pub fn to_load(&self) -> impl Iterator<Item = &FileInfo> {
        self.base.iter().chain(&self.incr)
    }
}

/// A name with blanks or quotes is written as one quoted word.
fn quoted_if_needed(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\');
    if !name.is_empty() && name.bytes().all(plain) {
        return name.into();
    }
    String::from_utf8_lossy(&crate::quote::quoted(name.as_bytes())).into_owned()
}

const BAD_FORMAT: &str = "Invalid AOF manifest file format";
/// With its end.
const LINE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_redis_refuses() {
        let text = "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type h\nfile a.2.incr.aof seq 2 type i\n";
        let manifest = Manifest::parse(&format!("# comment\n{text}")).unwrap();
        assert_eq!(manifest.format(), text);
        assert_eq!((manifest.next_base_seq(), manifest.next_incr_seq()), (2, 3));
        let more = "file a.1.incr.aof seq 1 type i startoffset 7\n";
        assert_eq!(Manifest::parse(more).unwrap().incr.len(), 1);
        for bad in [
            "",
            "\n",
            "file x seq 1\n",
            "file x/y seq 1 type i\n",
            "file x seq 1 type q\n",
            "file x seq 0 type i\n",
            "file x seq 1 type i",
            "file x seq 2 type i\nfile y seq 2 type i\n",
            "file x seq 1 type b\nfile y seq 2 type b\n",
        ] {
            assert!(Manifest::parse(bad).is_err(), "{bad:?}");
        }
    }
}
