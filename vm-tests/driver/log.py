"""What a scenario says: subtests for people on stdout, everything else into its log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Log:
    """One scenario's log: times are seconds since it began."""

    def __init__(self, scenario: str, path: Path | None = None, verbose: bool = False) -> None:
        self.scenario = scenario
        self.verbose = verbose
        self._began = time.monotonic()
        self._depth = 0
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "w", buffering=1)

    def elapsed(self) -> float:
        """Seconds since the scenario began."""
        return time.monotonic() - self._began

    def line(self, text: str) -> None:
        """A line for the log file (and for stdout when verbose)."""
        stamped = f"{self.elapsed():8.3f} {'  ' * self._depth}{text}"
        if self._file:
            self._file.write(stamped + "\n")
        if self.verbose:
            print(stamped, file=sys.stderr, flush=True)

    def tell(self, text: str) -> None:
        """A line for people: stdout and the log file."""
        self.line(text)
        print(text, flush=True)

    @contextmanager
    def nested(self, title: str) -> Iterator[None]:
        """Indents what is logged inside, and says how long it took."""
        self.line(title)
        self._depth += 1
        started = time.monotonic()
        try:
            yield
        finally:
            self._depth -= 1
            self.line(f"({title}: {time.monotonic() - started:.3f} s)")

    @contextmanager
    def subtest(self, title: str) -> Iterator[None]:
        """A named part of a scenario: one line on stdout, with its time."""
        started = time.monotonic()
        try:
            with self.nested(f"subtest: {title}"):
                yield
        except BaseException:
            self.tell(f"FAIL  {self.scenario}: {title} ({time.monotonic() - started:.2f} s)")
            raise
        self.tell(f"ok    {self.scenario}: {title} ({time.monotonic() - started:.2f} s)")
