"""The sample service, described as an operator's TOML file would."""

from __future__ import annotations

from typing import Any


def webapp(
    replicas: int = 2, *, name: str = "webapp", unit: str = "webapp@.service", version: str = "v1.2.3",
    lost_after: str = "2s", extra: str = "", desired: str = "", **tables: dict[str, Any],
) -> str:
    """A description with one replica per host at most; `extra` goes to the top, `desired` to its table."""
    text = f'name = "{name}"\nunit = "{unit}"\nport = 8080\nlost_after = "{lost_after}"\n{extra}\n'
    text += f'[desired]\nversion = "{version}"\nreplicas = {replicas}\n{desired}\n'
    tables.setdefault("placement", {"max_per_host": 1})
    for table, keys in tables.items():
        lines = (f"{key} = {_toml(value)}" for key, value in keys.items())
        text += f"[{table}]\n" + "\n".join(lines) + "\n"
    return text


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
