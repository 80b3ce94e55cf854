"""What is kept of a scenario that failed, to find out why without running it again."""

from __future__ import annotations

import shutil
from pathlib import Path

from lib import history

from .driver import Driver
from .host import NotRunning
from .machine import Machine
from .shell import run

#: Daemons whose logs get files of their own.
_DAEMONS = ("zkops-agent", "zkops-controller", "zkops-zookeeper", "zookeeper")


def keep(driver: Driver, folder: Path) -> None:
    """Fills a folder with every host's journal and units, the daemons' logs, and ZooKeeper's tree and history."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each in driver.machines:
        _host(each, folder / each.name)
    for each in driver.having("zookeeper"):
        _tree(each, driver.backend.zookeeper_log, folder)
    if (driver.folder / "scenario.log").exists():
        shutil.copy(driver.folder / "scenario.log", folder)


def _host(machine: Machine, folder: Path) -> None:
    """One host, on or off: its journal is read off its disk."""
    folder.mkdir()
    with machine.host.offline() as root:
        journal = ["journalctl", f"--directory={root}/var/log/journal", "--no-pager", "--quiet",
                   "--output=short-precise", "--no-hostname"]
        _run_into(folder / "journal.txt", *journal)
        for daemon in _DAEMONS:
            _run_into(folder / f"{daemon}.log", *journal, f"--unit={daemon}.service")
    _ask_into(folder / "units.txt", machine, "systemctl --no-pager list-units --all; systemctl --no-pager list-jobs; systemctl --no-pager "
        "--lines=0 status 'zkops*' 'webapp*' zookeeper.service; ps -eo pid,ppid,stat,lstart,cmd",
    )
    _ask_into(folder / "runtime-units.txt", machine, "find /run/systemd/system -type f | while read -r file; do echo \"# $file\"; cat \"$file\"; done")
    if machine.host.console.exists():
        shutil.copy(machine.host.console, folder / "console.log")


def _run_into(path: Path, *command: str) -> None:
    """A command's output as a file; no file if there was none."""
    text = run("timeout", "20", *command, check=False)
    if text.strip():
        path.write_text(text)


def _ask_into(path: Path, machine: Machine, command: str) -> None:
    """A command's output in a host that takes commands."""
    try:
        text = machine.host.run("timeout", "20", "sh", "-c", command).stdout if machine.host.boot() else ""
    except NotRunning:
        return
    if text.strip():
        path.write_text(text)


def _tree(machine: Machine, log: str, folder: Path) -> None:
    """The tree and every change of it, from the server's log on disk (the server may be down)."""
    with machine.host.offline() as root:
        past = history.read(root / log.lstrip("/"))
    (folder / f"tree.{machine.name}.txt").write_text(history.picture(past))
    (folder / f"history.{machine.name}.txt").write_text(history.describe(past))
