"""The D-Bus unit manager's own integration tests, inside throw-away hosts: they reload systemd and restart the bus."""

CLUSTER = cluster(releases=("bookworm", "trixie"), zookeepers=0, controllers=0, agents=1, zkops=False)


def test() -> None:
    with subtest("tests/systemd_real.rs passes on a real systemd"):
        web1.start()
        web1.wait_for_unit("multi-user.target")
        web1.copy_from_host(str(driver.test_binary("systemd_real")), "/root/systemd_real")
        text = web1.succeed("/root/systemd_real --ignored --test-threads=1 2>&1", timeout=180)
        assert "test result: ok. 0 passed" not in text, text
