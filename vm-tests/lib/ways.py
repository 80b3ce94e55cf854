"""Ways by which who may only start and stop certain units has tried to become root."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = f"{_SYSTEMD} /org/freedesktop/systemd1 {_SYSTEMD}.Manager"
#: Written by whoever got through: /root is root's.
PROOF = "/root/proof"
_TOUCH = f"ExecStart 'a(sasb)' 1 /bin/touch 2 /bin/touch {PROOF} false"

#: What a refusal sounds like. Anything else (an unknown method, a wrong signature) would be a try that tries nothing.
REFUSALS = (
    "interactive authentication required", "access denied", "accessdenied", "permission denied", "rejected send message",
    "sender is not authorized", "operation not permitted", "read-only file system",
    # Units that have a file are no transient ones; processes move only into units that say so; a job is replaced where there is one.
    "already loaded or has a fragment file", "not available on non-delegated units", "no job queued for unit",
    # systemctl edit's word on 252 for a folder that it may not make.
    "failed to create directories",
)


@dataclass(frozen=True)
class Way:
    """One: what it is called and what the user runs."""

    name: str
    command: str


def ways(running: str, absent: str, foreign: str) -> list[Way]:
    """All of them. The user may start and stop the units `running` and `absent` (no file of it is installed), not `foreign`."""
    return [
        *(Way(f"StartTransientUnit {unit}", _transient(_MANAGER, unit)) for unit in (absent, running, "evil.service")),
        Way("StartTransientUnit by systemd's own address", _transient(f"$({_OWNER}) /org/freedesktop/systemd1 {_SYSTEMD}.Manager", absent)),
        Way("systemd-run", f"systemd-run --no-ask-password --unit={absent} touch {PROOF}"),
        Way("systemd-run --scope", "systemd-run --no-ask-password --scope true"),
        *(Way(f"{member} {words[:60]}", f"busctl call {_MANAGER} {member} {words}") for member, words in _methods(running, foreign)),
        Way("Unit.Start", _on_unit(foreign, "Start s replace")),
        Way("Unit.SetProperties", _on_unit(running, "SetProperties 'ba(sv)' true 1 CPUWeight t 200")),
        Way("Unit.Clean", _on_unit(running, "Clean as 1 state")),
        Way("Properties.Set", f"busctl set-property {_MANAGER} LogLevel s debug"),
        *(Way(f"systemctl {words}", f"systemctl --no-ask-password {words}") for words in (
            "link /tmp/evil.service", "enable /tmp/evil.service", f"set-property {running} CPUWeight=200", f"start {foreign}", "isolate rescue.target",
            "import-environment PATH", "set-environment LD_PRELOAD=/tmp/evil.so", "daemon-reload", "kill dbus.service",
        )),
        *(Way(f"systemctl {words}", f"script --quiet --return --command 'systemctl {words}' /dev/null") for words in (
            "edit --runtime --full --force evil.service", f"edit --runtime {running}",
        )),
        Way("systemd's private socket", f"busctl --address=unix:path=/run/systemd/private call {_MANAGER} Reload"),
        *(Way(f"writing {path}", f"touch {path}") for path in (
            "/run/systemd/system/evil.service", "/run/systemd/transient/evil.service", "/etc/systemd/system/evil.service",
            "/run/systemd/generator/evil.service", "/etc/zkops/agent.toml", "/etc/polkit-1/rules.d/evil.rules",
            "/etc/dbus-1/system.d/evil.conf", "/etc/tmpfiles.d/evil.conf", "/etc/ld.so.preload", "/usr/lib/zkops/evil",
        )),
    ]


_OWNER = (f"busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetNameOwner s {_SYSTEMD} "
          "| cut -d'\"' -f2")


def _methods(running: str, foreign: str) -> list[tuple[str, str]]:
    """Methods of the manager and what they are called with."""
    other_instance = running.split("@")[0] + "@evil.service"
    return [
        ("StartUnit", f"ss {foreign} replace"), ("StartUnit", f"ss {other_instance} replace"), ("StartUnit", "ss reboot.target replace"),
        ("StopUnit", "ss dbus.service replace"), ("RestartUnit", "ss systemd-journald.service replace"),
        ("StartUnitReplace", f"sss {running} {foreign} replace"), ("StartUnitWithFlags", f"sst {foreign} replace 0"),
        ("EnqueueUnitJob", f"sss {foreign} start replace"), ("EnqueueMarkedJobs", ""),
        ("KillUnit", "ssi dbus.service main 9"), ("SetUnitProperties", f"'sba(sv)' {running} true 1 CPUWeight t 200"),
        ("AttachProcessesToUnit", f"ssau {running} '' 1 $$"), ("BindMountUnit", f"sssbb {running} /tmp /etc false false"),
        ("MountImageUnit", f"'sssbba(ss)' {running} /tmp/evil.img /etc false false 0"), ("CleanUnit", f"sas {running} 1 state"),
        ("FreezeUnit", f"s {running}"), ("Reload", ""), ("Reexecute", ""), ("SetEnvironment", "as 1 LD_PRELOAD=/tmp/evil.so"),
        ("UnsetAndSetEnvironment", "asas 0 1 LD_PRELOAD=/tmp/evil.so"), ("LinkUnitFiles", "asbb 1 /tmp/evil.service true true"),
        ("EnableUnitFiles", f"asbb 1 {foreign} true true"), ("EnableUnitFilesWithFlags", f"ast 1 {foreign} 1"),
        ("MaskUnitFiles", "asbb 1 dbus.service true true"), ("RevertUnitFiles", f"as 1 {foreign}"),
        ("AddDependencyUnitFiles", f"asssbb 1 {foreign} multi-user.target Wants true true"),
        ("SetDefaultTarget", "sb rescue.target true"), ("SwitchRoot", "ss /tmp /bin/sh"), ("KExec", ""), ("Reboot", ""),
        ("SetExitCode", "y 3"), ("ResetFailed", ""),
    ]


def _transient(manager: str, unit: str) -> str:
    return f"busctl call {manager} StartTransientUnit 'ssa(sv)a(sa(sv))' {unit} replace 2 User s root {_TOUCH} 0"


def _on_unit(unit: str, words: str) -> str:
    path = "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)
    return f"busctl call {_SYSTEMD} /org/freedesktop/systemd1/unit/{path} {_SYSTEMD}.Unit {words}"


def attempt(machine: Any, user: str, way: Way) -> str | None:
    """Tries it: what was said when it was refused, `None` when it went through."""
    command = f"SYSTEMD_EDITOR=/bin/true setpriv --reuid={user} --regid={user} --clear-groups bash -c {shlex.quote(way.command)} 2>&1"
    status, said = machine.execute(f"rm -f {PROOF}; {command}")
    if status == 0:
        return None
    return str(said)


def refuses(said: str) -> bool:
    """Whether this is a refusal, and not the end of a try that tries nothing."""
    return any(refusal in said.lower() for refusal in REFUSALS)
