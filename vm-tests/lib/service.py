"""The sample service, described as an operator's TOML file would."""

from __future__ import annotations

import json
from typing import Any

#: A unit file for it as an operator would bring it: reloads can fail, `{program}` is where it is.
UNIT_FILE = """[Unit]
Description=the sample service, replica %i

[Service]
Type=exec
ExecStart={program}
ExecReload={program} reload
TimeoutStopSec=5s
"""


def ready(pace: float = 1) -> dict[str, Any]:
    """Ready as soon as it answers /healthz with 200, and not ready as soon as it does not."""
    return {"readiness": {
        "http": {"path": "/healthz"}, "period": f"{200 * pace:g}ms", "timeout": f"{pace:g}s", "failure_threshold": 1,
    }}


def quick(pace: float = 1) -> dict[str, str]:
    """A rollout policy for tests: quick, and each deadline far above what a busy machine needs."""
    return {"min_healthy_time": "300ms", "healthy_deadline": f"{10 * pace:g}s", "progress_deadline": f"{20 * pace:g}s"}


READY, QUICK = ready(), quick()


def webapp(
    replicas: int = 2, *, name: str = "webapp", unit: str = "webapp@.service", version: str = "v1.2.3", port: int | None = 8080,
    lost_after: str = "2s", extra: str = "", desired: str = "", **tables: dict[str, Any],
) -> str:
    """A description with one replica per host at most; `extra` goes to the top, `desired` to its table.

    A port is one replica's on each host; `None` for a service that binds none.

    Ready is healthy enough for tests of anything but rollouts.
    """
    bound = "" if port is None else f"port = {port}\n"
    text = f'name = "{name}"\nunit = "{unit}"\n{bound}lost_after = "{lost_after}"\n{extra}\n'
    text += f'[desired]\nversion = "{version}"\nreplicas = {replicas}\n{desired}\n'
    tables.setdefault("placement", {"max_per_host": 1})
    tables.setdefault("rollout", {"min_healthy_time": "0s"})
    for table, keys in tables.items():
        lines = (f"{_key(key)} = {_toml(value)}" for key, value in keys.items())
        text += f"[{table}]\n" + "\n".join(lines) + "\n"
    return text


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value) if isinstance(value, str) else str(value)
