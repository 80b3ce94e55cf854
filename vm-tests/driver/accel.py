"""Which accelerator runs virtual machines on this machine: KVM only if it really boots one, else emulation (TCG).

A /dev/kvm may be there and yet not run a stock kernel (a virtual machine itself, a machine with other plans for it).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import paths, vmimage

#: Seconds in which a guest must boot and switch itself off again. With KVM it takes three.
_PATIENCE = 25


def known() -> str | None:
    """The accelerator, if `ZKOPS_VM_ACCEL` or an earlier probe in this boot of the machine says it."""
    forced = os.environ.get("ZKOPS_VM_ACCEL")
    if forced:
        if forced not in ("kvm", "tcg"):
            sys.exit(f"vm-tests: ZKOPS_VM_ACCEL={forced}: must be kvm or tcg")
        return forced
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    return _memory().read_text() if _memory().exists() else None


def choose(image: Path) -> str:
    """The accelerator; probed with a disk image if it is not known yet."""
    found = known()
    if found is None:
        found = "kvm" if _boots(image) else "tcg"
        print(f"virtual machines run with {found}" + ("" if found == "kvm" else ": /dev/kvm did not boot one"), flush=True)
        _memory().parent.mkdir(parents=True, exist_ok=True)
        _memory().write_text(found)
    return found


def _memory() -> Path:
    """What a probe found; /run is gone with this boot of the machine."""
    return paths.REGISTRY / "accelerator"


def _boots(image: Path) -> bool:
    """Does a guest under KVM come up to its systemd, and down again?"""
    with tempfile.NamedTemporaryFile() as console:
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35,accel=kvm",
            "-cpu", "host", "-m", "384", "-kernel", str(vmimage.kernel(image)),
            "-append", "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 systemd.unit=poweroff.target",
            "-drive", f"if=none,id=disk,file={image},format=raw,snapshot=on", "-device", "nvme,drive=disk,serial=disk",
            "-serial", f"file:{console.name}",
        ]
        try:
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return False
        return b"reboot: Power down" in Path(console.name).read_bytes()
