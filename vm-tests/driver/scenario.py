"""Runs one scenario in this process: makes its cluster, calls its `test()`, tidies up whatever happened.

A scenario is a Python file with a header and a function::

    CLUSTER = cluster(agents=3)

    def test() -> None:
        start_all()
        web1.wait_for_unit("multi-user.target")

`cluster` and the names of `Driver.globals` are simply there, as in a NixOS test script.
"""

from __future__ import annotations

import signal
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import artifacts, backends, leftovers, paths
from .cluster import Cluster, cluster
from .driver import Driver
from .log import Log


class Interrupted(BaseException):
    """Somebody asked this run to end (Ctrl-C, SIGTERM)."""


class DeadlineExceeded(AssertionError):
    """The scenario took longer than it may."""


@dataclass
class Scenario:
    """A scenario as read from its file."""

    name: str
    module: types.ModuleType
    cluster: Cluster

    @property
    def test(self) -> Callable[[], None]:
        """What to run."""
        return self.module.test  # type: ignore[no-any-return]


def names() -> list[str]:
    """All scenarios there are."""
    return sorted(source.stem for source in paths.SCENARIOS.glob("*.py"))


def path(name: str) -> Path:
    """A scenario's file: of that name in `scenarios/`, or, for a name that ends in ``.py``, that very file."""
    return Path(name).resolve() if name.endswith(".py") else paths.SCENARIOS / f"{name}.py"


def load(name: str, release: str | None = None) -> Scenario:
    """Reads a scenario; nothing of it has run but its header."""
    source = path(name)
    module = types.ModuleType(source.stem)
    module.__dict__.update(cluster=cluster, __file__=str(source))
    exec(compile(source.read_text(), str(source), "exec"), module.__dict__)
    return Scenario(source.stem, module, module.CLUSTER.on(release))


def title(name: str, release: str, driver: str) -> str:
    """A scenario's name in output: with its release and driver where those aren't the usual ones."""
    unusual = [each for each in (release, driver) if each not in ("bookworm", "nspawn")]
    return "@".join((path(name).stem, *unusual))


@contextmanager
def running(
    name: str, wanted: Cluster, driver: str = "nspawn", *, keep: bool = False, verbose: bool = False,
) -> Iterator[Driver]:
    """A cluster's driver for as long as the block takes; with `keep`, its hosts outlive this process."""
    backend = backends.BACKENDS[driver]
    images = backend.prepare(wanted)
    _catch_signals()
    registered = leftovers.begin(name, wanted.release, driver, images)
    kept = False
    try:
        made = Driver(registered, wanted, Log(name, Path(registered.folder) / "scenario.log", verbose))
        made.create()
        yield made
        if keep:
            made.keep()
            kept = True
    finally:
        _ignore_signals()
        if not kept:
            leftovers.end(registered)
        backend.tidy()


def run(scenario: Scenario, driver_name: str, *, keep: bool = False, verbose: bool = False) -> bool:
    """Runs a scenario; True if it passed. Failures leave their artifacts and say where."""
    wanted = scenario.cluster
    name = title(scenario.name, wanted.release, driver_name)
    with running(name, wanted, driver_name, keep=keep, verbose=verbose) as driver:
        scenario.module.__dict__.update(driver.globals())
        try:
            signal.alarm(int(wanted.deadline * driver.pace))
            scenario.test()
            signal.alarm(0)
        except Exception as error:
            signal.alarm(0)
            _explain(driver, error, scenario.module.__file__)
            return False
        return True


def _explain(driver: Driver, error: Exception, source: str | None) -> None:
    """Says what went wrong where, and keeps what is needed to find out why."""
    driver.logger.line(traceback.format_exc())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: `{frames[-1].line}`: " if frames else ""
    text = str(error).strip() or type(error).__name__
    driver.logger.tell(f"      {where}{text[:1500]}")
    folder = paths.FAILURES / driver.run.scenario
    artifacts.keep(driver, folder)
    print(f"      kept: {folder}", flush=True)


def _catch_signals() -> None:
    """Ctrl-C and SIGTERM end a run in order; the alarm ends a scenario that takes too long."""
    def interrupt(number: int, frame: object) -> None:
        raise Interrupted(signal.Signals(number).name)

    def expire(number: int, frame: object) -> None:
        raise DeadlineExceeded("took longer than its deadline allows")

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    signal.signal(signal.SIGALRM, expire)


def _ignore_signals() -> None:
    """Tidying up takes a moment and must not be cut short."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(each, signal.SIG_IGN)
