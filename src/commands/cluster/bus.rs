//! What needs other nodes, and with them a bus: refused, with the reason, until there is one.

use super::{SUBCOMMAND, identity};
use crate::command::*;

/// What these have in common.
const REFUSED: Command = Command { flags: ADMIN | STALE | NO_ASYNC_LOADING, run: refuse, ..SUBCOMMAND };

pub const CLUSTER_BUMPEPOCH: Command = Command {
    name: "CLUSTER BUMPEPOCH",
    doc: "Raises the epoch of the node's configuration. Refused: there is no bus yet.",
    examples: "> CLUSTER BUMPEPOCH\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_DELSLOTS: Command = Command {
    name: "CLUSTER DELSLOTS",
    args: "slot:integer [slot ...]",
    arity: -3,
    doc: "Takes slots from the node. Refused: there is no bus yet.",
    examples: "> CLUSTER DELSLOTS 1\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_DELSLOTSRANGE: Command = Command {
    name: "CLUSTER DELSLOTSRANGE",
    args: "start-slot:integer end-slot:integer [start-slot end-slot ...]",
    arity: -4,
    since: "7.0.0",
    doc: "Takes ranges of slots from the node. Refused: there is no bus yet.",
    examples: "> CLUSTER DELSLOTSRANGE 0 1\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_FAILOVER: Command = Command {
    name: "CLUSTER FAILOVER",
    args: "[options: FORCE | TAKEOVER]",
    arity: -2,
    doc: "Lets a replica take over from its primary. Refused: there is no bus yet.",
    examples: "> CLUSTER FAILOVER\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_FLUSHSLOTS: Command = Command {
    name: "CLUSTER FLUSHSLOTS",
    doc: "Takes all slots from the node. Refused: there is no bus yet.",
    examples: "> CLUSTER FLUSHSLOTS\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_FORGET: Command = Command {
    name: "CLUSTER FORGET",
    args: "node-id",
    arity: 3,
    doc: "Removes another node from the cluster. Refused: there is no bus yet.",
    examples: "> CLUSTER FORGET x\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_MEET: Command = Command {
    name: "CLUSTER MEET",
    args: "ip port:integer [cluster-bus-port@4.0.0:integer]",
    arity: -4,
    doc: "Joins the cluster of another node. Refused: there is no bus yet.",
    examples: "> CLUSTER MEET 127.0.0.1 7000\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_REPLICATE: Command = Command {
    name: "CLUSTER REPLICATE",
    args: "node-id",
    arity: 3,
    doc: "Makes the node a replica of another. Refused: there is no bus yet.",
    examples: "> CLUSTER REPLICATE x\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_RESET: Command = Command {
    name: "CLUSTER RESET",
    args: "[reset-type: HARD | SOFT]",
    arity: -2,
    flags: ADMIN | STALE | NOSCRIPT,
    doc: "Makes the node a new one. Refused: there is no bus yet.",
    examples: "> CLUSTER RESET\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_SET_CONFIG_EPOCH: Command = Command {
    name: "CLUSTER SET-CONFIG-EPOCH",
    args: "config-epoch:integer",
    arity: 3,
    doc: "Gives a new node its first epoch. Refused: there is no bus yet.",
    examples: "> CLUSTER SET-CONFIG-EPOCH 1\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

pub const CLUSTER_SETSLOT: Command = Command {
    name: "CLUSTER SETSLOT",
    args: "slot:integer <subcommand: IMPORTING importing=node-id | MIGRATING migrating=node-id | NODE node=node-id | STABLE>",
    arity: -4,
    doc: "Says what becomes of a slot. Refused: there is no bus yet.",
    examples: "> CLUSTER SETSLOT 1 STABLE\n(error) ERR This instance has cluster support disabled",
    ..REFUSED
};

fn refuse(ctx: &mut Ctx<'_, '_>) -> Outcome {
    identity(ctx)?;
    Err(Error::owned(format!(
        "ERR {} is not supported yet: this server is the only node of its cluster, owns all slots and has no cluster bus",
        ctx.row.command.name
    )))
}
