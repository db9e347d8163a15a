//! The load harness's own tests: the harness is a bench without a test runner, so its modules are compiled here again.

#![allow(dead_code)]

#[path = "../benches/load/cpu.rs"]
mod cpu;
#[path = "../benches/load/generator.rs"]
mod generator;
#[path = "../benches/load/keys.rs"]
mod keys;
#[path = "../benches/load/machine.rs"]
mod machine;
#[path = "../benches/load/open.rs"]
mod open;
#[path = "../benches/load/peers.rs"]
mod peers;
#[path = "../benches/load/presets.rs"]
mod presets;
#[path = "../benches/load/replies.rs"]
mod replies;
#[path = "../benches/load/report.rs"]
mod report;
#[path = "../benches/load/request.rs"]
mod request;
#[path = "../benches/load/summary.rs"]
mod summary;
