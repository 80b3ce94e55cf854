"""A host's power switch: systemd-nspawn booting the host's own systemd as PID 1.

A small shell stays above nspawn and starts it again when the host reboots (exit
status 133 with ``--keep-unit``), as power-on firmware would, so reboots work
whoever asked for them. The shell's pid is kept in a file: a later process (a
person's ``vm-tests/shell``) finds the same host again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import cgroups, host, images, payload, shell
from .cluster import Cluster
from .disk import Disk
from .host import Backend, Clock, Done, Host, NotRunning, PidFile, Spec
from .leftovers import Run
from .network import Network
from .provision import provision
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


class Container:
    """The process above one host's systemd."""

    def __init__(self, name: str, run_id: str, folder: Path, root: Path) -> None:
        self.name = name
        self.run_id = run_id
        self.root = root
        self.console = folder / "console.log"
        self._pidfile = PidFile(folder / "supervisor.pid")
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
        self._pidfile.write(self._supervisor.pid)

    def supervisor(self) -> int | None:
        """The pid of the shell above nspawn while the host is on (or rebooting), else None."""
        if self._supervisor is not None:
            self._supervisor.poll()
        return self._pidfile.pid()

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
            host.kill(pid, signal.SIGKILL)
        host.wait_gone(started)

    def signal(self, number: int) -> None:
        """Sends PID 1 one of systemd's signals."""
        init = self.init()
        if init is None:
            raise NotRunning(f"{self.name} is off")
        host.kill(init, number)

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


class NspawnHost(Host):
    """One host under systemd-nspawn: its disk is an overlay, its cable a veth into a namespace of its own."""

    def __init__(self, spec: Spec, cluster: Cluster, run: Run, network: Network, layers: list[Path]) -> None:
        self.name = spec.name
        self._spec, self._cluster, self._run_id, self._network, self._layers = spec, cluster, run.id, network, layers
        folder = Path(run.folder) / spec.name
        self._disk = Disk(folder)
        self._container = Container(spec.name, run.id, folder, self._disk.root)
        self.console = self._container.console
        self._booted: int | None = None

    def create(self) -> None:
        self._disk.mount(self._layers)
        provision(self._disk, self._spec, self._cluster, self._run_id)

    def power_on(self) -> None:
        self._network.plug(self.name, self._spec.index)
        self._disk.mount(self._layers)
        self._container.power_on(cgroups.create(self._run_id, self.name), self._network.namespace(self.name))

    def kill(self) -> None:
        self._container.kill()
        self.wait_off(10)

    def power_off(self) -> None:
        self._container.signal(POWEROFF)

    def reset(self, timeout: float) -> bool:
        before = self._container.init()
        self._container.signal(REBOOT)
        deadline = time.monotonic() + timeout
        while self._container.init() in (before, None):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def is_on(self) -> bool:
        return self._container.is_on()

    def boot(self) -> str | None:
        init = self._container.init()
        if init is not None and init != self._booted and self._takes_commands():
            self._booted = init
        return str(init) if init is not None and init == self._booted else None

    def _takes_commands(self) -> bool:
        try:
            argv = self._container.entry("systemctl", "is-active", "--quiet", "basic.target", "dbus.socket")
        except NotRunning:
            return False
        quiet = subprocess.DEVNULL
        return subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0

    def run(self, *argv: str) -> Done:
        entry = self._container.entry(*argv)
        done = subprocess.run(entry, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        return Done(done.returncode, done.stdout, done.stderr)

    def put(self, source: Path, target: str) -> None:
        inside = f"/var/tmp/copy.{time.monotonic_ns()}"
        self._disk.path(inside).parent.mkdir(parents=True, exist_ok=True)
        shell.run("cp", "-a", "--", source, self._disk.path(inside))
        if self.is_on():
            self.must("mkdir", "-p", str(Path(target).parent))
            self.must("mv", "-T", inside, target)
        else:
            self._disk.path(target).parent.mkdir(parents=True, exist_ok=True)
            shell.run("mv", "-T", self._disk.path(inside), self._disk.path(target))

    def get(self, source: str, target: Path) -> None:
        if not self.is_on():
            shell.run("cp", "-aT", "--", self._disk.path(source), target)
            return
        inside = f"/var/tmp/copy.{time.monotonic_ns()}"
        self.must("cp", "-a", "--", source, inside)
        shell.run("cp", "-aT", "--", self._disk.path(inside), target)
        shell.run("rm", "-rf", "--", self._disk.path(inside))

    @contextmanager
    def offline(self) -> Iterator[Path]:
        yield self._disk.root

    def clock(self) -> Clock:
        """All hosts share the machine's clocks."""
        return Clock(0.0, time.monotonic() - time.time())

    def shell(self, command: str) -> int:
        return subprocess.run(self._container.entry("bash", "-c", command or "cd; exec bash --login")).returncode


#: Of inotify(7), instances that the machine's root may have: all hosts share them, and a host's systemd, journal and bus
#: take some 7 (the kernel's own limit is 128).
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


def _allow_inotify(hosts: int) -> None:
    """Raises the machine's limit for many hosts, until its next boot; where that may not be done, they may not boot."""
    if hosts > 15 and int(_INOTIFY.read_text()) < 1024:
        with suppress(OSError):
            _INOTIFY.write_text("1024\n")


class Nspawn(Backend):
    """Containers: as fast as the machine, and with its kernel, page cache and clocks."""

    name = "nspawn"
    clock_error = 0.0
    zookeeper_log = "/var/lib/zookeeper/version-2"

    @property
    def pace(self) -> float:
        return 1.0

    def prepare(self, cluster: Cluster) -> tuple[Path, ...]:
        _allow_inotify(len(cluster.hosts()))
        return payload.payload(cluster.zkops), images.image(cluster.release, cluster.debian)

    def tidy(self) -> None:
        payload.prune()

    def host(self, spec: Spec, cluster: Cluster, run: Run, network: Network) -> NspawnHost:
        return NspawnHost(spec, cluster, run, network, [Path(layer) for layer in run.images])
