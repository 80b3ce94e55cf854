"""The cluster as an operator sees it: zkops, Apache's zkCli.sh, the tree, the units on the hosts."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from driver.systemd import pause

from . import history
from .tree import Tree


#: systemd's "Stopped …" in the journal (SD_MESSAGE_UNIT_STOPPED).
_UNIT_STOPPED = "9d1aaa27d60140bd96365438aad20286"


@dataclass(frozen=True)
class Unit:
    """A unit as its host's systemd has it now; `active_since` is on the monotonic clock of this process."""

    name: str
    state: str
    pid: int
    active_since: float


class Fleet:
    """Helpers around a driver's machines; `zk` is where the CLI runs."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.zookeepers = driver.having("zookeeper")
        self.controllers = driver.having("controller")
        self.agents = driver.having("agent")
        self.zk = self.zookeepers[0]
        self.chroot = driver.cluster.chroot

    # --- coming up -------------------------------------------------------------

    def up(self) -> None:
        """Boots everything, makes the tree's roots and waits until every agent is known and some controller leads."""
        if self.driver.pace > 1:
            # Emulated hosts would fight for the machine's cores, and agents only wait for ZooKeeper anyway.
            for each in self.zookeepers:
                each.start()
            self.wait_for_zookeeper()
            self.zk.wait_until_succeeds("zkops init")
        self.driver.start_all()
        self.wait_for_zookeeper()
        if self.driver.pace == 1:
            self.zkops("init")
        for each in self.controllers:
            each.wait_for_unit("zkops-controller.service")
        for each in self.agents:
            each.wait_for_unit("zkops-agent.service")
        self.wait(lambda tree: all(f"/hosts/{each.name}/alive" in tree for each in self.agents), "agents are known")

    def wait_for_zookeeper(self) -> None:
        """Waits until the servers serve (an ensemble: have a leader)."""
        for each in self.zookeepers:
            each.wait_for_unit("zookeeper.service")
            each.wait_until_succeeds("printf srvr | nc -w 2 localhost 2181 | grep '^Mode:'")

    def wait_for_leader(self, among: list[Any]) -> Any:
        """Waits until one of these servers leads the ensemble, and returns it."""
        deadline = time.monotonic() + self.zk.limit(None)
        while time.monotonic() < deadline:
            for each in among:
                status, text = each.execute("printf srvr | nc -w 2 localhost 2181")
                if status == 0 and ("Mode: leader" in text or "Mode: standalone" in text):
                    return each
            time.sleep(0.1)
        raise AssertionError(f"none of {', '.join(each.name for each in among)} leads")

    # --- the operator's tools --------------------------------------------------

    def zkops(self, arguments: str, timeout: float | None = None) -> str:
        """Runs `zkops …` on the first ZooKeeper host; it must succeed."""
        return str(self.zk.succeed(f"zkops {arguments}", timeout=timeout))

    def zkops_status(self, arguments: str) -> tuple[int, str]:
        """Runs `zkops …` and gives back (exit status, stdout and stderr)."""
        return self.zk.execute(f"zkops {arguments} 2>&1")

    def apply(self, description: str, *options: str) -> str:
        """`zkops apply` of a description's text."""
        self.write(self.zk, "/root/service.toml", description)
        return self.zkops(f"apply -f /root/service.toml {' '.join(options)}")

    def write(self, machine: Any, path: str, text: str) -> None:
        """Writes a small file on a host."""
        machine.succeed(f"printf %s {shlex.quote(text)} > {shlex.quote(path)}")

    def zkcli(self, *words: str) -> str:
        """One command of Apache's zkCli.sh."""
        command = " ".join(map(shlex.quote, words))
        return str(self.zk.succeed(f"zkCli.sh -server localhost:2181{self.chroot} {command}"))

    def put(self, path: str, document: Any) -> None:
        """Writes a node by hand: text as it is, anything else as JSON."""
        text = document if isinstance(document, str) else json.dumps(document)
        self.zk.succeed(f"printf %s {shlex.quote(text)} | zktool put {shlex.quote(self.chroot + path)}")

    def delete(self, path: str) -> None:
        """Deletes a node and all below it by hand."""
        self.zk.succeed(f"zktool delete {shlex.quote(self.chroot + path)}")

    def ask(self, host: str, port: int = 8080) -> dict[str, Any]:
        """What the sample service on a host says of itself."""
        get = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
        said: dict[str, Any] = json.loads(self.zk.succeed(f"python3 -c {shlex.quote(get)} http://{host}:{port}/"))
        return said

    def replace_zkops(self, machine: Any) -> None:
        """Puts another build of zkops in place on a host, and its agent on it: in the host's own way, if it has one."""
        if hasattr(machine, "replace_zkops"):
            machine.replace_zkops()
            return
        machine.succeed(
            "cp /usr/bin/zkops /usr/bin/zkops.new", "echo another build >> /usr/bin/zkops.new",
            "mv /usr/bin/zkops.new /usr/bin/zkops", "systemctl restart zkops-agent.service",
        )

    # --- the tree --------------------------------------------------------------

    def tree(self) -> Tree:
        """The tree as it is now."""
        found = json.loads(self.zk.dump_tree(self.chroot or "/"))
        return Tree({path[len(self.chroot):] or "/": node for path, node in found.items()})

    def wait(self, good: Callable[[Tree], object], what: str, timeout: float | None = None) -> Tree:
        """Waits until the tree is as wanted; `what` says it in words. Returns that tree."""
        deadline = time.monotonic() + self.zk.limit(timeout)
        while True:
            began = time.monotonic()
            tree = self.tree()
            if good(tree):
                return tree
            assert time.monotonic() < deadline, f"timed out waiting until {what}; the tree:\n{_print(tree)}"
            pause(began)

    def wait_running(self, service: str, count: int, timeout: float | None = None) -> Tree:
        """Waits until exactly `count` replicas run where they belong and are in `instances`."""
        return self.wait(lambda tree: tree.running(service, count), f"{count} of {service} run", timeout)

    def wait_condition(self, service: str, kind: str, says: str = "", timeout: float | None = None) -> str:
        """Waits until a condition holds and says this; returns its message.

        The controller writes a service's conditions after what they are about: whoever saw that has not seen these.
        """
        tree = self.wait(lambda tree: says in tree.condition(service, kind) != "", f"{service} has {kind}: {says}", timeout)
        return tree.condition(service, kind)

    def wait_no_condition(self, service: str, kind: str) -> None:
        """Waits until a condition does not hold any more."""
        self.wait(lambda tree: not tree.condition(service, kind), f"{service} has no {kind}")

    def history(self) -> history.History:
        """Everything ZooKeeper committed so far (paths include the chroot)."""
        return history.read(self.zk.copy_from_machine(self.driver.backend.zookeeper_log))

    def monotonic(self, wall: float) -> float:
        """A wall-clock time of the tree or the history on the monotonic clock that units are timed by."""
        return float(self.zk.clock().wall(wall))

    # --- units and processes ---------------------------------------------------

    def units(self, machine: Any, pattern: str = "webapp*.service") -> dict[str, Unit]:
        """The loaded units of a host that match a pattern, those not running included."""
        names = "Id,ActiveState,MainPID,ActiveEnterTimestampMonotonic"
        text = machine.succeed(f"systemctl show {shlex.quote(pattern)} --property={names}")
        clock = machine.clock()
        found: dict[str, Unit] = {}
        for block in text.strip().split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if "Id" in values:
                found[values["Id"]] = Unit(
                    values["Id"], values["ActiveState"], int(values["MainPID"]),
                    clock.monotonic(int(values["ActiveEnterTimestampMonotonic"]) / 1e6),
                )
        return found

    def active(self, machine: Any, pattern: str = "webapp*.service") -> dict[str, Unit]:
        """The units of a host that are active now."""
        return {name: unit for name, unit in self.units(machine, pattern).items() if unit.state == "active"}

    def pids(self, pattern: str = "webapp*.service") -> dict[str, dict[str, int]]:
        """The main pid of each active unit on each agent host that is up: {host: {unit: pid}}."""
        return {
            each.name: {name: unit.pid for name, unit in self.active(each, pattern).items()}
            for each in self.agents if each.is_up()
        }

    def stopped(self, machine: Any, prefix: str = "webapp") -> dict[str, float]:
        """When each unit was last stopped in this boot, on this process's monotonic clock.

        From the journal: systemd forgets a unit, and its times, once nothing refers to it.
        """
        text = machine.succeed(f"journalctl --boot --no-pager --quiet --output=json MESSAGE_ID={_UNIT_STOPPED}")
        entries = (json.loads(line) for line in text.splitlines())
        clock = machine.clock()
        return {
            entry["UNIT"]: clock.monotonic(int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6)
            for entry in entries if entry.get("UNIT", "").startswith(prefix)
        }

    def unit(self, machine: Any, number: int, prefix: str = "webapp@") -> Unit:
        """The unit of one replica on a host; it must be loaded."""
        name = f"{prefix}{number:010}.service"
        found = self.units(machine, name)
        assert name in found, f"{machine.name} has no {name}"
        return found[name]

    def agent(self, name: str) -> Any:
        """An agent's host by its name."""
        return next(each for each in self.agents if each.name == name)

    def everybody(self) -> dict[str, list[int]]:
        """The sample program's processes on each agent host that is up."""
        return {each.name: self.processes(each) for each in self.agents if each.is_up()}

    def processes(self, machine: Any, name: str = "webapp") -> list[int]:
        """Processes of the sample program on a host, whoever started them."""
        _, text = machine.execute(f"pgrep -f '^/usr/bin/python3 .*/usr/local/bin/{name}$'")
        return [int(word) for word in text.split()]


def _print(tree: Tree) -> str:
    return "\n".join(f"{path} {node['data'][:300]}" for path, node in sorted(tree.nodes.items()))
