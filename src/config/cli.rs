//! The command line, in redis-server's grammar.
//!
//! `memkv-server [file] [--directive value ...] [-]`: a first argument that does not begin with `-` is the configuration
//! file; `-` as the first or last one adds standard input; everything else becomes lines that are read after the file,
//! so `--port 6380` is the line `port "6380"`. The grammar has corners, all kept because scripts rely on them:
//! the word after `--directive` is its value even if it begins with `--`; `"--port 6380"` in one argument is a whole
//! line; `--save` without a value means `--save ""`; words before any `--directive` make a line of their own.
//!
//! What is not a start of the server (`--version`, `--help`, `--man`, `--completions`, `--sample-conf`, `--print-examples`,
//! `--test-memory`, `--check-system`) counts only as the first argument. Arguments are bytes, as the kernel gives them.
//!
//! Not here: help, man page and completions themselves ([`help`](super::help)), and acting on any of it.

use super::choices::CompatibilityLevel;
use super::help::Shell;
use crate::quote::{quoted, split_args};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the server.
    Serve(Startup),
    /// Print [`version_line`].
    Version,
    /// Print the help: the short one for `-h`.
    Help { short: bool },
    /// Print the manual page.
    Man,
    /// Print [`sample_conf`](super::sample::sample_conf).
    SampleConf,
    /// Print the completions of a shell.
    Completions(Shell),
    /// Test memory of this many megabytes, as `--test-memory` does.
    TestMemory { megabytes: u64 },
    /// Test the system, as `--check-system` does.
    CheckSystem,
    /// Print every command's examples, for tools that compare them with a real server.
    Examples,
    /// Print this on stderr and exit with 1.
    Complain(String),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// The configuration file, as it was given.
    pub file: Option<Vec<u8>>,
    /// Whether standard input is part of the configuration.
    pub stdin: bool,
    /// Lines made of the options; `None` if there was no argument at all.
    pub options: Option<Vec<u8>>,
}

impl Startup {
    /// The text to load: the file, then standard input, then the options.
    pub fn text(&self, file: &[u8], stdin: &[u8]) -> Vec<u8> {
        match &self.options {
            Some(options) => [file, stdin, b"\n", options].concat(),
            None => [file, stdin].concat(),
        }
    }
}

/// Sentinel is a server of its own.
pub const NO_SENTINEL: &str = "Sentinel mode is not supported: run redis-sentinel, it can watch this server";

const NEEDS_MEGABYTES: &str =
    "Please specify the amount of memory to test in megabytes.\nExample: memkv-server --test-memory 4096\n";

/// Reads the arguments after the program's name.
pub fn parse(args: &[Vec<u8>]) -> Action {
    if args.iter().any(|arg| arg == b"--sentinel") {
        return Action::Complain(NO_SENTINEL.to_owned());
    }
    let Some((first, rest)) = args.split_first() else {
        return Action::Serve(Startup::default());
    };
    match first.as_slice() {
        b"-v" | b"--version" => Action::Version,
        b"-h" => Action::Help { short: true },
        b"--help" => Action::Help { short: false },
        b"--man" => Action::Man,
        b"--sample-conf" => Action::SampleConf,
        b"--completions" => match Shell::parse(rest) {
            Some(shell) => Action::Completions(shell),
            None => Action::Complain(format!("Please name a shell: {}", Shell::NAMES.join(", "))),
        },
        b"--test-memory" => match rest {
            [megabytes] => Action::TestMemory { megabytes: leading_number(megabytes) },
            _ => Action::Complain(NEEDS_MEGABYTES.to_owned()),
        },
        b"--check-system" => Action::CheckSystem,
        b"--print-examples" => Action::Examples,
        _ => Action::Serve(startup(args)),
    }
}

fn startup(args: &[Vec<u8>]) -> Startup {
    let mut startup = Startup { options: Some(Vec::new()), ..Startup::default() };
    let mut lines = Vec::new();
    let mut start = 0;
    if let Some(file) = args.first().filter(|arg| arg.first() != Some(&b'-')) {
        startup.file = Some(file.clone());
        start = 1;
    }
    // Whether the last directive has a value, so that `--` may begin the next one.
    let mut complete = true;
    for (i, arg) in args.iter().enumerate().skip(start) {
        let next = args.get(i + 1);
        if arg == b"-" && (i == 0 || next.is_none()) {
            startup.stdin = true;
        } else if complete && arg.starts_with(b"--") {
            if !lines.is_empty() {
                lines.push(b'\n');
            }
            lines.extend([&arg[2..], b" "].concat());
            complete = split_args(arg).map_or(0, |words| words.len()) != 1;
            let no_value = next.is_none_or(|next| next.starts_with(b"--"));
            if !complete && no_value && arg.eq_ignore_ascii_case(b"--save") {
                lines.extend(b"\"\"");
                complete = true;
            }
        } else {
            lines.extend(quoted(arg));
            lines.push(b' ');
            complete = true;
        }
    }
    startup.options = Some(lines);
    startup
}

/// What C's `atoi` makes of it.
fn leading_number(text: &[u8]) -> u64 {
    let digits: String = text.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
    digits.parse().unwrap_or_default()
}

/// What `--version` prints: clients' tools and test suites read the version of Redis from it, in Redis's own form.
pub fn version_line() -> String {
    let redis = CompatibilityLevel::default().redis_version();
    let dirty = u8::from(is_dirty());
    format!(
        "Redis server v={redis} sha={COMMIT}:{dirty} malloc={MALLOC} bits=64 build={:016x} memkv={VERSION}",
        build_id()
    )
}

/// memkv's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, as the Makefile says it; zeros in a build by hand.
pub const COMMIT: &str = match option_env!("MEMKV_COMMIT") {
    Some(commit) => commit,
    None => "00000000",
};

/// Whether the tree held changes that are in no commit.
pub fn is_dirty() -> bool {
    option_env!("MEMKV_DIRTY") == Some("1")
}

/// The allocator that is linked in.
pub const MALLOC: &str = "jemalloc-5.3.1";

/// Tells builds apart: a hash (FNV-1a) of version, commit, profile and target.
pub fn build_id() -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let dirty = option_env!("MEMKV_DIRTY").unwrap_or_default();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let features = if cfg!(target_feature = "avx2") { "v3" } else { "baseline" };
    let parts = [env!("CARGO_PKG_NAME"), VERSION, COMMIT, dirty, profile, features, arch, os];
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
