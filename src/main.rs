//! The server's binary: reads the command line and does what it asks.

use memkv::boot;
use memkv::config::cli::{self, Action};
use memkv::config::help;
use std::os::unix::ffi::OsStringExt;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let args: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    let code = match cli::parse(&args) {
        Action::Serve(startup) => serve(&startup),
        Action::Version => print(&format!("{}\n", cli::version_line())),
        Action::Help { short } => print(&help::help(short)),
        Action::Man => print(&String::from_utf8_lossy(&help::man())),
        Action::Completions(shell) => print(&String::from_utf8_lossy(&help::completions(shell))),
        Action::TestMemory { .. } | Action::CheckSystem => {
            complain("Not available: use memtester, or redis-server --check-system.")
        }
        Action::Complain(text) => complain(&text),
    };
    std::process::exit(code);
}

fn serve(startup: &cli::Startup) -> i32 {
    let config = match boot::configure(startup) {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string()),
    };
    match boot::run(startup, config) {
        Ok(code) => code,
        Err(error) => complain(&format!("memkv could not start: {error}")),
    }
}

fn print(text: &str) -> i32 {
    print!("{text}");
    0
}

fn complain(text: &str) -> i32 {
    eprintln!("{text}");
    1
}
