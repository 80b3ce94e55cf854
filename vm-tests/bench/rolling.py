"""What a rollout costs per replica, against that replica's own stop, start and probe. Adds to target/bench.json.

Ten replicas of the sample service, which is ready as soon as it runs, one after the other, `min_healthy_time` 0. Every
stop comes after the same pause, the floor's as well, or a tight loop would flatter it: for zkops that is the drain
time, which is then taken off. From the transaction that wants the new version to the one that says "completed".

The floor and zkops take turns, a pass over all hosts each: what a restart costs depends on how long the machine has
run and what else it does. Means, as a rollout is a sum; a restart's times have two peaks, some 10 ms apart, and a
median jumps between them.
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
REPLICAS, ROLLOUTS, PAUSE = 10, 10, 0.15
ALONE, PORT = "webapp@alone.service", 9090
POLICY = {"min_healthy_time": "0s", "healthy_deadline": "10s", "progress_deadline": "20s"}
PROBE = {"readiness": {"http": {"path": "/healthz"}, "period": "1s"}}


def description(version: str) -> str:
    """The service, to be replaced one replica after the other."""
    return webapp(REPLICAS, version=version, extra=f'drain_time = "{PAUSE * 1000:.0f}ms"', probes=PROBE, rollout=POLICY)


def begin(fleet: Fleet) -> None:
    """The service's replicas run, and one of it on each host that is not zkops's."""
    fleet.apply(description("v0"), "--wait")
    fleet.wait_running("webapp", REPLICAS)
    for each in fleet.agents:
        each.copy_from_host(str(ROOT / "target/release/examples/floor"), "/usr/local/bin/floor")
        each.succeed(f"mkdir --parents /run/systemd/system/{ALONE}.d")
        fleet.write(each, f"/run/systemd/system/{ALONE}.d/port.conf", f"[Service]\nEnvironment=ZKOPS_PORT={PORT}\n")
        each.succeed(f"systemctl daemon-reload; systemctl start {ALONE}")


def floor(fleet: Fleet) -> float:
    """The mean of a replica's own stop, start and probe, in seconds: one host after the other, as in a rollout."""
    roll = f"floor roll {ALONE} {PORT} 1 {PAUSE * 1000:.0f}"
    return statistics.mean(float(each.succeed(roll)) / 1000 for each in fleet.agents)


def rollout(fleet: Fleet, version: str) -> float:
    """The time per replica, the pause taken off, in seconds."""
    # It waits by a watch: to poll the tree would take one of the machine's cores from what is measured.
    fleet.apply(description(version), "--wait")
    number, _ = Rollouts(fleet, "webapp").newest()
    return duration(fleet.history(), number, version) / REPLICAS - PAUSE


def duration(past: History, number: int, version: str) -> float:
    """From the write of `desired` to the record's last word, in seconds on ZooKeeper's clock."""
    wanted = [txn.time for txn, op in past.writes(below="/services/webapp/desired") if json.loads(op.data)["version"] == version]
    record = past.writes(below=f"/services/webapp/rollouts/{number:010}")
    ended = [txn.time for txn, op in record if json.loads(op.data)["state"] == "completed"]
    return ended[0] - wanted[0]


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    begin(fleet)
    mark = fleet.history().last()
    turns = [(floor(fleet), rollout(fleet, f"v{turn}")) for turn in range(1, ROLLOUTS + 1)]
    check(fleet, Budget(REPLICAS), mark, "webapp")
    low, high = (statistics.mean(each) for each in zip(*turns, strict=True))
    figures = {"rolling_floor_ms": round(low * 1000, 1), "rolling_ms": round(high * 1000, 1), "rolling_ratio": round(high / low, 2)}
    path = ROOT / "target/bench.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | figures, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:20} {figure}", flush=True)
