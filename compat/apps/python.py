#!/usr/bin/env python3
"""Applications that live by scripts, each by its package and with a real workload, on a server of their own.

  python.py --server PATH        with the packages of requirements.txt (compat/work/apps holds their environment)

rq: jobs queued, run by workers beside each other, each exactly once. redis-py Lock: a counter under a lock, by threads.
django-redis: `incr` by threads loses nothing. Prints `ok NAME` or `FAILED NAME: why` for each, then `N passed, N failed`.
"""

import argparse
import os
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / "work" / "apps"
sys.path.insert(0, str(HERE.parent))


def environment() -> Path:
    """The interpreter that has the packages; made when it is not there yet."""
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")], check=True)
    return python


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


def rq_runs_every_job_once(url: str) -> None:
    import redis
    from rq import Queue

    connection = redis.Redis.from_url(url)
    queue = Queue("jobs", connection=connection)
    # Nothing is kept of a result: rq keeps results in streams, which are not built yet.
    [queue.enqueue("jobs.note", url, number, result_ttl=0) for number in range(40)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "rq.cli", "worker", "--burst", "-q", "--url", url, "jobs"],
            cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    [worker.wait(timeout=120) for worker in workers]
    ran = sorted(int(number) for number in connection.lrange("ran", 0, -1))
    assert ran == list(range(40)), f"{len(ran)} ran: {ran}"


def a_lock_lets_one_in(url: str) -> None:
    import redis

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


def django_incr_loses_nothing(url: str) -> None:
    from django.conf import settings

    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
    settings.configure(CACHES={"default": cache})
    from django.core.cache import caches

    caches["default"].set("n", 0, timeout=None)
    together(8, lambda _: [caches["default"].incr("n") for _ in range(100)])
    assert caches["default"].get("n") == 800, caches["default"].get("n")


CASES = {"rq": rq_runs_every_job_once, "redis-py Lock": a_lock_lets_one_in, "django-redis incr": django_incr_loses_nothing}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    options = parser.parse_args()
    python = environment()
    if Path(sys.prefix).resolve() != VENV.resolve():
        return subprocess.run([str(python), __file__, "--server", options.server], check=False).returncode
    from harness.server import Server

    failed = 0
    with Server(options.server) as server:
        for name, case in CASES.items():
            try:
                case(f"redis://127.0.0.1:{server.port}/0")
                print(f"ok {name}", flush=True)
            except Exception as error:  # noqa: BLE001 - a case's failure is its result
                failed += 1
                print(f"FAILED {name}: {error!r}", flush=True)
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
