#!/usr/bin/env python3
"""redis-benchmark against a server: `redis_benchmark.py PORT`. Not a measurement: does every test run to its end?

Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import csv
import subprocess
import sys

REQUESTS = "20000"
RUNS = {
    "no pipeline": (["-t", "ping,set,get,incr,mset"], {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"}),
    "pipeline 16": (["-t", "ping,set,get,incr,mset", "-P", "16"], {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"}),
    "random keys and threads": (["-t", "set,get", "-r", "100000", "-d", "512", "--threads", "2"], {"SET", "GET"}),
    "RESP3": (["-t", "set,get", "-3"], {"SET", "GET"}),
    "own command": (["-r", "1000", "SETEX", "key:__rand_int__", "100", "value"], {"SETEX key:__rand_int__ 100 value"}),
}


def run(port, arguments, names):
    command = ["redis-benchmark", "-p", port, "-n", REQUESTS, "-c", "50", "--csv", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.reader(line for line in done.stdout.splitlines() if line.startswith('"')))
    found = {row[0]: float(row[1]) for row in rows if row[0] != "test"}
    assert set(found) == names, f"ran {sorted(found)}: {done.stderr[-300:]}"
    assert all(rate > 0 for rate in found.values()), found


def main():
    for name, (arguments, names) in RUNS.items():
        try:
            run(sys.argv[1], arguments, names)
            print(f"ok - {name}")
        except Exception as error:  # every failure is a result, whatever its kind
            print(f"not ok - {name}: {error!r}")


if __name__ == "__main__":
    main()
