#!/usr/bin/env python3
"""redis-cli against a server: `redis_cli.py PORT commands|terminal|tools`; `tools` are those that take seconds.

`commands`: what scripts do (arguments, a pipe, --pipe, formats). `terminal`: a person at a pseudo-terminal: prompt,
hints and completion from COMMAND DOCS, MULTI's (TX) mark, errors, SELECT in the prompt. Prints `ok - NAME` or
`not ok - NAME: why` per promise.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

PORT = ""
TERMINAL_WAIT_S = 5


def cli(*arguments, stdin=None, seconds=30):
    """What redis-cli prints."""
    done = subprocess.run(["redis-cli", "-p", PORT, *arguments], input=stdin, capture_output=True, timeout=seconds)
    return done.stdout + done.stderr


def resp(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def arguments():
    expect(cli("SET", "k", "hello world"), b"OK\n")
    expect(cli("GET", "k"), b"hello world\n")
    expect(cli("--no-raw", "GET", "k"), b'"hello world"\n')
    expect(cli("--no-raw", "TTL", "k"), b"(integer) -1\n")
    expect(cli("-n", "2", "DBSIZE"), b"0\n")
    expect(cli("-3", "--no-raw", "CONFIG", "GET", "maxmemory-policy"), b'1# "maxmemory-policy" => "noeviction"\n')
    expect(cli("--csv", "MGET", "k", "none"), b'"hello world",NULL\n')
    expect(cli("--json", "MGET", "k", "none"), b'["hello world",null]\n')
    expect(cli("-r", "3", "INCR", "n"), b"1\n2\n3\n")
    expect(cli("-x", "SET", "k", stdin=b"from stdin"), b"OK\n")
    expect(cli("GET", "k"), b"from stdin\n")
    expect(cli("-e", "NOSUCH"), b"ERR unknown command 'NOSUCH', with args beginning with: \n")


def script_on_stdin():
    out = cli(stdin=b"SET a 1\nMULTI\nINCR a\nGET a\nEXEC\nGET none\n")
    expect(out, b"OK\nOK\nQUEUED\nQUEUED\n2\n2\n\n")


def mass_insertion():
    load = b"".join(resp(b"SET", b"key:%d" % i, b"v" * (i % 50)) for i in range(50_000))
    out = cli("--pipe", stdin=load)
    assert b"errors: 0, replies: 50000" in out, out[-200:]
    expect(cli("DBSIZE"), b"50000\n")


def scan():
    fill(2000)
    lines = cli("--scan", "--pattern", "key:1*").split()
    assert len(set(lines)) == 1111, len(set(lines))
    assert len(cli("--scan").split()) == 2000


def bigkeys():
    fill(2000)
    cli("SET", "big", "x" * 5000)
    out = cli("--bigkeys")
    assert b'Biggest string found \'"big"\' has 5000 bytes' in out, out[-600:]
    assert b"Sampled 2001 keys" in out, out[-600:]


def memkeys():
    fill(2000)
    cli("SET", "big", "x" * 50000)
    out = cli("--memkeys")
    found = re.search(rb'Biggest string found \'"big"\' has (\d+) bytes', out)
    assert found and int(found[1]) >= 50000, out[-600:]


def latency():
    out = cli("--latency", "--raw")  # without a terminal it samples for a second and ends
    low, high, mean, samples = out.split()[:4]
    assert float(high) < 1000 and int(samples) > 10, out
    assert b"LATENCY" not in cli("LATENCY", "RESET")


def intrinsic_history():
    out = for_a_while("--latency-history", "-i", "1", seconds=2.5)
    assert b"min:" in out and b"samples" in out, out


def stat():
    out = for_a_while("--stat", seconds=2.5)
    assert b"clients" in out and b"requests" in out and re.search(rb"\(\+\d+\)", out), out


def interactive():
    with Terminal() as terminal:
        terminal.expect("127.0.0.1:" + PORT + "> ")
        terminal.say("SET greeting hello", "OK")
        terminal.say("GET greeting", '"hello"')
        terminal.say("TTL greeting", "(integer) -1")
        terminal.say("MGET greeting none", "2) (nil)")
        terminal.say("NOSUCH", "(error) ERR unknown command 'NOSUCH'")
        terminal.say("MULTI", "OK", "(TX)> ")
        terminal.say("INCR n", "QUEUED", "(TX)> ")
        terminal.say("EXEC", "1) (integer) 1")
        terminal.say("SELECT 3", "OK", "[3]> ")
        terminal.say("hello 3", '1# "server" => "redis"', "[3]> ")
        terminal.say("help set", "SET key value", "[3]> ")


def hints_and_completion():
    """As one types, redis-cli shows the rest of the syntax; TAB completes: both from COMMAND DOCS or its own table."""
    with Terminal() as terminal:
        terminal.expect("> ")
        terminal.write("getr\t")
        terminal.expect("GETRANGE")
        terminal.write(" k ")
        terminal.expect("start end")
        terminal.write("0 1\r")
        terminal.expect('""')
        terminal.expect(PORT + "> ")
        for typed, hint in HINTS.items():
            terminal.write(typed + " ")
            terminal.expect(hint)
            terminal.write("\x15")  # control-U forgets the line


HINTS = {
    "set k v": "[GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
    "zadd k": "[NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]",
    "zunionstore d": "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX",
    "zrange k": "start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
    "geosearch k": "FROMMEMBER member|FROMLONLAT longitude latitude BYRADIUS radius M|KM|FT|MI|BYBOX width height M|KM|FT|MI",
    "bitfield k": "GET encoding offset|[OVERFLOW WRAP|SAT|FAIL] SET encoding offset value|INCRBY encoding offset increment",
    "config set": "parameter value [parameter value ...]",
    "hello": "[protover [AUTH username password] [SETNAME clientname]]",
}

COMMANDS = [arguments, script_on_stdin, mass_insertion, scan]
TERMINAL = [interactive, hints_and_completion]
TOOLS = [bigkeys, memkeys, latency, intrinsic_history, stat]


def fill(count):
    cli("--pipe", stdin=b"".join(resp(b"SET", b"key:%d" % i, b"v") for i in range(count)))


def for_a_while(*arguments, seconds=1.5):
    """What a tool that never ends prints until it is interrupted; on a terminal, where it does not hold lines back."""
    with Terminal(*arguments) as terminal:
        out, deadline = b"", time.monotonic() + seconds
        while select.select([terminal.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            out += os.read(terminal.fd, 65536)
        return out


def expect(found, wanted):
    assert found == wanted, f"wanted {wanted!r}, found {found!r}"


class Terminal:
    """redis-cli on a pseudo-terminal of a decent size (without one it asks the terminal for the cursor)."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
            os.environ |= {"TERM": "xterm", "REDISCLI_HISTFILE": "/dev/null"}
            os.execvp("redis-cli", ["redis-cli", "-p", PORT, *self.arguments])
        self.seen = ""
        return self

    def __exit__(self, *_):
        os.close(self.fd)
        try:
            os.kill(self.pid, 9)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)

    def write(self, text):
        os.write(self.fd, text.encode())

    def say(self, line, wanted, mark="> "):
        """Types a line, waits for its reply and then for the prompt: what is typed before the prompt is lost."""
        self.write(line + "\r")
        self.expect(wanted)
        self.expect(PORT + mark)

    def expect(self, wanted):
        """Reads until the text is there; what came before it is forgotten."""
        deadline = time.monotonic() + TERMINAL_WAIT_S
        while wanted not in self.seen:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"wanted {wanted!r}, the terminal shows {self.seen[-300:]!r}")
            # Colours and cursor moves are the terminal's business.
            self.seen += re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", os.read(self.fd, 65536).decode(errors="replace"))
        self.seen = self.seen.split(wanted, 1)[1]


def main():
    global PORT
    PORT = sys.argv[1]
    for check in {"commands": COMMANDS, "terminal": TERMINAL, "tools": TOOLS}[sys.argv[2]]:
        cli("FLUSHALL")
        try:
            check()
            print(f"ok - {check.__name__}")
        except Exception as error:  # every failure is a result, whatever its kind
            print(f"not ok - {check.__name__}: {error!r}")


if __name__ == "__main__":
    main()
