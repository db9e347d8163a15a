#!/usr/bin/env python3
"""A disk that fails under the real binary: full, broken, read-only, and a kill in the middle of a snapshot.

  faults.py --server PATH [--only TEXT] [--fast]

What is promised: a write that the log cannot take is refused with -MISCONF and the system's own words, PING with it;
reads go on; what was acknowledged is there after a kill at any moment, in its order and without a hole; when the disk
is well again so is the server, without help; an fsync that failed is final for its file; under `always` the server
ends; snapshots and rewrites that fail leave the old file in force and nothing behind; the log names file and cause.
Errors are injected into system calls by strace, which attaches to the running server; a full disk is a small tmpfs.
A scenario whose means are not there (strace, ptrace, root) is skipped by name. `--fast` leaves out those that mount.
The texts are redis-server 7.0.15's: `--server 7.0` passes, but for what is marked as memkv's own promise.
Prints a line for each and `N passed, N failed`.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.resp import EOF, SILENT, Connection  # noqa: E402
from harness.server import PEERS, Server  # noqa: E402

WAIT_S = 20
PATIENCE_S = 0.5  # for the reply to a write that the log did not take
NOBODY = 65534
TMPFS_BYTES = 12 << 20
LEFT_BYTES = 256 << 10  # of a disk that is nearly full
VALUE = b"v" * 4096
VALUES = 512  # 2 MiB of data, far more than is left
FULL, BROKEN = "No space left on device", "Input/output error"
LOG_FAILS = b"MISCONF Errors writing to the AOF file: %s"
SNAPSHOTS_FAIL = (
    b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may "
    b"modify the data set are disabled, because this instance is configured to report errors during writes if RDB "
    b"snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."
)
INCR = "appendonlydir/appendonly.aof.1.incr.aof"


class Failed(Exception):
    """A promise that is not kept."""


def check(good: bool, story: str) -> None:
    if not good:
        raise Failed(story)


class Ledger:
    """One list that grows by one number at a time: what is found must be 1, 2, 3 … to somewhere from `sure` to `sent`."""

    def __init__(self):
        self.sure = self.sent = 0

    def push(self, server: Server, times: int = 1) -> list[str]:
        """"ok", "in doubt" for a write without an answer, or the refusal, for each."""
        return [self._push(server) for _ in range(times)]

    def _push(self, server: Server) -> str:
        connection = Connection(server.port)
        connection.send([b"RPUSH", b"log", b"%d" % (self.sent + 1)])
        kind, said = connection.read(PATIENCE_S)[1]
        connection.close()
        if kind == "-":
            return said.decode()
        self.sent += 1
        if kind == ":":
            # An answer to this one is an answer to all before it: they are in one order.
            self.sure = self.sent
            return "ok"
        return "in doubt"

    def found(self, server: Server, when: str) -> None:
        items = [int(item[1]) for item in call(server, "LRANGE", "log", 0, -1)[1]]
        check(items == list(range(1, len(items) + 1)), f"{when}: a hole or a double: {items}")
        check(self.sure <= len(items) <= self.sent, f"{when}: {len(items)} there, {self.sure} acknowledged, {self.sent} sent")
        self.sure = self.sent = len(items)


def call(server: Server, *words) -> tuple:
    connection = Connection(server.port)
    tree = connection.call(*words)
    connection.close()
    return tree


def must(server: Server, *words) -> tuple:
    tree = call(server, *words)
    check(tree[0] not in "-!" and tree not in (EOF, SILENT), f"{words[:3]}: {tree}")
    return tree


def info(server: Server, field: str) -> str:
    for line in call(server, "INFO", "persistence")[1].decode().splitlines():
        if line.startswith(field + ":"):
            return line.partition(":")[2]
    return ""


def until(what: str, holds) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        check(time.monotonic() < deadline, f"not within {WAIT_S} s: {what}")
        time.sleep(0.02)


def ended(server: Server, code: int) -> None:
    until("the server ends", lambda: server.process.poll() is not None)
    check(server.process.returncode == code, f"exit code {server.process.returncode}: {server.tail(3)}")


def refused(server: Server, text: bytes) -> None:
    """Writes and PING are refused in these words, everything else goes on."""
    connection = Connection(server.port)
    expected = {("SET", "x", "1"): ("-", text), ("PING",): ("-", text), ("FLUSHALL",): ("-", text), ("DEL", "log"): ("-", text),
                ("MULTI",): ("+", b"OK"), ("INCR", "x"): ("-", text), ("EXISTS", "x"): ("+", b"QUEUED"),
                ("EXEC",): ("-", b"EXECABORT Transaction discarded because of previous errors."),
                ("EXISTS", "log", "x"): (":", b"1"), ("ECHO", "hi"): ("$", b"hi"), ("CONFIG", "SET", "maxmemory", "0"): ("+", b"OK")}
    for words, reply in expected.items():
        said = connection.call(*words)
        check(said == reply, f"{words}: {said}")
    connection.close()


def log_tells(server: Server, *words: str) -> None:
    text = server.log.read_text(errors="replace")
    check(any(all(word in line for word in words) for line in text.splitlines()), f"no line of the log has {words}: {server.tail(5)}")


@contextmanager
def injected(server: Server, calls: str, error: str, *paths: Path):
    """These system calls fail, on these files only if there are any, until the end of the block."""
    pid = server.process.pid
    files = [word for path in paths for word in ("-P", str(path))]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", *files, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}", "-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until("strace is attached", lambda: all(is_traced(task) for task in Path(f"/proc/{pid}/task").iterdir()))
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=WAIT_S)
        tracer.stderr.close()


def is_traced(task: Path) -> bool:
    try:
        return "TracerPid:\t0" not in (task / "status").read_text()
    except FileNotFoundError:
        return True  # a thread that has ended


class Faults:
    """The scenarios. Each gets a directory of its own; a method's docstring is its name."""

    def __init__(self, options: argparse.Namespace):
        self.binary, self.is_real = options.server, options.server in PEERS
        self.ledger, self.servers = Ledger(), []

    def server(self, directory: Path, **directives: str) -> Server:
        server = Server(self.binary, {name.replace("_", "-"): value for name, value in directives.items()}, directory)
        self.servers.append(server)
        return server.start()

    def logged(self, directory: Path, fsync: str) -> Server:
        server = self.server(directory, appendonly="yes", appendfsync=fsync, auto_aof_rewrite_percentage="0")
        check(self.ledger.push(server, 3) == ["ok"] * 3, "writes before the fault")
        return server

    def again(self, server: Server) -> None:
        """Killed, and everything acknowledged is there at the next start, and after one more."""
        server.kill()
        server.start()
        self.ledger.found(server, "after the kill")
        check(self.ledger.push(server) == ["ok"], "writes after the restart")
        server.kill()
        server.start()
        self.ledger.found(server, "after the second kill")

    def well_again(self, server: Server) -> None:
        until("writes are taken again", lambda: self.ledger.push(server) == ["ok"])
        check(call(server, "PING") == ("+", b"PONG"), "PING")
        check(info(server, "aof_last_write_status") == "ok", "aof_last_write_status")

    def write_fails(self, server: Server) -> None:
        """The log's file is on a full disk."""
        self.ledger.push(server)
        until("aof_last_write_status:err", lambda: info(server, "aof_last_write_status") == "err")
        refused(server, LOG_FAILS % FULL.encode())
        log_tells(server, "Error writing to the AOF file", FULL, *([] if self.is_real else ["appendonly.aof.1.incr.aof"]))

    # Scenarios: (directory) -> None. What they need is in NEEDS.

    def everysec_full(self, directory: Path) -> None:
        """everysec, no space for the log: refused, and well again with the disk"""
        server = self.logged(directory, "everysec")
        with injected(server, "write", "ENOSPC", directory / INCR):
            self.write_fails(server)
        self.well_again(server)
        self.again(server)

    def everysec_killed(self, directory: Path) -> None:
        """everysec, no space for the log, killed meanwhile: nothing acknowledged is lost"""
        server = self.logged(directory, "everysec")
        with injected(server, "write", "ENOSPC", directory / INCR):
            self.write_fails(server)
            server.kill()
        self.again(server)

    def everysec_bad_file(self, directory: Path) -> None:
        """everysec, one file of the log takes no more: refused until the log goes on in a new file, nothing lost or doubled"""
        server = self.logged(directory, "everysec")
        with injected(server, "write", "EIO", directory / INCR):
            self.ledger.push(server)
            if self.is_real:
                until("aof_last_write_status:err", lambda: info(server, "aof_last_write_status") == "err")
            else:
                self.well_again(server)
                log_tells(server, "Error writing to the AOF file", BROKEN, "appendonly.aof.1.incr.aof")
                until("the file that took no more is gone", lambda: not (directory / INCR).exists())
        self.well_again(server)
        self.again(server)

    def log_off_meanwhile(self, directory: Path) -> None:
        """the log is turned off while its disk is full: writes are taken"""
        server = self.logged(directory, "everysec")
        with injected(server, "write", "ENOSPC", directory / INCR):
            self.write_fails(server)
            must(server, "CONFIG", "SET", "appendonly", "no")
            check(self.ledger.push(server) == ["ok"] and call(server, "PING") == ("+", b"PONG"), "writes without a log")
        must(server, "CONFIG", "SET", "appendonly", "yes")
        until("the log is on", lambda: info(server, "aof_rewrite_in_progress") == "0" and info(server, "aof_rewrite_scheduled") == "0")
        self.well_again(server)
        self.again(server)

    def always_full(self, directory: Path) -> None:
        """always, no space for the log: the server ends and says why, nothing acknowledged is lost"""
        server = self.logged(directory, "always")
        with injected(server, "write", "ENOSPC", directory / INCR):
            self.ledger.push(server)
            ended(server, 1)
        log_tells(server, "AOF write error when the AOF fsync policy is 'always'", "Exiting...")
        log_tells(server, FULL, *([] if self.is_real else ["appendonly.aof.1.incr.aof"]))
        self.again(server)

    def everysec_fsync(self, directory: Path) -> None:
        """everysec, fsync fails: refused until the log goes on in a new file"""
        server = self.logged(directory, "everysec")
        with injected(server, "fsync,fdatasync", "EIO"):
            self.ledger.push(server)
            until("aof_last_write_status:err", lambda: call(server, "PING")[0] == "-")
            refused(server, LOG_FAILS % BROKEN.encode())
            log_tells(server, "Fail to fsync the AOF file", BROKEN, *([] if self.is_real else ["appendonly.aof.1.incr.aof"]))
        if not self.is_real:
            self.well_again(server)
            until("the file that was not synced is gone", lambda: not (directory / INCR).exists())
        self.again(server)

    def always_fsync(self, directory: Path) -> None:
        """always, fsync fails: the server ends and says why, nothing acknowledged is lost"""
        server = self.logged(directory, "always")
        with injected(server, "fsync,fdatasync", "EIO"):
            self.ledger.push(server)
            ended(server, 1)
        log_tells(server, "AOF for fsync error when the AOF fsync policy is 'always'", BROKEN, "Exiting...")
        self.again(server)

    def rewrite_broken(self, directory: Path) -> None:
        """the fsync of a rewrite fails: the old log goes on, the next rewrite works"""
        server = self.logged(directory, "no")
        with injected(server, "fsync,fdatasync", "EIO"):
            self.failing_rewrite(server)
        self.rewrite(server)
        self.again(server)

    def snapshot_broken(self, directory: Path) -> None:
        """the fsync of a snapshot fails: writes are refused until one works"""
        server = self.server(directory, save="3600 100000")
        self.ledger.push(server, 3)
        must(server, "SAVE")
        whole = (directory / "dump.rdb").read_bytes()
        with injected(server, "fsync,fdatasync", "EIO"):
            self.failing_save(server)
        check((directory / "dump.rdb").read_bytes() == whole, "the old snapshot was touched")
        self.save(server)
        self.ledger.push(server)

    def killed_in_snapshot(self, directory: Path) -> None:
        """killed during BGSAVE: the old snapshot is in force, the log knows all"""
        server = self.server(directory, rdb_key_save_delay="20000")
        for n in range(100):
            must(server, "SET", f"key:{n}", "old")
        must(server, "CONFIG", "SET", "rdb-key-save-delay", "0")
        must(server, "SAVE")
        must(server, "CONFIG", "SET", "rdb-key-save-delay", "20000")
        must(server, "SET", "key:1", "new")
        must(server, "BGSAVE")
        until("the snapshot is being written", lambda: list(directory.glob("temp-*.rdb")) and info(server, "rdb_bgsave_in_progress") == "1")
        server.kill()
        server.start()
        check(call(server, "GET", "key:1") == ("$", b"old"), "key:1 is not what the old snapshot has")
        check(call(server, "DBSIZE") == (":", b"100"), "DBSIZE")
        server.kill()
        server.directives |= {"appendonly": "yes", "appendfsync": "always"}
        (directory / "dump.rdb").unlink()
        server.start()
        self.ledger.push(server, 5)
        for n in range(100):
            must(server, "SET", f"key:{n}", "old")
        must(server, "BGSAVE")
        until("the snapshot is being written", lambda: list(directory.glob("temp-*.rdb")) and info(server, "rdb_bgsave_in_progress") == "1")
        self.ledger.push(server, 5)
        self.again(server)

    def rewrite_without_log(self, directory: Path) -> None:
        """BGREWRITEAOF while the log is off: a base and no log"""
        server = self.server(directory)
        must(server, "SET", "a", "1")
        self.rewrite(server)
        must(server, "SET", "b", "1")
        self.rewrite(server)
        names = sorted(path.name for path in (directory / "appendonlydir").iterdir())
        check(names == ["appendonly.aof.2.base.rdb", "appendonly.aof.manifest"], f"{names}")
        server.kill()
        server.directives["appendonly"] = "yes"
        server.start()
        check(call(server, "EXISTS", "a", "b") == (":", b"2"), "the base does not hold the data")

    def read_only(self, directory: Path) -> None:
        """a directory that may not be written: snapshots and rewrites fail, the log goes on; no start without a log"""
        place = directory / "data"
        place.mkdir()
        binary = shutil.copy(PEERS.get(self.binary, self.binary), directory / Path(PEERS.get(self.binary, self.binary)).name)
        user = NOBODY if os.geteuid() == 0 else None
        for path in (directory, place):
            path.chmod(0o755)
        if user:
            shutil.chown(place, user)
        server = Server(binary, {"appendonly": "yes", "save": "3600 100000", "auto-aof-rewrite-percentage": "0"}, place, user=user)
        self.servers.append(server)
        server.start()
        self.ledger.push(server, 3)
        folders = (place, place / "appendonlydir")
        for path in folders:
            path.chmod(0o555)
        check(call(server, "SAVE") == ("-", b"ERR"), "SAVE")
        check(self.ledger.push(server) == ["ok"], "SAVE's failure alone refuses nothing")
        self.failing_save(server)
        must(server, "CONFIG", "SET", "save", "")
        check(self.ledger.push(server) == ["ok"], "writes without save points")
        self.failing_rewrite(server)
        check(self.ledger.push(server) == ["ok"], "writes after a failed rewrite")
        self.again(server)
        for path in folders:
            path.chmod(0o755)
        self.save(server)
        self.rewrite(server)
        self.again(server)
        server.kill()
        shutil.rmtree(folders[1])
        place.chmod(0o555)
        try:
            server.start()
            check(False, "started without a log")
        except RuntimeError:
            ended(server, 1)
        log_tells(server, "Permission denied", "appendonlydir")
        place.chmod(0o755)

    def tmpfs_log(self, directory: Path) -> None:
        """a full disk, everysec: refused, killed, and well again with some space"""
        with tmpfs(directory) as disk:
            server = self.logged(disk, "everysec")
            ballast = fill(disk, 0)
            until("the log is full", lambda: self.ledger.push(server) != ["ok"])
            until("aof_last_write_status:err", lambda: info(server, "aof_last_write_status") == "err")
            refused(server, LOG_FAILS % FULL.encode())
            if not self.is_real:
                server.kill()
                server.start()
                self.ledger.found(server, "after the kill")
                until("the log is full", lambda: self.ledger.push(server) != ["ok"])
            ballast.unlink()
            self.well_again(server)
            self.again(server)
            server.kill()

    def tmpfs_rewrite(self, directory: Path) -> None:
        """the disk is full during BGREWRITEAOF: the old log goes on, the next rewrite works"""
        with tmpfs(directory) as disk:
            server = self.logged(disk, "everysec")
            self.big(server)
            ballast = fill(disk, LEFT_BYTES)
            self.failing_rewrite(server)
            check(self.ledger.push(server) == ["ok"], "writes after a failed rewrite")
            if not self.is_real:
                log_tells(server, "Background AOF rewrite terminated with error", "temp-rewriteaof-bg-", FULL)
            self.again(server)
            ballast.unlink()
            self.rewrite(server)
            self.again(server)
            server.kill()

    def tmpfs_snapshot(self, directory: Path) -> None:
        """the disk is full during BGSAVE: the old snapshot stays, writes are refused until one works"""
        with tmpfs(directory) as disk:
            server = self.server(disk, save="3600 100000")
            self.ledger.push(server, 3)
            must(server, "SAVE")
            whole = (disk / "dump.rdb").read_bytes()
            self.big(server)
            ballast = fill(disk, LEFT_BYTES)
            check(call(server, "SAVE") == ("-", b"ERR"), "SAVE")
            self.failing_save(server)
            check((disk / "dump.rdb").read_bytes() == whole, "the old snapshot was touched")
            log_tells(server, FULL)
            if not self.is_real:
                log_tells(server, "Background saving error", "temp-", FULL)
            ballast.unlink()
            self.save(server)
            check(self.ledger.push(server) == ["ok"], "writes after a good snapshot")
            self.ledger.sure -= 1  # this one is in no snapshot
            server.kill()
            server.start()
            self.ledger.found(server, "after the kill")
            server.kill()

    def tmpfs_begin(self, directory: Path) -> None:
        """the log is turned on with the disk full: an older log stays as it is until the new one is whole"""
        with tmpfs(directory) as disk:
            server = self.logged(disk, "everysec")
            must(server, "SET", "old", "1")
            must(server, "CONFIG", "SET", "appendonly", "no")
            must(server, "DEL", "old")
            self.big(server)
            ballast = fill(disk, LEFT_BYTES)
            must(server, "CONFIG", "SET", "appendonly", "yes")
            until("two attempts", lambda: int(info(server, "aof_rewrites")) >= 2)
            check(self.ledger.push(server) == ["ok"], "writes while the log cannot begin")
            copy = directory / "copy"
            server.process.send_signal(signal.SIGSTOP)
            shutil.copytree(disk, copy, ignore=shutil.ignore_patterns("*.log", "ballast", "temp-*"))
            server.process.send_signal(signal.SIGCONT)
            ballast.unlink()
            until("the log is on", lambda: info(server, "aof_rewrites_consecutive_failures") == "0" and info(server, "aof_rewrite_in_progress") == "0")
            check(self.ledger.push(server) == ["ok"], "writes with the log on")
            self.again(server)
            check(call(server, "EXISTS", "old", "big:1") == (":", b"1"), "the log's first base is another instant's")
            server.kill()
            older = self.server(copy, appendonly="yes")
            check(call(older, "DBSIZE") == (":", b"2") and call(older, "LLEN", "log") == (":", b"3"), "the older log was touched")
            older.kill()

    def big(self, server: Server) -> None:
        connection = Connection(server.port)
        for n in range(VALUES):
            connection.call("SET", f"big:{n}", os.urandom(len(VALUE)))
        connection.close()

    def failing_save(self, server: Server) -> None:
        must(server, "BGSAVE")
        until("rdb_last_bgsave_status:err", lambda: info(server, "rdb_last_bgsave_status") == "err")
        refused(server, SNAPSHOTS_FAIL)
        self.nothing_left(server)

    def save(self, server: Server) -> None:
        must(server, "BGSAVE")
        until("rdb_last_bgsave_status:ok", lambda: info(server, "rdb_last_bgsave_status") == "ok" and info(server, "rdb_bgsave_in_progress") == "0")

    def failing_rewrite(self, server: Server) -> None:
        kind, said = call(server, "BGREWRITEAOF")
        check(kind == "+" or self.is_real, f"BGREWRITEAOF: {said}")  # the real one opens the new file before it answers
        until("aof_last_bgrewrite_status:err", lambda: info(server, "aof_last_bgrewrite_status") == "err")
        until("the rewrite ends", lambda: info(server, "aof_rewrite_in_progress") == "0")
        check(info(server, "aof_rewrites_consecutive_failures") != "0" or kind == "-", "aof_rewrites_consecutive_failures")
        self.nothing_left(server)

    def rewrite(self, server: Server) -> None:
        must(server, "BGREWRITEAOF")
        until("the rewrite works", lambda: info(server, "aof_last_bgrewrite_status") == "ok" and info(server, "aof_rewrite_in_progress") == "0"
              and info(server, "aof_rewrite_scheduled") == "0")

    def nothing_left(self, server: Server) -> None:
        until("temporary files are gone", lambda: not list(server.directory.glob("temp-*")))


@contextmanager
def tmpfs(directory: Path):
    place = directory / "tmpfs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "memkv-faults", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, left: int) -> Path:
    """A file that leaves only so many bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(file.tell() - left, 0))
    return ballast


def has_strace() -> str:
    """Whether strace may attach to a process that is not its child, as the scenarios need it."""
    if not shutil.which("strace"):
        return "no strace"
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        tracer = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(sleeper.pid)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and tracer.poll() is None:
            if is_traced(Path(f"/proc/{sleeper.pid}")):
                return ""
            time.sleep(0.02)
        return "strace may not attach (ptrace)"
    finally:
        sleeper.kill()
        sleeper.wait()
        tracer.wait(timeout=WAIT_S)


def has_mount() -> str:
    return "" if os.geteuid() == 0 and shutil.which("mount") else "mounting a tmpfs needs root"


# Scenario -> what it needs.
NEEDS = {
    Faults.everysec_full: [has_strace], Faults.everysec_killed: [has_strace], Faults.everysec_bad_file: [has_strace],
    Faults.log_off_meanwhile: [has_strace], Faults.always_full: [has_strace], Faults.everysec_fsync: [has_strace],
    Faults.always_fsync: [has_strace], Faults.rewrite_broken: [has_strace], Faults.snapshot_broken: [has_strace],
    Faults.killed_in_snapshot: [], Faults.rewrite_without_log: [], Faults.read_only: [],
    Faults.tmpfs_log: [has_mount], Faults.tmpfs_rewrite: [has_mount], Faults.tmpfs_snapshot: [has_mount], Faults.tmpfs_begin: [has_mount],
}
# What redis-server does not promise.
OURS = {Faults.everysec_killed: "it answers before it writes"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test (or 7.0, 8.2, valkey)")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios with this in their name")
    parser.add_argument("--fast", action="store_true", help="without those that mount")
    options = parser.parse_args()
    missing = {need: need() for need in (has_strace, has_mount)}
    passed = failed = 0
    for scenario, needs in NEEDS.items():
        name = scenario.__doc__
        if options.only not in name or options.fast and has_mount in needs:
            continue
        why = next((missing[need] for need in needs if missing[need]), "")
        if options.server in PEERS and scenario in OURS:
            why = f"redis-server does not promise it: {OURS[scenario]}"
        if why:
            print(f"    skipped: {name}: {why}", flush=True)
            continue
        good = run(options, scenario)
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def run(options: argparse.Namespace, scenario) -> bool:
    faults, started = Faults(options), time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="memkv-faults-"))
    try:
        scenario(faults, directory)
        print(f"    {scenario.__doc__} ({time.monotonic() - started:.1f} s)", flush=True)
        return True
    except (Failed, RuntimeError, OSError) as error:
        print(f"    FAILED: {scenario.__doc__}: {error}", flush=True)
        return False
    finally:
        for server in faults.servers:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
