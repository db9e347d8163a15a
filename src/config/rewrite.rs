//! CONFIG REWRITE.

/// A line of the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: Vec<u8>,
    pub forced: bool,
}

impl Line {
    pub fn forced(text: impl Into<Vec<u8>>) -> Line {
        Line { text: text.into(), forced: true }
    }
}

pub(super) fn memory_text(bytes: i128) -> String {
    for (unit, name) in [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes % unit == 0 {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}
