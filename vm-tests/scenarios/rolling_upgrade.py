"""Four replicas get a new version under constant load: not one request fails, and the budget holds at every moment."""

from lib.fleet import Fleet
from lib.load import Load
from lib.rollouts import Budget, Rollouts, check, steps
from lib.service import quick, ready, webapp

# A host more than replicas, for the surge: one replica per host.
CLUSTER = cluster(drivers=("nspawn", "qemu"), agents=5, session_timeout="10s")


def shop(version: str, max_unavailable: str, max_surge: str) -> str:
    """Four replicas; a replica out of `instances` goes on serving for the drain time."""
    return webapp(
        4, version=version, extra=f'drain_time = "{500 * driver.pace:g}ms"\nmax_unavailable = {max_unavailable}', probes=ready(driver.pace),
        rollout={**quick(driver.pace), "max_surge": int(max_surge) if max_surge.isdigit() else max_surge.strip('"')},
    )


def upgrade(fleet: Fleet, old: str, new: str, budget: Budget, description: str) -> None:
    """Old to new under load."""
    rollouts = Rollouts(fleet)
    number, _ = rollouts.newest()
    before, mark = fleet.tree().hosts_of("webapp"), fleet.history().last()
    with Load(zk1, "webapp") as load:
        fleet.apply(description)
        _, record = rollouts.wait("completed", after=number)
    load.outcome.flawless()
    assert set(load.outcome.by_version) == {old, new}, load.outcome
    driver.logger.tell(f"      {load.outcome.requests} requests, {load.outcome.by_version}")
    after = fleet.wait_running("webapp", 4).hosts_of("webapp")
    assert after == before, f"numbers and hosts stay: {before}, {after}"
    assert set(rollouts.versions().values()) == {new}, rollouts.versions()
    check(fleet, budget, mark)
    told = [step.number for step in steps(fleet.history(), mark) if not step.surge]
    assert told == sorted(before), f"each replica once, by number: {told}"


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(shop("v1", "1", "0"), "--wait")
    fleet.wait_running("webapp", 4)

    with subtest("max_unavailable = 1: in place, one after the other"):
        upgrade(fleet, "v1", "v2", Budget(4, max_unavailable=1), shop("v2", "1", "0"))

    with subtest("max_surge = 1: the new one is ready before an old one stops"):
        mark = fleet.history().last()
        upgrade(fleet, "v2", "v3", Budget(4, max_unavailable=0, max_surge=1), shop("v3", "0", "1"))
        surge = {step.number for step in steps(fleet.history(), mark) if step.surge}
        assert len(surge) == 1 and min(surge) > 4, f"one temporary replica with a number of its own: {surge}"

    with subtest("as shares: 25 % of four is one"):
        upgrade(fleet, "v3", "v4", Budget(4, max_unavailable=1), shop("v4", '"25%"', "0"))
