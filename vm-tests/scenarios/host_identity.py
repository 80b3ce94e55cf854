"""A host is renamed, boots as `localhost`, is copied: its services run on, and nobody takes another's work for its own.

And the names of others: name servers that are dead keep nobody from ZooKeeper.
"""

from lib.fleet import Fleet
from lib.service import webapp

# Long enough for a name to be wrong for a while and right again before the session ends.
CLUSTER = cluster(releases=("bookworm", "trixie"), agents=3, session_timeout="15s")

AGENT = "zkops-agent.service"
STATE = "/var/lib/zkops/agent"
INSTANCES = "/services/webapp/instances"

#: Two name servers: the first never answers, the second knows every name's address, as long as it runs.
NAME_SERVERS = """
import socket
silent, server = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
silent.bind(("127.0.0.2", 53))
server.bind(("127.0.0.3", 53))
while True:
    query, sender = server.recvfrom(512)
    end = query.index(0, 12) + 5
    is_ipv4 = query[end - 4:end - 2] == bytes([0, 1])
    answer = bytes([192, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]) + socket.inet_aton("ADDRESS")
    counts = bytes([0, 1, 0, 1 if is_ipv4 else 0, 0, 0, 0, 0])
    server.sendto(query[:2] + bytes([129, 128]) + counts + query[12:end] + (answer if is_ipv4 else b""), sender)
"""


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    # Only web1 and web2 run it: what happens to a name must not be hidden by a move.
    fleet.zkops("hosts cordon web3")
    fleet.apply(webapp(2, lost_after="60s"), "--wait")
    fleet.wait_running("webapp", 2)
    pids, mark = fleet.pids(), fleet.history().last()

    with subtest("renamed: its service runs on"):
        web1.succeed("hostname renamed.example.org", f"systemctl restart {AGENT}")
        waits(web1, f"the state in {STATE} is web1's (1 replica), and this host is now called renamed.example.org",
              'Set host = "web1" in agent.toml')
        assert fleet.pids() == pids, (pids, fleet.pids())
        assert fleet.ask("web1"), "it serves"
        assert "/hosts/renamed.example.org" not in fleet.tree()

    with subtest("and back again, without a restart"):
        agent = web1.get_unit_property(AGENT, "MainPID")
        web1.succeed("hostname web1")
        fleet.wait(lambda tree: tree.doc("/hosts/web1/alive").get("pid") == int(agent), "the agent goes on")
        assert web1.get_unit_property(AGENT, "MainPID") == agent
        fleet.wait_running("webapp", 2)
        untouched(fleet, pids, mark)

    with subtest("a name that any machine may have is none"):
        web2.succeed("hostname localhost.localdomain", f"systemctl restart {AGENT}")
        waits(web2, '"localhost.localdomain", which any machine may have', 'set host = "NAME"')
        assert "not on this machine" in web2.succeed("zkops agent --check-config")
        assert fleet.pids() == pids, (pids, fleet.pids())
        web2.succeed("hostname web2")
        agent = int(web2.get_unit_property(AGENT, "MainPID"))
        fleet.wait(lambda tree: tree.doc("/hosts/web2/alive").get("pid") == agent, "the agent goes on")
        untouched(fleet, pids, mark)

    with subtest("a copy of the machine runs none of its work"):
        web3.succeed(f"systemctl stop {AGENT}")
        for name in ("ledger.json", "owner.json"):
            fleet.write(web3, f"{STATE}/{name}", web1.succeed(f"cat {STATE}/{name}"))
        before = fleet.tree().doc("/hosts/web1/alive")
        web3.succeed("hostname web1", f"systemctl start {AGENT}")
        said = status(web3, "is web1 in ZooKeeper")
        assert before["machine_id"] in said and "runs none of its work" in said, said
        assert fleet.units(web3) == {} and fleet.processes(web3) == []
        assert web3.succeed(f"ls {STATE}").split().count(f"ledger.json.of-web1-{before['machine_id']}") == 1
        assert fleet.tree().doc("/hosts/web1/alive") == before
        untouched(fleet, pids, mark)

    with subtest("with a name of its own it is a host of its own"):
        web3.succeed("hostname app3", f"systemctl restart {AGENT}")
        fleet.wait(lambda tree: tree.agent_session("app3"), "app3 is registered")
        untouched(fleet, pids, mark)

    with subtest("booted as localhost: it waits for a name, then starts its work"):
        web2.succeed("echo localhost > /etc/hostname")
        web2.crash()
        web2.start()
        waits(web2, '"localhost", which any machine may have')
        assert fleet.processes(web2) == []
        web2.succeed("hostname web2")
        fleet.wait_running("webapp", 2)
        assert fleet.pids()["web1"] == pids["web1"]

    with subtest("the first name server is dead: the agent connects all the same"):
        address = web1.succeed("awk '$2 == \"zk1\" {print $1}' /etc/hosts").strip()
        fleet.write(web1, "/root/names.py", NAME_SERVERS.replace("ADDRESS", address))
        web1.succeed(
            "sed -i '/ zk1$/d' /etc/hosts", "systemd-run --quiet --unit=names python3 /root/names.py",
            "printf 'nameserver 127.0.0.2\\nnameserver 127.0.0.3\\n' > /etc/resolv.conf",
        )
        web1.wait_until_succeeds("getent ahostsv4 zk1")
        web1.succeed(f"systemctl restart {AGENT}")
        registered(fleet)
        assert "webapp" in web1.succeed("zkops get services")

    with subtest("all are: it comes back by the last good address"):
        web1.succeed("systemctl kill --signal=STOP names")
        web1.block()
        fleet.wait(lambda tree: not tree.agent_session("web1"), "web1's session has ended")
        web1.unblock()
        registered(fleet)
        assert fleet.pids()["web1"] == pids["web1"]


def registered(fleet: Fleet) -> None:
    """web1's present agent is."""
    agent = int(web1.get_unit_property(AGENT, "MainPID"))
    fleet.wait(lambda tree: tree.doc("/hosts/web1/alive").get("pid") == agent, "web1 is registered")


def status(host, words: str) -> str:
    """What the agent says of itself, as soon as it has these words."""
    said: list[str] = []

    def good() -> bool:
        said[:] = [host.get_unit_property(AGENT, "StatusText")]
        return words in said[0]

    host.retry(good, f"the agent of {host.name} says {words!r}")
    return said[0]


def waits(host, *words: str) -> None:
    """It is up and says why it does nothing; it is not started again and again."""
    said = status(host, words[0])
    assert all(word in said for word in words), said
    agent = host.get_unit_property(AGENT, "MainPID")
    host.sleep(3)
    host.require_unit_state(AGENT)
    assert host.get_unit_property(AGENT, "MainPID") == agent != "0"


def untouched(fleet: Fleet, pids: dict[str, dict[str, int]], mark: int) -> None:
    """The processes are those that they were, and `instances` had no gap."""
    now = fleet.pids()
    assert (now["web1"], now["web2"]) == (pids["web1"], pids["web2"]), (pids, now)
    gaps = fleet.history().gaps(INSTANCES, {"web1", "web2"}, after=mark)
    assert not gaps, gaps
