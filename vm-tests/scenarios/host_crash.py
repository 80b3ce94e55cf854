"""A host dies, a host is cut off, both come back: replicas run elsewhere in time, nobody else is touched."""

import time

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(
    releases=("bookworm", "trixie"), drivers=("nspawn", "qemu"), agents=4, session_timeout="4s", alone=True,
)

LOST_AFTER = 2.0
#: How much later than it must a replica may run elsewhere, in seconds. Slower hosts get more, and longer sessions.
LATE = 1.0


def lose(fleet: Fleet, victim, how) -> float:
    """Loses a host by `how()`; returns by how much its replica's replacement exceeded what was configured."""
    before, pids = fleet.tree().hosts_of("webapp"), fleet.pids()
    (number,) = [number for number, host in before.items() if host == victim.name]
    lost = time.monotonic()
    how()
    tree = fleet.wait(
        lambda tree: tree.running("webapp", 2) and tree.hosts_of("webapp")[number] != victim.name,
        f"the replica of {victim.name} runs elsewhere", timeout=30,
    )
    after = tree.hosts_of("webapp")
    unit = fleet.unit(fleet.agent(after[number]), number)
    assert {n: h for n, h in after.items() if n != number} == {n: h for n, h in before.items() if n != number}
    survivors = [host for host in before.values() if host != victim.name]
    assert all(fleet.pids()[host] == pids[host] for host in survivors), "the other replica was touched"
    return unit.active_since - lost - driver.session_timeout - LOST_AFTER


def stopped_before_it_registered(fleet: Fleet, host):
    """A returning host stops what is no longer its own before it says that it is there."""
    old = fleet.tree().agent_session(host.name)
    assert old == 0, f"{host.name} is still registered"
    yield
    node = fleet.wait(lambda tree: tree.agent_session(host.name), f"{host.name} is back").node(f"/hosts/{host.name}/alive")
    registered = fleet.monotonic(node["ctime"])
    assert fleet.processes(host) == [], f"{host.name} registered while its old replica still ran"
    for unit, stopped in fleet.stopped(host).items():
        assert stopped <= registered + 0.005 + driver.clock_error, f"{unit} stopped after {host.name} registered"


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(2, lost_after="2s"), "--wait")
    placed = fleet.wait_running("webapp", 2).hosts_of("webapp")
    dead, cut = (fleet.agent(placed[number]) for number in sorted(placed))

    with subtest("a host's init is killed: its replica runs elsewhere, less than a second later than it must"):
        excess = lose(fleet, dead, dead.crash)
        driver.logger.tell(f"      {excess * 1000:+.0f} ms to session timeout + lost_after")
        assert excess < LATE * driver.pace, f"{excess:.3f} s too late"

    with subtest("a host is cut off, silently: the same"):
        excess = lose(fleet, cut, cut.block)
        driver.logger.tell(f"      {excess * 1000:+.0f} ms to session timeout + lost_after")
        assert excess < LATE * driver.pace, f"{excess:.3f} s too late"
        assert len(fleet.processes(cut)) == 1, "an isolated host runs on: the service is not exclusive"

    placed = fleet.tree().hosts_of("webapp")
    pids = fleet.pids()
    for host, how in ((cut, cut.unblock), (dead, dead.start)):
        with subtest(f"the host comes back ({'cable' if host is cut else 'power'}): it stops what is no longer its own"):
            steps = stopped_before_it_registered(fleet, host)
            next(steps)
            how()
            next(steps, None)
            assert fleet.tree().hosts_of("webapp") == placed, "a return is no reason to move anything"
            assert all(fleet.pids()[name] == pids[name] for name in placed.values())

    with subtest("never were there more instances than asked for"):
        most = max(len(names) for _, names in fleet.history().children("/services/webapp/instances"))
        assert most == 2, most
