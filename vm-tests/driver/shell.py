"""Running commands on the machine itself, and knowing processes by more than a pid."""

from __future__ import annotations

import subprocess
from pathlib import Path


class CommandFailed(Exception):
    """A command on the machine ended with an error; the message has its stderr."""


def run(*argv: str | Path, check: bool = True, stdin: str | None = None) -> str:
    """Runs a command and returns its stdout; raises `CommandFailed` unless `check` is off."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace",
    )
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)} (exit {done.returncode}): {done.stderr.strip()}")
    return done.stdout


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot, or None if it is gone or a zombie.

    A pid alone can be another process by now; a pid with its start time cannot.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """The direct children of a process (none if it is gone)."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return [] if _HAS_CHILDREN else _children_by_scan(pid)


#: The kernel may be built without the `children` files.
_HAS_CHILDREN = any(Path("/proc/self/task").glob("*/children"))


def _children_by_scan(pid: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)
