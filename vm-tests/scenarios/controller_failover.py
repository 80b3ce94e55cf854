"""The leading controller is killed, then stopped past its session and resumed: exactly one leader's writes land."""

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(controllers=2, controllers_apart=True, agents=3, session_timeout="4s")

STATUS = "/services/webapp/status"


def writers(fleet: Fleet) -> list[int]:
    """The sessions that wrote the service's summary (only a leader does), in order, repetitions left out."""
    found: list[int] = []
    for txn, _ in fleet.history().writes(below=STATUS):
        if not found or found[-1] != txn.session:
            found.append(txn.session)
    return found


def leader(fleet: Fleet):
    """The controller's host that wrote last, and its session."""
    session, tree = writers(fleet)[-1], fleet.tree()
    for name in tree.children("/controller/election"):
        path = f"/controller/election/{name}"
        if tree.node(path)["owner"] == session:
            host = tree.doc(path)["name"].split(":")[0]
            return next(each for each in fleet.controllers if each.name == host), session
    raise AssertionError(f"no contender has the last writer's session {session:#x}")


def one_at_a_time(fleet: Fleet) -> None:
    """No session wrote again after another had taken over."""
    sessions = writers(fleet)
    assert len(sessions) == len(set(sessions)), [hex(session) for session in sessions]


def replicas_created(fleet: Fleet) -> int:
    """How many replica nodes there ever were."""
    made = [op for _, op in fleet.history().writes(below="/services/webapp") if op.kind == "create"]
    return len([op for op in made if op.path.count("/") == 3 and op.path.rsplit("/", 1)[1].isdigit()])


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    for each in fleet.controllers:
        # A stopped leader must stay stopped for this test: without the watchdog, which would end it.
        each.succeed(
            "mkdir -p /run/systemd/system/zkops-controller.service.d",
            "printf '[Service]\\nWatchdogSec=0\\n' > /run/systemd/system/zkops-controller.service.d/90-test.conf",
            "systemctl daemon-reload", "systemctl restart zkops-controller.service",
        )
    fleet.apply(webapp(1), "--wait")
    placed = fleet.wait_running("webapp", 1).hosts_of("webapp")
    pids = fleet.pids()

    with subtest("the leader is killed right after an order: another carries it out, once"):
        first, session = leader(fleet)
        fleet.put("/services/webapp/desired", {"mode": "enabled", "version": "v1.2.3", "replicas": 2})
        first.succeed("systemctl kill --signal=KILL --kill-whom=main zkops-controller.service")
        fleet.wait_running("webapp", 2)
        assert replicas_created(fleet) == 2
        one_at_a_time(fleet)

    with subtest("the leader is stopped past its session: another takes over and works"):
        fleet.zkops("scale webapp 3 --wait")
        second, session = leader(fleet)
        second.succeed("systemctl kill --signal=STOP --kill-whom=main zkops-controller.service")
        fleet.put("/services/webapp/desired", {"mode": "enabled", "version": "v1.2.3", "replicas": 1})
        fleet.wait_running("webapp", 1, timeout=30)
        third, successor = leader(fleet)
        assert third is not second and successor != session

    with subtest("it is resumed: nothing it writes lands any more"):
        mark = fleet.history().last()
        second.succeed("systemctl kill --signal=CONT --kill-whom=main zkops-controller.service")
        fleet.zkops("scale webapp 2 --wait")
        fleet.wait_running("webapp", 2)
        fleet.zkops("scale webapp 3 --wait")
        fleet.wait_running("webapp", 3)
        second.wait_until_succeeds("systemctl is-active zkops-controller.service")
        stale = [op.path for txn, op in fleet.history().writes(after=mark) if txn.session == session]
        assert not stale, stale
        one_at_a_time(fleet)
        assert replicas_created(fleet) == 3 + 1 + 1, "3 → 1 → 2 → 3: two new ones, each made once"

    with subtest("all controllers are stopped: nothing changes; back again, the order is carried out"):
        for each in fleet.controllers:
            each.succeed("systemctl stop zkops-controller.service")
        before = fleet.pids()
        fleet.put("/services/webapp/desired", {"mode": "enabled", "version": "v1.2.3", "replicas": 2})
        web1.succeed("systemctl restart zkops-agent.service")
        assert fleet.pids() == before
        for each in fleet.controllers:
            each.succeed("systemctl start zkops-controller.service")
        fleet.wait_running("webapp", 2)
        one_at_a_time(fleet)

    with subtest("through all of it, a replica that was never scaled away was never touched"):
        always = set(placed) & set(fleet.tree().replicas("webapp"))
        units = {f"webapp@{number:010}.service" for number in always}
        assert {u: p for each in pids.values() for u, p in each.items() if u in units} == {
            u: p for each in fleet.pids().values() for u, p in each.items() if u in units
        }
