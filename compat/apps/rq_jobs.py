#!/usr/bin/env python3
"""rq: jobs in queues, done by worker processes, their results kept in streams: `rq_jobs.py PORT`.

The workers import this file for the jobs. Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import redis
from rq import Queue, Retry
from rq.results import Result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness.promises import kept, name_of  # noqa: E402

JOBS = 60
WORK_MAX_S = 120


def note(url: str, number: int) -> int:
    """Leaves a trace, and tells how many there are."""
    return redis.Redis.from_url(url).rpush("ran", number)


def works_the_third_time(url: str) -> str:
    if redis.Redis.from_url(url).incr("tries") < 3:
        raise RuntimeError("not yet")
    return "third"


def never_works() -> None:
    raise RuntimeError("never")


def worker(url: str, *more: str) -> subprocess.Popen:
    """A worker process of the queue `jobs`."""
    return subprocess.Popen([sys.executable, "-m", "rq.cli", "worker", "-q", "--url", url, *more, "jobs"],
                            cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def work(url: str, workers: int = 1) -> None:
    """Lets workers do what is queued."""
    crew = [worker(url, "--burst") for _ in range(workers)]
    try:
        codes = [one.wait(timeout=WORK_MAX_S) for one in crew]
    finally:
        [one.kill() for one in crew]
    assert codes == [0] * workers, f"the workers ended with {codes}"


def every_job_runs_once_and_its_result_is_kept(url: str) -> None:
    connection = redis.Redis.from_url(url)
    queue = Queue("jobs", connection=connection)
    jobs = [queue.enqueue("rq_jobs.note", url, number) for number in range(JOBS)]
    work(url, workers=2)
    ran = sorted(int(number) for number in connection.lrange("ran", 0, -1))
    assert ran == list(range(JOBS)), f"{len(ran)} ran: {ran}"
    results = [job.latest_result() for job in jobs]
    assert sorted(result.return_value for result in results) == list(range(1, JOBS + 1)), results
    assert all(result.type == Result.Type.SUCCESSFUL for result in results)
    assert 0 < connection.ttl(f"rq:results:{jobs[0].id}") <= 500
    assert queue.finished_job_registry.count == JOBS and queue.count == 0


def what_fails_is_tried_again_and_told(url: str) -> None:
    queue = Queue("jobs", connection=redis.Redis.from_url(url))
    again = queue.enqueue("rq_jobs.works_the_third_time", url, retry=Retry(max=5))
    never = queue.enqueue("rq_jobs.never_works", retry=Retry(max=1))
    work(url)
    assert again.latest_result().return_value == "third", again.get_status()
    assert never.get_status() == "failed" and never.latest_result().type == Result.Type.FAILED
    assert "RuntimeError: never" in never.latest_result().exc_string
    assert queue.failed_job_registry.get_job_ids() == [never.id]


def a_job_waits_for_those_it_depends_on(url: str) -> None:
    connection = redis.Redis.from_url(url)
    queue = Queue("jobs", connection=connection)
    last = None
    for number in range(5):
        last = queue.enqueue("rq_jobs.note", url, number, depends_on=last)
    assert queue.count == 1 and queue.deferred_job_registry.count == 4
    work(url, workers=2)
    assert connection.lrange("ran", 0, -1) == [b"0", b"1", b"2", b"3", b"4"], connection.lrange("ran", 0, -1)


def a_scheduled_job_runs_when_it_is_due(url: str) -> None:
    queue, asked = Queue("jobs", connection=redis.Redis.from_url(url)), datetime.now(timezone.utc)
    job = queue.enqueue_in(timedelta(seconds=1), "rq_jobs.note", url, 1)
    assert job.get_status() == "scheduled" and queue.scheduled_job_registry.count == 1
    one = worker(url, "--with-scheduler")
    try:
        deadline = time.monotonic() + WORK_MAX_S
        while job.latest_result() is None:
            assert time.monotonic() < deadline and one.poll() is None, f"the job is {job.get_status()}"
            time.sleep(0.1)
        one.terminate()
        assert one.wait(timeout=WORK_MAX_S) == 0
    finally:
        one.kill()
    result = job.latest_result()
    assert result.return_value == 1 and result.created_at - asked >= timedelta(seconds=1), result.created_at - asked


PROMISES = [
    every_job_runs_once_and_its_result_is_kept, what_fails_is_tried_again_and_told, a_job_waits_for_those_it_depends_on,
    a_scheduled_job_runs_when_it_is_due,
]


def main() -> int:
    url = f"redis://127.0.0.1:{sys.argv[1]}/0"

    def on_an_empty_server(promise) -> None:
        redis.Redis.from_url(url).flushall()
        promise(url)

    return 0 if all([kept(name_of(promise), on_an_empty_server, promise) for promise in PROMISES]) else 1


if __name__ == "__main__":
    sys.exit(main())
