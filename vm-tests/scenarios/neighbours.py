"""A replica that may not stay beside its neighbours: another service's with the port it is to have, or too many of its own."""

import json
from typing import Any

from lib.fleet import Fleet
from lib.history import History
from lib.load import Load
from lib.rollouts import Budget, Rollouts, check
from lib.service import QUICK, READY, webapp

CLUSTER = cluster(agents=4, session_timeout="10s")

#: Clients hear a little later than its host that a replica goes.
DRAINED = 'drain_time = "500ms"\n'


def shop(
    replicas: int, port: int | None = 8080, probes: dict[str, Any] = READY, extra: str = DRAINED, max_per_host: int = 1,
) -> str:
    """The service, with a surge replica in its rollouts."""
    policy, placement = {**QUICK, "max_surge": 1}, {"max_per_host": max_per_host}
    return webapp(replicas, version="v1", port=port, extra=extra, probes=probes, placement=placement, rollout=policy)


def shared_ports(past: History, after: int) -> set[tuple[str, int]]:
    """Where, since a transaction, two services were to have one port at a time: host and port."""
    shared = set()
    for txn, tree in past.replay():
        if txn.zxid <= after:
            continue
        holders: dict[tuple[str, int], set[str]] = {}
        for path, node in tree.items():
            if path.startswith("/hosts/") and "/assigned/" in path:
                _, _, host, _, name = path.split("/")
                holders.setdefault((host, json.loads(node.data)["template"]["port"]), set()).add(name.rpartition(".")[0])
        shared |= {place for place, services in holders.items() if len(services) > 1}
    return shared


def for_spare(fleet: Fleet, verb: str) -> None:
    """Opens or closes the hosts that have nothing yet."""
    for host in ("web3", "web4"):
        fleet.zkops(f"hosts {verb} {host}")


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()

    with subtest("a port that another service has on its hosts: it moves to where that is free, and no request fails"):
        for_spare(fleet, "cordon")
        fleet.apply(webapp(2, name="api", unit="webapp.service", port=8081), "--wait")
        fleet.apply(shop(2), "--wait")
        for_spare(fleet, "uncordon")
        assert set(fleet.tree().hosts_of("webapp").values()) == {"web1", "web2"}
        api, mark = fleet.pids("webapp.service"), fleet.history().last()
        with Load(zk1, "webapp") as load:
            fleet.apply(shop(2, port=8081), "--wait")
        load.outcome.flawless()
        # Those that go may be draining still.
        fleet.wait(lambda tree: sorted(tree.hosts_of("webapp").values()) == ["web3", "web4"], "both are where it is free")
        assert not shared_ports(fleet.history(), mark)
        assert fleet.pids("webapp.service") == api, "the other service is left alone"

    with subtest("a port that is taken everywhere: nothing is touched, and it is said who has it"):
        pids = fleet.pids()
        fleet.apply(webapp(2, name="web", unit="webapp@.service", port=8081))
        fleet.wait_condition("web", "Unplaced", "8081 in use by")
        assert fleet.pids() == pids
        fleet.zkops("delete web --yes --wait")
        fleet.zkops("delete api --yes --wait")
        fleet.zkops("delete webapp --yes --wait")

    with subtest("max_per_host is lowered where none may be missing: another is ready before one goes"):
        at_8080 = {"readiness": {**READY["readiness"], "http": {"path": "/healthz", "port": 8080}}}
        never = DRAINED + "max_unavailable = 0\n"
        for_spare(fleet, "cordon")
        fleet.apply(shop(4, port=None, probes=at_8080, extra=never, max_per_host=2), "--wait")
        assert sorted(fleet.tree().hosts_of("webapp").values()) == ["web1", "web1", "web2", "web2"]
        for_spare(fleet, "uncordon")
        mark = fleet.history().last()
        fleet.apply(shop(4, port=None, probes=at_8080, extra=never, max_per_host=1), "--wait")
        tree = fleet.wait(lambda tree: sorted(tree.hosts_of("webapp").values()) == ["web1", "web2", "web3", "web4"], "one on each")
        fleet.wait_running("webapp", 4)
        # The two that go may be draining still when the last one that comes is up.
        check(fleet, Budget(4, max_unavailable=0, max_surge=2), mark)
        assert len(Rollouts(fleet).all(tree)) <= 2
