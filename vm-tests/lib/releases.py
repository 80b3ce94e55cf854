"""The releases of `examples/rollout`, built by its own script and served by a mirror that can be told to fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .service import READY, UNIT_FILE, webapp

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/rollout"
#: Where a replica's release in force is found on its host.
PROGRAM = "/var/lib/zkops/releases/shop/current@%i/bin/shop"


class Releases:
    """Archives on one host's port 8000."""

    def __init__(self, machine: Any, versions: tuple[str, ...]) -> None:
        self.machine = machine
        self.url = f"http://{machine.name}:8000/shop-{{version}}.tar.gz"
        machine.copy_from_host(str(EXAMPLE), "/srv/rollout")
        machine.succeed(f"cd /srv/rollout; ./build {' '.join(versions)}")
        machine.succeed("systemd-run --quiet --unit=mirror --working-directory=/srv/rollout/dist mirror")
        machine.wait_for_open_port(8000)

    def sums(self) -> dict[str, str]:
        """The SHA-256 of each version's archive."""
        lines = self.machine.succeed("cat /srv/rollout/dist/SHA256SUMS").splitlines()
        return {name.removeprefix("shop-").removesuffix(".tar.gz"): digest for digest, name in map(str.split, lines)}

    def mood(self, how: str = "") -> None:
        """Tells the mirror how to answer from now on: "stall", "truncate", "500", "404", or as it should."""
        self.machine.succeed(f"echo {how} > /run/mirror.new; mv /run/mirror.new /run/mirror" if how else "rm -f /run/mirror")

    def asked(self, how: str) -> int:
        """How many requests were answered in a way ("good" is one)."""
        return int(self.machine.succeed(f"grep -c ' {how}$' /run/mirror.log || true"))

    def service(self, version: str, sums: dict[str, str], replicas: int = 3, port: int = 8081, **tables: Any) -> str:
        """The service `shop`, which runs what is unpacked."""
        source = {"archive": {"url": self.url, "sha256": sums, "strip_components": 1}, "timeout": "3s"}
        return webapp(
            replicas, name="shop", unit="shop@.service", version=version, port=port,
            extra=f"drain_time = \"500ms\"\nunit_file = '''\n{UNIT_FILE.format(program=PROGRAM)}'''",
            **({"source": source, "probes": READY} | tables),
        )
