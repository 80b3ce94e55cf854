"""From a signed repository to a running service with `apt install`; upgraded, removed and purged under the service."""

from lib.apt import Apt, apt, everywhere, leftovers, version
from lib.fleet import Fleet
from lib.load import Load
from lib.service import webapp

CLUSTER = cluster(
    releases=("bookworm", "trixie"), zookeepers=3, controllers=2, agents=3, packaged=True, zkops=False, deadline=240,
)

SERVERS = "zk1:2181,zk2:2181,zk3:2181"
ENSEMBLE = "server.1 = zk1\nserver.2 = zk2\nserver.3 = zk3\n"
CONTROLLER = f'[zookeeper]\nservers = "{SERVERS}"\n'
AGENT = f'allowed_units = ["webapp@*.service"]\n\n{CONTROLLER}'
UNITS = {
    "zookeeper": ["zkops-zookeeper.service"],
    "controller": ["zkops-controller.service", "zkops-controller-metrics.socket"],
    "agent": ["zkops-agent.service", "zkops-agent.socket", "zkops-agent-metrics.socket", "zkops-shutdown.service"],
}


def test() -> None:
    fleet = Fleet(driver)
    start_all()
    repository = Apt(zk1)
    everywhere(machines, repository.add_to)
    with subtest("three hosts become an ensemble"):
        ensemble(fleet)
    with subtest("an ensemble.conf that is wrong is refused, with line and fix"):
        refused(fleet)
    with subtest("two controllers and three agents, edited where they say so, run the sample service"):
        daemons(fleet)
        fleet.zkops("init")
        fleet.apply(webapp(3), "--wait")
        fleet.wait_running("webapp", 3)
    with subtest("all of it is back after a reboot"):
        reboot(fleet)
    with subtest("the units are right, and as tight as they say"):
        units(fleet)
    with subtest("a second build replaces the first under load: same processes, no failed request"):
        upgrade(fleet, repository)
    with subtest("an agent that is removed or purged leaves its service alone, and says so"):
        remove(fleet)
    with subtest("purging leaves nothing"):
        purge(fleet)
    with subtest("a member that is configured before it is installed, by addresses, joins by itself"):
        preconfigured(fleet)


def ensemble(fleet: Fleet) -> None:
    """Not started before there is a configuration, not ready before there is a quorum."""
    said = everywhere(fleet.zookeepers, lambda host: apt(host, "install zkops-zookeeper"))
    assert all("/etc/zkops/ensemble.conf" in each for each in said), said
    for host in fleet.zookeepers:
        waits_for_configuration(host, "zookeeper")
        fleet.write(host, "/etc/zkops/ensemble.conf", ENSEMBLE)
    zk1.succeed("systemctl start --no-block zkops-zookeeper")
    zk1.wait_until_succeeds("systemctl show zkops-zookeeper --property=StatusText | grep 'more than half'")
    assert zk1.get_unit_property("zkops-zookeeper", "ActiveState") == "activating"
    everywhere([zk2, zk3], lambda host: host.succeed("systemctl start zkops-zookeeper"))
    zk1.wait_for_unit("zkops-zookeeper.service")
    modes = [host.succeed("printf srvr | nc -w 2 localhost 2181 | sed -n 's/^Mode: //p'").strip() for host in fleet.zookeepers]
    assert sorted(modes) == ["follower", "follower", "leader"], modes


def refused(fleet: Fleet) -> None:
    """What a person gets wrong; the last is the one that would lose data."""
    for text, why in (
        ("server.1 zk1", 'ensemble.conf:1: "server.1 zk1" is not KEY = VALUE'),
        ("# members\nserver.256 = zk1", "ensemble.conf:2: \"server.256\": a member's number is 1 to 255"),
        ("server.1 = a\nserver.1 = b", 'ensemble.conf:2: "server.1" is there twice'),
        ("server.1 = zk1 zk2", '"zk1 zk2" is not HOST or HOST:2888:3888'),
        ("dataDir = /srv", '"dataDir" cannot be set'),
        ("server.1 = other", '0 server lines name this host (zk3), not one: add "id = N"'),
        (f"{ENSEMBLE}id = 4", "id = 4, but there is no server.4"),
    ):
        fleet.write(zk3, "/tmp/ensemble.conf", text)
        status, said = zk3.execute("ZKOPS_ENSEMBLE_CONF=/tmp/ensemble.conf /usr/lib/zkops/zookeeper show 2>&1")
        assert status == 2 and why in said, (text, status, said)
    fleet.write(zk3, "/etc/zkops/ensemble.conf", f"{ENSEMBLE}id = 2")
    zk3.fail("systemctl restart zkops-zookeeper")
    zk3.succeed("journalctl --unit=zkops-zookeeper --output=cat | grep \"is member 2, but .* is member 3's\"")
    assert zk3.get_unit_property("zkops-zookeeper", "ActiveState") == "failed"
    fleet.write(zk3, "/etc/zkops/ensemble.conf", f"tickTime = 1000\n4lw.commands.whitelist = srvr,ruok\n{ENSEMBLE}")
    zk3.succeed(
        "systemctl restart zkops-zookeeper", "grep tickTime=1000 /run/zkops-zookeeper/zoo.cfg",
        "grep -x 4lw.commands.whitelist=srvr,ruok /run/zkops-zookeeper/zoo.cfg",
    )
    fleet.write(zk3, "/etc/zkops/ensemble.conf", ENSEMBLE)


def daemons(fleet: Fleet) -> None:
    """Each on its hosts, and the command line on the first."""
    for role, hosts, text in (("controller", fleet.controllers, CONTROLLER), ("agent", fleet.agents, AGENT)):
        said = everywhere(hosts, lambda host: apt(host, f"install zkops-{role}"))
        assert all(f"/etc/zkops/{role}.toml" in each for each in said), said
        for host in hosts:
            waits_for_configuration(host, role)
            fleet.write(host, f"/etc/zkops/{role}.toml", f'sevrers = "zk1"\n{text}')
            status, said = host.execute(f"zkops {role} --check-config 2>&1")
            assert status == 2 and f'/etc/zkops/{role}.toml:1: sevrers: there is no key "sevrers"' in said, said
            fleet.write(host, f"/etc/zkops/{role}.toml", text)
            host.succeed(f"zkops {role} --check-config", f"systemctl start zkops-{role}")
            for unit in UNITS[role]:
                host.require_unit_state(unit)
    fleet.write(zk1, "/etc/zkops/cli.toml", CONTROLLER)


def waits_for_configuration(host, role: str) -> None:
    """Enabled, yet neither running nor failed, and nothing listens for it."""
    unit = f"zkops-{role}.service"
    host.succeed(f"systemctl is-enabled {unit}", f"systemctl start {unit}")
    assert host.get_unit_property(unit, "ActiveState") == "inactive", unit
    for each in UNITS[role]:
        if each.endswith(".socket"):
            host.retry(lambda: host.get_unit_property(each, "ActiveState") == "inactive", f"{each} is closed")


def reboot(fleet: Fleet) -> None:
    """A member with a controller, and a host with an agent."""
    for host, roles in ((zk2, ("zookeeper", "controller")), (web3, ("agent",))):
        host.reboot()
        for role in roles:
            for unit in UNITS[role]:
                host.wait_for_unit(unit)
    fleet.wait_running("webapp", 3)


def units(fleet: Fleet) -> None:
    """systemd's own opinion, where they are installed: every unit, its drop-ins included."""
    for host, role, threshold in ((zk1, "zookeeper", 14), (zk1, "controller", 11), (web1, "agent", 25)):
        shipped = host.succeed(f"dpkg --listfiles zkops-{role} | grep -E '/systemd/system/[^/]*[.](service|socket)$' | xargs -n1 basename")
        assert sorted(shipped.split()) == sorted(UNITS[role]), shipped
        for unit in UNITS[role]:
            # It tells of other packages' units, too: what it depends on.
            said = host.execute(f"systemd-analyze verify --man=no {unit} 2>&1")
            assert "zkops" not in said[1] and said[0] == 0, (unit, said)
        service = f"zkops-{role}.service"
        score = host.succeed(f"systemd-analyze security --no-pager {service} | tail -1").strip()
        host.log(f"{driver.cluster.release}: {score}")
        host.succeed(f"systemd-analyze security --threshold={threshold} {service}")


def upgrade(fleet: Fleet, repository: Apt) -> None:
    """Agents and controllers are new; services and ZooKeeper are the same processes."""
    before, members = fleet.pids(), pids(fleet.zookeepers, "zookeeper")
    old = {role: pids(fleet.driver.having(role), role) for role in ("agent", "controller")}
    repository.publish("second")
    with Load(zk1, "webapp") as load:
        everywhere(machines, lambda host: host.succeed("apt-get -q update"))
        everywhere(machines, lambda host: apt(host, "upgrade"))
        fleet.wait(lambda tree: all(
            tree.doc(f"/hosts/{host.name}/alive").get("pid") == int(pid)
            for host, pid in zip(fleet.agents, pids(fleet.agents, "agent"))), "the new agents took over")
    load.outcome.flawless()
    for host, package in ((zk3, "zkops-zookeeper"), (zk2, "zkops-controller"), (web1, "zkops-agent"), (web1, "zkops")):
        assert version(host, package).endswith("test2"), package
    assert fleet.pids() == before, (before, fleet.pids())
    assert pids(fleet.zookeepers, "zookeeper") == members
    for role, were in old.items():
        assert not set(were) & set(pids(fleet.driver.having(role), role)), role


def pids(hosts, role: str) -> list[str]:
    """The main process of a daemon on each host."""
    return [host.get_unit_property(f"zkops-{role}.service", "MainPID") for host in hosts]


def remove(fleet: Fleet) -> None:
    """The service outlives first the agent, then what the agent remembered."""
    running = fleet.active(web1)
    said = apt(web1, "remove zkops-agent")
    assert all(unit in said for unit in running), said
    gone(web1, "agent")
    apt(web1, "purge zkops-agent zkops")
    assert fleet.active(web1) == running
    assert not [path for path in leftovers(web1) if not path.startswith("/run/systemd/system/webapp@")], leftovers(web1)


def gone(host, role: str) -> None:
    """Not one of its units is up."""
    assert host.succeed(f"systemctl list-units --no-legend --plain {' '.join(UNITS[role])}") == ""


def purge(fleet: Fleet) -> None:
    """Of every package, with what it made while it ran; the rest of the ensemble serves on."""
    fleet.zkops("disable webapp")
    web2.retry(lambda: not fleet.active(web2), "its replica is stopped")
    apt(web2, "purge zkops-agent zkops")
    apt(zk2, "purge zkops-controller zkops zkops-zookeeper")
    for host, roles in ((web2, ("agent",)), (zk2, ("controller", "zookeeper"))):
        for role in roles:
            gone(host, role)
        assert leftovers(host) == [], leftovers(host)
        assert host.succeed("systemctl list-units --state=failed --no-legend --plain 'zkops*'") == ""
    fleet.zkops("status")


def preconfigured(fleet: Fleet) -> None:
    """As from an image or Ansible, and by addresses; its disk is empty, the others have what it needs."""
    zk2.succeed("mkdir -p /etc/zkops")
    addresses = [zk2.succeed(f"getent ahostsv4 zk{number}").split()[0] for number in (1, 2, 3)]
    by_address = "".join(f"server.{number} = {address}\n" for number, address in enumerate(addresses, 1))
    fleet.write(zk2, "/etc/zkops/ensemble.conf", by_address)
    apt(zk2, "-o Dpkg::Options::=--force-confold install zkops-zookeeper")
    zk2.wait_for_unit("zkops-zookeeper.service")
    zk2.succeed("printf srvr | nc -w 2 localhost 2181 | grep 'Mode: follower'")
