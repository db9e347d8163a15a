//! Checksums and digests: of files (CRC-64), of keys (slots), of scripts (SHA-1), passwords (SHA-256), values (XXH3).
//!
//! CRC-64 is Redis's own variant (polynomial of Jones, reflected, initial value 0, no final xor), at the end of every
//! RDB file and DUMP payload; crc-fast computes it with carry-less multiplication at several GiB/s. A key's cluster
//! slot is CRC-16/XMODEM of its hash tag; keys are short, so a 512-byte table beats anything with a set-up cost.
//! Not here: the keyed hash of the keyspace's table. No state; nothing allocates but the hexadecimal texts.

use crc_fast::{CrcAlgorithm, Digest as CrcDigest};
use sha1::{Digest, Sha1};
use sha2::Sha256;

/// A CRC-64 in the making: bytes arrive in pieces of any length.
pub struct Crc64(CrcDigest);

impl Crc64 {
    pub fn new() -> Crc64 {
        Crc64::resume(0)
    }

    /// Goes on from the checksum of what came before.
    pub fn resume(checksum: u64) -> Crc64 {
        Crc64(CrcDigest::new_with_init_state(CrcAlgorithm::Crc64Redis, checksum))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64::new()
    }
}

/// The CRC-64 of `bytes`, going on from `init`: 0 to begin, or the checksum of what came before.
pub fn crc64(init: u64, bytes: &[u8]) -> u64 {
    let mut crc = Crc64::resume(init);
    crc.update(bytes);
    crc.value()
}

/// How many slots a cluster divides its keys into.
pub const SLOTS: u16 = 16384;

/// The cluster slot of a key, `0..SLOTS`.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// The part of a key that decides its slot: what is between the first `{` and the next `}` unless that is empty,
/// else the whole key.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let inner = &key[open + 1..];
    match memchr::memchr(b'}', inner) {
        Some(len) if len > 0 => &inner[..len],
        _ => key,
    }
}

/// Whether a key has a `{`, without which it has no tag. Most keys are some words long: a call for them costs more than the
/// search.
#[inline]
pub fn may_have_tag(key: &[u8]) -> bool {
    // The high bit of each byte of a word that is `{`; behind the first of them others may be set too.
    let found = |word: &[u8; 8]| {
        let differs = u64::from_le_bytes(*word) ^ BRACES;
        differs.wrapping_sub(ONES) & !differs & HIGH_BITS
    };
    match (key.len(), key.last_chunk()) {
        (..=SHORT_KEY_MAX, Some(last)) => {
            key.as_chunks().0.iter().fold(found(last), |any, word| any | found(word)) != 0
        }
        (..=SHORT_KEY_MAX, None) => key.contains(&b'{'),
        _ => memchr::memchr(b'{', key).is_some(),
    }
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;
const BRACES: u64 = ONES * b'{' as u64;
const SHORT_KEY_MAX: usize = 64;

/// SHA-1 in 40 lowercase hexadecimal digits: the name of a script.
pub fn sha1_hex(bytes: &[u8]) -> String {
    hex(&Sha1::digest(bytes))
}

/// SHA-256 as it is.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 in 64 lowercase hexadecimal digits: how ACLs keep passwords.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// XXH3 of 64 bits, seed 0: the digest of DIGEST, IFDEQ and IFDNE.
pub fn xxh3_64(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|nibble| DIGITS[usize::from(nibble)] as char).collect()
}

const CRC16: [u16; 256] = crc16_table();

/// CRC-16/XMODEM: polynomial 0x1021, most significant bit first.
const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_brace_is_found_wherever_it_stands(
            key in prop::collection::vec(prop_oneof![9 => any::<u8>(), 1 => b'y'..=b'}'], 0..100),
        ) {
            prop_assert_eq!(may_have_tag(&key), key.contains(&b'{'));
        }
    }

    #[test]
    fn check_values_are_the_published_ones() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(sha1_hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn a_dump_payload_ends_with_its_checksum() {
        // DUMP of the string "hello" on 7.0.15: type, length, bytes, version 10, CRC-64.
        let payload = b"\x00\x05hello\x0a\x00cr\xdfve4 \n";
        let (body, sum) = payload.split_at(payload.len() - 8);
        assert_eq!(crc64(0, body).to_le_bytes(), sum);
    }

    #[test]
    fn slots_are_those_a_real_server_names() {
        let cases: [(&[u8], u16); 9] = [
            (b"", 0),
            (b"foo", 12182),
            (b"foo{", 7673),
            (b"{foo}bar", 12182),
            (b"a{foo}{bar}", 12182),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"}{foo}", 12182),
            (b"user:{1000}:x", 11326),
        ];
        for (key, slot) in cases {
            assert_eq!(key_slot(key), slot, "{}", key.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn pieces_give_the_checksum_of_the_whole(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc64(crc64(0, left), right), crc64(0, &bytes));
            let mut crc = Crc64::new();
            crc.update(left);
            crc.update(right);
            prop_assert_eq!(crc.value(), crc64(0, &bytes));
        }
    }
}
