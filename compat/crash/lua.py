"""Random scripts as lists of lines, so that one that fails can be made shorter line by line. Pure but for its random source.

Everything in them is bounded: loops count, strings grow to a few megabytes, patterns that could take for ever meet short
texts only. What two servers cannot agree on is made nowhere: clocks, dice, addresses, the order of sets, settings that
outlive a script.
"""

import random
import re

from differential import grammar
from differential.pattern import Pattern, Words

LINES_MAX = 12
DEPTH_MAX = 4
DAMAGE_SHARE = 0.08
FAMILIES = (grammar.STRINGS, grammar.KEYS, grammar.LISTS, grammar.HASHES, grammar.SETS, grammar.ZSETS, grammar.BITS, grammar.SORT, grammar.STREAMS)
# Replies that differ from server to server or from call to call.
OPEN_REPLIES = {
    "RANDOMKEY", "KEYS", "SCAN", "SMEMBERS", "SINTER", "SUNION", "SDIFF", "SPOP", "SRANDMEMBER", "SSCAN", "HRANDFIELD", "HSCAN",
    "HKEYS", "HVALS", "HGETALL", "ZRANDMEMBER", "ZSCAN", "OBJECT", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "DUMP", "XPENDING",
    "XINFO", "XAUTOCLAIM", "XCLAIM", "SORT", "XTRIM",
}
CLOCK_WORDS = ("<seconds>", "<milliseconds>", "<at>", "<atms>", "~")
REFUSED = ["SUBSCRIBE a", "MULTI", "EXEC", "WATCH s1", "AUTH x", "EVAL x 0", "SCRIPT FLUSH", "SHUTDOWN", "MONITOR", "BLPOP", "CONFIG GET x",
           "nosuch", "CLIENT ID", "SAVE", "DEBUG SLEEP 0", "PING", "ECHO a", "SELECT 3", "WAIT 0 0", "XREAD BLOCK 0 STREAMS x1 $", "FCALL f 0",
           "HELLO 3", "RESET", "QUIT", "COMMAND COUNT x", "MEMORY x", "PUBLISH a b", "SPUBLISH a b", "PFADD p1 a", "PFCOUNT p1", "GEOADD g1 1 1 a"]

NUMBERS = ["0", "1", "-1", "2", "3", "7", "8", "10", "31", "32", "33", "63", "64", "127", "128", "255", "256", "1000", "0.5", "-0.5", "1.5", "2.5",
           "1e15", "1e16", "1e17", "1e100", "1e308", "-1e308", "1e309", "-1e309", "0/0", "2^31", "2^31-1", "-2^31", "2^32", "2^53", "2^53+1",
           "-2^53", "2^63", "-2^63", "2^64", "0x10", "0xffffffff", "1e-5", "1e-320", "123456789012", "3.14159265358979", "-0", "1/3"]
SMALL = ["0", "1", "-1", "2", "3", "5", "-2", "10", "40", "1.5", "-0", "'3'", "' 4 '", "'x'", "nil", "2^31", "-2^31", "2^53", "1e300", "-1e300", "0/0"]
STRINGS = ["''", "'a'", "'b'", "'abc'", "'hello world'", "'10'", "'0x1F'", "' 5 '", "'1e3'", "'-0'", "'nan'", "'inf'", r"'a\0b'", r"'\255\0\1'",
           r"'\r\n'", r"'\195\169'", "[[long]]", "[==[ ]] ]==]", "('x'):rep(50)", "('ab'):rep(2000)", "'%d'", "'%'", "'{\"a\":1}'", "'s1'", "'l1'"]
NAMES = ["a", "b", "c", "t", "f"]
BINARY = ["+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"]
PATTERNS = ["a", "^a", "b$", ".", ".-", "(.)", "()", "%w+", "%s*", "[a-z]+", "[^a]*", "%b()", "%f[%w]", "(a)(b)", "%1", "(a)%1", "[", "[a", "%", "(", ")",
            "((((a))))", "[]]", "[^]]", "[%a-z]", "[a-]", "*", "^*", "a-b", r"%z", r"a\0b", "%x", "(" * 33 + "a" + ")" * 33, "[[:alpha:]]", "%g", "$", "^$", "^^", "a?b?"]
NESTS = [b"[", b'{"a":', b"(", b"a?"]
DEEP_CALLS = ["cjson.decode, s", "string.find, s, s", "loadstring, s", "cmsgpack.unpack, s", "string.gsub, s, s, s"]
FORMATS = ["%d", "%5d", "%-5d|", "%05.1f", "%g", "%.14g", "%.17g", "%s", "%q", "%x", "%X", "%o", "%c", "%e", "%u", "%i", "%a", "%%", "%10.3s", "%", "%y",
           "%.200f", "%100d", "%.99f", "%99.99f", "%#x", "%+d", "% d", "%s %s %s", "%5", "%-+ #0d", "%-+ #0-d"]
STRUCT_FORMATS = ["b", "B", "h", "H", "l", "L", "T", "i", "I", "i1", "i4", "i8", "I3", "I16", "i32", "i33", "I0", "f", "d", "x", "s", "c", "c0", "c1", "c4", "c10", "c99",
                  "<", ">", "=", "!", "!2", "!8", "!3", "!99", " ", "bc0", "Bc0", "i8s", ">I2<I2", "z", "n", "c2147483647", "i2147483647", "c4294967296"]
JSON = ["{}", "[]", "null", "true", "false", "0", "-0", "1", "-1", "1.5", "1e5", "1E+400", "01", "0x1F", "1.", ".5", "-", "nan", "inf", "-Infinity", "Infinity",
        "\"a\"", "\"\\u00e9\"", "\"\\ud83d\\ude00\"", "\"\\ud800\"", "\"\\udc00\\u0041\"", "\"\\x\"", "\"\\/\\b\\f\\n\\r\\t\\\\\\\"\"", "\"", "[1,2,3]", "[1,]", "[,1]",
        "[[[[]]]]", "{\"a\":1}", "{\"a\":{\"b\":[1,null,{}]}}", "{a:1}", "{\"a\"}", "{\"a\":1,}", "{\"1\":1,\"2\":2}", " 1 ", "1 2", "[1 2]", "tru", "nulll", "\"\\u12\"",
        "[" * 999 + "]" * 999, "[" * 1001 + "]" * 1001, "{\"a\":" * 50 + "1" + "}" * 50, "9007199254740993", "123456789012345678901234567890", "\"\x7f\x01\"", "", "\x00", "1\x00"]
PACKS = [b"\x00", b"\x7f", b"\xff", b"\xe0", b"\x80", b"\x81\xa1a\x01", b"\x90", b"\x93\x01\x02\x03", b"\xa0", b"\xa3abc", b"\xc0", b"\xc1", b"\xc2", b"\xc3",
         b"\xc4\x01a", b"\xca\x3f\x80\x00\x00", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", b"\xcc\xff", b"\xcd\xff\xff", b"\xce\xff\xff\xff\xff",
         b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd0\x80", b"\xd1\x80\x00", b"\xd2\x80\x00\x00\x00", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", b"\xd4\x01\x02",
         b"\xd9\x03abc", b"\xda\x00\x03abc", b"\xdb\x00\x00\x00\x01a", b"\xdb\xff\xff\xff\xff", b"\xdc\x00\x01\x01", b"\xdd\x00\x00\x00\x01\x01", b"\xdd\xff\xff\xff\xff",
         b"\xde\x00\x01\x01\x02", b"\xdf\x00\x00\x00\x01\x01\x02", b"\xdf\x7f\xff\xff\xff", b"\x91" * 100 + b"\x01", b"\x81\xc0\x01", b"\x81\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01"]

# A use of the function f, which must not be in its own body.
RECURSION = re.compile(r"\bf(?=[(,)])")


def quoted(text: bytes) -> str:
    """A Lua literal of any bytes."""
    return "'" + "".join(chr(c) if 32 <= c < 127 and c not in b"'\\" else f"\\{c:03d}" for c in text) + "'"


class ExactWords(Words):
    """Scores that servers of every age print alike."""

    def _score(self) -> bytes:
        return self.random.choice([b"0", b"1", b"-1", b"2", b"10", b"1.5", b"-2.5", b"inf", b"-inf", b"nan", b"abc", b"1e10"])

    def _scorebound(self) -> bytes:
        return self.random.choice([b"", b"("]) + self._score()


class Lua:
    """Makes scripts from a random source; `commands` are those that may be called."""

    def __init__(self, source: random.Random, commands: set[str]):
        self.random = source
        self.words = ExactWords(source)
        self.commands = {name: Pattern.parse(text) for table in FAMILIES for name, text in table.items()
                         if name in commands and name not in OPEN_REPLIES and not any(word in text for word in CLOCK_WORDS)}
        if "SET" in commands:
            self.commands["SET"] = Pattern.parse("<str> <value> [NX|XX] [GET]")

    def script(self) -> list[bytes]:
        """The lines of one script, most of them valid."""
        one = self.random.random()
        if one < 0.55:
            lines = self.program()
        elif one < 0.65:
            lines = self.deep()
        elif one < 0.95:
            lines = [f"return {self.answer(self.random.choice([self.decoding, self.encoding, self.bits, self.texts, self.structs])())}"]
        else:
            lines = [self.soup()]
        encoded = [line.encode("latin-1") for line in lines]
        return self.damaged(encoded) if self.random.random() < DAMAGE_SHARE else encoded

    def words_of_call(self) -> list[bytes]:
        """KEYS and ARGV: their number, keys, values."""
        keys = [self.words.draw("key") for _ in range(self.random.randint(0, 3))]
        values = [self.random.choice([self.words.draw("value"), self.bytes(), self.random.choice(PACKS), self.json().encode("latin-1")])
                  for _ in range(self.random.randint(0, 3))]
        return [b"%d" % len(keys), *keys, *values]

    def pick(self, items):
        return self.random.choice(items)

    def bytes(self) -> bytes:
        return self.random.randbytes(self.random.choice([0, 1, 2, 5, 9, 30]))

    # Whole scripts.

    def program(self) -> list[str]:
        lines = ["local a, b, c = KEYS[1], ARGV[1], 3", "local t, f = {}, function(...) return ... end"]
        lines += [self.statement(DEPTH_MAX) for _ in range(self.random.randint(1, LINES_MAX))]
        return [*lines, f"return {self.answer(', '.join(self.expression(2) for _ in range(self.random.randint(1, 3))))}"]

    def answer(self, what: str) -> str:
        """A reply that shows numbers as they are, with what raised an error told apart."""
        return self.pick([
            f"{{pcall(function() return {what} end)}}", f"{{{what}}}", f"{{tostring(({what}))}}".replace("tostring((", "shown(("), what,
            f"cjson.encode({{{what}}})", f"cmsgpack.pack({what})",
        ]).replace("shown(", "(function(v) local k = type(v) if k == 'table' or k == 'function' or k == 'thread' or k == 'userdata' then return k end return tostring(v) end)(")

    def deep(self) -> list[str]:
        n = self.pick([5, 15, 16, 17, 50, 100, 150, 190, 199, 200, 201, 250, 1000, 5000])
        kind = self.random.randrange(12)
        nest = f"local t = {{}} local r = t for i = 1, {n} do local u = {{}} t[{self.pick(['1', 'i', quoted(b'k')])}] = u t = u end"
        return {
            0: ["return " + "(" * n + "1" + ")" * n],
            1: ["return " + "{" * n + "}" * n],
            2: [nest, f"return {self.pick(['cjson.encode(r)', 'cmsgpack.pack(r)', '#cmsgpack.pack(r)', 'r', '{pcall(cjson.encode, r)}', '{pcall(cmsgpack.pack, r)}'])}"],
            3: [f"local function g(n) if n == 0 then return 0 end return {self.pick(['1 + g(n - 1)', 'g(n - 1)', '(g(n - 1))'])} end", f"return {{pcall(g, {n * self.pick([1, 50])})}}"],
            4: ["return " + ".. ".join(["'a'"] * n)],
            5: ["do " * n + "local x = 1 " + "end " * n, "return 1"],
            6: ["return " + "not " * n + "1"],
            7: [f"local f = function() return 1 end for i = 1, {n} do local g = f f = function() return {self.pick(['g()', 'select(2, pcall(g))', 'coroutine.wrap(g)()', '(g())'])} end end", "return {pcall(f)}"],
            8: ["local " + ", ".join(f"v{i}" for i in range(n)) + " = 1", "return v0"],
            9: ["return " + "function() return " * n + "1 " + "end " * n],
            10: [f"local s = ({quoted(self.pick(NESTS))}):rep({n})", f"return {{pcall({self.pick(DEEP_CALLS)})}}"],
            # Redis ends at some 2,600, with the words of a stack that overflows.
            11: [f"local s = ('\\145'):rep({min(n, 1000)}) .. '\\001'", "return {pcall(function() local v, n = cmsgpack.unpack(s), 0 while type(v) == 'table' do v = v[1] n = n + 1 end return n end)}"],
        }[kind]

    def soup(self) -> str:
        tokens = NAMES + BINARY + NUMBERS + STRINGS + ["if", "then", "end", "else", "for", "do", "in", "while", "repeat", "until", "function", "local", "return", "break", "nil",
                                                       "true", "...", "(", ")", "{", "}", "[", "]", ",", ";", ".", ":", "=", "#", "--", "--[[", "[[", "]]", "\\", "'", "\"", "@", "!", "~", "\x00", "\xff", "goto"]
        return " ".join(self.pick(tokens) for _ in range(self.random.randint(1, 25)))

    def damaged(self, lines: list[bytes]) -> list[bytes]:
        at = self.random.randrange(len(lines))
        line = bytearray(lines[at])
        for _ in range(self.random.randint(1, 3)):
            place = self.random.randint(0, len(line))
            how = self.random.randrange(3)
            if how == 0:
                del line[place:place + self.random.randint(1, 4)]
            elif how == 1:
                line[place:place] = bytes([self.random.randrange(256)])
            else:
                line = line[:place] if self.random.random() < 0.3 else line
        return [*lines[:at], bytes(line), *lines[at + 1:]]

    # Statements.

    def statement(self, depth: int) -> str:
        name, one, two = self.pick(NAMES), self.expression(2), self.expression(2)
        plain = [
            lambda: f"{name} = {one}",
            lambda: f"{name}, {self.pick(NAMES)} = {one}, {two}",
            lambda: f"local {name} = {one}",
            lambda: f"t[{one}] = {two}",
            lambda: f"t = {self.table(2)}",
            lambda: self.call(),
            lambda: f"{name} = {self.call()}",
            lambda: f"{name} = {self.call()}",
            lambda: f"{name} = {{pcall({self.pick(['error', 'error', 'assert', 'tostring', 'f', 'redis.call', 'cjson.encode'])}, {one}, {two})}}",
            lambda: f"{name} = {self.special()}",
            lambda: self.hostile(),
        ]
        if depth <= 0 or self.random.random() < 0.7:
            line = self.pick(plain)()
            return line if line.startswith("local ") or self.random.random() < 0.3 else f"pcall(function() {line} end)"
        inner = self.statement(depth - 1)
        return self.pick([
            f"if {one} then {inner} else {self.statement(depth - 1)} end",
            f"for i = {self.pick(SMALL[:8])}, {self.pick(['0', '1', '3', '10', '-3'])}, {self.pick(['1', '1', '2', '-1', '0.5'])} do {inner} end",
            f"for i, v in ipairs({self.pick(['t', 'KEYS', 'ARGV', one])}) do {inner} end",
            f"do {inner} end",
            f"b = {{pcall(function() {inner} end)}}",
            f"b = {{xpcall(function() {inner} end, function(e) return {self.pick(['e', '1', 'error(e)', 'type(e)', 'nil .. e'])} end)}}",
            "f = function(...) " + RECURSION.sub("type", f"{inner} return {self.pick(['...', 'select(' + repr('#') + ', ...)', one])} end"),
            f"local n{depth} = 0 while n{depth} < 3 do n{depth} = n{depth} + 1 {inner} end",
            f"local n{depth} = 0 repeat n{depth} = n{depth} + 1 {inner} until n{depth} > 2 or {one}",
            f"b = coroutine.wrap(function(...) {inner} coroutine.yield({one}) return {two} end) c = {{b(1), pcall(b), pcall(b)}}",
        ])

    def hostile(self) -> str:
        """Attempts at what no script may do; each must end in an error or change nothing."""
        what = self.pick([
            "_G.x = 1", "x = 1", "redis.call = nil", "string.rep = nil", "rawset(_G, 'x', 1)", "setmetatable(_G, {})", "getmetatable('').__index = nil",
            "getmetatable(_G).__newindex = nil", "table.insert(math, 1)", "cjson.null = 1", "KEYS = {}", "rawset(string, 'x', 1)", "setmetatable('', {})", "bit.x = 1",
            "return nosuch", "nosuch()", "loadstring(string.dump(function() end))()", "loadstring(('\\27Lua'):rep(3))()", "load(function() return nil end)()",
            "coroutine.yield(1)", "error()", "error(nil)", "error({})", "error({err = 'MY own'})", "error('text', 2)", "error(setmetatable({}, {__tostring = function() return 'x' end}))",
            "local x = nil + 1", "local x = {} .. 'a'", "local x = nil x.y = 1", "local x = #5", "local x = {} < {}", "local x = 1 < 'a'", "t[nil] = 1", "t[0/0] = 1",
            "table.remove(redis)", "table.sort(string)", "os.exit()", "io.open('x')", "require('x')", "package.loaded.x = 1", "debug.sethook()", "print(1)",
            "table.sort({3, 1, 2, 5, 4, 9, 7}, function() return true end)", "table.sort({1, 'a', {}})", "string.gsub('abc', '.', function() error('in') end)", "redis.nosuch()",
        ])
        return self.pick([f"b = {{pcall(function() {what} end)}}"] * 4 + [f"do {what} end"])

    # Expressions.

    def expression(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.35:
            return self.pick([self.pick(NUMBERS), self.pick(STRINGS), self.pick(NAMES[:3]), "nil", "true", "false", "ARGV[1]", "KEYS[1]", "#ARGV", quoted(self.bytes())])
        one, two = self.expression(depth - 1), self.expression(depth - 1)
        return self.pick([
            lambda: f"({one} {self.pick(BINARY)} {two})", lambda: f"(- {one})", lambda: f"(not {one})", lambda: f"(#{one})",
            lambda: self.table(depth - 1), lambda: self.texts(), lambda: self.bits(), lambda: self.encoding(), lambda: self.decoding(), lambda: self.structs(),
            lambda: self.special(), lambda: f"select({self.pick(SMALL)}, {one}, {two})", lambda: f"tonumber({one}{self.pick(['', '', ', 2', ', 16', ', 36', ', 10', ', 37', ', 1'])})",
            lambda: f"f({one}, {two})", lambda: f"type({one})", lambda: f"math.{self.pick(['floor', 'ceil', 'abs', 'sqrt', 'exp', 'log', 'log10', 'frexp', 'modf', 'sin', 'tan'])}({one})",
            lambda: f"math.{self.pick(['max', 'min', 'pow', 'fmod', 'mod', 'ldexp', 'atan2'])}({one}, {two})", lambda: self.call(),
        ])()

    def table(self, depth: int) -> str:
        items = [self.pick([f"{self.expression(depth - 1)}", f"[{self.expression(0)}] = {self.expression(depth - 1)}", f"{self.pick(['ok', 'err', 'double', 'map', 'x', 'y'])} = {self.expression(depth - 1)}"])
                 for _ in range(self.random.randint(0, 4))]
        return "{" + ", ".join(items) + "}"

    def call(self) -> str:
        """A command of the server by one of its two names, mostly a valid one."""
        if self.random.random() < 0.12:
            argv = self.pick(REFUSED).encode().split(b" ")
        else:
            name = self.pick(list(self.commands))
            argv = [name.encode(), *self.commands[name].expand(self.words)]
        words = [quoted(word) for word in argv]
        if self.random.random() < 0.15:
            words[self.random.randrange(len(words))] = self.pick(["KEYS[1]", "ARGV[1]", "1.5", "2^53", "1e300", "nil", "{}", "true", "-0", "0/0"])
        return f"redis.{self.pick(['call', 'pcall', 'pcall', 'pcall'])}({', '.join(words)})"

    def special(self) -> str:
        one = self.expression(1)
        return self.pick([
            f"redis.error_reply({one})", f"redis.status_reply({one})", f"redis.sha1hex({one})", f"{{pcall(redis.setresp, {self.pick(['2', '3', '4', one])})}}", f"redis.log({self.pick(['redis.LOG_DEBUG', '0', '9', one])}, {one})",
            "redis.replicate_commands()", f"redis.set_repl({self.pick(['redis.REPL_ALL', 'redis.REPL_NONE', '99', one])})", f"redis.acl_check_cmd({self.pick([repr('GET'), repr('nosuch'), one])}, {one})",
            f"unpack({self.pick(['t', '{1, 2, 3}', '{}', 'ARGV'])}, {self.pick(SMALL)}, {self.pick(['1', '3', '-1', '7000', '8000', '9000', '2^31-1'])})", f"{{pcall(unpack, {one})}}",
            f"{{next({one})}}", f"rawequal({one}, {self.expression(1)})", f"rawget({self.pick(['t', 'KEYS', one])}, {one})", "getmetatable('').__name", f"#setmetatable({{1}}, {{__len = function() return {one} end}})",
            f"setmetatable({{}}, {{__index = function(t, k) return k end}})[{one}]", f"(setmetatable({{}}, {{__add = function(x, y) return {one} end}}) + 1)", f"setmetatable({{}}, {{__call = function(self, ...) return ... end}})({one})",
            f"tostring(setmetatable({{}}, {{__tostring = function() return {one} end}}))", f"{{pcall(setmetatable({{}}, {{__index = function() error({one}) end}}).x)}}", f"(setmetatable({{}}, {{__concat = function() return {one} end}}) .. 1)",
            f"assert({one}, {self.expression(1)})", f"table.concat({{1, 'a', {one}}}, {self.pick(STRINGS)}, {self.pick(SMALL)}, {self.pick(SMALL)})", f"table.concat({self.table(1)})",
            f"(function(...) return select('#', ...), ... end)({one}, nil, nil)", f"(function() local t = {{5, 3, 1, 4, {self.pick(['2', repr('a'), 'nil'])}}} table.sort(t{self.pick(['', ', function(x, y) return x > y end'])}) return t end)()",
            f"(function() local t = {{1, 2, 3}} table.insert(t, {self.pick(SMALL[:11])}, 9) return t end)()", f"(function() local t = {{1, 2, 3}} return table.remove(t, {self.pick(SMALL)}) end)()", "table.maxn({1, [7] = 2})",
            f"loadstring({self.pick([repr('return 1'), repr('return ...'), repr('syntax error here'), repr('return x'), one])})", f"{{loadstring({one})}}", f"coroutine.wrap(function(x) return coroutine.yield(x) end)({one})",
            f"{{coroutine.resume(coroutine.create(function(...) return ... end), {one})}}", f"coroutine.status(coroutine.create(function() end))", f"{{coroutine.resume(coroutine.create(function() error({one}) end))}}",
        ])

    def texts(self) -> str:
        text, pattern = self.pick(STRINGS[:-2] + ["a", "ARGV[1]", quoted(self.bytes())]), quoted(self.pick(PATTERNS).encode("latin-1"))
        if self.random.random() < 0.3:
            pattern = quoted("".join(self.pick(PATTERNS) for _ in range(2)).encode("latin-1"))
        small = lambda: self.pick(SMALL)  # noqa: E731
        return self.pick([
            lambda: f"string.rep({self.pick(STRINGS[:14])}, {self.pick(['0', '1', '-1', '10', '1000', '100000', '-2^31', '1e-5', 'nil', repr('3')])})", lambda: f"#string.rep({self.pick(STRINGS[1:5])}, {self.pick(['1000000', '3000000', '2^20'])})",
            lambda: f"string.sub({text}, {small()}, {small()})", lambda: f"string.byte({text}, {small()}, {small()})", lambda: f"string.char({self.pick(['0, 255', '256', '-1', '65, 66.7', repr('65'), '', '1e10'])})",
            lambda: f"string.find({text}, {pattern}, {small()}, {self.pick(['true', 'false', 'nil'])})", lambda: f"string.match({text}, {pattern}, {small()})", lambda: f"string.find({text}, {pattern})",
            lambda: f"string.gsub({text}, {pattern}, {self.pick([repr('%0%0'), repr('%1'), repr('%2'), repr('%'), repr('x'), '{a = 1, b = false}', 'function(x) return x end', 'function() return {} end', '1'])}, {self.pick(['nil', '0', '1', '2', '-1'])})",
            lambda: f"(function() local r = {{}} for x in string.gmatch({text}, {pattern}) do r[#r + 1] = x end return r end)()", lambda: f"string.format({quoted(self.pick(FORMATS).encode())}, {self.expression(0)}, {self.expression(0)})",
            lambda: f"string.format({quoted(''.join(self.pick(FORMATS) for _ in range(3)).encode())}, {', '.join(self.pick(NUMBERS + STRINGS) for _ in range(4))})",
            lambda: f"string.{self.pick(['upper', 'lower', 'reverse', 'len'])}({text})", lambda: f"({text}):{self.pick(['upper', 'len', 'nosuch', 'byte'])}()", lambda: f"string.format('%s', {self.table(0).replace('{', '#{')})", lambda: f"({text} .. {text})",
        ])()

    def bits(self) -> str:
        number = lambda: self.pick(NUMBERS + ["'7'", "'x'", "nil"])  # noqa: E731
        return self.pick([
            lambda: f"bit.{self.pick(['tobit', 'bnot', 'bswap', 'tohex'])}({number()})", lambda: f"bit.{self.pick(['band', 'bor', 'bxor'])}({number()}, {number()}{self.pick(['', ', ' + number()])})",
            lambda: f"bit.{self.pick(['lshift', 'rshift', 'arshift', 'rol', 'ror'])}({number()}, {number()})", lambda: f"bit.tohex({number()}, {self.pick(SMALL)})",
        ])()

    def value(self, depth: int) -> str:
        """A table, mostly, such as one encodes."""
        if depth <= 0 or self.random.random() < 0.3:
            return self.pick([*NUMBERS, *STRINGS, "true", "false", "cjson.null", quoted(self.bytes())])
        inner = [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        return self.pick([
            "{" + ", ".join(inner) + "}", "{" + ", ".join(f"[{i + 1}] = {text}" for i, text in enumerate(inner)) + "}",
            "{" + "".join(f"k = {text}, " for text in inner[:1]) + "}", "{" + "".join(f"[{self.pick(['0', '-1', '1.5', '3', '10', '11', '30', '2^53', repr('1'), 'true', 'false'])}] = {text}, " for text in inner[:1]) + "}",
            "{1, 2, nil, " + ", ".join([*inner, "4"]) + "}",
        ])

    def encoding(self) -> str:
        value = self.value(3)
        return self.pick([
            f"cjson.encode({value})", f"cmsgpack.pack({value}, {self.value(1)})", f"cjson.decode(cjson.encode({value}))", f"cmsgpack.unpack(cmsgpack.pack({value}))", f"#cmsgpack.pack({value})", "cmsgpack.pack()", "cjson.encode()",
            f"(function() local j = cjson.new() j.{self.pick(['encode_max_depth(2)', 'encode_sparse_array(true)', 'encode_sparse_array(false, 1, 2)', 'encode_sparse_array(true, 0, 0)', 'encode_number_precision(3)', 'encode_number_precision(15)', 'encode_number_precision(0)', 'encode_invalid_numbers(true)', 'encode_invalid_numbers(' + repr('null') + ')', 'encode_invalid_numbers(' + repr('x') + ')', 'encode_keep_buffer(false)', 'encode_max_depth(-1)', 'encode_max_depth(2^31)'])} return j.encode({value}) end)()",
        ])

    def json(self) -> str:
        text = self.pick(JSON)
        if self.random.random() < 0.3:
            text = f"[{text},{self.pick(JSON)}]"
        if self.random.random() < 0.3 and text:
            place = self.random.randrange(len(text))
            text = text[:place] + self.pick(["", chr(self.random.randrange(256)), text[place:place + 5] * 3]) + text[place + 1:]
        return text

    def decoding(self) -> str:
        if self.random.random() < 0.5:
            text = quoted(self.json().encode("latin-1"))
            return self.pick([
                f"cjson.decode({text})", f"cjson.decode({self.pick(['ARGV[1]', 'ARGV[2]', quoted(self.bytes())])})", f"cjson.encode(cjson.decode({text}))", f"cjson.decode({text}, 1)",
                f"(function() local j = cjson.new() j.{self.pick(['decode_max_depth(2)', 'decode_max_depth(0)', 'decode_max_depth(5000)', 'decode_invalid_numbers(false)', 'decode_invalid_numbers(true)', 'decode_invalid_numbers(' + repr('x') + ')'])} return j.decode({text}) end)()",
            ])
        pack = b"".join(self.pick(PACKS) for _ in range(self.random.randint(1, 4)))
        if self.random.random() < 0.3:
            pack = pack[:self.random.randint(0, len(pack))] + self.bytes()
        text = self.pick([quoted(pack), quoted(pack), "ARGV[1]", "ARGV[2]", quoted(self.bytes())])
        return self.pick([f"cmsgpack.unpack({text})", f"cmsgpack.unpack_one({text}, {self.pick(SMALL)})", f"cmsgpack.unpack_limit({text}, {self.pick(SMALL)}, {self.pick(SMALL)})", f"cmsgpack.unpack_one({text})"])

    def structs(self) -> str:
        form = quoted("".join(self.pick(STRUCT_FORMATS) for _ in range(self.random.randint(0, 4))).encode())
        values = ", ".join(self.pick(NUMBERS + STRINGS) for _ in range(self.random.randint(0, 4)))
        return self.pick([
            f"struct.pack({form}{', ' if values else ''}{values})", f"struct.size({form})", f"struct.unpack({form}, {quoted(self.random.randbytes(self.random.choice([0, 1, 4, 8, 40])))}{self.pick(['', ', 1', ', 2', ', 0', ', -1', ', 100', ', 2^31'])})",
            f"struct.unpack({form}, ARGV[1])", f"struct.unpack({form}, struct.pack({form}{', ' if values else ''}{values}))",
        ])
