"""Versions come from an archive or a Debian package; whatever goes wrong on the way, the old version runs on."""

from lib.fleet import Fleet
from lib.load import Load
from lib.packages import Packages
from lib.releases import Releases
from lib.rollouts import Budget, Rollouts, check
from lib.service import QUICK, READY, UNIT_FILE, webapp

CLUSTER = cluster(
    releases=("bookworm", "trixie"), agents=2, session_timeout="10s", allowed_units=("shop@*.service", "parcel.service", "made@*.service"),
    agent={"accept_packages": True, "accept_commands": True},
)

#: Time enough for retries; a rollout that is stuck shows as the test's own timeout.
PATIENT = {**QUICK, "healthy_deadline": "50s", "progress_deadline": "55s"}


def release(machine, number: int) -> str:
    """Which release a replica's `current` is, by its own word."""
    return machine.succeed(f"cat /var/lib/zkops/releases/shop/current@{number:010}/VERSION").strip()


def comes_in_the_end(fleet: Fleet, releases: Releases, how: str, old: str, new: str) -> None:
    """The mirror fails in a way: the old version serves, the status says why; fixed, the new one comes by itself."""
    rollouts, sums = Rollouts(fleet, "shop"), releases.sums()
    number, _ = rollouts.newest()
    pids, mark = fleet.pids("shop@*.service"), fleet.history().last()
    with Load(zk1, "shop") as load:
        releases.mood(how)
        fleet.apply(releases.service(new, sums, replicas=2, rollout=PATIENT))
        tree = fleet.wait(
            lambda tree: any("shop-" in str(each.status.get("message")) for each in tree.replicas("shop").values()),
            "a replica's status says what is wrong with the download",
        )
        assert tree.running("shop", 2) and set(rollouts.versions(tree).values()) == {old}, rollouts.versions(tree)
        assert fleet.pids("shop@*.service") == pids, "nothing is stopped before its successor is at hand"
        assert releases.asked(how) > 0
        releases.mood()
        rollouts.wait("completed", after=number)
    load.outcome.flawless()
    tree = fleet.wait_running("shop", 2)
    assert set(rollouts.versions(tree).values()) == {new}
    assert {release(fleet.agent(host), n) for n, host in tree.hosts_of("shop").items()} == {new}
    check(fleet, Budget(2), mark, "shop")


def archives(fleet: Fleet) -> None:
    versions = tuple(f"v{number}" for number in range(1, 6))
    releases = Releases(zk1, versions)
    sums = releases.sums()

    with subtest("archive: fetched, verified, unpacked, and what runs is what was unpacked"):
        fleet.apply(releases.service("v1", sums, replicas=2, rollout=PATIENT), "--wait")
        tree = fleet.wait_running("shop", 2)
        for number, host in tree.hosts_of("shop").items():
            assert release(fleet.agent(host), number) == "v1"
            about = fleet.ask(str(host), 8081)
            assert (about["release"], about["ZKOPS_RELEASE_DIR"]) == ("v1", "/var/lib/zkops/releases/shop/v1"), about

    for how, old, new in (("500", "v1", "v2"), ("truncate", "v2", "v3"), ("stall", "v3", "v4")):
        with subtest(f"the mirror's answer is {how}: the old version serves on, then the new one comes"):
            comes_in_the_end(fleet, releases, how, old, new)

    with subtest("there is no such version: given up at once, the old version serves on"):
        rollouts = Rollouts(fleet, "shop")
        number, _ = rollouts.newest()
        pids = fleet.pids("shop@*.service")
        fleet.apply(releases.service("v9", sums | {"v9": sums["v1"]}, replicas=2, rollout=PATIENT))
        rollouts.wait("rolled_back", after=number)
        fleet.wait_running("shop", 2)
        reason = fleet.wait_condition("shop", "RolledBack", "404")
        assert "v9" in reason, reason
        assert fleet.pids("shop@*.service") == pids

    with subtest("old releases are pruned; those in use and two more stay"):
        fleet.apply(releases.service("v5", sums, replicas=2, rollout=PATIENT), "--wait")
        fleet.wait_running("shop", 2)
        for each in fleet.agents:
            each.wait_until_succeeds("test ! -e /var/lib/zkops/releases/shop/v1", timeout=20)
            kept = each.succeed("ls /var/lib/zkops/releases/shop").split()
            assert "v5" in kept and "v4" in kept, kept
    fleet.zkops("delete shop --wait")


def packages(fleet: Fleet) -> None:
    repository = Packages(zk1, "parcel", ("1.0", "2.0", "3.0"))
    for each in fleet.agents:
        repository.use_on(each)

    def parcel(version: str) -> str:
        return webapp(2, name="parcel", unit="parcel.service", version=version, port=8082, placement={}, extra='drain_time = "300ms"',
                      source={"apt": {"package": "parcel"}}, probes=READY, rollout=PATIENT)

    def starts() -> list[int]:
        """How often each host's systemd started the unit."""
        started = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf UNIT=parcel.service"
        return [int(each.succeed(f"journalctl --quiet --output=cat {started} | wc -l")) for each in fleet.agents]

    def installed() -> set[str]:
        return {each.succeed("dpkg-query -W -f '${Version}' parcel") for each in fleet.agents}

    rollouts = Rollouts(fleet, "parcel")
    with subtest("apt: installed from a repository, and what runs is what was installed"):
        fleet.apply(parcel("1.0"), "--wait")
        fleet.wait_running("parcel", 2)
        assert installed() == {"1.0"}
        assert starts() == [1, 1], f"the package's own scripts started it: {starts()}"

    with subtest("a new package version: one host after the other, the package's own scripts start nothing"):
        number, mark = rollouts.newest()[0], fleet.history().last()
        with Load(zk1, "parcel") as load:
            fleet.apply(parcel("2.0"))
            rollouts.wait("completed", after=number)
        load.outcome.flawless()
        fleet.wait_running("parcel", 2)
        assert installed() == {"2.0"} and starts() == [2, 2], (installed(), starts())
        check(fleet, Budget(2), mark, "parcel")

    with subtest("dpkg's lock is held: it waits while both replicas serve, and goes on when the lock is free"):
        number, mark = rollouts.newest()[0], fleet.history().last()
        with Load(zk1, "parcel") as load:
            for each in fleet.agents:
                repository.lock(each)
            fleet.apply(parcel("3.0"))
            _, record = rollouts.wait_begun(number)
            first = fleet.agent(str(fleet.tree().hosts_of("parcel")[int(min(record["updating"]))]))
            first.wait_until_succeeds("pgrep -f '[a]pt-get .*parcel=3.0'")
            tree = fleet.wait(
                lambda tree: any("3.0" in str(each.status.get("message")) for each in tree.replicas("parcel").values()),
                "a replica's status says what it waits for",
            )
            assert tree.running("parcel", 2), "nothing is stopped before its successor can be installed"
            assert set(rollouts.versions().values()) == {"2.0"}, rollouts.versions()
            for each in fleet.agents:
                repository.unlock(each)
            rollouts.wait("completed", after=number)
        load.outcome.flawless()
        assert installed() == {"3.0"}
        check(fleet, Budget(2), mark, "parcel")

    with subtest("no such package version: the one before stays installed and runs on"):
        number, pids = rollouts.newest()[0], fleet.pids("parcel.service")
        fleet.apply(parcel("9.9"))
        rollouts.wait("rolled_back", after=number)
        fleet.wait_running("parcel", 2)
        fleet.wait_condition("parcel", "RolledBack", "9.9")
        assert installed() == {"3.0"} and fleet.pids("parcel.service") == pids

    with subtest("back to an older one"):
        number = rollouts.newest()[0]
        fleet.apply(parcel("2.0"))
        rollouts.wait("completed", after=number)
        assert installed() == {"2.0"}


#: What systemd and shells take for something else.
WORDS = ["${d} $$ $HOME", "%n%%", "a\\", "", "two\nlines", "'\"", ";", "{version}"]
#: Makes a release, some of it another user's; waits when it is told to.
MAKE = """set -e
cd "$ZKOPS_RELEASE_DIR"
printf '[%s]' "$@" >words
echo {version} >>attempts
test ! -e /run/slow-{version} || sleep 300
cp /usr/local/bin/webapp app
mkdir -p theirs/deep
touch theirs/deep/file
chown -R nobody theirs
chmod 500 theirs theirs/deep"""
#: Follows what a configuration says of its own place.
CHECK = """f=$(sed -n 's/^# see //p' "$1/shop.toml"); test "$f" = "$ZKOPS_CONFIG_DIR/shop.toml" && grep good "$f" """


def commands(fleet: Fleet) -> None:
    folder = "/var/lib/zkops/releases/made"

    def made(version: str, revision: int) -> str:
        unit = UNIT_FILE.format(program=f"{folder}/current@%i/app")
        command = ["/bin/sh", "-c", MAKE, "sh", *WORDS]
        return webapp(2, name="made", unit="made@.service", version=version, port=8083, desired=f"config_version = {revision}",
                      extra=f"unit_file = '''\n{unit}'''", source={"exec": {"command": command}, "keep": 0}, probes=READY,
                      config={"check": ["/bin/sh", "-c", CHECK, "sh", "{dir}"]}, rollout=PATIENT)

    def push(greeting: str) -> int:
        before = fleet.tree().children("/services/made/config")
        fleet.write(zk1, "/root/made/shop.toml.j2", f'# see {{{{ config_dir }}}}/shop.toml\ngreeting = "{greeting}"\n')
        fleet.zkops("config push made /root/made")
        (new,) = fleet.tree().children("/services/made/config") - before
        return int(new)

    zk1.succeed("mkdir /root/made")
    rollouts = Rollouts(fleet, "made")
    with subtest("exec: its words arrive as they are written; a check sees the first configuration where it will be"):
        fleet.put("/services/made", {"unit": "made@.service"})
        good = push("good")
        fleet.apply(made("v1", good), "--wait")
        hosts = {fleet.agent(host) for host in fleet.wait_running("made", 2).hosts_of("made").values()}
        expected = "".join(f"[{word}]" for word in WORDS).replace("{version}", "v1")
        assert {each.succeed(f"cat {folder}/v1/words") for each in hosts} == {expected}

    with subtest("the agent is killed while a command makes a release: that ends, another begins, nothing is mixed"):
        number, _ = rollouts.newest()
        for each in hosts:
            each.succeed("touch /run/slow-v2")
        fleet.apply(made("v2", good))
        _, record = rollouts.wait_begun(number)
        first = fleet.agent(str(fleet.tree().hosts_of("made")[int(min(record["updating"]))]))
        pid = first.wait_until_succeeds("pgrep -f '^sleep 300'").strip()
        for each in hosts:
            each.succeed("rm /run/slow-v2")
        first.succeed("systemctl kill --signal=KILL zkops-agent")
        first.wait_until_fails(f"test -e /proc/{pid}")
        rollouts.wait("completed", after=number)
        assert {each.succeed(f"cat {folder}/v2/attempts") for each in hosts} == {"v2\n"}

    with subtest("what belongs to others is pruned, too; what cannot be removed keeps nothing else"):
        for each in hosts:
            each.succeed(f"mkdir -p {folder}/.new-v0~stuck/mount && mount -t tmpfs none {folder}/.new-v0~stuck/mount")
        fleet.apply(made("v3", good), "--wait")
        fleet.wait_running("made", 2)
        for each in hosts:
            each.wait_until_succeeds(f"! ls -A {folder} | grep -v -e current -e v3 -e stuck", timeout=20)
            each.succeed(f"umount {folder}/.new-v0~stuck/mount")

    with subtest("a check sees what will be in force, not what is"):
        number, _ = rollouts.newest()
        fleet.apply(made("v3", push("bad")))
        rollouts.wait("rolled_back", after=number)
        assert fleet.ask(str(next(iter(fleet.wait_running("made", 2).hosts_of("made").values()))), 8083)["config"]["greeting"] == "good"
    fleet.zkops("delete made --wait")


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    archives(fleet)
    commands(fleet)
    packages(fleet)
