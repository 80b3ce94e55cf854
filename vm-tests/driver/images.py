"""The Debian roots hosts run on: one per release, built once, then only read.

A root's folder is named by a hash of its recipe, so a change of the recipe
builds a new one and never touches the one another run is using.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from . import paths
from .shell import run

#: Apache's jars with what they need to log, kazoo as a client that is not zkops's, polkit for agents that are not root.
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "iproute2", "procps", "netcat-openbsd", "python3", "python3-kazoo",
    "libzookeeper-java", "libslf4j-java", "default-jre-headless", "polkitd",
)

RELEASES = ("bookworm", "trixie")

#: Work Debian does by itself, on a timer, that would disturb measurements.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer")


def mirror() -> str:
    """The Debian mirror: `ZKOPS_VM_MIRROR`, else Debian's own address."""
    return os.environ.get("ZKOPS_VM_MIRROR", "http://deb.debian.org/debian")


def _key(release: str, packages: tuple[str, ...]) -> str:
    recipe = json.dumps([release, packages, MASKED, "4"])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def image(release: str, more: tuple[str, ...] = ()) -> Path:
    """The root of a release, with more of its packages if a scenario wants them; built first if this machine has none
    yet (about 40 s)."""
    if release not in RELEASES:
        raise ValueError(f"unknown release {release!r}, known: {', '.join(RELEASES)}")
    packages = PACKAGES + more
    what = " with ".join([f"{release} image", *([", ".join(more)] if more else [])])
    return once(paths.IMAGES / f"{release}-{_key(release, packages)}", what, lambda root: _build(release, packages, root))


def once(target: Path, what: str, build: Callable[[Path], None]) -> Path:
    """What `build` makes at a path, made only if it isn't there yet, and by one process at a time.

    It is made beside its final name and renamed, so that a build that is killed leaves nothing half.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(f"{target.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            started = time.monotonic()
            print(f"building the {what} …", flush=True)
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            build(partial)
            partial.rename(target)
            print(f"built the {what} in {time.monotonic() - started:.0f} s", flush=True)
    return target


def _build(release: str, packages: tuple[str, ...], root: Path) -> None:
    run(
        "mmdebstrap", "--variant=minbase", "--format=directory", f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        release, root, mirror(),
    )
    _finish(root)


def _finish(root: Path) -> None:
    """Takes out what each host must have of its own, and what would wake up by itself."""
    for name in ("etc/hostname", "etc/machine-id", "etc/resolv.conf", "etc/hosts"):
        (root / name).unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
