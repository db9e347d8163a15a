"""A small language for command grammars, and the words it draws.

`SET <str> <value> [NX|XX] [EX <seconds>|KEEPTTL]`: a bare word stands for itself, `<kind>` is drawn by `Words`,
`[…]` is there half the time, `(…)` groups, `|` chooses, `…` after an item repeats it one to four times.
Patterns are parsed once. Pure but for the random source handed in.
"""

import random
import re
from dataclasses import dataclass

TOKEN = re.compile(r"<[^>]+>|\.\.\.|[\[\]()|]|[^\s\[\]()|<>]+")
REPEAT_MAX = 4


@dataclass(frozen=True)
class Pattern:
    """A parsed grammar; `expand` draws one command from it."""

    root: tuple

    @staticmethod
    def parse(text: str) -> "Pattern":
        tokens = TOKEN.findall(text)
        root, at = _choice(tokens, 0)
        if at != len(tokens):
            raise ValueError(f"unbalanced pattern: {text}")
        return Pattern(root)

    def expand(self, words: "Words") -> list[bytes]:
        out: list[bytes] = []
        _expand(self.root, words, out)
        return out


def _choice(tokens: list[str], at: int) -> tuple[tuple, int]:
    options = []
    while True:
        sequence, at = _sequence(tokens, at)
        options.append(sequence)
        if at >= len(tokens) or tokens[at] != "|":
            return ("choice", options), at
        at += 1


def _sequence(tokens: list[str], at: int) -> tuple[tuple, int]:
    items = []
    while at < len(tokens) and tokens[at] not in "|])":
        token = tokens[at]
        if token == "...":
            items[-1] = ("repeat", items[-1])
            at += 1
        elif token in "[(":
            inner, at = _choice(tokens, at + 1)
            at += 1  # the closing bracket
            items.append(("maybe", inner) if token == "[" else inner)
        else:
            items.append(("kind", token[1:-1]) if token[0] == "<" else ("word", token.encode()))
            at += 1
    return ("sequence", items), at


def _expand(node: tuple, words: "Words", out: list[bytes]) -> None:
    kind, body = node
    if kind == "word":
        out.append(words.cased(body))
    elif kind == "kind":
        out.append(words.draw(body))
    elif kind == "sequence":
        for item in body:
            _expand(item, words, out)
    elif kind == "choice":
        _expand(words.random.choice(body), words, out)
    elif kind == "maybe":
        if words.random.random() < 0.5:
            _expand(body, words, out)
    else:
        for _ in range(words.random.randint(1, REPEAT_MAX)):
            _expand(body, words, out)


INTEGERS = [b"0", b"1", b"-1", b"2", b"3", b"5", b"10", b"100", b"-2", b"9223372036854775807", b"9223372036854775806",
            b"-9223372036854775808", b"9223372036854775808", b"18446744073709551616", b"2147483648", b"-2147483649",
            b"01", b"+1", b" 1", b"1 ", b"", b"-0", b"1.0", b"1e3", b"0x10", b"abc"]
FLOATS = [b"0", b"1", b"-1", b"0.1", b"-0.1", b"3.0e3", b"1e-7", b"1.5", b"10.50", b"5.0e-5", b"1e17", b"1e21", b"1e300",
          b"-1e300", b"1e308", b"17.000000000000004", b"0.30000000000000004", b"123456789.123456789", b"inf", b"-inf",
          b"+inf", b"nan", b"", b" 1", b"1 ", b"1e", b"abc", b"0x1p3", b"-0", b"1e-400", b"1e5000", b".5", b"5."]
SCORES = [b"0", b"1", b"-1", b"2", b"3", b"1.5", b"-2.5", b"10", b"100", b"1e10", b"inf", b"-inf", b"+inf", b"nan", b"abc",
          b"0.1", b"3.14159", b"1e17", b"9007199254740993", b"-0"]
VALUES = [b"", b"a", b"b", b"hello", b"0", b"1", b"-1", b"10", b"12345", b"9223372036854775807", b"-9223372036854775808",
          b"9223372036854775808", b"3.14", b"1.0", b"inf", b"01", b"-0", b"foo\r\nbar", b"\x00\xff\x00binary", b"\xc3\xa9t\xc3\xa9",
          b"x" * 44, b"x" * 45, b"y" * 63, b"y" * 64, b"z" * 65, b"w" * 300, b"a b", b'"quoted"', b"OK", b"nil", b"\n"]
MEMBERS = [b"a", b"b", b"c", b"d", b"e", b"", b"1", b"2", b"3", b"-5", b"10", b"70000", b"5000000000", b"m" * 64, b"m" * 65, b"\x00\xff",
           b"1.0", b"01", b"alpha", b"beta", b"gamma"]
FIELDS = [b"f1", b"f2", b"f3", b"", b"n", b"1", b"x" * 64, b"y" * 65, b"\x00\xff"]
PATTERNS = [b"*", b"k*", b"s?", b"s[12]", b"s[^1]", b"*1", b"", b"?", b"\\*", b"[a-", b"nomatch", b"{t}*", b"[s-a]1", b"s1*"]
FAMILY_KEYS = {"str": b"s", "list": b"l", "hash": b"h", "set": b"e", "zset": b"z", "hll": b"p", "geo": b"g", "bit": b"s", "stream": b"x"}
ODD_KEYS = [b"", b"{t}a", b"{t}b", b"\x00\xffkey", b"K" * 600, b"key with space"]
SCRIPTS = [
    b"return redis.call('GET',KEYS[1])",
    b"return redis.call('SET',KEYS[1],ARGV[1])",
    b"return {redis.call('TYPE',KEYS[1]),redis.pcall('INCR',KEYS[1])}",
    b"local t=redis.pcall('HGETALL',KEYS[1] or 'h1') if not t.err then table.sort(t) end return t",
    b"redis.setresp(3) local m=redis.pcall('HGETALL','h1') return m.err or m.map.f1 or 'none'",
    b"redis.setresp(3) return redis.pcall('SMISMEMBER','e1','a','b')",
    b"local t=redis.call('KEYS','*') table.sort(t) return t",
    b"return {redis.call('EXISTS','s1'),redis.call('DEL',KEYS[1])}",
    b"redis.call('APPEND','s1','x') redis.call('APPEND','s2','y') return redis.call('GET','s1')",
    b"return cjson.encode({KEYS[1] or 1,ARGV[1] or 2,#ARGV})",
    b"return redis.error_reply(ARGV[1])",
    b"return redis.status_reply(ARGV[1])",
    b"return tonumber(ARGV[1])",
    b"return redis.pcall('RENAME',KEYS[1],'s9')",
    b"return redis.call('nosuch')",
    b"return redis.call('GET')",
    b"return redis.call('BLPOP','l1',0)",
    b"return nosuch",
    b"syntax error",
    b"redis.call('SELECT',1) redis.call('SET','s1',ARGV[1] or 'x') return redis.call('GET','s1')",
    b"return redis.pcall('ZRANGE','z1',0,-1,'WITHSCORES')",
    b"return {1,2.7,'x',false,true,{ok='fine'},{err='MY bad'}}",
    b"return {pcall(redis.call,'INCR','l1')}",
    b"#!lua flags=no-writes\nreturn redis.call('SET','s1','x')",
    b"#!lua flags=nosuch\nreturn 1",
]
TEXTS = [b"a", b"hello", b"1", b"", b"*", b"x" * 20, b"[", b"(", b"-", b"+", b"$3", b"NX", b"GET", b"0", b"-1"]


ENTRY_IDS = [b"0", b"0-0", b"0-1", b"0-*", b"-", b"+", b"1-18446744073709551615", b"abc", b"", b"1-", b"-1", b"01-02", b"1-x", b" 1", b"1--1",
             b"18446744073709551615-18446744073709551614", b"18446744073709551616-1", b"9223372036854775808-0"]


class Words:
    """Draws words. `family_share` of the keys fit the command's type, the others are anybody's."""

    family_share = 0.85

    def __init__(self, source: random.Random):
        self.random = source
        self.soon = False  # a word drawn since the caller last looked makes a key due in SOON_MS

    def cased(self, word: bytes) -> bytes:
        """Command words are case-insensitive: some come in another case."""
        roll = self.random.random()
        return word.lower() if roll < 0.1 else word.title() if roll < 0.13 else word

    def draw(self, kind: str) -> bytes:
        """One word of a kind; an unknown kind is a mistake in a grammar."""
        if kind in FAMILY_KEYS:
            return self.key(FAMILY_KEYS[kind])
        if kind == "key":
            return self.key(self.random.choice(list(FAMILY_KEYS.values())))
        return getattr(self, "_" + kind)()

    def key(self, letter: bytes) -> bytes:
        roll = self.random.random()
        if roll < 0.03:
            return self.random.choice(ODD_KEYS)
        if roll > self.family_share:
            letter = self.random.choice(list(FAMILY_KEYS.values()))
        return letter + b"%d" % self.random.randint(1, 3)

    def mostly(self, usual: bytes, edges: list[bytes]) -> bytes:
        return usual if self.random.random() < 0.6 else self.random.choice(edges)

    def _value(self) -> bytes:
        return self.random.choice(VALUES)

    def _int(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(-20, 20), INTEGERS)

    def _index(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(-6, 6), INTEGERS)

    def _count(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(1, 4), INTEGERS)

    def _pick(self) -> bytes:
        """How many random members; a large negative number is a reply as large."""
        return self.mostly(b"%d" % self.random.randint(-4, 6), [b"0", b"-9223372036854775808", b"9223372036854775807", b"abc", b"", b"1.5"])

    def _offset(self) -> bytes:
        """A place in a string; far ones would only fill memory."""
        return self.mostly(b"%d" % self.random.randint(0, 12), [b"0", b"-1", b"100", b"5000", b"536870912", b"9223372036854775807",
                                                                b"abc", b"4294967296", b"-9223372036854775808"])

    def _bitoffset(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(0, 100), [b"-1", b"4294967296", b"99999", b"abc", b"9223372036854775807"])

    def _bit(self) -> bytes:
        return self.mostly(self.random.choice([b"0", b"1"]), [b"2", b"-1", b"x"])

    def _bittype(self) -> bytes:
        return self.random.choice([b"u8", b"i8", b"u4", b"i5", b"u1", b"i64", b"u63", b"u64", b"i65", b"i0", b"x8", b"U8", b"i16"])

    def _bitplace(self) -> bytes:
        return self.random.choice([b"0", b"8", b"#0", b"#1", b"#3", b"3", b"-1", b"#", b"abc", b"100"])

    def _float(self) -> bytes:
        return self.random.choice(FLOATS)

    def _score(self) -> bytes:
        return self.random.choice(SCORES)

    def _scorebound(self) -> bytes:
        return self.random.choice([b"", b"("]) + self.random.choice(SCORES)

    def _lexbound(self) -> bytes:
        return self.random.choice([b"-", b"+", b"[a", b"(a", b"[b", b"(c", b"[", b"(", b"a", b"", b"[alpha", b"(d"])

    def _member(self) -> bytes:
        return self.random.choice(MEMBERS)

    def _field(self) -> bytes:
        return self.random.choice(FIELDS)

    def _pattern(self) -> bytes:
        return self.random.choice(PATTERNS)

    def _text(self) -> bytes:
        return self.random.choice(TEXTS)

    def _script(self) -> bytes:
        return self.random.choice(SCRIPTS)

    def _db(self) -> bytes:
        return self.mostly(self.random.choice([b"0", b"1", b"9"]), [b"15", b"16", b"-1", b"abc", b"", b"1000000"])

    def _seconds(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(100, 1000), EXPIRIES)

    def _milliseconds(self) -> bytes:
        word = self.mostly(b"%d" % self.random.randint(100_000, 1_000_000), EXPIRIES + [SOON_MS] * 4)
        self.soon = self.soon or word == SOON_MS
        return word

    def _patience(self) -> bytes:
        """How long to wait for data: for ever, so short that the step waits until it is over, or not a time."""
        word = self.mostly(b"0", [b"0", b"0.0", SHORT_S, SHORT_S, SHORT_S, b"-1", b"abc", b"1e30", b"inf"])
        self.soon = self.soon or word == SHORT_S
        return word

    def _patiencems(self) -> bytes:
        """The same in whole milliseconds."""
        word = self.mostly(b"0", [SHORT_MS, SHORT_MS, SHORT_MS, b"-1", b"abc", b"1.5", b"9223372036854775807"])
        self.soon = self.soon or word == SHORT_MS
        return word

    def _entryid(self) -> bytes:
        """An id that no clock makes."""
        if self.random.random() < 0.12:
            return self.random.choice(ENTRY_IDS)
        return b"%d" % self.random.randint(1, 40) + self.random.choice([b"", b"-*", b"-0", b"-1", b"-2", b"-3"])

    def _rangeid(self) -> bytes:
        if self.random.random() < 0.4:
            return self.random.choice([b"-", b"+", b"(", b"(+"])
        return self.random.choice([b"", b"", b"("]) + self._entryid()

    def _group(self) -> bytes:
        return self.mostly(b"g", [b"h", b"", b"STREAMS", b"nosuch"])

    def _consumer(self) -> bytes:
        return self.random.choice([b"c", b"c", b"d", b"e", b"", b"STREAMS", b"\x00\xff"])

    def _at(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(4_000_000_000, 4_000_000_999), [b"1", b"0", b"-1", *EXPIRIES[4:]])

    def _atms(self) -> bytes:
        return self.mostly(b"%d" % self.random.randint(4_000_000_000_000, 4_000_000_999_000), [b"1", b"0", b"-1", *EXPIRIES[4:]])

    def _longitude(self) -> bytes:
        return self.random.choice([b"13.361389", b"15.087269", b"0", b"-180", b"180", b"181", b"2.5", b"abc", b"-73.98"])

    def _latitude(self) -> bytes:
        return self.random.choice([b"38.115556", b"37.502669", b"0", b"85", b"-85.05112878", b"86", b"40.7", b"abc", b""])

    def _radius(self) -> bytes:
        return self.random.choice([b"100", b"200", b"0", b"1", b"5000", b"-1", b"abc", b"20000"])


# A key that is due in two milliseconds; the step that makes one waits until it is gone (see steps.py).
SOON_MS = b"2"
SHORT_S, SHORT_MS = b"0.003", b"3"  # and a wait as short
EXPIRIES = [b"0", b"-1", b"-100", b"abc", b"", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775",
            b"9223370399119966", b"1.5", b"01"]
