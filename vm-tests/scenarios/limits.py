"""What bounds the controller, on 25 hosts: a unit that is nowhere, a bad rollout that is scaled down, a canary switched off and on."""

from lib.fleet import Fleet
from lib.load import Load
from lib.metrics import metrics
from lib.rollouts import Rollouts
from lib.service import READY, webapp

CLUSTER = cluster(agents=25, session_timeout="10s", deadline=300, alone=True, allowed_units=("web*@*.service",))

POLICY = {"min_healthy_time": "300ms", "healthy_deadline": "1m", "progress_deadline": "2m"}
RESTART = {"delay": "100ms", "limit_burst": 2, "limit_interval": "30s"}
REPLICAS = 10


def tries(fleet: Fleet, mark: int) -> int:
    """How often a replica was given to a host since the mark."""
    given = (op for _, op in fleet.history().writes(mark, "/hosts") if op.kind == "create" and "/assigned/webapp." in op.path)
    return sum(1 for _ in given)


def typo(fleet: Fleet, unit: str, kind: str, said: str, most: int) -> None:
    """A service whose unit is misspelled: it is said within a minute, hosts are tried a few times, and `apply` fixes it."""
    mark = fleet.history().last()
    fleet.apply(webapp(REPLICAS, unit=unit, restart=RESTART, rollout=POLICY))
    fleet.wait_condition("webapp", kind, said, timeout=60)
    # For as long as moves were made without an end.
    zk1.sleep(10)
    count = tries(fleet, mark)
    assert count <= most, f"{count} tries for {REPLICAS} replicas"
    held = metrics(zk1, 9641)["zkops_controller_replicas_held"]
    assert (held != "0") == (kind == "Failed"), f"{held} are held"
    fleet.apply(webapp(REPLICAS, restart=RESTART, rollout=POLICY), "--wait")
    fleet.wait_running("webapp", REPLICAS)
    fleet.zkops("delete webapp --yes --wait")


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    rollouts = Rollouts(fleet)

    with subtest("a unit that no host allows: nothing is tried, and the condition names the key"):
        typo(fleet, "wepapp@.service", "Unplaced", "wepapp@.service is not among allowed_units", most=0)

    with subtest("a unit that is on no host: a few hosts are tried, then it stays and says why"):
        typo(fleet, "webap@.service", "Failed", "stays here", most=3 * REPLICAS)

    with subtest("scaled down in the middle of a bad rollout: not one request fails"):
        # Clients hear a little later than its host that a replica goes.
        drained = 'drain_time = "500ms"'
        fleet.apply(webapp(4, version="v1", probes=READY, restart=RESTART, rollout=POLICY, extra=drained), "--wait")
        with Load(zk1, "webapp") as load:
            broken = {"SHOP_BROKEN": "v2:ready"}
            bad = webapp(4, version="v2", probes=READY, restart=RESTART, rollout=POLICY, extra=drained, environment=broken)
            before, _ = rollouts.newest()
            fleet.apply(bad)
            rollouts.wait_begun(after=before)
            fleet.wait(lambda tree: any(each.desired.get("version") == "v2" for each in tree.replicas("webapp").values()), "v2 is told")
            (told,) = (number for number, each in fleet.tree().replicas("webapp").items() if each.desired.get("version") == "v2")
            fleet.zkops("scale webapp 2")
            # The rollout goes on with those that are left, one after the other.
            tree = fleet.wait(lambda tree: len(tree.replicas("webapp")) == 2, "two replicas are left")
            assert told not in tree.replicas("webapp"), "what serves nobody goes first"
            zk1.sleep(3)
        load.outcome.flawless()
        assert set(load.outcome.by_version) == {"v1"}, load.outcome
        fleet.zkops("delete webapp --yes --wait")

    with subtest("a canary that waits is still one after the service was off and on"):
        def shop(version: str) -> str:
            return webapp(4, version=version, probes=READY, restart=RESTART, rollout=POLICY | {"canary": 1})

        fleet.apply(shop("v1"), "--wait")
        before, _ = rollouts.newest()
        fleet.apply(shop("v2"))
        number, _ = rollouts.wait("paused", after=before)
        for off in ("disable", "drain"):
            fleet.zkops(f"{off} webapp --wait")
            fleet.zkops("enable webapp")
            fleet.wait_running("webapp", 4)
            fleet.wait(lambda tree: rollouts.newest(tree)[1].get("pause") == "canary", "the canary waits again")
            told = list(rollouts.versions().values())
            assert (told.count("v1"), told.count("v2")) == (3, 1), (off, told)
        fleet.zkops("rollout promote webapp --wait")
        assert rollouts.newest()[0] == number and set(rollouts.versions().values()) == {"v2"}, rollouts.versions()
