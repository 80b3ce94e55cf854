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


def _key(release: str) -> str:
    recipe = json.dumps([release, PACKAGES, MASKED, "4"])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def image(release: str) -> Path:
    """The root of a release, built first if this machine has none yet (about 40 s)."""
    if release not in RELEASES:
        raise ValueError(f"unknown release {release!r}, known: {', '.join(RELEASES)}")
    root = paths.IMAGES / f"{release}-{_key(release)}"
    if root.exists():
        return root
    paths.IMAGES.mkdir(parents=True, exist_ok=True)
    with open(paths.IMAGES / f"{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _build(release, root)
    return root


def _build(release: str, root: Path) -> None:
    """Builds beside the final name and renames, so a killed build leaves no half root."""
    started = time.monotonic()
    print(f"building the {release} image …", flush=True)
    partial = root.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    run(
        "mmdebstrap", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        release, partial, mirror(),
    )
    _finish(partial)
    partial.rename(root)
    print(f"built the {release} image in {time.monotonic() - started:.0f} s", flush=True)


def _finish(root: Path) -> None:
    """Takes out what each host must have of its own, and what would wake up by itself."""
    for name in ("etc/hostname", "etc/machine-id", "etc/resolv.conf", "etc/hosts"):
        (root / name).unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
