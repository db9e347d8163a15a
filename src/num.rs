//! num (to be replaced).
pub fn push_i64(out: &mut Vec<u8>, n: i64) { out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()); }
pub fn push_u64(out: &mut Vec<u8>, n: u64) { out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()); }
pub fn push_f64(out: &mut Vec<u8>, n: f64) { out.extend_from_slice(format!("{n}").as_bytes()); }
pub fn parse_i64(b: &[u8]) -> Option<i64> { std::str::from_utf8(b).ok()?.parse().ok() }
pub fn parse_f64(b: &[u8]) -> Option<f64> { std::str::from_utf8(b).ok()?.parse().ok() }
