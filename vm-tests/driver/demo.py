"""`make demo`: an ensemble and hosts come up, a service runs, a host dies, the service goes on."""

from __future__ import annotations

import os
import sys
import time

from lib.fleet import Fleet

from . import leftovers, paths
from .cluster import cluster
from .host import NotBuilt
from .machine import Machine
from .scenario import Interrupted, running

CLUSTER = cluster(zookeepers=3, controllers=2, agents=3, session_timeout="4s", timeout=60)
EXAMPLE = paths.REPOSITORY / "examples/webapp/webapp.toml"
SESSION, LOST_AFTER = 4.0, 2.0

PLAY = """
The hosts stay up. Play on (each in this folder):
  vm-tests/shell zk1                          a shell where zkops and zkCli.sh are; try
                                                zkops status webapp --watch
                                                zkops explain webapp
                                                zkops scale webapp 3 --wait
                                                zkops hosts drain web2 --wait
  vm-tests/shell --crash web2                 take a host's power away; --start brings it back
  vm-tests/shell --block web3                 cut a host's network; --unblock fixes it
  vm-tests/run --clean                        end it all"""

AGAIN = """
To play with these hosts yourself:  make demo KEEP=1"""


def chapter(text: str) -> None:
    """A step of the story."""
    print(f"\n── {text}", flush=True)


def show(machine: Machine, command: str) -> str:
    """Types a command on a host, as a person would, and shows what it says."""
    print(f"{machine.name}# {command}", flush=True)
    output = machine.succeed(f"{command} 2>&1")
    print("".join(f"   {line}\n" for line in output.rstrip().splitlines()), end="", flush=True)
    return output


def main(argv: list[str]) -> int:
    """Tells the story; with a terminal or `--keep`, leaves the hosts up at its end."""
    if os.geteuid() != 0:
        sys.exit("make demo: must be run as root (it makes containers and network namespaces)")
    keep = "--keep" in argv or (sys.stdin.isatty() and sys.stdout.isatty())
    for stale in leftovers.sweep(kept=True):
        print(f"ended the hosts of {stale.scenario} ({stale.id})")
    try:
        with running("demo", CLUSTER, keep=keep) as driver:
            tell(Fleet(driver))
            print(PLAY if keep else AGAIN, flush=True)
    except NotBuilt as error:
        sys.exit(f"make demo: {error}")
    except Interrupted:
        print("\ninterrupted; everything was switched off and removed")
        return 130
    return 0


def tell(fleet: Fleet) -> None:
    """The story itself."""
    zk1 = fleet.zk
    began = time.monotonic()
    chapter("Six Debian hosts boot: three run ZooKeeper (two of them a zkops controller), three run a zkops agent.")
    fleet.up()
    print(f"   booted and ready after {time.monotonic() - began:.1f} s", flush=True)
    show(zk1, "zkops hosts")

    chapter("An operator describes a service: three replicas, one per host at most. Agents start it through systemd.")
    zk1.copy_from_host(str(EXAMPLE), "/root/webapp.toml")
    show(zk1, "zkops apply -f /root/webapp.toml --wait")
    fleet.wait_running("webapp", 3)
    show(zk1, "zkops status webapp")
    show(fleet.agent("web1"), "systemctl --no-pager --lines=0 status 'webapp@*'")

    chapter("Two replicas are enough. One leaves, the others don't notice.")
    show(zk1, "zkops scale webapp 2 --wait")
    tree = fleet.wait_running("webapp", 2)
    show(zk1, "zkops get replicas")

    victim = fleet.agent(str(sorted(tree.hosts_of("webapp").items())[0][1]))
    chapter(f"{victim.name} loses its power: no shutdown, no goodbye.")
    crash(fleet, victim)
    show(zk1, "zkops status webapp")
    show(zk1, "zkops explain webapp")

    chapter(f"{victim.name} comes back. Nothing moves back: an existing replica stays where it is.")
    victim.start()
    fleet.wait(lambda tree: tree.agent_session(victim.name) != 0, f"{victim.name} is back")
    show(zk1, "zkops get replicas")
    show(zk1, "zkops events webapp")

    chapter("The same by hand: all of it is plain JSON in ZooKeeper, for Apache's own client.")
    show(zk1, "zkCli.sh -server localhost:2181 get /services/webapp/desired | tail -n 1")


def crash(fleet: Fleet, victim: Machine) -> None:
    """Kills a host's init and measures until its replica runs elsewhere."""
    before = fleet.tree().hosts_of("webapp")
    (number,) = [number for number, host in before.items() if host == victim.name]
    lost = time.monotonic()
    victim.crash()
    tree = fleet.wait(
        lambda tree: tree.running("webapp", 2) and tree.hosts_of("webapp")[number] != victim.name,
        f"the replica of {victim.name} runs elsewhere",
    )
    host = fleet.agent(str(tree.hosts_of("webapp")[number]))
    took = fleet.unit(host, number).active_since - lost
    print(
        f"   replica {number} runs on {host.name} after {took:.2f} s: ZooKeeper's session timeout ({SESSION:.0f} s)"
        f" + lost_after ({LOST_AFTER:.0f} s) {took - SESSION - LOST_AFTER:+.2f} s", flush=True,
    )
