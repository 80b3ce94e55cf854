"""Many replicas on one host: what it takes to start, stop and take them over, how that grows, and the floor of the same run.

The floor of a start: the drop-ins, one daemon-reload, one `systemctl start` of all; of a stop: one `systemctl stop` of all.
Their process does nothing, so that what is seen is zkops and systemd. Times are from just before the write to systemd's own
time of the last unit. CPU is that of the agent, of PID 1 and of the bus, in milliseconds per replica. Adds to target/bench.json.
"""

import json
import os
import time
from pathlib import Path

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=1, session_timeout="10s", deadline=1800, timeout=300, alone=True, allowed_units=("many*",))

ROOT = Path(__file__).resolve().parents[2]
COUNTS = [int(count) for count in os.environ.get("ZKOPS_BENCH_COUNTS", "25 50 100 200 500").split()]
UNIT = "[Service]\nType=exec\nExecStart=/usr/bin/sleep infinity\nSlice=many.slice\n"
DROP_IN = "[Service]\nEnvironment=FLOOR=%i\n"
WHO = {"agent": "zkops-agent", "systemd": "", "bus": "dbus"}


def pid(machine, unit: str) -> int:
    """A unit's main process; PID 1 without a unit."""
    return int(machine.succeed(f"systemctl show {unit} --property=MainPID --value")) if unit else 1


def cpu(machine) -> dict[str, float]:
    """The CPU time used so far, in seconds, all threads."""
    used = {}
    for name, unit in WHO.items():
        lines = machine.succeed(f"cat /proc/{pid(machine, unit)}/task/*/schedstat").splitlines()
        used[name] = sum(int(line.split()[0]) for line in lines) / 1e9
    return used


def reloads(machine) -> int:
    """How often systemd has read its unit files again."""
    return int(machine.succeed("journalctl --boot --quiet --output=cat _PID=1 | grep --count ^Reloading || true"))


def all_started(fleet: Fleet, machine, name: str, count: int) -> float:
    """When the last of so many replicas became active."""
    units = f"systemctl list-units --plain --no-legend --state=active '{name}@*'"
    machine.wait_until_succeeds(f"test $({units} | wc -l) -ge {count}")
    started = fleet.active(machine, f"{name}@*")
    assert len(started) == count, f"{len(started)} of {name} are active, not {count}"
    return max(unit.active_since for unit in started.values())


def all_stopped(fleet: Fleet, machine, name: str, count: int) -> float:
    """When the last of so many replicas was stopped: by the journal, for systemd forgets most of them at once."""
    machine.wait_until_succeeds(f"test $(systemctl list-units --plain --no-legend '{name}@*' | wc -l) -eq 0")
    stopped = fleet.stopped(machine, f"{name}@")
    assert len(stopped) == count, f"{len(stopped)} of {name} were stopped, not {count}"
    return max(stopped.values())


def floor(machine, count: int) -> tuple[float, float]:
    """What it takes systemd alone to start so many, and to stop them, in seconds."""
    names = f"$(seq --format=floor@%g.service {count})"
    machine.succeed(
        "systemctl cat floor@.service >/dev/null 2>&1 || "
        "{ cp /run/systemd/system/many@.service /run/systemd/system/floor@.service; systemctl daemon-reload; }"
    )
    began = time.monotonic()
    machine.succeed(
        f"for name in {names}; do mkdir /run/systemd/system/$name.d; "
        f"printf '{DROP_IN}' > /run/systemd/system/$name.d/floor.conf; done; systemctl daemon-reload; systemctl start {names}"
    )
    started = time.monotonic() - began
    began = time.monotonic()
    machine.succeed(f"systemctl stop {names}")
    stopped = time.monotonic() - began
    machine.succeed("rm -r /run/systemd/system/floor@*.service.d; systemctl daemon-reload")
    return started, stopped


def restart(fleet: Fleet, machine, name: str, count: int) -> dict[str, float]:
    """The agent is killed and starts anew: when it is READY, and when its replicas are in `instances` by its new session."""
    before = pid(machine, "zkops-agent")
    machine.succeed("systemctl kill --signal=KILL --kill-whom=main zkops-agent")
    another = f"test $(systemctl show zkops-agent --property=MainPID --value) -ne {before}"
    machine.wait_until_succeeds(f"{another} && systemctl is-active --quiet zkops-agent")
    shown = machine.succeed("systemctl show zkops-agent --property=ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic")
    at = dict(line.split("=", 1) for line in shown.splitlines())
    ready = (int(at["ActiveEnterTimestampMonotonic"]) - int(at["ExecMainStartTimestampMonotonic"])) / 1e6
    fleet.wait(lambda tree: len(tree.instances(name)) == count, f"{count} of {name} are listed")
    return {"ready_s": round(ready, 2)}


def rss(machine) -> float:
    """The agent's resident memory, in MiB."""
    status = machine.succeed(f"cat /proc/{pid(machine, WHO['agent'])}/status")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def measure(fleet: Fleet, count: int) -> dict[str, float]:
    """So many replicas, on one host that has no others."""
    (host,), name = fleet.agents, f"many{count}"
    floor_start, floor_stop = floor(host, count)
    host.succeed(f"cp /run/systemd/system/many@.service /run/systemd/system/{name}@.service; systemctl daemon-reload")
    fleet.apply(webapp(0, name=name, unit=f"{name}@.service", port=None, placement={}, rollout={"min_healthy_time": "0s"}))
    fleet.wait(lambda tree: tree.status(name), f"{name} is known")
    read = reloads(host)
    before, began = cpu(host), time.monotonic()
    fleet.put(f"/services/{name}/desired", {"mode": "enabled", "version": "v1.2.3", "replicas": count})
    started = all_started(fleet, host, name, count) - began
    fleet.wait(lambda tree: len(tree.instances(name)) == count, f"{count} of {name} are listed")
    time.sleep(1)
    used = cpu(host)
    figures = {
        "start_s": round(started, 2), "start_floor_s": round(floor_start, 2), "start_ratio": round(started / floor_start, 2),
        **{f"start_{who}_ms": round(1000 * (used[who] - before[who]) / count, 1) for who in WHO},
        "start_reloads": reloads(host) - read, "agent_rss_mib": round(rss(host), 1), **restart(fleet, host, name, count),
    }
    before, began = cpu(host), time.monotonic()
    fleet.put(f"/services/{name}/desired", {"mode": "disabled", "version": "v1.2.3", "replicas": count})
    stopped = all_stopped(fleet, host, name, count) - began
    fleet.wait(lambda tree: tree.status(name).get("summary") == "disabled", f"{name} is disabled")
    used = cpu(host)
    figures |= {
        "stop_s": round(stopped, 2), "stop_floor_s": round(floor_stop, 2), "stop_ratio": round(stopped / floor_stop, 2),
        **{f"stop_{who}_ms": round(1000 * (used[who] - before[who]) / count, 1) for who in WHO},
    }
    fleet.zkops(f"delete {name} --wait")
    fleet.wait(lambda tree: f"/services/{name}" not in tree, f"{name} is deleted")
    return figures


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    (host,) = fleet.agents
    fleet.write(host, "/run/systemd/system/many@.service", UNIT)
    host.succeed("systemctl daemon-reload")
    rows = {}
    for count in COUNTS:
        rows[count] = measure(fleet, count)
        print(f"{count:4} " + "  ".join(f"{name} {figure:g}" for name, figure in rows[count].items()), flush=True)
    path = ROOT / "target/bench.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {"many": rows}, indent=2) + "\n")
