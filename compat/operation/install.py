#!/usr/bin/env python3
"""What `make install`, the Debian package and the container's entrypoint put on a machine: `install.py --server PATH`.

The installation goes into a temporary root: each file is there, the unit and the other files of the system pass the checkers
that this machine has, the installed binary serves on the installed configuration, its links are the tools. The package is
built, unpacked and looked at. The entrypoint is run with the arguments that users of the official image give.
Prints `ok - NAME` or `not ok - NAME: why`; what cannot be tried on this machine is said to be skipped.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.promises import Skipped, kept, name_of  # noqa: E402
from harness.resp import Connection  # noqa: E402
from harness.server import Server, free_port  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FILES = """
usr/bin/memkv-server usr/bin/memkv-check-aof usr/bin/memkv-check-rdb usr/share/man/man1/memkv-server.1
usr/share/bash-completion/completions/memkv-server usr/share/zsh/site-functions/_memkv-server
usr/share/fish/vendor_completions.d/memkv-server.fish usr/lib/systemd/system/memkv-server.service usr/lib/sysusers.d/memkv.conf
etc/logrotate.d/memkv-server etc/memkv/memkv.conf usr/share/memkv/redis-server.override.conf usr/share/memkv/alerts.yml
usr/share/memkv/grafana.json usr/share/memkv/memkv.conf.sample usr/share/doc/memkv-server/migration.md
""".split()


def run(*command, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def install(server: str, root: Path, **places: str) -> None:
    places = {"PREFIX": "/usr", "SYSCONFDIR": "/etc", "STATEDIR": "/var/lib", "UNITDIR": "/usr/lib/systemd/system", **places}
    run("make", "-s", "-C", ROOT, "install", f"BINARY={server}", f"DESTDIR={root}", *[f"{k}={v}" for k, v in places.items()])


def everything_is_in_its_place(server: str, root: Path) -> None:
    install(server, root)
    missing = [name for name in [*FILES, "usr/bin/redis-check-aof", "usr/bin/redis-check-rdb"] if not (root / name).exists()]
    assert not missing, missing
    left = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20
            and re.search(rb"@[A-Z]+DIR@", path.read_bytes())]
    assert not left, f"places that were not filled in: {left}"
    (root / "etc/memkv/memkv.conf").write_text("port 1\n")
    install(server, root)
    assert (root / "etc/memkv/memkv.conf").read_text() == "port 1\n", "a configuration that is there stays"


def the_installed_server_serves(server: str, root: Path) -> None:
    install(server, root)
    conf, port = root / "etc/memkv/memkv.conf", free_port()
    text = conf.read_text()
    for name in ("var/lib/memkv", "var/log/memkv", "run/memkv"):
        (root / name).mkdir(parents=True)
        text = text.replace(f"/{name}", str(root / name))
    conf.write_text(text)
    command = [root / "usr/bin/memkv-server", conf, "--port", str(port), "--admin-port", str(free_port())]
    with serving(command, port) as client:
        assert client.call("SET", "k", "v") == ("+", b"OK")
    log = (root / "var/log/memkv/memkv-server.log").read_text()
    assert "no effect" not in log and "bye bye" in log, log
    assert (root / "var/lib/memkv/dump.rdb").exists()
    checked = run(root / "usr/bin/memkv-check-rdb", root / "var/lib/memkv/dump.rdb")
    assert "1 keys read" in checked, checked


def files_of_the_system_pass_their_checkers(server: str, root: Path) -> None:
    install(server, root)
    tried = 0
    for unit in (root / "usr/lib/systemd/system/memkv-server.service", root / "usr/share/memkv/redis-server.override.conf"):
        programs = re.findall(r"^Exec\w+=[-+!@:]*(/\S+)", unit.read_text(), re.M)
        # A small Debian has no /bin/kill.
        assert set(programs) == {"/usr/bin/memkv-server", "/bin/sh"}, programs
    if shutil.which("systemd-analyze"):
        unit = root / "usr/lib/systemd/system/memkv-server.service"
        # The paths of the root, as they are to the checker.
        unit.write_text(unit.read_text().replace("/usr/bin/memkv-server", str(root / "usr/bin/memkv-server")))
        said = run("systemd-analyze", "verify", "--man=no", unit)
        assert "memkv-server.service" not in said, said
        tried += 1
    if shutil.which("mandoc") or shutil.which("man"):
        command = ["mandoc", "-T", "lint", "-W", "error"] if shutil.which("mandoc") else ["man", "--warnings", "-l"]
        run(*command, root / "usr/share/man/man1/memkv-server.1")
        tried += 1
    if shutil.which("logrotate"):
        run("logrotate", "--debug", root / "etc/logrotate.d/memkv-server")
        tried += 1
    if shutil.which("promtool"):
        run("promtool", "check", "rules", root / "usr/share/memkv/alerts.yml")
        tried += 1
    run("bash", "-n", root / "usr/share/bash-completion/completions/memkv-server")
    panels = json.loads((root / "usr/share/memkv/grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert tried or not sys.stdout.isatty()


def the_debian_package_is_whole(server: str, root: Path) -> None:
    if not shutil.which("dpkg-deb"):
        raise Skipped("there is no dpkg-deb")
    package = run(ROOT / "dist/debian/build.sh", server, "1.2.3", root, env={**os.environ, "COMPRESSION": "none"}).strip()
    fields = run("dpkg-deb", "--field", package)
    assert "Package: memkv-server" in fields and "Version: 1.2.3" in fields, fields
    tree, control = root / "tree", root / "control"
    run("dpkg-deb", "--extract", package, tree)
    run("dpkg-deb", "--control", package, control)
    names = [name for name in FILES if not name.endswith(".1")] + ["usr/share/man/man1/memkv-server.1.gz"]
    missing = [name for name in names if not (tree / name).exists()]
    assert not missing, missing
    assert not (tree / "usr/bin/redis-check-rdb").exists(), "redis-tools has that name"
    assert set((control / "conffiles").read_text().split()) == {"/etc/memkv/memkv.conf", "/etc/logrotate.d/memkv-server"}
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", control / script)
    assert run(tree / "usr/bin/memkv-server", "--version").startswith("Redis server v=")


def the_entrypoint_keeps_the_contract_of_the_redis_image(server: str, root: Path) -> None:
    entrypoint, bin_dir, data = ROOT / "dist/docker/docker-entrypoint.sh", root / "bin", root / "data"
    bin_dir.mkdir()
    data.mkdir()
    # It answers with its arguments and its mask; as root the entrypoint would become another user first.
    (bin_dir / "redis-server").write_text('#!/bin/sh\nprintf "<%s>" "$@"\numask\n')
    (bin_dir / "id").write_text("#!/bin/sh\necho 999\n")
    for program in bin_dir.iterdir():
        program.chmod(0o755)
    for name, line in (("open.conf", "port 1"), ("shut.conf", "protected-mode yes")):
        (data / name).write_text(f"{line}\n")
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"}
    for arguments, expected in (
        ("redis-server", "<--protected-mode><no>0077"),
        ("--appendonly yes", "<--protected-mode><no><--appendonly><yes>0077"),
        ("redis-server --save 60 1", "<--protected-mode><no><--save><60><1>0077"),
        ("open.conf", "<open.conf><--protected-mode><no>0077"),
        ("redis-server open.conf --port 2", "<open.conf><--protected-mode><no><--port><2>0077"),
        ("redis-server shut.conf", "<shut.conf>0077"),
        ("redis-server --protected-mode yes", "<--protected-mode><yes>0077"),
        ("echo something else", "something else"),
    ):
        said = run(entrypoint, *arguments.split(), env=environment, cwd=data, umask=0o022).strip()
        assert said == expected, f"{arguments}: {said} in place of {expected}"


def the_entrypoint_gives_the_data_to_its_user(server: str, root: Path) -> None:
    if os.getuid() != 0 or not shutil.which("setpriv") or subprocess.run(["id", "redis"], capture_output=True).returncode:
        raise Skipped("it takes root and a user redis")
    bin_dir, data, port = root / "bin", root / "data", free_port()
    bin_dir.mkdir()
    data.mkdir()
    shutil.copy(server, bin_dir / "redis-server")
    (data / "old").write_text("")
    for path in (root, bin_dir, bin_dir / "redis-server"):
        path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"}
    command = [ROOT / "dist/docker/docker-entrypoint.sh", "--port", str(port), "--bind", "127.0.0.1"]
    # The source need not be readable by another user.
    command[0] = shutil.copy(command[0], bin_dir)
    with serving(command, port, env=environment, cwd=data) as client:
        info = client.call("INFO", "server")[1].decode()
        pid = re.search(r"process_id:(\d+)", info)[1]
        owner = Path(f"/proc/{pid}").owner()
        assert owner == "redis" and (data / "old").owner() == "redis", owner
        assert client.call("CONFIG", "GET", "protected-mode")[1][1] == ("$", b"no")
        assert client.call("CONFIG", "GET", "dir")[1][1] == ("$", str(data).encode())


def the_health_check_of_the_image_tells_a_living_server(server: str, root: Path) -> None:
    """With the redis-cli of this Debian, whose options are fewer than a newer one's."""
    if not shutil.which("redis-cli"):
        raise Skipped("no redis-cli")
    check = re.search(r"^HEALTHCHECK .*\\\n +CMD (.*)$", (ROOT / "dist/docker/Dockerfile").read_text(), re.M)[1]
    port = free_port()
    command = ["sh", "-c", check.replace("redis-cli", f"redis-cli -p {port}")]
    for directives in ({}, {"requirepass": "secret"}):
        # One that asks for a password does not answer PONG.
        with Server(server, directives).start(ready=False) as alive:
            healthy = [word.replace(str(port), str(alive.port)) for word in command]
            assert subprocess.run(healthy, capture_output=True).returncode == 0, directives
    assert subprocess.run(command, capture_output=True).returncode != 0, "no server listens"


class serving:
    """A server that is started by a command, and ended by SHUTDOWN."""

    def __init__(self, command, port, **options):
        words = [str(word) for word in command]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        self.port = port

    def __enter__(self) -> Connection:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.client = Connection(self.port)
                if self.client.call("PING") == ("+", b"PONG"):
                    return self.client
            except OSError:
                time.sleep(0.05)
        self.process.kill()
        raise AssertionError(f"no server: {self.process.communicate()[0]}")

    def __exit__(self, *_):
        try:
            self.client.call("SHUTDOWN")
            assert self.process.wait(timeout=20) == 0, self.process.returncode
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.communicate()


PROMISES = (everything_is_in_its_place, the_installed_server_serves, files_of_the_system_pass_their_checkers, the_debian_package_is_whole,
            the_entrypoint_keeps_the_contract_of_the_redis_image, the_entrypoint_gives_the_data_to_its_user,
            the_health_check_of_the_image_tells_a_living_server)


def in_a_directory(promise, server: str) -> None:
    with tempfile.TemporaryDirectory(prefix="memkv-install-") as directory:
        promise(server, Path(directory))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    server = str(Path(parser.parse_args().server).absolute())
    return 0 if all([kept(name_of(promise), in_a_directory, promise, server) for promise in PROMISES]) else 1


if __name__ == "__main__":
    sys.exit(main())
