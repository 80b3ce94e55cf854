"""What the NixOS module makes of a fleet runs: an ensemble, two controllers, agents and a service, and what befalls them."""

from lib import nix
from lib.fleet import Fleet
from lib.service import webapp

# The fleet of nix/tests/hosts.nix.
CLUSTER = cluster(
    releases=("bookworm", "trixie"), zookeepers=3, controllers=2, agents=2, session_timeout="6s", chroot="/prod",
    packaged=True,
)

ROLES = {"zookeeper": 15, "controller": 15, "agent": 30}


def test() -> None:
    fleet = Fleet(driver)
    start_all()
    with subtest("every host becomes what its configuration says"):
        if not getattr(driver, "installed", False):
            hosts = nix.evaluate()
            assert set(hosts) == {each.name for each in machines}, hosts.keys()
            for each in machines:
                nix.install(each, hosts[each.name])
        up(fleet)
    with subtest("the units are the evaluated ones, as tight as Debian's"):
        units(fleet)
    with subtest("labels, allowed units and metrics are what the options say"):
        options(fleet)
    with subtest("an agent that is restarted leaves its service alone"):
        fleet.apply(webapp(2), "--wait")
        pids = fleet.wait_running("webapp", 2) and fleet.pids()
        web1.succeed("systemctl restart zkops-agent.service")
        fleet.wait(lambda tree: is_taken_over(tree, web1), "the new agent took over")
        assert fleet.pids() == pids, (pids, fleet.pids())
    with subtest("the ensemble's leader is killed: the ensemble is whole again, the service was left alone"):
        leader = fleet.wait_for_leader(fleet.zookeepers)
        before = leader.get_unit_property("zkops-zookeeper.service", "MainPID")
        leader.succeed("systemctl kill --signal=KILL --kill-whom=main zkops-zookeeper.service")
        leader.retry(lambda: is_new(leader, before), "the member is back")
        fleet.wait_for_leader(fleet.zookeepers)
        fleet.wait(lambda tree: all(tree.agent_session(each.name) for each in fleet.agents), "agents are known")
        assert fleet.pids() == pids, (pids, fleet.pids())
    with subtest("a host dies: its replica runs on the other one; all of it is back at its next boot"):
        crash(fleet)


def up(fleet: Fleet) -> None:
    """All daemons serve."""
    for each in fleet.zookeepers:
        each.wait_for_unit("zkops-zookeeper.service")
    fleet.zkops("init")
    for role in ("controller", "agent"):
        for each in driver.having(role):
            each.wait_for_unit(f"zkops-{role}.service")
    fleet.wait(lambda tree: all(tree.agent_session(each.name) for each in fleet.agents), "agents are known")


def units(fleet: Fleet) -> None:
    """Where systemd has them from, and what it thinks of them."""
    for role, exposure in ROLES.items():
        unit = f"zkops-{role}.service"
        for each in driver.having(role):
            assert each.get_unit_property(unit, "FragmentPath") == f"/etc/systemd/system/{unit}"
            assert each.get_unit_property(unit, "DropInPaths") == f"/etc/systemd/system/{unit}.d/overrides.conf"
        one = driver.having(role)[0]
        one.succeed(f"systemd-analyze security --threshold={exposure} {unit}")
    # Members run with the options' JVM.
    command = zk1.succeed(f"tr '\\0' ' ' < /proc/{zk1.get_unit_property('zkops-zookeeper', 'MainPID')}/cmdline")
    assert "-Xmx128m" in command and "-XX:TieredStopAtLevel=1" in command, command
    zk1.succeed("grep tickTime=500 /run/zkops-zookeeper/zoo.cfg")


def options(fleet: Fleet) -> None:
    """As they reach the daemons."""
    placed = webapp(1, placement={"constraints": ["zone in (b)"], "max_per_host": 1})
    fleet.apply(placed, "--wait")
    assert fleet.wait_running("webapp", 1).hosts_of("webapp") == {1: "web2"}
    fleet.apply(webapp(1, name="sshd", unit="sshd.service", port=22))
    fleet.wait_condition("sshd", "Unplaced", "allowed_units")
    fleet.zkops("delete sshd")
    web1.succeed("nc -z web1 9640")
    zk1.succeed("nc -z localhost 9641")


def is_taken_over(tree, host) -> bool:
    """Does the agent's entry belong to the process that runs now?"""
    pid = host.get_unit_property("zkops-agent.service", "MainPID")
    return tree.doc(f"/hosts/{host.name}/alive").get("pid") == int(pid)


def is_new(host, before: str) -> bool:
    """Is the member another process by now, and does it serve?"""
    unit = "zkops-zookeeper.service"
    return host.get_unit_property(unit, "ActiveState") == "active" and host.get_unit_property(unit, "MainPID") != before


def crash(fleet: Fleet) -> None:
    """Of two hosts, the one that has the only replica."""
    fleet.zkops("scale webapp 1 --wait")
    (home,) = fleet.wait_running("webapp", 1).hosts_of("webapp").values()
    dead = fleet.agent(str(home))
    dead.crash()
    fleet.wait(
        lambda tree: tree.running("webapp", 1) and set(tree.hosts_of("webapp").values()) != {home},
        f"the replica of {home} runs elsewhere",
    )
    dead.start()
    for unit in ("zkops-agent.service", "zkops-agent.socket", "zkops-agent-metrics.socket", "zkops-shutdown.service"):
        dead.wait_for_unit(unit)
    fleet.wait(lambda tree: tree.agent_session(dead.name), f"{home} is back")
    assert fleet.processes(dead) == []
