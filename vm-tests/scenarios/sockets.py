"""Socket activation: the metrics ports and the agent's control socket answer on what systemd opened, whoever else sits there."""

import json
import shlex

from lib.fleet import Fleet
from lib.metrics import metrics
from lib.service import READY, webapp

CLUSTER = cluster(agents=1)


def control(machine, path: str) -> str:
    """What the agent answers on its control socket. Not through nc, which closes its side behind the request: a server
    may take that for a client that is gone."""
    code = (
        "import http.client, socket; c = http.client.HTTPConnection('agent'); "
        "c.sock = socket.socket(socket.AF_UNIX); c.sock.connect('/run/zkops-agent.sock'); "
        f"c.request('GET', '{path}'); print(c.getresponse().read().decode())"
    )
    return machine.succeed(f'python3 -c "{code}"')


#: Opens idle connections to a port, says how many it got, and keeps them for longer than a watchdog waits.
FLOOD = """
import socket, sys, time
port, count, seconds = map(int, sys.argv[1:])
found = []
for _ in range(count):
    one = socket.socket()
    one.settimeout(10)
    one.connect(("127.0.0.1", port))
    found.append(one)
print("opened", len(found), flush=True)
time.sleep(seconds)
"""


class Flooded:
    """A daemon whose port someone without any rights floods, and what must not change meanwhile."""

    def __init__(self, machine, daemon: str, port: int) -> None:
        self.machine, self.daemon, self.port = machine, f"{daemon}.service", port
        self.pid = machine.get_unit_property(self.daemon, "MainPID")
        machine.succeed(
            f"systemd-run --quiet --unit=flood --uid=nobody --property=LimitNOFILE=8192 "
            f"/usr/bin/python3 -c {shlex.quote(FLOOD)} {port} 3000 15",
        )

    def check(self) -> None:
        self.machine.wait_until_succeeds("journalctl --unit=flood --output=cat | grep -x 'opened 3000'")
        descriptors = int(self.machine.succeed(f"ls /proc/{self.pid}/fd | wc -l"))
        assert descriptors < 150, descriptors
        assert metrics(self.machine, self.port), "who asks is answered"
        self.machine.wait_until_fails("systemctl is-active flood.service")
        assert metrics(self.machine, self.port)
        assert self.machine.get_unit_property(self.daemon, "MainPID") == self.pid, "the watchdog was fed"


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(1, probes=READY), "--wait")
    fleet.wait_running("webapp", 1)

    with subtest("the agent's metrics"):
        found = metrics(web1, 9640)
        assert found['zkops_agent_replicas{state="running"}'] == "1"
        assert found["zkops_agent_zookeeper_connected"] == "1"

    with subtest("the controller's metrics"):
        found = metrics(zk1, 9641)
        assert found["zkops_controller_leader"] == "1"
        assert (found["zkops_controller_hosts"], found["zkops_controller_hosts_lost"]) == ("1", "0")

    with subtest("the agent's control socket: for root only, and it says what runs"):
        status = json.loads(control(web1, "/status"))
        assert status["host"] == "web1"
        assert status["replicas"]["webapp.0000000001"]["state"] == "running"
        assert web1.succeed("stat --format=%a /run/zkops-agent.sock").strip() == "600"

    with subtest("thousands of idle connections: probes, watchdogs and metrics go on"):
        mark = fleet.history().last()
        floods = [Flooded(web1, "zkops-agent", 9640), Flooded(zk1, "zkops-controller", 9641)]
        for each in floods:
            each.check()
        gaps = fleet.history().gaps("/services/webapp/instances", {"web1"}, after=mark)
        assert not gaps, gaps
        web1.fail("journalctl --quiet --unit=zkops-agent --grep='Too many open files'")
