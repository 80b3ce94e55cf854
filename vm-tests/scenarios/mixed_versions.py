"""This release and the next in one fleet, in every mixture: all of it works, and no service notices who runs it."""

import time

from driver import paths
from lib.fleet import Fleet
from lib.load import Load
from lib.service import QUICK, READY, webapp

CLUSTER = cluster(controllers=2, controllers_apart=True, agents=3, session_timeout="10s", deadline=420)

#: Both builds lie here on each host.
BUILDS = "/opt/zkops"
INSTANCES = "/services/webapp/instances"
#: What the next release writes into each document, and this one does not know.
FIELD = "next_release"


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    bring_builds()
    fleet.apply(shop("v1"), "--wait")
    with subtest("the tree of this release: agents of the next take over, one host after the other"):
        each_agent(fleet, "next")
        works(fleet, "this", "v2")
    with subtest("a standby of the next release; then it leads"):
        lead(fleet, ctl2)
        use(ctl1, "next", "controller")
        works(fleet, "next", "v3")
        lead(fleet, ctl1)
        works(fleet, "this", "v4")
        assert any(FIELD in node["data"] for path, node in fleet.tree().nodes.items() if path.endswith("/desired")), "is this the next release?"
    with subtest("back: this release leads again, with the documents of the next"):
        lead(fleet, ctl2)
        works(fleet, "next", "v5")
    with subtest("the command line of this release keeps what that of the next wrote"):
        zkops("next", "scale webapp 3 --wait")
        zkops("this", "scale webapp 2 --wait")
        assert FIELD in fleet.tree().doc("/services/webapp/desired")
    with subtest("agents go back to this release, with the memory of the next on their disks"):
        web1.succeed(f"grep {FIELD} /var/lib/zkops/agent/ledger.json")
        each_agent(fleet, "this")
        works(fleet, "next", "v6")
    with subtest("the next release everywhere"):
        use(ctl2, "next", "controller")
        each_agent(fleet, "next")
        works(fleet, "next", "v7")


def shop(version: str) -> str:
    """Two replicas on three hosts, so that one can be drained."""
    return webapp(2, version=version, extra='drain_time = "500ms"', probes=READY, rollout=QUICK)


def bring_builds() -> None:
    """Both onto every host."""
    later = paths.TARGET / "debug/examples/zkops-next"
    assert later.is_file(), f"{later} is missing: run `make next-build`"
    for each in machines:
        each.copy_from_host(str(later), f"{BUILDS}/next")
        each.succeed(f"cp /usr/bin/zkops {BUILDS}/this")
    assert zk1.succeed(f"{BUILDS}/this --version") != zk1.succeed(f"{BUILDS}/next --version")


def zkops(build: str, words: str) -> None:
    """A command of one of the builds."""
    zk1.succeed(f"{BUILDS}/{build} {words}")


def use(host, build: str, role: str) -> None:
    """Replaces the binary as a package does, and restarts the daemon."""
    host.succeed(f"cp {BUILDS}/{build} /usr/bin/zkops.new", "mv /usr/bin/zkops.new /usr/bin/zkops", f"systemctl restart zkops-{role}")


def each_agent(fleet: Fleet, build: str) -> None:
    """Upgrades (or takes back) the agents under load: same processes, no gap, no failed request."""
    pids, mark = fleet.pids(), fleet.history().last()
    present = set(fleet.tree().instances("webapp"))
    with Load(zk1, "webapp") as load:
        for host in fleet.agents:
            use(host, build, "agent")
            pid = int(host.get_unit_property("zkops-agent", "MainPID"))
            fleet.wait(lambda tree: taken_over(tree, host.name, pid, build), f"{host.name}'s agent is of the {build} release")
    load.outcome.flawless()
    assert fleet.pids() == pids, (pids, fleet.pids())
    gaps = fleet.history().gaps(INSTANCES, present, after=mark)
    assert not gaps, gaps


def taken_over(tree, host: str, pid: int, build: str) -> bool:
    """Are the host's ephemerals those of this process?"""
    alive = tree.doc(f"/hosts/{host}/alive")
    instance = tree.nodes.get(f"{INSTANCES}/{host}", {"owner": tree.agent_session(host)})
    is_next = alive.get("version", "").endswith("+next") and FIELD in alive
    return alive.get("pid") == pid and is_next == (build == "next") and instance["owner"] == tree.agent_session(host)


def lead(fleet: Fleet, host) -> None:
    """Has this controller lead: the other is stopped for a moment. No service notices."""
    pids, mark, other = fleet.pids(), fleet.history().last(), ctl1 if host is ctl2 else ctl2
    other.succeed("systemctl stop zkops-controller")
    fleet.wait(lambda tree: leader(tree) == host.name, f"{host.name} leads")
    other.succeed("systemctl start zkops-controller")
    fleet.wait(lambda tree: len(tree.children("/controller/election")) == 2, "the other stands by")
    at_rest(fleet)
    assert leader(fleet.tree()) == host.name
    assert fleet.pids() == pids, (pids, fleet.pids())
    gaps = fleet.history().gaps(INSTANCES, set(fleet.tree().instances("webapp")), after=mark)
    assert not gaps, gaps


def leader(tree) -> str:
    """The host of the first contender; "" if there is none."""
    first = min(tree.children("/controller/election"), key=lambda name: int(name.rsplit("-", 1)[1]), default="")
    return str(tree.doc(f"/controller/election/{first}").get("name", "")).split(":")[0]


def works(fleet: Fleet, build: str, version: str) -> None:
    """Scale, rollout and drain, ordered by this build's command line, under load; then nobody writes any more."""
    fleet.write(zk1, "/root/service.toml", shop(version))
    with Load(zk1, "webapp") as load:
        zkops(build, "scale webapp 3 --wait")
        zkops(build, "scale webapp 2 --wait")
        zkops(build, "apply -f /root/service.toml --wait")
        host = min(str(host) for host in fleet.wait_running("webapp", 2).hosts_of("webapp").values())
        zkops(build, f"hosts drain {host} --wait")
        zkops(build, f"hosts undrain {host}")
    load.outcome.flawless()
    tree = fleet.wait_running("webapp", 2)
    assert {each.status["version"] for each in tree.replicas("webapp").values()} == {version}
    assert host not in tree.hosts_of("webapp").values()
    at_rest(fleet)


def at_rest(fleet: Fleet) -> None:
    """Whatever wakes the daemons, they find nothing to write: what one build wrote is right for the other, too."""
    deadline = time.monotonic() + fleet.zk.timeout
    mark = 0
    while mark != fleet.history().last():
        assert time.monotonic() < deadline, fleet.history().writes(after=mark)
        mark = fleet.history().last()
        time.sleep(1)
    for _ in range(3):
        fleet.put("/hosts/web3", fleet.tree().node("/hosts/web3")["data"])
    time.sleep(1)
    written = [op for _, op in fleet.history().writes(after=mark) if op.path != "/hosts/web3"]
    assert not written, written
