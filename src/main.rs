//! The server's binary: reads the command line and does what it asks. Under the name of a tool it is that tool.

use memkv::boot;
use memkv::check;
use memkv::config::cli::{self, Action};
use memkv::config::{help, sample};
use memkv::process::{crash, machine};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

#[global_allocator]
static ALLOCATOR: memkv::memory::Counting = memkv::memory::Counting;

fn main() {
    crash::remember_start();
    let words: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    if let Some(tool) = words.first().and_then(|program| check::tool(program)) {
        std::process::exit(check::run(tool, &words));
    }
    let code = match cli::parse(words.get(1..).unwrap_or_default()) {
        Action::Serve(startup) => serve(startup),
        Action::Version => print(&format!("{}\n", cli::version_line())),
        Action::Help { short } => print(&help::help(short)),
        Action::Man => print(&String::from_utf8_lossy(&help::man())),
        Action::SampleConf => print(&sample::sample_conf()),
        Action::Completions(shell) => print(&String::from_utf8_lossy(&help::completions(shell))),
        Action::Examples => print(&memkv::commands::examples()),
        Action::TestMemory { megabytes } => machine::test_memory(megabytes),
        Action::CheckSystem => machine::check_system(),
        Action::Complain(text) => complain(&text),
    };
    std::process::exit(code);
}

fn serve(mut startup: cli::Startup) -> i32 {
    // The configuration may change the directory; the file must be found again by CONFIG REWRITE.
    let absolute = |file: &Vec<u8>| std::path::absolute(OsStr::from_bytes(file)).ok();
    if let Some(path) = startup.file.as_ref().and_then(absolute) {
        startup.file = Some(path.into_os_string().into_vec());
    }
    let (config, registry, users) = match boot::configure(&startup) {
        Ok(configured) => configured,
        Err(error) => return complain(&error.to_string()),
    };
    match boot::run(&startup, config, registry, users) {
        Ok(code) => {
            crash::restart_if_asked();
            code
        }
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
