"""Links are cut for less than a session, the ensemble changes its leader: nothing written meanwhile is missed."""

import time

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(zookeepers=3, controllers=1, controllers_apart=True, agents=3, session_timeout="12s", alone=True)

#: Long cuts last beyond the client's read timeout (2 s), so that it must reconnect.
SHORT, LONG = 0.7, 9.0


def cut(host, seconds: float, meanwhile) -> float:
    """Cuts a host's link, does something meanwhile, fixes it; returns when it was fixed (monotonic)."""
    began = time.monotonic()
    host.block()
    meanwhile()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    healed = time.monotonic()
    host.unblock()
    return healed


def stop_while_cut(fleet: Fleet, seconds: float) -> float:
    """`desired` says "disabled" while an agent is cut off; returns how long after healing its unit stopped."""
    session = fleet.tree().agent_session("web1")
    (unit,) = fleet.active(web1)
    healed = cut(web1, seconds, lambda: fleet.put("/services/webapp/desired", {"mode": "disabled", "replicas": 2}))
    fleet.wait(lambda tree: all(each.state == "stopped" for each in tree.replicas("webapp").values()), "all stop")
    took = fleet.stopped(web1)[unit] - healed
    assert took > 0, "it stopped while it was cut off: the cut did not cut"
    assert fleet.tree().agent_session("web1") == session, "the session ended: this was no blip"
    return took


def scale_while_cut(fleet: Fleet, seconds: float) -> float:
    """A replica is added while the only controller is cut off; returns how long after healing it was active."""
    healed = cut(ctl1, seconds, lambda: fleet.put("/services/webapp/desired", {"mode": "enabled", "replicas": 3}))
    fleet.wait_running("webapp", 3)
    return max(unit.active_since for each in fleet.agents for unit in fleet.active(each).values()) - healed


def settle(fleet: Fleet) -> None:
    """Two replicas, on web1 and web2."""
    fleet.put("/services/webapp/desired", {"mode": "enabled", "replicas": 2})
    fleet.wait_running("webapp", 2)


def within_a_second(took: float) -> None:
    driver.logger.tell(f"      {took * 1000:.0f} ms after healing")
    assert took < 1, f"{took:.3f} s after healing"


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.zkops("hosts cordon web3")
    fleet.apply(webapp(2), "--wait")
    assert set(fleet.wait_running("webapp", 2).hosts_of("webapp").values()) == {"web1", "web2"}

    for name, seconds in (("a short", SHORT), ("a long", LONG)):
        with subtest(f"{name} cut of an agent ({seconds} s): it does what it missed within a second"):
            within_a_second(stop_while_cut(fleet, seconds))
            settle(fleet)

    fleet.zkops("hosts uncordon web3")
    for name, seconds in (("a short", SHORT), ("a long", LONG)):
        with subtest(f"{name} cut of the controller ({seconds} s): it does what it missed within a second"):
            within_a_second(scale_while_cut(fleet, seconds))
            settle(fleet)

    with subtest("the ensemble's leader is killed: what is written next is done within a second"):
        leader = fleet.wait_for_leader(fleet.zookeepers)
        fleet.zk = next(each for each in fleet.zookeepers if each is not leader)
        sessions = {each.name: fleet.tree().agent_session(each.name) for each in fleet.agents}
        leader.succeed("systemctl kill --signal=KILL zookeeper.service")
        fleet.zk.wait_until_succeeds("printf '%s' '{\"mode\":\"disabled\",\"replicas\":2}' | zktool put /services/webapp/desired")
        written = time.monotonic()
        fleet.wait(lambda tree: all(each.state == "stopped" for each in tree.replicas("webapp").values()), "all stop")
        within_a_second(max(max(fleet.stopped(each).values(), default=0.0) for each in fleet.agents) - written)
        tree = fleet.tree()
        assert {each.name: tree.agent_session(each.name) for each in fleet.agents} == sessions, "sessions survive"

    with subtest("the old leader returns; nothing else happens"):
        settle(fleet)
        pids = fleet.pids()
        leader.succeed("systemctl start zookeeper.service")
        fleet.wait_for_zookeeper()
        fleet.wait_running("webapp", 2)
        assert fleet.pids() == pids

    for host in (*fleet.zookeepers, web1):
        # One name for all of them, as a DNS name may be.
        host.succeed("sed -n '/ zk[123]$/s/ .*/ ensemble/p' /etc/hosts >> /etc/hosts")
        assert len(host.succeed("getent ahostsv4 ensemble | grep STREAM").splitlines()) == 3
    with subtest("a member is frozen: every command is served by another, also by one name for all of them"):
        for frozen in (leader, fleet.wait_for_leader(fleet.zookeepers)):
            others = [each for each in fleet.zookeepers if each is not frozen]
            fleet.zk = others[0]
            # It accepts connections as before: the kernel does.
            frozen.succeed("systemctl kill --signal=STOP zookeeper.service")
            fleet.wait_for_leader(others)
            began = time.monotonic()
            fleet.zk.succeed("for _ in $(seq 20); do zkops get services || exit; done")
            driver.logger.tell(f"      20 commands in {time.monotonic() - began:.1f} s")
            fleet.zk.succeed("for _ in $(seq 20); do ZKOPS_ZOOKEEPER=ensemble:2181 zkops get services || exit; done")
            web1.succeed("mkdir -p /etc/zkops/agent.toml.d")
            fleet.write(web1, "/etc/zkops/agent.toml.d/ensemble.toml", '[zookeeper]\nservers = "ensemble:2181"\n')
            web1.succeed("systemctl restart zkops-agent.service")
            agent = int(web1.get_unit_property("zkops-agent.service", "MainPID"))
            fleet.wait(lambda tree: tree.doc("/hosts/web1/alive").get("pid") == agent, "its agent is connected")
            frozen.succeed("systemctl kill --signal=CONT zookeeper.service")
            fleet.wait_for_zookeeper()
