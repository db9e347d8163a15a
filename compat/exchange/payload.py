"""DUMP payloads taken apart and put together again, and damaged on purpose with a checksum that is right.

`type 1 | value | RDB version 2 LE | CRC-64 8 LE`. The checksum is Redis's (Jones polynomial, reflected, from zero).
Pure but for the random source handed in and the asset files read.
"""

import random
from pathlib import Path

POLYNOMIAL = 0x95AC9329AC4BC9B5
FOOTER = 10
DAMAGES_MAX = 4
EDGES = b"\x00\x01\x0f\x40\x7f\x80\x81\xc0\xc3\xe0\xf0\xf1\xf4\xfe\xff"
AUX, SELECT_DB, RESIZE_DB = 0xFA, 0xFE, 0xFB
# Function, module data, idle time, frequency, auxiliary field, sizes, deadlines, database, end.
OPCODES = bytes(range(0xF4, 0x100))
CHECKSUM = 8
CUT_MIN = 20
# Files of one key each, in encodings that servers stopped writing long ago.
OLD = ("hash-zipmap.rdb", "hash-ziplist.rdb", "zset-ziplist.rdb", "list-quicklist.rdb")
# Type bytes: the same block read as another type is a case of its own.
TYPES = (0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)


def table() -> list[int]:
    out = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        out.append(byte)
    return out


TABLE = table()


def crc64(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def sealed(content: bytes, version: bytes) -> bytes:
    """A payload of type byte and value, which RESTORE's checksum accepts."""
    data = content + version
    return data + crc64(data).to_bytes(8, "little")


def damaged(payload: bytes, source: random.Random) -> bytes:
    """A few bytes or bits changed, doubled, cut out or cut off; or the whole read as another type."""
    content, version = bytearray(payload[:-FOOTER]), payload[-FOOTER:-FOOTER + 2]
    for _ in range(source.randint(1, DAMAGES_MAX)):
        # Lengths and counts stand at the start, so half of the damage goes there.
        at = source.randrange(min(len(content), 24) if source.random() < 0.5 else len(content))
        kind = source.randrange(7)
        if kind <= 1:
            content[at] = source.choice(EDGES)
        elif kind == 2:
            content[at] ^= 1 << source.randrange(8)
        elif kind == 3:
            content[at] = source.randrange(256)
        elif kind == 4:
            content[0] = source.choice(TYPES)
        elif kind == 5:
            content[at:at] = content[at:at + source.randint(1, 12)]
        else:
            del content[at:at + source.choice((1, 1, 2, 8, len(content)))]
        if not content:
            content = bytearray(payload[:1])
    return sealed(bytes(content), version)


def damaged_file(data: bytes, source: random.Random, seal: bool) -> bytes:
    """A whole RDB file with a few bytes changed, or cut off; `seal`: under a checksum that is right."""
    content = bytearray(data[:-CHECKSUM] if seal else data)
    for _ in range(source.randint(1, DAMAGES_MAX)):
        at = source.randrange(len(content))
        kind = source.randrange(4)
        if kind == 0:
            content[at] = source.choice(EDGES + OPCODES)
        elif kind == 1:
            content[at] ^= 1 << source.randrange(8)
        elif kind == 2:
            content[at] = source.randrange(256)
        elif len(content) > CUT_MIN and source.random() < 0.3:
            del content[at:]
            content = content or bytearray(data[:9])
    return bytes(content) + crc64(content).to_bytes(CHECKSUM, "little") if seal else bytes(content)


def old_payload(path: Path) -> bytes:
    """The value of a file that holds one key, as a payload."""
    data, at = path.read_bytes(), 9
    while data[at] in (AUX, SELECT_DB, RESIZE_DB):
        code, at = data[at], at + 1
        for _ in range(1 if code == SELECT_DB else 2):
            at = skipped(data, at, text=code == AUX)
    kind, after_key = data[at:at + 1], skipped(data, at + 1, text=True)
    version = int(data[5:9])
    end = 9 if version >= 5 else 1  # the mark of the end, then a checksum
    return sealed(kind + data[after_key:-end], version.to_bytes(2, "little"))


def skipped(data: bytes, at: int, text: bool) -> int:
    """Where a length, or the string it begins, ends. Short forms only: the files are known."""
    first = data[at]
    if first >> 6 == 0:
        return at + 1 + (first if text else 0)
    if first >> 6 == 1:
        return at + 2 + ((first & 0x3F) << 8 | data[at + 1] if text else 0)
    return at + 1 + (1 << (first & 0x3F))
