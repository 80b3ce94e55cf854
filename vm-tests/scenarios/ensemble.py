"""An ensemble from nothing: set up, restarted one by one under writes, a member lost, replaced, two added."""

import json

from lib.apt import Apt, apt, everywhere
from lib.ensembles import UNIT, reachable, started, writes
from lib.fleet import Fleet

CLUSTER = cluster(
    releases=("bookworm", "trixie"), zookeepers=5, controllers=0, agents=0, packaged=True, zkops=False, deadline=240,
)

#: A small, quickly started JVM: there are five of them on one machine.
JVM = 'ZOOKEEPER_HEAP=96m\nZOOKEEPER_GC=-XX:+UseSerialGC\nZOOKEEPER_JAVA_OPTIONS="-XX:TieredStopAtLevel=1"\n'
THREE, FOUR, FIVE = (",".join(f"zk{number}" for number in range(1, count + 1)) for count in (3, 4, 5))


def test() -> None:
    fleet = Fleet(driver)
    start_all()
    everywhere(machines, Apt(zk1).add_to)
    everywhere(machines, lambda host: install(fleet, host))
    members = [zk1, zk2, zk3]
    with subtest("three hosts become an ensemble by one command"):
        set_up(members)
    with subtest("members are restarted one by one under writes, the leader last; no session is lost"):
        one_by_one(fleet, members)
    with subtest("a member is lost: degraded; two: no quorum; neither is restarted then"):
        lost(fleet)
    with subtest("a member with an empty disk takes the lost one's place"):
        replaced(members)
    with subtest("three members become five, one at a time, under writes"):
        grown(fleet)
    with subtest("a member that does not come back stops it; a command that does nothing is no restart"):
        stuck(fleet)


def install(fleet: Fleet, host) -> None:
    """With a JVM that suits the test, before it is started for the first time."""
    reachable(host)
    apt(host, "install zkops zkops-zookeeper")
    fleet.write(host, "/etc/default/zkops-zookeeper", JVM)


def servers(hosts: str) -> str:
    """The connection string of these members."""
    return ",".join(f"{host}:2181" for host in hosts.split(","))


def status(hosts: str) -> tuple[int, dict]:
    """What `ensemble status` says, and its exit code."""
    code, said = zk1.execute(f"zkops -z {servers(hosts)} ensemble status -o json")
    return code, json.loads(said)


def until(command: str, code: int, *words: str) -> str:
    """Repeats it until it ends with this code and says all of this: on a busy machine, a member may answer too late."""
    said: list = []

    def good() -> bool:
        said[:] = zk1.execute(f"{command} 2>&1")
        return said[0] == code and all(word in said[1] for word in words)

    zk1.retry(good, f"`{command}` ends with {code} and says {words}")
    return said[1]


def healthy(hosts: str) -> dict:
    """Waits until it says so, and every member has answered all; returns its members by their host."""
    found: dict = {}

    def good() -> bool:
        code, said = status(hosts)
        found.update({each["address"].removesuffix(":2181"): each for each in said["members"]})
        answered = all(each["ruok"] is True and each["watches"] is not None for each in said["members"])
        counted = any(each["synced_followers"] is not None for each in said["members"])
        return code == 0 and said["state"] == "healthy" and answered and counted

    zk1.retry(good, f"{hosts} are healthy")
    return found


def leader(hosts: str) -> str:
    """The member that leads, which must be one."""
    (found,) = [name for name, each in healthy(hosts).items() if each["mode"] == "leader"]
    return found


def set_up(members) -> None:
    """On each the same command; once more, it changes nothing."""
    command = f"zkops ensemble init --members {THREE}"
    said = everywhere(members, lambda host: host.succeed(command))
    assert "this host is member 2, zk2, of 3" in said[1] and f"zkops -z {servers(THREE)} ensemble status" in said[1], said
    assert "unchanged" in zk1.succeed(command)
    code, text = zk1.execute("zkops ensemble init --members zk1,zk2,zk9 2>&1")
    assert code == 4 and "-server.3 = zk3" in text, (code, text)
    everywhere(members, lambda host: host.succeed(f"systemctl start --no-block {UNIT}"))
    found = healthy(THREE)
    (leads,) = [each for each in found.values() if each["mode"] == "leader"]
    assert leads["synced_followers"] == 2 and leads["ruok"] is True and leads["not_allowed"] == [], leads
    table = f"zkops -z {servers(THREE)} ensemble status --timeout 5s"
    until(table, 0, "healthy: 3 of 3 voting members serve, 2 are needed", " 2/2 ")

    def found_by_one() -> bool:
        code, alone = status("zk1")
        return code == 0 and [(each["address"], each["listed"]) for each in alone["members"]] == [
            ("zk1:2181", True), ("zk2:2181", False), ("zk3:2181", False)]

    zk1.retry(found_by_one, "the others are found by one")
    # Without a connection string, on a member: 127.0.0.1 is zk1 by another name. So is zk1's address beside its name.
    itself = until("zkops ensemble status --timeout 5s", 0, "127.0.0.1:2181 ", "healthy: 3 of 3 voting members serve")
    assert "\nzk1:2181 " not in itself, itself
    until(f"zkops -z 127.0.0.1:2181,{servers(THREE)} ensemble status --timeout 5s", 0, "healthy: 3 of 3 voting")
    # As many addresses as there are members, and yet not all of them.
    text = until("zkops -z 127.0.0.1,zk1,zk2 ensemble status --timeout 5s", 0, "healthy: 3 of 3 voting", "zk3:2181 ")
    assert "\nzk1:2181 " not in text, text
    alone = "zkops -z zk1:2181 ensemble rolling-restart"
    until(alone, 4, "nothing was restarted: zk2:2181 is a member, but not listed")


def rolling_restart(hosts: str, *options: str) -> str:
    """`ensemble rolling-restart` over what stands for ssh; once it begins, it must succeed."""
    said: list = []

    def begun() -> bool:
        said[:] = zk1.execute(f"zkops -z {servers(hosts)} ensemble rolling-restart {' '.join(options)} 2>&1")
        return said[0] != 4

    zk1.retry(begun, "nothing stands in the way of a restart")
    assert said[0] == 0, said
    return said[1]


def one_by_one(fleet: Fleet, members) -> None:
    """The order is checked by when the new processes were started."""
    before, led = {host.name: started(host) for host in members}, leader(THREE)
    planned = rolling_restart(THREE, "--dry-run")
    assert f"3. {led}:2181 (leader): ssh " in planned, planned
    assert {host.name: started(host) for host in members} == before, "a dry run restarts nothing"
    with writes(zk4, servers(THREE)) as seen:
        said = rolling_restart(THREE)
    flawless(seen)
    after = {host.name: started(host) for host in members}
    assert all(after[name] > before[name] for name in before), (before, after, said)
    assert max(after, key=lambda name: after[name]) == led, (led, after, said)
    assert sorted(healthy(THREE)) == ["zk1", "zk2", "zk3"]


def flawless(seen: dict) -> None:
    """Retries are what a client does; a write that failed for good, or a second session, is not."""
    driver.logger.tell(f"      {seen['writes']} writes, none for {seen['longest_gap']:.1f} s at worst")
    assert seen["failed"] == [] and len(seen["sessions"]) == 1 and seen["writes"] > 50, seen


def lost(fleet: Fleet) -> None:
    """Each state has its exit code, and says why."""
    zk3.crash()
    # If it led, the others have no quorum until one of them does.
    until(f"zkops -z {servers(THREE)} ensemble status", 9, "degraded: 2 of 3 voting", "zk3:2181 is down", " leads")
    before = [started(host) for host in (zk1, zk2)]
    until(f"zkops -z {servers(THREE)} ensemble rolling-restart", 4, "nothing was restarted: zk3:2181 is down")
    assert [started(host) for host in (zk1, zk2)] == before
    zk2.succeed(f"systemctl stop {UNIT}")
    until(f"zkops -z {servers(THREE)} ensemble status", 6, "zk1:2181 runs, but serves nobody: it has no quorum")
    zk2.succeed(f"systemctl start {UNIT}")


def replaced(members) -> None:
    """As docs/ensemble.md says: the same name and number, nothing on its disk."""
    zk3.start()
    zk3.succeed(f"systemctl stop {UNIT}; rm -rf /var/lib/zkops-zookeeper /etc/zkops/ensemble.conf")
    zk3.succeed(f"zkops ensemble init --members {THREE}", f"systemctl start {UNIT}")
    assert zk3.succeed("cat /var/lib/zkops-zookeeper/data/myid").strip() == "3"
    found = healthy(THREE)
    assert found["zk3"]["znodes"] == found["zk1"]["znodes"] > 5, found


def grown(fleet: Fleet) -> None:
    """One at a time: any two majorities, before and after one is added, share somebody."""
    refused, text = zk1.execute(f"zkops ensemble init --members {FIVE} --force 2>&1")
    assert refused == 4 and "2 members would be changed at once" in text, (refused, text)
    with writes(zk2, servers(THREE)) as seen:
        for host, hosts, options in ((zk4, FOUR, "--transitional"), (zk5, FIVE, "")):
            host.succeed(f"zkops ensemble init --members {hosts} {options}", f"systemctl start {UNIT}")
            old = [each for each in (zk1, zk2, zk3, zk4) if each is not host]
            old = old if host is zk5 else [zk1, zk2, zk3]
            everywhere(old, lambda each: each.succeed(f"zkops ensemble init --members {hosts} {options} --force"))
            rolling_restart(hosts, f"--skip {host.name}")
    flawless(seen)
    found = healthy(FIVE)
    modes = sorted(each["mode"] for each in found.values())
    assert modes == ["follower"] * 4 + ["leader"], modes
    assert zk5.succeed("grep -c '^server' /run/zkops-zookeeper/zoo.cfg").strip() == "5"


def stuck(fleet: Fleet) -> None:
    """The first follower cannot start any more: the others are left alone."""
    led = leader(FIVE)
    first = next(host for host in machines if host.name != led)
    others = [host for host in machines if host is not first]
    before = {host.name: started(host) for host in machines}
    command = f"zkops -z {servers(FIVE)} ensemble rolling-restart"
    until(f"{command} --skip {led}", 4, f"nothing was restarted: {led}:2181 leads and is skipped: restart it first")
    until(f"{command} --timeout 2s --via 'true {{host}}'", 5, f"{first.name}:2181 has not restarted yet")
    assert {host.name: started(host) for host in machines} == before
    first.succeed("echo nonsense >> /etc/zkops/ensemble.conf")
    until(command, 1, f"{first.name}:2181: `ssh ", f"waiting for {first.name}:2181 to be back", "failed: exit status: 1")
    assert {host.name: started(host) for host in others} == {host.name: before[host.name] for host in others}
    zk1.retry(lambda: status(FIVE)[0] == 9, "it serves without the one")
