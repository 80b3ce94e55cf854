"""A control group per host.

systemd-nspawn with ``--keep-unit`` stays in its caller's control group, so each
host is started from a group of its own. The group is made in every hierarchy
nspawn looks at: the v2 one, and next to it systemd's named v1 hierarchy where
the machine is "hybrid". A machine without any (no systemd as PID 1) gets a v2
mount first.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from .shell import run

ROOT = Path("/sys/fs/cgroup")


def _mounted(kind: str, option: str = "") -> list[Path]:
    """Mount points of one file system type whose super block options contain `option`."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        fstype, _, options = after.split(" ", 2)
        if fstype == kind and (not option or option in options.split(",")):
            found.append(Path(before.split()[4]))
    return [path for path in found if ROOT in (path, *path.parents)]


def _mount_v2() -> Path:
    """Mounts the v2 hierarchy where nspawn expects it."""
    target = ROOT / "unified" if os.path.ismount(ROOT) else ROOT
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "cgroup2", "cgroup2", target)
    return target


def hierarchies() -> list[Path]:
    """The hierarchies a host's group must be made in, the v2 one first."""
    unified = _mounted("cgroup2") or [_mount_v2()]
    if not os.access(unified[0], os.W_OK) or os.statvfs(unified[0]).f_flag & os.ST_RDONLY:
        run("mount", "-o", "remount,rw", unified[0])
    return unified[:1] + _mounted("cgroup", "name=systemd")[:1]


def create(run_id: str, host: str) -> list[Path]:
    """Makes a host's groups and returns them; a process joins by writing to `cgroup.procs`."""
    groups = [root / f"zkops-vm.{run_id}" / host for root in hierarchies()]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return groups


def _processes(top: Path) -> set[int]:
    """Every process in a group or below it."""
    found: set[int] = set()
    for procs in [top / "cgroup.procs", *top.glob("**/cgroup.procs")]:
        try:
            found.update(int(pid) for pid in procs.read_text().split())
        except OSError:
            continue
    return found - {0}


def _rmdir(top: Path) -> bool:
    """Removes a group and those below it; False while something still lives in one."""
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def destroy(run_id: str, timeout: float = 10.0) -> None:
    """Kills whatever still runs in a run's groups (by pid), then removes the groups."""
    tops = [root / f"zkops-vm.{run_id}" for root in hierarchies()]
    deadline = time.monotonic() + timeout
    while tops and time.monotonic() < deadline:
        for pid in set().union(*(_processes(top) for top in tops)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        tops = [top for top in tops if top.exists() and not _rmdir(top)]
        if tops:
            time.sleep(0.02)
