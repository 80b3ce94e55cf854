"""The part of the host API that asks the host's systemd."""

from __future__ import annotations

import shlex
import time
from abc import ABC, abstractmethod


def pause(began: float) -> None:
    """Between two tries of anything that waits: a tenth of a second, or as long as a try that `began` then has taken.

    Asking must not keep a slow host from what is waited for.
    """
    time.sleep(max(0.1, time.monotonic() - began))


class UnitFailed(AssertionError):
    """A unit is not in the state it should be in."""


class Systemd(ABC):
    """systemctl as methods, for anything that can run commands."""

    name: str

    @abstractmethod
    def limit(self, timeout: float | None) -> float:
        """How long a wait may take, in seconds; the default's for none."""

    @abstractmethod
    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: float | None = 900,
    ) -> tuple[int, str]:
        """Runs a command in the host."""

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Runs `systemctl q`, as a user's manager if one is given."""
        manager = f"--user --machine={shlex.quote(user)}@ " if user else ""
        return self.execute(f"systemctl {manager}{q}")

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit."""
        status, output = self.systemctl(f"--no-pager show {shlex.quote(unit)}", user)
        if status != 0:
            raise UnitFailed(f"{self.name}: systemctl show {unit} failed ({status})")
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """One property of a unit."""
        status, output = self.systemctl(f"--no-pager show {shlex.quote(unit)} --property={property} --value", user)
        if status != 0:
            raise UnitFailed(f"{self.name}: systemctl show {unit} failed ({status})")
        return output.strip()

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Fails unless a unit is in a state right now."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise UnitFailed(f"{self.name}: {unit} is {state}, not {require_state}")

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: float | None = None) -> None:
        """Waits until a unit is active; fails at once if it failed, or is inactive with no job pending."""
        limit = self.limit(timeout)
        deadline = time.monotonic() + limit
        began = time.monotonic()
        while (state := self.get_unit_property(unit, "ActiveState", user)) != "active":
            if state == "failed":
                _, status = self.execute(f"systemctl --no-pager --lines=20 status {shlex.quote(unit)} || true")
                raise UnitFailed(f"{self.name}: {unit} reached state failed\n{status}")
            if state == "inactive" and self._gave_up(unit, user):
                raise UnitFailed(f"{self.name}: {unit} is inactive and there are no pending jobs")
            if time.monotonic() > deadline:
                raise UnitFailed(f"{self.name}: {unit} still {state} after {limit:.0f} s")
            pause(began)
            began = time.monotonic()

    def _gave_up(self, unit: str, user: str | None) -> bool:
        """Inactive and nothing left that could start it? The unit may have come up in between: asked twice."""
        _, jobs = self.systemctl("list-jobs --full", user)
        return "No jobs" in jobs and self.get_unit_property(unit, "ActiveState", user) == "inactive"

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """`systemctl start`."""
        return self.systemctl(f"start {shlex.quote(jobname)}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """`systemctl stop`."""
        return self.systemctl(f"stop {shlex.quote(jobname)}", user)
