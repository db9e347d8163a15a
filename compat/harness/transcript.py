"""Commands and replies as redis-cli shows them on a terminal: the form of our transcript tests.

`> SADD s a b` then `(integer) 2`. A word that is not plain is quoted as redis-cli reads it back. A line `[1] > …`
names the connection when there are several. Pure.
"""

import re

PLAIN = re.compile(rb"[!#-&(-\[\]-~]+$")
ESCAPES = {0x5C: "\\\\", 0x22: '\\"', 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b"}
UNESCAPES = {"n": 10, "r": 13, "t": 9, "a": 7, "b": 8}


def quoted(word: bytes) -> str:
    """A word in double quotes with redis-cli's escapes."""
    return '"' + "".join(ESCAPES.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in word) + '"'


def command(argv: list[bytes]) -> str:
    """A command line."""
    return " ".join(word.decode() if PLAIN.match(word) else quoted(word) for word in argv)


def words(line: str) -> list[bytes]:
    """Splits a command line as redis-cli does: spaces, "…" with escapes, '…' with \\' only."""
    out, at = [], 0
    while True:
        while at < len(line) and line[at].isspace():
            at += 1
        if at >= len(line):
            return out
        word, at = _word(line, at)
        out.append(word)


def _word(line: str, at: int) -> tuple[bytes, int]:
    word, quote = bytearray(), None
    while at < len(line):
        char = line[at]
        if quote is None and char.isspace():
            break
        if quote is None and char in "\"'":
            quote = char
        elif char == quote:
            quote = None
        elif quote == '"' and char == "\\" and re.match(r"\\x[0-9a-fA-F]{2}", line[at:at + 4]):
            word.append(int(line[at + 2:at + 4], 16))
            at += 3
        elif quote and char == "\\" and at + 1 < len(line) and (quote == '"' or line[at + 1] == "'"):
            at += 1
            word += bytes([UNESCAPES[line[at]]]) if quote == '"' and line[at] in UNESCAPES else line[at].encode()
        else:
            word += char.encode()
        at += 1
    return bytes(word), at


def reply(tree: tuple, indent: str = "") -> str:
    """A reply, without a newline at its end."""
    kind, payload = tree
    if kind in ("eof", "silent", "waits"):
        return {"eof": "(connection closed)", "silent": "(no reply)", "waits": "(waits)"}[kind]
    if payload is None:
        return "(nil)"
    if kind == "+":
        return payload.decode("latin-1")
    if kind in "-!":
        return "(error) " + payload.decode("latin-1")
    if kind == "$":
        return quoted(payload)
    if kind == "=":
        return payload[4:].decode("latin-1")
    if kind == "#":
        return "(true)" if payload == b"t" else "(false)"
    if kind in ":,(":
        label = {":": "(integer)", ",": "(double)", "(": "(big number)"}[kind]
        # A terminal shows a big number bare.
        return payload.decode() if kind == "(" else f"{label} {payload.decode()}"
    return _aggregate(kind, payload, indent)


def _aggregate(kind: str, items: list, indent: str) -> str:
    if not items:
        return {"*": "(empty array)", "~": "(empty set)", "%": "(empty hash)", ">": "(empty push)"}[kind]
    width, mark = len(str(len(items))), {"*": ")", "~": "~", "%": "#", ">": ")"}[kind]
    inner = indent + " " * (width + 2)
    lines = []
    for number, item in enumerate(items, 1):
        head = ("" if number == 1 else indent) + f"{number:>{width}}{mark} "
        if kind == "%":
            name, value = item
            lines.append(head + f"{reply(name, inner)} => {reply(value, inner)}")
        else:
            lines.append(head + reply(item, inner))
    return "\n".join(lines)
