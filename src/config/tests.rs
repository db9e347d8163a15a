//! The promises of the table of directives.

use super::*;

#[test]
fn every_default_reads_back() {
    let defaults = Config::default();
    for param in PARAMS {
        let mut config = Config::default();
        param.set(&mut config, &param.get(&defaults)).unwrap_or_else(|e| panic!("{}: {e}", param.name));
        assert_eq!(param.get(&config), param.default.as_bytes(), "{}", param.name);
    }
}
