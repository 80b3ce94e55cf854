"""A new version that never gets ready, crashes, or cannot be verified is rolled back; the old one serves throughout."""

import shlex

from lib.fleet import Fleet
from lib.load import Load, Outcome
from lib.releases import Releases
from lib.rollouts import Budget, Rollouts, check, steps
from lib.service import READY, webapp

CLUSTER = cluster(agents=3, session_timeout="10s", allowed_units=("webapp@*.service", "shop@*.service"))

POLICY = {"min_healthy_time": "300ms", "healthy_deadline": "3s", "progress_deadline": "10s"}
#: What the sample service says when it is told not to start.
LAST_LINE = "webapp: broken, as it was told to be"
RESTART = {"delay": "100ms", "limit_burst": 2, "limit_interval": "30s"}


def broken(version: str, how: str = "", **rollout: str | int) -> str:
    """The sample service; a version that is broken in some way."""
    return webapp(
        3, version=version, extra='drain_time = "500ms"', probes=READY, restart=RESTART, rollout={**POLICY, **rollout},
        environment={"SHOP_BROKEN": f"{version}:{how}"} if how else {},
    )


def fails(fleet: Fleet, description: str, service: str = "webapp", replicas: int = 3) -> tuple[Outcome, list, dict]:
    """Applies what must fail, under load, and waits until it is rolled back."""
    rollouts = Rollouts(fleet, service)
    number, _ = rollouts.newest()
    mark = fleet.history().last()
    with Load(zk1, service) as load:
        fleet.apply(description)
        _, record = rollouts.wait("rolled_back", after=number)
        fleet.wait(lambda tree: tree.running(service, replicas) and tree.condition(service, "RolledBack"), "all run as before")
    assert set(rollouts.versions().values()) == {"v1"}, rollouts.versions()
    check(fleet, Budget(replicas), mark, service)
    return load.outcome, steps(fleet.history(), mark, service), record


def only_the_first(told: list) -> int:
    """The replica that was updated and taken back; no other was touched."""
    (number,) = {step.number for step in told}
    assert [step.back for step in told] == [False, True], told
    return number


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(broken("v1"), "--wait")
    placed = fleet.wait_running("webapp", 3).hosts_of("webapp")

    with subtest("v2 never gets ready: v1 is back, nobody was ever sent to v2"):
        outcome, told, record = fails(fleet, broken("v2", "ready"))
        outcome.flawless()
        assert set(outcome.by_version) == {"v1"}, outcome
        assert only_the_first(told) == min(placed)
        # What is wrong, not that it refused connections at first.
        reason = fleet.wait_condition("webapp", "RolledBack", "healthy_deadline")
        assert "503" in reason, reason
        assert reason.split(":")[0] in fleet.zkops("explain webapp"), "explain says why"

    with subtest("v2 exits with 1: v1 is back, and the reason has how it ended and what it said last"):
        outcome, told, record = fails(fleet, broken("v2", "start", healthy_deadline="20s", progress_deadline="40s"))
        outcome.flawless()
        only_the_first(told)
        fleet.wait_condition("webapp", "RolledBack", "exited with status 1; its last line: " + LAST_LINE)
        assert LAST_LINE in fleet.zkops("rollout status webapp"), "rollout status says why"

    with subtest("v2 crashes after it was ready: v1 is back, and v1 never failed a request"):
        outcome, told, record = fails(fleet, broken("v2", "crash=1", min_healthy_time="3s", healthy_deadline="8s"))
        first = placed[only_the_first(told)]
        assert outcome.by_version.keys() == {"v1", "v2"}, outcome
        # What a crash cuts off cannot be saved; it must have been v2's.
        host = {each.name: index for index, each in enumerate(machines, 1)}[str(first)]
        asked = [each["asked"] for each in outcome.failures]
        assert all(each and each[0] == f"10.0.0.{host}" for each in asked), outcome.failures
        assert outcome.longest_gap < 2, outcome

    with subtest("nothing is tried again by itself, and v2 fixed is a rollout like any other"):
        rollouts = Rollouts(fleet)
        number, _ = rollouts.newest()
        fleet.apply(broken("v2"))
        rollouts.wait("completed", after=number)
        tree = fleet.wait_running("webapp", 3)
        assert set(rollouts.versions(tree).values()) == {"v2"}
        fleet.wait_no_condition("webapp", "RolledBack")

    with subtest("one host cannot run v3, and max_failures is 1: the rollout is completed without it, and says so"):
        drop_in = "/run/systemd/system/webapp@.service.d"
        unless_v3 = shlex.quote("[Service]\nExecStartPre=test ${ZKOPS_VERSION} != v3\n")
        web2.succeed(f"mkdir -p {drop_in} && printf %s {unless_v3} > {drop_in}/v3.conf")
        web2.succeed("systemctl daemon-reload")
        number, _ = rollouts.newest()
        fleet.apply(broken("v3", max_failures=1))
        rollouts.wait("completed", after=number)
        tree = fleet.wait(lambda tree: tree.condition("webapp", "Failed"), "it says that one failed")
        states = {str(each.host): each.status["state"] for each in tree.replicas("webapp").values()}
        assert states == {"web1": "running", "web2": "failed", "web3": "running"}, states
        assert set(rollouts.versions(tree).values()) == {"v3"}, rollouts.versions(tree)
        said = "without 1 replica that failed (max_failures)"
        fleet.wait(lambda _: said in fleet.zkops("events webapp"), "the events say so")
        assert said in fleet.zkops("rollout status webapp")
        web2.succeed(f"rm -r {drop_in} && systemctl daemon-reload")
        fleet.zkops("delete webapp --wait")

    with subtest("v2's archive has a wrong checksum: it is not even started, no process was touched"):
        releases = Releases(zk1, ("v1", "v2"))
        sums = releases.sums()
        fleet.apply(releases.service("v1", sums, rollout=POLICY), "--wait")
        fleet.wait_running("shop", 3)
        pids = fleet.pids("shop@*.service")
        wrong = sums | {"v2": sums["v2"][::-1]}
        outcome, told, record = fails(fleet, releases.service("v2", wrong, rollout=POLICY), "shop")
        outcome.flawless()
        only_the_first(told)
        assert fleet.pids("shop@*.service") == pids, "a process was restarted for an archive that is not what it should be"
        reason = fleet.wait_condition("shop", "RolledBack", sums["v2"][::-1][:12])
        assert "sha" in reason.lower(), reason

    with subtest("the right checksum: it comes"):
        rollouts = Rollouts(fleet, "shop")
        number, _ = rollouts.newest()
        fleet.apply(releases.service("v2", sums, rollout=POLICY))
        rollouts.wait("completed", after=number)
        assert set(rollouts.versions().values()) == {"v2"}
