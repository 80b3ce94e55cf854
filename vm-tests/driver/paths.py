"""Where things are: the repository, the caches and the state of each run."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
REPOSITORY = TESTS.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
STATE = TARGET / "vm-tests"
IMAGES = STATE / "images"
VM_IMAGES = IMAGES / "vm"
PAYLOADS = STATE / "payloads"
PACKAGES = STATE / "packages"
RUNS = STATE / "runs"
FAILURES = STATE / "failures"
SCENARIOS = TESTS / "scenarios"
GUEST = TESTS / "guest"
VM_GUEST = TESTS / "guest-vm"
UNITS = REPOSITORY / "systemd-units"

#: One file per live run, for the whole machine: leftovers are found even when their checkout is gone.
REGISTRY = Path("/run/zkops-vm")


def zkops_binary() -> Path:
    """The binary under test: `ZKOPS_BIN`, else this checkout's debug build."""
    return Path(os.environ.get("ZKOPS_BIN", TARGET / "debug" / "zkops")).resolve()
