//! Writing RDB: version 10, which Redis 7.0 and everything newer reads. Strings as integers, LZF or plain bytes.
//!
//! A [`Writer`] appends to a buffer that its owner writes out and empties; it keeps the checksum over all of it.

use crate::checksum::Crc64;
use crate::clock::Millis;
use crate::keyspace::entry::Body;
use crate::lzf;
use crate::types::Value;

/// An RDB file in the making.
pub struct Writer {
    crc: Crc64,
    db: Option<usize>,
    compress: bool,
}

impl Writer {
    /// Begins a file: magic and auxiliary fields.
    pub fn begin(out: &mut Vec<u8>, compress: bool, now: Millis) -> Self {
        out.extend_from_slice(b"REDIS0010");
        for (name, value) in [
            ("redis-ver", crate::config::REDIS_VERSION.to_owned()),
            ("redis-bits", "64".into()),
            ("ctime", (now / 1000).to_string()),
            ("aof-base", "1".into()),
        ] {
            out.push(super::AUX);
            string(out, name.as_bytes(), false);
            string(out, value.as_bytes(), false);
        }
        Self { crc: Crc64::new(), db: None, compress }
    }

    pub fn entry(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], expiry: Option<Millis>, body: &Body<'_>) {
        if self.db != Some(db) {
            self.db = Some(db);
            out.push(super::SELECT_DB);
            length(out, db as u64);
        }
        if let Some(at) = expiry {
            out.push(super::EXPIRE_MILLIS);
            out.extend_from_slice(&at.to_le_bytes());
        }
        out.push(super::STRING);
        string(out, key, self.compress);
        match body {
            Body::Bytes(bytes) => string(out, bytes, self.compress),
            Body::Int(n) => string(out, itoa::Buffer::new().format(*n).as_bytes(), self.compress),
            Body::Value(Value::Str(s)) => string(out, s, self.compress),
            Body::Value(_) => unreachable!("no command makes this type yet"),
        }
    }

    /// Takes what the buffer gained into the checksum. Before the buffer is emptied.
    pub fn sum(&mut self, out: &[u8]) {
        self.crc.update(out);
    }

    /// Ends the file.
    pub fn end(mut self, out: &mut Vec<u8>, checksum: bool) {
        out.push(super::END);
        self.sum(out);
        let crc = if checksum { self.crc.value() } else { 0 };
        out.extend_from_slice(&crc.to_le_bytes());
    }
}

fn length(out: &mut Vec<u8>, len: u64) {
    match len {
        0..=63 => out.push(len as u8),
        64..=16383 => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        16384..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    if bytes.len() <= INT_DIGITS_MAX
        && let Some(n) = crate::num::parse_i64(bytes)
        && small_int(out, n)
    {
        return;
    }
    if compress
        && bytes.len() > COMPRESS_ABOVE
        && let Some(packed) = lzf::compress(bytes)
    {
        out.push(0xc3);
        length(out, packed.len() as u64);
        length(out, bytes.len() as u64);
        out.extend_from_slice(&packed);
        return;
    }
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An integer in one, two or four bytes; false if it needs more.
fn small_int(out: &mut Vec<u8>, n: i64) -> bool {
    if let Ok(n) = i8::try_from(n) {
        out.push(0xc0);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xc1);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i32::try_from(n) {
        out.push(0xc2);
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// `-2147483648` has 11 characters.
const INT_DIGITS_MAX: usize = 11;
const COMPRESS_ABOVE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::read;

    #[test]
    fn what_is_written_reads_back() {
        let long = b"abc".repeat(2000);
        let values: [&[u8]; 8] = [b"", b"v", b"-5", b"300", b"70000", b"99999999999", &long, b"007"];
        let mut out = Vec::new();
        let mut writer = Writer::begin(&mut out, true, 0);
        let mut file = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let expiry = (i % 2 == 0).then_some(1_900_000_000_000 + i as i64);
            writer.entry(&mut out, i / 4, format!("key{i}").as_bytes(), expiry, &Body::Bytes(value));
            writer.sum(&out);
            file.append(&mut out);
        }
        writer.end(&mut out, true);
        file.append(&mut out);
        let mut seen = Vec::new();
        read::read(&file[..], |l| {
            seen.push((l.db, l.key, l.value, l.expiry));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), values.len());
        for (i, (db, key, value, expiry)) in seen.into_iter().enumerate() {
            assert_eq!((db, key, value.as_slice()), (i / 4, format!("key{i}").into_bytes(), values[i]));
            assert_eq!(expiry, (i % 2 == 0).then_some(1_900_000_000_000 + i as i64));
        }
        file[40] ^= 1;
        assert!(read::read(&file[..], |_| Ok(())).is_err(), "a flipped bit is found");
    }
}
