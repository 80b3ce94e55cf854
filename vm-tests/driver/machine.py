"""A host as scenarios see it: the NixOS test driver's names and meanings.

Commands run inside the host as root under ``bash -c 'set -euo pipefail; …'``
and give back their stdout. Waiting polls ten times a second. A timeout or an
unexpected exit status raises, and that fails the scenario.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .host import Clock, Host, NotRunning
from .log import Log
from .network import Network
from .systemd import Systemd, pause

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

    def __init__(self, name: str, host: Host, network: Network, log: Log, folder: Path, timeout: float, pace: float) -> None:
        self.name = name
        #: What a back end does in its own way.
        self.host = host
        #: The default for every wait, in seconds. Each is multiplied by the pace of the back end.
        self.timeout = timeout
        self._pace = pace
        self._network = network
        self._log = log
        self._out = folder / "out"

    def limit(self, timeout: float | None) -> float:
        """How long to wait: what was asked for, or the default, as this back end needs it."""
        return (timeout or self.timeout) * self._pace

    # --- power -----------------------------------------------------------------

    def start(self) -> None:
        """Switches the host on and returns; its disk is as it was left. No effect if it is on."""
        if self.is_up():
            return
        self.log("start")
        self.host.power_on()

    def shutdown(self) -> None:
        """Shuts the host down in order (as `systemctl poweroff`) and waits until it is off."""
        self.log("shutdown")
        if self.is_up():
            self.connect()
            self.host.power_off()
            self.wait_for_shutdown()

    def crash(self) -> None:
        """Takes the power away: nothing is flushed, no connection says goodbye. Unplugged until `start`."""
        self.log("crash")
        self._network.set_link(self.name, up=False)
        self.host.kill()
        self._network.unplug(self.name)

    def reboot(self) -> None:
        """Reboots the host in order; the next command waits until it is back."""
        self.log("reboot")
        self.connect()
        limit = self.limit(None)
        if not self.host.reset(limit):
            raise TestFailed(f"{self.name}: did not reboot within {limit:.0f} s")

    def wait_for_shutdown(self) -> None:
        """Waits until the host has switched itself off."""
        limit = self.limit(None)
        if not self.host.wait_off(limit):
            raise TestFailed(f"{self.name}: still on after {limit:.0f} s")

    def is_up(self) -> bool:
        """Is the power on? (It may still be booting.)"""
        return self.host.is_on()

    def block(self) -> None:
        """Cuts the host's network cable: silently, nobody is told."""
        self.log("block")
        self._network.set_link(self.name, up=False)

    def unblock(self) -> None:
        """Fixes the cable."""
        self.log("unblock")
        self._network.set_link(self.name, up=True)

    def connect(self) -> None:
        """Waits until the host has booted far enough to take commands (basic.target)."""
        deadline = time.monotonic() + self.limit(min(self.timeout, 120))
        while self.host.boot() is None:
            if not self.is_up():
                raise NotRunning(f"{self.name} is off")
            if time.monotonic() > deadline:
                raise TestFailed(f"{self.name}: did not boot")
            time.sleep(0.02)

    def clock(self) -> Clock:
        """The host's clocks, as seen from this process's."""
        return self.host.clock()

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
        started = time.monotonic()
        done = self.host.run(*limit, "bash", "-c", f"set -euo pipefail; {command}")
        took = time.monotonic() - started
        self.log(f"$ {command}\n          → {done.status} ({took:.3f} s) {_brief(done.stdout, done.stderr)}")
        self._stderr = done.stderr
        return done.status, done.stdout if check_output else ""

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must succeed; returns their stdout, joined."""
        output = ""
        for command in commands:
            status, out = self.execute(command, timeout=self.limit(timeout))
            if status != 0:
                raise TestFailed(f"{self.name}: `{command}` failed (exit {status})\n{out}{self._stderr}")
            output += out
        return output

    def fail(self, *commands: str, timeout: float | None = None) -> str:
        """Runs commands that must fail; returns their stdout, joined."""
        output = ""
        for command in commands:
            status, out = self.execute(command, timeout=self.limit(timeout))
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
        limit = self.limit(timeout)
        deadline = time.monotonic() + limit
        while True:
            began = time.monotonic()
            status, output = self.execute(command, timeout=limit)
            if good(status):
                return output
            if time.monotonic() > deadline:
                raise TestFailed(
                    f"{self.name}: `{command}` did not {verb} within {limit:.0f} s\n{output}{self._stderr}"
                )
            pause(began)

    def retry(self, good: Callable[[], bool], what: str, timeout: float | None = None) -> None:
        """Waits until `good()`; `what` completes the sentence "web1: …" of the failure."""
        try:
            retry(lambda last: good(), self.limit(timeout))
        except TestFailed as error:
            raise TestFailed(f"{self.name}: {what}: {error}") from None

    def sleep(self, secs: float) -> None:
        """Lets time pass in the host."""
        self.succeed(f"sleep {secs}")

    def dump_tree(self, path: str) -> str:
        """All of ZooKeeper's tree below a path, as JSON, from the server on this host."""
        return self.host.dump_tree(path) or self.succeed(f"zktool dump {shlex.quote(path)}")

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
        if self.is_up():
            self.connect()
        self.host.put(Path(source), target)

    def copy_from_machine(self, source: str, target_dir: str = "") -> Path:
        """Copies a file or folder of the host into the run's `out` folder; returns where it is."""
        folder = self._out / target_dir
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / Path(source).name
        if self.is_up():
            self.connect()
        self.host.get(source, target)
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
