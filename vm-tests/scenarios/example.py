"""examples/README.md, step by step: a person who types what stands there sees what it says."""

from pathlib import Path

from lib.docs import Typist, blocks
from lib.fleet import Fleet
from lib.load import Load
from lib.releases import EXAMPLE
from lib.rollouts import Rollouts

CLUSTER = cluster(
    agents=3, session_timeout="10s", allowed_units=("shop@*.service",), agent={"accept_commands": True},
)

#: A test has less patience than the example's reader.
HASTE = {"drain_time = \"2s\"": "drain_time = \"500ms\"", "healthy_deadline = \"30s\"": "healthy_deadline = \"5s\"",
         "min_healthy_time = \"2s\"": "min_healthy_time = \"500ms\"", "period = \"1s\"": "period = \"300ms\""}


def shop(**changes: str) -> str:
    """The example's description, with some of its values changed."""
    text = (Path(EXAMPLE) / "shop.toml").read_text()
    for old, new in HASTE.items():
        assert old in text, old
        text = text.replace(old, new)
    for key, value in changes.items():
        (line,) = [line for line in text.splitlines() if line.removeprefix("# ").startswith(f"{key} = ")]
        text = text.replace(line, f"{key} = {value}")
    return text


def split_after(block: str, command: str) -> tuple[str, str]:
    """A block up to the end of a command's line, and the rest: a shell that stops at what fails would not see that."""
    before, found, rest = block.partition(command)
    line, end, after = rest.partition("\n")
    return before + found + line + end, after


def test() -> None:
    fleet = Fleet(driver)
    fleet.up()
    rollouts, operator = Rollouts(fleet, "shop"), Typist(zk1)
    section = "A rollout, and what can go wrong with it"
    build, first, again, second, broken, bad_config = blocks("examples/README.md", section)

    with subtest("1. two releases are built and served"):
        zk1.succeed("mkdir -p /root/examples")
        zk1.copy_from_host(str(EXAMPLE), "/root/examples/rollout")
        operator.types(build)
        zk1.wait_for_open_port(8000)

    with subtest("2. v1 is started, and given a configuration"):
        operator.writes("shop.toml", shop())
        operator.types(first)
        operator.writes("shop.toml", shop(config_version="1"))
        # The hosts have no curl.
        operator.types(again.partition("curl ")[0])
        tree = fleet.wait_running("shop", 3)
        for number, host in tree.hosts_of("shop").items():
            about = fleet.ask(str(host))
            assert about["release"] == "v1", about
            assert f"hello from {host}, replica {number} of shop v1" in about["config"]["greeting"], about

    with subtest("a request that comes in pieces is waited for: an answer to a part of it could be lost"):
        zk1.succeed(f"exec 3<>/dev/tcp/{host}/8080; printf 'GET / HTTP/1.0\\r\\n' >&3; ! timeout 0.3 head -c 1 <&3; "
                    "printf '\\r\\n' >&3; head -n 1 <&3 | grep '200 OK'")

    with subtest("3. v2 is rolled out"):
        operator.writes("shop.toml", shop(version='"v2"', config_version="1"))
        plan, apply = split_after(second, "zkops plan")
        # There is something to do.
        operator.types(plan, status=1)
        with Load(zk1, "shop") as load:
            operator.types(apply)
        load.outcome.flawless()
        tree = fleet.wait_running("shop", 3)
        for host in tree.hosts_of("shop").values():
            about = fleet.ask(str(host))
            assert about["release"] == "v2" and "shop v2" in about["config"]["greeting"], ("rendered again for the version", about)

    with subtest("4. v3 is broken: rolled back, and the history tells what was tried"):
        number, _ = rollouts.newest()
        operator.writes("shop.toml", shop(version='"v3"', config_version="1", SHOP_BROKEN='"v3:ready"'))
        apply, look = split_after(broken, "zkops apply")
        with Load(zk1, "shop") as load:
            assert "rolled back" in operator.types(apply, status=7)
        assert "v3:ready" in operator.types(look)
        load.outcome.flawless()
        assert set(load.outcome.by_version) == {"v2"}, load.outcome
        fleet.zkops("rollout undo shop --wait")
        assert fleet.tree().doc("/services/shop/desired")["version"] == "v2"

    with subtest("5. a configuration that is no good is rejected; a good one is reloaded without a new process"):
        pids = fleet.pids("shop@*.service")
        operator.writes("shop.toml", shop(version='"v2"', config_version="2"))
        assert "greeting must be a str" in operator.types(bad_config, status=7)
        fleet.write(zk1, "/root/examples/rollout/conf/shop.toml.j2", 'greeting = "good morning"\n')
        fleet.zkops("config push shop /root/examples/rollout/conf")
        fleet.apply(shop(version='"v2"', config_version="3"), "--wait")
        tree = fleet.wait_running("shop", 3)
        assert fleet.pids("shop@*.service") == pids
        for host in tree.hosts_of("shop").values():
            assert fleet.ask(str(host))["config"]["greeting"] == "good morning"
