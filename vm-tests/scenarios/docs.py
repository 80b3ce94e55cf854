"""What docs/installation.md and docs/rollouts.md have a person type works as it stands there, on hosts that apt made."""

from lib.apt import Apt, everywhere, install_fleet
from lib.docs import Typist, blocks
from lib.fleet import Fleet
from lib.load import Load

CLUSTER = cluster(agents=5, packaged=True, zkops=False, deadline=240)

SERVERS = '[zookeeper]\nservers = "zk1:2181"\n'


def test() -> None:
    fleet = Fleet(driver)
    start_all()
    install(fleet)
    operator, hosts = Typist(zk1), [Typist(host) for host in fleet.agents]
    with subtest("installation.md: the first service"):
        first_service(fleet, operator, hosts)
    with subtest("rollouts.md: a worked example"):
        worked_example(fleet, operator, hosts)


def install(fleet: Fleet) -> None:
    """As far as installation.md goes before its first service; scenario `install` looks closer."""
    # The hosts' image leaves documentation out.
    zk1.succeed("rm -f /etc/dpkg/dpkg.cfg.d/*")
    everywhere(machines, Apt(zk1).add_to)
    install_fleet(fleet, SERVERS)
    for host in fleet.agents:
        fleet.write(host, "/etc/zkops/agent.toml", SERVERS)
    everywhere(fleet.agents, lambda host: host.succeed("systemctl start zkops-agent"))


def first_service(fleet: Fleet, operator: Typist, hosts: list[Typist]) -> None:
    on_hosts, start, delete = blocks("docs/installation.md", "The first service")
    everywhere(hosts, lambda host: host.types(on_hosts))
    said = operator.types(start)
    assert "3/3" in said and "healthy" in said, said
    home = next(iter(fleet.tree().hosts_of("webapp").values()))
    assert "hello from" in zk1.succeed(f"python3 -c 'import urllib.request as r; print(r.urlopen(\"http://{home}:8080/\").read().decode())'")
    operator.types(delete)
    assert not any(fleet.active(host) for host in fleet.agents)


def worked_example(fleet: Fleet, operator: Typist, hosts: list[Typist]) -> None:
    on_hosts, build, first, plan, second, watch, promote, drain = blocks("docs/rollouts.md", "A worked example")
    (description,) = blocks("docs/rollouts.md", "A worked example", "toml")
    everywhere(hosts, lambda host: host.types(on_hosts))
    operator.types(build)
    zk1.wait_for_open_port(8000)
    operator.writes("shop.toml", description)
    operator.types(first)
    before = sorted(fleet.tree().replicas("shop"))
    assert len(before) == 4, before
    with Load(zk1, "shop") as load:
        assert "canary" in operator.types(plan, status=1)
        operator.types(second)
        assert "canary" in operator.types(watch, status=8)
        operator.types(promote)
    load.outcome.flawless()
    tree = fleet.wait(lambda tree: sorted(tree.replicas("shop")) == before, "the surge replica is gone")
    assert all(fleet.ask(host)["release"] == "v2" for host in tree.hosts_of("shop").values())
    with Load(zk1, "shop") as load:
        operator.types(drain)
    load.outcome.flawless()
    assert "web1" not in fleet.tree().hosts_of("shop").values()
