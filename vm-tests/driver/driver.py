"""A running cluster: its machines by name, its network, its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

from . import backends, machine, paths
from .cluster import Cluster, seconds
from .leftovers import Run
from .log import Log
from .machine import Machine
from .network import Network


class Driver:
    """What a scenario's globals are taken from."""

    def __init__(self, run: Run, cluster: Cluster, log: Log) -> None:
        #: What makes the hosts.
        self.backend = backends.BACKENDS[run.driver]
        self.run = run
        self._wanted = cluster
        self.cluster = cluster = cluster.at(self.backend.pace)
        self.logger = log
        self.folder = Path(run.folder)
        self.network = Network(run.id)
        self.machines = [
            Machine(spec.name, self.backend.host(spec, cluster, run, self.network), self.network, log, self.folder,
                    cluster.timeout, self.backend.pace)
            for spec in cluster.hosts()
        ]

    @property
    def pace(self) -> float:
        """What a limit of time is multiplied by on these hosts: 1 where they are as fast as the machine."""
        return self.backend.pace

    @property
    def session_timeout(self) -> float:
        """The session timeout of agents here, in seconds."""
        return seconds(self.cluster.session_timeout)

    @property
    def clock_error(self) -> float:
        """How far apart two hosts' times of one moment may seem, in seconds: 0 where all share one clock."""
        return self.backend.clock_error

    def create(self) -> None:
        """Makes the network and everybody's disk; no host is switched on yet."""
        self.network.create()
        for each in self.machines:
            each.host.create()

    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        return next(each for each in self.machines if each.name == name)

    def having(self, role: str) -> list[Machine]:
        """The machines of one role: "zookeeper", "controller" or "agent"."""
        return [self.machine(host.name) for host in self.cluster.hosts() if role in host.roles]

    def start_all(self) -> None:
        """Switches every host on; returns before they have booted."""
        for each in self.machines:
            each.start()

    def join_all(self) -> None:
        """Waits until every host is off."""
        for each in self.machines:
            each.wait_for_shutdown()

    def cut(self, one: Machine, other: Machine) -> None:
        """Drops every packet between two hosts, silently; both still reach all others."""
        self.logger.line(f"cut {one.name} | {other.name}")
        self.network.cut(one.name, other.name)

    def heal(self, one: Machine, other: Machine) -> None:
        """Takes back `cut`."""
        self.logger.line(f"heal {one.name} | {other.name}")
        self.network.heal(one.name, other.name)

    def test_binary(self, name: str) -> Path:
        """The newest build of one of the repository's integration tests (`tests/NAME.rs`)."""
        built = [path for path in (paths.TARGET / "debug/deps").glob(f"{name}-*") if not path.suffix]
        if not built:
            raise AssertionError(f"tests/{name}.rs has not been built: `cargo test --no-run`")
        return max(built, key=lambda path: path.stat().st_mtime)

    def subtest(self, name: str) -> AbstractContextManager[None]:
        """A named part of the scenario."""
        return self.logger.subtest(name)

    def retry(self, fn: Callable[[bool], bool], timeout: float | None = None) -> None:
        """Calls `fn(last_try)` until it returns true; the default limit is the cluster's."""
        machine.retry(fn, (timeout or self.cluster.timeout) * self.pace)

    def globals(self) -> dict[str, object]:
        """The names a scenario finds in its module."""
        return {
            "driver": self, "machines": self.machines, "start_all": self.start_all, "join_all": self.join_all,
            "subtest": self.subtest, "retry": self.retry, **{each.name: each for each in self.machines},
        }

    def keep(self) -> None:
        """Lets the hosts outlive this process; `attach` finds them again."""
        (self.folder / "cluster.json").write_text(json.dumps(asdict(self._wanted)))
        self.run = replace(self.run, kept=True)
        self.run.save()


def attach(run: Run) -> Driver:
    """The driver of a run some other process began (and left running)."""
    wanted = json.loads((Path(run.folder) / "cluster.json").read_text())
    return Driver(run, Cluster(**wanted), Log(run.scenario))
