//! Libraries of functions in an RDB file, and as FUNCTION DUMP gives and FUNCTION RESTORE takes them.
//!
//! `(245 | text)* | RDB version 2 LE | CRC-64 over all before it 8 LE`; in a file each library is one item.

use super::read::Reader;
use super::write::string;
use super::{FUNCTION, Version, is_accepted};
use crate::checksum::crc64;
use crate::config::Config;

/// Appends a library.
pub fn write(out: &mut Vec<u8>, text: &[u8], compress: bool) {
    out.push(FUNCTION);
    string(out, text, compress);
}

/// The payload of some libraries.
pub fn dump<'a>(texts: impl Iterator<Item = &'a [u8]>, compress: bool) -> Vec<u8> {
    let mut out = Vec::new();
    texts.for_each(|text| write(&mut out, text, compress));
    out.extend_from_slice(&(Version::V10 as u16).to_le_bytes());
    let crc = crc64(0, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The libraries' texts of a payload from a client. Errors: what is wrong with it, in Redis's words.
pub fn restore(payload: &[u8], config: &Config) -> Result<Vec<Vec<u8>>, &'static str> {
    const FOOTER: &str = "ERR DUMP payload version or checksum are wrong";
    let (summed, crc) = payload.split_last_chunk::<8>().ok_or(FOOTER)?;
    let (body, version) = summed.split_last_chunk::<2>().ok_or(FOOTER)?;
    let version = u16::from_le_bytes(*version);
    if !is_accepted(version, config) || u64::from_le_bytes(*crc) != crc64(0, summed) {
        return Err(FOOTER);
    }
    let (mut texts, mut rest) = (Vec::new(), body);
    while let Some((&kind, behind)) = rest.split_first() {
        if kind != FUNCTION {
            return Err("ERR given type is not a function");
        }
        let mut reader = Reader::new(behind);
        texts.push(reader.string().map_err(|_| "ERR failed loading the given functions payload")?);
        rest = usize::try_from(reader.count()).ok().and_then(|read| behind.get(read..)).unwrap_or_default();
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dumped_is_restored() {
        let texts = [b"#!lua name=a\nx".to_vec(), vec![b'y'; 300]];
        let config = Config::default();
        for compress in [false, true] {
            let payload = dump(texts.iter().map(|text| &text[..]), compress);
            assert_eq!(restore(&payload, &config).as_deref(), Ok(&texts[..]));
            for cut in 0..payload.len() {
                assert!(restore(&payload[..cut], &config).is_err(), "cut at {cut}");
            }
        }
    }
}
