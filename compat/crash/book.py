"""The ledger: what each client sent, what was acknowledged, and what may therefore be found after a crash.

A client numbers its operations. Each one changes keys that only this client uses, so the data after any prefix of its
operations is known exactly. After a crash the server must hold the data of some prefix that is at least as long as what
was acknowledged and no longer than what was sent: nothing lost, nothing invented, no hole, no half of a transaction.
Pure: no socket, no clock.
"""

import random
from dataclasses import dataclass, field

DIFFERENCES_TOLD = 4  # keys told in a failure's story
GROUP_KEYS = 3  # keys of one transaction
SLOTS = 8  # keys that plain SET goes round
LIFE_MS = 100_000_000  # a deadline far enough not to come during a run

Value = tuple  # ("string", b"…") | ("list", (…)) | ("hash", ((field, value), …))


@dataclass(frozen=True)
class Operation:
    """One acknowledged unit: its commands (several for a transaction) and how to apply it to a model of the keys."""

    number: int
    kind: str

    def commands(self, client: int) -> list[list[bytes]]:
        me, n = b"%d" % client, b"%d" % self.number
        if self.kind == "incr":
            return [[b"INCR", b"count:" + me]]
        if self.kind == "append":
            return [[b"APPEND", b"log:" + me, n + b";"]]
        if self.kind == "set":
            return [[b"SET", self.slot(client), n]]
        if self.kind == "del":
            return [[b"DEL", self.slot(client)]]
        if self.kind == "expire":
            return [[b"SET", b"life:" + me, n, b"PX", b"%d" % LIFE_MS]]
        if self.kind == "rpush":
            return [[b"RPUSH", b"list:" + me, n]]
        if self.kind == "hset":
            return [[b"HSET", b"hash:" + me, b"f%d" % (self.number % SLOTS), n]]
        group = [[b"SET", b"group:%d:%d" % (client, key), n] for key in range(GROUP_KEYS)]
        return [[b"MULTI"], *group, [b"APPEND", b"glog:" + me, n + b";"], [b"EXEC"]]

    def slot(self, client: int) -> bytes:
        return b"slot:%d:%d" % (client, self.number % SLOTS)

    def apply(self, data: dict[bytes, Value], client: int) -> None:
        """What this operation does to the client's keys."""
        me, n = b"%d" % client, b"%d" % self.number
        if self.kind == "incr":
            put(data, b"count:" + me, b"%d" % (int(text(data, b"count:" + me, b"0")) + 1))
        elif self.kind == "append":
            put(data, b"log:" + me, text(data, b"log:" + me) + n + b";")
        elif self.kind == "set":
            put(data, self.slot(client), n)
        elif self.kind == "del":
            data.pop(self.slot(client), None)
        elif self.kind == "expire":
            put(data, b"life:" + me, n)
        elif self.kind == "rpush":
            data[b"list:" + me] = ("list", data.get(b"list:" + me, ("list", ()))[1] + (n,))
        elif self.kind == "hset":
            fields = dict(data.get(b"hash:" + me, ("hash", ()))[1]) | {b"f%d" % (self.number % SLOTS): n}
            data[b"hash:" + me] = ("hash", tuple(sorted(fields.items())))
        else:
            for key in range(GROUP_KEYS):
                put(data, b"group:%d:%d" % (client, key), n)
            put(data, b"glog:" + me, text(data, b"glog:" + me) + n + b";")


def put(data: dict[bytes, Value], key: bytes, value: bytes) -> None:
    data[key] = ("string", value)


def text(data: dict[bytes, Value], key: bytes, missing: bytes = b"") -> bytes:
    return data[key][1] if key in data else missing


# Kind -> (how often, the command the server must have).
KINDS = {"incr": (4, "INCR"), "append": (4, "APPEND"), "set": (6, "SET"), "del": (1, "DEL"), "expire": (1, "SET"),
         "group": (4, "MULTI"), "rpush": (3, "RPUSH"), "hset": (3, "HSET")}


@dataclass
class Book:
    """One client's ledger. `data` is what the server held when the sending began."""

    client: int
    data: dict[bytes, Value] = field(default_factory=dict)
    sent: list[Operation] = field(default_factory=list)
    acknowledged: int = 0
    next_number: int = 1

    def draw(self, source: random.Random, kinds: dict[str, int]) -> Operation:
        """A new operation, noted as sent."""
        kind = source.choices(list(kinds), list(kinds.values()))[0]
        operation = Operation(self.next_number, kind)
        self.next_number += 1
        self.sent.append(operation)
        return operation

    def mine(self, found: dict[bytes, Value]) -> dict[bytes, Value]:
        """The keys of `found` that belong to this client: name:CLIENT or name:CLIENT:NUMBER."""
        return {key: value for key, value in found.items() if key.split(b":")[1:2] == [b"%d" % self.client]}

    def settle(self, found: dict[bytes, Value]) -> tuple[int | None, str]:
        """How many operations the server kept, and the story when no allowed number fits. Starts a new page."""
        mine, model = self.mine(found), dict(self.data)
        kept, story = None, ""
        for count in range(len(self.sent) + 1):
            if count >= self.acknowledged and model == mine:
                kept = count
            if count == self.acknowledged:
                story = difference(model, mine)
            if count < len(self.sent):
                self.sent[count].apply(model, self.client)
        if kept is None:
            story = f"client {self.client}: {len(self.sent)} sent, {self.acknowledged} acknowledged, no prefix fits; {story}"
        self.data, self.sent, self.acknowledged = mine, [], 0
        return kept, "" if kept is not None else story


def difference(expected: dict[bytes, Value], found: dict[bytes, Value]) -> str:
    """Where the data differs from the state after the last acknowledged operation."""
    parts = []
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            if len(parts) == DIFFERENCES_TOLD:
                return "; ".join([*parts, "and others"])
            parts.append(f"{key.decode()}: acknowledged …{tail(expected.get(key))}, found …{tail(found.get(key))}")
    return "; ".join(parts)


def tail(value: Value | None) -> str:
    return "nothing" if value is None else repr(value[1])[-60:]
