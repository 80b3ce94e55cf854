"""Constant HTTP load through whatever is in `instances`, by the guest's `webload`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What the load saw: how many requests, what failed, which versions answered."""

    requests: int
    failed: int
    #: The first few failures: at (wall clock), asked ([address, port] or None), error.
    failures: list[dict[str, Any]]
    by_version: dict[str, int]
    #: The longest time without any success, in seconds.
    longest_gap: float

    def flawless(self) -> None:
        """Not one request failed, and there were enough of them to tell."""
        assert self.requests > 50, f"only {self.requests} requests: that is no load"
        assert self.failed == 0, f"{self.failed} of {self.requests} requests failed: {self.failures}"


class Load:
    """A load for as long as the block takes; `outcome` is there afterwards."""

    def __init__(self, machine: Any, service: str) -> None:
        self.machine = machine
        self.service = service
        self.unit = f"webload-{service}"
        self.report = f"/run/{self.unit}.json"
        self.outcome = Outcome(0, 0, [], {}, 0.0)

    def __enter__(self) -> Load:
        self.machine.succeed(
            f"rm -f {self.report}; systemctl reset-failed {self.unit} 2>/dev/null || true",
            f"systemd-run --quiet --unit={self.unit} webload {self.service} {self.report}",
        )
        self.machine.wait_until_succeeds(f"journalctl --quiet --unit={self.unit} --output=cat _SYSTEMD_INVOCATION_ID="
                                         f"$(systemctl show {self.unit} --property=InvocationID --value) | grep asking")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.machine.succeed(f"systemctl stop {self.unit}")
        self.outcome = Outcome(**json.loads(self.machine.succeed(f"cat {self.report}")))
        self.machine.log(f"load: {self.outcome}")
