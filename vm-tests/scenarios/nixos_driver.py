"""Machines that have no more than the NixOS test driver's: with what vm-tests/driver/nixos.py adds, scenarios run on them."""

import shutil
import time
from pathlib import Path

from driver import nixos
from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=2, session_timeout="4s")

#: The methods that the scenarios may use. nix/check compares what nixos.py asks of them with the real ones.
OWN = {
    "name", "start", "crash", "block", "unblock", "execute", "succeed", "wait_for_unit", "wait_until_succeeds",
    "wait_until_fails", "get_unit_property", "log",
}


class Vm:
    """A host of ours with the NixOS test driver's names, and its ways where they differ."""

    def __init__(self, host, out_dir: Path) -> None:
        self._host = host
        self.out_dir = out_dir

    def __getattr__(self, name: str):
        assert name in OWN, f"the NixOS test driver's machines have no {name}"
        return getattr(self._host, name)

    @property
    def is_up(self) -> bool:
        """No method there."""
        return self._host.is_up()

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Returns nothing there, and replaces nothing."""
        shutil.copytree(self._host.copy_from_machine(source), self.out_dir / target_dir / Path(source).name)


class NixosDriver:
    """Ours with the NixOS test driver's names."""

    def __init__(self) -> None:
        self.machines_qemu = [Vm(each, driver.folder / "result") for each in machines]
        self.logger = self
        self.start_all, self.join_all, self.info = start_all, join_all, driver.logger.tell


def test() -> None:
    nixos.Driver.backend = nixos.Backend(zookeeper_log="/var/lib/zookeeper/version-2")
    with subtest("a test whose machines are not its scenario's is refused"):
        try:
            nixos.run("host_crash", NixosDriver(), subtest)  # type: ignore
        except AssertionError as error:
            assert "web4" in str(error), error
        else:
            raise AssertionError("host_crash wants four agents")

    theirs = nixos.Driver(NixosDriver(), CLUSTER, subtest)  # type: ignore
    fleet = Fleet(theirs)
    with subtest("a service runs; its host crashes, and it runs elsewhere"):
        fleet.up()
        fleet.apply(webapp(1), "--wait")
        (home,) = fleet.wait_running("webapp", 1).hosts_of("webapp").values()
        lost = fleet.agent(home)
        lost.crash()
        assert not lost.is_up()
        tree = fleet.wait(lambda tree: tree.running("webapp", 1) and tree.hosts_of("webapp")[1] != home, "it runs elsewhere")
    with subtest("the history is what happened, however often it is read"):
        for _ in range(2):
            seen = [names for _, names in fleet.history().children("/services/webapp/instances") if names]
            assert seen == [{home}, {tree.hosts_of("webapp")[1]}], seen
    with subtest("the host comes back; its times are those of this process's clock"):
        lost.start()
        fleet.wait(lambda tree: tree.agent_session(home), f"{home} is back")
        assert fleet.processes(lost) == []
        began = time.monotonic()
        there = lost.clock()
        assert abs(there.from_monotonic) < time.monotonic() - began, there
