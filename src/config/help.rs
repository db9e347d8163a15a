//! Help, manual page and shell completions, all from one clap command that is generated from the table of directives.
//!
//! clap does not read the command line, whose grammar is redis-server's ([`cli`](super::cli)); it only describes it.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command};

use super::param::{HIDDEN, MULTI_ARG, Param, ParamKind, UNSUPPORTED, Unit};
use super::table::SECTIONS;

/// The shells that have completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub const NAMES: [&'static str; 3] = ["bash", "zsh", "fish"];

    /// The one argument of `--completions`.
    pub(super) fn parse(args: &[Vec<u8>]) -> Option<Shell> {
        match args {
            [name] => match name.as_slice() {
                b"bash" => Some(Shell::Bash),
                b"zsh" => Some(Shell::Zsh),
                b"fish" => Some(Shell::Fish),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The help: `-h` without the directives, `--help` with them.
pub fn help(short: bool) -> String {
    let mut command = command();
    let text = if short { command.render_help() } else { command.render_long_help() };
    text.to_string()
}

/// The manual page, in roff.
pub fn man() -> Vec<u8> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).render(&mut page).expect("writing into memory does not fail");
    page
}

/// The completions of a shell, to be sourced or installed.
pub fn completions(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut script);
    script
}

const NAME: &str = "memkv-server";

const USAGE: &str = "memkv-server [/path/to/redis.conf] [--directive value ...] [-]
       memkv-server - (read config from stdin)
       memkv-server -v or --version
       memkv-server -h or --help
       memkv-server --man
       memkv-server --completions <bash|zsh|fish>
       memkv-server --print-examples
       memkv-server --sample-conf
       memkv-server --test-memory <megabytes>
       memkv-server --check-system";

const EXAMPLES: &str = "Every directive of the configuration file is an option too, and options win over the file.

Examples:
  memkv-server
  echo 'maxmemory 128mb' | memkv-server -
  memkv-server /etc/redis/redis.conf
  memkv-server --port 7777 --save \"\" --appendonly yes
  memkv-server /etc/redis/redis.conf --loglevel verbose";

/// The description of the command line.
fn command() -> Command {
    let mut command = Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Redis drop-in server for real-time machine learning")
        .override_usage(USAGE)
        .after_help(EXAMPLES)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("file").help("Configuration file, or - for standard input"))
        .arg(word("help", "Print this help; -h without the directives").short('h'))
        .arg(word("version", "Print the version").short('v'))
        .arg(word("man", "Print the manual page"))
        .arg(word("print-examples", "Print the examples of all commands, as transcripts"))
        .arg(word("sample-conf", "Print a configuration file with every directive"))
        .arg(word("check-system", "Test the system for known problems"))
        .arg(Arg::new("test-memory").long("test-memory").value_name("megabytes").help("Test the memory"))
        .arg(
            Arg::new("completions")
                .long("completions")
                .value_parser(PossibleValuesParser::new(Shell::NAMES))
                .help("Print the completions of a shell"),
        );
    for section in &SECTIONS {
        for param in section.rows.iter().filter(|p| !p.has(HIDDEN)) {
            command = command.arg(option(param).help_heading(section.title));
        }
    }
    command
}

fn word(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn option(param: &'static Param) -> Arg {
    let arg = Arg::new(param.name).long(param.name).hide_short_help(true);
    let arg = match param.kind {
        ParamKind::Flag(_) => arg.value_parser(PossibleValuesParser::new(["yes", "no"])),
        ParamKind::Choice(choice) => arg.value_parser(PossibleValuesParser::new(choice.names)),
        _ => arg.value_name(placeholder(param)),
    };
    let arg = if param.has(MULTI_ARG) { arg.num_args(1..) } else { arg };
    let effect = if param.has(UNSUPPORTED) { " Accepted without effect." } else { "" };
    let default = if param.default.is_empty() { "\"\"" } else { param.default };
    // The page takes the long help of what the short one hides.
    arg.long_help(format!("{}{effect} [default: {default}]", param.doc))
}

/// What kind of value a directive takes, in a word or two.
fn placeholder(param: &Param) -> &'static str {
    match param.kind {
        ParamKind::Flag(_) => "yes|no",
        ParamKind::Number(n) => match n.unit {
            Unit::Plain => "number",
            Unit::Memory => "bytes",
            Unit::Octal => "mode",
        },
        ParamKind::Share(_) => "bytes|percent%",
        ParamKind::Choice(_) => "word",
        ParamKind::Shutdown(_) => "default|save|nosave|now|force ...",
        ParamKind::Text(_) => "text",
        ParamKind::Secret(_) => "secret",
        ParamKind::Special(special) => special.syntax,
    }
}

/// The values a directive takes.
pub(super) fn syntax(param: &Param) -> String {
    match param.kind {
        ParamKind::Choice(choice) => choice.names.join("|"),
        _ => placeholder(param).to_owned(),
    }
}
