"""1 → 3 → 2, disable, enable, drain: the fewest moves, numbers never reused, processes really gone."""

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=3)


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()

    with subtest("one replica"):
        fleet.apply(webapp(1, extra='drain_time = "1500ms"'), "--wait")
        one = fleet.wait_running("webapp", 1).hosts_of("webapp")
        first = fleet.pids()

    with subtest("1 → 3: the first stays as it is"):
        fleet.zkops("scale webapp 3 --wait")
        three = fleet.wait_running("webapp", 3).hosts_of("webapp")
        assert one.items() <= three.items(), (one, three)
        assert len(set(three.values())) == 3, f"one per host: {three}"
        pids = fleet.pids()
        assert all(pids[host] == units for host, units in first.items() if units), (first, pids)

    with subtest("3 → 2: one goes, the others stay as they are"):
        fleet.zkops("scale webapp 2 --wait")
        two = fleet.wait_running("webapp", 2).hosts_of("webapp")
        assert two.items() < three.items(), (three, two)
        (gone,) = set(three.values()) - set(two.values())
        assert fleet.processes(fleet.agent(gone)) == []
        after = fleet.pids()
        assert all(after[host] == pids[host] for host in two.values()), (pids, after)

    with subtest("2 → 3: a number never returns"):
        fleet.zkops("scale webapp 3 --wait")
        again = fleet.wait_running("webapp", 3).hosts_of("webapp")
        (new,) = set(again) - set(two)
        assert new > max(three), (three, again)

    with subtest("disable: every process gone, numbers and hosts kept"):
        fleet.zkops("disable webapp --wait")
        assert not any(fleet.everybody().values()), fleet.everybody()
        tree = fleet.tree()
        assert tree.hosts_of("webapp") == again and tree.instances("webapp") == set()

    with subtest("enable: the same replicas on the same hosts"):
        fleet.zkops("enable webapp --wait")
        assert fleet.wait_running("webapp", 3).hosts_of("webapp") == again

    with subtest("drain: out of instances first, then the drain time, then stopped"):
        mark = fleet.history().last()
        fleet.zkops("drain webapp --wait")
        assert not any(fleet.everybody().values()), "drained means that the processes are gone"
        left = {op.path.rsplit("/", 1)[1]: txn.time for txn, op in
                fleet.history().writes(after=mark, below="/services/webapp/instances") if op.kind == "delete"}
        for number, host in again.items():
            stopped = fleet.stopped(fleet.agent(host))[f"webapp@{number:010}.service"]
            waited = stopped - fleet.monotonic(left[host])
            assert 1.4 < waited < 3, f"{host}: stopped {waited:.2f} s after leaving instances, drain_time is 1.5 s"

    with subtest("delete: nothing is left of it"):
        fleet.zkops("delete webapp --wait")
        fleet.wait(lambda tree: "/services/webapp" not in tree, "the service is gone")
        assert not any(tree.children(f"/hosts/{each.name}/assigned") for tree in [fleet.tree()] for each in fleet.agents)
        for each in fleet.agents:
            each.fail("ls -d /run/systemd/system/webapp*.d")
