"""Real Debian hosts on one machine, driven by test scripts.

A scenario (``vm-tests/scenarios/NAME.py``) states the cluster it wants and then
talks to its hosts through the names the NixOS test driver uses, so that the
same script can run on any back end that boots a machine and runs commands in it.

The way from a header to running hosts::

    cluster.py     the header: how many ZooKeepers, controllers, agents
    images.py      a Debian root per release, built once by mmdebstrap
    network.py     a bridge in a namespace, a cable per host
    cgroups.py     a control group per host
    provision.py   what makes a disk a ZooKeeper, a controller, an agent
    host.py        what a back end does in its own way: power, disk, commands, clocks
      nspawn.py      containers, on an overlay (disk.py) over a layer with zkops and the test tools (payload.py)
      qemu.py        virtual machines, on a disk with zkops's packages (vmimage.py), by KVM or emulated (accel.py),
                     with commands through a virtio port (channel.py)
    machine.py     the API scenarios use (start, crash, succeed, wait_for_unit …)
    scenario.py    runs one scenario: boots, calls test(), keeps what failed
    runner.py      runs many, some at once, and counts

Everything a run makes (processes, mounts, namespaces, control groups) carries
the run's id, and ``leftovers.py`` removes it by that id, for this run or for one
that was killed before it could.
"""
