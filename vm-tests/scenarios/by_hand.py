"""Only Apache's zkCli.sh writes what is wanted; the tree then reads as its documentation shows it."""

import json

from lib.fleet import Fleet

CLUSTER = cluster(releases=("bookworm", "trixie"), agents=3)

SPEC = {"unit": "webapp@.service", "port": 8080, "lost_after": "2s", "placement": {"max_per_host": 1}}
DESIRED = '{"mode":"enabled","version":"v1.2.3","replicas":2,"config_version":7}'


def check_documents(fleet: Fleet, tree, number: int) -> None:
    """One replica's documents, against what its host really runs."""
    name = f"{number:010}"
    desired, status = tree.doc(f"/services/webapp/{name}/desired"), tree.doc(f"/services/webapp/{name}/status")
    host = desired["node"]
    unit = fleet.unit(fleet.agent(host), number)
    assert (desired["mode"], desired["version"], desired["config_version"]) == ("enabled", "v1.2.3", 7), desired
    assert (status["state"], status["node"], status["pid"]) == ("running", host, unit.pid), status
    assert "updated" in status, status

    node = tree.node(f"/services/webapp/instances/{host}")
    instance = json.loads(node["data"])
    assert (instance["pid"], instance["port"], instance["version"]) == (unit.pid, 8080, "v1.2.3"), instance
    assert "started" in instance, instance
    assert node["owner"] != 0 and node["owner"] == tree.agent_session(host), "an ephemeral of the host's one session"

    assert f"/hosts/{host}/assigned/webapp.{name}" in tree
    assert tree.node(f"/services/webapp/{name}/desired")["owner"] == 0


def test() -> None:
    fleet = Fleet(driver)

    with subtest("the cluster comes up"):
        fleet.up()
        assert {"/services", "/hosts"} <= set(fleet.tree().nodes)

    with subtest("zkCli.sh describes a service: two of three hosts run it"):
        fleet.zkcli("create", "/services/webapp", json.dumps(SPEC))
        fleet.zkcli("create", "/services/webapp/desired", DESIRED)
        tree = fleet.wait_running("webapp", 2)
        running = {name: units for name, units in fleet.pids().items() if units}
        assert len(running) == 2 and all(len(units) == 1 for units in running.values()), running

    with subtest("the documents read as DESIGN shows them"):
        for number in tree.replicas("webapp"):
            check_documents(fleet, tree, number)
        fleet.wait(lambda tree: tree.status("webapp")["ready"] == 2, "the service's status counts them")

    with subtest("the replicas serve, and know who they are"):
        for number, host in tree.hosts_of("webapp").items():
            answer = fleet.ask(str(host))
            assert answer["pid"] == fleet.unit(fleet.agent(host), number).pid
            assert (answer["ZKOPS_SERVICE"], answer["ZKOPS_VERSION"], answer["ZKOPS_HOST"]) == ("webapp", "v1.2.3", host)

    with subtest("an interactive zkCli.sh, as an operator types it: a third replica, the others stay"):
        before = fleet.pids()
        line = 'set /services/webapp/desired {"mode":"enabled","version":"v1.2.3","replicas":3,"config_version":7}'
        fleet.write(zk1, "/root/typed", line + "\nquit\n")
        zk1.succeed("zkCli.sh -server localhost:2181 < /root/typed")
        fleet.wait_running("webapp", 3)
        after = fleet.pids()
        assert all(after[host] == units for host, units in before.items() if units), (before, after)

    with subtest("mode disabled by hand: every process is gone"):
        fleet.zkcli("set", "/services/webapp/desired", DESIRED.replace("enabled", "disabled").replace(":2", ":3"))
        fleet.wait(lambda tree: all(each.state == "stopped" for each in tree.replicas("webapp").values()), "all stop")
        assert not any(fleet.everybody().values()), fleet.everybody()
        assert fleet.tree().instances("webapp") == set()
