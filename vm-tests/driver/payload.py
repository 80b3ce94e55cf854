"""What is under test, as one read-only layer that all hosts of a run share.

The layer holds ``vm-tests/guest/`` as it lies (test tools, ZooKeeper's unit;
the sample service is a link to the one of ``examples/``) and, as a package would install them, the zkops binary and
the repository's ``systemd-units/``. It is named by its content, so a new build
never changes the disk of a host that runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from . import leftovers, paths
from .host import NotBuilt

#: Where each kind of file in systemd-units/ is installed.
_PLACES = {
    ".service": "usr/lib/systemd/system", ".socket": "usr/lib/systemd/system",
    ".target": "usr/lib/systemd/system", ".timer": "usr/lib/systemd/system", ".path": "usr/lib/systemd/system",
    ".slice": "usr/lib/systemd/system", ".sysusers": "usr/lib/sysusers.d", ".tmpfiles": "usr/lib/tmpfiles.d",
}


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, in order."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _sources(with_zkops: bool) -> list[Path]:
    files = files_in(paths.GUEST)
    if with_zkops:
        binary = paths.zkops_binary()
        if not binary.is_file():
            raise NotBuilt(f"{binary} does not exist: build it (`cargo build`) or name it by ZKOPS_BIN")
        files += [binary, *files_in(paths.UNITS)]
    return files


def key(files: list[Path]) -> str:
    """Names a state of some files: small files by content, the binary by size and time."""
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(f"{path} {stat.st_mode} {stat.st_size}\n".encode())
        digest.update(path.read_bytes() if stat.st_size < 1 << 20 else str(stat.st_mtime_ns).encode())
    return digest.hexdigest()[:12]


def payload(with_zkops: bool) -> Path:
    """The layer for the current sources, made if need be; unused older ones are removed."""
    layer = paths.PAYLOADS / key(_sources(with_zkops))
    if not layer.exists():
        paths.PAYLOADS.mkdir(parents=True, exist_ok=True)
        partial = layer.with_name(f"{layer.name}.{os.getpid()}")
        _fill(partial, with_zkops)
        try:
            partial.rename(layer)
        except OSError:
            shutil.rmtree(partial)
    os.utime(layer)
    return layer


def _fill(layer: Path, with_zkops: bool) -> None:
    shutil.copytree(paths.GUEST, layer)
    if not with_zkops:
        return
    (layer / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(paths.zkops_binary(), layer / "usr/bin/zkops")
    for source in paths.UNITS.rglob("*"):
        if source.is_file():
            _install_unit(source, layer)


def _install_unit(source: Path, layer: Path) -> None:
    """One file of systemd-units/; files in a sub-folder are drop-ins (X.service.d/NAME.conf)."""
    inside = source.relative_to(paths.UNITS)
    place = "usr/lib/systemd/system" if len(inside.parts) > 1 else _PLACES.get(source.suffix)
    if place is None:
        return
    name = inside.with_suffix(".conf") if source.suffix in (".sysusers", ".tmpfiles") else inside
    target = layer / place / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def prune(keep: int = 3) -> None:
    """Removes all but the newest layers, and never one a run still uses."""
    used = leftovers.images_in_use()
    layers = sorted(paths.PAYLOADS.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for layer in layers[keep:]:
        if str(layer) not in used:
            shutil.rmtree(layer, ignore_errors=True)
