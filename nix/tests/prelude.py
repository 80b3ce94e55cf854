# What a scenario finds in its module, for those who read it without running it; nix/tests/scripts puts this before it.
from driver.cluster import cluster  # noqa: F401
from driver.driver import Driver
from driver.machine import Machine


def _fake_driver() -> Driver:
    raise NotImplementedError


def _fake_machine() -> Machine:
    raise NotImplementedError


driver = _fake_driver()
machines: list[Machine] = driver.machines
start_all, join_all, subtest, retry = driver.start_all, driver.join_all, driver.subtest, driver.retry
