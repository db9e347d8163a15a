#!/usr/bin/env python3
"""Locks and counters by scripts: redis-py's Lock and django-redis, from several threads: `locks.py PORT`.

Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.cache import caches  # noqa: E402
from harness.promises import kept, name_of  # noqa: E402
from redis.exceptions import LockNotOwnedError  # noqa: E402


def together(count: int, work) -> None:
    """Runs `work(number)` in threads; the first exception is raised here."""
    errors = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if errors:
        raise errors[0]


def redis_py_lock_lets_one_in(url: str) -> None:
    connection = redis.Redis.from_url(url)
    connection.set("counter", 0)

    def work(_: int) -> None:
        for _ in range(50):
            with connection.lock("the lock", timeout=10, sleep=0.001):
                connection.set("counter", int(connection.get("counter")) + 1)

    together(4, work)
    assert int(connection.get("counter")) == 200, connection.get("counter")
    lock = connection.lock("another", timeout=5)
    assert lock.acquire() and lock.extend(5) and lock.reacquire() and lock.owned()
    lock.release()


def redis_py_lock_is_lost_with_its_time(url: str) -> None:
    connection = redis.Redis.from_url(url)
    lock, next_one = (connection.lock("short", timeout=0.2) for _ in range(2))
    assert lock.acquire()
    time.sleep(0.3)
    assert next_one.acquire(blocking=False) and not lock.owned()
    for late in (lock.reacquire, lock.release):
        try:
            late()
        except LockNotOwnedError:
            continue
        raise AssertionError("a lock whose time is over was given back")


def django_redis_incr_loses_nothing(_: str) -> None:
    cache = caches["default"]
    cache.set("n", 0, timeout=None)
    together(8, lambda _: [cache.incr("n") for _ in range(100)])
    assert cache.get("n") == 800, cache.get("n")


def django_redis_lock_lets_one_in(_: str) -> None:
    cache = caches["default"]
    cache.set("m", 0, timeout=None)

    def work(_: int) -> None:
        for _ in range(25):
            with cache.lock("m lock", timeout=10, sleep=0.001):
                cache.set("m", cache.get("m") + 1, timeout=None)

    together(4, work)
    assert cache.get("m") == 100, cache.get("m")


def django_redis_keeps_values_and_times(_: str) -> None:
    cache = caches["default"]
    cache.set_many({f"page:{i}": {"number": i} for i in range(200)}, timeout=60)
    assert cache.get_many(["page:3", "none"]) == {"page:3": {"number": 3}}
    assert 0 < cache.ttl("page:3") <= 60 and cache.persist("page:3") and cache.ttl("page:3") is None
    assert cache.add("page:3", "other") is False and cache.get_or_set("new", lambda: "made") == "made"
    assert sorted(cache.iter_keys("page:*")) == sorted(f"page:{i}" for i in range(200))
    assert cache.delete_pattern("page:*") == 200 and cache.get("page:3") is None


PROMISES = [
    redis_py_lock_lets_one_in, redis_py_lock_is_lost_with_its_time, django_redis_incr_loses_nothing,
    django_redis_lock_lets_one_in, django_redis_keeps_values_and_times,
]


def main() -> int:
    url = f"redis://127.0.0.1:{sys.argv[1]}/0"
    settings.configure(CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}})
    return 0 if all([kept(name_of(promise), promise, url) for promise in PROMISES]) else 1


if __name__ == "__main__":
    sys.exit(main())
