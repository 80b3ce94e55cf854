"""The disks of virtual machines: Debian with a kernel, and zkops installed by apt from its signed repository.

Each step is made once and then only read::

    images.image(release)                  the root that containers have, too
      + kernel                             `_with_kernel`
      + guest-vm/, test tools, packages    `disk_image`: an ext4 file for each set of packages

A host's own disk is a qcow2 file on top of it (`qemu.py`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from . import disk, images, leftovers, paths, payload
from .cluster import Cluster
from .host import NotBuilt
from .shell import run

#: No initrd is used (what a disk needs is in the kernel); tiny-initramfs makes one ten times as fast as the default.
_KERNEL = ("linux-image-cloud-amd64", "tiny-initramfs")

_PACKAGES = {"zookeeper": "zkops-zookeeper", "controller": "zkops-controller", "agent": "zkops-agent"}

#: Nobody logs in, nothing needs the modules and file systems, and each costs an emulated host about a second of its boot.
_MASKED = (
    "getty.target", "serial-getty@ttyS0.service", "systemd-logind.service", "systemd-user-sessions.service",
    "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-network-generator.service",
    "systemd-binfmt.service", "systemd-pstore.service", "systemd-journal-catalog-update.service", "systemd-update-done.service",
    "ldconfig.service", "kmod-static-nodes.service", "e2scrub_reap.service", "dev-hugepages.mount", "dev-mqueue.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
    "modprobe@configfs.service", "modprobe@drm.service", "modprobe@dm_mod.service", "modprobe@efi_pstore.service",
    "modprobe@fuse.service", "modprobe@loop.service",
)

#: Changes with whatever here decides what is on a disk.
_RECIPE = "2"


def kernel(image: Path) -> Path:
    """The kernel that boots a disk image."""
    return image.parent / "vmlinuz"


def packages(cluster: Cluster, roles: frozenset[str]) -> tuple[str, ...]:
    """What is installed for a host of these roles."""
    if cluster.packaged:
        return ()
    wanted = {_PACKAGES[role] for role in roles if cluster.zkops or role == "zookeeper"}
    return tuple(sorted(wanted | ({"zkops"} if cluster.zkops else set())))


def disk_image(cluster: Cluster, roles: frozenset[str]) -> Path:
    """The disk that hosts of these roles start from, built first if need be (about 20 s)."""
    wanted = packages(cluster, roles)
    name = f"{cluster.release}-{'+'.join(wanted) or 'bare'}"
    target = paths.VM_IMAGES / f"{name}-{_key(cluster.release, wanted)}"
    folder = images.once(target, f"disk {name}", lambda folder: _build(cluster.release, wanted, folder))
    os.utime(folder)
    return folder / "disk.ext4"


def prune() -> None:
    """Removes disk images of old builds, but for those that a run uses."""
    used = {Path(image).parent for image in leftovers.images_in_use()}
    newest: dict[str, Path] = {}
    there = [path for path in paths.VM_IMAGES.glob("*/") if path.suffix != ".partial"]
    for folder in sorted(there, key=lambda folder: folder.stat().st_mtime):
        kind = folder.name.rpartition("-")[0]
        if kind in newest and newest[kind] not in used:
            shutil.rmtree(newest[kind], ignore_errors=True)
        newest[kind] = folder


def _key(release: str, wanted: tuple[str, ...]) -> str:
    """Names what a disk has on it: the layers below, our own files, the packages' build."""
    ours = [*payload.files_in(paths.GUEST), *payload.files_in(paths.VM_GUEST)]
    parts = [_RECIPE, str(_kernel_root(release)), *_MASKED, payload.key(ours)]
    if wanted:
        stamp = paths.PACKAGES / "stamp"
        if not stamp.exists():
            raise NotBuilt(f"virtual machines install zkops by apt, and {paths.PACKAGES} has no packages: `make test-packages`")
        parts.append(stamp.read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _kernel_root(release: str) -> Path:
    """Where the release's root with a kernel is, or will be."""
    name = hashlib.sha256("\n".join((images.image(release).name, *_KERNEL)).encode()).hexdigest()[:12]
    return paths.IMAGES / f"{release}-vm-{name}"


def _with_kernel(release: str) -> Path:
    """The release's root with a kernel, built first if need be (about 10 s)."""
    def build(root: Path) -> None:
        run("cp", "-a", "--reflink=auto", f"{images.image(release)}/.", root)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        (root / "etc/fstab").write_text("/dev/nvme0n1 / ext4 defaults 0 0\n")
        _apt(root, "update")
        _apt(root, "install", "--no-install-recommends", *_KERNEL)
        _apt(root, "clean")
        shutil.rmtree(root / "var/lib/apt/lists")
        (root / "etc/resolv.conf").unlink()

    return images.once(_kernel_root(release), f"{release} image with a kernel", build)


def _build(release: str, wanted: tuple[str, ...], folder: Path) -> None:
    """Fills a root and makes a disk of it."""
    root = _with_kernel(release)
    folder.mkdir()
    work = folder / "work"
    disk.prepare(work)
    try:
        scratch = disk.Disk(work / "disk")
        scratch.mount([payload.payload(False), root])
        shutil.copytree(paths.VM_GUEST, scratch.root, symlinks=True, dirs_exist_ok=True)
        _install(scratch, wanted)
        _set_up(scratch, "zkops-zookeeper" in wanted)
        run("mke2fs", "-q", "-t", "ext4", "-d", scratch.root, folder / "disk.ext4", "3G")
    finally:
        disk.destroy(work)
    (linux,) = root.glob("boot/vmlinuz-*")
    shutil.copy(linux, folder / "vmlinuz")


def _install(scratch: disk.Disk, wanted: tuple[str, ...]) -> None:
    """`apt install` of packages as docs/installation.md has it; the repository is on the disk, as a host has no way out."""
    if not wanted:
        return
    shutil.copytree(paths.PACKAGES / "first", scratch.path("/srv/zkops"))
    scratch.path("/etc/apt/keyrings").mkdir(exist_ok=True)
    shutil.copy(scratch.path("/srv/zkops/zkops.asc"), scratch.path("/etc/apt/keyrings/zkops.asc"))
    scratch.path("/etc/apt/sources.list").unlink(missing_ok=True)
    scratch.write("/etc/apt/sources.list.d/zkops.list", "deb [signed-by=/etc/apt/keyrings/zkops.asc] file:/srv/zkops ./\n")
    _apt(scratch.root, "update")
    _apt(scratch.root, "install", *wanted)


def _set_up(scratch: disk.Disk, zookeeper: bool) -> None:
    """What systemd is to do on such a host, beyond what packages enable."""
    # None has anything to do, and each is a process at every daemon-reload: emulated, they make that take ten seconds.
    for generator in scratch.path("/lib/systemd/system-generators").iterdir():
        masked = scratch.path(f"/etc/systemd/system-generators/{generator.name}")
        masked.parent.mkdir(exist_ok=True)
        masked.symlink_to("/dev/null")
    # Without one, systemd would take each first boot for the first of a fresh installation, and enable whatever there is.
    scratch.write("/etc/machine-id", f"{'1' * 32}\n", 0o444)
    run("systemctl", f"--root={scratch.root}", "--quiet", "mask", *_MASKED)
    if zookeeper:
        # Scenarios know it by the name that it has in containers.
        scratch.path("/etc/systemd/system/zookeeper.service").symlink_to("/lib/systemd/system/zkops-zookeeper.service")


def _apt(root: Path, *words: str) -> None:
    """apt-get in a root; the packages' scripts see that no systemd runs there."""
    run("unshare", "--mount", "--fork", "--pid", f"--root={root}", "--mount-proc", "env", "DEBIAN_FRONTEND=noninteractive",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "apt-get", "--yes", "--quiet", *words)
