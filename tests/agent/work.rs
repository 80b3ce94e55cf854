//! What the agent makes of its work, whatever happened to it meanwhile.

use std::time::Duration;

use serde_json::json;
use zkops::{
    model::Verb,
    systemd::{UnitManager as _, fake::Behaviour},
};

use super::{
    host::{Host, assignment, name},
    support::eventually,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

#[tokio::test]
async fn what_is_assigned_runs_and_says_so() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    let (status, unit) = (host.status(WEB).await, host.unit(WEB_UNIT).await);
    assert_eq!((&status["pid"], &status["version"]), (&json!(unit.main_pid), &json!("v1")));
    host.withdraw(WEB).await;
    eventually("its files gone", async || !host.drop_in(WEB_UNIT).exists()).await;
    assert!(host.unit(WEB_UNIT).await.is_down());
    assert!(host.instance(WEB).await.is_null());
}

#[tokio::test]
async fn what_was_placed_elsewhere_meanwhile_is_never_started() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.kill().await;
    host.systemd.run(Verb::Stop, &name(WEB_UNIT)).await.unwrap();
    host.jobs();
    host.withdraw(WEB).await;
    host.start();
    eventually("its files gone", async || !host.drop_in(WEB_UNIT).exists()).await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn a_tree_that_comes_back_empty_stops_nothing() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    host.jobs();
    let everything = [
        "/services/webapp/instances/web1",
        "/services/webapp/instances",
        "/services/webapp/0000000001/status",
        "/services/webapp/0000000001/desired",
        "/services/webapp/0000000001",
        "/services/webapp",
        "/services",
        "/hosts/web1/assigned/webapp.0000000001",
        "/hosts/web1/assigned",
    ];
    let before = host.plans();
    host.delete_all(&everything.map(str::to_owned)).await;
    eventually("the loss noticed", async || host.plans() > before).await;
    // A service that is not there any more, in a tree that is, would be stopped by then: see the tests beside this.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(host.jobs(), []);
    assert!(host.unit(WEB_UNIT).await.active.is_up());
}

#[tokio::test]
async fn a_unit_that_changes_in_place_leaves_nothing_behind() {
    let mut host = Host::new().await;
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.start();
    host.wait_until_listed("db.0000000001").await;
    host.assign("db.0000000001", &assignment(WEB_UNIT)).await;
    eventually("the new unit", async || host.unit(WEB_UNIT).await.active.is_up()).await;
    assert!(host.unit("db.service").await.is_down());
    assert!(!host.drop_in("db.service").exists());
    host.wait_until_listed("db.0000000001").await;
}

#[tokio::test]
async fn a_unit_that_is_not_allowed_is_never_touched() {
    let mut host = Host::new().await;
    host.systemd.install(&name("ssh.service"), Behaviour::default());
    host.systemd.run(Verb::Start, &name("ssh.service")).await.unwrap();
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.start();
    host.wait_until_listed("db.0000000001").await;
    host.jobs();
    host.assign("db.0000000001", &assignment("ssh.service")).await;
    host.wait_for_state("db.0000000001", "refused").await;
    assert!(host.unit("db.service").await.is_down(), "what it ran before is not wanted any more");
    host.withdraw("db.0000000001").await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.wait_until_listed(WEB).await;
    assert!(host.unit("ssh.service").await.active.is_up());
    assert!(host.jobs().iter().all(|(_, unit)| unit != "ssh.service"));
}

#[tokio::test]
async fn a_drain_goes_on_across_a_restart_of_the_agent() {
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["drain_time"] = json!("2s");
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    wanted["mode"] = json!("drain");
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "draining").await;
    host.kill().await;
    host.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(host.unit(WEB_UNIT).await.active.is_up());
    host.wait_for_state(WEB, "stopped").await;
}

#[tokio::test]
async fn a_restarted_agent_leaves_no_gap_and_starts_nothing() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let (before, alive) = (host.instance(WEB).await, host.get("/hosts/web1/alive").await);
    host.kill().await;
    host.jobs();
    host.start();
    eventually("the successor", async || {
        assert_eq!(host.instance(WEB).await, before);
        host.get("/hosts/web1/alive").await["started"] != alive["started"]
    })
    .await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn what_a_process_said_before_it_failed_is_in_its_status() {
    let mut host = Host::new().await;
    let crashes = Behaviour { fails_to_start: Some(1), says: Some("bind: Address already in use".into()), ..quick() };
    host.systemd.install(&name("webapp@.service"), crashes);
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_for_state(WEB, "failed").await;
    let message = host.status(WEB).await["message"].clone();
    let end = "exited with status 1; its last line: bind: Address already in use";
    assert!(message.as_str().is_some_and(|message| message.ends_with(end)), "{message}");
}

/// One that is given up soon.
fn quick() -> Behaviour {
    Behaviour { limit_burst: 2, restart_delay: Duration::from_millis(100), ..Behaviour::default() }
}
