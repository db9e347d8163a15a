#!/usr/bin/env python3
"""Checks the examples of the command rows against real servers: what our documentation shows must be the truth.

  examples.py --server target/quick/memkv-server [--peers 7.0,8.2]     asks it with --print-examples
  examples.py --file examples.txt

Input: blocks of `# NAME`, then a transcript (`> COMMAND` and the reply as redis-cli shows it on a terminal). Each block
runs on an empty database over a fresh connection. It passes when one of the peers answers every line so; a block that
uses a command which no peer has is skipped, and a block ends where it uses an option which none has. What a block promises as `*` (a reply or an element) or `...` may be anything.
Prints `N passed, N failed, N skipped`.
"""

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import transcript  # noqa: E402
from harness.resp import Connection  # noqa: E402
from harness.server import Server  # noqa: E402
from same import CLOCKS, PAIRS, SHAPES, UNORDERED  # noqa: E402

LIST_MAX_S = 10
# Options newer than every peer: behind a line that uses one, a block is only ours.
NEWER_OPTIONS = {
    ("CLIENT", "NOT-DB"), ("CONFIG", "COMMANDLOG-REPLY-LARGER-THAN"), ("EXEC", "IFEQ"), ("GEOSEARCH", "BYPOLYGON"),
    ("HSETEX", "NX"), ("SISMEMBER", "XX"), ("XADD", "IDMP"), ("ZRANGE", "XX"), ("ZUNION", "COUNT"),
}
UNKNOWN = ("(error) ERR unknown command", "(error) ERR unknown subcommand")


@dataclass
class Block:
    """One row's example: commands with the replies it promises."""

    name: str
    steps: list[tuple[str, str]]


def main() -> int:
    options = arguments()
    text = options.file.read_text() if options.file else subprocess.run(
        [options.server, "--print-examples"], capture_output=True, text=True, check=True, timeout=LIST_MAX_S).stdout
    blocks = parse(text)
    servers = [Server(peer).start() for peer in options.peers]
    try:
        return check(blocks, servers, options.peers)
    finally:
        for server in servers:
            server.stop()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", help="prints the examples")
    parser.add_argument("--file", type=Path, help="has the examples")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["7.0", "8.2"])
    options = parser.parse_args()
    if not (options.server or options.file):
        parser.error("--server or --file")
    return options


def parse(text: str) -> list[Block]:
    """Blocks in order; lines before the first `#` belong to nobody and are refused."""
    blocks: list[Block] = []
    for line in text.splitlines():
        if line.startswith("# "):
            blocks.append(Block(line[2:].strip(), []))
        elif line.startswith("> "):
            blocks[-1].steps.append((line[2:], ""))
        elif blocks and blocks[-1].steps:
            command, reply = blocks[-1].steps[-1]
            blocks[-1].steps[-1] = (command, f"{reply}\n{line}" if reply else line)
        elif line.strip():
            raise ValueError(f"not part of a transcript: {line!r}")
    for block in blocks:
        block.steps = [(command, reply.rstrip("\n")) for command, reply in block.steps]
    return blocks


def check(blocks: list[Block], servers: list[Server], labels: list[str]) -> int:
    passed = failed = skipped = 0
    for block in blocks:
        attempts = [attempt(block, server) for server in servers]
        if not block.steps:
            print(f"EMPTY: {block.name}")
            failed += 1
        elif any(problem is None for problem in attempts):
            passed += 1
        elif all(problem.startswith("unknown") for problem in attempts):
            skipped += 1
            print(f"skipped: {block.name}: no peer has {attempts[0][8:]}")
        else:
            failed += 1
            for label, problem in zip(labels, attempts):
                print(f"FAILED: {block.name} on {label}:\n{problem}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def attempt(block: Block, server: Server) -> str | None:
    """None when the server answers as promised, otherwise the first line where it does not."""
    control = Connection(server.port)
    control.call("FLUSHALL")
    control.call("FUNCTION", "FLUSH")
    control.close()
    connection = Connection(server.port)
    try:
        for command, promised in block.steps:
            argv = transcript.words(command)
            words = [word.decode("latin-1").upper() for word in argv]
            if any((words[0], word) in NEWER_OPTIONS for word in words[1:]):
                return None
            connection.send(argv)
            answer = transcript.reply(connection.read()[1])
            if answer.startswith(UNKNOWN) and not promised.startswith(UNKNOWN):
                return f"unknown {argv[0].decode()}"
            if not fits(loosened(argv, promised), loosened(argv, answer)):
                return f"  > {command}\n  promised: {promised!r}\n  answered: {answer!r}"
    finally:
        connection.close()
    return None


def fits(promised, answer) -> bool:
    """Equal, but that `*` as a whole reply or element, and `...` anywhere, stand for anything."""
    if promised == answer or not isinstance(promised, str):
        return promised == answer
    pattern = re.sub(r"(?m)^(\*|(.*\) )\*)$", r"\2...", promised)
    return re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), answer, re.DOTALL) is not None


def loosened(argv: list[bytes], text: str):
    """What of a shown reply must agree: no clocks or ids where the command gives some, no order where it has none."""
    words = [word.decode("latin-1").upper() for word in argv]
    if words[0] in CLOCKS or tuple(words[:1]) in SHAPES or tuple(words[:2]) in SHAPES:
        return re.sub(r"\d+|\"[^\"]*\"", "N", text)
    if words[0] in UNORDERED | PAIRS:
        return sorted(re.sub(r"^ *\d+[)~#] ", "", line) for line in text.splitlines())
    return text


if __name__ == "__main__":
    sys.exit(main())
