"""A host loses its power and every write that was not synced: the agent's ledger is old or new, whole, never torn.

Only virtual machines can show this: containers share the machine's page cache, which survives their crash.
"""

import json

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(drivers=("qemu",), agents=1, session_timeout="4s")

LEDGER = "/var/lib/zkops/agent/ledger.json"

#: Is on the host's disk from the start, and read by nobody: the kernel is booted from outside.
UNREAD = "/boot/vmlinuz-*"


def accepted(tree, version: str, state: str) -> bool:
    """Has the agent said so much of its one replica?"""
    (replica,) = tree.replicas("webapp").values()
    states = ("pending", "starting", "running")
    return replica.status.get("version") == version and replica.state in states[states.index(state):]


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(1, version="v0", lost_after="60s"), "--wait")

    with subtest("a power loss keeps what was synced, and loses what was not"):
        web1.succeed(f"dd if=/dev/zero of=$(echo {UNREAD}) bs=4096 seek=300 count=1 conv=notrunc oflag=direct,dsync")
        web1.succeed("echo synced > /var/lib/synced; sync; echo more >> /var/lib/synced; echo lost > /var/lib/unsynced")
        web1.crash()
        web1.start()
        web1.succeed(f"cmp --bytes=4096 --ignore-initial={300 * 4096}:0 {UNREAD} /dev/zero")
        assert web1.succeed("cat /var/lib/synced") == "synced\n"
        web1.fail("grep lost /var/lib/unsynced")

    for turn, state in enumerate(("pending", "starting", "running"), 1):
        with subtest(f"power is lost when the agent says that the next version is {state}"):
            fleet.wait_running("webapp", 1)
            fleet.put("/services/webapp/desired", {"mode": "enabled", "version": f"v{turn}", "replicas": 1})
            fleet.wait(lambda tree: accepted(tree, f"v{turn}", state), f"v{turn} is {state}")
            web1.crash()
            web1.start()
            web1.wait_for_unit("zkops-agent.service")
            web1.fail(f"test -e {LEDGER}.unreadable")
            (record,) = json.loads(web1.succeed(f"cat {LEDGER}"))["replicas"].values()
            known = {f"v{turn}"} if state == "running" else {f"v{turn - 1}", f"v{turn}"}
            assert record["assignment"]["version"] in known, record
            tree = fleet.wait(lambda tree: tree.running("webapp", 1) and accepted(tree, f"v{turn}", "running"), f"v{turn} runs")
            assert tree.hosts_of("webapp") == {1: "web1"}
