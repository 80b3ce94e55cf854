"""A person's words to a rollout: pause, resume, abort, promote, undo, and something else wanted mid-way."""

from lib.fleet import Fleet
from lib.rollouts import Budget, Rollouts, check, steps
from lib.service import QUICK, READY, webapp

CLUSTER = cluster(agents=3, session_timeout="10s")

#: Long enough for an order to come in the middle of a rollout of three.
SLOW = {**QUICK, "min_healthy_time": "1500ms"}
#: No second replica is touched before something else is wanted, however slow the machine.
STUCK = {"min_healthy_time": "60s", "healthy_deadline": "120s", "progress_deadline": "180s"}


def ask(fleet: Fleet, version: str, **rollout) -> int:
    """Asks for a version; returns the number of the rollout before it."""
    number, _ = Rollouts(fleet).newest()
    fleet.apply(webapp(3, version=version, probes=READY, rollout={**SLOW, **rollout}))
    return number


def all_run(fleet: Fleet, version: str) -> None:
    """Three replicas, all with one version."""
    versions = Rollouts(fleet).versions(fleet.wait_running("webapp", 3))
    assert set(versions.values()) == {version}, versions


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    rollouts = Rollouts(fleet)
    fleet.apply(webapp(3, version="v1", probes=READY, rollout=SLOW), "--wait")
    numbers = sorted(fleet.wait_running("webapp", 3).replicas("webapp"))
    begin = fleet.history().last()

    with subtest("pause: nothing more is updated; resume: it goes on to its end"):
        before = ask(fleet, "v2")
        rollouts.wait_begun(before)
        fleet.zkops("rollout pause webapp")
        number, record = rollouts.wait("paused", after=before)
        assert record["pause"] == "operator", record
        mark = fleet.history().last()
        # One more change in the tree that wakes the leader up: it must not go on for it.
        fleet.zkops("hosts cordon web1")
        fleet.zkops("hosts uncordon web1")
        fleet.wait(lambda tree: len(tree.instances("webapp")) == 3, "those that were updated are ready")
        assert "paused" in fleet.zkops("rollout status webapp").lower()
        assert steps(fleet.history(), mark) == []
        assert "v1" in rollouts.versions().values(), "it was paused too late to be seen"
        fleet.zkops("rollout resume webapp")
        rollouts.wait("completed", after=before)
        all_run(fleet, "v2")

    with subtest("abort: back to what was healthy, and the condition says who wanted it"):
        before = ask(fleet, "v3")
        rollouts.wait_begun(before)
        fleet.zkops("rollout abort webapp")
        rollouts.wait("rolled_back", after=before)
        all_run(fleet, "v2")
        fleet.wait_condition("webapp", "RolledBack", "abort")

    with subtest("resume after that: a new rollout of what is still wanted"):
        before, _ = rollouts.newest()
        fleet.zkops("rollout resume webapp")
        rollouts.wait("completed", after=before)
        all_run(fleet, "v3")
        fleet.wait_no_condition("webapp", "RolledBack")

    with subtest("undo: what ran before is wanted again, with all that belongs to it"):
        before, _ = rollouts.newest()
        fleet.zkops("rollout undo webapp")
        rollouts.wait("completed", after=before)
        all_run(fleet, "v2")
        assert fleet.tree().doc("/services/webapp/desired")["version"] == "v2"

    with subtest("undo --to 1: any of the history"):
        before, _ = rollouts.newest()
        fleet.zkops("rollout undo webapp --to 1")
        rollouts.wait("completed", after=before)
        all_run(fleet, "v1")

    with subtest("a canary waits for a person; promote: the rest follows"):
        mark = fleet.history().last()
        before = ask(fleet, "v4", canary=1)
        number, record = rollouts.wait("paused", after=before)
        assert record["pause"] == "canary", record
        versions = list(rollouts.versions(fleet.wait(lambda tree: tree.running("webapp", 3), "all run")).values())
        assert sorted(map(str, versions)) == ["v1", "v1", "v4"], versions
        assert [step.number for step in steps(fleet.history(), mark)] == numbers[:1]
        fleet.zkops("rollout promote webapp")
        rollouts.wait("completed", after=before)
        all_run(fleet, "v4")
        assert [step.number for step in steps(fleet.history(), mark)] == numbers

    with subtest("something else is wanted mid-way: it supersedes, and each replica ends with it"):
        before = ask(fleet, "v5", **STUCK)
        number, _ = rollouts.wait_begun(before)
        ask(fleet, "v6")
        newest, _ = rollouts.wait("completed", after=number)
        all_run(fleet, "v6")
        assert rollouts.all()[number]["state"] == "superseded", rollouts.all()[number]
        assert newest == number + 1

    with subtest("back to the version that still runs elsewhere, mid-way: those are left as they are"):
        mark = fleet.history().last()
        before = ask(fleet, "v7", **STUCK)
        number, _ = rollouts.wait_begun(before)
        pids = fleet.pids()
        ask(fleet, "v6")
        rollouts.wait("completed", after=number)
        all_run(fleet, "v6")
        kept = [host for host, units in fleet.pids().items() if units == pids[host]]
        assert len(kept) >= 2, "replicas that ran v6 all along were restarted"

    with subtest("through all of it the budget was kept"):
        check(fleet, Budget(3), begin)
        history = fleet.zkops("rollout history webapp")
        assert all(word in history for word in ("v4", "v6", "superseded", "completed")), history
