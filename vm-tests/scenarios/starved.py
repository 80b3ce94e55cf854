"""An agent cannot be starved: whatever is slow, hangs or runs out, it turns, others are served, and no replica is judged for it."""

import shlex
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lib import shims
from lib.fleet import Fleet
from lib.service import READY, webapp

CLUSTER = cluster(
    agents=1, session_timeout="15s", allowed_units=("webapp@*.service", "s-*.service"),
    agent={"accept_commands": True, "accept_packages": True},
)

AGENT = "zkops-agent.service"
UNIT_FILE = "[Service]\nExecStart=/bin/sleep infinity\n"
#: Of what is always in its replica's favour, by different ways to ask.
FINE = {
    "exec": {"exec": {"command": ["/usr/bin/test", "!", "-e", "/run/not-fine"]}},
    "tcp": {"tcp": {"port": 8080}},
    "named": {"tcp": {"host": "db.example.org", "port": 80}},
}
#: Does not end by itself, and not by any signal that can be caught.
STUBBORN = ["/bin/sh", "-c", "trap '' TERM INT HUP; sleep infinity & while :; do wait; done"]
#: systemd-run, which fails in its own ways for some commands.
BROKEN = """#!/bin/sh
case $* in
*/bin/true*) set -- --property=BindPaths=/nowhere:/opt "$@" ;;
*/bin/echo*) export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere ;;
esac
exec /usr/bin/systemd-run.real "$@"
"""
#: A name server that hears and never answers.
SILENT = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.2', 53)); time.sleep(999)"


def described(name: str, replicas: int = 1, **more) -> str:
    """A service of its own unit file, all of whose replicas change at once."""
    extra = f"unit_file = '''\n{UNIT_FILE}'''\nmax_unavailable = {replicas}\n"
    return webapp(replicas, name=name, unit=f"s-{name}@.service", port=None, extra=extra, placement={"max_per_host": replicas},
                  rollout={"min_healthy_time": "0s", "healthy_deadline": "120s", "progress_deadline": "240s"}, **more)


def probed(name: str, replicas: int) -> str:
    """One that is restarted if it fails two checks."""
    asked = {**FINE[name], "period": "300ms", "timeout": "1s", "failure_threshold": 2}
    return described(name, replicas, probes={"readiness": asked, "liveness": asked})


class Trouble:
    """web1 in trouble, and what must not change there meanwhile."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def restart_agent(self, *lines: str) -> None:
        """Starts the agent again, with these lines in its unit, and waits until it is registered."""
        text = "".join(f"{line}\n" for line in ("[Service]", *lines))
        web1.succeed(f"mkdir -p /etc/systemd/system/{AGENT}.d")
        self.fleet.write(web1, f"/etc/systemd/system/{AGENT}.d/trouble.conf", text)
        web1.succeed("systemctl daemon-reload", f"systemctl restart {AGENT}")
        agent = int(web1.get_unit_property(AGENT, "MainPID"))
        self.fleet.wait(lambda tree: tree.doc("/hosts/web1/alive").get("pid") == agent, "web1 is registered")

    def others_are_served(self) -> None:
        """The sample service is taken out of `instances` when it is not ready, and comes back."""
        for how, out in (("echo ready > /run/webapp.new; mv /run/webapp.new /run/webapp.broken", True),
                         ("rm /run/webapp.broken", False)):
            web1.succeed(how)
            self.fleet.wait(lambda tree: ("web1" not in tree.instances("webapp")) == out, f"webapp is out: {out}", timeout=5)

    @contextmanager
    def harmless(self, *listed: str) -> Generator[None, None, None]:
        """The agent goes on, the host stays registered; of these services no replica leaves `instances` or is restarted."""
        pids, mark = self.fleet.pids("s-*.service"), self.fleet.history().last()
        agent = web1.get_unit_property(AGENT, "MainPID")
        yield
        assert web1.get_unit_property(AGENT, "MainPID") == agent, "the agent went on"
        history, now = self.fleet.history(), self.fleet.pids("s-*.service")["web1"]
        for path, names in [("/hosts/web1", {"alive"})] + [
            (f"/services/{name}/instances", self.fleet.tree().instances(name)) for name in listed
        ]:
            gaps = history.gaps(path, names, after=mark)
            assert names and not gaps, f"{path}: {gaps}"
        for unit, pid in pids["web1"].items():
            assert not any(f"s-{name}@" in unit for name in listed) or now.get(unit) == pid, unit


def says(words: str) -> str:
    """A command that succeeds while systemd is told this of the agent."""
    return f"systemctl show --property=StatusText {AGENT} | grep -F {shlex.quote(words)}"


def not_made() -> int:
    """How many checks the agent could not make."""
    code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9640/metrics').read().decode())"
    name = "zkops_agent_probe_checks_not_made_total"
    return int(web1.succeed(f'python3 -c "{code}" | grep ^{name}').split()[1])


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    trouble = Trouble(fleet)
    fleet.apply(webapp(1, probes=READY), "--wait")
    with tempfile.TemporaryDirectory() as folder:
        shim = shims.install(web1, Path(folder))
    trouble.restart_agent(shim)

    with subtest("no process and no thread can be started: what is to be done in one waits, the loop turns"):
        web1.succeed(f"touch {shims.NO_TASKS}")
        with trouble.harmless():
            # Longer than an idle thread of the runtime's is kept by default.
            idle = time.monotonic() + 11
            while time.monotonic() < idle:
                trouble.others_are_served()
            fleet.apply(described("fetched", source={"exec": {"command": ["/bin/true"]}}))
            fleet.wait(lambda tree: 1 in tree.replicas("fetched"), "it is placed")
            trouble.others_are_served()
            assert not fleet.tree().instances("fetched")
            web1.succeed(f"rm {shims.NO_TASKS}")
            fleet.wait_running("fetched", 1)

    with subtest("the disk is slow: 20 replicas change their version, the others are served"):
        fleet.apply(described("many", 20), "--wait")
        web1.succeed(f"touch {shims.SLOW_DISK}")
        with trouble.harmless():
            fleet.apply(described("many", 20, version="v2"))
            trouble.others_are_served()
            fleet.zkops("apply -f /root/service.toml --wait")
        web1.succeed(f"rm {shims.SLOW_DISK}")
        assert {each.status["version"] for each in fleet.tree().replicas("many").values()} == {"v2"}
        fleet.zkops("delete many --wait")

    with subtest("dpkg-query is slow: the others are served"):
        version = web1.succeed("dpkg-query --show --showformat='${Version}' procps")
        web1.succeed("cp /usr/bin/dpkg-query /usr/bin/dpkg-query.real")
        fleet.write(web1, "/usr/bin/dpkg-query.new", "#!/bin/sh\nsleep 3\nexec /usr/bin/dpkg-query.real \"$@\"\n")
        web1.succeed("chmod 755 /usr/bin/dpkg-query.new", "mv /usr/bin/dpkg-query.new /usr/bin/dpkg-query")
        with trouble.harmless():
            fleet.apply(described("packaged", version=version, source={"apt": {"package": "procps"}}))
            trouble.others_are_served()
            fleet.wait_running("packaged", 1)
        web1.succeed("mv /usr/bin/dpkg-query.real /usr/bin/dpkg-query")

    with subtest("the resolver hangs: probes by host name count for nothing, the others are served"):
        fleet.write(web1, "/root/silent.py", SILENT)
        web1.succeed("systemd-run --quiet --unit=silent python3 /root/silent.py", "echo nameserver 127.0.0.2 > /etc/resolv.conf")
        # It runs before it is asked, so that it is ready until it is known not to be.
        fleet.apply(described("named", 20), "--wait")
        with trouble.harmless("named"):
            fleet.apply(probed("named", 20))
            web1.wait_until_succeeds(says("cannot be looked up within 1s"))
            trouble.others_are_served()
        fleet.zkops("delete named --wait")
        web1.succeed("systemctl stop silent", "rm /etc/resolv.conf")

    with subtest("commands hang: they end when their time is up, and an agent that is restarted leaves none behind"):
        fleet.zk.succeed("mkdir /root/conf", "echo all > /root/conf/all.conf")
        fleet.apply(described("hangs", probes={"readiness": {"exec": {"command": STUBBORN}, "timeout": "1s"}}))
        fleet.apply(described("hung", source={"exec": {"command": STUBBORN}, "timeout": "2s"}))
        fleet.apply(described("stuck", config={"check": STUBBORN, "check_timeout": "2s"}))
        fleet.zkops("config push stuck /root/conf --set")
        for name, words in [("hangs", "did not end within 1s"), ("hung", "took too long"), ("stuck", "took too long")]:
            fleet.wait(lambda tree: words in tree.replicas(name)[1].status.get("message", ""), f"{name}: {words}")
        trouble.others_are_served()
        trouble.restart_agent(shim)
        trouble.others_are_served()
        for name in ("hangs", "hung", "stuck"):
            fleet.zkops(f"delete {name}")
        web1.wait_until_fails("systemctl list-units --plain --no-legend 'zkops-run-*' 'zkops-fetch-*' | grep .")
        web1.fail("pgrep -f '[s]leep infinity & while'")

    with subtest("the bus hangs, and PID 1 is busy: commands that are not run count for nothing"):
        fleet.apply(probed("exec", 4), "--wait")
        with trouble.harmless("exec"):
            web1.succeed("kill -STOP $(pgrep -x dbus-daemon)")
            trouble.others_are_served()
            web1.wait_until_succeeds(says("what its probes found before stands"))
            web1.succeed("kill -CONT $(pgrep -x dbus-daemon)")
            web1.wait_until_fails(says("what its probes found before stands"))
        with trouble.harmless("exec"):
            web1.succeed("mkdir -p /run/systemd/system-generators")
            fleet.write(web1, "/run/systemd/system-generators/slow", "#!/bin/sh\nexec sleep 8\n")
            before = not_made()
            web1.succeed("chmod 755 /run/systemd/system-generators/slow", "(systemctl daemon-reload &) > /dev/null 2>&1")
            trouble.others_are_served()
            # What asks PID 1 is answered when it is done.
            web1.succeed("systemctl show --property=Version", "rm /run/systemd/system-generators/slow")
            assert not_made() > before
            web1.wait_until_fails(says("what its probes found before stands"))

    with subtest("a check that cannot be made is made again, and rejects nothing"):
        # Its surroundings cannot be set up, and the bus is not to be found.
        cases = {"walled": ("/bin/true", "status 226"), "cut-off": ("/bin/echo", "systemd did not run it")}
        for name, (program, _) in cases.items():
            fleet.apply(described(name, config={"check": [program]}), "--wait")
        web1.succeed("mv /usr/bin/systemd-run /usr/bin/systemd-run.real")
        fleet.write(web1, "/usr/bin/systemd-run", BROKEN)
        web1.succeed("chmod 755 /usr/bin/systemd-run")
        for name in cases:
            fleet.zkops(f"config push {name} /root/conf --set")
        for name, (_, words) in cases.items():
            fleet.wait(lambda tree: words in tree.replicas(name)[1].status.get("message", ""), f"{name}: {words}")
        web1.succeed("mv /usr/bin/systemd-run.real /usr/bin/systemd-run")
        tree = fleet.wait(lambda tree: all(tree.replicas(name)[1].status.get("config_version") == 1 for name in cases),
                          "they are in force")
        assert not any(tree.replicas(name)[1].status.get("rejected") for name in cases)

    with subtest("descriptors are short: nothing is judged by that"):
        fleet.apply(probed("exec", 12), "--wait")
        trouble.restart_agent("LimitNOFILE=28")
        with trouble.harmless("webapp", "exec"):
            told = f"journalctl --quiet --unit={AGENT} --grep='Too many open files'"
            web1.wait_until_succeeds(f"test $({told} | wc -l) -ge 2")
