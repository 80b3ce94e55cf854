"""An agent touches only what its own configuration allows, and says so when it refuses."""

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=2, allowed_units=("webapp@*.service", "brought@*.service"), accept_unit_files=False)

UNIT = "[Service]\\nExecStart=/bin/sleep infinity\\n"


def refused(tree, service: str, reason: str) -> bool:
    """Has an agent refused a replica, naming the key, and does the summary say so?"""
    messages = [each.status.get("message") or "" for each in tree.replicas(service).values() if each.state == "refused"]
    return any(reason in message for message in messages) and bool(tree.condition(service, "Refused"))


def unplaced(tree, service: str, reason: str) -> bool:
    """Is it placed nowhere, for this reason?"""
    return reason in (tree.condition(service, "Unplaced") or "")


def put_on(fleet: Fleet, service: str, host: str) -> None:
    """Has the controller give the host a replica that it would not give it by itself."""
    for number, replica in fleet.tree().replicas(service).items():
        fleet.put(f"/services/{service}/{number:010}/desired", replica.desired | {"node": host})


def test() -> None:
    fleet = Fleet(driver)
    for each in fleet.agents:
        each.start()
        each.succeed(f"printf '{UNIT}' > /etc/systemd/system/forbidden.service", "systemctl daemon-reload")
    fleet.up()

    with subtest("a unit outside allowed_units is never started, and the replica says why"):
        fleet.apply(webapp(1, name="forbidden", unit="forbidden.service", port=8081, placement={}))
        fleet.wait(lambda tree: unplaced(tree, "forbidden", "2 that would refuse it (forbidden.service is not among"), "it is placed nowhere")
        assert "allowed_units of its agent.toml" in fleet.zkops("explain forbidden")
        put_on(fleet, "forbidden", fleet.agents[0].name)
        fleet.wait(lambda tree: refused(tree, "forbidden", "allowed_units"), "the refusal is reported")
        assert "allowed_units" in fleet.zkops("explain forbidden")
        for each in fleet.agents:
            each.require_unit_state("forbidden.service", "inactive")
            assert each.get_unit_property("forbidden.service", "NRestarts") == "0"
            each.fail("test -e /run/systemd/system/forbidden.service.d")
            each.fail("journalctl --quiet --unit=forbidden.service | grep Started")

    with subtest("nor is it stopped, if it happens to run"):
        for each in fleet.agents:
            each.succeed("systemctl start forbidden.service")
        pids = fleet.pids("forbidden.service")
        fleet.zkops("disable forbidden")
        fleet.zkops("enable forbidden")
        fleet.zkops("delete forbidden --wait")
        fleet.wait(lambda tree: "/services/forbidden" not in tree, "the service is gone")
        assert fleet.pids("forbidden.service") == pids, (pids, fleet.pids("forbidden.service"))

    with subtest("what is allowed runs beside it"):
        fleet.apply(webapp(2), "--wait")
        fleet.wait_running("webapp", 2)

    with subtest("a unit file from the tree is refused where the configuration says so"):
        text = 'unit_file = """\n[Service]\nExecStart=/bin/sleep infinity\n"""'
        fleet.write(fleet.zk, "/root/brought.toml", webapp(2, name="brought", unit="brought@.service", port=8082, extra=text))
        code, said = fleet.zkops_status("apply -f /root/brought.toml --wait")
        assert code == 7 and "brought: 2 of 2 hosts refuse it (" in said, (code, said)
        assert said.splitlines()[-1].count("accept_unit_files") == 1, said
        fleet.wait(lambda tree: unplaced(tree, "brought", "accept_unit_files is off"), "it is placed nowhere")
        put_on(fleet, "brought", fleet.agents[0].name)
        fleet.wait(lambda tree: refused(tree, "brought", "accept_unit_files"), "the refusal is reported")
        for each in fleet.agents:
            each.fail("ls /run/systemd/system/brought*.service")

    with subtest("fewer replicas than hosts: nobody waits until the timeout"):
        fleet.write(fleet.zk, "/root/alone.toml", webapp(1, name="alone", unit="alone@.service", port=8083))
        code, said = fleet.zkops_status("apply -f /root/alone.toml --wait")
        assert code == 7 and "alone: 2 of 2 hosts refuse it (" in said, (code, said)
        assert said.splitlines()[-1].count("allowed_units") == 1, said
        fleet.zkops("delete alone --wait")

    with subtest("allowed now: the agent needs nothing but its configuration"):
        for each in fleet.agents:
            each.succeed(
                "mkdir -p /etc/zkops/agent.toml.d",
                "printf 'allowed_units = [\"webapp@*.service\", \"forbidden.service\"]\\n' > /etc/zkops/agent.toml.d/more.toml",
                "systemctl stop forbidden.service", "systemctl restart zkops-agent.service",
            )
        fleet.apply(webapp(1, name="forbidden", unit="forbidden.service", port=8081, placement={}), "--wait")
        fleet.wait_running("forbidden", 1)
