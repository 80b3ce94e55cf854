"""Just enough TOML to write configuration files."""

from __future__ import annotations

import json
from typing import Any


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps(str(value))


def dumps(table: dict[str, Any], name: str = "") -> str:
    """A table as TOML: its own keys first, then its sub-tables."""
    lines = [f"[{name}]"] if name else []
    lines += [f"{json.dumps(key) if '.' in key or '/' in key else key} = {_value(value)}"
              for key, value in table.items() if not isinstance(value, dict)]
    text = "\n".join(lines) + "\n"
    for key, value in table.items():
        if isinstance(value, dict) and value:
            text += "\n" + dumps(value, f"{name}.{key}" if name else key)
    return text
