"""What zkops costs, against the floor of the same run. Prints a table and writes target/bench.json.

Every start comes after the same pause, the floor's as well: a tight loop would flatter whatever it measures.
Times are CLOCK_MONOTONIC, which all hosts share: from just before the write to systemd's own
ActiveEnterTimestampMonotonic. Medians, so that one late timer does not decide.
"""

import json
import statistics
import time
from pathlib import Path

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=3, session_timeout="4s", labels={"web1": {"bench": "yes"}}, deadline=1200, alone=True)

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.15
SAMPLES = 60
SESSION, LOST_AFTER = 4.0, 2.0
FAILOVERS = 3
REST = 60
FLOOR = "floor@1.service"


def timed_write(fleet: Fleet, path: str, document: str) -> float:
    """Writes a node, and says when."""
    return float(fleet.zk.succeed(f"printf %s '{document}' | zktool timed {path}"))


def active_since(machine, unit: str, after: float) -> float:
    """When a unit became active, once it is so after a time."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = machine.succeed(f"systemctl show {unit} --property=ActiveState,ActiveEnterTimestampMonotonic")
        values = dict(line.split("=", 1) for line in text.split())
        since = int(values["ActiveEnterTimestampMonotonic"]) / 1e6
        if values["ActiveState"] == "active" and since > after:
            return since
    raise AssertionError(f"{unit} did not become active")


def start_floor(fleet: Fleet, host) -> None:
    """Starts the two processes of the floor, under systemd like zkops's own."""
    for machine in (fleet.zk, host):
        machine.copy_from_host(str(ROOT / "target/release/examples/floor"), "/usr/local/bin/floor")
    for path in ("/floor/asked", "/floor/relayed"):
        fleet.put(path, "")
    host.succeed("cp /usr/lib/systemd/system/webapp@.service /run/systemd/system/floor@.service; systemctl daemon-reload")
    run = "systemd-run --quiet --unit=floor-{0} --property=StandardOutput=journal /usr/local/bin/floor {0} zk1:2181 {1}"
    fleet.zk.succeed(run.format("relay", ""))
    host.succeed(run.format("start", FLOOR))
    for machine, name in ((fleet.zk, "relay"), (host, "start")):
        machine.wait_until_succeeds(f"journalctl --unit=floor-{name} --output=cat | grep --quiet ready")


def sample_floor(fleet: Fleet, host) -> float:
    """One start by the floor."""
    host.succeed(f"systemctl stop {FLOOR}")
    time.sleep(PAUSE)
    written = timed_write(fleet, "/floor/asked", "x")
    return active_since(host, FLOOR, written) - written


def sample_zkops(fleet: Fleet, host, unit: str) -> float:
    """One start by zkops, from `desired` alone."""
    fleet.put("/services/webapp/desired", {"mode": "disabled", "version": "v1.2.3", "replicas": 1})
    fleet.wait(lambda tree: tree.status("webapp").get("summary") == "disabled", "webapp is disabled")
    time.sleep(PAUSE)
    written = timed_write(fleet, "/services/webapp/desired", '{"mode":"enabled","version":"v1.2.3","replicas":1}')
    return active_since(host, unit, written) - written


def latency(fleet: Fleet) -> dict[str, float]:
    """The floor and zkops, sample by sample in turn."""
    fleet.apply(webapp(1), "--wait")
    ((number, name),) = fleet.wait_running("webapp", 1).hosts_of("webapp").items()
    host, unit = fleet.agent(name), f"webapp@{number:010}.service"
    start_floor(fleet, host)
    floor, zkops = [], []
    for _ in range(SAMPLES):
        floor.append(sample_floor(fleet, host))
        zkops.append(sample_zkops(fleet, host, unit))
    fleet.zk.succeed("systemctl stop floor-relay")
    host.succeed(f"systemctl stop floor-start {FLOOR}")
    low, high = statistics.median(floor) * 1000, statistics.median(zkops) * 1000
    return {"floor_ms": round(low, 2), "active_ms": round(high, 2), "ratio": round(high / low, 2)}


def failover(fleet: Fleet) -> dict[str, float]:
    """A host's init is killed: how much later than it must its replica is active elsewhere. The worst of a few."""
    worst = 0.0
    for _ in range(FAILOVERS):
        ((number, name),) = fleet.wait_running("webapp", 1).hosts_of("webapp").items()
        victim, lost = fleet.agent(name), time.monotonic()
        victim.crash()
        tree = fleet.wait(lambda tree: tree.running("webapp", 1) and tree.hosts_of("webapp")[number] != name, "it runs elsewhere")
        elsewhere = fleet.agent(tree.hosts_of("webapp")[number])
        excess = fleet.unit(elsewhere, number).active_since - lost - SESSION - LOST_AFTER
        worst = max(worst, excess)
        victim.start()
        fleet.wait(lambda tree: tree.agent_session(name), f"{name} is back")
    return {"failover_excess_ms": round(worst * 1000, 1)}


def pid(machine, unit: str) -> int:
    """A unit's main process."""
    return int(machine.succeed(f"systemctl show {unit} --property=MainPID --value"))


def cpu_seconds(machine, unit: str) -> float:
    """CPU time that a unit's main process has used, all threads: to the nanosecond, as ticks of 10 ms would be noise."""
    lines = machine.succeed(f"cat /proc/{pid(machine, unit)}/task/*/schedstat").splitlines()
    return sum(int(line.split()[0]) for line in lines) / 1e9


def zxid(fleet: Fleet) -> int:
    """ZooKeeper's last transaction."""
    (line,) = [line for line in fleet.zk.succeed("printf srvr | nc -w 2 localhost 2181").splitlines() if line.startswith("Zxid")]
    return int(line.split()[1], 16)


def rest(fleet: Fleet) -> dict[str, float]:
    """50 units on one host, and nothing to do: memory, and what a minute of rest costs."""
    fleet.apply(webapp(50, name="crowd", port=None, placement={"constraints": ["bench=yes"]}, environment={"WEBAPP_IDLE": "1"}), "--wait")
    host = fleet.agent("web1")
    fleet.wait(lambda tree: len(tree.instances("crowd")) == 50, "50 units run")
    time.sleep(5)
    status = host.succeed(f"cat /proc/{pid(host, 'zkops-agent')}/status")
    (rss,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    daemons = [(host, "zkops-agent"), (fleet.controllers[0], "zkops-controller")]
    before, writes, started = [cpu_seconds(*daemon) for daemon in daemons], zxid(fleet), time.monotonic()
    time.sleep(REST)
    used = max(cpu_seconds(*daemon) - was for daemon, was in zip(daemons, before, strict=True))
    elapsed = time.monotonic() - started
    return {"agent_rss_kib": rss, "rest_zk_writes": zxid(fleet) - writes, "rest_cpu_percent": round(100 * used / elapsed, 3)}


def planning() -> dict[str, float]:
    """What `cargo bench --bench plan` has just measured (criterion's median, in nanoseconds)."""
    (estimates,) = ROOT.glob("target/criterion/plan, one of*/new/estimates.json")
    median = json.loads(estimates.read_text())["median"]["point_estimate"]
    return {"plan_ms": round(median / 1e6, 2)}


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    figures = planning() | latency(fleet) | failover(fleet) | rest(fleet)
    (ROOT / "target/bench.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:20} {figure}", flush=True)
