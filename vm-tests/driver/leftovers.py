"""What a run leaves on the machine, and how every bit of it goes away again.

A run registers itself in ``/run/zkops-vm`` before it makes anything. Ending a
run, in order or after its runner was killed, is the same: by its id, kill the
processes in its control groups, then remove mounts, namespaces and groups.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cgroups, disk, network, paths
from .shell import start_time


@dataclass(frozen=True)
class Run:
    """One run as registered: whose it is, where its state is, what it was asked for."""

    id: str
    owner: int
    owner_started: int
    folder: str
    scenario: str
    release: str
    #: What makes its hosts, and the images that their disks lie on.
    driver: str = "nspawn"
    images: tuple[str, ...] = ()
    #: Its hosts outlive their runner, for a person to play with.
    kept: bool = False

    @property
    def entry(self) -> Path:
        """This run's file in the registry."""
        return paths.REGISTRY / f"{self.id}.json"

    @property
    def abandoned(self) -> bool:
        """Nobody will end it: its runner is gone, and it was not meant to be kept."""
        return not self.kept and start_time(self.owner) != self.owner_started

    def save(self) -> None:
        """Writes the registry file."""
        paths.REGISTRY.mkdir(parents=True, exist_ok=True)
        self.entry.write_text(json.dumps(asdict(self)))


def begin(scenario: str, release: str, driver: str, images: tuple[Path, ...]) -> Run:
    """Registers a new run of this process and makes its folder."""
    run_id = f"zv{secrets.token_hex(3)}"
    owner = os.getpid()
    run = Run(
        id=run_id, owner=owner, owner_started=start_time(owner) or 0, folder=str(paths.RUNS / run_id),
        scenario=scenario, release=release, driver=driver,
        images=tuple(map(str, images)),
    )
    run.save()
    disk.prepare(Path(run.folder))
    return run


def end(run: Run) -> None:
    """Removes everything a run made. Safe to repeat."""
    cgroups.destroy(run.id)
    disk.destroy(Path(run.folder))
    network.destroy(run.id)
    for folder in Path("/run/systemd/nspawn/propagate").glob(f"{run.id}-*"):
        folder.rmdir()
    for socket in paths.REGISTRY.glob(f"{run.id}-*.sock"):
        socket.unlink()
    run.entry.unlink(missing_ok=True)


def registered() -> list[Run]:
    """Every run known on this machine, from any checkout."""
    found = []
    for entry in sorted(paths.REGISTRY.glob("*.json")):
        try:
            found.append(Run(**json.loads(entry.read_text())))
        except (ValueError, TypeError, FileNotFoundError):
            continue
    return found


def images_in_use() -> set[str]:
    """The images that disks of some run lie on."""
    return {image for run in registered() for image in run.images}


def sweep(*, kept: bool = False) -> list[Run]:
    """Ends runs whose runner was killed (and kept ones, if asked) and returns them."""
    stale = [run for run in registered() if run.abandoned or (kept and run.kept)]
    for run in stale:
        end(run)
    return stale
