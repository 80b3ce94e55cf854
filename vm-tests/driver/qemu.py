"""Full virtual machines: a host with its own kernel, page cache and clocks, under QEMU.

::

    qemu-system-x86_64, in the switch's namespace and the host's control group
      /dev/nvme0n1   disk.qcow2 on top of a disk image (vmimage.py)
      /dev/vda       seed.tar: what makes this disk this host, unpacked at the first boot
      eth0           a tap on the bridge
      virtio port    commands (channel.py)

Power loss is SIGKILL to QEMU. What the guest's disk had been given is in disk.qcow2, whose pages the machine keeps; what
was in the guest's page cache is gone. The disk has no cache of its own (`cache.writeback=off`): QEMU's NVMe ignores Force
Unit Access (hw/nvme/ctrl.c, nvme_do_write), by which Linux writes the end of each journal commit, so that with a cache
every second `sync` was lost (qcow2 keeps a new cluster's entry in the process until a flush). `cache.no-flush=on` leaves
out the machine's fsync, which would protect from the machine's own power loss.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import accel, cgroups, host, images, paths, payload, provision, shell, vmimage
from .channel import Channel
from .cluster import Cluster
from .disk import Files
from .host import Backend, Clock, Done, Host, NotRunning, PidFile, Spec
from .leftovers import Run
from .network import Network, address, mac
from .shell import CommandFailed, start_time

#: Joins the control groups, then becomes QEMU.
_START = 'for group in "$@"; do case $group in --) break;; esac; echo $$ > "$group/cgroup.procs"; shift; done; shift; exec "$@"'

#: MiB and cores. A JVM starts with several threads, and everybody waits for it.
_WITHOUT, _WITH_JVM = (384, 1), (768, 2)

#: Emulating only what Debian needs is quickest: with wide vectors offered, libraries use them, and each is many
#: instructions of the machine. Its random numbers seed the kernel at once.
_CPU = {"kvm": "host", "tcg": "qemu64,+rdrand"}
_ACCEL = {"kvm": "kvm", "tcg": "tcg,thread=multi"}

_KERNEL_OPTIONS = "root=/dev/nvme0n1 rw console=ttyS0 quiet net.ifnames=0 mitigations=off"


class QemuHost(Host):
    """One host under QEMU."""

    def __init__(self, spec: Spec, cluster: Cluster, run: Run, network: Network, image: Path) -> None:
        self.name = spec.name
        self._spec, self._cluster, self._run_id, self._network, self._image = spec, cluster, run.id, network, image
        self._folder = Path(run.folder) / spec.name
        self._disk = self._folder / "disk.qcow2"
        self._seed = self._folder / "seed.tar"
        self.console = self._folder / "console.log"
        self._socket = paths.REGISTRY / f"{run.id}-{spec.name}.sock"
        self._channel = Channel(self._socket)
        self._pidfile = PidFile(self._folder / "qemu.pid")
        self._process: subprocess.Popen[bytes] | None = None

    # --- power -----------------------------------------------------------------

    def create(self) -> None:
        self._folder.mkdir(parents=True)
        shell.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self._image, self._disk)
        with tempfile.TemporaryDirectory() as folder, tarfile.open(self._seed, "w") as seed:
            provision.seed(Files(Path(folder)), self._spec, self._cluster, self._run_id)
            for top in Path(folder).iterdir():
                seed.add(top, arcname=top.name, filter=_as_root)

    def power_on(self) -> None:
        self._network.plug_tap(self.name)
        self._channel.close()
        groups = cgroups.create(self._run_id, self.name)
        with open(self.console, "ab") as console:
            self._process = subprocess.Popen(
                ["sh", "-c", _START, "zkops-vm-host", *map(str, groups), "--",
                 *self._network.beside(*self._qemu())],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            )
        self._pidfile.write(self._process.pid)

    def _qemu(self) -> list[str]:
        kind = accel.choose(self._image)
        memory, cores = _WITH_JVM if "zookeeper" in self._spec.roles else _WITHOUT
        return [
            "qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "q35", "-accel", _ACCEL[kind], "-cpu", _CPU[kind], "-smp", str(cores), "-m", str(memory),
            "-kernel", str(vmimage.kernel(self._image)), "-append", self._kernel_options(),
            "-drive", f"if=none,id=disk,file={self._disk},format=qcow2,cache.writeback=off,cache.no-flush=on",
            "-device", "nvme,drive=disk,serial=disk",
            "-drive", f"if=none,id=seed,file={self._seed},format=raw,readonly=on", "-device", "virtio-blk-pci,drive=seed",
            "-netdev", f"tap,id=cable,ifname={self.name},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=cable,mac={mac(self._spec.index)}",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=port,path={self._socket},server=on,wait=off",
            "-device", "virtserialport,chardev=port,name=vm",
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
        ]

    def _kernel_options(self) -> str:
        """With the names that systemd takes before the seed is unpacked."""
        return f"{_KERNEL_OPTIONS} systemd.hostname={self.name} systemd.machine_id={provision.machine_id(self._run_id, self.name)}"

    def kill(self) -> None:
        pid = self._pid()
        if pid is not None:
            started = {pid: start_time(pid)}
            host.kill(pid, signal.SIGKILL)
            host.wait_gone(started)
        self._channel.close()
        self.wait_off(10)

    def power_off(self) -> None:
        self.must("systemctl", "poweroff")

    def reset(self, timeout: float) -> bool:
        self.must("systemctl", "reboot")
        self._channel.forget()
        deadline = time.monotonic() + timeout
        while self.boot() is None and time.monotonic() < deadline and self.is_on():
            time.sleep(0.02)
        return self.boot() is not None

    def is_on(self) -> bool:
        return self._pid() is not None

    def _pid(self) -> int | None:
        if self._process is not None:
            self._process.poll()
        return self._pidfile.pid()

    def boot(self) -> str | None:
        return self._channel.boot(patience=0.2) if self.is_on() else None

    # --- commands and files ----------------------------------------------------

    def run(self, *argv: str) -> Done:
        status, out, err = self._call(*argv)
        return Done(status, out.decode(errors="replace"), err.decode(errors="replace"))

    def _call(self, *argv: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        if not self.is_on():
            raise NotRunning(f"{self.name} is off")
        return self._channel.call(*argv, stdin=stdin)

    def _must_call(self, *argv: str, stdin: bytes = b"") -> bytes:
        status, out, err = self._call(*argv, stdin=stdin)
        if status != 0:
            raise CommandFailed(f"{self.name}: {' '.join(argv)} (exit {status}): {err.decode(errors='replace').strip()}")
        return out

    def put(self, source: Path, target: str) -> None:
        if not self.is_on():
            raise host.Unsupported(f"{self.name} is off: qemu hosts take files only while they run (nspawn's also before)")
        inside = f"/var/tmp/copy.{time.monotonic_ns()}"
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as packed:
                packed.add(source, arcname="it", filter=_as_root)
            file.seek(0)
            data = file.read()
        self._must_call("mkdir", "-p", inside, str(Path(target).parent))
        self._must_call("tar", "--extract", "--file=-", f"--directory={inside}", stdin=data)
        self._must_call("sh", "-c", f"mv -T {inside}/it {shlex.quote(target)} && rmdir {inside}")

    def get(self, source: str, target: Path) -> None:
        if not self.is_on():
            with self.offline() as root:
                shell.run("cp", "-aT", "--", root / source.lstrip("/"), target)
            return
        where = Path(source)
        data = self._must_call("tar", "--create", "--file=-", f"--directory={where.parent}", "--", where.name)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["tar", "--extract", "--file=-", f"--directory={folder}"], input=data, check=True)
            shell.run("cp", "-aT", "--", Path(folder) / where.name, target)

    @contextmanager
    def offline(self) -> Iterator[Path]:
        """A copy of the disk, its journal replayed as at the next boot."""
        if self.boot() is not None:
            self.must("sync")
        root, copy = self._folder / "root", self._folder / "copy.ext4"
        shell.run("qemu-img", "convert", "--force-share", "-f", "qcow2", "-O", "raw", self._disk, copy)
        root.mkdir(exist_ok=True)
        shell.run("mount", "-o", "loop", copy, root)
        try:
            yield root
        finally:
            shell.run("umount", root)
            copy.unlink()

    def dump_tree(self, path: str) -> str | None:
        """By a client beside the host, in the release's own root: here, starting Python takes seconds."""
        root = images.image(self._cluster.release)
        tool = paths.GUEST / "usr/local/bin/zktool"
        server = f"ZKTOOL_SERVERS={address(self._spec.index)}:2181"
        argv = self._network.beside("chroot", str(root), "env", "-i", server, "python3", "-B", "-", "dump", path)
        done = subprocess.run(argv, input=tool.read_text(), capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    def clock(self) -> Clock:
        """Read through the port until that took less than `clock_error` allows."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            before, after, there = self._channel.ping()
            if after - before < Qemu.clock_error:
                middle = (before + after) / 2
                return Clock(middle - there["monotonic"], middle - there["wall"])
        raise AssertionError(f"{self.name}: its clock could not be read to {Qemu.clock_error} s: the machine is too busy")

    def shell(self, command: str) -> int:
        if not command:
            sys.exit(f"{self.name} is a virtual machine: name a command, as in `vm-tests/shell {self.name} journalctl -n 20`")
        done = self.run("bash", "-c", command)
        print(done.stdout, end="", flush=True)
        print(done.stderr, end="", file=sys.stderr)
        return done.status


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


class Qemu(Backend):
    """Virtual machines: their own kernel, so that a power loss loses what was not synced; slow without KVM."""

    name = "qemu"
    #: The longest round trip that a clock is read by; half of it is the error of one reading.
    clock_error = 0.05
    zookeeper_log = "/var/lib/zkops-zookeeper/log/version-2"

    @property
    def pace(self) -> float:
        """Emulated, everything takes ten times its time, and the hosts share the machine's cores.

        `ZKOPS_VM_PACE` says it for a machine that has other things to do.
        """
        if "ZKOPS_VM_PACE" in os.environ:
            return float(os.environ["ZKOPS_VM_PACE"])
        return 1.5 if accel.known() == "kvm" else 8.0

    def prepare(self, cluster: Cluster) -> tuple[Path, ...]:
        images = tuple(self._image(spec, cluster) for spec in cluster.hosts())
        accel.choose(images[0])
        return tuple(dict.fromkeys(images))

    def _image(self, spec: Spec, cluster: Cluster) -> Path:
        return vmimage.disk_image(cluster, spec.roles)

    def tidy(self) -> None:
        vmimage.prune()
        payload.prune()

    def host(self, spec: Spec, cluster: Cluster, run: Run, network: Network) -> QemuHost:
        return QemuHost(spec, cluster, run, network, self._image(spec, cluster))
