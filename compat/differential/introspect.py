#!/usr/bin/env python3
"""What a server says about itself, against real ones: COMMAND, COMMAND DOCS, HELP, CONFIG GET * and INFO, row by row.

  introspect.py --server PATH [--peers 7.0,8.2] [--only commands,docs,help,config,info]

A command's row (arity, flags, key positions, categories, hints, key specifications, subcommands) must be that of one
peer, order of flags and prose aside; so must its arguments, its group and since when it is there, in COMMAND DOCS
(7.0 named some arguments otherwise and shows no display_text). The help of a subcommand is the first peer's, line for
line and in its order, where that tells of it. Every directive of the first peer must be there with its
default; every INFO field of the first peer must be there, in its section. What we have more is ours. Prints each
difference and `N passed, N failed`.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import transcript  # noqa: E402
from harness.resp import Connection  # noqa: E402
from harness.server import Server  # noqa: E402

# Directives whose value is this run's: where it runs, what the harness set, what the build can do.
OPEN_DIRECTIVES = {"dir", "port", "bind", "logfile", "pidfile", "save", "oom-score-adj-values", "io-threads", "maxclients"}
MORE = "only more subcommands"
CONTAINERS = ("CLIENT", "COMMAND", "CONFIG", "DEBUG", "LATENCY", "MEMORY", "OBJECT", "SLOWLOG")
# Commands whose arguments no peer tells, and why.
# They take more arguments than a peer's, and EXEC has keys in them.
LONGER = {"exec", "sismember"}
MORE_ARGUMENTS = {
    "debug": "a subcommand and its arguments, of which real servers tell nothing",
    "exec": "Valkey 9.2's conditions",
    "geosearch": "Valkey 9's polygon",
    "geosearchstore": "Valkey 9's polygon",
    "hsetex": "Valkey 9.1's conditions on the key",
    "set": "the conditions of 8.4",
    "sismember": "Valkey 9.2's XX",
    **{name: "AGGREGATE COUNT of 8.8" for name in ("zinter", "zinterstore", "zunion", "zunionstore")},
    **{name: "Valkey 9.2's XX" for name in ("zrange", "zrangebylex", "zrangebyscore", "zrevrange", "zrevrangebylex", "zrevrangebyscore")},
}
PARTS = ("name", "arity", "flags", "first key", "last key", "step", "categories", "hints", "key specifications", "subcommands")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["7.0", "8.2"])
    parser.add_argument("--only", type=lambda text: text.split(","), default=["commands", "docs", "help", "config", "info"])
    options = parser.parse_args()
    servers = [Server(binary, {"enable-debug-command": "yes"}).start() for binary in (options.server, *options.peers)]
    try:
        mine, *peers = [Connection(server.port) for server in servers]
        passed, problems = 0, []
        for part in options.only:
            good, bad = {"commands": commands, "docs": docs, "help": helps, "config": config, "info": info}[part](mine, peers)
            print(f"{part}: {good} agree, {len(bad)} differ")
            passed, problems = passed + good, problems + bad
        for problem in problems:
            print(problem)
        print(f"{passed} passed, {len(problems)} failed")
        return 1 if problems else 0
    finally:
        for server in servers:
            server.stop()


def settled(tree: tuple):
    """A reply as nested tuples in which lists of words have no order: flags, categories, hints, subcommands."""
    kind, payload = tree
    if not isinstance(payload, list):
        return payload
    if payload[:1] == [("$", b"notes")]:
        payload = payload[2:]  # a key specification's prose is each server's own
    items = [settled(item) for item in payload]
    words = payload and all(item[0] in "+$" for item in payload)
    rows = payload and all(item[0] == "*" for item in payload)
    return tuple(sorted(items, key=repr)) if kind == "~" or words or rows else tuple(items)


def commands(mine: Connection, peers: list[Connection]) -> tuple[int, list[str]]:
    tables = [{row[1][0][1]: row for row in connection.call("COMMAND")[1]} for connection in (mine, *peers)]
    good, bad = 0, []
    for name, row in sorted(tables[0].items()):
        theirs = [table[name] for table in tables[1:] if name in table]
        if not theirs:
            continue  # ours alone
        if any(settled(row) == settled(other) or row_difference(row, other) == MORE for other in theirs) or name.decode() in LONGER:
            good += 1
            continue
        bad.append(f"COMMAND {name.decode()}: {row_difference(row, theirs[0])}")
    return good, bad


def row_difference(row: tuple, other: tuple) -> str:
    """The parts of a row that differ, for subcommands down to the one."""
    out = []
    for part, one, two in zip(PARTS, row[1], other[1]):
        if settled(one) == settled(two):
            continue
        if part == "subcommands":
            ours, theirs = ({sub[1][0][1]: sub for sub in tree[1]} for tree in (one, two))
            out += [f"no subcommand {name.decode()}" for name in sorted(theirs.keys() - ours.keys())]
            out += [f"[{name.decode()}: {row_difference(ours[name], theirs[name])}]" for name in sorted(ours.keys() & theirs.keys())
                    if settled(ours[name]) != settled(theirs[name])]
        else:
            out.append(f"{part}: {flat(one)}, real {flat(two)}")
    return "; ".join(out) or MORE


def docs(mine: Connection, peers: list[Connection]) -> tuple[int, list[str]]:
    """What clients make hints of. Summaries and complexities are each server's own words, histories are told by none but Redis."""
    ours, *theirs = (documented(connection.call("COMMAND", "DOCS")) for connection in (mine, *peers))
    good, bad = 0, []
    for name, doc in sorted(ours.items()):
        others = [table[name] for table in theirs if name in table]
        if not others:
            continue  # ours alone
        agrees = any(same(doc, other) for other in others)
        if agrees == (name not in MORE_ARGUMENTS):
            good += 1
        elif agrees:
            bad.append(f"DOCS {name}: agrees, but should have {MORE_ARGUMENTS[name]}")
        else:
            bad.append(f"DOCS {name}: {doc}, real {others[-1]}")
    return good, bad


def documented(tree: tuple) -> dict[str, dict]:
    """Every command, subcommands too, with what is compared of it."""
    out = {}
    for name, doc in fields_of(tree).items():
        doc = fields_of(doc)
        arguments = [argument(item) for item in doc["arguments"][1]] if "arguments" in doc else []
        out[name] = {part: doc[part][1] for part in ("since", "group") if part in doc} | {"arguments": arguments}
        out |= documented(doc["subcommands"]) if "subcommands" in doc else {}
    return out


def fields_of(tree: tuple) -> dict[str, tuple]:
    """A map in RESP2."""
    return {key[1].decode(): value for key, value in zip(tree[1][::2], tree[1][1::2])}


def argument(tree: tuple) -> dict:
    """Its fields as words, those inside it as arguments."""
    words = {name: value[1] if not isinstance(value[1], list) else value for name, value in fields_of(tree).items()}
    words["flags"] = sorted(flag[1] for flag in words["flags"][1]) if "flags" in words else []
    words["arguments"] = [argument(item) for item in words["arguments"][1]] if "arguments" in words else []
    return words


def same(one: dict, other: dict) -> bool:
    """Of documents and of arguments. What a peer does not say (7.0: how a hint shows it) is not asked."""
    told = {name: value for name, value in one.items() if name in other or name != "display_text"}
    inside = lambda words: words.get("arguments", [])
    outside = lambda words: {name: value for name, value in words.items() if name != "arguments"}
    return (outside(told) == outside(other) and len(inside(one)) == len(inside(other))
            and all(same(*pair) for pair in zip(inside(one), inside(other))))


def helps(mine: Connection, peers: list[Connection]) -> tuple[int, list[str]]:
    good, bad = 0, []
    for container in CONTAINERS:
        ours, theirs = (entries(connection, container) for connection in (mine, peers[0]))
        known = {words(entry) for entry in theirs}
        told = {words(entry) for entry in ours}
        # In the peer's order; what it does not know is ours, what we do not have is not told.
        ours = [entry for entry in ours if words(entry) in known]
        theirs = [entry for entry in theirs if words(entry) in told]
        bad += [f"HELP {container}: {one}, real {two}" for one, two in zip(ours, theirs) if one != two]
        bad += [f"HELP {container}: {len(ours)} entries, real {len(theirs)}"] if len(ours) != len(theirs) else []
        good += sum(one == two for one, two in zip(ours, theirs))
    return good, bad


def entries(connection: Connection, container: str) -> list[list[str]]:
    """The lines of a help, those of each subcommand together."""
    out = []
    for _, line in connection.call(container, "HELP")[1]:
        line = line.decode()
        if line.startswith(" "):
            out[-1].append(line)
        else:
            out.append([line])
    return out


def words(entry: list[str]) -> str:
    """What an entry is about."""
    return entry[0].split()[0]


def flat(tree: tuple) -> str:
    return re.sub(r"\s+", " ", transcript.reply(tree))[:200]


def config(mine: Connection, peers: list[Connection]) -> tuple[int, list[str]]:
    ours, theirs = (pairs(connection) for connection in (mine, peers[0]))
    good, bad = 0, []
    for name, value in sorted(theirs.items()):
        if name not in ours:
            bad.append(f"CONFIG {name}: missing, real {value!r}")
        elif ours[name] != value and name not in OPEN_DIRECTIVES:
            bad.append(f"CONFIG {name}: {ours[name]!r}, real {value!r}")
        else:
            good += 1
    return good, bad


def pairs(connection: Connection) -> dict[str, str]:
    flat_list = [item[1].decode() for item in connection.call("CONFIG", "GET", "*")[1]]
    return dict(zip(flat_list[::2], flat_list[1::2]))


def info(mine: Connection, peers: list[Connection]) -> tuple[int, list[str]]:
    ours, theirs = (fields(connection) for connection in (mine, peers[0]))
    bad = [f"INFO {section}: no {name}" for section, name in sorted(theirs - ours)]
    return len(theirs & ours), bad


def fields(connection: Connection) -> set[tuple[str, str]]:
    """(section, field), with a key in database 0 so that the keyspace has a line."""
    connection.call("SET", "k", "v", "EX", 100)
    out, section = set(), ""
    for line in connection.call("INFO", "everything")[1].decode().splitlines():
        if line.startswith("# "):
            section = line[2:]
        elif ":" in line:
            out.add((section, line.split(":")[0]))
    return {(part, name) for part, name in out if part not in ("Commandstats", "Latencystats", "Errorstats")}


if __name__ == "__main__":
    sys.exit(main())
