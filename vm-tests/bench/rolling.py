"""What a rollout costs per replica, against that replica's own stop, start and probe. Adds to target/bench.json.

Ten replicas of the sample service, which is ready as soon as it runs, one after the other, `min_healthy_time` 0. Every
stop comes after the same pause, the floor's as well, or a tight loop would flatter it: for zkops that is the drain
time, which is then taken off. From the transaction that wants the new version to the one that says "completed". Means,
as a rollout is a sum; a restart's times have two peaks, some 10 ms apart, and a median jumps between them.
"""

import json
import statistics
from pathlib import Path

from lib.fleet import Fleet
from lib.history import History
from lib.rollouts import Budget, Rollouts, check
from lib.service import webapp

CLUSTER = cluster(agents=10, session_timeout="10s", deadline=600, alone=True)

ROOT = Path(__file__).resolve().parents[2]
REPLICAS, ROLLOUTS, PAUSE = 10, 5, 0.15
ALONE = "webapp@1.service"
POLICY = {"min_healthy_time": "0s", "healthy_deadline": "10s", "progress_deadline": "20s"}
PROBE = {"readiness": {"http": {"path": "/healthz"}, "period": "1s"}}


def floor(fleet: Fleet) -> float:
    """The mean of a replica's own stop, start and probe, in seconds: one host after the other, as in a rollout."""
    for each in fleet.agents:
        each.succeed(f"systemctl start {ALONE}")
    roll = f"floor roll {ALONE} 8080 1 {PAUSE * 1000:.0f}"
    took = [float(each.succeed(roll)) / 1000 for _ in range(ROLLOUTS) for each in fleet.agents]
    for each in fleet.agents:
        each.succeed(f"systemctl stop {ALONE}")
    return statistics.mean(took)


def duration(past: History, number: int, version: str) -> float:
    """From the write of `desired` to the record's last word, in seconds on ZooKeeper's clock."""
    wanted = [txn.time for txn, op in past.writes(below="/services/webapp/desired") if json.loads(op.data)["version"] == version]
    record = past.writes(below=f"/services/webapp/rollouts/{number:010}")
    ended = [txn.time for txn, op in record if json.loads(op.data)["state"] == "completed"]
    return ended[0] - wanted[0]


def per_replica(fleet: Fleet) -> float:
    """The mean time per replica over a few rollouts, the pause taken off, in seconds."""
    rollouts, took = Rollouts(fleet, "webapp"), []

    def description(version: str) -> str:
        return webapp(REPLICAS, version=version, extra=f'drain_time = "{PAUSE * 1000:.0f}ms"', probes=PROBE, rollout=POLICY)

    fleet.apply(description("v0"), "--wait")
    fleet.wait_running("webapp", REPLICAS)
    mark = fleet.history().last()
    for turn in range(1, ROLLOUTS + 1):
        # It waits by a watch: to poll the tree would take one of the machine's cores from what is measured.
        fleet.apply(description(f"v{turn}"), "--wait")
        number, _ = rollouts.newest()
        took.append(duration(fleet.history(), number, f"v{turn}") / REPLICAS - PAUSE)
    check(fleet, Budget(REPLICAS), mark, "webapp")
    return statistics.mean(took)


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    for each in fleet.agents:
        each.copy_from_host(str(ROOT / "target/release/examples/floor"), "/usr/local/bin/floor")
    low, high = floor(fleet), per_replica(fleet)
    figures = {"rolling_floor_ms": round(low * 1000, 1), "rolling_ms": round(high * 1000, 1), "rolling_ratio": round(high / low, 2)}
    path = ROOT / "target/bench.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | figures, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:20} {figure}", flush=True)
