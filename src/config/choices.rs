//! Directives whose value is one word of a list, as enums.
//!
//! The order of the words is the order in which an error names them. Invariant: `NAMES` and `ALL` run in parallel.

use super::REDIS_VERSION;
use crate::types::Kind;

/// Writes an enum, its words, and the way from one to the other; the first word is the blank value.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            pub const NAMES: &'static [&'static str] = &[$($word),+];
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
        }

        impl Default for $name {
            fn default() -> Self { Self::ALL[0] }
        }
    )+};
}

choices! {
    AppendFsync { Everysec = "everysec", Always = "always", No = "no" }

    /// When a write may be answered.
    AofReplyAfter {
        /// `always` waits for the disk, `everysec` and `no` for the kernel.
        Default = "default",
        /// After fsync.
        Durable = "durable",
        /// After write.
        Written = "written",
        /// At once; a crash may lose the last batch.
        Memory = "memory",
    }

    AclPubsubDefault { Allchannels = "allchannels", Resetchannels = "resetchannels" }

    /// As which Redis the server introduces itself: all that clients tell versions by is decided here.
    CompatibilityLevel { Redis7 = "7.0", Redis8 = "8.2" }

    /// Whose names for encodings OBJECT ENCODING answers.
    EncodingNames {
        /// As `compatibility-level` says.
        Level = "level",
        /// Redis 7.0 knew no listpacks of sets and lists: small ones are a `hashtable` and a `quicklist`.
        Redis7 = "7.0",
        /// What it is.
        Redis8 = "8.2",
    }

    ClusterConfigSaveBehavior { Sync = "sync", BestEffort = "best-effort" }

    ClusterPreferredEndpointType { Ip = "ip", Hostname = "hostname", UnknownEndpoint = "unknown-endpoint" }

    LogFormat { Legacy = "legacy", Logfmt = "logfmt", Json = "json" }

    LogLevel { Debug = "debug", Verbose = "verbose", Notice = "notice", Warning = "warning" }

    LogTimestampFormat { Legacy = "legacy", Iso8601 = "iso8601", Milliseconds = "milliseconds" }

    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        VolatileLrm = "volatile-lrm",
        AllkeysLrm = "allkeys-lrm",
        Noeviction = "noeviction",
    }

    PropagationErrorBehavior { Ignore = "ignore", Panic = "panic", PanicOnReplicas = "panic-on-replicas" }

    /// Who may do something dangerous.
    ProtectedAction { No = "no", Yes = "yes", Local = "local" }

    RdbVersionCheck { Strict = "strict", Relaxed = "relaxed" }

    /// How a full sync is loaded.
    ReplDisklessLoad {
        /// From a file, which is received first.
        Disabled = "disabled",
        /// From the connection if there is no data, else from a file.
        OnEmptyDb = "on-empty-db",
        /// From the connection, aside of the data, whose place it takes when it is whole.
        Swapdb = "swapdb",
        /// From the connection; the data goes first (Valkey).
        FlushBeforeLoad = "flush-before-load",
    }

    SanitizeDumpPayload { No = "no", Yes = "yes", Clients = "clients" }

    Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no" }

    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }

    TlsAuthClients { No = "no", Yes = "yes", Optional = "optional" }

    TlsAuthClientsUser { Cn = "CN", Uri = "URI", Off = "off" }
}

impl CompatibilityLevel {
    /// What INFO and HELLO give as `redis_version`.
    pub fn redis_version(self) -> &'static str {
        match self {
            Self::Redis7 => REDIS_VERSION,
            Self::Redis8 => "8.2.3",
        }
    }

    fn encoding_names(self) -> EncodingNames {
        match self {
            Self::Redis7 => EncodingNames::Redis7,
            Self::Redis8 => EncodingNames::Redis8,
        }
    }
}

impl EncodingNames {
    /// The name of a value's encoding.
    pub fn shown(self, level: CompatibilityLevel, kind: Kind, encoding: &'static str) -> &'static str {
        if self == Self::Level {
            return level.encoding_names().shown(level, kind, encoding);
        }
        match (self, kind, encoding) {
            (Self::Redis7, Kind::Set, "listpack") => "hashtable",
            (Self::Redis7, Kind::List, "listpack") => "quicklist",
            _ => encoding,
        }
    }
}

/// How `oom-score-adj-values` are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OomScoreAdj {
    #[default]
    No,
    /// Added to the score the process started with.
    Relative,
    Absolute,
}

impl OomScoreAdj {
    pub const NAMES: &'static [&'static str] = &["no", "yes", "relative", "absolute"];
    /// `yes` is another word for `relative`, and the one that is printed.
    pub const ALL: &'static [OomScoreAdj] =
        &[OomScoreAdj::No, OomScoreAdj::Relative, OomScoreAdj::Relative, OomScoreAdj::Absolute];
}

/// What a signal asks of the shutdown; all false is `default`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Write a snapshot even without save points.
    pub save: bool,
    /// Write no snapshot even with save points.
    pub nosave: bool,
    /// Do not wait for replicas that lag.
    pub now: bool,
    /// Go even if the snapshot fails.
    pub force: bool,
}

impl ShutdownFlags {
    pub const NAMES: &'static [&'static str] = &["default", "save", "nosave", "now", "force"];
}
