"""A host as scenarios see it: the NixOS test driver's names and meanings.

Commands run inside the host as root under ``bash -c 'set -euo pipefail; …'``
and give back their stdout. Waiting polls ten times a second. A timeout or an
unexpected exit status raises, and that fails the scenario.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cgroups
from .disk import Disk
from .log import Log
from .network import Network
from .nspawn import POWEROFF, REBOOT, Container, NotRunning
from .shell import run
from .systemd import Systemd

#: Seconds between two tries of anything that waits.
POLL = 0.1


class TestFailed(AssertionError):
    """What a scenario expected did not hold."""


def retry(fn: Callable[[bool], bool], timeout: float = 900) -> None:
    """Calls `fn(last_try)` until it returns true; raises `TestFailed` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if fn(False):
            return
        time.sleep(POLL)
    if not fn(True):
        raise TestFailed(f"still not so after {timeout:.0f} s")


class Machine(Systemd):
    """One host of the cluster."""

    def __init__(
        self, name: str, index: int, folder: Path, run_id: str, network: Network, log: Log,
        layers: list[Path], timeout: float = 900,
    ) -> None:
        self.name = name
        self.index = index
        self.folder = folder
        #: The default for every wait, in seconds.
        self.timeout = timeout
        self.disk = Disk(folder)
        self._container = Container(name, run_id, folder, self.disk.root)
        self._run_id = run_id
        self._network = network
        self._log = log
        self._layers = layers
        self._booted_init: int | None = None

    # --- power -----------------------------------------------------------------

    def start(self) -> None:
        """Switches the host on and returns; its disk is as it was left. No effect if it is on."""
        if self._container.is_on():
            return
        self.log("start")
        self._network.plug(self.name, self.index)
        self.disk.mount(self._layers)
        self._container.power_on(cgroups.create(self._run_id, self.name), self._network.namespace(self.name))

    def shutdown(self) -> None:
        """Shuts the host down in order (as `systemctl poweroff`) and waits until it is off."""
        self.log("shutdown")
        if self._container.is_on():
            self.connect()
            self._container.signal(POWEROFF)
            self.wait_for_shutdown()

    def crash(self) -> None:
        """Takes the power away: nothing is flushed, no connection says goodbye. Unplugged until `start`."""
        self.log("crash")
        self._network.set_link(self.name, up=False)
        self._container.kill()
        self._network.unplug(self.name)

    def reboot(self) -> None:
        """Reboots the host in order; the next command waits until it is back."""
        self.log("reboot")
        self.connect()
        before = self._container.init()
        self._container.signal(REBOOT)
        self.retry(lambda: self._container.init() not in (before, None), "reboots")

    def wait_for_shutdown(self) -> None:
        """Waits until the host has switched itself off."""
        if not self._container.wait_off(self.timeout):
            raise TestFailed(f"{self.name}: still on after {self.timeout:.0f} s")

    def is_up(self) -> bool:
        """Is the power on? (It may still be booting.)"""
        return self._container.is_on()

    def block(self) -> None:
        """Cuts the host's network cable: silently, nobody is told."""
        self.log("block")
        self._network.set_link(self.name, up=False)

    def unblock(self) -> None:
        """Mends the cable."""
        self.log("unblock")
        self._network.set_link(self.name, up=True)

    def connect(self) -> None:
        """Waits until the host has booted far enough to take commands (basic.target)."""
        deadline = time.monotonic() + min(self.timeout, 120)
        while True:
            init = self._container.init()
            if init is not None and init == self._booted_init:
                return
            if init is not None and self._probe():
                self._booted_init = init
                return
            if not self._container.is_on():
                raise NotRunning(f"{self.name} is off")
            if time.monotonic() > deadline:
                raise TestFailed(f"{self.name}: did not boot")
            time.sleep(0.02)

    def _probe(self) -> bool:
        try:
            argv = self._container.entry("systemctl", "is-active", "--quiet", "basic.target", "dbus.socket")
        except NotRunning:
            return False
        quiet = subprocess.DEVNULL
        return subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0

    def inside(self, *command: str) -> list[str]:
        """The machine's command line that runs a command in the host as it is now; empty if it is off."""
        try:
            return self._container.entry(*command)
        except NotRunning:
            return []

    @property
    def console(self) -> Path:
        """What the host printed on its console."""
        return self._container.console

    # --- commands --------------------------------------------------------------

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: float | None = 900,
    ) -> tuple[int, str]:
        """Runs a command and returns (exit status, stdout); 124 when it took longer than `timeout` seconds.

        Without `check_return` it is left running in the background; status and output mean nothing then.
        """
        self.connect()
        if not check_return:
            command = f"( {command} ) </dev/null >/dev/null 2>&1 &"
        limit = ["timeout", "--kill-after=5", str(timeout)] if timeout is not None else []
        argv = self._container.entry(*limit, "bash", "-c", f"set -euo pipefail; {command}")
        started = time.monotonic()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        took = time.monotonic() - started
        self.log(f"$ {command}\n          → {done.returncode} ({took:.3f} s) {_brief(done.stdout, done.stderr)}")
        self._stderr = done.stderr
        return done.returncode, done.stdout if check_output else ""

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must succeed; returns their stdout, joined."""
        output = ""
        for command in commands:
            status, out = self.execute(command, timeout=timeout or self.timeout)
            if status != 0:
                raise TestFailed(f"{self.name}: `{command}` failed (exit {status})\n{out}{self._stderr}")
            output += out
        return output

    def fail(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must fail; returns their stdout, joined."""
        output = ""
        for command in commands:
            status, out = self.execute(command, timeout=timeout or self.timeout)
            if status == 0:
                raise TestFailed(f"{self.name}: `{command}` unexpectedly succeeded\n{out}")
            output += out
        return output

    def wait_until_succeeds(self, command: str, timeout: float | None = None) -> str:
        """Repeats a command until it succeeds; returns its stdout."""
        return self._repeat(command, lambda status: status == 0, "succeed", timeout)

    def wait_until_fails(self, command: str, timeout: float | None = None) -> str:
        """Repeats a command until it fails; returns its stdout."""
        return self._repeat(command, lambda status: status != 0, "fail", timeout)

    def _repeat(self, command: str, good: Callable[[int], bool], verb: str, timeout: float | None) -> str:
        limit = timeout or self.timeout
        deadline = time.monotonic() + limit
        while True:
            status, output = self.execute(command, timeout=limit)
            if good(status):
                return output
            if time.monotonic() > deadline:
                raise TestFailed(
                    f"{self.name}: `{command}` did not {verb} within {limit:.0f} s\n{output}{self._stderr}"
                )
            time.sleep(POLL)

    def retry(self, good: Callable[[], bool], what: str, timeout: float | None = None) -> None:
        """Waits until `good()`; `what` completes the sentence "web1: …" of the failure."""
        try:
            retry(lambda last: good(), timeout or self.timeout)
        except TestFailed as error:
            raise TestFailed(f"{self.name}: {what}: {error}") from None

    def sleep(self, secs: float) -> None:
        """Lets time pass in the host."""
        self.succeed(f"sleep {secs}")

    # --- files and ports -------------------------------------------------------

    def wait_for_file(self, filename: str, timeout: float | None = None) -> None:
        """Waits until a file exists."""
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: float | None = None) -> None:
        """Waits until something accepts TCP connections."""
        self.wait_until_succeeds(f"nc -z {shlex.quote(addr)} {port}", timeout)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: float | None = None) -> None:
        """Waits until nothing accepts TCP connections."""
        self.wait_until_fails(f"nc -z {shlex.quote(addr)} {port}", timeout)

    def wait_for_open_unix_socket(self, addr: str, is_datagram: bool = False, timeout: float | None = None) -> None:
        """Waits until a Unix socket can be connected to."""
        flags = "-zuU" if is_datagram else "-zU"
        self.wait_until_succeeds(f"nc {flags} {shlex.quote(addr)}", timeout)

    def copy_from_host(self, source: str, target: str) -> None:
        """Copies a file or folder from the machine into the host, replacing files atomically.

        Works on a host that is off, too, unless `target` is on one of its file systems in memory.
        """
        self.log(f"copy_from_host {source} → {target}")
        inside = f"/var/tmp/copy.{time.monotonic_ns()}"
        self.disk.path(inside).parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", "--", source, self.disk.path(inside))
        if self.is_up():
            self.succeed(f"mkdir -p {shlex.quote(str(Path(target).parent))}; mv -T {inside} {shlex.quote(target)}")
        else:
            self.disk.path(target).parent.mkdir(parents=True, exist_ok=True)
            run("mv", "-T", self.disk.path(inside), self.disk.path(target))

    def copy_from_machine(self, source: str, target_dir: str = "") -> Path:
        """Copies a file or folder of the host into the run's `out` folder; returns where it is."""
        folder = self.folder.parent / "out" / target_dir
        folder.mkdir(parents=True, exist_ok=True)
        target, inside = folder / Path(source).name, source
        if self.is_up():
            inside = f"/var/tmp/copy.{time.monotonic_ns()}"
            self.succeed(f"cp -a -- {shlex.quote(source)} {inside}")
        run("cp", "-aT", "--", self.disk.path(inside), target)
        if inside != source:
            run("rm", "-rf", "--", self.disk.path(inside))
        return target

    # --- log -------------------------------------------------------------------

    def log(self, message: str) -> None:
        """A line in the scenario's log, under this host's name."""
        self._log.line(f"{self.name}: {message}")

    @contextmanager
    def nested(self, message: str) -> Iterator[None]:
        """Indents what is logged inside."""
        with self._log.nested(f"{self.name}: {message}"):
            yield


def _brief(stdout: str, stderr: str, limit: int = 2000) -> str:
    """Output for the log: on lines of its own, and never endless."""
    text = (stdout + stderr).rstrip()
    if len(text) > limit:
        text = f"{text[:limit]} … ({len(text)} characters)"
    return "".join(f"\n            {line}" for line in text.splitlines())
