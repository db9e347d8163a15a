"""A private copy of the suite's source tree with our server in the place of src/redis-server, or whatever
the suite calls it.

How: everything of the source package is linked, except tests/ (copied, the suite writes below it) and src/ (made
here: the server under test is a real copy, so that /proc/PID/exe tells whose child a process is). Nothing of the
suite is edited. Invariant: after `sweep` no process that was started from this tree is alive.
Not here: running the suite, reading its output.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from runners import Runner

# Redis's, under the names that the suite has for them.
TOOLS = ("cli", "benchmark", "sentinel")
# The server under test is these, too, under their names.
OWN_TOOLS = ("check-aof", "check-rdb")


class Tree:
    """One slot: tests that run side by side each get their own, with their own ports."""

    def __init__(self, root: Path, runner: Runner, server: Path):
        self.root = root
        if root.exists():
            self.sweep()
            shutil.rmtree(root)
        root.mkdir(parents=True)
        for entry in runner.source.iterdir():
            if entry.name not in ("src", "tests"):
                (root / entry.name).symlink_to(entry)
        shutil.copytree(runner.source / "tests", root / "tests", symlinks=True)
        (root / "src").mkdir()
        name = f"{runner.program}-server"
        shutil.copy2(server.resolve(), root / "src" / name)
        for tool in OWN_TOOLS:
            (root / "src" / f"{runner.program}-{tool}").symlink_to(name)
        for tool in TOOLS:
            found = shutil.which(f"redis-{tool}")
            if found is None:
                raise FileNotFoundError(f"redis-{tool}: not on PATH; run scripts/oracles.sh")
            shutil.copy2(Path(found).resolve(), root / "src" / f"{runner.program}-{tool}")

    def make_certificates(self) -> None:
        """What the suite's TLS mode needs, by the source's own script."""
        subprocess.run(["bash", "utils/gen-test-certs.sh"], cwd=self.root, capture_output=True, check=True)

    def processes(self) -> list[int]:
        """Pids that run a binary of this tree or work below it (and so were started by its suite)."""
        prefix = str(self.root) + "/"
        pids = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            for link in ("exe", "cwd"):
                try:
                    target = os.readlink(f"/proc/{entry}/{link}")
                except OSError:
                    continue
                if (target + "/").startswith(prefix):
                    pids.append(int(entry))
                    break
        return pids

    def sweep(self, wait_s: float = 5.0) -> int:
        """Kills what is left, by pid; returns how many there were. A stopped process dies of SIGKILL too."""
        deadline = time.monotonic() + wait_s
        killed = set()
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.add(pid)
            time.sleep(0.02)
        return len(killed)

    def logs(self) -> list[Path]:
        """What the servers of the last run printed."""
        patterns = ("tests/tmp/server.*/std*", "tests/*/tmp/*/log.txt", "tests/*/tmp/*/err.txt")
        return sorted(path for pattern in patterns for path in self.root.glob(pattern))

    def clean(self) -> None:
        """Removes what the last run left behind, so that the next one's logs are its own."""
        for pattern in ("tests/tmp/*", "tests/*/tmp/*"):
            for path in self.root.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != ".gitignore":
                    path.unlink(missing_ok=True)
