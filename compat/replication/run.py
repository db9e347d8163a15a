#!/usr/bin/env python3
"""Replication seen from outside: SERVER and real servers as each other's primary and replica.

  run.py --server PATH [--peer redis-7.0|redis-8.2|valkey-9.1|redis-6.2] [--fast] [--only NAME] [--seconds 60] [--rounds 3]
         [--seed 1]

SERVER is any binary that takes redis-server's command line; a real one proves the checks. Each check starts servers of its
own. Prints `ok`, `not ok` with every broken promise, or `skip` with the reason, and `N passed, N failed, N skipped`.
`--fast` keeps what every change can afford; `--only` a check or a group; `--keep` the directories of what failed; `--list`
the promises.
"""

import argparse
import importlib
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import kit

GROUPS = ("way_in", "way_out", "partial", "promotion", "restart", "auth", "rogue", "sentinel", "chain")


def main() -> int:
    options = arguments()
    for group in GROUPS:
        if (Path(__file__).parent / f"{group}.py").exists():
            importlib.import_module(group)
    chosen = [one for one in kit.CHECKS if options.only in f"{one.group}.{one.name}" and (one.fast or not options.fast)]
    if options.list:
        print("\n".join(f"{one.group}.{one.name}: {one.promise}" for one in chosen))
        return 0
    counts = {"ok": 0, "not ok": 0, "skip": 0}
    for one in chosen:
        started = time.monotonic()
        word, stories = run(one, options)
        for _ in range(options.retries):
            if word == "not ok":
                print(f"# {one.group}.{one.name} failed and is tried again: " + "; ".join(stories), flush=True)
                word, stories = run(one, options)
        counts[word] += 1
        print(f"{word} - {one.group}.{one.name} ({time.monotonic() - started:.1f} s)" + (f": {one.promise}" if word == "not ok" else ""), flush=True)
        for story in stories:
            print(f"    {story}", flush=True)
    print(f"{counts['ok']} passed, {counts['not ok']} failed, {counts['skip']} skipped")
    return 1 if counts["not ok"] or not counts["ok"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test")
    parser.add_argument("--peer", default="redis-7.0", help=f"the real server: a path or one of {', '.join(kit.PEERS)}")
    parser.add_argument("--fast", action="store_true", help="only what every change can afford")
    parser.add_argument("--only", default="", metavar="NAME", help="checks with this in GROUP.NAME")
    parser.add_argument("--seconds", type=float, default=60, help="how long the random chain works")
    parser.add_argument("--rounds", type=int, default=3, help="how many primaries the Sentinels lose where the losses are counted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--retries", type=int, default=0, help="how often a check that failed is tried again: for busy machines")
    parser.add_argument("--keep", action="store_true", help="the directories of failed checks")
    parser.add_argument("--list", action="store_true", help="names and promises, nothing is run")
    options = parser.parse_args()
    options.server, options.peer = (kit.kind(kit.PEERS.get(name, str(Path(name).absolute()))) for name in (options.server, options.peer))
    return options


def run(one: kit.Check, options: argparse.Namespace) -> tuple[str, list[str]]:
    """The word for what came out, and the stories."""
    home = Path(tempfile.mkdtemp(prefix="memkv-replication-"))
    trial = kit.Trial(options.server, options.peer, home, options)
    random.seed(options.seed)
    try:
        one.run(trial)
    except kit.Skip as reason:
        trial.end()
        shutil.rmtree(home, ignore_errors=True)
        return "skip", [str(reason)]
    except kit.Failure as failure:
        trial.faults.append(str(failure))
    except KeyboardInterrupt:
        trial.end()
        shutil.rmtree(home, ignore_errors=True)
        raise
    except Exception:  # noqa: BLE001 — a check that falls over has failed, and the others still run
        trial.faults.append(traceback.format_exc(limit=-4))
    for node in trial.nodes:
        # A node that a check ended on purpose has been waited for.
        if node.process and node.process.returncode is None and node.process.poll() is not None:
            trial.faults.append(f"{node} died with {node.process.returncode}: {node.tail()}")
    trial.end()
    if not trial.faults:
        shutil.rmtree(home, ignore_errors=True)
        return "ok", trial.notes
    if options.keep:
        trial.faults.append(f"kept: {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return "not ok", trial.faults + trial.notes


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
