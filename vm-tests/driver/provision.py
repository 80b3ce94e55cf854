"""What turns a disk into a host with a role: names, configuration, units enabled at boot."""

from __future__ import annotations

import hashlib
from typing import Any

from . import toml
from .cluster import Cluster, Host
from .disk import Disk
from .network import address
from .shell import run


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
        disk.write("/etc/zkops/cli.toml", toml.dumps({"zookeeper": {"servers": cluster.servers()}}))
    if "controller" in host.roles and cluster.zkops:
        disk.write("/etc/zkops/controller.toml", toml.dumps(_controller(cluster)))
        enabled += _installed(disk, "zkops-controller")
    if "agent" in host.roles and cluster.zkops:
        disk.write("/etc/zkops/agent.toml", toml.dumps(_agent(host, cluster)))
        enabled += _installed(disk, "zkops-agent")
    if enabled:
        run("systemctl", f"--root={disk.root}", "--quiet", "enable", *enabled)


def _identity(disk: Disk, host: Host, cluster: Cluster, run_id: str) -> None:
    names = "".join(f"{address(each.index)} {each.name}\n" for each in cluster.hosts())
    disk.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{names}")
    disk.write("/etc/hostname", f"{host.name}\n")
    disk.write("/etc/machine-id", hashlib.sha256(f"{run_id}/{host.name}".encode()).hexdigest()[:32] + "\n", 0o444)


def _installed(disk: Disk, prefix: str) -> list[str]:
    """The service and the sockets of one daemon, as this checkout has them."""
    found = disk.path("/usr/lib/systemd/system").glob(f"{prefix}*")
    return sorted(unit.name for unit in found if unit.suffix in (".service", ".socket"))


def _zookeeper(disk: Disk, host: Host, cluster: Cluster) -> None:
    """Apache ZooKeeper, ticking fast enough for sessions of one second."""
    members = [each for each in cluster.hosts() if "zookeeper" in each.roles]
    lines = [
        "dataDir=/var/lib/zookeeper", "clientPort=2181",
        "tickTime=500", "minSessionTimeout=1000", "maxSessionTimeout=60000", "initLimit=20", "syncLimit=4",
        "admin.enableServer=false", "4lw.commands.whitelist=*", "preAllocSize=1024",
        "autopurge.purgeInterval=0",
    ]
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
