//! Files and ledger: lost, full, half-written.

use std::{fs, time::Duration};

use serde_json::json;
use zkops::{model::Verb, systemd::fake::Call};

use super::{
    host::{Host, assignment, name},
    support::{LONG, eventually},
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

#[tokio::test]
async fn a_lost_ledger_restarts_nothing_while_zookeeper_is_out_of_reach() {
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    (wanted["config_version"], wanted["template"]["environment"]) = (json!(7), json!({ "GREETING": "hello" }));
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.kill().await;
    host.jobs();
    let (drop_in, pid) = (fs::read_to_string(host.drop_in(WEB_UNIT)).unwrap(), host.unit(WEB_UNIT).await.main_pid);
    fs::remove_file(host.state().join("ledger.json")).unwrap();
    let proxy = host.tree.proxy();
    proxy.cut();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), host.systemd.clone());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fs::read_to_string(host.drop_in(WEB_UNIT)).unwrap(), drop_in);
    proxy.heal();
    host.wait_until_listed(WEB).await;
    eventually("the ledger written again", async || {
        fs::read_to_string(host.state().join("ledger.json")).is_ok_and(|text| text.contains("hello"))
    })
    .await;
    assert_eq!((host.jobs(), host.unit(WEB_UNIT).await.main_pid), (vec![], pid));
}

#[tokio::test]
async fn a_unit_file_without_a_last_newline_is_whole() {
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["unit_file"] = json!("[Service]\nExecStart=/bin/true");
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    wanted["template"].as_object_mut().unwrap().remove("unit_file");
    host.assign(WEB, &wanted).await;
    eventually("the unit file gone", async || !host.units().join(WEB_UNIT).exists()).await;
}

#[tokio::test]
async fn one_replica_whose_files_cannot_be_written_stops_no_other() {
    let mut host = Host::new().await;
    // Where the drop-in is written first.
    fs::create_dir_all(host.units().join("db.service.d/.zkops.tmp/in-the-way")).unwrap();
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    eventually("the reason", async || {
        let status = host.status("db.0000000001").await;
        status["message"].as_str().is_some_and(|message| message.contains("db.service.d"))
    })
    .await;
    let plans = host.plans();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(host.plans() - plans < 10, "{} plans in a second", host.plans() - plans);
}

/// Version and configuration stay the same, so that nothing but the answered assignment tells old from new.
#[tokio::test]
async fn a_replica_whose_files_cannot_be_written_has_not_answered_and_serves() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_for_state(WEB, "running").await;
    let before = host.status(WEB).await;
    fs::create_dir_all(host.units().join(format!("{WEB_UNIT}.d/.zkops.tmp/in-the-way"))).unwrap();
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["environment"] = json!({ "GREETING": "hello" });
    host.assign(WEB, &wanted).await;
    host.wait_for_message(WEB, "webapp@0000000001.service.d").await;
    let status = host.status(WEB).await;
    assert_eq!((&status["state"], &status["assignment"]), (&json!("running"), &before["assignment"]), "{status}");
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_rests() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    // A folder in its place cannot be replaced by a file.
    fs::remove_file(host.state().join("ledger.json")).unwrap();
    fs::create_dir_all(host.state().join("ledger.json/in-the-way")).unwrap();
    let mut wanted = assignment(WEB_UNIT);
    wanted["mode"] = json!("disabled");
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "stopped").await;
    let plans = host.plans();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(host.plans() - plans < 10, "{} plans in a second", host.plans() - plans);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_stops_nothing() {
    let mut host = Host::new().await;
    fs::create_dir_all(host.state().join("ledger.json")).unwrap();
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    assert!(host.state().join("ledger.json.unreadable").exists());
}

#[tokio::test]
async fn files_that_a_predecessor_wrote_and_did_not_load_are_loaded() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.kill().await;
    // As a crash between the files and the reload: systemd knows others than are there.
    let text = fs::read_to_string(host.drop_in(WEB_UNIT)).unwrap();
    fs::remove_file(host.drop_in(WEB_UNIT)).unwrap();
    zkops::systemd::UnitManager::daemon_reload(&*host.systemd).await.unwrap();
    fs::create_dir_all(host.drop_in(WEB_UNIT).parent().unwrap()).unwrap();
    fs::write(host.drop_in(WEB_UNIT), text).unwrap();
    host.systemd.take_calls();
    host.start();
    eventually("a reload", async || host.systemd.calls().contains(&Call::DaemonReload)).await;
    host.wait_until_listed(WEB).await;
    assert!(!host.systemd.calls().contains(&Call::Run(Verb::Restart, name(WEB_UNIT))));
}
