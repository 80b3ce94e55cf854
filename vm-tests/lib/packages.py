"""A Debian repository with a few versions of one tiny package, for the hosts' apt."""

from __future__ import annotations

from typing import Any

_UNIT = """[Unit]
Description=the sample service, from a package

[Service]
Type=exec
ExecStart=/usr/bin/{name}
TimeoutStopSec=5s

[Install]
WantedBy=multi-user.target
"""

# As debhelper's own: enables and starts its unit by itself, which is what zkops must not let it do.
_POSTINST = """#!/bin/sh
set -e
deb-systemd-helper enable {name}.service >/dev/null || true
systemctl --system daemon-reload >/dev/null || true
if [ -n "$2" ]; then deb-systemd-invoke restart {name}.service; else deb-systemd-invoke start {name}.service; fi || true
"""

#: Holds the lock that apt and dpkg take, as another apt does.
_HOLD = "import fcntl, time; file = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"


class Packages:
    """A repository on one host's port 8001."""

    def __init__(self, machine: Any, name: str, versions: tuple[str, ...]) -> None:
        self.name = name
        self.url = f"http://{machine.name}:8001"
        machine.succeed("mkdir -p /srv/packages")
        for version in versions:
            self._build(machine, version)
        machine.succeed(
            "cd /srv/packages; for deb in *.deb; do dpkg-deb --field $deb; echo Filename: ./$deb; "
            "echo Size: $(stat -c %s $deb); echo SHA256: $(sha256sum < $deb | cut -d' ' -f1); echo; done > Packages",
            "systemd-run --quiet --unit=packages python3 -m http.server --directory /srv/packages 8001",
        )
        machine.wait_for_open_port(8001)

    def _build(self, machine: Any, version: str) -> None:
        top, name = f"/srv/build/{version}", self.name
        machine.succeed(f"mkdir -p {top}/DEBIAN {top}/usr/bin {top}/lib/systemd/system; cp -L /usr/local/bin/webapp {top}/usr/bin/{name}")
        control = (f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n"
                   "Description: the sample service")
        for path, text, mode in (
            ("DEBIAN/control", control, "644"), ("DEBIAN/postinst", _POSTINST.format(name=name), "755"),
            (f"lib/systemd/system/{name}.service", _UNIT.format(name=name), "644"),
        ):
            machine.succeed(f"cat > {top}/{path} <<'END'\n{text}\nEND\nchmod {mode} {top}/{path}")
        machine.succeed(f"dpkg-deb --root-owner-group --build {top} /srv/packages/{name}_{version}_all.deb")

    def use_on(self, machine: Any) -> None:
        """The only repository of a host."""
        machine.succeed(
            "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*",
            f"echo 'deb [trusted=yes] {self.url} ./' > /etc/apt/sources.list.d/test.list", "apt-get -q update",
        )

    def lock(self, machine: Any) -> None:
        """Holds a host's dpkg lock."""
        machine.succeed(f"systemd-run --quiet --unit=dpkg-lock python3 -c \"{_HOLD}\"")
        machine.wait_until_succeeds("journalctl --quiet --unit=dpkg-lock --output=cat | grep held")

    def unlock(self, machine: Any) -> None:
        """Lets it go."""
        machine.succeed("systemctl stop dpkg-lock")
