"""`vm-tests/shell`: a person's way into hosts that were kept (`--keep`, `make demo KEEP=1`)."""

from __future__ import annotations

import sys

from . import leftovers
from .driver import Driver, attach

USAGE = """usage: vm-tests/shell HOST [COMMAND…]     a shell (or one command) in a host
       vm-tests/shell --HOW HOST          start, shutdown, crash, reboot, block or unblock it
       vm-tests/shell --list              the hosts there are
       vm-tests/run --clean               switch all off and remove them"""

_POWER = ("start", "shutdown", "crash", "reboot", "block", "unblock")


def _latest() -> Driver:
    kept = [run for run in leftovers.registered() if run.kept]
    if not kept:
        sys.exit("no hosts are kept: run `make demo KEEP=1` or `vm-tests/run --keep --scenario NAME` first")
    return attach(kept[-1])


def main(argv: list[str]) -> int:
    """The command line of `vm-tests/shell`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    driver = _latest()
    names = [each.name for each in driver.machines]
    if argv[0] == "--list":
        for each in driver.machines:
            print(f"{each.name:8} {'up' if each.is_up() else 'down'}")
        return 0
    how = argv.pop(0)[2:] if argv[0].startswith("--") else None
    if not argv or argv[0] not in names or (how and how not in _POWER):
        print(USAGE, file=sys.stderr)
        return 2
    machine = driver.machine(argv[0])
    if how:
        getattr(machine, how)()
        return 0
    if not machine.is_up():
        sys.exit(f"{machine.name} is off: vm-tests/shell --start {machine.name}")
    machine.connect()
    return machine.host.shell(" ".join(argv[1:]))
