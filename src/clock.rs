//! clock (to be replaced).
pub type Millis = i64;
pub fn now_ms() -> i64 { std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64) }
pub fn ticks() -> u64 { std::time::Instant::now().duration_since(*BASE.get_or_init(std::time::Instant::now)).as_nanos() as u64 }
pub fn ticks_to_ns(t: u64) -> u64 { t }
static BASE: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
