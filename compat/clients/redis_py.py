#!/usr/bin/env python3
"""redis-py against a server: `redis_py.py PORT resp2|resp3|asyncio`, on the interpreter that has redis-py.

Uses the library's own API, as an application would; prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import asyncio
import sys
import time

import redis
import redis.asyncio

CHECKS = []


def check(function):
    """Registers one promise; its name is what is printed."""
    CHECKS.append(function)
    return function


@check
def strings(r):
    assert r.set("s", "value") is True and r.get("s") == b"value"
    assert r.set("s", "x", nx=True) is None and r.set("s", "y", xx=True, get=True) == b"value"
    assert r.append("s", "z") == 2 and r.strlen("s") == 2 and r.getrange("s", 0, 0) == b"y"
    assert r.setrange("s", 1, "ab") == 3 and r.getset("s", "n") == b"yab" and r.getdel("s") == b"n"
    assert r.mset({"a": "1", "b": "2"}) is True and r.mget("a", "b", "none") == [b"1", b"2", None]
    assert r.msetnx({"a": "9", "c": "9"}) is False and r.exists("c") == 0


@check
def numbers(r):
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n") == 41 and r.decrby("n", 40) == 1
    assert r.incrbyfloat("n", 0.5) == 1.5 and r.get("n") == b"1.5"
    r.set("word", "abc")
    expect_error(lambda: r.incr("word"), "not an integer")


@check
def binary_and_large(r):
    blob = bytes(range(256)) * 4096
    assert r.set(b"\x00\xff", blob) is True and r.get(b"\x00\xff") == blob and r.strlen(b"\x00\xff") == 1 << 20


@check
def expiry(r):
    assert r.set("t", "v", ex=100) is True and 99 <= r.ttl("t") <= 100 and r.persist("t") is True and r.ttl("t") == -1
    assert r.expire("t", 50, gt=True) is False and r.pexpire("t", 50_000) is True and r.pttl("t") <= 50_000
    assert r.expireat("t", int(time.time()) + 10) is True and r.expiretime("t") > time.time()
    assert r.getex("t", persist=True) == b"v" and r.ttl("t") == -1 and r.ttl("none") == -2
    r.set("soon", "v", px=5)
    time.sleep(0.05)
    assert r.get("soon") is None


@check
def streams(r):
    first = r.xadd("x", {"a": 1, "b": 2}, id="1-1")
    assert first == b"1-1" and r.xadd("x", {"a": 2}, maxlen=10, approximate=True) > first and r.xlen("x") == 2
    assert r.xrange("x", count=1) == [(b"1-1", {b"a": b"1", b"b": b"2"})] and len(r.xrevrange("x")) == 2
    assert r.xgroup_create("x", "g", id="0") is True
    assert b"1-1" in str(r.xreadgroup("g", "c", {"x": ">"}, count=1)).encode()
    assert r.xpending("x", "g")["pending"] == 1 and r.xpending_range("x", "g", "-", "+", 10)[0]["consumer"] == b"c"
    assert r.xclaim("x", "g", "d", 0, ["1-1"], justid=True) == [b"1-1"]
    assert r.xautoclaim("x", "g", "e", 0, "0-0", justid=True) == [b"1-1"] and r.xack("x", "g", "1-1") == 1
    info = r.xinfo_stream("x")
    assert info["length"] == 2 and info["groups"] == 1 and r.xinfo_groups("x")[0]["lag"] == 1
    assert {c["name"] for c in r.xinfo_consumers("x", "g")} == {b"c", b"d", b"e"}
    assert r.xtrim("x", maxlen=1, approximate=False) == 1 and r.xdel("x", "1-1") == 0
    assert not r.xread({"x": "$"}, block=5) and r.xgroup_destroy("x", "g") == 1


@check
def keys(r):
    r.mset({f"key:{i}": i for i in range(500)})
    assert r.dbsize() == 500 and len(set(r.scan_iter(match="key:*", count=37))) == 500 and len(r.keys("key:1?")) == 10
    assert r.type("key:1") == b"string" and r.object("encoding", "key:1") == b"int" and r.randomkey().startswith(b"key:")
    assert r.rename("key:1", "other") and r.renamenx("other", "key:2") is False and r.copy("other", "copied") is True
    assert r.touch("other", "copied") == 2 and r.unlink("other", "copied", "none") == 2 and r.delete("key:0") == 1
    assert r.move("key:2", 5) and r.exists("key:2") == 0


@check
def transactions(r):
    with r.pipeline(transaction=True) as pipe:
        assert pipe.set("a", 1).incr("a").get("a").execute() == [True, 2, b"2"]
    with r.pipeline() as pipe:
        pipe.watch("a")
        r.set("a", 5)
        pipe.multi()
        pipe.set("a", 6)
        try:
            pipe.execute()
            raise AssertionError("a watched key changed, but EXEC ran")
        except redis.WatchError:
            pass
    assert r.transaction(lambda pipe: (pipe.multi(), pipe.incr("a")), "a") == [6]
    with r.pipeline() as pipe:
        pipe.set("word", "x").incr("word").set("after", 1)
        results = pipe.execute(raise_on_error=False)
    assert isinstance(results[1], redis.ResponseError) and r.get("after") == b"1"


@check
def pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for i in range(10_000):
            pipe.set(f"p:{i}", i)
        assert all(pipe.execute())
    with r.pipeline(transaction=False) as pipe:
        for i in range(10_000):
            pipe.get(f"p:{i}")
        assert [int(value) for value in pipe.execute()] == list(range(10_000))


@check
def connection(r):
    assert r.ping() is True and r.echo("hello") == b"hello"
    assert r.client_setname("tester") and r.client_getname() in ("tester", b"tester") and r.client_id() > 0
    mine = r.client_info()
    assert mine["name"] == "tester" and any(row["name"] == "tester" for row in r.client_list())
    expect_error(lambda: r.execute_command("AUTH", "nobody", "wrong"), "invalid username-password pair")


@check
def databases(r):
    pool = r.connection_pool.connection_kwargs
    other = redis.Redis(port=pool["port"], db=3, protocol=pool.get("protocol", 2))
    other.flushdb()
    other.set("only", "here")
    assert r.exists("only") == 0 and other.dbsize() == 1 and r.swapdb(0, 3) and r.get("only") == b"here"
    assert r.swapdb(0, 3) and other.flushdb(asynchronous=True)
    other.close()


@check
def server(r):
    info = r.info()
    assert info["redis_version"] and info["tcp_port"] and info["used_memory"] > 0 and info["uptime_in_seconds"] >= 0
    assert r.info("keyspace") == {} and "cmdstat_ping" in r.info("commandstats")
    assert r.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
    before = r.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    assert r.config_set("slowlog-log-slower-than", 0) and r.slowlog_reset() and r.ping() and r.slowlog_len() >= 1
    assert r.slowlog_get(1)[0]["command"] and r.config_set("slowlog-log-slower-than", before)
    assert r.config_resetstat() and len(r.time()) == 2 and r.lastsave() and r.command_count() > 50
    assert r.command_getkeys("MSET", "a", 1, "b", 2) in (["a", "b"], [b"a", b"b"]) and "get" in {name.lower() for name in r.command()}
    r.set("m", "x" * 1000)
    assert r.memory_usage("m") > 1000 and r.memory_stats()["keys.count"] == 1


@check
def errors(r):
    expect_error(lambda: r.execute_command("NOSUCH"), "unknown command 'NOSUCH'")
    expect_error(lambda: r.execute_command("GET"), "wrong number of arguments for 'get' command")
    expect_error(lambda: r.execute_command("SET", "a", "b", "WRONG"), "syntax error")
    expect_error(lambda: r.config_set("nosuch-directive", 1), "nosuch-directive")


@check
def publish_and_subscribe(r):
    with r.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("news")
        listener.psubscribe("n*")
        heard(listener, 0)
        assert r.publish("news", b"\x00hello") == 2 and r.pubsub_numsub("news") == [(b"news", 1)]
        first, second = heard(listener, 2)
        assert (first["type"], first["channel"], first["data"]) == ("message", b"news", b"\x00hello")
        assert (second["type"], second["pattern"]) == ("pmessage", b"n*") and r.pubsub_channels() == [b"news"]
        listener.unsubscribe()
        listener.punsubscribe()
        heard(listener, 0)
        assert r.publish("news", "nobody") == 0


def heard(listener, count):
    """So many messages, and none behind them."""
    messages, deadline = [], time.time() + 5
    while time.time() < deadline and (len(messages) < count or listener.connection.can_read(0.05)):
        message = listener.get_message(timeout=0.05)
        if message:
            messages.append(message)
    assert len(messages) == count, messages
    return messages


@check
def keyspace_events(r):
    r.config_set("notify-keyspace-events", "Ex$")
    with r.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe("__keyevent@0__:*")
        heard(listener, 0)
        r.set("soon", "v", px=20)
        time.sleep(0.05)
        names = [message["channel"] for message in heard(listener, 2)]
        assert names == [b"__keyevent@0__:set", b"__keyevent@0__:expired"], names
    r.config_set("notify-keyspace-events", "")


@check
def client_side_caching(r):
    if r.connection_pool.connection_kwargs.get("protocol") != 3:
        return
    from redis.cache import CacheConfig

    # The library keeps its cache off for a server that introduces itself as older than 7.4.
    level = r.config_get("compatibility-level") if r.info()["redis_version"] < "7.4" else {}
    if level:
        r.config_set("compatibility-level", "8.2")
    caching = redis.Redis(port=r.connection_pool.connection_kwargs["port"], protocol=3, cache_config=CacheConfig(max_size=100))
    r.set("cached", "1")
    assert caching.get("cached") == b"1" and caching.get("cached") == b"1" and caching.get_cache().size == 1
    r.set("cached", "2")
    time.sleep(0.05)
    assert caching.get("cached") == b"2"
    caching.close()
    if level:
        r.config_set("compatibility-level", "7.0")


def expect_error(run, text):
    try:
        run()
    except redis.RedisError as error:
        assert text in str(error), f"{error!s} has no {text!r}"
        return
    raise AssertionError(f"no error with {text!r}")


@check
def what_redis_8_4_to_8_10_added(r):
    assert r.himport_prepare("layout", ["name", "age"]) and r.himport_set("h", "layout", ["bob", "3"])
    assert r.hgetall("h") == {b"name": b"bob", b"age": b"3"} and r.himport_discard("layout") == 1
    assert r.himport_discard_all() == 0
    assert r.increx("n", byint=3, ubound=10, ex=100) == [3, 3] and r.increx("n", byint=9, ubound=10) == [3, 0]
    assert [float(number) for number in r.increx("f", byfloat=1.5)] == [1.5, 1.5]
    assert r.msetex({"a": "1", "b": "2"}, ex=10) == 1 and r.delex("a", ifeq="1") == 1 and r.delex("b", ifne="2") == 0
    assert r.digest("b") == b"fb95a7322f5da314"
    r.rpush("l", 1, 2, 3, 4)
    assert r.lmovem("l", "m", "LEFT", "RIGHT", count=2, mode="COUNT", ordering="BULK") == [b"1", b"2"]
    assert r.blmovem("l", "m", 1, "LEFT", "RIGHT", count=2, mode="EXACTLY", ordering="OBO") == [b"3", b"4"]
    r.sadd("s1", 1, 2, 3)
    r.sadd("s2", 3, 4)
    assert (r.sunioncard(2, ["s1", "s2"]), r.sunioncard(2, ["s1", "s2"], approx=True)) == (4, 4)
    assert r.sdiffcard(2, ["s1", "s2"]) == 2
    r.zadd("z1", {"a": 1, "b": 2})
    r.zadd("z2", {"b": 5})
    assert [tuple(pair) for pair in r.zunion(["z1", "z2"], aggregate="COUNT", withscores=True)] == [(b"a", 1.0), (b"b", 2.0)]


@check
def streams_and_hot_keys_of_redis_8_4_to_8_10(r):
    first = r.xadd("x", {"a": 1}, idmp=("producer", b"1"))
    assert r.xadd("x", {"a": 1}, idmp=("producer", b"1")) == first and r.xlen("x") == 1
    assert r.xadd("x", {"a": 2}, idmpauto="producer") == r.xadd("x", {"a": 2}, idmpauto="producer") and r.xlen("x") == 2
    assert r.xcfgset("x", idmp_duration=50) and r.xinfo_stream("x")["idmp-duration"] == 50
    r.xgroup_create("x", "g", "0")
    r.xreadgroup("g", "c", {"x": ">"}, count=1)
    claimed = r.xreadgroup("g", "d", {"x": ">"}, claim_min_idle_time=0)
    entries = claimed[b"x"][0] if isinstance(claimed, dict) else claimed[0][1]
    assert [len(entry) for entry in entries] == [4, 2] and entries[0][0] == first
    assert r.xnack("x", "g", "FAIL", first) == 1 and r.xdelex("x", first) == [1]
    metrics = redis.commands.core.HotkeysMetricsTypes
    assert r.hotkeys_start([metrics.CPU, metrics.NET], count=5)
    r.get("hot")
    found = r.hotkeys_get()[0]
    assert found[b"tracking-active"] == 1 and b"hot" in found[b"by-net-bytes"]
    assert r.hotkeys_stop() and r.hotkeys_reset()


async def asyncio_checks(port):
    """The asynchronous client: many tasks over one pool, a transaction, a pipeline, a lost connection."""
    r = redis.asyncio.Redis(port=port, protocol=3, max_connections=1000)
    try:
        await r.flushall()
        await report("asyncio tasks", asyncio_tasks(r))
        await report("asyncio pipelines", asyncio_pipelines(r))
        await report("asyncio watch", asyncio_watch(r))
    finally:
        await r.aclose()


async def asyncio_tasks(r):
    await asyncio.gather(*(r.incr("counter") for _ in range(500)))
    assert await r.get("counter") == b"500"
    assert await r.set("k", "v", ex=10) and 0 < await r.ttl("k") <= 10


async def asyncio_pipelines(r):
    async with r.pipeline(transaction=True) as pipe:
        assert await pipe.set("a", 1).incr("a").execute() == [True, 2]
    async with r.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"p:{i}", i)
        assert len(await pipe.execute()) == 1000
    assert len([key async for key in r.scan_iter("p:*")]) == 1000


async def asyncio_watch(r):
    async with r.pipeline() as pipe:
        await pipe.watch("a")
        await r.set("a", 7)
        pipe.multi()
        pipe.set("a", 8)
        try:
            await pipe.execute()
        except redis.WatchError:
            return
    raise AssertionError("EXEC ran though a watched key changed")


async def report(name, coroutine):
    try:
        await coroutine
        print(f"ok - {name}")
    except Exception as error:
        print(f"not ok - {name}: {error!r}")


def main():
    port, mode = int(sys.argv[1]), sys.argv[2]
    if mode == "asyncio":
        asyncio.run(asyncio_checks(port))
        return
    r = redis.Redis(port=port, protocol=3 if mode == "resp3" else 2)
    for function in CHECKS:
        r.flushall()
        try:
            function(r)
            print(f"ok - {function.__name__}")
        except Exception as error:  # every failure is a result, whatever its kind
            line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else 0
            print(f"not ok - {function.__name__}: line {line}: {error!r}")


if __name__ == "__main__":
    main()
