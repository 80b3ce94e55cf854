"""Whoever writes the tree gets no further on a host than its agent.toml lets him: no root, no other unit, no damage."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib.fleet import Fleet
from lib.load import Load
from lib.service import webapp
from lib.tree import Tree

# Every accept_… key is off, which is the default. The attacker's replicas run `decoy…@…`, the good service `webapp@…`.
# What lies about takes an agent's time on a slow machine, above all as it starts: its session has to outlast that.
CLUSTER = cluster(
    releases=("bookworm", "trixie"), agents=2, session_timeout="15s", accept_unit_files=False,
    allowed_units=("webapp@*.service", "decoy*@*.service", "nick.service"),
)

AGENT = "zkops-agent.service"
ETC = "/etc/systemd/system"

#: What a successful attack leaves: its own file, wherever a path that was climbed out of has its end.
PWNED = "/root/pwned-NN"
TOUCH = f"/bin/touch {PWNED}"
#: A line of its own in a unit's drop-in: systemd runs it as root before the unit's program.
LINE = f"\n[Service]\nExecStartPre={TOUCH}\n"
NEL = "\u0085"

#: Sockets. Where they are, the agent's sandbox shows nothing, all but the first.
TRAPS = ("/run/trap.sock", "/root/trap.sock", "/tmp/trap.sock", "/dev/trap.sock", "/run/traps/inner/trap.sock")

#: On web1. `forbidden` is outside of allowed_units and would tell that it ran, `bystander` runs, `nick` is an alias;
#: whoever connects to `trap`'s socket starts it.
UNITS = {
    f"{ETC}/decoy@.service": "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n",
    f"{ETC}/forbidden.service": "[Service]\nExecStartPre=/bin/touch /root/pwned-forbidden\nExecStart=/bin/sleep infinity\n",
    f"{ETC}/trap.socket": "[Socket]\n" + "".join(f"ListenStream={path}\n" for path in TRAPS),
    f"{ETC}/trap.service": "[Service]\nExecStartPre=/bin/touch /root/pwned-trap\nExecStart=/bin/sleep infinity\n",
    f"{ETC}/bystander.service": "[Service]\nExecStart=/bin/sleep infinity\n",
}

#: All that the renderer ever writes into a drop-in, and into the file of variables beside it.
DROP_IN_KEYS = {
    "Before", "StartLimitIntervalSec", "StartLimitBurst", "Restart", "RestartSec", "RestartSteps", "RestartMaxDelaySec",
    "WatchdogSec", "LoadCredential", "Environment", "EnvironmentFile",
}
VARIABLES = {
    "ZKOPS_SERVICE", "ZKOPS_REPLICA", "ZKOPS_HOST", "ZKOPS_VERSION", "ZKOPS_CONFIG_VERSION", "ZKOPS_PORT",
    "ZKOPS_RELEASE_DIR", "ZKOPS_CONFIG_DIR",
}

#: Writes many nodes as fast as a client can: {path: base64} from a file; null deletes.
WRITER = """
import base64, json
from kazoo.client import KazooClient
client = KazooClient("127.0.0.1:2181")
client.start()
for path, data in json.load(open("/root/nodes.json")).items():
    if data is None:
        client.delete(path, recursive=True)
        continue
    data = base64.b64decode(data)
    if client.exists(path):
        client.set(path, data)
    else:
        client.create(path, data, makepath=True)
client.stop()
"""

#: Archives that leave their folder when they are unpacked carelessly; prints {name: SHA-256}.
ARCHIVES = """
import hashlib, io, json, os, tarfile
os.makedirs("/srv/bad", exist_ok=True)
def member(name, kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info
content = {
    "climbs": [member("../" * 12 + "root/pwned-climbs")],
    "absolute": [member("/root/pwned-absolute")],
    "link": [member("d", tarfile.SYMTYPE, "/root"), member("d/pwned-link")],
    "hard": [member("shadow", tarfile.LNKTYPE, "/etc/shadow"), member("shadow")],
    "setuid": [member("suid", mode=0o6755)],
    "device": [member("node", tarfile.CHRTYPE)],
}
sums = {}
for name, members in content.items():
    with tarfile.open(f"/srv/bad/{name}.tar.gz", "w:gz") as tar:
        for info in members:
            info.size = 2 if info.isreg() else 0
            tar.addfile(info, io.BytesIO(b"x\\n"))
    sums[name] = hashlib.sha256(open(f"/srv/bad/{name}.tar.gz", "rb").read()).hexdigest()
print(json.dumps(sums))
"""

#: No replica has such a name.
NO_NAMES = (
    "No Such", "evil.1", "webapp.9999999999", "webapp.0000000001.x", "-.0000000001", "Webapp.0000000001", "$(touch pwned-NN).0000000001",
    "%n.0000000001", "x" * 64 + ".0000000001", "webapp@0000000001.service", "...0000000001",
)
#: What is wanted of the attacker's services; the good one's replica.
WANTED = {"mode": "enabled", "version": "v1", "replicas": 1}
GOOD_UNIT = "webapp@0000000001.service"
INDEX = "/services/webapp/0000000001/desired"
LONG_AGO = "2024-01-01T00:00:00Z"
#: What an assignment says beside its template.
OWN_KEYS = ("mode", "version", "config_version", "unit")
#: The longest time that a number of seconds can say.
AGES = "9223372036854775807s"


class Attack:
    """One document: what it changes in a harmless assignment (or the text in its place), and what is said of it.

    The status has each of `says`; without any the work is allowed, and all that counts is what comes of it. `beside` are
    further nodes, below the attack's service.
    """

    def __init__(
        self, name: str, document: dict[str, Any] | str | bytes, says: tuple[str, ...] = (), beside: dict[str, Any] | None = None,
    ) -> None:
        self.name, self.document, self.says, self.beside = name, document, says, beside or {}


def bad(name: str, key: str, document: dict[str, Any]) -> Attack:
    """A setting that no check lets pass: the status names path and key."""
    return Attack(name, document, ("not acted on", "/hosts/web1/assigned/", key))


def setting(key: str, *path: str, **values: Any) -> Iterator[Attack]:
    """The same setting with each of these values: `path` leads to it, `key` is what is said of it."""
    for name, value in values.items():
        document = value
        for part in reversed(path):
            document = {part: document}
        yield bad(f"{'.'.join(path)}: {name.replace('_', ' ')}", key, document)


def named(key: str, table: str, value: str, *names: str) -> Iterator[Attack]:
    """Names in a table that are none."""
    for name in names:
        yield bad(f"{table}: the name {name[:30]!r}", key, {table: {name: value}})


def probe(check: dict[str, Any]) -> dict[str, Any]:
    return {"probes": {"readiness": check}}


#: What the checks of an assignment refuse. The same settings are given in a description, to the leader.
SETTINGS = [
    *named("credentials", "credentials", "/etc/hostname", f"x:/etc/hostname{LINE}", f"x\rExecStartPre={TOUCH}", "..", ".", "",
           "../../../../root/pwned-NN", "x y", "x:y", "%H", f"x\\\nExecStartPre={TOUCH}", f"x{NEL}y", "x" * 256),
    *setting("credentials.x", "credentials", "x", line=f"/etc/hostname{LINE}", next_line=f"/etc/hostname{NEL}x",
             specifier="/etc/%H", joins_the_next_line="/etc/hostname\\", option="/etc/hostname:x", relative="etc/hostname",
             ends_in_a_space="/etc/hostname ", abstract="@socket", empty=""),
    *named("environment", "environment", "x", f"X{LINE}", 'X"\nExecStartPre=x', "X=Y", "", "1X", "ZKOPS_RELEASE_DIR", "X Y", "É"),
    *setting("environment.X", "environment", "X", line=f"x{LINE}", line_in_quotes=f'x"{LINE}', carriage_return=f"x\r{TOUCH}",
             next_line=f"x{NEL}{TOUCH}", escape="\x1b[2J", zero="x\0y"),
    bad("501 variables", "environment", {"environment": {f"X{number}": "x" for number in range(501)}}),
    bad("501 credentials", "credentials", {"credentials": {f"x{number}": "/x" for number in range(501)}}),
    *setting("restart", "restart", "policy", line=f"always{LINE}", word="for-ever"),
    *setting("restart.delay", "restart", "delay", line=f"1s{LINE}", below_zero="-1s"),
    *setting("restart", "restart", "limit_interval", ages="292000000000y"),
    *setting("restart", "restart", "limit_burst", none=0, below_zero=-1, many=10**30),
    *setting("restart.watchdog", "restart", "watchdog", ages="100000000000000000000h"),
    *setting("drain_time", "drain_time", number=1e308),
    *setting("port", "port", none=0, many=65536),
    *setting("source.apt.package", "source", "apt", "package", path="./pwned.deb", root="/root/pwned.deb",
             option=f"-oAPT::Update::Pre-Invoke::={TOUCH}", line=f"hello\n{TOUCH}", version="hello=1", removal="hello_"),
    *setting("source.exec.command", "source", "exec", "command", none=[], relative=["touch", PWNED], zero=["/bin/touch", "x\0"]),
    *setting("source.archive", "source", "archive", file={"url": "file:///etc/shadow", "sha256": {"v1": "0" * 64}},
             unverified={"url": "http://zk1/x.tar.gz"}, no_sum={"url": "http://zk1/x.tar.gz", "sha256": {"v1": "../x"}}),
    *setting("config.check", "config", "check", relative=["touch", PWNED]),
    bad("a request within a request", "probes.readiness.http.path",
        probe({"http": {"path": "/ HTTP/1.1\r\nX: x\r\n\r\nGET /", "port": 1}})),
    bad("a header within a header", "probes.readiness.http.headers", probe({"http": {"port": 1, "headers": {"X": "x\r\nY: y"}}})),
    bad("a relative command as a probe", "probes.readiness.exec.command", probe({"exec": {"command": ["touch", PWNED]}})),
    bad("a ZooKeeper command that does something", "probes.readiness.zookeeper",
        probe({"zookeeper": {"command": "kill", "port": 2181}})),
    bad("a probe without a pause", "probes.readiness", probe({"systemd": {}, "period": "0s"})),
]

#: What is well-formed, and not for this host.
FORBIDDEN = [
    Attack("a unit file", {"unit_file": f"[Service]\nExecStart={TOUCH}\n"}, ("accept_unit_files",)),
    Attack("an exec source", {"source": {"exec": {"command": ["/bin/touch", PWNED]}}}, ("accept_commands",)),
    Attack("an exec probe", probe({"exec": {"command": ["/bin/touch", PWNED]}}), ("accept_commands",)),
    Attack("a check of a configuration", {"config": {"check": ["/bin/touch", PWNED]}}, ("accept_commands",)),
    Attack("a package", {"version": "1", "source": {"apt": {"package": "sl"}}}, ("accept_packages",)),
    Attack("a store path", {"source": {"nix": {"store_path": "/nix/store/x"}}}, ("accept_packages",)),
]

#: What only an assignment can say: which unit, which version.
ASSIGNMENTS = [
    *setting("version", "version", line=f"v1{LINE}", escape="v\x1b[2J", none="", long="v" * 300, next_line=f"v{NEL}"),
    *(bad(f"apt version {version!r}", "version", {"version": version, "source": {"apt": {"package": "hello"}}})
      for version in (f"-o{TOUCH}", "/root/x.deb", "1 2", "")),
    *setting("unit", "unit", bare_template="decoy@.service", prefix="decoy-.service", line=f"decoy@1.service{LINE}",
             climbs="../../../root/pwned-NN.service", climbs_as_an_instance="decoy@/../../forbidden.service",
             hidden="decoy@.x.service", target="poweroff.target", socket="zkops-agent.socket", space="decoy@1 x.service",
             specifier="decoy@%H.service", glob="decoy@*.service", nothing="", two="decoy@1@2.service", long="d" * 300 + ".service"),
    *(Attack(f"unit: {unit}, {mode}", {"unit": unit, "mode": mode}, ("allowed_units",))
      for unit in ("forbidden.service", "bystander.service", "dbus.service", AGENT) for mode in ("enabled", "disabled")),
    Attack("unit: nick, which is another name of forbidden", {"unit": "nick.service"}, ("another name of forbidden", "allowed_units")),
]

#: No assignment at all.
SHAPES = [
    Attack(name, document, ("not acted on", "/hosts/web1/assigned/"))
    for name, document in {
        "no JSON": '{"mode": "enabled", ', "nothing": "", "a list": "[1, 2]", "a number": "1e999", "no text": b"\xff\xfe{}",
        "deep": "[" * 200_000, "deep in a field": '{"mode":"enabled","unit":' + '{"a":' * 100_000,
        "a key twice": '{"mode":"enabled","unit":"decoy@1.service","unit":"forbidden.service","template":{}}',
        "half a surrogate": '{"mode":"enabled","unit":"\\ud800.service","template":{}}',
        "a megabyte": '{"mode":"enabled","unit":"decoy@1.service","template":{},"x":"' + "x" * 1_000_000 + '"}',
        "a variable of 300 KiB": json.dumps({"mode": "enabled", "unit": "decoy@1.service", "template": {"environment": {"X": "x" * 300_000}}}),
    }.items()
]


def config(name: str, path: str, says: str, **file: Any) -> Attack:
    """A revision of a configuration with one file."""
    revision = {"files": {path: {"text": "x", **file}}}
    return Attack(f"configuration: {name}", {"config": {"apply": "restart"}, "config_version": 1}, (says,), {"config/1": revision})


#: What the agent takes up, and has to do without harm.
ALLOWED = [
    Attack("every character that means something to systemd or a shell", {
        "version": f"$({TOUCH})`{TOUCH}`%n\\", "environment": {
            "A": f'"; ExecStartPre={TOUCH}', "B": f"$({TOUCH})", "C": "%n%%\\", "D": f'x" "Y={TOUCH}', "E": "\\",
            "F": f"\u2028ExecStartPre={TOUCH}",
        },
    }),
    Attack("a credential's path with words in it", {"credentials": {"x": f"/etc/x ExecStartPre={TOUCH}"}}),
    *(Attack(f"a credential from a socket that starts another unit, {path}", {"credentials": {"x": path}}) for path in TRAPS),
    Attack("a credential from a folder with a socket", {"credentials": {"x": "/run/traps"}}),
    Attack("a credential from a link to a socket", {"credentials": {"x": "/etc/../run/to-trap"}}),
    *(Attack(f"a credential from {path}", {"credentials": {"x": path}})
      for path in ("/dev/watchdog", "/dev/null", "/proc/kmsg", "/sys/power/state", "/proc/1/root/run/trap.sock")),
    # A document that is there already is read as a year.
    Attack("an age for each time", {"drain_time": AGES, "restart": {"policy": "no", "delay": AGES, "limit_interval": "0s"}}),
    Attack("a year for each time", {"drain_time": "8784h", "restart": {
        "policy": "no", "delay": "8784h", "max_delay": "8784h", "limit_interval": "8784h", "limit_burst": 2**32 - 1}}),
    Attack("a signal that is none", {"config": {"apply": "signal", "signal": f"KILL\n{TOUCH}"}, "config_version": 1}, (),
           {"config/1": {"files": {"x": {"text": "x"}}}}),
    config("climbs", "../" * 12 + "root/pwned-NN", "path"),
    config("absolute", PWNED, "path"),
    config("setuid", "x", "mode", mode="4755"),
    config("an owner with a line break", "x", "owner", owner="root\nx"),
    config("a template that includes a file", "x", "", template=True, text="{% include '/etc/shadow' %}"),
    config("a template that asks for what is behind it", "x", "", template=True, text="{{ self.__class__ }}{{ ''.__class__.__mro__ }}"),
    config("a template without an end", "x", "", template=True,
           text="{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}"),
]


def archives(sums: dict[str, str]) -> Iterator[Attack]:
    """What leaves its folder, or brings more than files."""
    for name, digest in sums.items():
        source = {"archive": {"url": f"http://zk1:8000/{name}.tar.gz", "sha256": {"v1": digest}}, "timeout": AGES}
        yield Attack(f"archive: {name}", {"source": source})
    for version in ("../" * 12 + "root/pwned-NN", "..", "."):
        source = {"archive": {"url": "http://zk1:8000/setuid.tar.gz", "sha256": {version: sums["setuid"]}}}
        yield Attack(f"a version that climbs: {version}", {"version": version, "source": source}, ("cannot be a release's folder",))


class Attacker:
    """Writes nodes, each attack as a service and a replica of its own; none of his words is trusted."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        fleet.write(fleet.zk, "/root/writer.py", WRITER)

    def write(self, nodes: dict[str, Any]) -> None:
        """All of them, at once; `None` deletes."""
        encoded = {path: data if data is None else base64.b64encode(_bytes(data)).decode() for path, data in nodes.items()}
        with TemporaryDirectory() as folder:
            file = Path(folder) / "nodes.json"
            file.write_text(json.dumps(encoded))
            self.fleet.zk.copy_from_host(str(file), "/root/nodes.json")
        self.fleet.zk.succeed("python3 /root/writer.py")


def _bytes(data: Any) -> bytes:
    text = data if isinstance(data, (str, bytes)) else json.dumps(data)
    return text.encode() if isinstance(text, str) else text


def assignment(number: int, attack: Attack) -> Any:
    """The document below a host's `assigned`."""
    if not isinstance(attack.document, dict):
        return attack.document
    own = {key: value for key, value in attack.document.items() if key in OWN_KEYS}
    template = {key: value for key, value in attack.document.items() if key not in OWN_KEYS}
    harmless = {"mode": "enabled", "version": "v1", "unit": f"decoy@{number}.service"}
    document = {**harmless, **own, "template": {"restart": {"policy": "no"}, **template}}
    return json.loads(json.dumps(document).replace("pwned-NN", f"pwned-{number}"))


def assigned(prefix: str, attacks: list[Attack], *, services: bool) -> dict[str, Any]:
    """The nodes of replicas on web1; with what their services need to be told of, if `services`."""
    nodes: dict[str, Any] = {}
    for number, attack in enumerate(attacks):
        service = f"/services/{prefix}{number}"
        if services:
            nodes[f"{service}/0000000001/desired"] = {"mode": "enabled", "version": "v1", "node": "web1"}
            nodes.update({f"{service}/{path}": json.loads(json.dumps(data).replace("pwned-NN", f"pwned-{number}"))
                          for path, data in attack.beside.items()})
        nodes[f"/hosts/web1/assigned/{prefix}{number}.0000000001"] = assignment(number, attack)
    return nodes


def drained(attacks: list[Attack]) -> dict[int, Any]:
    """The assignments of those that take an age or a year to be drained, by their numbers, now that they are to be."""
    return {number: {**assignment(number, attack), "mode": "drain"} for number, attack in enumerate(attacks)
            if isinstance(attack.document, dict) and "drain_time" in attack.document}


def messages(tree: Tree, prefix: str, attacks: list[Attack]) -> list[str]:
    """What is said of each attack's replica, its state first; nothing of those that nobody has taken up."""
    statuses = (tree.doc(f"/services/{prefix}{number}/0000000001/status") for number in range(len(attacks)))
    return [f"{status['state']}: {status.get('message') or ''}" if status else "" for status in statuses]


def unanswered(tree: Tree, prefix: str, attacks: list[Attack]) -> list[str]:
    """The attacks of which the status does not say what it should (yet)."""
    pairs = zip(attacks, messages(tree, prefix, attacks), strict=True)
    return [f"{attack.name}: wants {attack.says}, says {said[:300]!r}" for attack, said in pairs
            if not said or not all(word in said for word in attack.says)]


def wait_none(fleet: Fleet, missing: Callable[[Tree], list[str]], what: str) -> Tree:
    """Waits until nothing is missing; else what is missing is the failure's text."""
    left: list[str] = []

    def good(tree: Tree) -> bool:
        left[:] = missing(tree)
        return not left

    try:
        return fleet.wait(good, what)
    except AssertionError:
        raise AssertionError(f"timed out waiting until {what}: {len(left)} are not:\n" + "\n".join(left)) from None


class Scene:
    """What must be as it was."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.agents = self.daemons()
        self.units = self.others()
        self.witness = fleet.pids("webapp@*.service")["web1"]

    def daemons(self) -> dict[str, str]:
        """Each agent's process, and how often systemd has started it again."""
        return {each.name: each.succeed(f"systemctl show {AGENT} -p MainPID -p NRestarts") for each in self.fleet.agents}

    def others(self) -> dict[str, dict[str, str]]:
        """The units outside of allowed_units with their invocations; not those that a timer starts."""
        found: dict[str, dict[str, str]] = {}
        for each in self.fleet.agents:
            text = each.succeed("systemctl show '*.service' -p Id,InvocationID,ActiveState,MainPID,TriggeredBy")
            blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n"))
            found[each.name] = {
                block["Id"]: f"{block['ActiveState']} {block['InvocationID']} {block['MainPID']}" for block in blocks
                if not block["Id"].startswith(("webapp@", "decoy", AGENT)) and ".timer" not in block.get("TriggeredBy", "")
            }
        return found

    def unharmed(self) -> None:
        """No attack left its mark, and everything that was not the attacker's to touch is as it was."""
        for each in self.fleet.agents:
            marks = each.succeed("find / -xdev -name 'pwned-*' -not -path '/proc/*' -print; find /run /tmp /var/tmp /dev -name 'pwned-*'")
            assert not marks.strip(), f"{each.name} has {marks}"
            special = each.succeed("find /var/lib/zkops ! -type f ! -type d ! -type l; find /var/lib/zkops -type f -perm /7000")
            assert not special.strip(), f"{each.name} has {special}"
            folders = set(each.succeed("ls -A /var/lib/zkops").split())
            assert folders <= {"agent", "releases", "config", "revisions"}, (each.name, folders)
            each.fail("grep -rs '^root:' /var/lib/zkops")
            pid = each.get_unit_property(AGENT, "MainPID")
            assert each.succeed(f"tr '\\0' ' ' < /proc/{pid}/cmdline").strip() == "/usr/bin/zkops agent", (each.name, pid)
            drop_ins(each)
        assert self.daemons() == self.agents, (self.daemons(), self.agents)
        changed = {(host, unit, said, before.get(unit)) for host, before in self.units.items()
                   for unit, said in self.others()[host].items() if before.get(unit, "inactive  0") != said}
        assert not changed, changed
        assert self.fleet.pids("webapp@*.service")["web1"] == self.witness


def drop_ins(machine: Any) -> None:
    """What was generated has the lines that are meant and no other, and is for units that are allowed."""
    top = "/run/systemd/system"
    names = machine.succeed(f"cd {top}; find . -mindepth 1 -maxdepth 1 -printf '%f\\n'").split()
    units = [name for name in names if name.endswith(".service.d")]
    good = [name for name in units if name.startswith(("webapp@0", "decoy")) and "@.service" not in name]
    ours = machine.succeed(f"cd {top}; grep -rlsF 'Generated by zkops' . || true").split()
    assert {name.split("/")[1] for name in ours} <= set(good), (ours, good)
    for name in good:
        # The agent may be removing it just now: its assignment is gone.
        path = f"{top}/'{name}'/50-zkops.conf"
        for line in machine.succeed(f"cat {path} 2>/dev/null || ! test -e {path}").split("\n"):
            key = line.split("=", 1)[0]
            assert line in ("", "[Unit]", "[Service]") or line.startswith("#") or "=" in line and key in DROP_IN_KEYS, (name, line)
            assert not line.endswith("\\"), (name, line)
    others = f"grep -rlsF 'Generated by zkops' {top} --exclude=*.conf"
    for line in machine.succeed(f"for file in $({others}); do cat $file 2>/dev/null || ! test -e $file || exit; done").split("\n"):
        assert not line or line.startswith("#") or line.split("=", 1)[0] in VARIABLES, line


def described(prefix: str, attacks: list[Attack]) -> dict[str, Any]:
    """Services with these settings in their descriptions."""
    nodes: dict[str, Any] = {}
    for number, attack in enumerate(attacks):
        nodes[f"/services/{prefix}{number}"] = description(f"{prefix}{number}", attack)
        nodes[f"/services/{prefix}{number}/desired"] = WANTED
    return nodes


def remembered(prefix: str, attacks: list[Attack]) -> dict[str, Any]:
    """Services whose last good description is said to have had these settings."""
    nodes: dict[str, Any] = {}
    for number, attack in enumerate(attacks):
        nodes[f"/services/{prefix}{number}"] = "nonsense"
        nodes[f"/services/{prefix}{number}/desired"] = WANTED
        nodes[f"/services/{prefix}{number}/status"] = {"accepted": {"service": description(f"{prefix}{number}", attack), "desired": WANTED}}
    return nodes


def recorded(prefix: str, attacks: list[Attack]) -> dict[str, Any]:
    """Services with a good description, and a rollout of these settings under way."""
    nodes: dict[str, Any] = {}
    for number, attack in enumerate(attacks):
        template = description(f"{prefix}{number}", attack)
        revision = {"version": "v1", "unit": template.pop("unit"), "template": template}
        record = {"state": "running", "revision": revision, "started": LONG_AGO, "progress": LONG_AGO}
        nodes[f"/services/{prefix}{number}"] = {"unit": f"decoy-{prefix}{number}@.service"}
        nodes[f"/services/{prefix}{number}/desired"] = WANTED
        nodes[f"/services/{prefix}{number}/rollouts"] = {}
        nodes[f"/services/{prefix}{number}/rollouts/0000000001"] = record
    return nodes


def description(name: str, attack: Attack) -> Any:
    """A service's description; its unit is one that is there and allowed."""
    assert isinstance(attack.document, dict)
    document = {"unit": f"decoy-{name}@.service", **attack.document}
    return json.loads(json.dumps(document).replace("pwned-NN", f"pwned-{name}"))


def untold(tree: Tree, prefix: str, attacks: list[Attack], kind: str, *words: str) -> list[str]:
    """The services whose conditions do not say what is wrong with them."""
    found = [(attack, tree.condition(f"{prefix}{number}", kind)) for number, attack in enumerate(attacks)]
    return [f"{attack.name}: wants {words or attack.says[-1:]}, says {said!r}" for attack, said in found
            if not all(word in said for word in words or attack.says[-1:])]


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    fleet.zkops("hosts cordon web2")
    fleet.apply(webapp(1, lost_after="60s"), "--wait")
    fleet.wait_running("webapp", 1)
    for path, text in UNITS.items():
        fleet.write(web1, path, text)
    web1.succeed(
        f"for name in {{told,past,roll,host}}{{0..{len(SETTINGS)}}}; do ln {ETC}/decoy@.service {ETC}/decoy-$name@.service; done",
        f"ln -s {ETC}/forbidden.service {ETC}/nick.service", "systemctl daemon-reload", "systemctl start bystander trap.socket",
        "ln -s /run/trap.sock /run/to-trap",
    )
    fleet.write(zk1, "/root/archives.py", ARCHIVES)
    sums = json.loads(zk1.succeed("python3 /root/archives.py"))
    zk1.succeed("systemd-run --quiet --unit=bad python3 -m http.server --directory /srv/bad 8000")
    zk1.wait_for_open_port(8000)
    attacker, scene = Attacker(fleet), Scene(fleet)
    refused = SETTINGS + FORBIDDEN + ASSIGNMENTS + SHAPES
    allowed = ALLOWED + list(archives(sums))

    with Load(zk1, "webapp") as load:
        with subtest("assignments, while a controller leads: it takes them away, and nothing comes of them"):
            attacker.write(assigned("led", refused + allowed, services=False))
            fleet.wait(lambda tree: tree.children("/hosts/web1/assigned") == {"webapp.0000000001"}, "they are gone")
            scene.unharmed()

        with subtest("assignments, while none does: each is refused, by path and key"):
            zk1.succeed("systemctl stop zkops-controller")
            attacker.write(assigned("evil", refused, services=True))
            wait_none(fleet, lambda tree: unanswered(tree, "evil", refused), "each is refused")
            started = web1.succeed("systemctl list-units --all --plain --no-legend 'decoy@*.service'")
            assert " active " not in started, started
            scene.unharmed()

        with subtest("the good service's unit for another replica, and names that are none: left alone"):
            units = [
                Attack(f"the good one's unit, {mode}", {"unit": GOOD_UNIT, "mode": mode}, (GOOD_UNIT,))
                for mode in ("disabled", "enabled", "drain")
            ]
            nodes = assigned("aaa", units, services=True) | assigned("zzz", units, services=True)
            attacker.write(nodes)
            attacker.write({f"/hosts/web1/assigned/{name}": assignment(0, units[0]) for name in NO_NAMES})
            wait_none(fleet, lambda tree: [*unanswered(tree, "aaa", units), *unanswered(tree, "zzz", units)], "each is refused")
            scene.unharmed()
            # To a leader they are services that name one unit: it moves the good one, as two descriptions could make it.
            attacker.write(dict.fromkeys({"/".join(path.split("/")[:3]) for path in nodes if path.startswith("/services")}
                                         | {path for path in nodes if path.startswith("/hosts")}))

        with subtest("work that is allowed, and meant to do more than it says"):
            attacker.write(assigned("soft", allowed, services=True))
            wait_none(fleet, lambda tree: unanswered(tree, "soft", allowed), "each is taken up")
            web1.wait_until_succeeds("systemctl is-active decoy@0.service")
            wait_none(fleet, lambda tree: [said for said in messages(tree, "soft", allowed) if said.startswith("starting")], "each is up or failed")
            scene.unharmed()

        with subtest("what takes an age or a year to be drained: it waits, and the agent goes on"):
            leaving = drained(allowed)
            assert len(leaving) == 2, leaving

            def others(tree: Tree, state: str) -> list[str]:
                said = messages(tree, "soft", allowed)
                return [said[number] for number in leaving if not said[number].startswith(state)]

            # What was never ready need not be drained.
            wait_none(fleet, lambda tree: others(tree, "running"), "each runs")
            attacker.write({f"/hosts/web1/assigned/soft{number}.0000000001": data for number, data in leaving.items()})
            wait_none(fleet, lambda tree: others(tree, "draining"), "each is draining")
            scene.unharmed()

        with subtest("an agent that is started amid all of this comes up, and refuses it again"):
            web1.succeed(f"systemctl restart {AGENT}")
            agent = int(web1.get_unit_property(AGENT, "MainPID"))
            fleet.wait(lambda tree: tree.doc("/hosts/web1/alive").get("pid") == agent, "web1 is registered")
            wait_none(fleet, lambda tree: unanswered(tree, "evil", refused), "each is refused")
            scene.agents = {**scene.agents, "web1": scene.daemons()["web1"]}
            scene.unharmed()

        with subtest("what a leader reads: descriptions, what was accepted, rollouts, its own index"):
            attacker.write(described("told", SETTINGS) | remembered("past", SETTINGS) | recorded("roll", SETTINGS)
                           | described("host", FORBIDDEN) | {INDEX: {**fleet.tree().doc(INDEX), "version": f"v1.2.3{LINE}"},
                              "/hosts/web1": {"labels": {f"x{LINE}": f"{LINE}MAINPID=1"}}})
            zk1.succeed("systemctl start zkops-controller")
            wait_none(fleet, lambda tree: [
                *untold(tree, "told", SETTINGS, "InvalidDocument"), *untold(tree, "past", SETTINGS, "InvalidDocument", "/services/past"),
                *untold(tree, "roll", SETTINGS, "InvalidDocument"), *untold(tree, "host", FORBIDDEN, "Unplaced"),
            ], "a condition says what is wrong with each")
            fleet.wait(lambda tree: tree.doc(INDEX).get("version") == "v1.2.3", "the index is right again")
            placed = fleet.tree().children("/hosts/web1/assigned") | fleet.tree().children("/hosts/web2/assigned")
            assert not [name for name in placed if name.startswith(("told", "past", "roll"))], placed

        with subtest("another machine's `alive` tells systemd nothing, when an agent repeats it"):
            web2.succeed(f"systemctl stop {AGENT}")
            fleet.wait(lambda tree: "/hosts/web2/alive" not in tree, "web2 has left")
            lines = "x\nMAINPID=1\nERRNO=5\nSTOPPING=1\nWATCHDOG=trigger\nSTATUS=pwned"
            attacker.write({"/hosts/web2/alive": {
                "address": lines, "version": lines, "machine_id": lines, "boot_id": lines, "pid": 1, "labels": {lines: lines},
                "started": LONG_AGO,
            }})
            web2.succeed(f"systemctl start {AGENT}")
            web2.retry(lambda: "MAINPID" in web2.get_unit_property(AGENT, "StatusText"), "its agent says whose the name is")
            scene.agents = {**scene.agents, "web2": scene.daemons()["web2"]}
            scene.unharmed()
            fleet.delete("/hosts/web2/alive")
            fleet.wait(lambda tree: tree.agent_session("web2"), "web2 is registered")
            scene.unharmed()
    load.outcome.flawless()

    with subtest("the good service obeys at once, whatever lies about"):
        fleet.zkops("hosts uncordon web2")
        fleet.zkops("scale webapp 2 --wait", timeout=15)
        fleet.wait_running("webapp", 2)
        scene.unharmed()
