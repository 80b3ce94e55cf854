"""Planned work on hosts: cordon, drain, an orderly shutdown, a new version; never more than one replica away."""

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=4, session_timeout="10s", labels={
    "web1": {"rack": "a"}, "web2": {"rack": "a"}, "web3": {"rack": "b"}, "web4": {"rack": "b"},
})

INSTANCES = "/services/webapp/instances"


def fewest(fleet: Fleet, after: int) -> int:
    """The fewest instances there were at any moment since a transaction."""
    return min(len(names) for _, names in fleet.history().children(INSTANCES, after=after))


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()

    with subtest("spread over racks"):
        fleet.apply(webapp(2, lost_after="30s", placement={"spread": "rack", "max_per_host": 1}), "--wait")
        placed = fleet.wait_running("webapp", 2).hosts_of("webapp")
        racks = {CLUSTER.labels[str(host)]["rack"] for host in placed.values()}
        assert racks == {"a", "b"}, placed

    with subtest("cordon: what runs stays, nothing new comes"):
        (number, name), _ = sorted(placed.items())
        fleet.zkops(f"hosts cordon {name}")
        assert fleet.wait_running("webapp", 2).hosts_of("webapp") == placed

    with subtest("drain: its replica runs elsewhere, keeps its number, and nothing of it is left"):
        fleet.zkops(f"hosts drain {name} --wait")
        assert fleet.processes(fleet.agent(name)) == [], "drained means that the processes are gone"
        moved = fleet.wait_running("webapp", 2).hosts_of("webapp")
        assert set(moved) == set(placed) and moved[number] != name, (placed, moved)
        fleet.zkops(f"hosts undrain {name}")
        fleet.zkops(f"hosts uncordon {name}")
        assert fleet.wait_running("webapp", 2).hosts_of("webapp") == moved, "a return is no reason to move"

    with subtest("orderly shutdown: out of instances before it stops, replaced at once"):
        host = fleet.agent(str(moved[number]))
        mark = fleet.history().last()
        session = fleet.tree().agent_session(host.name)
        host.shutdown()
        tree = fleet.wait(
            lambda tree: tree.running("webapp", 2) and tree.hosts_of("webapp")[number] != host.name, "replaced", timeout=8,
        )
        past = fleet.history()
        ended = [txn for txn in past.txns if txn.zxid > mark and txn.session == session and txn.kind == "session closed"]
        assert ended, "the session was left to expire"
        left = [txn.time for txn, op in past.writes(after=mark, below=f"{INSTANCES}/{host.name}") if op.kind == "delete"]
        host.start()
        stopped = host.succeed(
            "journalctl --boot=-1 --quiet --no-pager --output=json MESSAGE_ID=9d1aaa27d60140bd96365438aad20286"
            " | grep 'UNIT\":\"webapp@' | sed 's/.*__REALTIME_TIMESTAMP\":\"\\([0-9]*\\).*/\\1/' | head -n 1"
        )
        first = min([*left, *(txn.time for txn in ended)])
        assert first <= int(stopped) / 1e6, f"out of instances at {first}, stopped at {stopped}"

    with subtest("a new version: one at a time, the budget is kept"):
        fleet.wait(lambda tree: tree.agent_session(host.name), f"{host.name} is back")
        mark = fleet.history().last()
        before = fleet.pids()
        fleet.apply(webapp(2, version="v2", lost_after="30s", placement={"spread": "rack", "max_per_host": 1}), "--wait")
        tree = fleet.wait_running("webapp", 2)
        assert {each.status["version"] for each in tree.replicas("webapp").values()} == {"v2"}
        assert fewest(fleet, mark) >= 1, "max_unavailable is 1"
        after = fleet.pids()
        assert all(after[name] != units for name, units in before.items() if units), "every replica was restarted"
