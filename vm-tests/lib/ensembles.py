"""An ensemble of packaged members: a way to restart them from afar, writes that go on, when its processes were started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

UNIT = "zkops-zookeeper.service"

#: What stands for sshd: a line is a command, its output and exit status come back. There is nobody else on this network.
_SOCKET = "[Socket]\nListenStream=2222\nAccept=yes\n[Install]\nWantedBy=sockets.target\n"
_SERVICE = (
    "[Service]\nStandardInput=socket\nStandardOutput=socket\nStandardError=socket\n"
    "ExecStart=/bin/bash -c 'read -r line; status=0; bash -c \"$line\" || status=$?; echo \"status=$$status\"'\n"
)
#: What stands for ssh: `ssh [OPTION…] root@HOST WORD…`.
_SSH = '''#!/usr/bin/python3
import socket, sys
at = next(i for i, word in enumerate(sys.argv) if word.startswith("root@"))
with socket.create_connection((sys.argv[at].removeprefix("root@"), 2222), timeout=5) as remote:
    remote.settimeout(None)
    remote.sendall((" ".join(sys.argv[at + 1:]) + "\\n").encode())
    said = b"".join(iter(lambda: remote.recv(4096), b"")).decode()
text, _, status = said.rpartition("status=")
print(text, end="", file=sys.stderr)
sys.exit(int(status or 255))
'''


def reachable(machine: Any) -> None:
    """Lets a host be told to restart its member, and tell the others, now and after a reboot."""
    for path, text in (
        ("/etc/systemd/system/remote.socket", _SOCKET), ("/etc/systemd/system/remote@.service", _SERVICE),
        ("/usr/local/bin/ssh", _SSH),
    ):
        machine.succeed(f"cat > {path} <<'END'\n{text}\nEND")
    machine.succeed("chmod 755 /usr/local/bin/ssh; systemctl daemon-reload; systemctl --quiet enable --now remote.socket")


def started(machine: Any) -> int:
    """When the member's process was started, in microseconds on the clock that all hosts share; 0 if there is none."""
    return int(machine.get_unit_property(UNIT, "ExecMainStartTimestampMonotonic"))


@contextmanager
def writes(machine: Any, servers: str) -> Iterator[dict[str, Any]]:
    """Writes for as long as the block takes; what the client saw is in the dictionary afterwards."""
    said: dict[str, Any] = {}
    machine.succeed(
        "rm -f /run/writes.json",
        f"systemd-run --quiet --unit=writes --setenv=ZKTOOL_SERVERS={servers} zkwrites /run/writes.json",
    )
    machine.wait_until_succeeds("journalctl --quiet --unit=writes --output=cat | grep -x writing")
    yield said
    machine.succeed("systemctl stop writes")
    said.update(json.loads(machine.succeed("cat /run/writes.json")))
    machine.log(f"writes: {said}")
