"""The scenarios on NixOS VMs: the NixOS test driver's machines, with what ours have beyond them.

nix/tests/vm makes the VMs and calls `run` in the NixOS test driver's process. Nothing else of this package is used
there but how a scenario is read, and what a clock is.
"""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import scenario
from .cluster import Cluster, seconds
from .host import Clock

if TYPE_CHECKING:
    # With ZKOPS_NIXPKGS nix/check finds them, and looks at what is asked of them here.
    from test_driver.driver import Driver as NixosDriver  # type: ignore
    from test_driver.logger import AbstractLogger  # type: ignore
    from test_driver.machine import QemuMachine  # type: ignore

#: What limits of waiting are multiplied by: VMs are slow to boot, and share a builder with others.
_PATIENCE = 3.0

#: Prints a host's two clocks, in seconds.
_CLOCKS = "python3 -c 'import time; print(time.monotonic(), time.time())'"


class Machine:
    """A VM; whatever is not here is the NixOS test driver's own."""

    def __init__(self, vm: QemuMachine, timeout: float, copies: itertools.count[int]) -> None:
        self.vm = vm
        self.name: str = vm.name
        self.timeout = timeout
        self._copies = copies

    def __getattr__(self, name: str) -> Any:
        return getattr(self.vm, name)

    def is_up(self) -> bool:
        """Is the power on?"""
        return bool(self.vm.is_up)

    def limit(self, timeout: float | None) -> float:
        """How long to wait, in seconds: the cluster's limit unless another is given."""
        return timeout * _PATIENCE if timeout else self.timeout

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must succeed; returns their stdout, joined."""
        return str(self.vm.succeed(*commands, timeout=int(self.limit(timeout))))

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: float | None = None) -> None:
        """Waits until a unit is active."""
        self.vm.wait_for_unit(unit, user, timeout=int(self.limit(timeout)))

    def wait_until_succeeds(self, command: str, timeout: float | None = None) -> str:
        """Repeats a command until it succeeds; returns its stdout."""
        return str(self.vm.wait_until_succeeds(command, timeout=int(self.limit(timeout))))

    def wait_until_fails(self, command: str, timeout: float | None = None) -> str:
        """Repeats a command until it fails; returns its stdout."""
        return str(self.vm.wait_until_fails(command, timeout=int(self.limit(timeout))))

    def retry(self, good: Callable[[], bool], what: str, timeout: float | None = None) -> None:
        """Waits until `good()`; `what` completes the sentence "web1: …" of the failure."""
        deadline = time.monotonic() + self.limit(timeout)
        while not good():
            assert time.monotonic() < deadline, f"{self.name}: {what}: still not so"
            time.sleep(0.1)

    def copy_from_machine(self, source: str, target_dir: str = "") -> Path:
        """Copies a file or folder of the VM into the test's result; returns where it is."""
        folder = Path(target_dir or "copies") / str(next(self._copies))
        self.vm.copy_from_machine(source, str(folder))
        return Path(self.vm.out_dir) / folder / Path(source).name

    def dump_tree(self, path: str) -> str:
        """All of ZooKeeper's tree below a path, as JSON, from the server on this host."""
        return self.succeed(f"zktool dump {shlex.quote(path)}")

    def clock(self) -> Clock:
        """The VM's clocks, now."""
        before = time.monotonic()
        monotonic, wall = map(float, self.succeed(_CLOCKS).split())
        now = (before + time.monotonic()) / 2
        return Clock(now - monotonic, now - wall)

    def replace_zkops(self) -> None:
        """Switches the VM to a configuration that differs in the build of zkops (`next` of nix/tests/vm/roles.nix)."""
        self.succeed("/run/booted-system/specialisation/next/bin/switch-to-configuration test")


class Logger:
    """The NixOS test driver's log with our names."""

    def __init__(self, log: AbstractLogger) -> None:
        self._log = log

    def line(self, text: str) -> None:
        """A line."""
        self._log.info(text)

    tell = line


@dataclass(frozen=True)
class Backend:
    """What `lib` asks about how hosts are made."""

    name: str = "nixos"
    zookeeper_log: str = "/var/lib/zkops-zookeeper/log/version-2"


class Driver:
    """The NixOS test driver, as scenarios know a driver. VMs have no `cut` and `heal`."""

    backend = Backend()
    #: The services' own times are as the header says.
    pace = 1.0
    #: A command's way into a VM and back, twice.
    clock_error = 0.5
    #: The hosts are what their configuration says; there is nothing to install.
    installed = True

    def __init__(self, nixos: NixosDriver, cluster: Cluster, subtest: Callable[[str], AbstractContextManager[None]]) -> None:
        self.nixos = nixos
        self.cluster = cluster
        self.subtest = subtest
        self.logger = Logger(nixos.logger)
        copies = itertools.count(1)
        self.machines = [Machine(vm, cluster.timeout * _PATIENCE, copies) for vm in nixos.machines_qemu]
        names, wanted = {each.name for each in self.machines}, {host.name for host in cluster.hosts()}
        assert names == wanted, f"the scenario wants {sorted(wanted)}, the test has {sorted(names)}"

    @property
    def session_timeout(self) -> float:
        """The session timeout of agents here, in seconds."""
        return seconds(self.cluster.session_timeout)

    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        return next(each for each in self.machines if each.name == name)

    def having(self, role: str) -> list[Machine]:
        """The machines of one role: "zookeeper", "controller" or "agent"."""
        return [self.machine(host.name) for host in self.cluster.hosts() if role in host.roles]

    def start_all(self) -> None:
        """Switches every VM on."""
        self.nixos.start_all()

    def join_all(self) -> None:
        """Waits until every VM is off."""
        self.nixos.join_all()

    def retry(self, fn: Callable[[bool], bool], timeout: float | None = None) -> None:
        """Calls `fn(last_try)` until it returns true."""
        deadline = time.monotonic() + (timeout or self.cluster.timeout) * _PATIENCE
        while not fn(False):
            if time.monotonic() > deadline:
                assert fn(True), "still not so"
                return
            time.sleep(0.1)

    def globals(self) -> dict[str, object]:
        """The names a scenario finds in its module."""
        return {
            "driver": self, "machines": self.machines, "start_all": self.start_all, "join_all": self.join_all,
            "subtest": self.subtest, "retry": self.retry, **{each.name: each for each in self.machines},
        }


def run(name: str, nixos: NixosDriver, subtest: Callable[[str], AbstractContextManager[None]]) -> None:
    """Runs a scenario on the machines of the NixOS test driver `nixos`."""
    wanted = scenario.load(name)
    wanted.module.__dict__.update(Driver(nixos, wanted.cluster, subtest).globals())
    wanted.test()
