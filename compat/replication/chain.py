"""Random work on a chain of real servers and SERVERs, whose links break and whose members are killed, ends in equal data."""

import random
import time

from kit import Kind, Node, Trial, check, wait_for
from link import Link
from work import Load, fill

CUT_EVERY_S = 2
KILL_EVERY_S = 30
BACKLOG = "32mb"
CALM_S = 90  # for what is still to be synced at the end


class Chain:
    """Nodes in a row, a link before each but the first."""

    def __init__(self, t: Trial, kinds: list[Kind]):
        for before, after in zip(kinds, kinds[1:]):
            t.needs(after, before)
        self.t, self.random = t, random.Random(t.options.seed)
        self.nodes: list[Node] = []
        self.links: list[Link] = []
        for place, what in enumerate(kinds):
            # With all ways of keeping data, so that a kill is followed by every kind of start.
            mode = [{"appendonly": "yes"}, {"save": "5 1"}, {"save": '""'}][(place + t.options.seed) % 3] if place else {"appendonly": "yes", "appendfsync": "always"}
            node = t.node(what, start=False, repl_backlog_size=BACKLOG, repl_timeout=20, repl_diskless_load=self.random.choice(("disabled", "swapdb", "on-empty-db")), **mode)
            if place:
                self.links.append(t.also(Link(self.nodes[-1].port)))
                node.config.write_text(node.config.read_text() + f"replicaof 127.0.0.1 {self.links[-1].port}\n")
            self.nodes.append(node.start())

    def kill(self, node: Node) -> None:
        node.kill()
        time.sleep(self.random.uniform(0, 1))
        node.start()

    def settle(self) -> None:
        """Calm, in step along the row, equal to the first."""
        for link, node in zip(self.links, self.nodes[1:]):
            link.calm()
            wait_for(f"{node} has its link up", node.linked, CALM_S)
        for one, two in zip(self.nodes, self.nodes[1:]):
            self.t.in_step(one, two, CALM_S)
        for node in self.nodes[1:]:
            self.t.alike(self.nodes[0], node)


def run(t: Trial, kinds: list[Kind], seconds: float, kill_every: float) -> None:
    chain = Chain(t, kinds)
    fill(chain.nodes[0], f"{t.options.seed}", 120, chain.nodes[1:])
    load = t.also(Load(chain.nodes[0], f"chain {t.options.seed}", chain.nodes))
    for link in chain.links:
        link.every(CUT_EVERY_S)
    deadline, kills = time.monotonic() + seconds, 0
    at = time.monotonic() + kill_every
    while time.monotonic() < deadline:
        time.sleep(0.2)
        for node in chain.nodes:
            t.need(node.alive(), f"{node} died: {node.tail()}")
        if time.monotonic() > at:
            # The first one is killed too: what it lost, no other server may keep.
            chain.kill(chain.nodes[kills % len(chain.nodes)])
            kills += 1
            at = time.monotonic() + kill_every
    commands = load.stop()
    chain.settle()
    for node in chain.nodes[:-1]:
        t.notes.append(f"{node}: {node.syncs()[0]} full syncs, {node.syncs()[1]} partial, since its last start")
    t.notes.append(f"{commands} commands, {load.errors} refused, {sum(link.cuts for link in chain.links)} cuts, {kills} kills")
    t.expect(commands > seconds * 200, f"only {commands} commands")
    if not kills:
        t.same([node.syncs()[0] for node in chain.nodes[:-1]], [1] * (len(chain.nodes) - 1), "full syncs without a kill")


@check()
def mixed(t: Trial) -> None:
    """real -> SERVER -> real -> SERVER: links cut each two seconds, kill -9 each thirty, for --seconds."""
    run(t, [t.peer, t.server, t.peer, t.server], t.options.seconds, KILL_EVERY_S)


@check()
def mixed_from_ours(t: Trial) -> None:
    """SERVER -> real -> SERVER -> real, the same."""
    run(t, [t.server, t.peer, t.server, t.peer], t.options.seconds, KILL_EVERY_S)


@check()
def often_killed(t: Trial) -> None:
    """real -> SERVER -> SERVER with a kill -9 each five seconds."""
    run(t, [t.peer, t.server, t.server], min(30, t.options.seconds), 5)


@check()
def brief(t: Trial) -> None:
    """real -> SERVER -> SERVER for five seconds, links cut, no server killed: one full sync each."""
    run(t, [t.peer, t.server, t.server], 5, 60)
