"""What the agent says of a unit is what systemd has of it, not what was asked for; what cannot run here runs elsewhere."""

from typing import Any

from lib.fleet import Fleet
from lib.service import webapp

CLUSTER = cluster(
    releases=("bookworm", "trixie"), agents=2, allowed_units=("true-*.service", "gone-*.service"),
    agent={"accept_commands": True},
)

SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n"
ONCE = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
RESTART = {"delay": "200ms", "limit_burst": 2}
ETC = "/etc/systemd/system"
#: Where revert expects a vendor's unit.
VENDOR = "/usr/lib/systemd/system"

#: Each service has one of its own.
PORTS: dict[str, int] = {}

#: On both hosts, each in its folder.
UNITS = {
    f"{ETC}/true-real.service": SLEEP,
    f"{ETC}/true-real.service.d/90-local.conf": "[Service]\nRestart=always\n",
    f"{ETC}/outside.service": SLEEP,
    f"{ETC}/true-stays.service": "[Service]\nRemainAfterExit=yes\nExecStart=/bin/sleep infinity\n",
    f"{ETC}/true-once.service": ONCE,
    f"{VENDOR}/true-plain.service": SLEEP,
    f"{ETC}/true-undone.service": SLEEP,
    f"{ETC}/true-needs.service": SLEEP,
    f"{ETC}/true-refuses.service": SLEEP,
    f"{ETC}/true-unmet.service": SLEEP,
    f"{ETC}/true-probed.service": SLEEP,
    f"{ETC}/gone-carried.service": SLEEP,
}

#: On the first host alone: what keeps the units from running there as they are to, and what is to be said of it.
TROUBLE = {
    "undone": (f"{ETC}/true-undone.service.d/99-x.conf", "[Service]\nEnvironmentFile=\n", "99-x.conf"),
    "shadow": (f"{ETC}/true-shadow.service", SLEEP, f"{ETC}/true-shadow.service"),
    "needs": (f"{ETC}/true-needs.service.d/x.conf", "[Unit]\nRequires=true-missing.service\n", "true-missing.service"),
    "depends": (f"{ETC}/true-depends.service", f"[Unit]\nRequires=broken.service\nAfter=broken.service\n{SLEEP}",
                "requires broken.service, which failed"),
    "refuses": (f"{ETC}/true-refuses.service.d/x.conf", "[Unit]\nRefuseManualStart=yes\n", "RefuseManualStart=yes"),
    "unmet": (f"{ETC}/true-unmet.service.d/x.conf", "[Unit]\nConditionPathExists=/nowhere\n",
              "ConditionPathExists=/nowhere does not hold"),
}


def described(name: str, unit: str = "", **options: Any) -> str:
    """A service with one replica and a unit that is there."""
    port = PORTS.setdefault(name, 9000 + len(PORTS))
    options = {"placement": {}, "restart": RESTART} | options
    return webapp(1, name=name, unit=unit or f"true-{name}.service", port=port, **options)


def said(tree, service: str) -> str:
    """What the agent says of the service's only replica."""
    return next((each.status.get("message") or "" for each in tree.replicas(service).values()), "")


def test() -> None:
    fleet = Fleet(driver)
    for each in fleet.agents:
        each.start()
        for path, text in UNITS.items():
            each.succeed(f"mkdir -p $(dirname {path})")
            fleet.write(each, path, text)
        each.succeed(f"ln -s true-real.service {ETC}/true-nick.service", f"ln -s outside.service {ETC}/true-out.service")
    for path, text, _ in TROUBLE.values():
        web1.succeed(f"mkdir -p $(dirname {path})")
        fleet.write(web1, path, text)
    fleet.write(web1, f"{ETC}/broken.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    fleet.write(web2, f"{ETC}/true-depends.service", SLEEP)
    for each in fleet.agents:
        each.succeed("systemctl daemon-reload")
    fleet.up()
    fleet.zkops("hosts cordon web2")

    def pid(unit: str) -> int:
        return int(web1.get_unit_property(unit, "MainPID"))

    def listed(tree, service: str, host=web1) -> int:
        return tree.doc(f"/services/{service}/instances/{host.name}").get("pid", 0)

    with subtest("an alias: the unit is followed, and the drop-in is in force, by whichever name"):
        fleet.apply(described("nick"), "--wait")
        paths = web1.get_unit_property("true-real.service", "DropInPaths")
        assert "/run/systemd/system/true-nick.service.d/50-zkops.conf" in paths, paths
        fleet.wait(lambda tree: "90-local.conf sets Restart=always" in said(tree, "nick"), "the administrator's is told")
        old = pid("true-real.service")
        web1.succeed("systemctl kill -s KILL true-real.service")
        fleet.wait(lambda tree: listed(tree, "nick") not in (0, old) and listed(tree, "nick") == pid("true-nick.service"),
                   "the new process is in instances")

    with subtest("two services on one unit by two names are one claim; an alias leads to nothing that is not allowed"):
        fleet.apply(described("twin", "true-real.service"))
        fleet.apply(described("out"))
        fleet.wait(lambda tree: "already runs as nick" in said(tree, "twin"), "the second one is refused")
        fleet.wait(lambda tree: "another name of outside.service" in said(tree, "out"), "the alias is refused")
        web1.require_unit_state("outside.service", "inactive")
        for each in ("twin", "out"):
            fleet.zkops(f"delete {each} --wait")
        assert pid("true-real.service") == listed(fleet.tree(), "nick"), "its own process is left alone"

    with subtest("active (exited): out of instances and started again; a oneshot stays"):
        for each in ("stays", "once"):
            fleet.apply(described(each), "--wait")
        mark, old = fleet.history().last(), pid("true-stays.service")
        web1.succeed("systemctl kill true-stays.service")
        fleet.wait(lambda tree: listed(tree, "stays") not in (0, old), "it runs again")
        history = fleet.history()
        assert history.gaps("/services/stays/instances", {"web1"}, after=mark), "a process that had ended was listed"
        assert not history.gaps("/services/once/instances", {"web1"}, after=mark)

    with subtest("systemd cannot load what is wanted: its words, the old files, rolled back"):
        mark = fleet.history().last()
        fleet.apply(described("once", restart={"policy": "always"}))
        fleet.wait_condition("once", "RolledBack", "Refusing.")
        assert web1.get_unit_property("true-once.service", "LoadState") == "loaded"
        assert "Restart=on-failure" in web1.succeed("cat /run/systemd/system/true-once.service.d/50-zkops.conf")
        assert not fleet.history().gaps("/services/once/instances", {"web1"}, after=mark)
        fleet.apply(described("bare", extra="unit_file = '''\n[Service]\nType=simple\n'''"))
        fleet.wait(lambda tree: "Refusing." in said(tree, "bare"), "a unit file without ExecStart= is refused by systemd")
        assert web1.get_unit_property("true-bare.service", "LoadState") == "not-found"
        fleet.zkops("delete bare --wait")

    with subtest("generated files that another hand removed are put back, and that is said"):
        fleet.apply(described("plain"), "--wait")
        drop_in = "/run/systemd/system/true-plain.service.d/50-zkops.conf"
        web1.succeed("systemctl revert true-plain.service")
        web1.wait_until_succeeds(f"test -e {drop_in}")
        fleet.wait(lambda tree: "another hand" in said(tree, "plain"), "it is said")
        web1.succeed(f"sed -i s/on-failure/no/ {drop_in}", "systemctl daemon-reload")
        web1.wait_until_succeeds("systemctl show --value -p Restart true-plain.service | grep on-failure")
        old = pid("true-plain.service")
        web1.succeed("systemctl kill -s KILL true-plain.service")
        fleet.wait(lambda tree: listed(tree, "plain") not in (0, old), "systemd restarted it")
        assert "ZKOPS_VERSION=" in web1.succeed(f"tr '\\0' '\\n' < /proc/{pid('true-plain.service')}/environ")

    with subtest("what cannot come up here is failed or refused, and says why"):
        brought = {"shadow": {"extra": f"unit_file = '''\n{SLEEP}'''"}}
        for each in TROUBLE:
            fleet.apply(described(each, **brought.get(each, {})))
        for each, (_, _, why) in TROUBLE.items():
            tree = fleet.wait(lambda tree: why in said(tree, each) and any(
                replica.state in ("failed", "refused") for replica in tree.replicas(each).values()), f"{each} is given up")
            tree = fleet.wait(lambda tree: tree.status(each).get("summary") == "degraded", f"{each} is degraded")
        web1.require_unit_state("true-shadow.service", "inactive")

    with subtest("and it runs elsewhere as soon as there is another host"):
        fleet.zkops("hosts uncordon web2")
        for each in TROUBLE:
            tree = fleet.wait_running(each, 1)
            assert list(tree.hosts_of(each).values()) == ["web2"], each

    with subtest("accept_commands is turned off: what runs goes on, disable stops it"):
        fleet.zkops("hosts cordon web2")
        probe = {"readiness": {"exec": {"command": ["/bin/true"]}, "period": "200ms"}}
        fleet.apply(described("probed", probes=probe), "--wait")
        carried = {"exec": {"command": ["/bin/sh", "-c", "echo here > $ZKOPS_RELEASE_DIR/file"]}}
        fleet.apply(described("carried", "gone-carried.service", source=carried), "--wait")
        mark, old = fleet.history().last(), pid("true-probed.service")
        web1.succeed(
            "sed -i 's/accept_commands = true/accept_commands = false/; s/gone-/left-/' /etc/zkops/agent.toml",
            "grep 'accept_commands = false' /etc/zkops/agent.toml", "systemctl restart zkops-agent.service",
        )
        fleet.wait(lambda tree: "runs on as it is" in said(tree, "probed"), "it says so")
        assert pid("true-probed.service") == old
        assert not fleet.history().gaps("/services/probed/instances", {"web1"}, after=mark)
        web1.succeed(f"kill -KILL {old}")
        fleet.wait(lambda tree: tree.doc("/services/probed/instances/web1").get("pid") not in (None, old),
                   "systemd has restarted it, and it is listed again")
        fleet.zkops("disable probed --wait")
        web1.require_unit_state("true-probed.service", "inactive")

    with subtest("a unit that is not allowed any more is left alone, with all it needs"):
        old = pid("gone-carried.service")
        fleet.zkops("delete carried --wait")
        assert old and pid("gone-carried.service") == old
        web1.succeed("grep here /var/lib/zkops/releases/carried/v1.2.3/file")
