"""A host's disk: an overlay over read-only layers, in the run's folder.

What a host writes stays in its upper layer until the run ends, so it survives a
crash and a reboot. Overlays cannot stack on another overlay (a machine that is
itself a container): the run's folder then becomes a tmpfs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .shell import CommandFailed, run


class Files:
    """A host's files as they lie below a folder of the machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, inside: str) -> Path:
        """Where a file of the host is, seen from the machine."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Writes a file into the host, making the folders on the way."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)


class Disk(Files):
    """One host's disk, mounted at `root` while the run lasts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "root")
        self.folder = folder

    def mount(self, layers: list[Path]) -> bool:
        """Mounts the disk over `layers`, topmost first; False if it was mounted already."""
        if os.path.ismount(self.root):
            return False
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        run(
            "mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={':'.join(map(str, layers))},"
            f"upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}",
            self.root,
        )
        return True


def prepare(folder: Path) -> None:
    """Makes a run's folder, on a tmpfs if its file system cannot hold overlays."""
    if any(char in str(folder) for char in ":,"):
        raise CommandFailed(f"{folder}: overlay mounts cannot have ':' or ',' in their paths")
    folder.mkdir(parents=True)
    trial = Disk(folder / ".trial")
    lower = folder / ".trial" / "lower"
    lower.mkdir(parents=True)
    try:
        trial.mount([lower])
    except CommandFailed:
        shutil.rmtree(folder / ".trial")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "zkops-vm", folder)
        return
    run("umount", trial.root)
    shutil.rmtree(folder / ".trial")


def destroy(folder: Path) -> None:
    """Unmounts everything below a run's folder and removes it."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if Path(point) == folder or folder in Path(point).parents:
            run("umount", "-l", point, check=False)
    shutil.rmtree(folder, ignore_errors=True)
