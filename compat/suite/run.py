#!/usr/bin/env python3
"""Runs Redis 7.0.15's own test suite, unmodified and in its normal mode, with SERVER as src/redis-server; or, with
`--runner valkey`, Valkey 9.1.2's, with SERVER as src/valkey-server and valkey-known-failures.txt for known-failures.txt.

Each file is one `runtest --single FILE --clients 1` with its own time limit, in a tree of its own per slot (see
tree.py), so a crash or a hang ends one file and no other. The suite's own `--durable` keeps a file going after a
test that meets an error it did not expect (an unknown command, a lost connection); `--strict` leaves it out. A file
with failures nobody listed is run once more, alone, because the suite measures time on a machine that others use.

Prints one line per file and `N passed, N failed, N skipped of M`; M counts the tests the real server passes.
Exit 1 when something fails that known-failures.txt does not list, or something listed passes. `--fast` runs the files
of fast.txt; `--score` keeps a full run's counts in score.json; `--tls` is the suite's TLS mode (Debian's tcl-tls).
Results: --home/{result.json, output/FILE.txt, servers/FILE/}, by default in compat/work/suite/RUNNER.
"""

import argparse
import concurrent.futures
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import ledger
import output
import ports
from runners import RUNNERS, WORK
from tree import Tree

# Where the Sentinel and Cluster runners put their servers; they cannot be told otherwise.
FIXED_PORTS = [base + number for base in (20000, 30000) for number in range(40)]
# A file may take this much longer than on the real server before it counts as hung; on a shared machine a
# neighbour's build easily doubles a run.
PATIENCE = 4
PATIENCE_FLOOR_S = 60
UNKNOWN_FILE_S = 1200
# More files than this with surprises are not noise: running them again would only take time.
RETRY_FILES_MAX = 12
SURPRISES_SHOWN = 15  # per file; a file that aborts early has hundreds, all for one reason
SERVER_LOG_MAX = 1 << 20  # bytes of a server's log kept; the suite's stress tests write far more
CRASH_MARKS = ("REDIS BUG REPORT START", "panicked at", "ASSERTION FAILED")
CRASH_LINES = 12


def main() -> int:
    options = arguments()
    suite = Suite(options)
    files = options.files or (ledger.fast() if options.fast else suite.listing())
    started = time.monotonic()
    results = suite.run(files)
    if options.retries and not options.record:
        results = suite.again(results)
    if options.record:
        return record(options.runner.name, results)
    return report(options, results, time.monotonic() - started)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="files such as unit/type/string; none: all")
    parser.add_argument("--server", type=Path, required=True, help="the binary to test")
    parser.add_argument("--runner", choices=RUNNERS, default="redis")
    parser.add_argument("--home", type=Path, help="where the trees and results go; by default compat/work/suite/RUNNER")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 2, max(ports.JOBS_MAX, 1)), help="files at the same time")
    parser.add_argument("--retries", type=int, default=1, help="runs more for a file with surprises")
    parser.add_argument("--strict", action="store_true", help="leave out --durable: the first error ends a file")
    parser.add_argument("--fast", action="store_true", help="the files of fast.txt")
    parser.add_argument("--tls", action="store_true", help="the suite's TLS mode: every connection speaks TLS")
    parser.add_argument("--score", action="store_true", help="keep the counts of a full run in score.json")
    parser.add_argument("--record", action="store_true", help="SERVER is the real one: add this run to expected.json")
    options = parser.parse_args()
    options.runner = RUNNERS[options.runner]
    options.home = (options.home or WORK / "suite" / options.runner.name).absolute()
    if not options.server.exists():
        parser.error(f"{options.server}: no such file")
    if not (options.runner.source / options.runner.script).exists():
        parser.error(f"the suite's source is missing: run scripts/oracles.sh {options.runner.step}")
    if options.runner.name != "redis" and (options.fast or options.score):
        parser.error("--fast and --score are for Redis's suite")
    if options.runner.instances:
        options.jobs = 1
        if taken := ports.held(FIXED_PORTS):
            parser.error(f"port {taken[0]} is in use, where the {options.runner.name} runner starts its servers")
    return options


class Suite:
    """The slots and what they share."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.home = options.home
        for part in ("output", "servers"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        self.runner = options.runner
        self.expected = ledger.expected(self.runner.name)
        self.known = ledger.known(self.runner.known)
        self.running: set[int] = set()
        self.slots = queue.Queue()
        for number, window in enumerate(ports.windows(options.jobs)):
            tree = Tree(self.home / f"slot{number}", self.runner, options.server)
            if options.tls:
                tree.make_certificates()
            self.slots.put((tree, window))
        self.root = tree.root

    def listing(self) -> list[str]:
        """The runner's files but those left out, the slowest first so that the slots end together."""
        if self.runner.instances:
            files = sorted(path.stem for path in (self.root / "tests" / self.runner.name / "tests").glob("*.tcl"))
        else:
            command = ["tclsh", "tests/test_helper.tcl", "--list-tests"]
            files = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout.split()
        files = [file for file in files if not ledger.left_out(file, self.known)]
        return sorted(files, key=lambda file: -self.expected.get(file, {}).get("seconds", 0))

    def run(self, files: list[str]) -> dict[str, dict]:
        results = {}
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            waiting = {pool.submit(self.one, file): file for file in files}
            try:
                for number, done in enumerate(concurrent.futures.as_completed(waiting), 1):
                    result = results[waiting[done]] = done.result()
                    print(f"[{number}/{len(files)}] {line(result)}", flush=True)
                    for text in result["crash"]:
                        print(f"    | {text}")
            except KeyboardInterrupt:
                # The pool waits for its threads, and these for the runners.
                pool.shutdown(wait=False, cancel_futures=True)
                for process in self.running:
                    os.killpg(process, signal.SIGKILL)
                raise
        return results

    def again(self, results: dict[str, dict]) -> dict[str, dict]:
        """Runs files with surprises once more, alone; a test that passes either time is flaky, not failing."""
        for _ in range(self.options.retries):
            noisy = [file for file, result in results.items() if result["verdict"].surprises]
            if not 0 < len(noisy) <= RETRY_FILES_MAX:
                return results
            print(f"once more, alone: {' '.join(noisy)}", flush=True)
            for file in noisy:
                second = self.one(file)
                before, after = results[file]["verdict"].surprises, second["verdict"].surprises
                if set(after) < set(before):
                    second["flaky"] = sorted(set(before) - set(after))
                    results[file] = second
                    print(f"    {line(second)}", flush=True)
        return results

    def one(self, file: str) -> dict:
        """Runs one file in a free slot and judges it."""
        tree, window = self.slots.get()
        try:
            tree.clean()
            started = time.monotonic()
            path = self.home / "output" / (file.replace("/", "_") + ".txt")
            ended = self.execute(tree, file, window, path)
            seconds = time.monotonic() - started
            left = tree.sweep()
            outcome = output.read(file, path.read_text(errors="replace"))
            if ended:
                outcome.aborted = ended
            elif not outcome.finished and not outcome.aborted:
                outcome.aborted = "the runner ended without a word"
            crash = self.keep_logs(tree, file) if outcome.failed or outcome.aborted or outcome.outside else []
        finally:
            self.slots.put((tree, window))
        tests = self.expected.get(file, {}).get("tests", {})
        verdict = ledger.judge(tests, outcome, self.known.get(file, {}))
        return {"file": file, "seconds": seconds, "outcome": outcome, "verdict": verdict, "crash": crash,
                "left": left, "flaky": []}

    def execute(self, tree: Tree, file: str, window: ports.Window, path: Path) -> str:
        """Runs the suite on one file; returns why we had to end it, or nothing."""
        known = self.expected.get(file, {})
        limit = PATIENCE * known["seconds"] + PATIENCE_FLOOR_S if known else UNKNOWN_FILE_S
        quiet = PATIENCE * known["longest_ms"] // 1000 + PATIENCE_FLOOR_S if known else UNKNOWN_FILE_S
        command = [f"./{self.runner.script}", "--single", file, "--dont-clean", *self.runner.options]
        if not self.runner.instances:
            stretch = window.stretch()
            if stretch is None:
                path.write_text("")
                return f"no free ports in {window.first}-{window.first + ports.WINDOW - 1}"
            command += ["--clients", "1", "--baseport", str(stretch[0]), "--portcount", str(stretch[1])]
            command += ["--timeout", str(quiet)]
            command += [] if self.options.strict else ["--durable"]
            command += ["--tls"] if self.options.tls else []
            for name in [] if self.options.record else ledger.spoilers(self.known.get(file, {})):
                command += ["--skiptest", name]
        # A plain terminal keeps colour codes out of the output.
        environment = {**os.environ, "TERM": "dumb"}
        with open(path, "wb") as out:
            child = subprocess.Popen(command, cwd=tree.root, stdin=subprocess.DEVNULL, stdout=out, env=environment,
                                     stderr=subprocess.STDOUT, start_new_session=True)
            self.running.add(child.pid)
            try:
                child.wait(timeout=limit)
                return ""
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return f"hung: no end after {limit:.0f} s"
            finally:
                self.running.discard(child.pid)

    def keep_logs(self, tree: Tree, file: str) -> list[str]:
        """Copies the servers' logs aside; returns the first lines of a crash report, if one is there."""
        home = self.home / "servers" / file.replace("/", "_")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        crash = []
        for path in tree.logs():
            text = path.read_bytes()[-SERVER_LOG_MAX:].decode(errors="replace")
            (home / f"{path.parent.name}.{path.name}").write_text(text)
            lines = text.splitlines()
            at = next((i for i, line in enumerate(lines) if any(mark in line for mark in CRASH_MARKS)), None)
            if at is not None and not crash:
                crash = lines[at:at + CRASH_LINES]
        return crash


def line(result: dict) -> str:
    """One file's summary line."""
    verdict, outcome = result["verdict"], result["outcome"]
    total = verdict.total or len(outcome.passed)
    text = f"{result['file']}: {verdict.passed} passed, {verdict.failed} failed, {verdict.skipped} skipped of {total}"
    text += f" ({result['seconds']:.0f} s)"
    if not verdict.total:
        text += f"  not recorded: {len(outcome.passed)} ok, {len(outcome.failed)} err"
    if outcome.aborted:
        text += f"  ABORTED: {outcome.aborted[:160]}"
    if verdict.surprises:
        text += f"  UNLISTED: {len(verdict.surprises)}"
    if verdict.recovered:
        text += f"  LISTED BUT PASSING: {len(verdict.recovered)}"
    return text


def record(runner: str, results: dict[str, dict]) -> int:
    """Keeps what the real server passes; a failure there is noise or a test that cannot pass here, and is shown."""
    files, bad = {}, 0
    for file, result in results.items():
        outcome = result["outcome"]
        names = {}
        for name in outcome.passed:
            names[name] = names.get(name, 0) + 1
        before = ledger.expected(runner).get(file, {}).get("tests", {})
        # What passed in an earlier recording and not in this one is noise, unless its name is gone altogether.
        names |= {name: times for name, times in before.items() if name not in names and (name in outcome.failed or outcome.aborted)}
        files[file] = {"seconds": round(result["seconds"]), "longest_ms": outcome.longest_ms, "tests": names}
        for name, why in outcome.failed.items():
            print(f"failed on the real server: {file} :: {name} :: {why[:200]}")
        bad += len(outcome.failed) + bool(outcome.aborted)
        if outcome.aborted:
            print(f"aborted on the real server: {file}: {outcome.aborted}")
    ledger.record(runner, files)
    print(f"recorded {sum(sum(f['tests'].values()) for f in files.values())} passing tests in {len(files)} files")
    return 1 if bad else 0


def report(options: argparse.Namespace, results: dict[str, dict], seconds: float) -> int:
    """Writes result.json, prints what is unexpected and the score."""
    for result in results.values():
        surprises = result["verdict"].surprises
        for name in surprises[:SURPRISES_SHOWN]:
            why = result["verdict"].missed.get(name, result["outcome"].aborted)
            print(f"FAILS, NOT LISTED: {result['file']} :: {name} :: {why[:200]}")
        if len(surprises) > SURPRISES_SHOWN:
            print(f"FAILS, NOT LISTED: {result['file']} :: and {len(surprises) - SURPRISES_SHOWN} more, see result.json")
        for name in result["verdict"].recovered:
            print(f"LISTED, BUT PASSES: {result['file']} :: {name}")
        for name in result["flaky"]:
            print(f"flaky: {result['file']} :: {name}")
    totals = {key: sum(getattr(r["verdict"], key) for r in results.values())
              for key in ("passed", "failed", "skipped", "total")}
    surprises = sum(len(r["verdict"].surprises) + len(r["verdict"].recovered) for r in results.values())
    whole = sum(sum(f["tests"].values()) for f in ledger.expected(options.runner.name).values())
    result = {"runner": options.runner.name, "server": options.server.name, "strict": options.strict,
              "seconds": round(seconds), **totals, "whole": whole, "unexpected": surprises,
              "files": {file: plain(result) for file, result in sorted(results.items())}}
    path = options.home / "result.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    missing = totals["total"] - totals["passed"] - totals["failed"] - totals["skipped"]
    assert missing == 0, "every expected test is passed, failed or skipped"
    part = "" if totals["total"] == whole else f" ({len(results)} files; the whole suite has {whole})"
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped "
          f"of {totals['total']}{part}")
    lines = ledger.kinds({file: names for file, names in ledger.known(options.runner.known).items() if file in results})
    print("known failures: " + (", ".join(f"{count} {kind}" for kind, count in lines.most_common()) or "none"))
    if options.score:
        assert totals["total"] == whole, "a score is a full run's"
        score = {key: totals[key] for key in ("passed", "failed", "skipped")} | {"whole": whole, "files": len(results)}
        ledger.SCORE.write_text(json.dumps(score, indent=1) + "\n")
    unrecorded = [file for file, r in results.items() if not r["verdict"].total and r["outcome"].passed]
    for file in unrecorded:
        print(f"not in expected.json: {file}")
    return 1 if surprises or unrecorded else 0


def plain(result: dict) -> dict:
    """One file's part of result.json."""
    verdict, outcome = asdict(result["verdict"]), result["outcome"]
    return {"seconds": round(result["seconds"], 1), "aborted": outcome.aborted, "flaky": result["flaky"],
            "crash": result["crash"], "servers_left": result["left"], **verdict}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
