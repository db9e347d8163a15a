//! The cluster as its clients see it, of which this server is the only node: it owns all slots, and there is no bus.
//!
//! `cluster` knows who the node is; the gate "slots" keeps keys of several slots out of one request. What needs other
//! nodes is refused ([`bus`]).

mod bus;
mod slots;

use crate::checksum::SLOTS;
use crate::cluster::{Address, Identity};
use crate::command::ctx::Reply;
use crate::command::*;
use crate::config::choices::ClusterPreferredEndpointType as Endpoint;

pub const COMMANDS: &[Command] = &[
    ASKING,
    CLUSTER,
    slots::CLUSTER_ADDSLOTS,
    slots::CLUSTER_ADDSLOTSRANGE,
    bus::CLUSTER_BUMPEPOCH,
    CLUSTER_COUNT_FAILURE_REPORTS,
    slots::CLUSTER_COUNTKEYSINSLOT,
    bus::CLUSTER_DELSLOTS,
    bus::CLUSTER_DELSLOTSRANGE,
    bus::CLUSTER_FAILOVER,
    bus::CLUSTER_FLUSHSLOTS,
    bus::CLUSTER_FORGET,
    slots::CLUSTER_GETKEYSINSLOT,
    CLUSTER_HELP,
    CLUSTER_INFO,
    slots::CLUSTER_KEYSLOT,
    CLUSTER_LINKS,
    bus::CLUSTER_MEET,
    CLUSTER_MYID,
    CLUSTER_MYSHARDID,
    CLUSTER_NODES,
    CLUSTER_REPLICAS,
    bus::CLUSTER_REPLICATE,
    bus::CLUSTER_RESET,
    CLUSTER_SAVECONFIG,
    bus::CLUSTER_SET_CONFIG_EPOCH,
    bus::CLUSTER_SETSLOT,
    CLUSTER_SHARDS,
    CLUSTER_SLAVES,
    slots::CLUSTER_SLOT_STATS,
    CLUSTER_SLOTS,
    READONLY_MODE,
    READWRITE,
];

const CLUSTER: Command = Command {
    name: "CLUSTER",
    args: "",
    arity: -2,
    since: "3.0.0",
    group: Group::Cluster,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "The cluster's commands.",
    examples: "> CLUSTER\n(error) ERR wrong number of arguments for 'cluster' command\n> CLUSTER nosuch\n(error) ERR unknown subcommand 'nosuch'. Try CLUSTER HELP.",
    run: container,
};

/// What most subcommands have in common.
const SUBCOMMAND: Command = Command { arity: 2, flags: STALE, examples: "", ..CLUSTER };

/// The node's identity, where cluster mode is on.
fn identity<'n>(ctx: &Ctx<'_, 'n>) -> Result<&'n Identity, Error> {
    ctx.node.cluster.identity().ok_or(DISABLED)
}

// ---- the node

const CLUSTER_INFO: Command = Command {
    name: "CLUSTER INFO",
    doc: "The state of the cluster. O(1).",
    examples: "> CLUSTER INFO\n(error) ERR This instance has cluster support disabled",
    run: info,
    ..SUBCOMMAND
};

fn info(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Identity { current_epoch, config_epoch, .. } = identity(ctx)?;
    let text = format!(
        "cluster_state:ok\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\ncluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:{current_epoch}\r\n\
         cluster_my_epoch:{config_epoch}\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n"
    );
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

const CLUSTER_MYID: Command = Command {
    name: "CLUSTER MYID",
    doc: "The node's id. O(1).",
    examples: "> CLUSTER MYID\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        let node = &identity(ctx)?.node;
        ctx.out.bulk(node.as_bytes())
    },
    ..SUBCOMMAND
};

const CLUSTER_MYSHARDID: Command = Command {
    name: "CLUSTER MYSHARDID",
    since: "7.2.0",
    doc: "The id of the node's shard. O(1).",
    examples: "> CLUSTER MYSHARDID\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        let shard = identity(ctx)?.shard();
        ctx.out.bulk(shard.as_bytes())
    },
    ..SUBCOMMAND
};

const CLUSTER_NODES: Command = Command {
    name: "CLUSTER NODES",
    doc: "The nodes of the cluster, a line each: here, one. O(1).",
    examples: "> CLUSTER NODES\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        let line = identity(ctx)?.line(&Address::told_to(&ctx.session.client, ctx.config));
        ctx.out.verbatim("txt", line.as_bytes());
        Ok(())
    },
    ..SUBCOMMAND
};

const CLUSTER_SLOTS: Command = Command {
    name: "CLUSTER SLOTS",
    flags: LOADING | STALE,
    doc: "Which node owns which slots. O(1).",
    examples: "> CLUSTER SLOTS\n(error) ERR This instance has cluster support disabled",
    run: owners,
    ..SUBCOMMAND
};

fn owners(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (Identity { node, .. }, config) = (identity(ctx)?, ctx.config);
    let (address, out) = (Address::told_to(&ctx.session.client, config), &mut ctx.out);
    out.array(1);
    out.array(3);
    out.0.int(0);
    out.0.int(i64::from(SLOTS) - 1);
    out.array(4);
    match config.cluster_preferred_endpoint_type {
        Endpoint::Ip => out.0.bulk(address.ip.as_bytes()),
        Endpoint::Hostname => out.0.bulk(hostname(&address)),
        Endpoint::UnknownEndpoint => out.0.null(),
    }
    out.0.int(i64::from(address.port()));
    out.0.bulk(node.as_bytes());
    // What the endpoint has not said.
    let mut more: Vec<(&str, &str)> = Vec::new();
    if config.cluster_preferred_endpoint_type != Endpoint::Ip {
        more.push(("ip", &address.ip));
    }
    if config.cluster_preferred_endpoint_type != Endpoint::Hostname && !address.hostname.is_empty() {
        more.push(("hostname", address.hostname));
    }
    out.map(more.len());
    more.iter().flat_map(|(name, value)| [name, value]).for_each(|text| out.0.bulk(text.as_bytes()));
    Ok(())
}

/// A host name that is not known is told as a question mark.
fn hostname<'a>(address: &Address<'a>) -> &'a [u8] {
    if address.hostname.is_empty() { b"?" } else { address.hostname.as_bytes() }
}

const CLUSTER_SHARDS: Command = Command {
    name: "CLUSTER SHARDS",
    since: "7.0.0",
    flags: LOADING | STALE,
    doc: "The shards of the cluster with their slots and nodes: here, one of each. O(1).",
    examples: "> CLUSTER SHARDS\n(error) ERR This instance has cluster support disabled",
    run: shards,
    ..SUBCOMMAND
};

fn shards(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (Identity { node, .. }, config) = (identity(ctx)?, ctx.config);
    let offset = i64::try_from(ctx.node.journal.stream.end()).unwrap_or(i64::MAX);
    let address = Address::told_to(&ctx.session.client, config);
    let Reply(out) = &mut ctx.out;
    out.array(1);
    out.map(2);
    out.bulk(b"slots");
    out.array(2);
    out.int(0);
    out.int(i64::from(SLOTS) - 1);
    out.bulk(b"nodes");
    out.array(1);
    let hole = out.later();
    let mut pairs = 0;
    let mut name = |out: &mut crate::resp::Out<'_>, name: &str| {
        out.bulk(name.as_bytes());
        pairs += 1;
    };
    name(out, "id");
    out.bulk(node.as_bytes());
    for (what, port) in [("port", address.plain_port), ("tls-port", address.tls_port)] {
        if port > 0 {
            name(out, what);
            out.int(i64::from(port));
        }
    }
    name(out, "ip");
    out.bulk(address.ip.as_bytes());
    name(out, "endpoint");
    match config.cluster_preferred_endpoint_type {
        Endpoint::Ip => out.bulk(address.ip.as_bytes()),
        Endpoint::Hostname => out.bulk(hostname(&address)),
        Endpoint::UnknownEndpoint => out.bulk(b""),
    }
    if !address.hostname.is_empty() {
        name(out, "hostname");
        out.bulk(address.hostname.as_bytes());
    }
    name(out, "role");
    out.bulk(b"master");
    name(out, "replication-offset");
    out.int(offset);
    name(out, "health");
    out.bulk(b"online");
    out.fill_map(hole, pairs);
    Ok(())
}

const CLUSTER_LINKS: Command = Command {
    name: "CLUSTER LINKS",
    since: "7.0.0",
    doc: "The links to other nodes: none. O(1).",
    examples: "> CLUSTER LINKS\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        identity(ctx)?;
        ctx.out.empty_array()
    },
    ..SUBCOMMAND
};

const CLUSTER_REPLICAS: Command = Command {
    name: "CLUSTER REPLICAS",
    args: "node-id",
    arity: 3,
    since: "5.0.0",
    flags: ADMIN | STALE,
    doc: "The replicas of a node: none. O(1).",
    examples: "> CLUSTER REPLICAS x\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        is_known(ctx)?;
        ctx.out.empty_array()
    },
    ..SUBCOMMAND
};

const CLUSTER_SLAVES: Command = Command {
    name: "CLUSTER SLAVES",
    since: "3.0.0",
    doc: "CLUSTER REPLICAS by its old name. O(1).",
    examples: "> CLUSTER SLAVES x\n(error) ERR This instance has cluster support disabled",
    ..CLUSTER_REPLICAS
};

const CLUSTER_COUNT_FAILURE_REPORTS: Command = Command {
    name: "CLUSTER COUNT-FAILURE-REPORTS",
    args: "node-id",
    arity: 3,
    flags: ADMIN | STALE,
    doc: "How many nodes report a node as failing: none. O(1).",
    examples: "> CLUSTER COUNT-FAILURE-REPORTS x\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        is_known(ctx)?;
        ctx.out.int(0)
    },
    ..SUBCOMMAND
};

/// Whether the argument is the one node there is.
fn is_known(ctx: &Ctx<'_, '_>) -> Outcome {
    let (identity, id) = (identity(ctx)?, ctx.args.get(2));
    if id == identity.node.as_bytes() {
        return Ok(());
    }
    Err(Error::owned([b"ERR Unknown node ", id].concat()))
}

const CLUSTER_SAVECONFIG: Command = Command {
    name: "CLUSTER SAVECONFIG",
    flags: ADMIN | STALE | NO_ASYNC_LOADING,
    doc: "Writes the file that keeps the node's id. O(1).",
    examples: "> CLUSTER SAVECONFIG\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        identity(ctx)?;
        match ctx.node.cluster.save(ctx.config) {
            Ok(()) => ctx.out.ok(),
            Err(text) => {
                crate::log::warning!("{text}");
                Err(Error::owned(format!("ERR error saving the cluster node config: {text}")))
            }
        }
    },
    ..SUBCOMMAND
};

const CLUSTER_HELP: Command = Command {
    name: "CLUSTER HELP",
    since: "5.0.0",
    flags: LOADING | STALE,
    doc: "Tells the subcommands. O(1).",
    examples: "> CLUSTER HELP\n(error) ERR This instance has cluster support disabled",
    run: |ctx| {
        identity(ctx)?;
        ctx.out.help("CLUSTER", HELP)
    },
    ..SUBCOMMAND
};

#[rustfmt::skip]
const HELP: &[&str] = &[
    "ADDSLOTS <slot> [<slot> ...]", "    Assign slots to current node.",
    "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Assign slots which are between <start-slot> and <end-slot> to current node.",
    "COUNT-FAILURE-REPORTS <node-id>", "    Return number of failure reports for <node-id>.",
    "COUNTKEYSINSLOT <slot>", "    Return the number of keys in <slot>.",
    "GETKEYSINSLOT <slot> <count>", "    Return key names stored by current node in a slot.",
    "INFO", "    Return information about the cluster.",
    "KEYSLOT <key>", "    Return the hash slot for <key>.",
    "LINKS", "    Return information about all network links between this node and its peers.",
    "    Output format is an array where each array element is a map containing attributes of a link",
    "MYID", "    Return the node id.",
    "MYSHARDID", "    Return the node's shard id.",
    "NODES", "    Return cluster configuration seen by node. Output format:",
    "    <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    "REPLICAS <node-id>", "    Return <node-id> replicas.",
    "SAVECONFIG", "    Force saving cluster configuration on disk.",
    "SHARDS", "    Return information about slot range mappings and the nodes associated with them.",
    "SLOT-STATS", "    Return an array of slot usage statistics for slots assigned to the current node.",
    "SLOTS", "    Return information about slots range mappings. Each range is made of:",
    "    start, end, master and replicas IP addresses, ports and ids",
];

// ---- what a connection says

const READONLY_MODE: Command = Command {
    name: "READONLY",
    args: "",
    arity: 1,
    since: "3.0.0",
    group: Group::Cluster,
    flags: LOADING | STALE | FAST | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Lets the connection read from a replica of its cluster; this node is none. O(1).",
    examples: "> READONLY\n(error) ERR This instance has cluster support disabled",
    run: accept,
};

const READWRITE: Command = Command {
    name: "READWRITE",
    doc: "Ends READONLY. O(1).",
    examples: "> READWRITE\n(error) ERR This instance has cluster support disabled",
    ..READONLY_MODE
};

const ASKING: Command = Command {
    name: "ASKING",
    flags: FAST | IN_CONNECTION,
    doc: "Says that the next command was redirected here because its slot is on its way; no slot is. O(1).",
    examples: "> ASKING\n(error) ERR This instance has cluster support disabled",
    ..READONLY_MODE
};

fn accept(ctx: &mut Ctx<'_, '_>) -> Outcome {
    identity(ctx)?;
    ctx.out.ok()
}

const DISABLED: Error = Error::new("ERR This instance has cluster support disabled");
