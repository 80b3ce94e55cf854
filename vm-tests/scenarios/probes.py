"""Readiness takes a replica out of `instances` and back; liveness restarts it, and gives up in the end."""

from lib.fleet import Fleet
from lib.service import READY, webapp

CLUSTER = cluster(
    agents=3, session_timeout="10s", allowed_units=("webapp@*.service", "zookeeper.service"), agent={"accept_commands": True},
)

INSTANCES = "/services/webapp/instances"
ALIVE = {"http": {"path": "/livez"}, "period": "200ms", "failure_threshold": 2}
RESTART = {"delay": "100ms", "limit_burst": 3, "limit_interval": "60s"}


def be(host, how: str) -> None:
    """Tells the sample service on a host how to be broken from now on ("": not at all)."""
    host.succeed(f"echo {how} > /run/webapp.new; mv /run/webapp.new /run/webapp.broken" if how else "rm -f /run/webapp.broken")


def first(tree) -> tuple[int, str]:
    """The first replica and its host."""
    return min(tree.hosts_of("webapp").items())


def instances(tree) -> list[dict]:
    """What the listed replicas say of themselves."""
    return [tree.doc(f"{INSTANCES}/{name}") for name in tree.instances("webapp")]


def readiness(fleet: Fleet, check: dict, breaks, fixes) -> None:
    """One kind of probe: a replica leaves `instances` when it says no, and comes back, all without being touched."""
    probe = {**check, "period": "200ms", "failure_threshold": 1}
    fleet.apply(webapp(2, probes={"readiness": probe}), "--wait")
    number, name = first(fleet.wait_running("webapp", 2))
    host, pids = fleet.agent(name), fleet.pids()
    breaks(host)
    tree = fleet.wait(lambda tree: host.name not in tree.instances("webapp"), f"{host.name} is out of instances")
    fleet.wait(lambda tree: not tree.replicas("webapp")[number].status["ready"], "its status says so, too")
    status = fleet.tree().replicas("webapp")[number].status
    assert status["state"] == "running" and status.get("message"), status
    fixes(host)
    fleet.wait(lambda tree: tree.running("webapp", 2), "it is back")
    assert fleet.pids() == pids, "a replica that is not ready is left alone"
    assert len(tree.instances("webapp")) == 1, "the other one was not touched"


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()

    with subtest("http: not ready = out of instances, at once; ready again = back"):
        readiness(fleet, {"http": {"path": "/healthz", "status": "200", "body": "ready"}},
                  lambda host: be(host, "ready"), lambda host: be(host, ""))

    with subtest("exec: a command's exit status"):
        readiness(fleet, {"exec": {"command": ["/usr/bin/test", "!", "-e", "/run/not-ready"]}},
                  lambda host: host.succeed("touch /run/not-ready"), lambda host: host.succeed("rm /run/not-ready"))

    with subtest("exec: what the agent's own sandbox would not let run, without a word in the journal"):
        script = "set -e; runuser -u nobody -- true; ip addr >/dev/null; java -version; test \"$*\" = '${d} $$'"
        probe = {"exec": {"command": ["/bin/sh", "-c", script, "sh", "${d} $$"]}, "timeout": "20s", "period": "1s"}
        fleet.apply(webapp(2, version="v2", probes={"readiness": probe}), "--wait")
        assert {entry.get("version") for entry in instances(fleet.wait_running("webapp", 2))} == {"v2"}
        for each in fleet.agents:
            assert not each.succeed("journalctl --quiet --output=cat --grep zkops-run || true"), "one line for each check"

    with subtest("tcp: a port that is open or not"):
        listen = "systemd-run --quiet --unit=listen nc -lk 9000"
        for each in fleet.agents:
            each.succeed(listen)
        readiness(fleet, {"tcp": {"port": 9000}},
                  lambda host: host.succeed("systemctl stop listen"), lambda host: host.succeed(listen))

    with subtest("{address}: a server that listens on the host's own address alone"):
        for each in fleet.agents:
            address = each.succeed("hostname -I").split()[0]
            each.succeed(f"systemd-run --quiet --unit=own nc -lk {address} 9001")
        probe = {"tcp": {"host": "{address}", "port": 9001}, "period": "200ms"}
        fleet.apply(webapp(2, version="v3", probes={"readiness": probe}), "--wait")
        assert {entry.get("version") for entry in instances(fleet.wait_running("webapp", 2))} == {"v3"}

    with subtest("systemd: active is ready"):
        fleet.apply(webapp(2, probes={"readiness": {"systemd": {}}}), "--wait")
        fleet.wait_running("webapp", 2)

    with subtest("not alive: restarted, and listed again as what it is now"):
        # However slow the machine: the server is fixed before it has been restarted too often.
        patient = {**RESTART, "limit_burst": 100}
        fleet.apply(webapp(2, probes={**READY, "liveness": ALIVE}, restart=patient), "--wait")
        tree = fleet.wait_running("webapp", 2)
        number, name = first(tree)
        host, pids = fleet.agent(name), fleet.pids()
        be(host, "live")
        fleet.wait(lambda tree: fleet.unit(host, number).pid not in (0, *pids[name].values()), "it is restarted")
        be(host, "")
        fleet.wait(
            lambda tree: tree.running("webapp", 2) and tree.doc(f"{INSTANCES}/{name}").get("pid") == fleet.unit(host, number).pid,
            "the new process is in instances",
        )
        assert fleet.tree().hosts_of("webapp") == tree.hosts_of("webapp"), "it stays where it is"
        others = {each: units for each, units in pids.items() if each != name}
        assert {each: fleet.pids()[each] for each in others} == others

    with subtest("never alive on this host: given up after its limit, failed, placed elsewhere"):
        fleet.apply(webapp(2, probes={**READY, "liveness": ALIVE}, restart=RESTART), "--wait")
        be(host, "live")
        tree = fleet.wait(
            lambda tree: tree.running("webapp", 2) and tree.hosts_of("webapp")[number] != name, "it runs elsewhere",
        )
        states = [op.data for _, op in fleet.history().writes(below=f"/services/webapp/{number:010}/status")]
        assert any(b'"failed"' in state and b"livez" in state for state in states), "it was failed, and said why"
        assert fleet.processes(host) == []
        be(host, "")
        fleet.zkops("delete webapp --wait")

    with subtest("zookeeper: a server is ready when it says imok"):
        for each in fleet.agents:
            each.succeed("mkdir -p /etc/zookeeper /var/lib/zookeeper; touch /etc/zookeeper/environment")
            fleet.write(each, "/etc/zookeeper/zoo.cfg", "dataDir=/var/lib/zookeeper\nclientPort=2181\nadmin.enableServer=false\n"
                        "4lw.commands.whitelist=*\npreAllocSize=1024\n")
        fleet.apply(webapp(1, name="zookeeper", unit="zookeeper.service", port=2181, placement={},
                           probes={"readiness": {"zookeeper": {"command": "srvr"}, "period": "200ms"},
                                   "liveness": {"zookeeper": {}, "initial_delay": "5s"}}), "--wait")
        tree = fleet.wait_running("zookeeper", 1)
        (name,) = tree.hosts_of("zookeeper").values()
        assert zk1.succeed(f"printf ruok | nc -w 2 {name} 2181") == "imok"
