"""What turns a disk into a host with a role: names, configuration, units enabled at boot."""

from __future__ import annotations

import hashlib
from typing import Any

from . import toml
from .cluster import Cluster, Host
from .disk import Disk, Files
from .network import address
from .shell import run


#: Ticks fast enough for sessions of one second.
_ZOO_CFG = (
    "tickTime=500", "minSessionTimeout=1000", "initLimit=20", "syncLimit=4",
    "preAllocSize=1024", "autopurge.purgeInterval=0",
)


def provision(disk: Disk, host: Host, cluster: Cluster, run_id: str) -> None:
    """Writes a freshly made disk's identity and its roles' files."""
    _identity(disk, host, cluster, run_id)
    if cluster.packaged:
        return
    enabled = []
    if "zookeeper" in host.roles:
        _zookeeper(disk, host, cluster)
        enabled.append("zookeeper.service")
    if cluster.zkops:
        _settings(disk, host, cluster)
        for role in host.roles & {"controller", "agent"}:
            enabled += _installed(disk, f"zkops-{role}")
    if enabled:
        run("systemctl", f"--root={disk.root}", "--quiet", "enable", *enabled)


def seed(files: Files, host: Host, cluster: Cluster, run_id: str) -> None:
    """The same for a host that has zkops's packages: only the files that an operator edits."""
    _identity(files, host, cluster, run_id)
    files.write("/etc/vm-address", f"ADDRESS={address(host.index)}/24\n")
    if cluster.packaged:
        return
    if "zookeeper" in host.roles:
        members = [each for each in cluster.hosts() if "zookeeper" in each.roles]
        lines = [*_ZOO_CFG, "maxSessionTimeout=600000", *(f"server.{each.index} = {each.name}" for each in members)]
        files.write("/etc/zkops/ensemble.conf", "\n".join(lines) + "\n")
        files.write("/etc/default/zkops-zookeeper", (
            f'ZOOKEEPER_HEAP=128m\nZOOKEEPER_GC="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"\nZOOKEEPER_LOG=warn\n'
            f'ZOOKEEPER_JAVA_OPTIONS="{cluster.zookeeper_options}"\n'
        ))
    if cluster.zkops:
        _settings(files, host, cluster)


def _settings(files: Files, host: Host, cluster: Cluster) -> None:
    """The configuration of what runs on a host, and of the command line."""
    files.write("/etc/zkops/cli.toml", toml.dumps({"zookeeper": {"servers": cluster.servers()}}))
    if "controller" in host.roles:
        files.write("/etc/zkops/controller.toml", toml.dumps(_controller(cluster)))
    if "agent" in host.roles:
        files.write("/etc/zkops/agent.toml", toml.dumps(_agent(host, cluster)))


def machine_id(run_id: str, name: str) -> str:
    """A host's machine-id (machine-id(5))."""
    return hashlib.sha256(f"{run_id}/{name}".encode()).hexdigest()[:32]


def _identity(disk: Files, host: Host, cluster: Cluster, run_id: str) -> None:
    names = "".join(f"{address(each.index)} {each.name}\n" for each in cluster.hosts())
    disk.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{names}")
    disk.write("/etc/hostname", f"{host.name}\n")
    disk.write("/etc/machine-id", machine_id(run_id, host.name) + "\n", 0o444)


def _installed(disk: Disk, prefix: str) -> list[str]:
    """The service and the sockets of one daemon, as this checkout has them."""
    found = disk.path("/usr/lib/systemd/system").glob(f"{prefix}*")
    return sorted(unit.name for unit in found if unit.suffix in (".service", ".socket"))


def _zookeeper(disk: Disk, host: Host, cluster: Cluster) -> None:
    """Apache ZooKeeper, from Debian's jars."""
    members = [each for each in cluster.hosts() if "zookeeper" in each.roles]
    lines = ["dataDir=/var/lib/zookeeper", "clientPort=2181", "admin.enableServer=false", "4lw.commands.whitelist=*",
             "maxSessionTimeout=60000", *_ZOO_CFG]
    if len(members) > 1:
        lines += [f"server.{each.index}={each.name}:2888:3888" for each in members]
        disk.write("/var/lib/zookeeper/myid", f"{host.index}\n")
    disk.write("/etc/zookeeper/zoo.cfg", "\n".join(lines) + "\n")
    disk.write("/etc/zookeeper/environment", f"ZOOKEEPER_OPTIONS={cluster.zookeeper_options}\n")
    disk.path("/var/lib/zookeeper").mkdir(parents=True, exist_ok=True)


def _session(cluster: Cluster, timeout: str) -> dict[str, Any]:
    return {"servers": cluster.servers(), "session_timeout": timeout}


def _controller(cluster: Cluster) -> dict[str, Any]:
    timeout = cluster.controller_session_timeout or cluster.session_timeout
    return {**cluster.controller, "zookeeper": _session(cluster, timeout)}


def _agent(host: Host, cluster: Cluster) -> dict[str, Any]:
    return {
        "allowed_units": cluster.allowed_units,
        "accept_unit_files": cluster.accept_unit_files,
        "address": address(host.index),
        **cluster.agent,
        "labels": cluster.labels.get(host.name, {}),
        "zookeeper": _session(cluster, cluster.session_timeout),
    }
