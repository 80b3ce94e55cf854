"""Finds names in scenarios that nothing defines, before an hour of booting hosts does.

A scenario's globals are put into it when it runs, so ordinary linters know
nothing of them. This walks the compiled code of each scenario and of the
helpers instead.
"""

from __future__ import annotations

import builtins
import dis
import types
from collections.abc import Iterator

from . import scenario


def check() -> list[str]:
    """Every name some scenario uses and nobody defines, in words."""
    wrong: list[str] = []
    for name in scenario.names():
        path = scenario.path(name)
        code = compile(path.read_text(), str(path), "exec")
        loaded = scenario.load(name)
        known = {*dir(builtins), *loaded.module.__dict__, *_globals(loaded)}
        for part in _codes(code):
            wrong += [f"{path.name}:{part.co_firstlineno} ({part.co_name}): unknown name {each!r}"
                      for each in sorted(_global_names(part) - known)]
    return wrong


def _globals(loaded: scenario.Scenario) -> set[str]:
    machines = {host.name for host in loaded.cluster.hosts()}
    return machines | {"driver", "machines", "start_all", "join_all", "subtest", "retry"}


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _global_names(code: types.CodeType) -> set[str]:
    """Names a piece of code looks up outside itself."""
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
