//! memory (to be replaced).
pub fn used() -> u64 {
    0
}
