"""The runners of test suites there are: where a suite's source lies, what starts it, what its list of failures is.

Redis's source has three runners, which share known-failures.txt because their files have different names. Valkey's
suite grew out of Redis's and is run the same way, with valkey-known-failures.txt.
"""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / "work"
REDIS = WORK / "redis-src" / "redis-7.0.15"
VALKEY = WORK / "valkey-src" / "valkey-9.1.2"


@dataclass(frozen=True)
class Runner:
    name: str
    source: Path
    script: str
    known: Path = HERE / "known-failures.txt"
    program: str = "redis"  # what the names of the suite's programs begin with: redis-server
    step: str = "source"  # of scripts/oracles.sh, which fetches the source
    options: tuple[str, ...] = ()  # of the script, for every file

    @property
    def instances(self) -> bool:
        """Whether it is a runner of Sentinel or Cluster instances, with options, ports and output of its own."""
        return self.script != "runtest"


# This server's defaults and OBJECT ENCODING are Redis 7.0.15's, which Redis's suite looks at. Valkey's suite takes its own
# defaults for granted: what is due or replaced leaves as UNLINK.
VALKEY_WAYS = ("--ignore-encoding", "--tags", "-cluster", *(word for name in ("expire", "eviction", "server-del", "user-del", "user-flush")
                                      for word in ("--config", f"lazyfree-lazy-{name}", "yes")))

RUNNERS = {runner.name: runner for runner in (
    Runner("redis", REDIS, "runtest"),
    Runner("sentinel", REDIS, "runtest-sentinel"),
    Runner("cluster", REDIS, "runtest-cluster"),
    Runner("valkey", VALKEY, "runtest", HERE / "valkey-known-failures.txt", "valkey", "valkey",
           VALKEY_WAYS),
)}
