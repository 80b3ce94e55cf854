"""ZooKeeper is down for a minute: nothing stops, rebooted hosts start their last work, then all is consistent."""

import time

from lib.fleet import Fleet
from lib.rollouts import Rollouts
from lib.service import webapp

CLUSTER = cluster(agents=3)

MINUTE = 60


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(3, lost_after="10s"), "--wait")
    placed = fleet.wait_running("webapp", 3).hosts_of("webapp")
    pids = fleet.pids()
    began = time.monotonic()

    with subtest("ZooKeeper is killed: every service runs on"):
        zk1.succeed("systemctl kill --signal=KILL zookeeper.service")
        zk1.wait_for_closed_port(2181)
        assert fleet.pids() == pids

    with subtest("a host reboots in order meanwhile: it starts its last work"):
        web2.reboot()
        web2.wait_until_succeeds("systemctl is-active 'webapp@*.service' | grep -x active")
        assert len(fleet.active(web2)) == 1 and set(fleet.active(web2)) == set(pids["web2"])

    with subtest("a host loses its power meanwhile: the same"):
        web3.crash()
        web3.start()
        web3.wait_until_succeeds("systemctl is-active 'webapp@*.service' | grep -x active")
        assert set(fleet.active(web3)) == set(pids["web3"])

    with subtest("the agents say what they wait for"):
        for each in fleet.agents:
            text = each.get_unit_property("zkops-agent.service", "StatusText")
            assert "ZooKeeper" in text, f"{each.name}: {text!r}"

    with subtest("nothing stops for a whole minute"):
        then = fleet.pids()
        assert then["web1"] == pids["web1"]
        while time.monotonic() < began + MINUTE:
            assert fleet.pids() == then, (then, fleet.pids())
            web1.sleep(2)
        for each in fleet.agents:
            each.require_unit_state("zkops-agent.service")

    with subtest("ZooKeeper returns: all is consistent, nothing was moved or restarted"):
        zk1.succeed("systemctl start zookeeper.service")
        fleet.wait_for_zookeeper()
        tree = fleet.wait(
            lambda tree: tree.running("webapp", 3) and all(
                each.status.get("pid") == then[str(each.host)].get(f"webapp@{number:010}.service")
                for number, each in tree.replicas("webapp").items()
            ), "every document names the process that runs",
        )
        assert tree.hosts_of("webapp") == placed, (placed, tree.hosts_of("webapp"))
        assert fleet.pids() == then, (then, fleet.pids())

    with subtest("and it obeys again"):
        fleet.zkops("scale webapp 2 --wait")
        fleet.wait_running("webapp", 2)

    with subtest("ZooKeeper is gone in the middle of a rollout, for longer than its deadlines: no time ran, and it goes on"):
        rollouts = Rollouts(fleet)
        number, _ = rollouts.newest()
        policy = {"min_healthy_time": "4s", "healthy_deadline": "10s", "progress_deadline": "15s"}
        fleet.apply(webapp(2, version="v2", lost_after="10s", rollout=policy))
        rollouts.wait_begun(after=number)
        zk1.succeed("systemctl kill --signal=KILL zookeeper.service; systemctl stop zookeeper.service")
        # What is waited for is that time passes.
        web1.sleep(25)
        zk1.succeed("systemctl start zookeeper.service")
        fleet.wait_for_zookeeper()
        _, record = rollouts.wait("completed", after=number)
        assert set(rollouts.versions().values()) == {"v2"}, (rollouts.versions(), record)
