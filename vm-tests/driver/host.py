"""What each back end does in its own way: the power, the disk and the command line of one host.

`machine.Machine` is built on this and nothing else, so a scenario does not know which one it runs on.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from .cluster import Cluster, Host as Spec
from .leftovers import Run
from .network import Network
from .shell import CommandFailed, start_time


class NotRunning(Exception):
    """The host is off, so nothing can be asked of it."""


class NotBuilt(Exception):
    """What is under test has not been built; the message says how to."""


class Unsupported(AssertionError):
    """A back end cannot do what a scenario asks for; the message says which and why."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Clock:
    """A host's clocks as seen from `time.monotonic()` of this process: what to add to get there."""

    from_monotonic: float
    from_wall: float

    def monotonic(self, seconds: float) -> float:
        """A time of the host's CLOCK_MONOTONIC on this process's."""
        return seconds + self.from_monotonic

    def wall(self, seconds: float) -> float:
        """A time of the host's wall clock on this process's monotonic one."""
        return seconds + self.from_wall


class Host(ABC):
    """One host."""

    #: What it printed on its console.
    console: Path

    @abstractmethod
    def create(self) -> None:
        """Makes the disk, with the host's identity and its roles' files on it."""

    @abstractmethod
    def power_on(self) -> None:
        """Plugs the cable in and starts the host; returns at once, long before it has booted."""

    @abstractmethod
    def kill(self) -> None:
        """Takes the power away: nothing is flushed, nothing says goodbye."""

    @abstractmethod
    def power_off(self) -> None:
        """Asks for an orderly shutdown; returns at once."""

    @abstractmethod
    def reset(self, timeout: float) -> bool:
        """Reboots in order; True once the host is on its way up again, False if that took too long."""

    @abstractmethod
    def is_on(self) -> bool:
        """Is the power on?"""

    @abstractmethod
    def boot(self) -> str | None:
        """Names the boot that takes commands now; None while none does (and after a moment's wait at most)."""

    @abstractmethod
    def run(self, *argv: str) -> Done:
        """Runs a command in the host as root."""

    def must(self, *argv: str) -> str:
        """Runs a command that must succeed; returns its stdout."""
        done = self.run(*argv)
        if done.status != 0:
            raise CommandFailed(f"{' '.join(argv)} (exit {done.status}): {done.stderr.strip()}")
        return done.stdout

    @abstractmethod
    def put(self, source: Path, target: str) -> None:
        """Copies a file or folder into the host, on or off."""

    @abstractmethod
    def get(self, source: str, target: Path) -> None:
        """Copies a file or folder out of the host, on or off."""

    @abstractmethod
    def offline(self) -> AbstractContextManager[Path]:
        """The root of its disk, to read, on or off; as far as it has been written out by then."""

    def dump_tree(self, path: str) -> str | None:
        """What `zktool dump PATH` says of this host's ZooKeeper, if there is a quicker way than to run it there."""
        return None

    @abstractmethod
    def clock(self) -> Clock:
        """The host's clocks, now."""

    @abstractmethod
    def shell(self, command: str) -> int:
        """Runs a command, or a shell if it is empty, for a person at a terminal; returns its exit status."""

    def wait_off(self, timeout: float) -> bool:
        """Waits until the power is off; False if it still is on."""
        deadline = time.monotonic() + timeout
        while self.is_on():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


class Backend(ABC):
    """A way to make hosts: one of `backends.BACKENDS`."""

    #: What `--driver` calls it.
    name: str
    #: How far two times of different hosts, brought to one clock, may be off; seconds.
    clock_error: float
    #: Where ZooKeeper keeps its transactions.
    zookeeper_log: str


    @property
    @abstractmethod
    def pace(self) -> float:
        """What every limit of time is multiplied by: 1 where hosts are as fast as the machine."""

    @abstractmethod
    def prepare(self, cluster: Cluster) -> tuple[Path, ...]:
        """Makes the images that a cluster's disks lie on, unless they are there; returns them.

        Raises `NotBuilt` if what is under test is missing.
        """

    @abstractmethod
    def tidy(self) -> None:
        """Removes images that are out of date and that no run uses."""

    @abstractmethod
    def host(self, spec: Spec, cluster: Cluster, run: Run, network: Network) -> Host:
        """One of a cluster's hosts."""


class PidFile:
    """A process that may outlive the one that started it, known by a file with its pid and start time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, pid: int) -> None:
        """Remembers a process."""
        self._path.write_text(f"{pid} {start_time(pid)}")

    def pid(self) -> int | None:
        """The process, while it lives."""
        try:
            pid, started = self._path.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if str(start_time(int(pid))) == started else None


def kill(pid: int, number: int) -> None:
    """Sends a signal, if the process is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_gone(started: dict[int, int | None]) -> None:
    """Waits until killed processes (pid: start time) have really left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if all(since is None or start_time(pid) != since for pid, since in started.items()):
            return
        time.sleep(0.005)
