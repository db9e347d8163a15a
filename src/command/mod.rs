//! What a command is: a row of data and a handler; and the one way to run it.
//!
//! A row says everything about a command that others need to know: COMMAND and COMMAND DOCS, arity, locking, routing,
//! ACL, statistics and the README read it. [`call`] runs rows for sockets, EXEC, scripts, the log and replicas alike.
//! Not here: any single command. They live in `commands`, one file per family, as plain `const` rows.

pub mod args;
pub mod call;
pub mod categories;
pub mod ctx;
pub mod draws;
pub mod effects;
pub mod error;
pub mod gates;
pub mod hints;
pub mod keys;
pub mod line;
mod monitor_line;
pub mod permission;
pub mod registry;
pub mod room;
mod run;
pub mod scanning;
pub mod scripts;
pub mod session;
pub mod slots;
mod stray;
pub mod syntax;
pub mod turn;
pub mod unit;
pub mod waiting;

pub use args::Args;
pub use ctx::Ctx;
pub use draws::Draws;
pub use error::Error;
pub use keys::Keys;
pub use registry::Registry;
pub use scanning::Scan;
pub use session::Session;
pub use waiting::{Awaits, Patience, Wait};

/// A handler's result; its reply is in the buffer already. `Err` rewinds the reply and answers the error.
pub type Outcome = Result<(), Error>;

pub type Handler = fn(&mut Ctx<'_, '_>) -> Outcome;

/// One command, or one subcommand (`"CONFIG GET"`), or a container of subcommands.
pub struct Command {
    /// Upper case; a subcommand has its container's name in front.
    pub name: &'static str,
    /// The syntax behind the name, in the notation of [`syntax`].
    pub args: &'static str,
    /// Number of arguments including the name; negative: the least number.
    pub arity: i32,
    pub since: &'static str,
    pub group: Group,
    pub flags: Flags,
    pub keys: Keys,
    /// One sentence on what it does and, where it matters, what it costs.
    pub doc: &'static str,
    /// A transcript: documentation, test, and comparison with a real server.
    pub examples: &'static str,
    pub run: Handler,
}

/// Properties of a command; one bit each.
pub type Flags = u64;

/// Properties that COMMAND INFO shows, with their names there and in its order.
pub const SHOWN_FLAGS: [(Flags, &str); 20] = [
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENYOOM, "denyoom"),
    (MODULE, "module"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (ASKING, "asking"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (NO_ASYNC_LOADING, "no_async_loading"),
    (NO_MULTI, "no_multi"),
    (MOVABLE_KEYS, "movablekeys"),
    (ALLOW_BUSY, "allow_busy"),
];

pub const WRITE: Flags = 1;
pub const READONLY: Flags = 1 << 1;
pub const DENYOOM: Flags = 1 << 2;
pub const MODULE: Flags = 1 << 3;
pub const ADMIN: Flags = 1 << 4;
pub const PUBSUB: Flags = 1 << 5;
pub const NOSCRIPT: Flags = 1 << 6;
pub const BLOCKING: Flags = 1 << 7;
pub const LOADING: Flags = 1 << 8;
pub const STALE: Flags = 1 << 9;
pub const SKIP_MONITOR: Flags = 1 << 10;
pub const SKIP_SLOWLOG: Flags = 1 << 11;
pub const ASKING: Flags = 1 << 12;
pub const FAST: Flags = 1 << 13;
pub const NO_AUTH: Flags = 1 << 14;
pub const MAY_REPLICATE: Flags = 1 << 15;
pub const MOVABLE_KEYS: Flags = 1 << 16;
pub const NO_MANDATORY_KEYS: Flags = 1 << 17;
pub const NO_ASYNC_LOADING: Flags = 1 << 18;
pub const NO_MULTI: Flags = 1 << 19;
pub const ALLOW_BUSY: Flags = 1 << 20;
/// `@dangerous` beyond what ADMIN implies.
pub const DANGEROUS: Flags = 1 << 40;
/// Inside MULTI it runs at once in place of being queued.
pub const NO_QUEUE: Flags = 1 << 41;
/// Owns the world: runs with the gate taken exclusively.
pub const WORLD: Flags = 1 << 42;
/// Walks the keyspace stripe by stripe; inside EXEC it needs the world.
pub const WALK: Flags = 1 << 43;
/// Runs the session's queue: locks the keys of everything queued, and of what is watched.
pub const RUNS_QUEUE: Flags = 1 << 44;
/// Has subcommands and does nothing by itself.
pub const CONTAINER: Flags = 1 << 45;
/// A `sentinel`-only or internal row that COMMAND does not list.
pub const HIDDEN: Flags = 1 << 46;
/// DEBUG: allowed only as `enable-debug-command` says.
pub const PROTECTED: Flags = 1 << 47;

/// In the ACL category `@keyspace` although its group does not say so.
pub const IN_KEYSPACE: Flags = 1 << 48;
/// In the ACL category `@connection` although its group does not say so.
pub const IN_CONNECTION: Flags = 1 << 49;
/// In the ACL category `@admin` without being flagged `admin`.
pub const IN_ADMIN: Flags = 1 << 50;
/// SORT and SORT_RO: a `*` in their arguments reaches keys that these do not name, for which they own the world. Their
/// ACL categories are those of what they sort.
pub const PATTERNS: Flags = 1 << 51;
/// Answers whether all is well: refused like a write when the disk fails.
pub const TELLS_HEALTH: Flags = 1 << 52;
/// Runs a script: what it touches is known only while it runs.
pub const RUNS_SCRIPT: Flags = 1 << 54;

/// May run while the connection listens in RESP2: the subscribing commands, PING, QUIT, RESET.
pub const WHILE_SUBSCRIBED: Flags = 1 << 53;

/// Its first argument is a channel that it sends to; all its arguments are channels, or patterns of channels, that it
/// subscribes to: what ACL rules for channels are about.
pub const TO_CHANNEL: Flags = 1 << 57;
pub const FROM_CHANNELS: Flags = 1 << 58;
pub const FROM_PATTERNS: Flags = 1 << 59;

/// What no plain command is: these ask for more than their own key's lock, or change what the gates look at.
pub const PLAIN_WITHOUT: Flags =
    ADMIN | PROTECTED | NO_AUTH | NO_QUEUE | NO_MULTI | WORLD | PATTERNS | WALK | RUNS_QUEUE | RUNS_SCRIPT | CONTAINER;
/// What stands in logs and in MONITOR for a secret.
const REDACTED: &[u8] = b"(redacted)";

/// The handler of a container: it never runs, because its arity asks for a subcommand and those have their own rows.
pub fn container(ctx: &mut Ctx<'_, '_>) -> Outcome {
    Err(error::wrong_arity(&ctx.row.command.full_name()))
}

/// A command's family, as COMMAND DOCS names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Bitmap,
    HyperLogLog,
    Geo,
    Stream,
    PubSub,
    Scripting,
    Transactions,
    Connection,
    Server,
    Cluster,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::Bitmap => "bitmap",
            Self::HyperLogLog => "hyperloglog",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::PubSub => "pubsub",
            Self::Scripting => "scripting",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Cluster => "cluster",
        }
    }
}

impl Command {
    #[inline]
    pub fn has(&self, flag: Flags) -> bool {
        self.flags & flag != 0
    }

    /// `config|get`: the name in lower case as error texts, statistics and ACL write it.
    pub fn full_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "|")
    }

    #[inline]
    pub fn accepts(&self, argc: usize) -> bool {
        match usize::try_from(self.arity) {
            Ok(exact) => argc == exact,
            Err(_) => argc >= self.arity.unsigned_abs() as usize,
        }
    }
}
