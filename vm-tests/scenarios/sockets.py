"""Socket activation: the metrics ports and the agent's control socket answer on what systemd opened."""

import json

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(agents=1)


def metrics(machine, port: int) -> dict[str, str]:
    """A daemon's metrics by name and labels."""
    code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    lines = machine.succeed(f'python3 -c "{code}"').splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))


def control(machine, path: str) -> str:
    """What the agent answers on its control socket. Not through nc, which closes its side behind the request: a server
    may take that for a client that is gone."""
    code = (
        "import http.client, socket; c = http.client.HTTPConnection('agent'); "
        "c.sock = socket.socket(socket.AF_UNIX); c.sock.connect('/run/zkops-agent.sock'); "
        f"c.request('GET', '{path}'); print(c.getresponse().read().decode())"
    )
    return machine.succeed(f'python3 -c "{code}"')


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(1), "--wait")
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
