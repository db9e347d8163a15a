"""Differences between Redis 7.0.15 and 8.2.3 that are known, each with its reason.

A rule covers a reply pair when its command matches and its test (on the trees of all servers) holds. `ends` says that
data or connection state may differ afterwards, so nothing after it can be compared. A rule is a decision of the
servers' authors, never an excuse for ours: with both versions present the server under test must still agree with one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from same import same


@dataclass(frozen=True)
class Rule:
    command: str  # a regular expression on the command line's first words, in upper case
    reason: str
    test: Callable[[list[tuple]], bool] = lambda trees: True
    ends: bool = False


def covering(argv: tuple[bytes, ...], trees: list[tuple], queued: list | None = None) -> Rule | None:
    """The first rule that covers these replies; for an EXEC, one that covers each element that differs."""
    line = b" ".join(argv[:3]).decode("latin-1").upper() if argv else "(raw)"
    for rule in RULES:
        if re.match(rule.command, line) and rule.test(trees):
            return rule
    if line.startswith("EXEC") and queued and all(tree[0] == "*" and tree[1] is not None for tree in trees):
        rows = list(zip(queued, *(tree[1] for tree in trees)))
        found = [covering(row[0], list(row[1:])) for row in rows if not all(same(row[0], row[1], tree) for tree in row[2:])]
        return found[0] if found and all(found) else None
    return None


def words(*pairs: tuple[str, str]) -> Callable[[list[tuple]], bool]:
    """Holds when the replies are bulk strings and each two that differ are one of these pairs."""
    allowed = {frozenset((one.encode(), two.encode())) for one, two in pairs}
    return lambda trees: all(tree[0] == "$" for tree in trees) and all(
        tree == trees[0] or frozenset((tree[1], trees[0][1])) in allowed for tree in trees)


def some_error(*texts: str) -> Callable[[list[tuple]], bool]:
    """Holds when one of the replies is an error that has one of these texts in it."""
    return lambda trees: any(tree[0] == "-" and any(text.encode() in tree[1] for text in texts) for tree in trees)


def one_number(trees: list[tuple]) -> bool:
    """Holds when the replies agree once every text that reads as a number is that number."""
    return all(numbers(tree) == numbers(trees[0]) for tree in trees)


def numbers(tree: tuple):
    kind, payload = tree
    if isinstance(payload, list):
        return kind, [tuple(map(numbers, item)) if kind == "%" else numbers(item) for item in payload]
    try:
        return kind, repr(float(payload)) if payload and not payload.startswith(b" ") else payload
    except ValueError:
        return kind, payload


RULES: list[Rule] = [
    Rule(r"OBJECT ENCODING", "7.2 keeps small lists and small sets of strings as listpacks",
         words(("quicklist", "listpack"), ("hashtable", "listpack"))),
    Rule(r"OBJECT ENCODING", "memkv sorts a small sorted set without making it a big one", words(("listpack", "skiplist"))),
    Rule(r"OBJECT ENCODING", "8.2 embeds a string only where value and key fit one small block",
         words(("embstr", "raw"))),
    Rule(r"B?Z|GEO", "7.2 prints a score with the fewest digits that read back; 7.0 with 17", one_number),
    Rule(r"[SHZ]?SCAN", "7.4 refuses a negative cursor", some_error("invalid cursor")),
    Rule(r"BITCOUNT", "7.2 checks the arguments before it looks for the key; a lone start became an error",
         some_error("syntax error", "not an integer")),
    Rule(r"BITOP", "8.2 has four more operations", some_error("syntax error", "at least two source keys"), ends=True),
    Rule(r"BITPOS", "7.2 checks the arguments before it looks for the key", some_error("syntax error", "not an integer", "bit argument must be")),
    Rule(r"ZRANK|ZREVRANK", "7.2 added WITHSCORE, so a third argument is no longer one too many", some_error("wrong number"), ends=True),
    Rule(r"BL|BR|BZ", "7.2 calls a timeout that is too large so, not negative", some_error("timeout is out of range")),
    Rule(r"CLIENT (SETINFO|NO-TOUCH)", "came with 7.2", some_error("unknown subcommand"), ends=True),
    Rule(r"WAIT ", "7.2 refuses a timeout that overflows", some_error("out of range")),
    Rule(r"COMMAND GETKEYS", "a missing command is now an invalid one", some_error("wrong number"), ends=True),
    Rule(r"LPOS|LREM", "7.2 refuses the one RANK or count that cannot be negated", some_error("value is out of range, value must between"), ends=True),
    Rule(r"OBJECT REFCOUNT", "8.2 shares fewer small integers"),
    Rule(r"LSET|LINDEX", "a listpack's index is 32 bits: 8.2 takes one beyond that for a small one", ends=True),
    Rule(r"SORT", "members that collate alike (a NUL ends the comparison) come in the container's order"),
]
