"""Many hosts vanish at once: likelier a fault of the network than that many dead machines, so failover waits."""

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=3, session_timeout="4s")

DESIRED = {"mode": "enabled", "version": "v1.2.3", "replicas": 2}


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(2, lost_after="1s"), "--wait")
    placed = fleet.wait_running("webapp", 2).hosts_of("webapp")
    (spare,) = {each.name for each in fleet.agents} - set(placed.values())
    first, second = (fleet.agent(placed[number]) for number in sorted(placed))

    with subtest("two of three hosts are cut off: nothing is failed over, and the status says why"):
        for each in (first, second):
            each.block()
        fleet.wait_condition("webapp", "FailoverHeld", "2 of 3 hosts")
        assert "FailoverHeld" in fleet.zkops("explain webapp") + fleet.zkops("status webapp")
        assert fleet.tree().hosts_of("webapp") == placed

    with subtest("a new order is still carried out where it can be"):
        fleet.put("/services/webapp/desired", DESIRED | {"replicas": 3})
        fleet.wait(lambda tree: f"{spare}" in tree.instances("webapp"), "the third replica runs on the spare host")
        fleet.put("/services/webapp/desired", DESIRED)
        fleet.wait(lambda tree: len(tree.replicas("webapp")) == 2, "one replica goes again")

    with subtest("one host returns: the rest is an ordinary loss, and is failed over"):
        first.unblock()
        tree = fleet.wait(lambda tree: tree.running("webapp", 2), "two replicas run on the hosts that are left", timeout=30)
        assert second.name not in tree.hosts_of("webapp").values()
        fleet.wait_no_condition("webapp", "FailoverHeld")

    with subtest("the other returns: nothing moves again"):
        before = fleet.tree().hosts_of("webapp")
        second.unblock()
        fleet.wait(lambda tree: tree.agent_session(second.name), f"{second.name} is back")
        assert fleet.tree().hosts_of("webapp") == before
        assert fleet.processes(second) == [], "what is no longer its own still runs"

    with subtest("two are cut off again, and one of them is removed for good: the hold ends"):
        for each in (first, second):
            each.block()
        fleet.wait_condition("webapp", "FailoverHeld")
        fleet.zkops(f"hosts delete --force {second.name}")
        fleet.wait_no_condition("webapp", "FailoverHeld")
        fleet.wait(lambda tree: spare in tree.instances("webapp"), "the spare host runs what it can")
        for each in (first, second):
            each.unblock()
        fleet.wait_running("webapp", 2, timeout=30)
