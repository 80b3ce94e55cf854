"""An agent that runs as its own user drives the units that polkit lets it drive, and has no way to root."""

from lib.apt import Apt, apt, everywhere, install_fleet, version
from lib.fleet import Fleet
from lib.service import webapp
from lib.ways import PROOF, attempt, refuses, ways

CLUSTER = cluster(releases=("bookworm", "trixie"), agents=2, packaged=True, zkops=False, deadline=240)

SERVERS = '[zookeeper]\nservers = "zk1:2181"\nsession_timeout = "4s"\n'
AGENT = f'allowed_units = ["webapp@*.service", "other@*.service"]\n\n{SERVERS}'
USER = "zkops-agent"
RULES = "/etc/polkit-1/rules.d/50-zkops-agent.rules"
POLICY = "/etc/dbus-1/system.d/zkops-agent.conf"
UNIT, ABSENT, FOREIGN = "webapp@0000000001.service", "absent@0000000001.service", "debug-shell.service"
#: Open where polkit is asked about a transient unit as about any other, under an allowed name that no unit file has.
HOLE = (f"StartTransientUnit {ABSENT}", "StartTransientUnit by systemd's own address", "systemd-run")
#: The agent keeps systemd from forgetting how its units ended.
REF = (f"setpriv --reuid={USER} --regid={USER} --clear-groups busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
       "org.freedesktop.systemd1.Manager RefUnit s")
#: What the unit says itself, as nobody generates a drop-in for it.
DROP_IN = """[Unit]
Before=zkops-shutdown.service
[Service]
User=daemon
Restart=on-failure
PrivateTmp=yes
EnvironmentFile=-/run/zkops-agent/%n.d/50-zkops.env
"""


def test() -> None:
    fleet = Fleet(driver)
    start_all()
    repository = Apt(zk1)
    everywhere(machines, repository.add_to)
    with subtest("installed in one run with the agent, whose agent.toml is there before, it is limited from its first start"):
        at_once(fleet, web2)
    install(fleet)
    with subtest("an agent of a fleet that runs becomes limited: its services go on"):
        limit(fleet, repository)
    with subtest("it starts, updates, stops and fails over units that are installed"):
        drives(fleet)
    with subtest("what takes root is refused, and the replica says why"):
        refused(fleet)
    with subtest("with polkit's rule alone, its user is root on systemd 257, and not on 252"):
        web2.succeed(f"mv {POLICY} /root/policy.conf", "systemctl reload dbus")
        through = tries(web2)
        web2.succeed(f"mv /root/policy.conf {POLICY}", "systemctl reload dbus")
        version = int(web2.succeed("systemctl --version").split()[1])
        assert through == (dict.fromkeys(HOLE, "root") if version >= 257 else {}), through
    with subtest("with the bus's policy, it has no way to root"):
        assert tries(web2) == {}
    with subtest("without the package it is root again: its services go on"):
        unlimit(fleet)
    with subtest("what stays of the package gives its user no way to root"):
        assert tries(web2) == {}
    with subtest("installed again, it is limited again"):
        again(fleet)
    with subtest("upgraded in one run with the agent, both go on"):
        upgrade(fleet, repository)
    with subtest("with an agent.toml that takes root, it is not installed, and the agent stays as it is"):
        takes_root(web2)
    with subtest("purged with the agent, it leaves nothing, and the agent is not root meanwhile"):
        purge(web1)


def install(fleet: Fleet) -> None:
    """A ZooKeeper with a controller, and two agents that are root; the sample service runs."""
    install_fleet(fleet, SERVERS)
    for host in fleet.agents:
        host.succeed("mkdir -p /etc/systemd/system/webapp@.service.d")
        fleet.write(host, "/etc/systemd/system/webapp@.service.d/zkops.conf", DROP_IN)
        host.succeed("systemctl daemon-reload")
        fleet.write(host, "/etc/zkops/agent.toml", AGENT)
        host.succeed("systemctl start zkops-agent")
    fleet.apply(webapp(2), "--wait")
    fleet.wait_running("webapp", 2)


def at_once(fleet: Fleet, host) -> None:
    """A host that has its files before the packages. There is no ZooKeeper yet, for which the agent waits as that user."""
    host.succeed("mkdir -p /etc/zkops")
    fleet.write(host, "/etc/zkops/agent.toml", AGENT)
    # Nobody waits for an agent that has no ZooKeeper, also not apt.
    host.succeed("mkdir -p /etc/systemd/system/zkops-agent.service.d",
                 "printf '[Service]\\nType=exec\\n' > /etc/systemd/system/zkops-agent.service.d/test.conf")
    said = apt(host, "-o Dpkg::Options::=--force-confold install zkops-agent zkops-agent-limited")
    assert "the agent now runs as the user zkops-agent" in said, said
    assert user(host) == USER
    assert not host.succeed("journalctl --quiet _SYSTEMD_UNIT=zkops-agent.service _UID=0").strip()
    apt(host, "purge zkops-agent zkops-agent-limited")
    host.succeed("rm -r /etc/systemd/system/zkops-agent.service.d", "systemctl daemon-reload")


def user(host) -> str:
    """Whose the agent's process is."""
    pid = host.get_unit_property("zkops-agent", "MainPID")
    return host.succeed(f"stat -c %U /proc/{pid}").strip()


def limit(fleet: Fleet, repository: Apt) -> None:
    """As docs/installation.md says; on web2 the agent has to be upgraded for it, in the same run."""
    before = fleet.pids()
    for host in fleet.agents:
        if host == web2:
            repository.publish("second")
            host.succeed("apt-get -q update")
        host.succeed("test -e /run/systemd/system/webapp@*.service.d/50-zkops.conf")
        become_limited(host)
        host.succeed(f"sed -i 's|^    // /\\^webapp|    /^webapp|; s|^];|    /^absent@[0-9]{{10}}\\\\.service$/,\\n];|' {RULES}")
        host.succeed(f"test $(stat -c %U /var/lib/zkops/agent/ledger.json) = {USER}")
        host.log(host.succeed("systemd-analyze security --no-pager zkops-agent.service | tail -1"))
        host.succeed("systemd-analyze security --threshold=15 zkops-agent.service")
    fleet.wait_running("webapp", 2)
    assert fleet.pids() == before, (before, fleet.pids())


def become_limited(host) -> str:
    """Installs the package. The second time dpkg says that it is an upgrade, as there are conffiles."""
    said = apt(host, "install zkops-agent-limited")
    assert "the agent now runs as the user zkops-agent" in said and RULES in said, said
    host.fail("ls -d /run/systemd/system/webapp@*")
    assert user(host) == USER
    files = host.succeed("dpkg-query -W -f='${Conffiles}' zkops-agent-limited").split()
    assert files[::2] == [RULES, POLICY], f"the rule has to go before the policy: {files}"
    return said


def again(fleet: Fleet) -> None:
    """Not without the policy, which dpkg doesn't bring back; and not without a word about what the agent takes over."""
    web2.succeed(f"mv {POLICY} /root/policy.conf")
    said = web2.fail("DEBIAN_FRONTEND=noninteractive apt-get -y install zkops-agent-limited 2>&1")
    assert f"{POLICY} is missing" in said, said
    web2.succeed(f"mv /root/policy.conf {POLICY}", "mkdir -p /var/lib/zkops/config", "install --owner=daemon /dev/null /var/lib/zkops/config/theirs")
    said = [become_limited(host) for host in fleet.agents]
    assert ["config/theirs, and maybe more" in each for each in said] == [host == web2 for host in fleet.agents], said
    fleet.wait_running("webapp", 2)


def upgrade(fleet: Fleet, repository: Apt) -> None:
    """web1 has the first build of both, web2 the second already."""
    before, old = fleet.pids(), web1.get_unit_property("zkops-agent", "MainPID")
    web1.succeed("apt-get -q update")
    said = apt(web1, "upgrade")
    assert "the agent now runs as the user zkops-agent" in said, said
    assert version(web1, "zkops-agent-limited") == version(web2, "zkops-agent") and user(web1) == USER
    assert web1.get_unit_property("zkops-agent", "MainPID") != old
    fleet.wait_running("webapp", 2)
    assert fleet.pids() == before, (before, fleet.pids())


def takes_root(host) -> None:
    """Refused before anything changes: the agent, which is root, runs on."""
    apt(host, "remove zkops-agent-limited")
    host.succeed("cp /etc/zkops/agent.toml /root/agent.toml", "sed -i '1i accept_commands = true' /etc/zkops/agent.toml")
    pid = host.get_unit_property("zkops-agent", "MainPID")
    said = host.fail("DEBIAN_FRONTEND=noninteractive apt-get -y install zkops-agent-limited 2>&1")
    assert "limited and accept_commands exclude each other" in said, said
    host.fail("test -e /usr/lib/zkops/agent.toml.d/50-limited.toml")
    assert host.get_unit_property("zkops-agent", "MainPID") == pid and user(host) == "root"
    host.succeed("cp /root/agent.toml /etc/zkops/agent.toml")


def purge(host) -> None:
    """Both packages at once."""
    since = host.succeed("date +%s.%N").strip()
    apt(host, "purge zkops-agent")
    host.fail(f"ls {RULES} {POLICY} 2>/dev/null | grep .")
    assert not host.succeed(f"journalctl -q --since=@{since} _SYSTEMD_UNIT=zkops-agent.service _UID=0")


def drives(fleet: Fleet) -> None:
    """Nothing but the bus, polkit and what is installed."""
    fleet.apply(webapp(2, version="v1.2.4"), "--wait")
    assert fleet.ask("web1")["ZKOPS_VERSION"] == "v1.2.4"
    fleet.zkops("disable webapp --wait")
    assert not any(fleet.active(host) for host in fleet.agents)
    fleet.zkops("enable webapp --wait")
    fleet.zkops("scale webapp 1 --wait")
    tree = fleet.wait_running("webapp", 1)
    home = fleet.agent(next(iter(tree.hosts_of("webapp").values())))
    home.crash()
    tree = fleet.wait(lambda tree: tree.running("webapp", 1) and all(
        each.host != home.name for each in tree.replicas("webapp").values()), "it runs on the other host")
    home.start()
    home.wait_for_unit("zkops-agent.service")
    fleet.zkops("scale webapp 2 --wait")
    fleet.wait_running("webapp", 2)
    for host in fleet.agents:
        host.succeed(f"{REF} {UNIT}")
        host.fail(f"{REF} {FOREIGN}")


def refused(fleet: Fleet) -> None:
    """Whatever would need a drop-in; and a unit that polkit's rule does not name."""
    fleet.apply(webapp(1, name="other", unit="other@.service", port=8081, environment={"GREETING": "hello"}))
    fleet.wait_condition("other", "Unplaced", "has an environment")
    owned = {"files": {"other.conf": {"text": "greeting = 1", "owner": "daemon"}}}
    fleet.put("/services/other/config/1", owned)
    fleet.apply(webapp(1, name="other", unit="other@.service", environment={}, port=8081, config={}, desired="config_version = 1"))
    fleet.wait(lambda tree: any("cannot give it its owner" in (each.status.get("message") or "")
                                for each in tree.replicas("other").values()), "a file of another's is rejected")
    for host in fleet.agents:
        host.succeed("cp /usr/lib/systemd/system/webapp@.service /etc/systemd/system/other@.service", "systemctl daemon-reload")
    fleet.apply(webapp(1, name="other", unit="other@.service", environment={}, port=8081))
    fleet.wait(lambda tree: any(RULES in (each.status.get("message") or "") for each in tree.replicas("other").values()),
               "the replica says that polkit's rule does not name its unit")
    fleet.zkops("delete other --yes --wait")


def tries(host) -> dict[str, str]:
    """Every way that went through, and what became of it."""
    host.succeed("mkdir -p /run/systemd/transient; printf '[Service]\\nExecStart=/bin/touch %s\\n' > /tmp/evil.service; chmod 644 /tmp/evil.service" % PROOF)
    running = next(iter(Fleet(driver).active(host)))
    before = host.succeed("systemctl show --property=Environment,DefaultTarget,LogLevel; systemctl list-unit-files --no-legend")
    through, unclear = {}, {}
    for way in ways(running, ABSENT, FOREIGN):
        said = attempt(host, USER, way)
        if said is None:
            host.wait_until_succeeds(f"test -e {PROOF}", timeout=10)
            through[way.name] = host.succeed(f"stat -c %U {PROOF}").strip()
        elif not refuses(said):
            unclear[way.name] = said
        host.fail(f"test -e {PROOF}") if way.name not in through else host.succeed(f"rm {PROOF}")
    assert not unclear, f"are these tries at all? {unclear}"
    after = host.succeed("systemctl show --property=Environment,DefaultTarget,LogLevel; systemctl list-unit-files --no-legend")
    assert after == before, (before, after)
    host.require_unit_state(FOREIGN, "inactive")
    return through


def unlimit(fleet: Fleet) -> None:
    """Removed, the agent generates its drop-ins again."""
    before = fleet.pids()
    for host in fleet.agents:
        apt(host, "remove zkops-agent-limited")
        assert user(host) == "root"
        host.wait_until_succeeds("test -e /run/systemd/system/webapp@*.service.d/50-zkops.conf")
        host.fail("test -e /run/zkops-agent")
        host.succeed("test $(stat -c %U /var/lib/zkops/agent/ledger.json) = root")
    fleet.wait_running("webapp", 2)
    assert fleet.pids() == before, (before, fleet.pids())
