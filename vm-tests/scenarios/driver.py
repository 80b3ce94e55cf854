"""The driver itself: hosts boot, crash with their disks, lose their links, and ZooKeeper runs on them."""

from lib.fleet import Fleet

CLUSTER = cluster(releases=("bookworm", "trixie"), zookeepers=3, agents=2, controllers=0, zkops=False, timeout=30)


def test() -> None:
    fleet = Fleet(driver)

    with subtest("hosts boot, each with its own identity"):
        start_all()
        for each in machines:
            each.wait_for_unit("multi-user.target")
            assert each.succeed("hostname") == f"{each.name}\n"
        assert len({each.succeed("cat /etc/machine-id") for each in machines}) == len(machines)
        assert len({each.succeed("cat /proc/sys/kernel/random/boot_id") for each in machines}) == len(machines)
        web1.fail("systemctl --failed --quiet | grep .")

    with subtest("commands have NixOS's semantics"):
        assert web1.succeed("echo one", "echo two") == "one\ntwo\n"
        assert web1.execute("exit 7") == (7, "")
        web1.fail("false | true")
        assert web1.execute("sleep 5", timeout=0.2)[0] == 124
        capabilities = int(web1.succeed("grep CapBnd /proc/self/status").split()[1], 16)
        assert not capabilities & 1 << 25, "commands could set the whole machine's clock"

    with subtest("units are seen, started and stopped"):
        assert web1.start_job("webapp.service")[0] == 0
        web1.wait_for_unit("webapp.service")
        web1.wait_for_open_port(8080)
        assert web1.get_unit_info("webapp.service")["SubState"] == "running"
        assert fleet.processes(web1) == [int(web1.get_unit_property("webapp.service", "MainPID"))]
        web1.stop_job("webapp.service")
        web1.require_unit_state("webapp.service", "inactive")
        web1.wait_for_closed_port(8080)
        assert fleet.processes(web1) == []

    with subtest("the daemons' hardening works on these hosts"):
        web1.succeed(
            "systemd-run --quiet --wait -p DynamicUser=yes -p PrivateUsers=yes -p PrivateDevices=yes -p ProtectProc=invisible "
            "-p ProcSubset=pid -p ProtectKernelLogs=yes -p ProtectClock=yes -p MemoryDenyWriteExecute=yes "
            "-p RestrictNamespaces=yes -p SystemCallFilter=@system-service -p ProtectSystem=strict true"
        )

    with subtest("files are copied both ways"):
        web1.copy_from_host(__file__, "/run/copied/file.py")
        web1.wait_for_file("/run/copied/file.py")
        copied = web1.copy_from_machine("/run/copied/file.py")
        assert copied.read_bytes() == open(__file__, "rb").read()

    with subtest("a crash keeps the disk and loses the rest"):
        web1.succeed("echo kept > /var/lib/kept; touch /run/lost; sync")
        boot = web1.succeed("journalctl --list-boots --no-pager -q | wc -l")
        web1.crash()
        assert not web1.is_up()
        web2.fail("nc -z -w 1 web1 22")
        web1.start()
        assert web1.succeed("cat /var/lib/kept") == "kept\n"
        web1.fail("test -e /run/lost")
        assert int(web1.succeed("journalctl --list-boots --no-pager -q | wc -l")) >= int(boot)

    with subtest("a reboot comes back by itself, a shutdown does not"):
        web1.succeed("touch /run/lost")
        web1.reboot()
        web1.fail("test -e /run/lost")
        web1.shutdown()
        assert not web1.is_up()
        web1.start()
        web1.wait_for_unit("multi-user.target")

    with subtest("links are cut and fixed"):
        web1.execute("nc -lk 9000 >/run/heard", check_return=False)
        reach = "echo hello | nc -N -w 1 web1 9000"
        web2.wait_until_succeeds(reach)
        web1.block()
        web2.fail(reach)
        web1.unblock()
        web2.wait_until_succeeds(reach, timeout=5)
        driver.cut(web1, web2)
        web2.fail(reach)
        zk1.succeed(reach)
        driver.heal(web2, web1)
        web2.wait_until_succeeds(reach, timeout=5)

    with subtest("no host reaches the machine or the world"):
        assert web1.succeed("ip route show default") == ""

    with subtest("three ZooKeepers elect a leader; Apache's client writes and reads"):
        fleet.wait_for_zookeeper()
        fleet.wait_for_leader(fleet.zookeepers)
        fleet.zkcli("create", "/hello", '{"from": "zkCli.sh"}')
        assert '{"from": "zkCli.sh"}' in fleet.zkcli("get", "/hello")
        assert fleet.tree().doc("/hello") == {"from": "zkCli.sh"}

    with subtest("the leader is killed, the others go on with what was written"):
        old = fleet.wait_for_leader(fleet.zookeepers)
        old.crash()
        others = [each for each in fleet.zookeepers if each is not old]
        new = fleet.wait_for_leader(others)
        assert "zkCli.sh" in new.succeed("zkCli.sh -server localhost:2181 get /hello")
        new.succeed("printf second | zktool put /after")
        old.start()
        old.wait_until_succeeds("zktool dump /after | grep second")

    with subtest("the transaction log tells the whole story"):
        past = fleet.history()
        assert [op.kind for _, op in past.writes(below="/hello")] == ["create"]
        fleet.zk.succeed("printf third | zktool put /after", "zktool delete /after")
        kinds = [op.kind for _, op in fleet.history().writes(below="/after")]
        assert kinds == ["create", "set", "delete"], kinds
        gone = fleet.history().gaps("/", {"after"}, after=past.last())
        assert len(gone) == 1, gone
