//! Classes of keyspace events, as `notify-keyspace-events` spells them: one letter per class.
//!
//! `A` stands for all classes but key misses (`m`) and new keys (`n`). Redis prints `An` as `A`; CONFIG GET here does
//! so too, but CONFIG REWRITE writes what reads back. The bits are our own; nothing on disk or on the wire depends on
//! them.

/// A set of event classes and of the channels (`K` keyspace, `E` keyevent) they go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(pub u32);

impl KeyspaceEvents {
    pub const GENERIC: u32 = 1;
    pub const STRING: u32 = 1 << 1;
    pub const LIST: u32 = 1 << 2;
    pub const SET: u32 = 1 << 3;
    pub const HASH: u32 = 1 << 4;
    pub const ZSET: u32 = 1 << 5;
    pub const EXPIRED: u32 = 1 << 6;
    pub const EVICTED: u32 = 1 << 7;
    pub const STREAM: u32 = 1 << 8;
    pub const MODULE: u32 = 1 << 9;
    pub const NEW: u32 = 1 << 10;
    pub const KEYSPACE: u32 = 1 << 11;
    pub const KEYEVENT: u32 = 1 << 12;
    pub const MISS: u32 = 1 << 13;
    pub const ALL: u32 = (1 << 10) - 1;

    pub const fn has(self, class: u32) -> bool {
        self.0 & class != 0
    }

    /// `None` if a letter stands for no class.
    pub fn parse(letters: &[u8]) -> Option<KeyspaceEvents> {
        let mut bits = 0;
        for letter in letters {
            bits |= match letter {
                b'A' => KeyspaceEvents::ALL,
                letter => LETTERS.iter().find(|(l, _)| l == letter)?.1,
            };
        }
        Some(KeyspaceEvents(bits))
    }

    /// The letters as CONFIG GET prints them.
    pub fn letters(self) -> String {
        let all = self.0 & KeyspaceEvents::ALL == KeyspaceEvents::ALL;
        let rest = if all { self.0 & !KeyspaceEvents::NEW } else { self.0 };
        KeyspaceEvents(rest).letters_to_read()
    }

    /// Letters that parse to the same set.
    pub fn letters_to_read(self) -> String {
        let all = self.0 & KeyspaceEvents::ALL == KeyspaceEvents::ALL;
        let rest = if all { self.0 & !KeyspaceEvents::ALL } else { self.0 };
        let classes = LETTERS.iter().filter(|(_, bit)| rest & bit != 0);
        all.then_some('A').into_iter().chain(classes.map(|(letter, _)| char::from(*letter))).collect()
    }
}

/// In the order in which they are printed.
const LETTERS: [(u8, u32); 14] = [
    (b'g', KeyspaceEvents::GENERIC),
    (b'$', KeyspaceEvents::STRING),
    (b'l', KeyspaceEvents::LIST),
    (b's', KeyspaceEvents::SET),
    (b'h', KeyspaceEvents::HASH),
    (b'z', KeyspaceEvents::ZSET),
    (b'x', KeyspaceEvents::EXPIRED),
    (b'e', KeyspaceEvents::EVICTED),
    (b't', KeyspaceEvents::STREAM),
    (b'd', KeyspaceEvents::MODULE),
    (b'n', KeyspaceEvents::NEW),
    (b'K', KeyspaceEvents::KEYSPACE),
    (b'E', KeyspaceEvents::KEYEVENT),
    (b'm', KeyspaceEvents::MISS),
];
