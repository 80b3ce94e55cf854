//! A systemd that does not answer, and units that take their time.

use std::{fs, os::unix::fs::symlink, sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::watch;
use zkops::{model::Verb, systemd::fake::Behaviour};

use super::{
    host::{Host, assignment, name},
    manager::Slow,
    support::eventually,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

#[tokio::test]
async fn a_unit_that_cannot_be_read_holds_up_no_other() {
    let mut host = Host::new().await;
    host.start();
    host.wait_until_registered().await;
    host.kill().await;
    let (answer, answers) = watch::channel(false);
    let silent = Slow { silent_about: Some((name("db.service"), answers)), ..Slow::new(&host.systemd) };
    host.start_on(host.tree.session(), Arc::new(silent));
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    eventually("the other's start", async || host.unit(WEB_UNIT).await.active.is_up()).await;
    assert!(host.jobs().iter().all(|(_, unit)| unit != "db.service"), "nothing is known of it");
    answer.send_replace(true);
    host.wait_until_listed("db.0000000001").await;
}

/// A host that cannot register, here for a unit that tells nothing, is on its own as one without `ZooKeeper` is.
#[tokio::test]
async fn a_host_that_cannot_register_starts_its_work_all_the_same() {
    let mut host = Host::new().await;
    let (_answer, answers) = watch::channel(false);
    let silent = Slow { silent_about: Some((name("db.service"), answers)), ..Slow::new(&host.systemd) };
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start_on(host.tree.session(), Arc::new(silent));
    eventually("the other's start", async || host.unit(WEB_UNIT).await.active.is_up()).await;
    assert!(!host.tree.exists("/hosts/web1/alive").await);
}

#[tokio::test]
async fn a_start_that_hangs_can_be_stopped() {
    let mut host = Host::new().await;
    let behaviour = Behaviour { start_time: Duration::from_secs(3600), ..Behaviour::default() };
    host.systemd.install(&name("webapp@.service"), behaviour);
    let mut wanted = assignment(WEB_UNIT);
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_for_state(WEB, "starting").await;
    wanted["mode"] = json!("disabled");
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "stopped").await;
    host.systemd.install(&name("webapp@.service"), Behaviour::default());
    wanted["mode"] = json!("enabled");
    host.assign(WEB, &wanted).await;
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn the_bus_away_stops_and_delists_nothing() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let (before, pid) = (host.instance(WEB).await, host.unit(WEB_UNIT).await.main_pid);
    host.jobs();
    host.systemd.set_reachable(false);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(host.instance(WEB).await, before);
    host.systemd.set_reachable(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((host.instance(WEB).await, host.unit(WEB_UNIT).await.main_pid), (before, pid));
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn the_old_version_does_not_pass_for_the_new_one() {
    let mut host = Host::new().await;
    let slow = Slow { reload: Duration::from_millis(300), ..Slow::new(&host.systemd) };
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start_on(host.tree.session(), Arc::new(slow));
    host.wait_for_state(WEB, "running").await;
    let before = host.status(WEB).await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["version"] = json!("v2");
    host.assign(WEB, &wanted).await;
    eventually("the new version", async || {
        let status = host.status(WEB).await;
        let old = status["pid"] == before["pid"] && status["state"] == "running";
        assert!(!old || (&status["version"], &status["assignment"]) == (&json!("v1"), &before["assignment"]));
        status["version"] == "v2" && status["state"] == "running"
    })
    .await;
    assert_ne!(host.status(WEB).await["assignment"], before["assignment"]);
    assert_eq!(host.instance(WEB).await["version"], "v2");
}

#[tokio::test]
async fn a_config_that_comes_during_a_reload_is_reloaded_too() {
    let mut host = Host::new().await;
    host.systemd.install(&name("webapp@.service"), Behaviour { can_reload: true, ..Behaviour::default() });
    let slow = Slow { job: Duration::from_millis(300), ..Slow::new(&host.systemd) };
    let mut wanted = assignment(WEB_UNIT);
    wanted["config_version"] = json!(0);
    host.assign(WEB, &wanted).await;
    host.start_on(host.tree.session(), Arc::new(slow));
    host.wait_until_listed(WEB).await;
    host.jobs();
    let reload = (Verb::Reload, WEB_UNIT.to_owned());
    wanted["config_version"] = json!(1);
    host.assign(WEB, &wanted).await;
    eventually("the first reload", async || host.jobs().contains(&reload)).await;
    wanted["config_version"] = json!(2);
    host.assign(WEB, &wanted).await;
    eventually("the last configuration", async || host.status(WEB).await["config_version"] == 2).await;
    assert_eq!(host.jobs(), [reload]);
}

/// As after `systemctl mask --runtime`: what is in the place of its unit file is not zkops's to remove.
#[tokio::test]
async fn a_leftover_without_a_process_does_not_keep_the_host_from_registering() {
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["unit_file"] = json!("[Service]\nExecStart=/bin/true\n");
    host.assign(WEB, &wanted).await;
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_until_listed("db.0000000001").await;
    host.kill().await;
    host.delete("/hosts/web1/alive").await;
    fs::remove_file(host.units().join(WEB_UNIT)).unwrap();
    symlink("/dev/null", host.units().join(WEB_UNIT)).unwrap();
    host.withdraw(WEB).await;
    host.start();
    host.wait_until_registered().await;
    eventually("forgotten", async || !host.ledger().contains(WEB)).await;
    assert!(!host.unit(WEB_UNIT).await.active.is_up());
    eventually("its files removed", async || !host.drop_in(WEB_UNIT).exists()).await;
    assert!(fs::read_link(host.units().join(WEB_UNIT)).is_ok(), "the mask is the administrator's");
}

/// Generated files that cannot be read are that replica's problem alone, and are read again.
#[tokio::test]
async fn files_in_the_way_are_told_and_looked_at_again() {
    let mut host = Host::new().await;
    let in_the_way = host.drop_in("db.service");
    fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    fs::write(&in_the_way, "[Service]\n").unwrap();
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_message("db.0000000001", "is not from zkops").await;
    let plans = host.plans();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(host.plans() - plans < 10, "{} plans in a second", host.plans() - plans);
    fs::remove_file(&in_the_way).unwrap();
    host.wait_until_listed("db.0000000001").await;
}
