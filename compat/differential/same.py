"""When two replies to one command mean the same, though their bytes may differ. Pure.

Bytes are compared first; only what the protocol leaves open is looked at closer: the order of sets and maps, random
picks, clocks, ids, addresses. Everything else must agree to the byte. A reply to EXEC is compared element by element
with the rule of the command that was queued there.
"""

SECONDS_APART, MS_APART = 3, 3000  # two servers run the same relative expiry a moment apart

UNORDERED = {"KEYS", "SMEMBERS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS", "SPOP"}
PAIRS = {"HGETALL", "CONFIG"}
SCANS = {"SCAN", "SSCAN", "HSCAN", "ZSCAN"}
CLOCKS = {"TTL": SECONDS_APART, "EXPIRETIME": SECONDS_APART, "PTTL": MS_APART, "PEXPIRETIME": MS_APART}
FIELD_CLOCKS = {"HTTL": SECONDS_APART, "HEXPIRETIME": SECONDS_APART, "HPTTL": MS_APART, "HPEXPIRETIME": MS_APART}
# Only the kind of the reply can agree: a clock, an id, a size in this allocator, a picture.
SHAPES = {("TIME",), ("LASTSAVE",), ("LOLWUT",), ("RANDOMKEY",), ("ROLE",), ("CLIENT", "ID"), ("MEMORY", "USAGE"), ("OBJECT", "IDLETIME"),
          ("COMMAND", "COUNT"), ("SLOWLOG", "GET"), ("SLOWLOG", "LEN"), ("MEMORY", "STATS"), ("MEMORY", "DOCTOR")}
PENDING_PARTS = 4  # id, consumer, idle milliseconds, deliveries
PICKS = {"HRANDFIELD", "SRANDMEMBER", "ZRANDMEMBER"}
CLIENT_FIELDS = ("name", "db", "sub", "psub", "multi", "user", "redir", "resp", "flags")
HELLO_OPEN = {b"version", b"id", b"modules"}


def same(argv: tuple[bytes, ...], one: tuple, two: tuple, queued: list | None = None) -> bool:
    """Whether the replies agree. `queued` holds the commands of the transaction this EXEC ends."""
    if one == two:
        return True
    name = argv[0].decode("latin-1").upper() if argv else ""
    second = argv[1].decode("latin-1").upper() if len(argv) > 1 else ""
    if one[0] != two[0] or (one[1] is None) != (two[1] is None) or one[0] in "-!":
        return False
    if name == "EXEC" and queued is not None and one[0] == "*":
        return len(one[1]) == len(two[1]) == len(queued) and all(map(same, queued, one[1], two[1]))
    if second == "HELP" and one[0] == "*" == two[0] and len(argv) == 2:
        return one[1][:1] == two[1][:1]  # the wording of help is each server's own
    if name == "COMMAND" and len(argv) == 1:
        return True  # introspect.py compares the table row by row
    if name == "CONFIG" and second == "GET" and any(b"*" in word for word in argv[2:]):
        return True  # and the directives
    if name == "XPENDING" or name == "XINFO" and second == "CONSUMERS":
        return without_clocks(one) == without_clocks(two)
    if (name,) in SHAPES or (name, second) in SHAPES:
        return True
    if name in CLOCKS:
        return apart(one, two) <= CLOCKS[name]
    if name in FIELD_CLOCKS and one[0] == "*":
        return len(one[1]) == len(two[1]) and all(apart(*both) <= FIELD_CLOCKS[name] for both in zip(one[1], two[1]))
    if name in PICKS:
        return one[0] == "$" or len(one[1]) == len(two[1])
    if name in SCANS:
        return scans(argv, one[1], two[1])
    if name == "CLIENT" and second in ("INFO", "LIST"):
        return clients(one[1]) == clients(two[1])
    if name == "HELLO":
        return hello(one) == hello(two)
    if name in UNORDERED and one[0] == "*":
        return sorted(map(repr, one[1])) == sorted(map(repr, two[1]))
    if name in PAIRS and one[0] == "*":
        return pairs(one[1]) == pairs(two[1])
    if one[0] in "~%":
        return sorted(map(repr, one[1])) == sorted(map(repr, two[1]))
    return False


def without_clocks(tree: tuple) -> tuple:
    """Pending entries without their idle times, consumers without the times behind their names."""
    kind, payload = tree
    if kind == "%" or kind == "*" and payload and payload[0] == ("$", b"name"):
        items = [item for pair in payload for item in pair] if kind == "%" else payload
        return "consumer", items[1], items[3]
    if kind == "*" and payload is not None and len(payload) == PENDING_PARTS and payload[2][0] == ":":
        return "pending", payload[0], payload[1], payload[3]
    return (kind, [without_clocks(item) for item in payload]) if isinstance(payload, list) else tree


def apart(one: tuple, two: tuple) -> int:
    """How far two integers are apart; -1 and -2 have a meaning and are far from everything."""
    first, second = int(one[1]), int(two[1])
    return abs(first - second) if first >= 0 and second >= 0 else MS_APART * 2


def pairs(items: list) -> list[str]:
    return sorted(repr(pair) for pair in zip(items[::2], items[1::2]))


def scans(argv: tuple[bytes, ...], one: list, two: list) -> bool:
    """A whole scan must agree as a set; one that may stop half-way can only look alike."""
    name, small = argv[0].upper(), b"COUNT" in map(bytes.upper, argv) and b"1000" not in argv
    if small or name == b"SCAN" and b"1000" not in argv:
        return True
    first, second = one[1][1], two[1][1]
    if name in (b"HSCAN", b"ZSCAN"):
        return pairs(first) == pairs(second)
    return sorted(map(repr, first)) == sorted(map(repr, second))


def clients(text: bytes) -> list[str]:
    """CLIENT LIST's lines, reduced to what does not depend on addresses, buffers and age."""
    lines = []
    for line in text.decode("latin-1").splitlines():
        if line[:4] == "txt:":
            line = line[4:]
        fields = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
        lines.append(" ".join(f"{name}={fields.get(name)}" for name in CLIENT_FIELDS))
    return sorted(lines)


def hello(tree: tuple) -> list[str]:
    items = tree[1] if tree[0] == "%" else list(zip(tree[1][::2], tree[1][1::2]))
    return sorted(repr(item) for item in items if item[0][1] not in HELLO_OPEN)
