"""A fleet as nix/module.nix describes it, on Debian hosts: NixOS's files, with Debian's paths.

nix/tests/hosts.nix is the fleet. What NixOS would install for it is evaluated by nix/tests/stub, which takes nix-bin and
no nixpkgs; `ZKOPS_NIX_HOSTS` names a file with what the real NixOS makes of it instead (nix/check writes one).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from driver import paths, toml

_STUB = paths.REPOSITORY / "nix/tests/stub"
_LAUNCHER = paths.REPOSITORY / "packaging/lib/zookeeper"

#: Where what is in a store path is on Debian.
_PLACES = {
    "bin/zkops": "/usr/bin/zkops", "bin/systemctl": "/bin/systemctl", "bin/true": "/bin/true",
    "lib/zkops/zookeeper": "/usr/lib/zkops/zookeeper",
}
#: What NixOS tells every service of its own paths.
_NIXOS_ENVIRONMENT = re.compile(r'Environment="(PATH|LOCALE_ARCHIVE|TZDIR)=.*"')


def evaluate() -> dict[str, Any]:
    """Every host's files, see nix/tests/manifest.nix."""
    given = os.environ.get("ZKOPS_NIX_HOSTS")
    if given:
        text = Path(given).read_text()
    else:
        assert shutil.which("nix-instantiate"), "nix-instantiate is missing: run `make nix-setup`"
        # Nothing is built, so nothing of a store is needed.
        text = subprocess.run(
            ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", str(_STUB), "-A", "hosts"],
            check=True, capture_output=True, text=True,
        ).stdout
    hosts: dict[str, Any] = json.loads(text)
    return hosts


def debian(text: str) -> str:
    """A unit's text with Debian's paths. Nothing of a store may be left, but what only NixOS's own tools read (X-…)."""
    lines = [line for line in text.splitlines() if not line.startswith("X-") and not _NIXOS_ENVIRONMENT.fullmatch(line)]
    text = re.sub(r"/nix/store/[^/\s]+/(\S+)", lambda found: _PLACES.get(found[1], found[0]), "\n".join(lines) + "\n")
    assert "/nix/store" not in text, f"a path that Debian has no counterpart for:\n{text}"
    return text


def files(host: dict[str, Any]) -> dict[str, str]:
    """A host's files by path: units and drop-ins as NixOS lays them out, and the configurations."""
    units, etc = "/etc/systemd/system", "/etc/zkops"
    found = {f"{units}/{name}": debian(text) for name, text in host["units"].items()}
    found |= {f"{units}/{name}.d/overrides.conf": debian(text) for name, text in host["dropins"].items()}
    found |= {f"{etc}/{name}": toml.dumps(settings) for name, settings in host["toml"].items()}
    return found | {f"/etc/{name}": text for name, text in host["text"].items()}


def install(machine: Any, host: dict[str, Any]) -> None:
    """Makes a running Debian host what the configuration says, with nothing of zkops's own units left, and starts it all."""
    machine.succeed("rm -rf /usr/lib/systemd/system/zkops-*")
    machine.copy_from_host(str(_LAUNCHER), "/usr/lib/zkops/zookeeper")
    for user in host["users"]:
        machine.succeed(f"useradd --system --user-group --no-create-home {user}")
    with tempfile.TemporaryDirectory() as folder:
        for number, (path, text) in enumerate(files(host).items()):
            source = Path(folder) / str(number)
            source.write_text(text)
            machine.copy_from_host(str(source), path)
    wanted = [unit for unit, targets in host["wants"].items() if targets]
    for unit in wanted:
        for target in host["wants"][unit]:
            link = f"/etc/systemd/system/{target}.wants"
            machine.succeed(f"mkdir -p {link}; ln -s ../{unit} {link}/{unit}")
    machine.succeed("systemctl daemon-reload", f"systemctl start --no-block {' '.join(wanted)}")
