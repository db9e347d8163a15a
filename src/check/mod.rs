//! redis-check-aof and redis-check-rdb: is a file sound, and can it be mended? Redis's options, words and exit codes.
//!
//! The server's binary under a tool's name is that tool, as with Redis: scripts, packages and the official suite call
//! them by a path. A link is enough (`make release` makes two); a binary of their own would be the server once more.
//! Files are read as they stream by, so a log of any size is checked in little memory.
//!
//! Where we leave Redis: the first line that is no comment decides whether a file is a manifest (Redis takes any log
//! for one that has a line beginning with `file`, a key's name for instance), and the words on what is wrong inside
//! a value are ours, because Redis's name lines of its source.

mod aof;
mod rdb;

use crate::log;
use std::fmt;
use std::io::{self, Read, Write};

/// Which tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Aof,
    Rdb,
}

/// The tool that a program's name asks for, if any.
pub fn tool(program: &[u8]) -> Option<Tool> {
    let name = program.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let has = |text: &str| memchr::memmem::find(name, text.as_bytes()).is_some();
    match (has("check-aof"), has("check-rdb")) {
        (_, true) => Some(Tool::Rdb),
        (true, false) => Some(Tool::Aof),
        (false, false) => None,
    }
}

/// Runs a tool on the command line's words, the program's name first. Returns the exit code.
pub fn run(tool: Tool, args: &[Vec<u8>]) -> i32 {
    let (subscriber, _) = log::subscriber(log::Level::Notice, io::stdout);
    let _ = tracing::subscriber::set_global_default(subscriber);
    let (mut out, mut answers) = (io::stdout(), io::stdin());
    let mut console = Console { out: &mut out, answers: &mut answers };
    let ended = match tool {
        Tool::Aof => aof::main(&mut console, args),
        Tool::Rdb => rdb::main(&mut console, args),
    };
    match ended {
        Ok(()) => 0,
        Err(Stop) => 1,
    }
}

/// The check is over, and not well; why has been said.
#[derive(Debug)]
struct Stop;

/// Who asks for the check.
struct Console<'a> {
    out: &'a mut dyn Write,
    answers: &'a mut dyn Read,
}

impl Console<'_> {
    /// Says a line. If the output is closed, the check goes on.
    fn say(&mut self, line: fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Says a line that quotes a file's bytes, as C prints a text: up to the first NUL.
    fn say_bytes(&mut self, before: &str, bytes: &[u8], after: &str) {
        let _ = self.out.write_all(&[before.as_bytes(), until_nul(bytes), after.as_bytes(), b"\n"].concat());
    }

    /// Says a last line.
    fn stop<T>(&mut self, line: fmt::Arguments<'_>) -> Result<T, Stop> {
        self.say(line);
        Err(Stop)
    }

    /// Whether the answer begins with a yes.
    fn confirms(&mut self) -> bool {
        let _ = self.out.write_all(b"Continue? [y/N]: ");
        let _ = self.out.flush();
        let mut answer = [0];
        self.answers.read_exact(&mut answer).is_ok_and(|()| answer[0].eq_ignore_ascii_case(&b'y'))
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

#[cfg(test)]
fn spoken(answers: &str, run: impl FnOnce(&mut Console<'_>) -> Result<(), Stop>) -> (String, bool) {
    let (mut out, mut answers) = (Vec::new(), answers.as_bytes());
    let ended = run(&mut Console { out: &mut out, answers: &mut answers });
    (String::from_utf8_lossy(&out).into_owned(), ended.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_decides() {
        assert_eq!(tool(b"/usr/bin/redis-check-aof"), Some(Tool::Aof));
        assert_eq!(tool(b"memkv-check-rdb"), Some(Tool::Rdb));
        for server in [&b"redis-server"[..], b"/opt/redis-check-aof/bin/memkv-server", b""] {
            assert_eq!(tool(server), None);
        }
    }
}
