"""Rollouts as their records tell of them, and an independent check of what really happened.

The check reads ZooKeeper's transaction log: it looks at the tree after every single write, so that nothing is too
short to be seen. It shares nothing with the planner but the documents.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import Any

from .fleet import Fleet
from .history import History
from .tree import Tree

ENDED = ("completed", "rolled_back", "superseded")


class Rollouts:
    """A service's rollouts."""

    def __init__(self, fleet: Fleet, service: str = "webapp") -> None:
        self.fleet = fleet
        self.service = service
        self.path = f"/services/{service}/rollouts"

    def all(self, tree: Tree | None = None) -> dict[int, dict[str, Any]]:
        """The records by number."""
        tree = tree or self.fleet.tree()
        return {int(name): tree.doc(f"{self.path}/{name}") for name in sorted(tree.children(self.path))}

    def newest(self, tree: Tree | None = None) -> tuple[int, dict[str, Any]]:
        """The one that counts; (0, {}) before the first."""
        return max(self.all(tree).items(), default=(0, {}), key=lambda item: item[0])

    def wait(self, state: str, after: int = 0, timeout: float | None = None) -> tuple[int, dict[str, Any]]:
        """Waits until the newest rollout, newer than number `after`, is in a state; fails once it cannot be any more."""
        def good(tree: Tree) -> bool:
            number, record = self.newest(tree)
            now = record.get("state")
            assert number <= after or now == state or now not in ENDED, f"rollout {number} is {now}: {record}"
            return number > after and now == state

        return self.newest(self.fleet.wait(good, f"the rollout is {state}", timeout))

    def wait_begun(self, after: int, updated: int = 1) -> tuple[int, dict[str, Any]]:
        """Waits until a rollout newer than `after` has told so many replicas to change, and is still under way."""
        def good(tree: Tree) -> bool:
            number, record = self.newest(tree)
            told = [each for each in tree.replicas(self.service).values() if each.desired.get("rollout") == number]
            assert number <= after or record.get("state") not in ENDED, f"over before it could be seen: {record}"
            return number > after and len(told) >= updated

        return self.newest(self.fleet.wait(good, f"{updated} replicas are being updated"))

    def versions(self, tree: Tree | None = None) -> dict[int, str | None]:
        """The version that each replica runs."""
        replicas = (tree or self.fleet.tree()).replicas(self.service)
        return {number: each.status.get("version") for number, each in replicas.items()}


@dataclass(frozen=True)
class Budget:
    """What must hold at every moment of a rollout."""

    wanted: int
    max_unavailable: int = 1
    max_surge: int = 0
    #: Did nothing but planned changes happen? Then the number of ready replicas is bound at every moment, not only
    #: when a change is begun.
    undisturbed: bool = True


@dataclass
class _Moment:
    """A service at one moment."""

    desired: dict[int, dict[str, Any]] = field(default_factory=dict)
    status: dict[int, dict[str, Any]] = field(default_factory=dict)
    #: The replicas in `instances`.
    ready: set[int] = field(default_factory=set)
    #: The newest rollout and its record.
    rollout: int = 0
    record: dict[str, Any] = field(default_factory=dict)

    def is_up_to_date(self, number: int) -> bool:
        """Is a replica ready with just what is wanted of it?"""
        wanted, runs = self.desired[number], self.status.get(number, {})
        return number in self.ready and all(runs.get(key) == wanted.get(key) for key in ("version", "config_version"))

    def running(self) -> set[int]:
        """Replicas of which a process runs."""
        alive = ("starting", "running", "draining", "stopping")
        return {number for number, status in self.status.items() if status.get("state") in alive}

    def in_flight(self) -> set[int]:
        """Replicas that were told to change and are not ready with it yet, surge left out."""
        return {number for number, wanted in self.desired.items()
                if not wanted.get("surge") and not wanted.get("removing") and not self.is_up_to_date(number)}


@dataclass(frozen=True)
class Step:
    """A replica told to change."""

    zxid: int
    number: int
    rollout: int
    surge: bool
    was_ready: bool
    back: bool


def violations(past: History, budget: Budget, after: int, service: str = "webapp", until: int | None = None) -> list[str]:
    """When the budget or the order was broken after a transaction, in words; empty if never."""
    wrong: list[str] = []
    before: _Moment | None = None
    for zxid, now in _moments(past, service, until):
        if zxid > after:
            wrong += [f"zxid 0x{zxid:x}: {what}" for what in _breaches(before, now, budget)]
        before = now
    return wrong + _order(steps(past, after, service))


def steps(past: History, after: int, service: str = "webapp") -> list[Step]:
    """Each time a replica was told to change by a rollout (or was made by one, for its surge)."""
    found: list[Step] = []
    before: _Moment | None = None
    for zxid, now in _moments(past, service, None):
        if zxid > after and before is not None:
            for number, wanted in sorted(now.desired.items()):
                if wanted.get("rollout") != before.desired.get(number, {}).get("rollout"):
                    surge = bool(wanted.get("surge"))
                    found.append(Step(zxid, number, wanted.get("rollout", 0), surge, number in before.ready,
                                      bool(now.record.get("back"))))
        before = now
    return found


def _moments(past: History, service: str, until: int | None) -> Any:
    """The service after each transaction that changed it: (zxid, moment)."""
    prefix = f"/services/{service}/"
    previous = None
    for txn, tree in past.replay():
        if until is not None and txn.zxid > until:
            return
        mine = {path: node.data for path, node in tree.items() if path.startswith(prefix)}
        if mine != previous:
            previous = mine
            yield txn.zxid, _moment(mine, prefix)


def _moment(nodes: dict[str, bytes], prefix: str) -> _Moment:
    moment = _Moment()
    for path, data in nodes.items():
        top, _, rest = path[len(prefix):].partition("/")
        if top.isdigit() and rest == "desired":
            moment.desired[int(top)] = _document(data)
        elif top.isdigit() and rest == "status":
            moment.status[int(top)] = _document(data)
        elif top == "instances" and rest:
            moment.ready.add(_document(data).get("replica", 0))
        elif top == "rollouts" and rest and int(rest) > moment.rollout:
            moment.rollout, moment.record = int(rest), _document(data)
    return moment


@functools.lru_cache(maxsize=None)
def _document(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _breaches(before: _Moment | None, now: _Moment, budget: Budget) -> list[str]:
    wrong = []
    least, most = budget.wanted - budget.max_unavailable, budget.wanted + budget.max_surge
    if budget.undisturbed and len(now.ready) < least:
        wrong.append(f"{sorted(now.ready)} are ready: fewer than {least}")
    if len(now.running()) > most:
        wrong.append(f"{sorted(now.running())} run: more than {most}")
    # A change of two that are not ready anyway costs nothing; of those that were, never more than the budget.
    at_once = max(1, budget.max_unavailable)
    if budget.undisturbed and len(now.in_flight()) > at_once:
        wrong.append(f"{sorted(now.in_flight())} are changed at once: more than {at_once}")
    if before is not None:
        for number in _taken(before, now):
            left = {each for each in now.ready if each != number and each not in now.in_flight()}
            if len(left) < least:
                wrong.append(f"replica {number} is taken out with only {sorted(left)} left: fewer than {least}")
    return wrong


def _taken(before: _Moment, now: _Moment) -> list[int]:
    """Ready replicas that this transaction told to stop, move or change."""
    keys = ("mode", "version", "config_version", "rollout", "node", "removing")
    return [number for number, wanted in before.desired.items()
            if number in before.ready and not wanted.get("surge") and not wanted.get("removing")
            and any(wanted.get(key) != now.desired.get(number, wanted).get(key) for key in keys)]


def _order(told: list[Step]) -> list[str]:
    """Those that were ready change by number: upwards on the way there, downwards on the way back."""
    wrong = []
    for rollout, back in sorted({(step.rollout, step.back) for step in told}):
        numbers = [step.number for step in told
                   if (step.rollout, step.back) == (rollout, back) and step.was_ready and not step.surge]
        if numbers != sorted(numbers, reverse=back):
            wrong.append(f"rollout {rollout}{' going back' if back else ''} changed replicas in the order {numbers}")
    return wrong


def check(fleet: Fleet, budget: Budget, after: int, service: str = "webapp") -> None:
    """Fails with every breach since a transaction."""
    wrong = violations(fleet.history(), budget, after, service)
    assert not wrong, "\n".join(wrong[:20])
