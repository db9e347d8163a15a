#!/usr/bin/env python3
"""A cluster of one node, with clients in cluster mode, beside redis-server's; and the way out into a real cluster.

`cluster.py --server PATH`. Both servers are the only node of their cluster and own all slots. Each promise is a function
that asks one of them and returns what it saw; ours must have seen what Redis did. What only Redis 8.2 has is asked beside
that. The last promise is about a server without cluster mode: redis-cli moves its keys into three real nodes.

Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import argparse
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.resp import Connection
from harness.server import WORK, Server

import redis

COMMAND_MAX_S = 60
JOINED_MAX_S = 30
# A real node that has never met another does not know its address.
CLUSTER = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-announce-ip": "127.0.0.1"}
IMPORTED = 500

# Words of commands; the whole is one conversation. `;` begins another connection.
TOLD = """
CLUSTER INFO
CLUSTER SLOTS
CLUSTER SHARDS
CLUSTER NODES
CLUSTER MYID
CLUSTER LINKS
CLUSTER
CLUSTER nosuch
CLUSTER INFO x
CLUSTER KEYSLOT
CLUSTER KEYSLOT a
CLUSTER KEYSLOT {a}b{c}
CLUSTER COUNTKEYSINSLOT 15495
CLUSTER COUNTKEYSINSLOT 16384
CLUSTER COUNTKEYSINSLOT -1
CLUSTER COUNTKEYSINSLOT x
CLUSTER GETKEYSINSLOT 15495 10
CLUSTER GETKEYSINSLOT 15495 -1
CLUSTER GETKEYSINSLOT 99999 1
CLUSTER GETKEYSINSLOT 1 x
CLUSTER REPLICAS nosuch
CLUSTER SLAVES nosuch
CLUSTER COUNT-FAILURE-REPORTS nosuch
CLUSTER SAVECONFIG
CLUSTER ADDSLOTS 16384
CLUSTER ADDSLOTS x
CLUSTER ADDSLOTSRANGE 5 4
CLUSTER ADDSLOTSRANGE 5 4 6
CLUSTER ADDSLOTSRANGE 5 99999
READONLY
READWRITE
ASKING
ROLE
INFO cluster
HELLO 2
CONFIG GET cluster-enabled
SELECT 0
SELECT 1
SELECT x
SELECT 99
SWAPDB 0 1
SWAPDB x 0
MOVE a 1
MOVE a 0
SET a 1
SET {a}2 1
EXPIRE {a}2 100
CLUSTER COUNTKEYSINSLOT 15495
CLUSTER GETKEYSINSLOT 15495 0
CLUSTER GETKEYSINSLOT 1 10
COPY a {a}x DB 1
COPY a {a}x DB 99
COPY a {a}x DB 0
COPY a b
MSET a 1 b 2
MSET a 1 {a}b 2
MGET a b
MGET a {a}b
DEL a b
EXISTS a b
RENAME a b
PFCOUNT a b
BLPOP a b 0.1
LMPOP 2 a b LEFT
XREAD STREAMS a b 0 0
GEORADIUS a 1 1 1 km STORE b
SINTERSTORE a b
WATCH a b
MIGRATE 127.0.0.1 1 '' 0 10 KEYS a b
LPUSH l 2 1
SORT l BY w_*
SORT l BY nosort
SORT l GET #
SORT l STORE m
SORT l STORE {l}m
EVAL 'return 1' 2 a b
EVAL 'return redis.call("get","b")' 1 a
EVAL 'redis.call("set","a","1") return redis.call("set","b","1")' 0
EVAL 'return redis.pcall("mget","a","b")' 0
EVAL 'return redis.pcall("select","1")' 0
EVAL '#!lua flags=no-cluster\\nreturn 1' 0
EVAL '#!lua\\nredis.call("set","c","1") return redis.pcall("set","d","1")' 0
EVAL '#!lua\\nreturn redis.pcall("get","b")' 1 a
EVAL '#!lua\\nreturn redis.pcall("spublish","b","m")' 1 a
EVAL '#!lua flags=allow-cross-slot-keys\\nreturn redis.call("get","b")' 1 a
FUNCTION LOAD '#!lua name=l\\nredis.register_function{function_name="f",callback=function() return 1 end,flags={"no-cluster"}}'
FCALL f 0
GET c
MULTI
SET a 1
SET b 1
EXEC
MULTI
SET a 1
MSET a 1 b 1
EXEC
MULTI
SET a 2
APPEND {a}2 x
EXEC
WATCH a
WATCH b
MULTI
SET c 1
EXEC
MULTI
SPUBLISH a m
SPUBLISH b m
EXEC
MULTI
EVAL 'return 1' 0
READONLY
PING
EXEC
PUBLISH c m
SPUBLISH c m
REPLICAOF NO ONE
REPLICAOF 127.0.0.1 1
FAILOVER
INFO keyspace
SUBSCRIBE a b
UNSUBSCRIBE a b
SSUBSCRIBE a
SSUBSCRIBE b
SSUBSCRIBE a b
SSUBSCRIBE {a}x
SUNSUBSCRIBE a b
SUNSUBSCRIBE a
;
CONFIG SET cluster-announce-hostname h.example
CONFIG SET cluster-preferred-endpoint-type hostname
CLUSTER SLOTS
CLUSTER SHARDS
CLUSTER NODES
CONFIG SET cluster-preferred-endpoint-type unknown-endpoint
CONFIG SET cluster-announce-ip 192.0.2.1
CONFIG SET cluster-announce-port 7
CLUSTER SLOTS
CLUSTER SHARDS
HELLO 3
CLUSTER SLOTS
CONFIG SET cluster-preferred-endpoint-type ip
CLUSTER SHARDS
CLUSTER SLOTS
CLUSTER NODES
CLUSTER INFO
"""
OF_8_2 = """
SET a 1
SET {a}2 1
SET b 1
CLUSTER SLOT-STATS SLOTSRANGE 15495 15495
CLUSTER SLOT-STATS SLOTSRANGE 0 2
CLUSTER SLOT-STATS SLOTSRANGE 5 4
CLUSTER SLOT-STATS SLOTSRANGE 0 16384
CLUSTER SLOT-STATS SLOTSRANGE x 1
CLUSTER SLOT-STATS SLOTSRANGE 0
CLUSTER SLOT-STATS ORDERBY key-count LIMIT 4
CLUSTER SLOT-STATS ORDERBY key-count LIMIT 2 ASC
CLUSTER SLOT-STATS ORDERBY key-count DESC LIMIT 3
CLUSTER SLOT-STATS ORDERBY key-count ASC DESC
CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1 LIMIT 2
CLUSTER SLOT-STATS ORDERBY key-count LIMIT 0
CLUSTER SLOT-STATS ORDERBY key-count LIMIT 16385
CLUSTER SLOT-STATS ORDERBY key-count x
CLUSTER SLOT-STATS ORDERBY cpu-usec
CLUSTER SLOT-STATS x 1 2
CLUSTER MYSHARDID
"""


def conversation(server, text):
    """Replies line by line, with what is the server's own left out."""
    connection, told = Connection(server.port), []
    for line in text.strip().splitlines():
        if line == ";":
            connection = Connection(server.port)
            continue
        words = [word.encode() for word in words_of(line)]
        if words[0] == b"HELLO" or line.endswith("announce-ip 192.0.2.1"):
            connection.call(*words)
            time.sleep(0.3)  # Redis takes an address over in its cron
            continue
        told.append(f"{line}: {shown(connection.call(*words), server.port)}")
    return told


def words_of(line):
    found = re.findall(r"'([^']*)'|(\S+)", line)
    return [(quoted if not plain else plain).replace("\\n", "\n") for quoted, plain in found]


def shown(tree, port):
    text = repr(tree)
    text = re.sub(r"[0-9a-f]{40}", "ID", text)
    return re.sub(rf"\b1?{port + 10000}\b|\b{port}\b", lambda found: "BUS" if found[0] == str(port + 10000) else "PORT", text)


# ---- promises, each asked of both


def replies(server):
    return conversation(server, TOLD)


def restart(server):
    ids = [Connection(server.port).call("CLUSTER", "MYID")]
    for _ in range(2):
        server.stop()
        server.start()
        ids.append(Connection(server.port).call("CLUSTER", "MYID"))
    return len(set(map(repr, ids)))


def redis_py(server):
    cluster = redis.RedisCluster(host="127.0.0.1", port=server.port)
    cluster.flushall()
    for number in range(200):
        cluster.set(f"key:{number}", number)
    saw = [sum(int(cluster.get(f"key:{number}")) for number in range(200)), len(list(cluster.scan_iter("key:*", count=50)))]
    saw.append(cluster.mset_nonatomic({f"m{number}": number for number in range(20)}))
    saw.append(cluster.mget_nonatomic([f"m{number}" for number in range(20)]))
    pipe = cluster.pipeline()
    for number in range(20):
        pipe.incr(f"m{number}")
    saw.append(pipe.execute())
    try:
        cluster.mset({"a": 1, "b": 2})
    except redis.exceptions.RedisClusterException as error:
        saw.append(str(error)[:60])
    saw.append(cluster.eval("return redis.call('incr', KEYS[1])", 1, "m1"))
    sub = cluster.pubsub()
    sub.ssubscribe("shard")
    for _ in range(50):
        if sub.get_sharded_message(timeout=0.1):
            break
    saw.append(cluster.spublish("shard", "m"))
    for _ in range(50):
        if message := sub.get_sharded_message(timeout=0.1):
            saw.append(message["data"])
            break
    sub.close()
    saw += [cluster.dbsize(), cluster.cluster_keyslot("a"), cluster.cluster_countkeysinslot(12182), len(cluster.get_nodes())]
    return saw


IOREDIS = """
const Redis = require('ioredis');
(async () => {
  const cluster = new Redis.Cluster([{ host: '127.0.0.1', port: Number(process.argv[1]) }]);
  const saw = [];
  await cluster.flushall();
  for (let i = 0; i < 100; i++) await cluster.set('key:' + i, i);
  let sum = 0;
  for (let i = 0; i < 100; i++) sum += Number(await cluster.get('key:' + i));
  saw.push(sum, cluster.nodes('master').length);
  saw.push(await cluster.pipeline().set('{u}a', 1).incr('{u}a').mget('{u}a', '{u}b').exec());
  saw.push(await cluster.multi().set('{u}a', 5).incr('{u}a').exec());
  saw.push(await cluster.mset('a', 1, 'b', 2).catch((e) => e.message));
  cluster.defineCommand('twice', { numberOfKeys: 1, lua: 'return redis.call("incrby", KEYS[1], 2)' });
  saw.push(await cluster.twice('{u}a'));
  const sub = new Redis(Number(process.argv[1]));
  await sub.ssubscribe('other');
  const heard = new Promise((done) => sub.on('smessage', (channel, message) => done([channel, message])));
  saw.push(await cluster.spublish('other', 'm'), await heard);
  console.log(JSON.stringify(saw));
  sub.disconnect();
  cluster.disconnect();
})().catch((e) => { console.log(e); process.exit(1); });
"""


def ioredis(server):
    environment = {**os.environ, "NODE_PATH": str(WORK / "node" / "node_modules")}
    return run(["node", "-e", IOREDIS, str(server.port)], environment)


def redis_cli(server):
    lines = "SET a 1\nSET b 2\nGET a\nMGET a b\nCLUSTER KEYSLOT b\nDEL a\n"
    return run(["redis-cli", "-c", "-p", str(server.port)], text=lines) + verdict_of_check(server)


def verdict_of_check(server):
    """What `redis-cli --cluster check` finds."""
    said = run(["redis-cli", "--cluster", "check", f"127.0.0.1:{server.port}"])
    return [line for line in said.splitlines() if line.startswith("[")]


def run(command, environment=None, text=None):
    done = subprocess.run(command, input=text or "", capture_output=True, text=True, timeout=COMMAND_MAX_S, env=environment)
    out = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    if done.returncode:
        raise AssertionError(f"{command[0]}: {out[-600:]}")
    return out if text is None else out.splitlines()


def newer(server):
    return conversation(server, OF_8_2)


def import_into_a_cluster(binary):
    """A server without cluster mode, and three nodes of redis-server."""
    nodes = [Server("7.0", CLUSTER).start() for _ in range(3)]
    source = Server(binary).start()
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    run(["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"])
    deadline = time.monotonic() + JOINED_MAX_S
    while any(b"cluster_state:ok" not in Connection(node.port).call("CLUSTER", "INFO")[1] for node in nodes):
        assert time.monotonic() < deadline, "the nodes do not become a cluster"
        time.sleep(0.1)
    connection = Connection(source.port)
    for number in range(IMPORTED):
        connection.call("SET", f"s{number}", number, *(("EX", 1000) if number % 3 == 0 else ()))
    connection.call("RPUSH", "list", *range(300))
    connection.call("ZADD", "zset", *[word for number in range(200) for word in (number, f"m{number}")])
    connection.call("XADD", "stream", "1-1", "f", "v")
    connection.call("HSET", "hash", "f", "v")
    connection.call("SADD", "set", "x", "y")
    said = run(["redis-cli", "--cluster", "import", addresses[0], "--cluster-from", f"127.0.0.1:{source.port}"])
    sizes = [Connection(node.port).call("DBSIZE")[1] for node in nodes]
    cluster = redis.RedisCluster(host="127.0.0.1", port=nodes[0].port)
    saw = [sum(map(int, sizes)), int(connection.call("DBSIZE")[1]), all(int(size) > 0 for size in sizes)]
    saw += [sum(int(cluster.get(f"s{number}")) for number in range(IMPORTED)), 900 < cluster.ttl("s0") <= 1000, cluster.ttl("s1")]
    saw += [cluster.llen("list"), cluster.zcard("zset"), cluster.xlen("stream"), cluster.hgetall("hash"), cluster.smembers("set")]
    for server in (*nodes, source):
        server.stop()
    return saw, [line for line in said.splitlines() if "rror" in line]


# What changes how the node is to be reached comes last.
PROMISES = (redis_py, ioredis, redis_cli, replies, restart)


def node(binary):
    """A server that is the only node of its cluster."""
    # A directory that outlives a stop.
    server = Server(binary, CLUSTER, directory=Path(tempfile.mkdtemp(prefix="memkv-cluster-"))).start()
    atexit.register(shutil.rmtree, server.directory, True)
    connection = Connection(server.port)
    if connection.call("CLUSTER", "KEYSLOT", "a")[0] == ":" and b"slots_assigned:0" in connection.call("CLUSTER", "INFO")[1]:
        connection.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in connection.call("CLUSTER", "INFO")[1]:
            time.sleep(0.05)
    return server


def difference(wanted, seen):
    if isinstance(wanted, list) and isinstance(seen, list) and len(wanted) == len(seen):
        return "; ".join(f"Redis: {one} | here: {two}" for one, two in zip(wanted, seen) if one != two)
    return f"Redis: {wanted!r} | here: {seen!r}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    binary = parser.parse_args().server
    mine, real, new = node(binary), node("7.0"), node("8.2")
    checks = [(promise.__name__, promise, real) for promise in PROMISES] + [("newer", newer, new)]
    for name, promise, other in checks:
        try:
            wanted, seen = promise(other), promise(mine)
            print(f"ok - {name}" if wanted == seen else f"not ok - {name}: {difference(wanted, seen)}", flush=True)
        except Exception as error:  # every failure is a result, whatever its kind
            print(f"not ok - {name}: {error!r}", flush=True)
    try:
        saw, errors = import_into_a_cluster(binary)
        total = IMPORTED + 5
        good = saw == [total, 0, True, sum(range(IMPORTED)), True, -1, 300, 200, 1, {b"f": b"v"}, {b"x", b"y"}] and not errors
        print("ok - import into a cluster" if good else f"not ok - import into a cluster: {saw} {errors[:3]}")
    except Exception as error:
        print(f"not ok - import into a cluster: {error!r}")


if __name__ == "__main__":
    main()
