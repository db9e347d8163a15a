#!/usr/bin/env python3
"""Celery with the server as its broker and for its results, a worker process, remote control: `celery_tasks.py PORT`.

The worker imports this file for the tasks. Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness.promises import kept, name_of  # noqa: E402

URL = os.environ.get("APPLICATION_URL") or f"redis://127.0.0.1:{sys.argv[1]}/0"
RESULT_S = 3600
WAIT_MAX_S = 60

app = Celery("celery_tasks", broker=URL, backend=URL)
app.conf.update(result_expires=RESULT_S, broker_connection_retry_on_startup=True, task_send_sent_event=True)
server = redis.Redis.from_url(URL)


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def note(number: int) -> int:
    """Counts how often it ran for this number."""
    return server.hincrby("runs", number, 1)


@app.task(autoretry_for=(RuntimeError,), max_retries=5, default_retry_delay=0)
def works_the_third_time() -> str:
    if server.incr("tries") < 3:
        raise RuntimeError("not yet")
    return "third"


@app.task
def never_works() -> None:
    raise ValueError("never")


@app.task
def nap(seconds: float) -> None:
    server.incr("naps")
    time.sleep(seconds)


def until(what: str, holds) -> object:
    """The first true value of `holds`."""
    deadline = time.monotonic() + WAIT_MAX_S
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what}: not after {WAIT_MAX_S} s"
        time.sleep(0.05)
    return value


def celery(*words: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "celery_tasks", *words]


def settings() -> dict:
    return {"cwd": HERE, "env": {**os.environ, "APPLICATION_URL": URL, "PYTHONPATH": str(HERE)}, "stdin": subprocess.DEVNULL}


def a_chain_passes_results_on() -> None:
    assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=WAIT_MAX_S) == 10
    links = chain(add.s(0, 1), *(add.s(1) for _ in range(30)))()
    assert links.get(timeout=WAIT_MAX_S) == 31


def every_task_runs_once() -> None:
    results = [note.delay(number) for number in range(200)]
    assert [result.get(timeout=WAIT_MAX_S) for result in results] == [1] * 200
    assert server.hgetall("runs") == {str(number).encode(): b"1" for number in range(200)}


def a_group_and_a_chord_gather_results() -> None:
    assert group(add.s(i, i) for i in range(40))().get(timeout=WAIT_MAX_S) == [2 * i for i in range(40)]
    assert chord((add.s(i, i) for i in range(40)), total.s())().get(timeout=WAIT_MAX_S) == 1560
    tree = chain(add.s(1, 1), group(add.s(i) for i in range(5)), total.s())()
    assert tree.get(timeout=WAIT_MAX_S) == 20


def failures_are_retried_and_told() -> None:
    assert works_the_third_time.delay().get(timeout=WAIT_MAX_S) == "third"
    failed = never_works.delay()
    try:
        failed.get(timeout=WAIT_MAX_S)
    except ValueError as error:
        assert str(error) == "never" and failed.state == "FAILURE"
    else:
        raise AssertionError("a failed task has a result")
    broken = chord([add.s(1, 1), never_works.s()], total.s())()
    try:
        broken.get(timeout=WAIT_MAX_S)
    except Exception as error:  # noqa: BLE001 - the class depends on how the chord failed
        assert "never" in str(error), error
    else:
        raise AssertionError("a chord with a failed task has a result")


def a_result_lives_its_time() -> None:
    result = add.delay(2, 3)
    assert result.get(timeout=WAIT_MAX_S) == 5
    assert 0 < server.ttl(f"celery-task-meta-{result.id}") <= RESULT_S
    result.forget()
    assert not server.exists(f"celery-task-meta-{result.id}")


def a_task_with_a_countdown_waits() -> None:
    asked = time.time()
    late = note.apply_async((-1,), countdown=1)
    assert not late.ready() and late.get(timeout=WAIT_MAX_S) == 1 and time.time() - asked >= 1


def the_worker_answers_remote_control() -> None:
    done = subprocess.run(celery("inspect", "ping", "--json"), **settings(), capture_output=True, text=True, timeout=WAIT_MAX_S)
    assert done.returncode == 0, done.stdout + done.stderr
    (name, answer), = json.loads(done.stdout).items()
    assert name.startswith("tester@") and answer == {"ok": "pong"}, done.stdout
    inspect = app.control.inspect(timeout=10, limit=1)
    assert "celery_tasks.add" in inspect.registered()[name]
    assert [queue["name"] for queue in inspect.active_queues()[name]] == ["celery"]
    assert inspect.stats()[name]["broker"]["transport"] == "redis"
    busy = nap.delay(3)
    until("the task is told as active", lambda: busy.id in [task["id"] for task in inspect.active()[name]])
    busy.get(timeout=WAIT_MAX_S)


def another_queue_is_listened_to_when_asked() -> None:
    assert app.control.add_consumer("other", reply=True, timeout=10)
    assert add.apply_async((1, 1), queue="other").get(timeout=WAIT_MAX_S) == 2
    assert app.control.cancel_consumer("other", reply=True, timeout=10)
    waits = add.apply_async((1, 1), queue="other")
    assert add.delay(1, 1).get(timeout=WAIT_MAX_S) == 2
    assert waits.state == "PENDING" and server.llen("other") == 1


def revoked_tasks_do_not_run() -> None:
    server.delete("naps")
    waiting, running = nap.apply_async((0,), countdown=2), nap.delay(600)
    until("the long task runs", lambda: server.get("naps") == b"1")
    waiting.revoke()
    running.revoke(terminate=True)
    for task in (waiting, running):
        try:
            task.get(timeout=WAIT_MAX_S)
        except TaskRevokedError:
            continue
        raise AssertionError("a revoked task has a result")
    assert server.get("naps") == b"1"
    assert add.delay(1, 1).get(timeout=WAIT_MAX_S) == 2


def events_are_heard() -> None:
    heard = []
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-succeeded": lambda event: heard.append(event["uuid"])})

        def listen() -> None:
            try:
                receiver.capture(limit=None, timeout=WAIT_MAX_S, wakeup=True)
            except TimeoutError:
                pass

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        sent = []

        def one_more_is_heard() -> bool:
            sent.append(add.delay(1, 1))
            sent[-1].get(timeout=WAIT_MAX_S)
            return any(result.id in heard for result in sent)

        until("an event is heard", one_more_is_heard)
        receiver.should_stop = True
        listener.join(timeout=WAIT_MAX_S)


PROMISES = [
    a_chain_passes_results_on, every_task_runs_once, a_group_and_a_chord_gather_results, failures_are_retried_and_told,
    a_result_lives_its_time, a_task_with_a_countdown_waits, the_worker_answers_remote_control,
    another_queue_is_listened_to_when_asked, revoked_tasks_do_not_run, events_are_heard,
]


def main() -> int:
    with tempfile.TemporaryFile() as log:
        worker = subprocess.Popen(celery("worker", "--concurrency", "2", "--hostname", "tester@%h", "--events", "--loglevel", "WARNING"),
                                  **settings(), stdout=log, stderr=subprocess.STDOUT)

        def a_worker_comes_up() -> None:
            until("the worker answers", lambda: worker.poll() is not None or app.control.ping(timeout=1))
            assert worker.poll() is None, f"it ended with {worker.returncode}"

        def the_worker_ends_when_told() -> None:
            worker.terminate()
            assert worker.wait(timeout=WAIT_MAX_S) == 0, worker.returncode

        try:
            good = kept(name_of(a_worker_comes_up), a_worker_comes_up)
            good = good and all([kept(name_of(promise), promise) for promise in PROMISES])
            good = kept(name_of(the_worker_ends_when_told), the_worker_ends_when_told) and good
        finally:
            worker.kill()
        if not good:
            log.seek(0)
            print(log.read().decode(errors="replace")[-3000:], file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
