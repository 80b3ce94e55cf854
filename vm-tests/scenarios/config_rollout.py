"""A configuration is rolled out: checked before it is swapped in, reloaded without a new process, taken back if it fails."""

from lib.fleet import Fleet
from lib.rollouts import Budget, Rollouts, check, steps
from lib.service import QUICK, READY, UNIT_FILE, webapp

CLUSTER = cluster(
    agents=3, session_timeout="10s", allowed_units=("webapp@*.service", "fixed@*.service"), agent={"accept_commands": True},
)

PROGRAM = "/usr/local/bin/webapp"
POLICY = {"check": [PROGRAM, "check", "{dir}"], "apply": "reload"}


def push(fleet: Fleet, text: str, service: str = "webapp") -> int:
    """Makes a revision of one template and returns its number."""
    fleet.zk.succeed("rm -rf /root/conf; mkdir /root/conf")
    fleet.write(zk1, "/root/conf/shop.toml.j2", text)
    before = fleet.tree().children(f"/services/{service}/config")
    fleet.zkops(f"config push {service} /root/conf")
    (new,) = fleet.tree().children(f"/services/{service}/config") - before
    return int(new)


def want(fleet: Fleet, revision: int, service: str = "webapp") -> int:
    """Asks for a revision; returns the number of the rollout before it."""
    number, _ = Rollouts(fleet, service).newest()
    fleet.put(f"/services/{service}/desired", {"mode": "enabled", "version": "v1", "replicas": 3, "config_version": revision})
    return number


def greetings(fleet: Fleet, port: int = 8080) -> dict[str, tuple[str, int]]:
    """What each host's replica says and how often it was reloaded."""
    said = {}
    for each in fleet.agents:
        about = fleet.ask(each.name, port)
        said[each.name] = about["config"]["greeting"], about["reloads"]
    return said


def in_force(fleet: Fleet) -> dict[str, str]:
    """Each host's files in force: where `current` points, and what is in them."""
    return {each.name: each.succeed("cd /var/lib/zkops/config/webapp; readlink current*; cat current*/shop.toml")
            for each in fleet.agents}


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    rollouts = Rollouts(fleet)

    with subtest("the first revision: each replica's own, from its template"):
        fleet.put("/services/webapp", {"unit": "webapp@.service"})
        first = push(fleet, 'greeting = "hello from {{ host }}, replica {{ replica|int }}"\n')
        fleet.apply(webapp(3, version="v1", desired=f"config_version = {first}", probes=READY, config=POLICY, rollout=QUICK), "--wait")
        placed = fleet.wait_running("webapp", 3).hosts_of("webapp")
        expected = {host: (f"hello from {host}, replica {number}", 0) for number, host in placed.items()}
        assert greetings(fleet) == expected, (greetings(fleet), expected)

    with subtest("a new one: reloaded one by one, no process is replaced, nobody leaves instances"):
        pids, mark = fleet.pids(), fleet.history().last()
        second = push(fleet, 'greeting = "good morning"\n')
        rollouts.wait("completed", after=want(fleet, second))
        fleet.wait_running("webapp", 3)
        assert fleet.pids() == pids, (pids, fleet.pids())
        assert set(greetings(fleet).values()) == {("good morning", 1)}, greetings(fleet)
        past = fleet.history()
        assert not past.gaps("/services/webapp/instances", set(map(str, placed.values())), after=mark)
        assert [step.number for step in steps(past, mark)] == sorted(placed)
        check(fleet, Budget(3), mark)

    with subtest("its check refuses it: nothing is swapped in, the rollout stops at the first replica"):
        files, mark = in_force(fleet), fleet.history().last()
        third = push(fleet, "greeting = 7\n")
        rollouts.wait("rolled_back", after=want(fleet, third))
        fleet.wait_running("webapp", 3)
        assert in_force(fleet) == files, (files, in_force(fleet))
        assert set(greetings(fleet).values()) == {("good morning", 1)}, "not even reloaded"
        assert fleet.pids() == pids
        assert {step.number for step in steps(fleet.history(), mark)} == {min(placed)}
        fleet.wait_condition("webapp", "RolledBack", "greeting must be a str")

    with subtest("a template that does not render: the same, with file and line"):
        fourth = push(fleet, 'greeting = "hello"\nmore = "{{ nonsense }}"\n')
        rollouts.wait("rolled_back", after=want(fleet, fourth))
        fleet.wait_running("webapp", 3)
        reason = fleet.wait_condition("webapp", "RolledBack", "shop.toml")
        assert "2" in reason, reason
        assert in_force(fleet) == files

    with subtest("a template that takes all memory: the same, and no agent is the worse for it"):
        agents = {each.name: each.get_unit_property("zkops-agent", "MainPID") for each in fleet.agents}
        greedy = push(fleet, "{% set all = namespace(x='x') %}{% for i in range(60) %}{% set all.x = all.x ~ all.x %}{% endfor %}\n")
        rollouts.wait("rolled_back", after=want(fleet, greedy))
        fleet.wait_running("webapp", 3)
        fleet.wait_condition("webapp", "RolledBack", "shop.toml: the template takes more than 64 MiB of memory")
        assert {each.name: each.get_unit_property("zkops-agent", "MainPID") for each in fleet.agents} == agents

    with subtest("the second of three fails its reload: it stops there, and the first is taken back"):
        numbers = sorted(placed)
        for number in (numbers[0], numbers[2]):
            fleet.agent(str(placed[number])).succeed("touch /etc/certificate")
        mark = fleet.history().last()
        fifth = push(fleet, 'greeting = "good evening"\ncertificate = "/etc/certificate"\n')
        rollouts.wait("rolled_back", after=want(fleet, fifth))
        fleet.wait_running("webapp", 3)
        fleet.wait_condition("webapp", "RolledBack", "reload")
        assert {host: said for host, (said, _) in greetings(fleet).items()} == dict.fromkeys(files, "good morning")
        now = in_force(fleet)
        assert {host: text.splitlines()[1:] for host, text in now.items()} == {
            host: text.splitlines()[1:] for host, text in files.items()}
        assert fleet.pids() == pids, "reloads only"
        told = steps(fleet.history(), mark)
        assert [(step.number, step.back) for step in told if not step.back] == [(numbers[0], False), (numbers[1], False)], told
        assert {step.number for step in told if step.back} == set(numbers[:2]), told
        check(fleet, Budget(3), mark)

    with subtest("it passes its check, reloads and no longer serves: one replica ever has it, whatever the probe's times"):
        # The defaults: a check every 10 s, and only the third that fails takes a replica out of instances.
        slow = {"readiness": {"http": {"path": "/healthz"}}}
        policy = {"min_healthy_time": "1s", "healthy_deadline": f"{5 * driver.pace:g}s", "progress_deadline": f"{30 * driver.pace:g}s"}
        good = in_force(fleet)
        fleet.apply(webapp(3, version="v1", desired=f"config_version = {second}", probes=slow, config=POLICY, rollout=policy),
                    "--wait")
        mark = fleet.history().last()
        sixth = push(fleet, 'greeting = "nobody"\nserves = false\n')
        rollouts.wait("rolled_back", after=want(fleet, sixth))
        fleet.wait_running("webapp", 3)
        told = {step.number for step in steps(fleet.history(), mark) if not step.back}
        assert told == {min(placed)}, f"{told} had it, max_unavailable is 1"
        reason = fleet.wait_condition("webapp", "RolledBack", "healthy_deadline")
        assert "503" in reason, reason
        assert set(said for said, _ in greetings(fleet).values()) == {"good morning"}
        assert in_force(fleet).keys() == good.keys() and fleet.pids() == pids

    with subtest("a service that cannot reload: replaced one by one"):
        text = UNIT_FILE.format(program=PROGRAM).replace(f"ExecReload={PROGRAM} reload\n", "")
        fleet.zkops("delete webapp --wait")
        fleet.put("/services/fixed", {"unit": "fixed@.service"})
        first = push(fleet, 'greeting = "one"\n', "fixed")
        fleet.apply(webapp(3, name="fixed", unit="fixed@.service", version="v1", extra=f"unit_file = '''\n{text}'''",
                           desired=f"config_version = {first}", probes=READY, config=POLICY, rollout=QUICK), "--wait")
        fleet.wait_running("fixed", 3)
        pids, mark = fleet.pids("fixed@*.service"), fleet.history().last()
        second = push(fleet, 'greeting = "two"\n', "fixed")
        Rollouts(fleet, "fixed").wait("completed", after=want(fleet, second, "fixed"))
        fleet.wait_running("fixed", 3)
        now = fleet.pids("fixed@*.service")
        assert all(now[host] != units for host, units in pids.items()), (pids, now)
        assert set(greetings(fleet).values()) == {("two", 0)}, greetings(fleet)
        check(fleet, Budget(3), mark, "fixed")

    with subtest("too large a revision is refused before anything is sent, naming the largest file"):
        revisions = fleet.tree().children("/services/fixed/config")
        zk1.succeed("head -c 600000 /dev/zero | tr '\\0' x > /root/conf/enormous.txt")
        status, text = fleet.zkops_status("config push fixed /root/conf")
        assert status != 0 and "enormous.txt" in text, (status, text)
        assert fleet.tree().children("/services/fixed/config") == revisions
