//! Directives of the network: addresses, sockets, clients and their buffers.
//!
//! One row per directive, sorted by name; the page of the table above says what the columns mean.

use crate::config::limits::QUERY_BUFFER_LIMIT_MIN;
use crate::config::param::{
    DEBUG, EXTENSION, HIDDEN, IMMUTABLE, INT, LONG, MB, MODIFIABLE, MULTI_ARG, Param, ParamKind, UINT, UNSUPPORTED, at,
    int, memory, num, octal, optional, row,
};
use crate::config::special;

#[rustfmt::skip]
pub(super) const ROWS: &[Param] = &[
    row("bind", ParamKind::Special(&special::BIND), "* -::*", MODIFIABLE | MULTI_ARG,
        "Addresses to listen on; a leading '-' means the address may be unavailable, '*' means every interface."),
    row("bind-source-addr", optional(at!(bind_source_addr)), "", MODIFIABLE,
        "Local address for outgoing connections (replication, cluster bus, migration)."),
    row("client-output-buffer-limit", ParamKind::Special(&special::CLIENT_OUTPUT_BUFFER_LIMIT),
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", MODIFIABLE | MULTI_ARG,
        "Per class of client (normal, replica, pubsub): hard limit, soft limit and the seconds the soft one may be \
         exceeded before the client is dropped."),
    row("client-query-buffer-limit", memory(num!(client_query_buffer_limit), QUERY_BUFFER_LIMIT_MIN as i128, LONG),
        "1073741824", MODIFIABLE | DEBUG,
        "Largest amount of unread request bytes kept for one client."),
    row("max-new-connections-per-cycle", int(num!(max_new_connections_per_cycle), 1, 1_000),
        "10", MODIFIABLE | EXTENSION | UNSUPPORTED,
        "Connections accepted in one turn of an event loop (Redis 8)."),
    row("maxclients", int(num!(maxclients), 1, UINT), "10000", MODIFIABLE,
        "How many clients may be connected at the same time."),
    row("maxmemory-clients", ParamKind::Share(at!(maxmemory_clients)), "0", MODIFIABLE,
        "Bound on the memory of all clients together, in bytes or as a percentage of maxmemory; 0 for none."),
    row("mptcp", ParamKind::Flag(at!(mptcp)), "no", IMMUTABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "Listen with multipath TCP (Valkey)."),
    row("port", int(num!(port), 0, 65_535), "6379", MODIFIABLE,
        "TCP port for clients; 0 turns the TCP listener off."),
    row("protected-mode", ParamKind::Flag(at!(protected_mode)), "yes", MODIFIABLE,
        "Without a password, and bound to more than the loopback, refuse clients that are not local."),
    row("proto-max-bulk-len", memory(num!(proto_max_bulk_len), MB, LONG), "536870912", MODIFIABLE | DEBUG,
        "Longest single argument a request may carry."),
    row("rdma-bind", optional(at!(rdma_bind)), "", MODIFIABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "RDMA addresses to listen on (Valkey)."),
    row("rdma-completion-vector", int(num!(rdma_completion_vector), -1, INT),
        "-1", IMMUTABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "RDMA completion vector (Valkey)."),
    row("rdma-port", int(num!(rdma_port), 0, 65_535), "0", MODIFIABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "RDMA port (Valkey)."),
    row("rdma-rx-size", int(num!(rdma_rx_size), 65_536, 16_777_216),
        "1048576", IMMUTABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "RDMA receive buffer of one connection (Valkey)."),
    row("socket-mark-id", int(num!(socket_mark_id), 0, UINT), "0", IMMUTABLE | UNSUPPORTED,
        "SO_MARK of the listening sockets, for packet filters; 0 sets none."),
    row("tcp-backlog", int(num!(tcp_backlog), 0, INT), "511", IMMUTABLE,
        "Length of the listen queue; the kernel caps it at net.core.somaxconn."),
    row("tcp-keepalive", int(num!(tcp_keepalive), 0, INT), "300", MODIFIABLE,
        "Seconds of silence after which the kernel probes a client; 0 turns probing off."),
    row("timeout", int(num!(timeout), 0, INT), "0", MODIFIABLE,
        "Seconds after which an idle client is disconnected; 0 means never."),
    row("unixsocket", optional(at!(unixsocket)), "", IMMUTABLE,
        "Path of a Unix socket to listen on as well; empty for none."),
    row("unixsocketgroup", optional(at!(unixsocketgroup)), "", IMMUTABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "Group that owns the Unix socket (Valkey)."),
    row("unixsocketperm", octal(num!(unixsocketperm), 0, 0o777), "0", IMMUTABLE,
        "Permissions of the Unix socket, in octal; 0 leaves them to the umask."),
];
