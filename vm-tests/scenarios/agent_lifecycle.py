"""The agent is killed, hung, restarted, upgraded, stopped: its services don't notice."""

from lib.fleet import Fleet
from lib.service import webapp

# Hung for the watchdog's 6 s, the agent must be back before its session ends.
CLUSTER = cluster(releases=("bookworm", "trixie"), agents=3, session_timeout="15s")

STATUS = "systemctl show --property=StatusText --value zkops-agent.service"
#: A unit that takes its time to stop.
SLOW = """[Service]
ExecStop=/bin/sh -c 'until [ -e /run/stop-now ]; do sleep 0.1; done'
TimeoutStopSec=60s
"""
INSTANCES = "/services/webapp/instances"


class Watcher:
    """What must not change around an agent's misfortune."""

    def __init__(self, fleet: Fleet, hosts: set[str]) -> None:
        self.fleet = fleet
        self.hosts = hosts
        self.pids = fleet.pids()
        self.mark = fleet.history().last()
        self.agent = web1.get_unit_property("zkops-agent.service", "MainPID")

    def check(self) -> None:
        """A new agent took over: services and instances never noticed."""
        self.fleet.wait(lambda tree: self.taken_over(tree), "the new agent took its predecessor's ephemerals over")
        assert self.fleet.pids() == self.pids, (self.pids, self.fleet.pids())
        gaps = self.fleet.history().gaps(INSTANCES, self.hosts, after=self.mark)
        assert not gaps, gaps

    def taken_over(self, tree) -> bool:
        """Does a new process run, and are all of this host's ephemerals its own?"""
        pid = web1.get_unit_property("zkops-agent.service", "MainPID")
        instance = tree.nodes.get(f"{INSTANCES}/{web1.name}", {})
        return (
            pid not in ("0", self.agent)
            and tree.doc(f"/hosts/{web1.name}/alive").get("pid") == int(pid)
            and instance.get("owner", -1) == tree.agent_session(web1.name)
        )


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    # Only web1 and web2 may run it at first: what is done to web1 must not be hidden by a move.
    fleet.zkops("hosts cordon web3")
    fleet.apply(webapp(2, lost_after="2s"), "--wait")
    hosts = {str(host) for host in fleet.wait_running("webapp", 2).hosts_of("webapp").values()}
    assert hosts == {"web1", "web2"}, hosts

    with subtest("killed"):
        watcher = Watcher(fleet, hosts)
        web1.succeed("systemctl kill --signal=KILL --kill-whom=main zkops-agent.service")
        watcher.check()

    with subtest("hung: the watchdog acts"):
        watcher = Watcher(fleet, hosts)
        web1.succeed("systemctl kill --signal=STOP --kill-whom=main zkops-agent.service")
        watcher.check()

    with subtest("restarted"):
        watcher = Watcher(fleet, hosts)
        web1.succeed("systemctl restart zkops-agent.service")
        watcher.check()

    with subtest("stopped and started again"):
        watcher = Watcher(fleet, hosts)
        web1.succeed("systemctl stop zkops-agent.service")
        assert fleet.pids() == watcher.pids
        web1.succeed("systemctl start zkops-agent.service")
        watcher.check()

    with subtest("replaced by a new build"):
        watcher = Watcher(fleet, hosts)
        old = web1.succeed(f"sha256sum < /proc/{watcher.agent}/exe")
        fleet.replace_zkops(web1)
        watcher.check()
        pid = web1.get_unit_property("zkops-agent.service", "MainPID")
        program = web1.succeed(f"readlink /proc/{pid}/exe").strip()
        assert f"path={program} " in web1.get_unit_property("zkops-agent.service", "ExecStart"), program
        assert web1.succeed(f"sha256sum < /proc/{pid}/exe") == web1.succeed(f"sha256sum < {program}") != old

    with subtest("ten times in a row"):
        watcher = Watcher(fleet, hosts)
        for _ in range(10):
            web1.succeed("systemctl restart zkops-agent.service")
        watcher.check()

    with subtest("stopped for good: its service goes on unmanaged, its replica is replaced"):
        fleet.zkops("hosts uncordon web3")
        pids = fleet.pids()
        web1.succeed("systemctl stop zkops-agent.service")
        tree = fleet.wait(
            lambda tree: tree.running("webapp", 2) and "web1" not in tree.hosts_of("webapp").values(),
            "web1's replica is replaced", timeout=40,
        )
        assert set(tree.hosts_of("webapp").values()) == {"web2", "web3"}
        now = fleet.pids()
        assert (now["web1"], now["web2"]) == (pids["web1"], pids["web2"]), (pids, now)

    with subtest("back again: it stops what is no longer its own before it registers, and says what it waits for"):
        [left] = fleet.active(web1)
        fleet.write(web1, "/run/slow.conf", SLOW)
        web1.succeed(
            "install -D /run/slow.conf /run/systemd/system/webapp@.service.d/10-slow.conf", "systemctl daemon-reload",
            "systemctl start --no-block zkops-agent.service",
        )
        web1.wait_until_succeeds(f"{STATUS} | grep -F 'not registered: waits to stop {left}'")
        assert not fleet.tree().agent_session("web1")
        web1.succeed("touch /run/stop-now")
        node = fleet.wait(lambda tree: tree.agent_session("web1"), "web1 is back").node("/hosts/web1/alive")
        assert fleet.processes(web1) == []
        assert max(fleet.stopped(web1).values()) <= fleet.monotonic(node["ctime"]) + 0.005
        assert fleet.tree().hosts_of("webapp") == tree.hosts_of("webapp")

    with subtest("what has no process left keeps no host from registering: a masked unit of a deleted service"):
        fleet.zkops("scale webapp 3 --wait")
        [unit] = fleet.active(web1)
        web1.succeed(f"systemctl mask --runtime {unit}")
        fleet.zkops("delete webapp")
        web1.wait_until_fails(f"systemctl is-active {unit}")
        web1.succeed("systemctl restart zkops-agent.service")
        pid = int(web1.get_unit_property("zkops-agent.service", "MainPID"))
        fleet.wait(lambda tree: tree.doc("/hosts/web1/alive").get("pid") == pid, "web1's new agent is registered")
        web1.wait_until_fails(f"grep -F {unit} /var/lib/zkops/agent/ledger.json")
        assert web1.succeed(f"readlink /run/systemd/system/{unit}").strip() == "/dev/null"
