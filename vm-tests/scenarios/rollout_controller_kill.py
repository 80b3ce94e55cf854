"""The leading controller is killed at every step of a rollout, and of a rollback: the outcome is the same each time."""

from lib.fleet import Fleet
from lib.rollouts import Budget, Rollouts, check, steps
from lib.service import READY, webapp

# A controller's session is short, so that the many successions don't take long.
CLUSTER = cluster(
    controllers=2, controllers_apart=True, agents=2, session_timeout="10s", controller_session_timeout="2s", deadline=420,
)

STATUS = "/services/webapp/status"
POLICY = {"min_healthy_time": "200ms", "healthy_deadline": "15s", "progress_deadline": "30s"}
#: A rollback must not wait for a deadline here: the replica fails at once.
RESTART = {"delay": "100ms", "limit_burst": 1, "limit_interval": "60s"}
#: More steps than any rollout of two has: the loop ends by itself.
MOST = 40


def description(version: str, broken: str = "") -> str:
    """Two replicas; a version that cannot even start, if it is to be broken."""
    return webapp(2, version=version, probes=READY, restart=RESTART, rollout=POLICY,
                  environment={"SHOP_BROKEN": f"{broken}:start"} if broken else {})


def leader(fleet: Fleet):
    """The host of the controller that leads: its session wrote the newest summary."""
    (session,) = [txn.session for txn, _ in fleet.history().writes(below=STATUS)][-1:]
    tree = fleet.tree()
    for name in tree.children("/controller/election"):
        path = f"/controller/election/{name}"
        if tree.node(path)["owner"] == session:
            host = tree.doc(path)["name"].split(":")[0]
            return next(each for each in fleet.controllers if each.name == host)
    raise AssertionError(f"no contender has the last writer's session {session:#x}")


def killed_at(fleet: Fleet, step: int, text: str, outcome: str) -> bool:
    """One rollout, its leader killed right after its `step`-th transaction; False if it has not so many."""
    rollouts, host = Rollouts(fleet), leader(fleet)
    number, _ = rollouts.newest()
    mark, tree = fleet.history().last(), fleet.tree()
    at = tree.node(STATUS)["version"] + step
    host.succeed(
        "systemctl reset-failed step 2>/dev/null || true",
        f"systemd-run --quiet --unit=step --setenv=ZKTOOL_SERVERS=zk1:2181 "
        f"zkstep {STATUS} {at} zkops-controller.service",
    )
    host.wait_until_succeeds("journalctl --quiet --unit=step --output=cat _SYSTEMD_INVOCATION_ID="
                             "$(systemctl show step --property=InvocationID --value) | grep watching")
    before = tree.hosts_of("webapp")
    fleet.apply(text)
    newest, record = rollouts.wait(outcome, after=number)
    tree = fleet.wait(
        lambda tree: tree.running("webapp", 2) and tree.status("webapp").get("summary") in ("healthy", "degraded"), "it is at rest",
    )
    assert newest == number + 1, f"one wish, one rollout: {number}, {newest}"
    assert tree.hosts_of("webapp") == before, (before, tree.hosts_of("webapp"))
    told = [(each.number, each.back) for each in steps(fleet.history(), mark)]
    assert len(told) == len(set(told)), f"an order was given twice: {told}"
    check(fleet, Budget(2), mark)
    status, _ = host.execute("systemctl is-active --quiet step")
    host.execute("systemctl stop step")
    return status != 0


def every_step(fleet: Fleet, text, outcome: str, version: str) -> None:
    """Kills the leader after the first transaction, after the second, … until a rollout has no more of them."""
    for step in range(1, MOST):
        hit = killed_at(fleet, step, text(step), outcome)
        assert set(Rollouts(fleet).versions().values()) == {version.format(step)}, Rollouts(fleet).versions()
        if not hit:
            driver.logger.tell(f"      {step - 1} steps")
            assert step > 3, "a rollout of two replicas has more steps than that"
            return
    raise AssertionError("the rollouts have no end")


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(description("v0"), "--wait")
    fleet.wait_running("webapp", 2)

    with subtest("a rollout: completed each time, each replica told once"):
        every_step(fleet, lambda step: description(f"v{step}"), "completed", "v{}")

    with subtest("a rollout that fails: rolled back each time"):
        fleet.apply(description("good"), "--wait")
        Rollouts(fleet).wait("completed")
        every_step(fleet, lambda step: description(f"bad{step}", broken=f"bad{step}"), "rolled_back", "good")
