"""nginx, redis and postgresql as Debian packages them, run by zkops: checked, reloaded, upgraded by apt."""

import shlex

from lib.fleet import Fleet
from lib.load import Load
from lib.rollouts import Rollouts, steps
from lib.service import webapp

CLUSTER = cluster(
    agents=3, session_timeout="10s", debian=("nginx-light", "redis-server", "postgresql"),
    allowed_units=("nginx.service", "redis-server.service", "redis.service", "postgresql.service"),
    agent={"accept_commands": True},
)

#: What an operator puts in place of Debian's own: all of it is the revision's.
INCLUDE = "include /var/lib/zkops/config/nginx/current/nginx.conf;\n"

#: It passes `nginx -t` whatever the port is.
NGINX = """user www-data;
worker_processes 2;
pid /run/nginx.pid;
events {{ }}
http {{
  access_log off;
  server {{
    listen {port};
    location / {{ return 200 '{{"ZKOPS_VERSION": "{says}"}}'; }}
  }}
}}
"""

#: Rebuilds an installed package with a higher version, maintainer scripts and all, as a mirror would bring it.
REBUILD = """
set -e
p={package}; d=/root/$p; rm -rf $d; mkdir -p $d/DEBIAN
for s in preinst postinst prerm postrm conffiles; do
  if test -e /var/lib/dpkg/info/$p.$s; then cp -p /var/lib/dpkg/info/$p.$s $d/DEBIAN/$s; fi
done
dpkg-query -s $p | sed -e '/^Status:/d' -e '/^Conffiles:/,/^[A-Z]/{{/^Conffiles:/d;/^ /d}}' \\
  -e 's/^Version: .*/&+upgraded/' > $d/DEBIAN/control
dpkg -L $p | while read -r f; do if ! test -d "$f" && (test -e "$f" || test -L "$f"); then cp -a --parents "$f" $d; fi; done
dpkg-deb --build $d /root/$p.deb >/dev/null
"""


def push(fleet: Fleet, port: int, says: str) -> int:
    """Makes a revision of nginx.conf and returns its number."""
    fleet.zk.succeed("rm -rf /root/conf; mkdir /root/conf")
    fleet.write(fleet.zk, "/root/conf/nginx.conf", NGINX.format(port=port, says=says))
    before = fleet.tree().children("/services/nginx/config")
    fleet.zkops("config push nginx /root/conf")
    (new,) = fleet.tree().children("/services/nginx/config") - before
    return int(new)


def want(fleet: Fleet, revision: int) -> int:
    """Asks for a revision; returns the number of the rollout before it."""
    number, _ = Rollouts(fleet, "nginx").newest()
    fleet.put("/services/nginx/desired", {"replicas": 3, "config_version": revision})
    return number


def listed(tree, service: str, host) -> int | None:
    """The process that `instances` has of a service on a host."""
    return tree.doc(f"/services/{service}/instances/{host}").get("pid")


def upgrade(fleet: Fleet, package: str, service: str, unit: str) -> None:
    """`apt upgrade` of the package under each replica: it is back by itself, and told as what it is."""
    for host in {str(host) for host in fleet.tree().hosts_of(service).values()}:
        machine = fleet.agent(host)
        machine.succeed(REBUILD.format(package=package))
        machine.succeed(f"DEBIAN_FRONTEND=noninteractive apt-get -y install /root/{package}.deb 2>&1", timeout=60)
        assert "+upgraded" in machine.succeed(f"dpkg-query -W {package}")

        def is_true(tree, machine=machine, host=host) -> bool:
            pid = int(machine.get_unit_property(unit, "MainPID"))
            (replica,) = [each for each in tree.replicas(service).values() if str(each.host) == host]
            return pid > 0 and listed(tree, service, host) == pid == replica.status.get("pid") and replica.state == "running"

        fleet.wait(is_true, f"{service} is back on {host}, by its new process")


def test() -> None:
    fleet = Fleet(driver)
    for each in fleet.agents:
        each.start()
        # Enabled at boot and driven by zkops would be started twice. That takes redis's alias away, too.
        each.succeed("systemctl disable --now nginx.service redis-server.service postgresql.service 2>&1",
                     "ln -s /lib/systemd/system/redis-server.service /etc/systemd/system/redis.service; systemctl daemon-reload",
                     f"printf %s {shlex.quote(INCLUDE)} > /etc/nginx/nginx.conf")
    fleet.up()
    rollouts = Rollouts(fleet, "nginx")

    with subtest("nginx, a packaged Type=forking unit, with its configuration from the tree"):
        assert web1.get_unit_property("nginx.service", "Type") == "forking"
        fleet.put("/services/nginx", {"unit": "nginx.service"})
        first = push(fleet, 8080, "one")
        # A check every 10 s by default, and only the third that fails counts: the trial must not rest on that.
        fleet.apply(webapp(
            3, name="nginx", unit="nginx.service", version="debian", desired=f"config_version = {first}",
            placement={}, probes={"readiness": {"http": {"path": "/"}}},
            config={"check": ["/usr/sbin/nginx", "-t", "-q", "-c", "{dir}/nginx.conf"], "apply": "reload"},
            rollout={"min_healthy_time": "1s", "healthy_deadline": f"{5 * driver.pace:g}s",
                     "progress_deadline": f"{30 * driver.pace:g}s"},
        ).replace('version = "debian"\n', ""), "--wait")
        placed = fleet.wait_running("nginx", 3).hosts_of("nginx")

    with subtest("another configuration: reloaded one by one without a lost request"):
        pids = fleet.pids("nginx.service")
        second = push(fleet, 8080, "two")
        with Load(fleet.zk, "nginx") as load:
            rollouts.wait("completed", after=want(fleet, second))
        load.outcome.flawless()
        assert fleet.pids("nginx.service") == pids
        assert {fleet.ask(each.name)["ZKOPS_VERSION"] for each in fleet.agents} == {"two"}

    with subtest("`nginx -t` refuses it: nothing is swapped in"):
        fleet.zk.succeed("sed -i 's/return 200/retrun 200/' /root/conf/nginx.conf")
        before = fleet.tree().children("/services/nginx/config")
        fleet.zkops("config push nginx /root/conf")
        (third,) = fleet.tree().children("/services/nginx/config") - before
        rollouts.wait("rolled_back", after=want(fleet, int(third)))
        fleet.wait_condition("nginx", "RolledBack", "check /usr/sbin/nginx refuses revision")
        assert {fleet.ask(each.name)["ZKOPS_VERSION"] for each in fleet.agents} == {"two"}

    with subtest("it passes `nginx -t`, reloads and serves nothing: one replica ever has it; taken back"):
        mark = fleet.history().last()
        fourth = push(fleet, 8099, "nobody")
        rollouts.wait("rolled_back", after=want(fleet, fourth))
        fleet.wait_running("nginx", 3)
        told = {step.number for step in steps(fleet.history(), mark, service="nginx") if not step.back}
        assert told == {min(placed)}, f"{told} had it, max_unavailable is 1"
        assert {fleet.ask(each.name)["ZKOPS_VERSION"] for each in fleet.agents} == {"two"}

    with subtest("redis by its alias: killed, then upgraded by apt while it is driven"):
        fleet.apply(webapp(1, name="redis", unit="redis.service", port=6379, placement={},
                           probes={"readiness": {"exec": {"command": ["/usr/bin/redis-cli", "ping"]}, "period": "1s"}}), "--wait")
        (host,) = fleet.wait_running("redis", 1).hosts_of("redis").values()
        pid = int(fleet.agent(str(host)).get_unit_property("redis-server.service", "MainPID"))
        fleet.agent(str(host)).succeed("systemctl kill -s KILL redis-server.service")
        fleet.wait(lambda tree: tree.running("redis", 1) and listed(tree, "redis", host) not in (None, pid), "the new process is told")
        upgrade(fleet, "redis-server", "redis", "redis-server.service")

    with subtest("postgresql: its clusters, Type=forking units of a template, follow the unit that is driven"):
        ready = {"exec": {"command": ["/usr/bin/pg_isready", "-q"]}, "period": "1s"}
        fleet.apply(webapp(1, name="db", unit="postgresql.service", port=5432, placement={}, probes={"readiness": ready}), "--wait")
        (host,) = fleet.wait_running("db", 1).hosts_of("db").values()
        machine = fleet.agent(str(host))
        (cluster_unit,) = machine.succeed("systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1").split()
        assert machine.get_unit_property(cluster_unit, "Type") == "forking"
        assert machine.succeed("runuser -u postgres -- psql -Atc 'select 1'").strip() == "1"
