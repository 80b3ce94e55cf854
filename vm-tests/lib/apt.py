"""zkops's own packages, installed from their signed repository as people do it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from driver import paths

_SOURCE = "deb [signed-by=/etc/apt/keyrings/zkops.asc] http://{name}:8001 ./"


def everywhere(machines: Iterable[Any], work: Callable[[Any], Any]) -> list[Any]:
    """Does something on several hosts at once."""
    hosts = list(machines)
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(work, hosts))


class Apt:
    """The repository, on one host's port 8001, first with the first build of the packages."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.publish("first")
        machine.succeed("systemd-run --quiet --unit=apt-repo python3 -m http.server --directory /srv/zkops 8001")
        machine.wait_for_open_port(8001)

    def publish(self, build: str) -> None:
        """Replaces what the repository has."""
        folder = paths.PACKAGES / build
        assert folder.is_dir(), f"{folder} is missing: run `make test-packages`"
        self.machine.succeed("rm -rf /srv/zkops/*")
        for file in folder.iterdir():
            self.machine.copy_from_host(str(file), f"/srv/zkops/{file.name}")
        # The builds are made in one second, and apt asks only for what is newer.
        self.machine.succeed("touch /srv/zkops/*")

    def add_to(self, machine: Any) -> None:
        """What docs/installation.md says: the key, the source. A host has no other here."""
        source = _SOURCE.format(name=self.machine.name)
        machine.succeed(
            "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir -p /etc/apt/keyrings",
            f"python3 -c 'import urllib.request; print(urllib.request.urlopen(\"http://{self.machine.name}:8001/zkops.asc\")"
            ".read().decode())' > /etc/apt/keyrings/zkops.asc",
            f"echo '{source}' > /etc/apt/sources.list.d/zkops.list",
            "apt-get -q update 2>&1",
        )


#: What reads as a failure to whoever ran apt, also where apt ends with 0.
_FAILURES = re.compile(r"^(Failed to |Job for |Warning: |dpkg: (error|warning)|[EW]: )", re.MULTILINE)


def apt(machine: Any, words: str) -> str:
    """`apt-get …` on a host; returns all that it said, in which nothing reads as a failure."""
    said = str(machine.succeed(f"DEBIAN_FRONTEND=noninteractive apt-get -y {words} 2>&1"))
    assert not _FAILURES.search(said), f"apt-get {words}:\n{said}"
    return said


def install_fleet(fleet: Any, servers: str) -> None:
    """As far as installation.md goes before agent.toml: one ZooKeeper with a controller beside it, agents that are not
    started. `servers` is what each configuration says of ZooKeeper."""
    packages = dict.fromkeys(fleet.agents, "zkops-agent") | {fleet.zk: "zkops-zookeeper zkops-controller"}
    everywhere(packages, lambda host: apt(host, f"install {packages[host]}"))
    fleet.write(fleet.zk, "/etc/zkops/ensemble.conf", f"server.1 = {fleet.zk.name}\n")
    for role in ("controller", "cli"):
        fleet.write(fleet.zk, f"/etc/zkops/{role}.toml", servers)
    fleet.zk.succeed("systemctl start zkops-zookeeper zkops-controller", "zkops init")


def version(machine: Any, package: str) -> str:
    """The installed version of a package."""
    return str(machine.succeed(f"dpkg-query -W -f='${{Version}}' {package}"))


def leftovers(machine: Any) -> list[str]:
    """Files that are named after zkops, but for those of apt, dpkg, the repository and the journal."""
    elsewhere = "/etc/apt /srv /proc /sys /var/lib/apt /var/cache/apt /var/log"
    prune = " -o ".join(f"-path {each}" for each in elsewhere.split())
    return sorted(machine.succeed(f"find / \\( {prune} \\) -prune -o -name '*zkops*' -print").split())
