"""Nonsense in the tree: a clear condition, nothing else disturbed, recovery when fixed."""

import json

from lib.fleet import Fleet
from lib.service import webapp

# The 2 MiB document must reach the tree for the daemons to choke on it.
CLUSTER = cluster(agents=3, zookeeper_options="-Djute.maxbuffer=4194304", deadline=420)

GOOD = {"mode": "enabled", "version": "v1.2.3", "replicas": 2}
DESIRED, SPEC = "/services/webapp/desired", "/services/webapp"

#: What is written, where, and what the condition must name beside the path.
CASES = [
    ("bad JSON", DESIRED, '{"mode": "enabled", ', ""),
    ("not an object", DESIRED, "[1, 2]", ""),
    ("an empty document", DESIRED, "", ""),
    ("a word for a number", DESIRED, {**GOOD, "replicas": "two"}, "replicas"),
    ("negative replicas", DESIRED, {**GOOD, "replicas": -1}, "replicas"),
    ("absurdly many replicas", DESIRED, {**GOOD, "replicas": 4000000000}, "replicas"),
    ("an unknown mode", DESIRED, {**GOOD, "mode": "enabeld"}, "mode"),
    ("a number for a version", DESIRED, {**GOOD, "version": 12}, "version"),
    ("a description without its unit", SPEC, {"port": 8080}, "unit"),
    ("a unit that climbs out of its folder", SPEC, {"unit": "../../etc/cron.service"}, "unit"),
    ("a duration without a unit", SPEC, {"unit": "webapp@.service", "lost_after": "2"}, "lost_after"),
    ("a constraint nobody can read", SPEC,
     {"unit": "webapp@.service", "placement": {"constraints": ["zone in ("]}}, "placement.constraints"),
]


class Bystander:
    """Another service, which must go on as if nothing were."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.count = 1
        fleet.apply(webapp(1, name="other", unit="webapp.service", port=8090, placement={}), "--wait")

    def obeys(self) -> None:
        """It is scaled while the other's document is nonsense."""
        self.count = 3 - self.count
        self.fleet.zkops(f"scale other {self.count} --wait")
        assert self.fleet.tree().running("other", self.count)


def undisturbed(fleet: Fleet, pids) -> None:
    now = fleet.pids("webapp@*.service")
    assert now == pids, (pids, now)


def back(fleet: Fleet, pids, path: str, what: str) -> None:
    """A deleted node returns and no service noticed."""
    fleet.delete(path)
    fleet.wait(lambda tree: path in tree and tree.running("webapp", 2), f"{what} is back")
    undisturbed(fleet, pids)


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.apply(webapp(2), "--wait")
    fleet.wait_running("webapp", 2)
    bystander = Bystander(fleet)
    spec = json.loads(fleet.tree().node(SPEC)["data"])
    pids = fleet.pids("webapp@*.service")

    for name, path, document, key in CASES:
        with subtest(f"{name}: the last good state stays, the condition says what is wrong where"):
            fleet.put(path, document)
            said = fleet.wait_condition("webapp", "InvalidDocument", path)
            assert key in said, said
            bystander.obeys()
            undisturbed(fleet, pids)
            fleet.put(path, GOOD if path == DESIRED else spec)
            fleet.wait_no_condition("webapp", "InvalidDocument")
            undisturbed(fleet, pids)

    with subtest("a document of 2 MiB"):
        zk1.succeed(
            "{ printf '{\"replicas\":2,\"x\":\"'; head -c 2097152 /dev/zero | tr '\\0' a; printf '\"}'; } > /root/large",
            f"zktool put {DESIRED} < /root/large",
        )
        fleet.wait_condition("webapp", "InvalidDocument", DESIRED)
        bystander.obeys()
        undisturbed(fleet, pids)
        fleet.put(DESIRED, GOOD)
        fleet.wait_no_condition("webapp", "InvalidDocument")
        undisturbed(fleet, pids)

    with subtest("a nonsensical name among the services, and one that nobody wants to run: told, and nothing else"):
        fleet.put("/services/No Such_Name!/desired", "{}")
        fleet.put("/services/unwanted", {"unit": "webapp@.service"})
        for _ in range(2):
            bystander.obeys()
        undisturbed(fleet, pids)
        text = fleet.zkops("status")
        assert "/services/No Such_Name! is left alone: " in text, text
        assert "nothing of unwanted runs: /services/unwanted/desired is missing" in text, text
        journal = "".join(each.succeed("journalctl --boot --no-pager --quiet --unit=zkops-controller.service --output=cat")
                          for each in fleet.controllers)
        for told in ("/services/No Such_Name!: ", "unwanted has no desired state, so nothing of it runs"):
            assert sum(told in line for line in journal.splitlines()) == 1, (told, journal)
        fleet.delete("/services/No Such_Name!")
        fleet.delete("/services/unwanted")

    with subtest("nonsense in what only the daemons write: they write it again"):
        (number, host), *_ = sorted(fleet.tree().hosts_of("webapp").items())
        for path in (f"/hosts/{host}/assigned/webapp.{number:010}", f"/services/webapp/{number:010}/status",
                     f"/services/webapp/{number:010}/desired", "/services/webapp/status"):
            fleet.put(path, '{"half": ')
            fleet.wait(lambda tree: tree.doc(path) and tree.running("webapp", 2), f"{path} is whole again")
            undisturbed(fleet, pids)

    with subtest("nonsense for a rollout's record: nothing is touched; deleted, it is begun again"):
        rollouts = "/services/webapp/rollouts"
        record = f"{rollouts}/{max(fleet.tree().children(rollouts))}"
        fleet.put(record, '{"state": "hurry"}')
        fleet.wait_condition("webapp", "InvalidDocument", record)
        bystander.obeys()
        undisturbed(fleet, pids)
        fleet.delete(record)
        fleet.wait(lambda tree: not tree.condition("webapp", "InvalidDocument") and tree.children(rollouts), "a new one is begun")
        undisturbed(fleet, pids)

    with subtest("nonsense for an operator's word on a rollout: reported, and nothing else"):
        fleet.put(rollouts, '{"rollout": 1, "action": "hurry"}')
        fleet.wait_condition("webapp", "InvalidDocument", rollouts)
        bystander.obeys()
        undisturbed(fleet, pids)
        fleet.put(rollouts, "{}")
        fleet.wait_no_condition("webapp", "InvalidDocument")

    with subtest("nodes deleted under the daemons' feet come back"):
        for path in (f"/services/webapp/instances/{host}", f"/hosts/{host}/assigned/webapp.{number:010}",
                     f"/services/webapp/{number:010}/status", f"/services/webapp/{number:010}/desired",
                     "/services/webapp/status", "/services/webapp/instances", f"/hosts/{host}/alive",
                     f"/hosts/{host}/assigned"):
            back(fleet, pids, path, path)

    with subtest("the election deleted: a leader all the same"):
        for name in fleet.tree().children("/controller"):
            fleet.zk.execute(f"zktool delete /controller/{name}")
        fleet.wait(lambda tree: tree.children("/controller"), "the election is on again")
        bystander.obeys()
        undisturbed(fleet, pids)

    with subtest("desired deleted: the last good state stays until there is one again"):
        fleet.delete(DESIRED)
        bystander.obeys()
        undisturbed(fleet, pids)
        fleet.put(DESIRED, GOOD)
        bystander.obeys()
        undisturbed(fleet, pids)

    with subtest("what people hand in is refused with file, line and the nearest name"):
        fleet.write(zk1, "/root/typo.toml", 'name = "typo"\nunit = "webapp@.service"\n[desired]\nreplcas = 3\n')
        status, text = fleet.zkops_status("apply -f /root/typo.toml")
        assert status == 2 and "typo.toml" in text and "4" in text and "`replicas`" in text.replace("'", "`"), (status, text)
        fleet.write(zk1, "/root/few.toml", 'name = "few"\nunit = "webapp@.service"\n[desired]\nreplicas = -1\n')
        status, text = fleet.zkops_status("apply -f /root/few.toml")
        assert status == 2 and "replicas" in text, (status, text)
        zk1.succeed("{ printf 'name = \"big\"\\nunit = \"webapp@.service\"\\n[environment]\\nX = \"'; cat /root/large | tr -d '\"'; "
                    "printf '\"\\n'; } > /root/big.toml")
        status, text = fleet.zkops_status("apply -f /root/big.toml")
        assert status == 2, (status, text[:500])
        assert not {"typo", "few", "big"} & fleet.tree().children("/services")
