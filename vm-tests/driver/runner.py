"""Runs many scenarios, each in a process of its own, some at once, and counts.

Scenarios that measure times (`alone=True`) run after the others, one by one.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from . import backends, images, leftovers, names as known_names, paths, scenario
from .host import NotBuilt

#: Seconds a scenario's process gets beyond its deadline to keep its artifacts and tidy up.
GRACE = 90


@dataclass
class Job:
    """A scenario to run, on a release, on a driver's hosts."""

    name: str
    release: str
    driver: str
    deadline: float
    process: subprocess.Popen[bytes] | None = None
    began: float = field(default_factory=time.monotonic)

    def start(self, options: list[str]) -> None:
        """Starts the scenario's process; it prints for itself."""
        argv = [sys.executable, str(paths.TESTS / "run"), "--one", self.name, "--release", self.release,
                "--driver", self.driver, *options]
        self.began = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)

    @property
    def title(self) -> str:
        """Its name in output."""
        return scenario.title(self.name, self.release, self.driver)

    def finished(self) -> bool | None:
        """None while it runs; then whether it passed."""
        assert self.process is not None
        status = self.process.poll()
        if status is None and time.monotonic() - self.began > self.deadline + GRACE:
            print(f"FAIL  {self.title}: did not even end at its deadline; killed", flush=True)
            self.process.kill()
            status = self.process.wait()
        return None if status is None else status == 0


def main(argv: list[str]) -> int:
    """The command line of `vm-tests/run`."""
    options = _parser().parse_args(argv)
    if os.geteuid() != 0:
        sys.exit("vm-tests: must be run as root (it makes mounts and network namespaces)")
    if options.one:
        return _one(options)
    if options.list:
        print("\n".join(scenario.names()))
        return 0
    for stale in leftovers.sweep(kept=options.clean):
        print(f"removed what was left of {stale.scenario} ({stale.id})", flush=True)
    if options.clean or options.images:
        for release in images.RELEASES if options.images else ():
            print(images.image(release), flush=True)
        return 0
    jobs = _jobs(options)
    signal.signal(signal.SIGTERM, _terminate)
    return _all(jobs, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vm-tests/run", description="Runs scenarios on real Debian hosts.")
    parser.add_argument("--scenario", "-s", nargs="+", action="extend", metavar="NAME", help="run only these (or a file of one's own: PATH.py)")
    parser.add_argument("--release", choices=[*images.RELEASES, "all"], help="Debian release of the hosts (default: what each scenario names)")
    parser.add_argument("--driver", choices=[*backends.BACKENDS], default="nspawn", help="containers (default) or full virtual machines")
    parser.add_argument("--jobs", "-j", type=int, default=2, metavar="N", help="how many at once (default 2)")
    parser.add_argument("--keep", action="store_true", help="leave the hosts up (see vm-tests/shell)")
    parser.add_argument("--verbose", "-v", action="store_true", help="print every command, too")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--clean", action="store_true", help="remove kept hosts and leftovers, run nothing")
    parser.add_argument("--images", action="store_true", help="build the hosts' Debian roots, run nothing")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    return parser


def _one(options: argparse.Namespace) -> int:
    """The process of one scenario."""
    try:
        chosen = scenario.load(options.one, options.release)
        return 0 if scenario.run(chosen, options.driver, keep=options.keep, verbose=options.verbose) else 1
    except scenario.Interrupted as why:
        print(f"FAIL  {options.one}: interrupted ({why})", flush=True)
        return 130


def _jobs(options: argparse.Namespace) -> list[tuple[Job, bool]]:
    """What to run (with whether it runs alone), after making sure that it can run at all."""
    wrong = known_names.check()
    if wrong:
        sys.exit("\n".join(wrong))
    for name in options.scenario or ():
        if not scenario.path(name).is_file():
            sys.exit(f"vm-tests: no scenario {name!r}; there are: {', '.join(scenario.names())}")
    backend = backends.BACKENDS[options.driver]
    forced = images.RELEASES if options.release == "all" else [options.release] if options.release else None
    jobs: list[tuple[Job, bool]] = []
    for name in _fitting(options.scenario or scenario.names(), options):
        for release in forced or scenario.load(name).cluster.releases:
            cluster = scenario.load(name, release).cluster
            try:
                backend.prepare(cluster)
            except NotBuilt as error:
                sys.exit(f"vm-tests: {error}")
            jobs.append((Job(name, release, backend.name, cluster.deadline * backend.pace), cluster.alone))
    return jobs


def _fitting(names: list[str], options: argparse.Namespace) -> list[str]:
    """Those that the driver's hosts can run; says which it leaves out, and refuses if one was asked for."""
    known = {name: scenario.load(name).cluster.drivers for name in names}
    others = [f"{name}: not on {options.driver} hosts, only on {', '.join(drivers)} (`drivers` in its header)"
              for name, drivers in known.items() if options.driver not in drivers]
    if others and options.scenario:
        sys.exit("\n".join(f"vm-tests: {other}" for other in others))
    for other in others:
        print(f"skip  {other}", flush=True)
    return [name for name, drivers in known.items() if options.driver in drivers]


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _all(jobs: list[tuple[Job, bool]], options: argparse.Namespace) -> int:
    """Runs the jobs and prints the closing line."""
    passing = [flag for flag, given in (("--keep", options.keep), ("--verbose", options.verbose)) if given]
    together = [job for job, alone in jobs if not alone]
    by_itself = [job for job, alone in jobs if alone]
    results: list[bool] = []
    live: list[Job] = []
    try:
        for queue, width in ((together, max(1, options.jobs)), (by_itself, 1)):
            while queue or live:
                while queue and len(live) < width:
                    live.append(queue.pop(0))
                    live[-1].start(passing)
                _collect(live, results)
                time.sleep(0.05)
    except KeyboardInterrupt:
        _interrupt(live)
        print("interrupted", flush=True)
        return 130
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


def _collect(live: list[Job], results: list[bool]) -> None:
    """Takes finished jobs off the list and notes how they ended."""
    for job in list(live):
        passed = job.finished()
        if passed is None:
            continue
        live.remove(job)
        results.append(passed)
        verdict = "PASS" if passed else "FAIL"
        print(f"{verdict}  {job.title} ({time.monotonic() - job.began:.1f} s)", flush=True)


def _interrupt(live: list[Job]) -> None:
    """Asks the scenarios that run to end, waits, and removes what any could not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for job in live:
        assert job.process is not None
        job.process.terminate()
    for job in live:
        assert job.process is not None
        try:
            job.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            job.process.kill()
            job.process.wait()
    leftovers.sweep()
