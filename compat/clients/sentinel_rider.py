#!/usr/bin/env python3
"""redis-py behind Sentinels: `sentinel_rider.py sync|asyncio KEY HOST:PORT...`, on the interpreter that has redis-py.

Adds the numbers 1, 2, … to the set KEY at the primary of `group` and counts it at a replica, until it is terminated, over
whatever becomes of them. Prints `wrote N` for what was acknowledged, `read N` for what a replica counted, `lost: WHY` for what
failed; a failed number is not written again.
"""

import asyncio
import sys
import time

import redis
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

GROUP = "group"
READ_EVERY = 10
PAUSE_S = 0.01
WAITS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
# By itself the library asks each Sentinel that is silent four times, with seconds between.
ONCE = {**WAITS, "retry": redis.retry.Retry(NoBackoff(), 0)}
ONCE_ASYNCIO = {**WAITS, "retry": redis.asyncio.retry.Retry(NoBackoff(), 0)}


def main() -> None:
    way, key, *places = sys.argv[1:]
    sentinels = [(place.rsplit(":", 1)[0], int(place.rsplit(":", 1)[1])) for place in places]
    if way == "asyncio":
        asyncio.run(ride_asyncio(key, sentinels))
    else:
        ride(key, sentinels)


def ride(key: str, sentinels: list) -> None:
    sentinel = redis.sentinel.Sentinel(sentinels, sentinel_kwargs=ONCE, **ONCE)
    primary, replica = sentinel.master_for(GROUP), sentinel.slave_for(GROUP)
    number = 0
    while True:
        number += 1
        try:
            primary.sadd(key, number)
            print(f"wrote {number}", flush=True)
            if number % READ_EVERY == 0:
                print(f"read {replica.scard(key)}", flush=True)
        except redis.exceptions.RedisError as error:
            print(f"lost: {error}", flush=True)
        time.sleep(PAUSE_S)


async def ride_asyncio(key: str, sentinels: list) -> None:
    sentinel = redis.asyncio.sentinel.Sentinel(sentinels, sentinel_kwargs=ONCE_ASYNCIO, **ONCE_ASYNCIO)
    primary, replica = sentinel.master_for(GROUP), sentinel.slave_for(GROUP)
    number = 0
    while True:
        number += 1
        try:
            await primary.sadd(key, number)
            print(f"wrote {number}", flush=True)
            if number % READ_EVERY == 0:
                print(f"read {await replica.scard(key)}", flush=True)
        except redis.exceptions.RedisError as error:
            print(f"lost: {error}", flush=True)
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
