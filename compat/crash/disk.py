"""What is on the disk after a crash: is it sound for redis-check-aof, and does a real redis-server load the same data?

Everything happens on a copy of the data directory, so the server under test restarts from untouched files.
Not here: what the data should be (book.py).
"""

import shutil
import subprocess
from pathlib import Path

from harness.resp import Connection
from harness.server import Server

CHECK_MAX_S = 60


def contents(connection: Connection) -> dict[bytes, tuple]:
    """Every key of database 0 with its value, in the form of book.Value."""
    keys, cursor = [], b"0"
    while True:
        reply = connection.call("SCAN", cursor, "COUNT", 1000)[1]
        cursor, page = reply[0][1], [item[1] for item in reply[1][1]]
        keys += page
        if cursor == b"0":
            break
    return {key: value(connection, key) for key in set(keys)}


def value(connection: Connection, key: bytes) -> tuple:
    kind = connection.call("TYPE", key)[1].decode()
    if kind == "string":
        return kind, connection.call("GET", key)[1]
    if kind == "list":
        return kind, tuple(item[1] for item in connection.call("LRANGE", key, 0, -1)[1])
    flat = [item[1] for item in connection.call("HGETALL", key)[1]]
    return kind, tuple(sorted(zip(flat[::2], flat[1::2])))


def deadlines(connection: Connection, keys) -> dict[bytes, bytes]:
    """When each key is due; two servers that loaded one file must agree to the millisecond."""
    return {key: connection.call("PEXPIRETIME", key)[1] for key in keys}


class Copy:
    """A copy of a data directory as the crash left it."""

    def __init__(self, directory: Path, place: Path):
        self.directory = place
        if place.exists():
            shutil.rmtree(place)
        shutil.copytree(directory, place, ignore=shutil.ignore_patterns("*.log"))

    def check(self) -> tuple[str, bool]:
        """redis-check-aof's complaint, or nothing; and whether it had to cut a torn tail (which is allowed)."""
        manifest = self.directory / "appendonlydir" / "appendonly.aof.manifest"
        if not manifest.exists():
            return ("no manifest", False)
        code, said = check_aof(manifest)
        if code == 0:
            return "", False
        code, mended = check_aof(manifest, fix=True)
        if code != 0:
            return f"redis-check-aof cannot mend it: {said[-400:]} {mended[-400:]}", False
        code, again = check_aof(manifest)
        return ("" if code == 0 else f"redis-check-aof still complains: {again[-400:]}"), True

    def load(self, peer: str, directives: dict[str, str]) -> tuple[dict, dict]:
        """The data and deadlines that a real server finds here."""
        server = Server(peer, directives, self.directory)
        server.start()
        try:
            connection = Connection(server.port)
            wait_loaded(connection)
            data = contents(connection)
            return data, deadlines(connection, data)
        finally:
            server.stop()

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def wait_loaded(connection: Connection) -> None:
    """PING answers -LOADING while the file is read; the read that ends it returns PONG."""
    while connection.call("PING")[0] == "-":
        pass


def check_aof(manifest: Path, fix: bool = False) -> tuple[int, str]:
    command = ["redis-check-aof", *(["--fix"] if fix else []), str(manifest)]
    done = subprocess.run(command, input="y\n" if fix else "", capture_output=True, text=True, timeout=CHECK_MAX_S)
    return done.returncode, done.stdout + done.stderr
