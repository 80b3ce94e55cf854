"""The tree at one moment, with the documents of DESIGN's layout a step away."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Replica:
    """A replica's two documents; a missing or unreadable one is empty."""

    number: int
    desired: dict[str, Any]
    status: dict[str, Any]

    @property
    def host(self) -> str | None:
        """Where the controller wants it."""
        return self.desired.get("node")

    @property
    def state(self) -> str | None:
        """What its agent says of it."""
        return self.status.get("state")


class Tree:
    """A dump of ZooKeeper's tree: {path: {data, version, owner, …}}."""

    def __init__(self, nodes: dict[str, dict[str, Any]]) -> None:
        self.nodes = nodes

    def __contains__(self, path: str) -> bool:
        return path in self.nodes

    def node(self, path: str) -> dict[str, Any]:
        """A node with its stat; fails if it is missing."""
        assert path in self.nodes, f"{path} is not in the tree"
        return self.nodes[path]

    def doc(self, path: str) -> dict[str, Any]:
        """A node's JSON document; empty if missing, empty or not an object."""
        try:
            value = json.loads(self.nodes[path]["data"])
        except (KeyError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def children(self, path: str) -> set[str]:
        """The names right below a node."""
        prefix = path.rstrip("/") + "/"
        return {each[len(prefix):] for each in self.nodes if each.startswith(prefix) and "/" not in each[len(prefix):]}

    def replicas(self, service: str) -> dict[int, Replica]:
        """A service's replicas by number."""
        top = f"/services/{service}"
        return {
            int(name): Replica(int(name), self.doc(f"{top}/{name}/desired"), self.doc(f"{top}/{name}/status"))
            for name in self.children(top) if name.isdigit()
        }

    def instances(self, service: str) -> set[str]:
        """The names below a service's `instances`: one per replica that is up and ready."""
        return self.children(f"/services/{service}/instances")

    def hosts_of(self, service: str) -> dict[int, Any]:
        """Which host each replica is placed on: its name, or None."""
        return {number: each.host for number, each in self.replicas(service).items()}

    def status(self, service: str) -> dict[str, Any]:
        """The controller's summary of a service."""
        return self.doc(f"/services/{service}/status")

    def condition(self, service: str, kind: str) -> str:
        """The message of one of a service's conditions ("" if it does not hold)."""
        for each in self.status(service).get("conditions", []):
            if each.get("type") == kind:
                return str(each["message"])
        return ""

    def agent_session(self, host: str) -> int:
        """The session that keeps a host alive; 0 if none does."""
        return int(self.nodes.get(f"/hosts/{host}/alive", {}).get("owner", 0))

    def running(self, service: str, count: int) -> bool:
        """Are there exactly `count` replicas, all enabled, running where they belong, all in `instances`?"""
        replicas = self.replicas(service)
        hosts = [each.split("@")[0] for each in self.instances(service)]
        return (
            len(replicas) == count == len(hosts)
            and all(each.state == "running" and each.status.get("node") == each.host for each in replicas.values())
            and sorted(hosts) == sorted(str(each.host) for each in replicas.values())
        )
