//! Reading RDB files: versions 1 to 12 of Redis and 80 of Valkey, and others as `rdb-version-check` has it, checksum
//! verified.
//!
//! [`RdbFile`] is the file as a sequence of items, which a checker follows one by one; [`read`] delivers the
//! keys of one to be loaded.
//! Untrusted input: no allocation from a declared length beyond what can still come, no recursion, unknown opcodes and
//! types are refused with their number, module data by name.

use super::decode::{self, Content};
use super::*;
use crate::checksum::Crc64;
use crate::clock::Millis;
use crate::config::Config;
use crate::keyspace::Db;
use crate::lzf;
use crate::persist::progress::Loading;
use crate::types::stream::Idempotence;
use crate::types::{MEMBER_BYTES_MAX, Value};
use std::io::{self, BufRead};

/// A key as it stands in the file.
pub struct Loaded {
    pub db: usize,
    pub key: Vec<u8>,
    pub content: Content,
    pub expiry: Option<Millis>,
    pub usage: Option<Usage>,
}

/// What a file delivers.
pub enum Delivered {
    Key(Loaded),
    /// The text of a library of functions.
    Library(Vec<u8>),
}

impl Loaded {
    /// Puts the key into its database. One that is there already is damage: no server writes a key twice.
    pub fn put(self, db: &mut Db<'_>) -> Result<(), String> {
        if db.kind_present(&self.key).is_some() {
            return Err(format!("RDB has duplicated key '{}' in DB {}", self.key.escape_ascii(), self.db));
        }
        self.merge(db);
        Ok(())
    }

    /// The same in place of what may be there.
    pub fn merge(self, db: &mut Db<'_>) {
        let Self { key, content, expiry, usage, .. } = self;
        content.put(db, &key, expiry, "");
        usage.into_iter().for_each(|usage| usage.set(db, &key));
    }
}

/// What stands in the file of a key's uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    IdleSeconds(u64),
    Frequency(u8),
}

impl Usage {
    /// Without effect unless the policy is of its kind.
    pub fn set(self, db: &mut Db<'_>, key: &[u8]) {
        match self {
            Self::IdleSeconds(seconds) => db.set_idle(key, i64::try_from(seconds).unwrap_or(i64::MAX)),
            Self::Frequency(counter) => db.set_frequency(key, i64::from(counter)),
        }
    }
}

/// An RDB file of an empty keyspace.
pub fn empty() -> Vec<u8> {
    let mut bytes = format!("REDIS{:04}", Version::V10 as u16).into_bytes();
    bytes.push(END);
    let crc = crate::checksum::crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a whole RDB; `deliver` gets each key and each library. Keys with empty collections are left out. Returns its length.
pub fn read(
    input: impl BufRead,
    config: &Config,
    loading: &Loading,
    mut deliver: impl FnMut(Delivered) -> io::Result<()>,
) -> io::Result<u64> {
    let mut file = RdbFile::open(input, config)?;
    let (mut db, mut empty_keys, mut idempotence) = (0, 0, None);
    loop {
        match file.next_item()? {
            Item::End => break,
            Item::Aux(name, value) if name == STREAM_IDEMPOTENCE => idempotence = Some(value),
            Item::Aux(name, value) => loading.auxiliary(&name, &value),
            Item::Library(text) => deliver(Delivered::Library(text))?,
            Item::Database(index) => {
                let databases = config.databases as usize;
                db = usize::try_from(index).ok().filter(|&db| db < databases).ok_or_else(|| {
                    bad(format!("FATAL: Data file was created with a Redis server configured to handle more than {databases} databases. Exiting"))
                })?;
            }
            Item::Entry { kind, expiry, usage } => {
                loading.reached(file.offset());
                let key = file.key()?;
                let mut content = file.value(kind, config).inspect_err(|e| {
                    crate::log::warning!("RDB load: key '{}' cannot be read: {e}", key.escape_ascii());
                })?;
                if let (Some(bytes), Content::Value(Value::Stream(stream))) = (idempotence.take(), &mut content) {
                    let known = Idempotence::from_bytes(&bytes);
                    stream.set_idempotence(known.ok_or_else(|| bad("What a stream's producers added is damaged"))?);
                }
                if matches!(content, Content::Empty) {
                    empty_keys += 1;
                    if empty_keys <= EMPTY_KEYS_SHOWN {
                        crate::log::notice!("RDB load: skipping empty key: {}", String::from_utf8_lossy(&key));
                    }
                    continue;
                }
                deliver(Delivered::Key(Loaded { db, key, content, expiry, usage }))?;
            }
        }
    }
    if empty_keys > 0 {
        crate::log::notice!("RDB load: empty keys skipped: {empty_keys}");
    }
    match file.verify()? {
        Sum::Wrong { expected, found } if config.rdbchecksum => {
            Err(bad(format!("Wrong RDB checksum expected: ({expected:x}) but got ({found:x}). RDB CRC error.")))
        }
        _ => Ok(file.offset()),
    }
}

/// What stands in a file.
pub enum Item {
    Aux(Vec<u8>, Vec<u8>),
    /// The text of a library of functions.
    Library(Vec<u8>),
    /// The database of the entries that follow.
    Database(u64),
    /// Its key and then its value are to be read next.
    Entry {
        kind: u8,
        expiry: Option<Millis>,
        usage: Option<Usage>,
    },
    /// The checksum is to be verified next.
    End,
}

/// What the checksum at a file's end says.
pub enum Sum {
    Right,
    NotComputed,
    /// Files before version 5 have none.
    TooOld,
    Wrong {
        expected: u64,
        found: u64,
    },
}

/// What a reader is at, in redis-check-rdb's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Start,
    Type,
    Expiry,
    Key,
    Value,
    Checksum,
    Length,
    Aux,
    ModuleAux,
    Functions,
}

/// An RDB file, read item by item.
pub struct RdbFile<R> {
    r: Reader<R>,
    version: u16,
    doing: Doing,
}

impl<R: BufRead> RdbFile<R> {
    pub fn new(input: R) -> Self {
        Self { r: Reader::new(input), version: 0, doing: Doing::Start }
    }

    pub fn open(input: R, config: &Config) -> io::Result<Self> {
        let mut file = Self::new(input);
        file.begin(config)?;
        Ok(file)
    }

    /// Reads magic and version.
    pub fn begin(&mut self, config: &Config) -> io::Result<()> {
        let magic = self.r.bytes(9)?;
        self.r.is_valkey = magic.starts_with(VALKEY);
        let Some(version) = magic.strip_prefix(REDIS).or_else(|| magic.strip_prefix(VALKEY)) else {
            return Err(bad("Wrong signature trying to load DB from file"));
        };
        self.version = std::str::from_utf8(version).ok().and_then(|v| v.parse().ok()).unwrap_or(0);
        match self.version {
            version @ 1.. if self.r.is_valkey == (version >= VERSION_VALKEY) && is_accepted(version, config) => Ok(()),
            version => Err(unknown(format!("Can't handle RDB format version {version}"))),
        }
    }

    pub fn next_item(&mut self) -> io::Result<Item> {
        let (mut expiry, mut usage) = (None, None);
        loop {
            self.doing = Doing::Type;
            match self.r.byte()? {
                END => return Ok(Item::End),
                SELECT_DB => {
                    self.doing = Doing::Length;
                    return Ok(Item::Database(self.r.length()?));
                }
                EXPIRE_SECONDS => {
                    self.doing = Doing::Expiry;
                    expiry = Some(i64::from(i32::from_le_bytes(self.r.array()?)) * 1000);
                }
                EXPIRE_MILLIS => {
                    self.doing = Doing::Expiry;
                    expiry = Some(i64::from_le_bytes(self.r.array()?));
                }
                RESIZE_DB => self.lengths(2)?,
                SLOT_INFO => self.lengths(3)?,
                AUX => {
                    self.doing = Doing::Aux;
                    return Ok(Item::Aux(self.r.string()?, self.r.string()?));
                }
                FREQUENCY => usage = Some(Usage::Frequency(self.r.byte()?)),
                IDLE => usage = Some(Usage::IdleSeconds(self.r.length()?)),
                MODULE_AUX => {
                    self.doing = Doing::ModuleAux;
                    return Err(bad("The RDB file contains module data, which this server cannot load"));
                }
                FUNCTION => {
                    self.doing = Doing::Functions;
                    return Ok(Item::Library(self.r.string()?));
                }
                kind if !is_known(self.version) && !is_type(kind) => return Err(self.unknown(kind)),
                kind => return Ok(Item::Entry { kind, expiry, usage }),
            }
        }
    }

    /// A type of a version that is not known.
    fn unknown(&self, kind: u8) -> io::Error {
        unknown(match self.r.is_valkey {
            true => "Unknown type or opcode when loading DB. Unrecoverable error, aborting now.".to_owned(),
            false => format!("Can't handle foreign type or opcode {kind} in RDB with version {}", self.version),
        })
    }

    fn lengths(&mut self, count: usize) -> io::Result<()> {
        self.doing = Doing::Length;
        (0..count).try_for_each(|_| self.r.length().map(drop))
    }

    pub fn key(&mut self) -> io::Result<Vec<u8>> {
        self.doing = Doing::Key;
        self.r.member()
    }

    pub fn value(&mut self, kind: u8, config: &Config) -> io::Result<Content> {
        self.doing = Doing::Value;
        decode::decode(&mut self.r, kind, config)
    }

    /// Behind [`Item::End`]. What follows in the input is the caller's.
    pub fn verify(&mut self) -> io::Result<Sum> {
        if self.version < 5 {
            return self.r.turn_over().map(|()| Sum::TooOld);
        }
        self.doing = Doing::Checksum;
        let expected = self.r.sum()?;
        let found = u64::from_le_bytes(self.r.array()?);
        self.r.turn_over()?;
        Ok(match found {
            0 => Sum::NotComputed,
            _ if found == expected => Sum::Right,
            _ => Sum::Wrong { expected, found },
        })
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.r.count
    }

    pub fn doing(&self) -> Doing {
        self.doing
    }
}

/// Bytes of a file or a payload. They are taken from the input's own buffer, and summed by the bufferful: sums of single
/// fields would cost more than reading them.
pub struct Reader<R> {
    input: R,
    /// How much of the input's present buffer is read.
    at: usize,
    /// The sum of all buffers before it.
    crc: Crc64,
    /// Bytes of everything that was read whole.
    count: u64,
    /// A string unpacked for a moment.
    scratch: Vec<u8>,
    /// The types are Valkey's.
    pub(super) is_valkey: bool,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, at: 0, crc: Crc64::new(), count: 0, scratch: Vec::new(), is_valkey: false }
    }

    /// The sum of all bytes read so far. The input is left behind them.
    fn sum(&mut self) -> io::Result<u64> {
        self.turn_over()?;
        Ok(self.crc.value())
    }

    /// Sums what was read of the present buffer, and gives it back to the input.
    fn turn_over(&mut self) -> io::Result<()> {
        if self.at > 0 {
            self.crc.update(&self.input.fill_buf()?[..self.at]);
            self.input.consume(self.at);
            self.at = 0;
        }
        Ok(())
    }

    /// Some of the bytes not read yet; there is at least one.
    fn some(&mut self) -> io::Result<&[u8]> {
        if self.input.fill_buf()?.len() == self.at {
            self.turn_over()?;
        }
        match &self.input.fill_buf()?[self.at..] {
            [] => Err(io::ErrorKind::UnexpectedEof.into()),
            some => Ok(some),
        }
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        if let Some(all) = self.input.fill_buf()?[self.at..].first_chunk() {
            let all = *all;
            self.at += N;
            self.count += N as u64;
            return Ok(all);
        }
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.some()?[0];
            self.at += 1;
        }
        self.count += N as u64;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn bytes(&mut self, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len.min(TRUSTED_BYTES_MAX) as usize);
        while (bytes.len() as u64) < len {
            let left = usize::try_from(len - bytes.len() as u64).unwrap_or(usize::MAX);
            let some = self.some()?;
            let taken = some.len().min(left);
            bytes.extend_from_slice(&some[..taken]);
            self.at += taken;
        }
        self.count += len;
        Ok(bytes)
    }

    /// A plain length; special encodings are no lengths.
    pub(super) fn length(&mut self) -> io::Result<u64> {
        match self.length_or_special()? {
            Ok(len) => Ok(len),
            Err(kind) => Err(bad(format!("Unknown length encoding {kind}"))),
        }
    }

    fn length_or_special(&mut self) -> io::Result<Result<u64, u8>> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Ok(u64::from(first & 0x3f)),
            1 => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            2 => return Err(bad(format!("Unknown length encoding {first}"))),
            _ => Err(first & 0x3f),
        })
    }

    /// Bytes read so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn string(&mut self) -> io::Result<Vec<u8>> {
        match self.length_or_special()? {
            Ok(len) => self.bytes(len),
            Err(COMPRESSED) => {
                let mut out = Vec::new();
                self.decompressed(&mut out)?;
                Ok(out)
            }
            Err(kind) => self.number(kind),
        }
    }

    /// A string that becomes a key, or part of a collection.
    pub(super) fn member(&mut self) -> io::Result<Vec<u8>> {
        let text = self.string()?;
        if text.len() > MEMBER_BYTES_MAX {
            return Err(bad(format!("A key or member of {} bytes is longer than 4 GiB allow", text.len())));
        }
        Ok(text)
    }

    /// [`Reader::string`] for who needs the bytes only for a moment: nothing is allocated.
    #[inline]
    pub(super) fn string_with<T>(&mut self, work: impl FnOnce(&[u8]) -> io::Result<T>) -> io::Result<T> {
        match self.length_or_special()? {
            Ok(len) => self.lent(len, work)?,
            Err(COMPRESSED) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let result = self.decompressed(&mut scratch).and_then(|()| work(&scratch));
                if scratch.capacity() <= SCRATCH_KEPT_MAX {
                    self.scratch = scratch;
                }
                result
            }
            Err(kind) => work(&self.number(kind)?),
        }
    }

    fn decompressed(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let (packed, len) = (self.length()?, self.length()?);
        let unpack = |packed: &[u8]| lzf::decompress_into(packed, usize::try_from(len).ok()?, out);
        self.lent(packed, unpack)?.ok_or_else(|| bad("Invalid LZF compressed string"))
    }

    fn number(&mut self, kind: u8) -> io::Result<Vec<u8>> {
        let number = match kind {
            0 => i64::from(i8::from_le_bytes(self.array()?)),
            1 => i64::from(i16::from_le_bytes(self.array()?)),
            2 => i64::from(i32::from_le_bytes(self.array()?)),
            kind => return Err(bad(format!("Unknown RDB string encoding type {kind}"))),
        };
        Ok(number.to_string().into_bytes())
    }

    /// Shows `work` the next bytes: where they lie, if they lie in one piece.
    #[inline]
    fn lent<T>(&mut self, len: u64, work: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let Some(all) =
            usize::try_from(len).ok().and_then(|len| self.input.fill_buf().ok()?.get(self.at..)?.get(..len))
        else {
            return Ok(work(&self.bytes(len)?));
        };
        let result = work(all);
        self.at += all.len();
        self.count += len;
        Ok(result)
    }
}

pub fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// The error of a file that is not damaged, but of a version that is not read.
fn unknown(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Keys with empty collections that are named in the log.
const EMPTY_KEYS_SHOWN: usize = 10;
/// How a string says that it is compressed.
const COMPRESSED: u8 = 3;
/// A larger scratch buffer is given back.
const SCRATCH_KEPT_MAX: usize = 1 << 20;
/// A buffer is reserved up to this from a declared length; beyond it grows with what really comes.
const TRUSTED_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::write::{Purpose, Usage as Told, Writer};
    use super::*;
    use crate::config::Config;
    use crate::keyspace::entry::{Body, Marks};

    #[test]
    fn what_is_written_reads_back() {
        let long = b"abc".repeat(2000);
        let values: [&[u8]; 8] = [b"", b"v", b"-5", b"300", b"70000", b"99999999999", &long, b"007"];
        let mut out = Vec::new();
        let purpose = Purpose {
            compress: true,
            version: super::super::Version::V10,
            log_base: false,
            usage: Told::Idle,
            now: 90_000,
            sizes: vec![(4, 2)],
            history: Some(super::super::write::History { id: "0".repeat(40), offset: 7, db: 3 }),
        };
        let mut writer = Writer::begin(&mut out, purpose);
        let mut file = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let expiry = (i % 2 == 0).then_some(1_900_000_000_000 + i as i64);
            let marks = Marks { expiry, access: i as u32 };
            writer.entry(&mut out, i / 4, format!("key{i}").as_bytes(), marks, &Body::Bytes(value));
            writer.sum(&out);
            file.append(&mut out);
        }
        writer.end(&mut out, true);
        file.append(&mut out);
        let sizes_are_told = |db| file.windows(5).any(|bytes| bytes == [SELECT_DB, db, RESIZE_DB, 4, 2]);
        assert!(sizes_are_told(0) && !sizes_are_told(1), "of the databases whose sizes are known");
        let mut seen = Vec::new();
        read(&file[..], &Config::default(), &Loading::default(), |l| {
            let Delivered::Key(l) = l else { panic!("all are keys") };
            let Content::Text(text) = l.content else { panic!("all are strings") };
            assert_eq!(l.usage, Some(Usage::IdleSeconds(90 - seen.len() as u64)));
            seen.push((l.db, l.key, text, l.expiry));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), values.len());
        for (i, (db, key, value, expiry)) in seen.into_iter().enumerate() {
            assert_eq!((db, key, value.as_slice()), (i / 4, format!("key{i}").into_bytes(), values[i]));
            assert_eq!(expiry, (i % 2 == 0).then_some(1_900_000_000_000 + i as i64));
        }
        let few = Config { databases: 1, ..Config::default() };
        assert!(
            read(&file[..], &few, &Loading::default(), |_| Ok(())).is_err(),
            "a database that is not there is refused"
        );
        file[40] ^= 1;
        assert!(
            read(&file[..], &Config::default(), &Loading::default(), |_| Ok(())).is_err(),
            "a flipped bit is found"
        );
    }
}
