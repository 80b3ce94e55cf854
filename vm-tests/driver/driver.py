"""A running cluster: its machines by name, its network, its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

from . import images, machine, paths
from .cluster import Cluster
from .leftovers import Run
from .log import Log
from .machine import Machine
from .network import Network
from .provision import provision


class Driver:
    """What a scenario's globals are taken from."""

    def __init__(self, run: Run, cluster: Cluster, log: Log) -> None:
        self.run = run
        self.cluster = cluster
        self.logger = log
        self.folder = Path(run.folder)
        self.network = Network(run.id)
        layers = [Path(run.payload), images.image(cluster.release)]
        self.machines = [
            Machine(host.name, host.index, self.folder / host.name, run.id, self.network, log, layers, cluster.timeout)
            for host in cluster.hosts()
        ]
        self._layers = layers

    def create(self) -> None:
        """Makes the network and everybody's disk; no host is switched on yet."""
        self.network.create()
        for host, each in zip(self.cluster.hosts(), self.machines):
            each.disk.mount(self._layers)
            provision(each.disk, host, self.cluster, self.run.id)

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
        machine.retry(fn, timeout or self.cluster.timeout)

    def globals(self) -> dict[str, object]:
        """The names a scenario finds in its module."""
        return {
            "driver": self, "machines": self.machines, "start_all": self.start_all, "join_all": self.join_all,
            "subtest": self.subtest, "retry": self.retry, **{each.name: each for each in self.machines},
        }

    def keep(self) -> None:
        """Lets the hosts outlive this process; `attach` finds them again."""
        (self.folder / "cluster.json").write_text(json.dumps(asdict(self.cluster)))
        self.run = replace(self.run, kept=True)
        self.run.save()


def attach(run: Run) -> Driver:
    """The driver of a run some other process began (and left running)."""
    wanted = json.loads((Path(run.folder) / "cluster.json").read_text())
    return Driver(run, Cluster(**wanted), Log(run.scenario))
