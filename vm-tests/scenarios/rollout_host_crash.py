"""In the middle of a rollout a host dies, or is drained: the rollout ends, and they share one budget."""

from lib.fleet import Fleet
from lib.rollouts import Budget, Rollouts, check
from lib.service import QUICK, READY, webapp

CLUSTER = cluster(agents=5, session_timeout="4s")

#: Long enough for something to happen in the middle, and for a host's loss to be noticed (after the 4 s of its session)
#: before the others are updated, however slow the machine.
SLOW = {**QUICK, "min_healthy_time": "3s", "healthy_deadline": "30s", "progress_deadline": "60s"}


def ask(fleet: Fleet, version: str) -> int:
    """Asks for a version; returns the number of the rollout before it."""
    number, _ = Rollouts(fleet).newest()
    fleet.apply(webapp(4, version=version, lost_after="500ms", probes=READY, rollout=SLOW))
    return number


def all_run(fleet: Fleet, version: str):
    """Four replicas, all with one version; returns where."""
    tree = fleet.wait_running("webapp", 4)
    versions = Rollouts(fleet).versions(tree)
    assert set(versions.values()) == {version}, versions
    return tree.hosts_of("webapp")


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    rollouts = Rollouts(fleet)
    fleet.apply(webapp(4, version="v1", lost_after="500ms", probes=READY, rollout=SLOW), "--wait")
    placed = all_run(fleet, "v1")
    numbers = sorted(placed)

    with subtest("the host of the replica that is being updated dies: it is updated elsewhere, the rest follow"):
        mark = fleet.history().last()
        before = ask(fleet, "v2")
        rollouts.wait_begun(before)
        victim = fleet.agent(str(placed[numbers[0]]))
        victim.crash()
        rollouts.wait("completed", after=before)
        after = all_run(fleet, "v2")
        assert victim.name not in after.values() and set(after) == set(placed), after
        # Replicas that were taken out while one was lost would have been beyond the budget; the loss itself is not.
        check(fleet, Budget(4, undisturbed=False), mark)
        victim.start()
        fleet.wait(lambda tree: tree.agent_session(victim.name), f"{victim.name} is back")

    with subtest("the host of a replica that is not its turn yet dies: nothing more is taken out until it is replaced"):
        mark, placed = fleet.history().last(), after
        before = ask(fleet, "v3")
        rollouts.wait_begun(before)
        victim = fleet.agent(str(placed[numbers[-1]]))
        victim.crash()
        rollouts.wait("completed", after=before)
        after = all_run(fleet, "v3")
        assert victim.name not in after.values() and set(after) == set(placed), after
        check(fleet, Budget(4, undisturbed=False), mark)
        victim.start()
        fleet.wait(lambda tree: tree.agent_session(victim.name), f"{victim.name} is back")

    with subtest("a host is drained: rollout and drain never take out more than one together"):
        mark, placed = fleet.history().last(), after
        before = ask(fleet, "v4")
        rollouts.wait_begun(before)
        leaving = str(placed[numbers[2]])
        fleet.zkops(f"hosts drain {leaving} --wait")
        assert fleet.processes(fleet.agent(leaving)) == [], "drained means that the processes are gone"
        rollouts.wait("completed", after=before)
        after = all_run(fleet, "v4")
        assert leaving not in after.values(), after
        check(fleet, Budget(4), mark)
