#!/usr/bin/env python3
"""redis-check-aof and redis-check-rdb beside ours: same files, same options, same words, same exit code, same file after.

  check.py --server PATH [--seed 1] [--damaged 300] [--only arguments,logs,snapshots,damage] [--fast]

arguments  what is asked wrongly, files that are not there, are no files or have endless names
logs       sound, torn, wrong and rotten logs of every kind, with and without --fix and --truncate-to-timestamp
snapshots  files of a real server and of its suite, whole and cut at every byte of a small one
damage     logs and snapshots with bytes changed, cut out, doubled or cut off
Not compared: the clock and pid of a log line, a byte that Redis reads from its own stack, the words (with line numbers
of Redis's source) on damage inside a value. Prints each difference and `N passed, N failed`.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.resp import Connection, encode  # noqa: E402
from harness.server import PEERS, WORK, Server  # noqa: E402
from values import done, fill  # noqa: E402

ASSETS = WORK / "redis-src" / "redis-7.0.15" / "tests" / "assets"
TOOL_MAX_S = 20
FAILURES_TOLD = 20
BIG_ENOUGH = 4000  # bytes of a name that no path can have, and of one that a line of a manifest cannot
# What real 7.0.15 cannot read and we can, or the other way round until streams and functions are there.
APART = re.compile(rb"format version 1[12]\b|object type: 2[0-5]\b|type 15 |streams?\b|function|module|type [67] ", re.I)
MASKS = (
    (re.compile(rb"^\d+:C \d+ \w+ \d+ [\d:.]+ ([*#]) ", re.M), rb"\1 "),
    (re.compile(rb"got: 00[0-9a-f]{2,8}$", re.M), b"got: 00"),
)
# From here on the words on damage inside a value are each server's own.
INSIDE = re.compile(rb"(--- RDB ERROR DETECTED ---\n).*", re.S)
VALUE = b"While doing: read-object-value"


class Checks:
    """Runs both tools in directories of their own and counts what is the same."""

    def __init__(self, options: argparse.Namespace, home: Path):
        self.options, self.home, self.random = options, home, random.Random(options.seed)
        self.passed = self.failed = self.apart = 0

    def same(self, story: str, tool: str, words: list, files: dict[str, bytes], answer: bytes = b"") -> None:
        """`files` are laid out twice; both tools run; everything must be equal."""
        ours, theirs = (self.run(who, tool, words, files, answer) for who in (self.options.server, PEERS["7.0"]))
        if ours == theirs:
            self.passed += 1
        elif APART.search(theirs[1]) or APART.search(ours[1]):
            self.apart += 1
        else:
            self.failed += 1
            if self.failed <= FAILURES_TOLD:
                print(f"    {story}: {tool} {str(words)[:100]}\n      ours   {str(ours[:2])[:900]}\n      theirs {str(theirs[:2])[:900]}")
                print("      the files differ" if ours[2] != theirs[2] else "", flush=True)

    def run(self, who: str, tool: str, words: list, files: dict[str, bytes], answer: bytes) -> tuple:
        place = self.home / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        # A server's binary under a tool's name is that tool.
        finished = subprocess.run([tool, *map(str, words)], executable=who, input=answer, capture_output=True, cwd=place, timeout=TOOL_MAX_S)
        said = finished.stdout
        for mask, put in MASKS:
            said = mask.sub(put, said)
        if VALUE in said:
            said = INSIDE.sub(rb"\1", said)
        after = {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
        return finished.returncode, said, after, bool(finished.stderr)

    def arguments(self) -> None:
        log = {"a.aof": command("SET k v")}
        for tool in ("redis-check-aof", "redis-check-rdb"):
            for words in ([], ["--fix"], ["-v"], ["--version"], ["--help"], ["--mend", "a.aof"], ["a.aof", "--fix"], ["a", "b", "c", "d"], ["missing"],
                          ["."], [""], ["x" * 300], ["x" * BIG_ENOUGH], ["x/" * BIG_ENOUGH], ["x" * 100_000], ["--fix", "y/" * 50_000],
                          ["--truncate-to-timestamp", "12"], ["--truncate-to-timestamp", "12x", "a.aof"], ["--truncate-to-timestamp", "", "a.aof"],
                          ["--truncate-to-timestamp", "-3", "a.aof"], ["--truncate-to-timestamp", "99999999999999999", "a.aof"]):
                self.same("arguments", tool, words, log)
        self.same("a name with a colour", "redis-check-aof", ["\u2603.aof"], {"\u2603.aof": command("SET k v")})
        if os.geteuid() != 0:
            print("    a file without permission: compared in no run as another user than root")  # root may read everything

    def logs(self) -> None:
        for story, content in LOGS.items():
            if self.options.fast:
                self.same(story, "redis-check-aof", ["--fix", "a.aof"], {"a.aof": content}, b"y\n")
                continue
            for words in ([], ["--fix"], ["--truncate-to-timestamp", "1700000002"], ["--truncate-to-timestamp", "1"], ["--truncate-to-timestamp", "0"]):
                for answer in (b"y\n", b"n\n", b"") if words == ["--fix"] else (b"",):
                    self.same(story, "redis-check-aof", [*words, "a.aof"], {"a.aof": content}, answer)
                    several = {"d/a.manifest": MANIFEST, "d/a.1.base.rdb": EMPTY_RDB, "d/a.1.incr.aof": command("SET k v"), "d/a.2.incr.aof": content}
                    self.same(f"{story}, last", "redis-check-aof", [*words, "d/a.manifest"], several, answer)
                    for place in ("a.1.incr.aof", "a.1.base.rdb"):
                        self.same(f"{story}, {place}", "redis-check-aof", [*words, "d/a.manifest"], several | {f"d/{place}": content}, answer)
        for cut in range(0, len(LOGS["whole"]) + 1, 20 if self.options.fast else 1):
            self.same(f"cut at {cut}", "redis-check-aof", ["--fix", "a.aof"], {"a.aof": LOGS["whole"][:cut]}, b"Y")
        for story, text in MANIFESTS.items():
            files = {"a.manifest": text, "a": b"", "b": command("SET k v"), "c": command("SET k v")[:-3]}
            self.same(story, "redis-check-aof", ["a.manifest"], files)
            self.same(story, "redis-check-aof", ["--fix", "./a.manifest"], files, b"y\n")

    def snapshots(self) -> None:
        for file in sorted([*ASSETS.glob("*.rdb"), *ASSETS.glob("*.aof")]):
            for tool in ("redis-check-rdb", "redis-check-aof"):
                self.same(file.name, tool, [file.name], {file.name: file.read_bytes()})
        if self.options.fast:
            return
        self.same("of a real server", "redis-check-rdb", ["a.rdb"], {"a.rdb": self.snapshot(120)})
        small = self.snapshot(8)
        for cut in range(0, len(small) + 1, max(1, len(small) // 300)):
            self.same(f"cut at {cut} of {len(small)}", "redis-check-rdb", ["a.rdb"], {"a.rdb": small[:cut]})
        for story, tail in LOGS.items():
            self.same(f"a preamble before: {story}", "redis-check-aof", ["--fix", "a.aof"], {"a.aof": small + tail}, b"y")

    def snapshot(self, keys: int) -> bytes:
        """A file that a real server wrote."""
        with Server("7.0") as server:
            connection = Connection(server.port)
            fill(connection, f"{self.options.seed}:{keys}", keys, False)
            done(connection, "SET", "late", "x", "PXAT", 9_999_999_999_999)
            done(connection, "SAVE")
            connection.close()
            return (server.directory / "dump.rdb").read_bytes()

    def damage(self) -> None:
        snapshot, source = self.snapshot(40), self.random
        log = b"".join(LOGS.values())
        for number in range(self.options.damaged):
            self.same(f"damage {number}", "redis-check-aof", ["--fix", "a.aof"], {"a.aof": damaged(log, source)}, b"y")
            self.same(f"damage {number}", "redis-check-rdb", ["a.rdb"], {"a.rdb": damaged(snapshot, source)})


def damaged(content: bytes, source: random.Random) -> bytes:
    data, at = bytearray(content), source.randrange(len(content))
    length = source.choice((1, 1, 2, 10, 100))
    match source.randrange(4):
        case 0:
            data[at] ^= 1 << source.randrange(8)
        case 1:
            del data[at:at + length]
        case 2:
            data[at:at] = data[at:at + length]
        case 3:
            del data[at:]
    return bytes(data)


def command(text: str) -> bytes:
    return encode([word.encode() for word in text.split()])


TRANSACTION = command("MULTI") + command("SET b 2") + command("EXEC")
WHOLE = command("SELECT 0") + command("SET a 1") + TRANSACTION + command("SET c 3")
EMPTY_RDB = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xff" + bytes(8)
MANIFEST = b"file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n"
# Without a comment that has no end: redis-check-aof calls it valid, though the server's next append goes on in that line and
# is lost; ours tells of it and cuts it off (src/check/aof.rs).
LOGS = {
    "whole": WHOLE,
    "empty": b"",
    "with times": b"".join(b"#TS:170000000%d\r\n" % n + command(f"SET k {n}") for n in range(1, 5)),
    "a time first": b"#TS:1700000009\r\n" + WHOLE,
    "a time in a transaction": command("MULTI") + b"#TS:1700000009\r\n" + command("SET b 2") + command("EXEC"),
    "a time that is none": command("SET a 1") + b"#TS:17x\r\n",
    "an endless comment": command("SET a 1") + b"#" + b"c" * 3000 + b"\r\n" + command("SET a 1"),
    "torn in a text": WHOLE[:-3],
    "torn in a length": WHOLE + b"*3\r\n$3\r\nSET\r\n$1",
    "torn before a length": WHOLE + b"*3\r\n$3\r\nSET\r\n",
    "an open transaction": WHOLE + command("MULTI") + command("SET d 4"),
    "MULTI in MULTI": WHOLE + command("MULTI") + TRANSACTION,
    "EXEC alone": WHOLE + command("EXEC") + WHOLE,
    "zeros at the end": WHOLE + bytes(100),
    "no log": b"this is no log\r\n" * 10,
    "a wrong prefix": WHOLE + b"*2\r\n$3\r\nGET\r\n:3\r\n" + WHOLE,
    "a wrong length": WHOLE + b"*2\r\n$3\r\nGETX\r\n$1\r\na\r\n",
    "a negative length": WHOLE + b"*2\r\n$-1\r\n$1\r\na\r\n",
    "an endless length": WHOLE + b"*1\r\n$999999999999999999999999\r\nGET\r\n",
    "no words": WHOLE + b"*0\r\n*-5\r\n*\r\n" + WHOLE,
    "blanks in a length": WHOLE + b"* 1\r\n$+4\r\nPING\r\n",
    "a long number": WHOLE + b"*" + b"0" * 300 + b"1\r\n$4\r\nPING\r\n",
    "bytes above 127": WHOLE + b"*1\r\n$4\r\nPING\xff\xfe",
    "a name with a NUL": WHOLE + b"*1\r\n$7\r\nmulti\0x\r\n" + command("SET e 5"),
}
LINE = b"file a seq 1 type i\n"
MANIFESTS = {
    "sound": b"#comment\nfile a seq 1 type b\nfile b seq 1 type i\n",
    "torn last file": b"file a seq 1 type b\nfile b seq 1 type h\nfile c seq 2 type i\n",
    "torn file before the last": b"file c seq 1 type i\nfile b seq 2 type i\n",
    "a missing file": LINE + b"file missing seq 2 type i\n",
    "a missing base": b"file missing seq 1 type b\n",
    "a bad line": LINE + b"bad line\n",
    "an empty line": LINE + b"\n",
    "no end of line": b"file a seq 1 type i",
    "a path": b"file x/y seq 1 type i\n",
    "a sequence that stands": LINE + b"file b seq 1 type i\n",
    "sequence 0": b"file a seq 0 type i\n",
    "two bases": b"file a seq 1 type b\nfile b seq 2 type b\n",
    "an unknown type": b"file a seq 1 type q\n",
    "a long line": b"file " + b"a" * BIG_ENOUGH + b" seq 1 type i\n",
    "an open quote": b'file "a b seq 1 type i\n',
    "more pairs": b"file a seq 1 type i future 1\n",
    "history only": b"file a seq 1 type h\n",
}


def main() -> int:
    parts = ["arguments", "logs", "snapshots", "damage"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test (or 7.0)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--damaged", type=int, default=300, help="logs and as many snapshots")
    parser.add_argument("--only", type=lambda text: text.split(","), default=parts)
    parser.add_argument("--fast", action="store_true", help="the part of it that takes a few seconds")
    options = parser.parse_args()
    if options.fast:
        options.damaged = min(options.damaged, 20)
    options.server = PEERS.get(options.server, str(Path(options.server).absolute()))
    home = Path(tempfile.mkdtemp(prefix="memkv-check-"))
    checks = Checks(options, home)
    try:
        for part in options.only:
            before, started = checks.passed, time.monotonic()
            getattr(checks, part)()
            print(f"{part}: {checks.passed - before} passed ({time.monotonic() - started:.1f} s)", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"{checks.apart} left out: files that only one of the two can read")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
