//! Encodings of old snapshot files, for reading only: ziplists (Redis up to 6.2) and zipmaps (up to 2.4).
//!
//! Both come from outside: every length is checked against what is there, and against its twin where there is one.

use super::text::Text;

/// The entries of a ziplist; `None` if it is damaged.
///
/// `total 4 LE | offset of the last 4 LE | count 2 LE | entries | 0xFF`, an entry being the length of the one before it
/// (1 byte, or 0xFE and 4), an encoding, and data.
pub fn ziplist(bytes: &[u8]) -> Option<Vec<Text<'_>>> {
    let end = bytes.len().checked_sub(1)?;
    if end < ZIPLIST_HEADER || bytes[end] != END || u32_at(bytes, 0)? != bytes.len() {
        return None;
    }
    let (tail, count) = (u32_at(bytes, 4)?, u16::from_le_bytes([bytes[8], bytes[9]]));
    let (mut at, mut last, mut before, mut entries) = (ZIPLIST_HEADER, ZIPLIST_HEADER, 0, Vec::new());
    while at < end {
        let entry = &bytes[at..end];
        let (previous, header) = match *entry.first()? {
            LONG => (u32_at(entry, 1)?, 5),
            short => (short as usize, 1),
        };
        if previous != before {
            return None;
        }
        let (text, size) = ziplist_entry(&entry[header..])?;
        entries.push(text);
        (last, before) = (at, header + size);
        at += before;
    }
    let counted = count == u16::MAX || usize::from(count) == entries.len();
    (at == end && counted && tail == last).then_some(entries)
}

fn ziplist_entry(entry: &[u8]) -> Option<(Text<'_>, usize)> {
    let first = *entry.first()?;
    let text =
        |header: usize, len: usize| Some((Text::Bytes(entry.get(header..header.checked_add(len)?)?), header + len));
    let int = |n: usize| {
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(entry.get(1..=n)?);
        let unused = 64 - 8 * n as u32;
        Some((Text::Int(i64::from_le_bytes(bytes) << unused >> unused), n + 1))
    };
    match first {
        0x00..=0x3f => text(1, first as usize),
        0x40..=0x7f => text(2, ((first & 0x3f) as usize) << 8 | *entry.get(1)? as usize),
        0x80 => text(5, u32::from_be_bytes(entry.get(1..5)?.try_into().ok()?) as usize),
        0xc0 => int(2),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf0 => int(3),
        0xfe => int(1),
        0xf1..=0xfd => Some((Text::Int(i64::from(first) - 0xf1), 1)),
        _ => None,
    }
}

/// The fields and values of a zipmap, one after the other; `None` if it is damaged.
///
/// `count 1 | (field length, field, value length, free 1, value, free bytes) … | 0xFF`
pub fn zipmap(bytes: &[u8]) -> Option<Vec<Text<'_>>> {
    let (mut at, mut texts) = (1, Vec::new());
    while *bytes.get(at)? != END {
        let (field, next) = zipmap_text(bytes, at, false)?;
        let (value, next) = zipmap_text(bytes, next, true)?;
        texts.extend([field, value]);
        at = next;
    }
    let count = usize::from(bytes[0]);
    (at + 1 == bytes.len() && !texts.is_empty() && (count >= LONG as usize || count * 2 == texts.len()))
        .then_some(texts)
}

fn zipmap_text(bytes: &[u8], at: usize, is_value: bool) -> Option<(Text<'_>, usize)> {
    let (len, mut start) = match *bytes.get(at)? {
        // What fits one byte must be written in one: zipmaps are compared and updated by their bytes.
        LONG => (u32_at(bytes, at + 1).filter(|&len| len >= LONG as usize)?, at + 5),
        END => return None,
        short => (short as usize, at + 1),
    };
    let mut free = 0;
    if is_value {
        free = *bytes.get(start)? as usize;
        start += 1;
    }
    let end = start.checked_add(len)?;
    Some((Text::Bytes(bytes.get(start..end)?), end.checked_add(free)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize)
}

const ZIPLIST_HEADER: usize = 10;
const END: u8 = 0xff;
/// A length byte that says that four more follow.
const LONG: u8 = 0xfe;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn old_encodings_are_read() {
        let ziplist_bytes =
            [0x17, 0, 0, 0, 0x12, 0, 0, 0, 3, 0, 0, 3, b'f', b'o', b'o', 5, 0xfe, 0x9c, 3, 0xc0, 0x10, 0x27, 0xff];
        let texts = ziplist(&ziplist_bytes).unwrap();
        assert_eq!(texts, [Text::Bytes(b"foo"), Text::Int(-100), Text::Int(10_000)]);
        let zipmap_bytes = [2, 1, b'a', 2, 0, b'v', b'1', 1, b'b', 1, 2, b'w', 0, 0, 0xff];
        let texts = zipmap(&zipmap_bytes).unwrap();
        let expected = [&b"a"[..], b"v1", b"b", b"w"];
        assert_eq!(texts, expected.map(Text::Bytes));
    }

    proptest! {
        #[test]
        fn damaged_ones_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = zipmap(&bytes);
            if bytes.len() > 4 {
                let total = (bytes.len() as u32).to_le_bytes();
                bytes[..4].copy_from_slice(&total);
                *bytes.last_mut().unwrap() = END;
            }
            let _ = ziplist(&bytes);
        }
    }
}
