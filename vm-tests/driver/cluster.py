"""The header of a scenario: the cluster it wants, in a line or two.

::

    CLUSTER = cluster(agents=3, session_timeout="4s", labels={"web1": {"zone": "a"}})

gives ``zk1`` (ZooKeeper, controller and CLI) and ``web1`` … ``web3`` (agents).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Host:
    """One host of a cluster: its name, its number on the network, what it does."""

    name: str
    index: int
    roles: frozenset[str]


@dataclass(frozen=True)
class Cluster:
    """What a scenario runs on. Durations are zkops's ("4s"), the driver's own limits are seconds."""

    #: ZooKeeper servers zk1 …; three or more form an ensemble.
    zookeepers: int = 1
    #: Controllers, on zk1 … (or on ctl1 …, see `controllers_apart`).
    controllers: int = 1
    #: Agents, on web1 ….
    agents: int = 3
    #: Give controllers hosts of their own, so that their links can be cut.
    controllers_apart: bool = False
    #: The session timeout agents and controllers ask for.
    session_timeout: str = "4s"
    #: The same for controllers alone, where it differs: how soon another leads when one is killed.
    controller_session_timeout: str = ""
    #: Labels in each agent's own configuration, by host.
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    #: What every agent may touch.
    allowed_units: tuple[str, ...] = ("webapp.service", "webapp@*.service")
    #: May the tree bring unit files?
    accept_unit_files: bool = True
    #: Further keys for agent.toml and controller.toml.
    agent: dict[str, Any] = field(default_factory=dict)
    controller: dict[str, Any] = field(default_factory=dict)
    #: A path below which zkops keeps its tree.
    chroot: str = ""
    #: Further system properties for ZooKeeper's JVM.
    zookeeper_options: str = ""
    #: The Debian releases to run it on, unless the runner is told another; the first is the usual one.
    releases: tuple[str, ...] = ("bookworm",)
    #: The one it runs on this time.
    release: str = ""
    #: Give hosts nothing but their names: the scenario installs what its roles need (with `zkops=False`).
    packaged: bool = False
    #: Packages of Debian's that every host has beside the usual ones (an image of its own, see `images`).
    debian: tuple[str, ...] = ()
    #: Does the scenario need the zkops binary?
    zkops: bool = True
    #: The default of every wait, in seconds.
    timeout: float = 60
    #: Seconds after which the scenario has failed.
    deadline: float = 300
    #: Run while no other scenario does (it measures times).
    alone: bool = False
    #: The drivers (`backends.BACKENDS`) that it is known to run on.
    drivers: tuple[str, ...] = ("nspawn",)

    def hosts(self) -> list[Host]:
        """The cluster's hosts, ZooKeepers first."""
        roles: dict[str, set[str]] = {}
        for number in range(1, self.zookeepers + 1):
            roles.setdefault(f"zk{number}", set()).add("zookeeper")
        prefix = "ctl" if self.controllers_apart else "zk"
        for number in range(1, self.controllers + 1):
            roles.setdefault(f"{prefix}{number}", set()).add("controller")
        for number in range(1, self.agents + 1):
            roles.setdefault(f"web{number}", set()).add("agent")
        return [Host(name, index, frozenset(does)) for index, (name, does) in enumerate(roles.items(), 1)]

    def servers(self) -> str:
        """The connection string, chroot included."""
        names = [host.name for host in self.hosts() if "zookeeper" in host.roles]
        return ",".join(f"{name}:2181" for name in names) + self.chroot

    def at(self, pace: float) -> Cluster:
        """The same cluster on hosts that are so many times slower: its sessions last so much longer (zkops allows a minute)."""
        longer = {key: f"{min(seconds(value) * pace, 60):g}s" for key in ("session_timeout", "controller_session_timeout")
                  if (value := getattr(self, key))}
        return replace(self, **longer) if pace != 1 else self

    def on(self, release: str | None) -> Cluster:
        """The same cluster on another release."""
        return replace(self, release=release or self.releases[0])


def seconds(duration: str) -> float:
    """A duration as headers have it ("4s", "500ms")."""
    number = duration.rstrip("ms")
    return float(number) / {"s": 1, "ms": 1000}[duration[len(number):]]


def cluster(**wanted: Any) -> Cluster:
    """A cluster of the given properties, see `Cluster`; an unknown one is a `TypeError`."""
    return Cluster(**wanted).on(None)
