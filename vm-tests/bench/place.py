"""50,000 replicas are placed on 10,000 hosts by a controller under systemd with its shipped unit. Adds to target/bench.json.

The hosts' agents are one process (`agents`), which answers at once. What is shown beside the time: the controller was never
killed by its watchdog, lost neither its session nor the lead, and each replica is given to one host, once.
"""

import json
import time
from pathlib import Path

from lib.fleet import Fleet

CLUSTER = cluster(agents=0, session_timeout="10s", deadline=1800, timeout=1200, alone=True, zookeeper_options="-Xmx3g")

ROOT = Path(__file__).resolve().parents[2]
HOSTS, SERVICES, REPLICAS = 10_000, 5, 10_000


def get(path: str) -> dict:
    """A document of the tree; nothing else is read."""
    said = zk1.succeed(
        "python3 -c 'import sys; from kazoo.client import KazooClient as K; k = K(\"127.0.0.1:2181\"); k.start(); "
        f"print(k.get(\"{path}\")[0].decode() if k.exists(\"{path}\") else \"{{}}\"); k.stop()'"
    )
    return dict(json.loads(said))


def ready() -> int:
    """How many replicas serve, as their services' statuses say."""
    return sum(get(f"/services/big{number}/status").get("ready", 0) for number in range(SERVICES))


def restarts() -> tuple[str, str]:
    """The controller's process, and how often systemd has restarted it."""
    unit = "zkops-controller.service"
    return zk1.get_unit_property(unit, "MainPID"), zk1.get_unit_property(unit, "NRestarts")


def seconds(command: str) -> float:
    """How long a command takes: the middle of three times."""
    said = [zk1.succeed(f"bash -c 'TIMEFORMAT=%R; time {command} >/dev/null' 2>&1") for _ in range(3)]
    return sorted(float(text.split()[-1]) for text in said)[1]


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    before = restarts()
    zk1.copy_from_host(str(ROOT / "target/release/examples/agents"), "/usr/local/bin/agents")
    zk1.succeed(f"systemd-run --quiet --unit=agents agents 127.0.0.1:2181 {HOSTS}")
    zk1.wait_until_succeeds("journalctl --unit=agents --output=cat | grep -q ^ready")
    fleet.put("/services/small", {"unit": "small@.service", "rollout": {"min_healthy_time": "0s"}})
    fleet.put("/services/small/desired", {"replicas": 3, "version": "v1"})
    zk1.wait_until_succeeds("zkops status small | grep -q healthy")
    mark, began = fleet.history().last(), time.monotonic()
    for number in range(SERVICES):
        service = {"unit": f"big{number}@.service", "rollout": {"min_healthy_time": "0s"}}
        fleet.put(f"/services/big{number}", service)
        fleet.put(f"/services/big{number}/desired", {"replicas": REPLICAS, "version": "v1"})
    seen = 0
    while (now := ready()) < SERVICES * REPLICAS:
        if now - seen >= 5000:
            seen = now
            print(f"{now} ready after {time.monotonic() - began:.0f} s", flush=True)
        assert restarts() == before, f"the controller was restarted: {before}, {restarts()}"
        zk1.sleep(2)
    took = time.monotonic() - began
    given = [op.path for _, op in fleet.history().writes(mark, "/hosts") if op.kind == "create" and "/assigned/" in op.path]
    names = [path.rsplit("/", 1)[1] for path in given]
    assert len(names) == len(set(names)) == SERVICES * REPLICAS, f"{len(names)} given, {len(set(names))} of them different"
    assert restarts() == before, f"the controller was restarted: {before}, {restarts()}"
    log = zk1.succeed("journalctl --unit=zkops-controller --output=cat")
    lost = [line for line in log.splitlines() if "watchdog" in line.lower() or "out of reach" in line or "session" in line and "expired" in line]
    assert not lost, lost
    memory = int(zk1.succeed(f"grep VmHWM /proc/{before[0]}/status").split()[1]) / 1024
    figures = {"place_50000_s": round(took, 1), "place_50000_controller_mib": round(memory, 1)}
    questions = {"all": "dump", "services": "status", "service": "status small", "hosts": "hosts"}
    figures |= {f"cli_{name}_s": seconds(f"zkops {question}") for name, question in questions.items()}
    path = ROOT / "target/bench.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | figures, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:28} {figure}", flush=True)
