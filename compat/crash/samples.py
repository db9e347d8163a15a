#!/usr/bin/env python3
"""Directories that the power-cut test recovered: a real redis-server 7.0.15 must load them and find the same data.

  samples.py --server PATH DIRECTORY

Below DIRECTORY is one folder a sample, with an appendonlydir in it (tests/power_cut writes them when POWER_SAMPLES
names it). Each is checked by redis-check-aof and loaded, from copies, by the server under test and by the real one;
DEBUG DIGEST of all databases and every deadline must be equal. Prints what differs and `N passed, N failed`.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from disk import check_aof, deadlines, wait_loaded  # noqa: E402
from harness.resp import Connection  # noqa: E402
from harness.server import Server  # noqa: E402

PEER = "7.0"
DATABASES = (0, 3)  # that the test's workload uses
SAMPLES_MAX = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to compare with the real one")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    samples = sorted(options.directory.iterdir()) if options.directory.is_dir() else []
    # Evenly over all of them, when there are more than a run has time for.
    samples = samples[::max(1, -(-len(samples) // SAMPLES_MAX))]
    passed = failed = 0
    for sample in samples:
        problem = judge(options.server, sample)
        passed, failed = passed + (not problem), failed + bool(problem)
        if problem:
            print(f"    {sample.name}: {problem}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def judge(server: str, sample: Path) -> str:
    """What is wrong with a sample; nothing if all is well."""
    with tempfile.TemporaryDirectory(prefix="memkv-sample-") as home:
        digests = []
        for number, name in enumerate((PEER, server)):
            place = Path(home) / str(number)
            shutil.copytree(sample, place)
            code, said = check_aof(place / "appendonlydir" / "appendonly.aof.manifest")
            if code != 0:
                return f"redis-check-aof: {said[-300:]}"
            try:
                digests.append(digest(name, place))
            except RuntimeError as error:
                return f"{name} does not load it: {error}"
        return "" if digests[0] == digests[1] else f"{PEER} finds {digests[0]}, {server} {digests[1]}"


def deadlines_in(connection: Connection, database: int) -> dict[bytes, bytes]:
    connection.call("SELECT", database)
    return deadlines(connection, sorted(item[1] for item in connection.call("KEYS", "*")[1]))


def digest(name: str, place: Path) -> tuple:
    server = Server(name, {"appendonly": "yes", "enable-debug-command": "yes"}, place)
    server.start()
    try:
        connection = Connection(server.port)
        wait_loaded(connection)
        # The digest says that a key has a deadline, not which.
        return connection.call("DEBUG", "DIGEST")[1], [deadlines_in(connection, database) for database in DATABASES]
    finally:
        server.kill()


if __name__ == "__main__":
    sys.exit(main())
