#!/usr/bin/env python3
"""Whether monitors understand what a server says of itself: `metrics.py --server PATH`.

The strict parsers of Prometheus's own Python client read `/metrics` in both forms, on an empty server and on one with data,
a log, a snapshot and a replica; every series that dashboards of redis_exporter ask for is there; `/healthz` notices a worker
that is stuck. Prints `ok - NAME` or `not ok - NAME: why`.
"""

import argparse
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families as text_format  # noqa: E402

from harness.promises import kept, name_of  # noqa: E402
from harness.resp import Connection  # noqa: E402
from harness.server import Server, free_port  # noqa: E402

OPEN_METRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
# What the dashboards 763 and 11835 and the usual alert rules ask of redis_exporter, as far as Redis 7.0 has the figure and
# a server without fork has something to tell.
WANTED = """
up uptime_in_seconds start_time_seconds instance_info connected_clients blocked_clients config_maxclients
memory_used_bytes memory_max_bytes memory_used_rss_bytes memory_used_peak_bytes memory_used_lua_bytes
memory_used_overhead_bytes memory_used_startup_bytes memory_used_dataset_bytes memory_used_scripts_bytes
mem_fragmentation_ratio mem_clients_normal mem_clients_slaves mem_not_counted_for_eviction_bytes
allocator_active_bytes allocator_allocated_bytes allocator_resident_bytes allocator_frag_ratio allocator_rss_ratio
client_recent_max_input_buffer_bytes client_recent_max_output_buffer_bytes tracking_clients
commands_processed_total commands_total commands_duration_seconds_total commands_failed_calls_total
commands_rejected_calls_total connections_received_total rejected_connections_total keyspace_hits_total
keyspace_misses_total expired_keys_total evicted_keys_total net_input_bytes_total net_output_bytes_total
cpu_sys_seconds_total cpu_user_seconds_total cpu_sys_children_seconds_total cpu_user_children_seconds_total
db_keys db_keys_expiring db_avg_ttl_seconds loading_dump_file rdb_changes_since_last_save rdb_bgsave_in_progress
rdb_last_save_timestamp_seconds rdb_last_bgsave_status rdb_last_bgsave_duration_sec rdb_current_bgsave_duration_sec
aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled aof_last_rewrite_duration_sec aof_current_rewrite_duration_sec
aof_last_bgrewrite_status aof_last_write_status aof_current_size_bytes aof_base_size_bytes aof_pending_bio_fsync
aof_buffer_length aof_delayed_fsync pubsub_channels pubsub_patterns connected_slaves connected_slave_lag_seconds
connected_slave_offset_bytes replication_backlog_bytes repl_backlog_is_active repl_backlog_first_byte_offset
repl_backlog_history_bytes master_repl_offset second_repl_offset slave_expires_tracked_keys replica_resyncs_full
replica_partial_resync_accepted replica_partial_resync_denied slowlog_length slowlog_last_id
last_slow_execution_duration_seconds latency_spike_last latency_spike_duration_seconds latency_percentiles_usec
commands_latencies_usec errors_total defrag_hits lazyfree_pending_objects active_defrag_running
expired_stale_percentage expired_time_cap_reached_total process_id
""".split()
STUCK_S = 5


def get(port: int, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers["Content-Type"], e.read().decode()


def names(families) -> set[str]:
    return {sample.name for family in families for sample in family.samples} | {family.name for family in families}


def in_both_forms(admin: int) -> set[str]:
    """Every name, after both parsers took the page."""
    status, kind, page = get(admin, "/metrics", OPEN_METRICS)
    assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0"), (status, kind)
    opened = list(open_metrics(page))
    status, kind, page = get(admin, "/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4"), (status, kind)
    assert "# EOF" not in page
    plain = list(text_format(page))
    samples = [{s.name for family in families for s in family.samples} for families in (opened, plain)]
    assert samples[0] == samples[1], samples[0] ^ samples[1]
    return names(opened) | names(plain)


def an_empty_server(server: str) -> None:
    admin = free_port()
    with Server(server, {"admin-port": str(admin)}):
        in_both_forms(admin)


def a_busy_server(server: str) -> None:
    admin = free_port()
    directives = {"admin-port": str(admin), "appendonly": "yes", "slowlog-log-slower-than": "0", "latency-monitor-threshold": "1",
                  "enable-debug-command": "yes"}
    with Server(server, directives) as primary:
        client = Connection(primary.port)
        for words in ("SET k v EX 100", "GET k", "GET none", "EVAL return{1} 0", "NOSUCH a\"b", "BGSAVE", "DEBUG SLEEP 0.01"):
            client.call(*words.split(" "))
        with Server(server, {"replicaof": f"127.0.0.1 {primary.port}", "admin-port": str(free_port())}) as replica:
            until("the replica is online", lambda: "state=online" in text(client, "INFO", "replication"))
            until("a time to live is known", lambda: not re.search("avg_ttl=0", text(client, "INFO", "keyspace")))
            found = in_both_forms(admin)
            missing = [name for name in WANTED if f"redis_{name}" not in found]
            assert not missing, f"no series for {missing}"
            ttl = re.search(r'redis_db_avg_ttl_seconds\{db="db0"\} ([0-9.]+)', get(admin, "/metrics")[2])
            assert ttl and 50 < float(ttl[1]) <= 100, ttl
            of_replica = in_both_forms(int(replica.directives["admin-port"]))
            assert {"redis_master_link_up", "redis_master_last_io_seconds_ago", "redis_slave_priority"} <= of_replica


def text(client: Connection, *words: str) -> str:
    return client.call(*words)[1].decode()


def a_stuck_worker(server: str) -> None:
    admin = free_port()
    with Server(server, {"admin-port": str(admin), "enable-debug-command": "yes", "threads": "1"}) as under_test:
        assert get(admin, "/healthz")[:1] == (200,)
        sleeper = threading.Thread(target=lambda: Connection(under_test.port).call("DEBUG", "SLEEP", str(STUCK_S + 3)))
        sleeper.start()
        until("a stuck worker is noticed", lambda: get(admin, "/healthz")[0] == 503)
        said = get(admin, "/healthz")[2]
        assert re.match(r"worker 0 has served client id=\d+ for \d+\.\d s and nobody else meanwhile\n", said), said
        sleeper.join()
        until("and when it turns again", lambda: get(admin, "/healthz")[0] == 200)


def until(what: str, holds) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"not after 20 seconds: {what}"
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    server = parser.parse_args().server
    promises = (an_empty_server, a_busy_server, a_stuck_worker)
    return 0 if all([kept(name_of(promise), promise, server) for promise in promises]) else 1


if __name__ == "__main__":
    sys.exit(main())
