"""A service crashes: systemd restarts it by its drop-in. It keeps crashing: it is placed elsewhere."""

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(releases=("bookworm", "trixie"), agents=3)

RESTART = {"delay": "200ms", "max_delay": "200ms", "limit_burst": 3, "limit_interval": "60s"}


def caught_up(fleet: Fleet, tree, number: int, host) -> bool:
    """Do status and instance name the process that runs?"""
    pid = fleet.unit(host, number).pid
    instance = tree.doc(f"/services/webapp/instances/{host.name}")
    return pid != 0 and tree.replicas("webapp")[number].status.get("pid") == pid == instance.get("pid")


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(2, restart=RESTART), "--wait")
    placed = fleet.wait_running("webapp", 2).hosts_of("webapp")
    number, other = sorted(placed)
    host, neighbour = fleet.agent(placed[number]), fleet.agent(placed[other])

    with subtest("killed: systemd restarts it, status and instances follow, nothing moves"):
        old = fleet.unit(host, number)
        still = fleet.pids()[neighbour.name]
        drop_in = host.succeed(f"cat /run/systemd/system/{old.name}.d/50-zkops.conf")
        assert "Restart=on-failure" in drop_in, drop_in
        mark = fleet.history().last()
        host.succeed(f"kill -KILL {old.pid}")
        tree = fleet.wait(lambda tree: tree.running("webapp", 2) and caught_up(fleet, tree, number, host)
                          and fleet.unit(host, number).pid != old.pid, "the new process is reported")
        assert tree.hosts_of("webapp") == placed
        assert host.get_unit_property(old.name, "NRestarts") == "1"
        assert fleet.pids()[neighbour.name] == still
        gaps = fleet.history().gaps("/services/webapp/instances", {host.name}, after=mark)
        assert gaps, "instances showed a process that was dead"

    with subtest("past its start limit: failed, out of instances, placed elsewhere"):
        host.succeed("touch /run/webapp.broken")
        host.succeed(f"kill -KILL {fleet.unit(host, number).pid}")
        tree = fleet.wait(
            lambda tree: tree.running("webapp", 2) and tree.hosts_of("webapp")[number] != host.name,
            "the replica runs elsewhere",
        )
        assert tree.hosts_of("webapp")[other] == neighbour.name
        assert fleet.pids()[neighbour.name] == still
        assert fleet.processes(host) == []
        desired = tree.replicas("webapp")[number].desired
        assert [each["node"] for each in desired["failed_on"]] == [host.name], desired
        states = [op.data for _, op in fleet.history().writes(below=f"/services/webapp/{number:010}/status")]
        assert any(b'"failed"' in state for state in states), states

    with subtest("broken everywhere: it says so, and stays where it is"):
        for each in fleet.agents:
            each.succeed("touch /run/webapp.broken")
            for pid in fleet.processes(each):
                each.succeed(f"kill -KILL {pid}")
        tree = fleet.wait(
            lambda tree: not tree.instances("webapp") and tree.condition("webapp", "Failed"), "the failure is reported",
        )
        assert "failed" in fleet.zkops("explain webapp").lower()

    with subtest("fixed: the agents' own retries bring it back"):
        for each in fleet.agents:
            each.succeed("rm /run/webapp.broken")
        tree = fleet.wait(lambda tree: tree.running("webapp", 2), "both replicas are back", timeout=90)
        fleet.wait_no_condition("webapp", "Failed")
