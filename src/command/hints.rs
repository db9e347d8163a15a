//! Hints for clients and proxies, as COMMAND INFO lists them: which replies may differ between two equal calls, and how
//! a command without keys, or with keys of several slots, is spread over a cluster and its replies joined.
//!
//! One table, for few commands have any. Also for commands that are not built yet: they get theirs with their row.

/// Commands by their full name, with blanks between, and the hints of each.
const HINTS: &[(&str, &[&str])] = &[
    (
        "client|info client|list cluster|bumpepoch cluster|count-failure-reports cluster|getkeysinslot cluster|info \
         cluster|links cluster|myshardid cluster|nodes cluster|replicas cluster|shards cluster|slaves cluster|slots dump \
         hpttl hrandfield hscan httl lastsave migrate object|encoding object|freq object|idletime object|refcount pttl \
         spop srandmember sscan time ttl xadd xautoclaim xclaim xinfo|consumers xpending xtrim zrandmember zscan",
        &[VARIES],
    ),
    (
        "command command|docs command|info command|list function|list hgetall hkeys hvals module|list sdiff sinter \
         smembers sunion",
        &[ANY_ORDER],
    ),
    ("latency|doctor latency|graph latency|histogram latency|history latency|latest", &[VARIES, ALL_NODES, SPECIAL]),
    ("cluster|slot-stats", &[VARIES, ALL_SHARDS]),
    ("function|stats info memory|doctor memory|malloc-stats memory|stats", &[VARIES, ALL_SHARDS, SPECIAL]),
    ("scan", &[VARIES, "request_policy:special", SPECIAL]),
    ("commandlog|get slowlog|get", &[ALL_NODES, VARIES]),
    ("latency|reset", &[ALL_NODES, SUM]),
    ("commandlog|len slowlog|len", &[ALL_NODES, SUM, VARIES]),
    (
        "acl|deluser acl|save acl|setuser client|setinfo client|setname config|resetstat config|rewrite config|set \
         script|flush script|load slowlog|reset commandlog|reset",
        &[ALL_NODES, ALL_SUCCEEDED],
    ),
    ("keys", &[ALL_SHARDS, ANY_ORDER]),
    ("script|exists", &[ALL_SHARDS, "response_policy:agg_logical_and"]),
    ("wait waitaof", &[ALL_SHARDS, "response_policy:agg_min"]),
    ("dbsize", &[ALL_SHARDS, SUM]),
    (
        "flushall flushdb function|delete function|flush function|load function|restore memory|purge ping",
        &[ALL_SHARDS, ALL_SUCCEEDED],
    ),
    ("function|kill script|kill", &[ALL_SHARDS, "response_policy:one_succeeded"]),
    ("randomkey", &[ALL_SHARDS, SPECIAL, VARIES]),
    ("mget", &[MULTI_SHARD]),
    ("del exists touch unlink", &[MULTI_SHARD, SUM]),
    ("mset msetex", &[MULTI_SHARD, ALL_SUCCEEDED]),
    ("himport|prepare", &[ALL_SHARDS]),
];

const VARIES: &str = "nondeterministic_output";
const ANY_ORDER: &str = "nondeterministic_output_order";
const ALL_NODES: &str = "request_policy:all_nodes";
const ALL_SHARDS: &str = "request_policy:all_shards";
const MULTI_SHARD: &str = "request_policy:multi_shard";
const SPECIAL: &str = "response_policy:special";
const SUM: &str = "response_policy:agg_sum";
const ALL_SUCCEEDED: &str = "response_policy:all_succeeded";

/// The hints of a command, `client|list` for one below a container.
pub fn of(full_name: &str) -> &'static [&'static str] {
    let row = HINTS.iter().find(|(names, _)| names.split(' ').any(|name| name == full_name));
    row.map_or(&[], |(_, hints)| *hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_hints_of_its_full_name() {
        assert_eq!(of("client|list"), ["nondeterministic_output"]);
        assert_eq!(of("del"), ["request_policy:multi_shard", "response_policy:agg_sum"]);
        assert!(of("get").is_empty() && of("list").is_empty() && of("").is_empty());
    }

    #[test]
    fn no_command_is_listed_twice() {
        let mut names: Vec<_> = HINTS.iter().flat_map(|(names, _)| names.split(' ')).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), names.contains(&"")), (count, false));
    }
}
