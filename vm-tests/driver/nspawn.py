"""A host's power switch: systemd-nspawn booting the host's own systemd as PID 1.

A small shell stays above nspawn and starts it anew when the host reboots (exit
status 133 with ``--keep-unit``), as power-on firmware would, so reboots work
whoever asked for them. The shell's pid is kept in a file: a later process (a
person's ``vm-tests/shell``) finds the same host again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from .shell import children, start_time

_SUPERVISOR = """
for group in "$@"; do case $group in --) break;; esac; echo $$ > "$group/cgroup.procs"; shift; done; shift
while true; do "$@" || status=$?; [ "${status:-0}" = 133 ] || exit "${status:-0}"; status=0; done
"""

#: systemd's own signals to its PID 1 (systemd(1), SIGNALS).
POWEROFF = signal.SIGRTMIN + 4
REBOOT = signal.SIGRTMIN + 5

#: Capabilities of the machine that commands in a host must not have: the clock is everyone's.
_DROPPED = "-sys_time,-sys_module,-sys_rawio,-wake_alarm"


class NotRunning(Exception):
    """The host is off, so nothing can be asked of it."""


class Container:
    """One host under systemd-nspawn."""

    def __init__(self, name: str, run_id: str, folder: Path, root: Path) -> None:
        self.name = name
        self.run_id = run_id
        self.root = root
        self.console = folder / "console.log"
        self._pidfile = folder / "supervisor.pid"
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._init: tuple[int, int | None] = (0, None)

    def power_on(self, groups: list[Path], namespace: str) -> None:
        """Starts the host; returns at once, long before it has booted."""
        nspawn = [
            "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
            f"--network-namespace-path=/run/netns/{namespace}", f"--machine={self.run_id}-{self.name}",
            f"--hostname={self.name}", "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        ]
        with open(self.console, "ab") as console:
            self._supervisor = subprocess.Popen(
                ["sh", "-c", _SUPERVISOR, "zkops-vm-host", *map(str, groups), "--", *nspawn],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
                env={
                    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_LOCK": "0",
                },
            )
        pid = self._supervisor.pid
        self._pidfile.write_text(f"{pid} {start_time(pid)}")

    def supervisor(self) -> int | None:
        """The pid of the shell above nspawn while the host is on (or rebooting), else None."""
        if self._supervisor is not None:
            self._supervisor.poll()
        try:
            pid, started = self._pidfile.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if str(start_time(int(pid))) == started else None

    def is_on(self) -> bool:
        """Is the power on?"""
        return self.supervisor() is not None

    def init(self) -> int | None:
        """The host's PID 1 as the machine numbers it, or None before it exists."""
        supervisor = self.supervisor()
        if supervisor is None:
            return None
        pid, started = self._init
        if started is not None and start_time(pid) == started:
            return pid
        for nspawn in children(supervisor):
            for child in children(nspawn):
                if _is_init(child):
                    self._init = (child, start_time(child))
                    return child
        return None

    def kill(self) -> None:
        """Takes the power away: SIGKILL to the host's PID 1, and with it to all its processes."""
        supervisor = self.supervisor()
        if supervisor is None:
            return
        init = self.init()
        doomed = [supervisor, *([init] if init else []), *children(supervisor)]
        started = {pid: start_time(pid) for pid in doomed}
        for pid in doomed:
            _kill(pid, signal.SIGKILL)
        _wait_gone(started)
        self.wait_off(10)

    def signal(self, number: int) -> None:
        """Sends PID 1 one of systemd's signals."""
        init = self.init()
        if init is None:
            raise NotRunning(f"{self.name} is off")
        _kill(init, number)

    def wait_off(self, timeout: float) -> bool:
        """Waits until the power is off; False if it still is on."""
        deadline = time.monotonic() + timeout
        while self.is_on():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def entry(self, *command: str) -> list[str]:
        """The machine's command line that runs `command` inside the host."""
        init = self.init()
        if init is None:
            raise NotRunning(f"{self.name} is off")
        return [
            "setpriv", f"--bounding-set={_DROPPED}",
            "nsenter", "-t", str(init), "-m", "-p", "-n", "-i", "-u", "-C", "--",
            "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
            "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}", *command,
        ]


def _is_init(pid: int) -> bool:
    """Is this process PID 1 of its namespace, and already systemd?"""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return fields["Name"].strip() == "systemd" and fields.get("NSpid", "").split()[-1:] == ["1"]


def _wait_gone(started: dict[int, int | None]) -> None:
    """Waits until killed processes have really left (their namespaces with them)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if all(since is None or start_time(pid) != since for pid, since in started.items()):
            return
        time.sleep(0.005)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
