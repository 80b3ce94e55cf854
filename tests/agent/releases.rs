//! Versions that have to be brought onto the host first.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use zkops::{
    model::Verb,
    systemd::fake::{Behaviour, End},
};

use super::{
    host::{Host, assignment, name},
    support::{LONG, eventually},
    web::Web,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

/// What is wanted of the replica: this version from `source`.
fn version(source: &Value, version: &str) -> Value {
    let mut wanted = assignment(WEB_UNIT);
    (wanted["version"], wanted["template"]["source"]) = (json!(version), source.clone());
    wanted
}

/// A host that runs v1.
async fn running(web: &Web) -> (Host, Value) {
    let (mut host, source) = (Host::new().await, web.release(&["v1", "v2"]));
    host.assign(WEB, &version(&source, "v1")).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    host.jobs();
    (host, source)
}

async fn wait_until_rejected(host: &Host) -> Value {
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    host.status(WEB).await
}

#[tokio::test]
async fn a_version_is_fetched_while_the_old_one_serves() {
    let web = Web::start().await;
    let (host, source) = running(&web).await;
    let (before, listed) = (host.status(WEB).await, host.instance(WEB).await);
    assert_eq!(fs::read_link(host.current("releases")).unwrap(), Path::new("v1"));
    web.hold(true);
    host.assign(WEB, &version(&source, "v2")).await;
    host.wait_for_message(WEB, "fetching v2").await;
    let status = host.status(WEB).await;
    for key in ["state", "pid", "version", "assignment", "ready"] {
        assert_eq!(status[key], before[key], "{key}");
    }
    assert_eq!((host.instance(WEB).await, host.jobs()), (listed, vec![]));
    assert_eq!(fs::read_link(host.current("releases")).unwrap(), Path::new("v1"));
    web.hold(false);
    eventually("v2", async || host.instance(WEB).await["version"] == "v2").await;
    assert_eq!(fs::read_to_string(host.current("releases").join("version")).unwrap(), "v2");
    assert_eq!(host.jobs(), [(Verb::Restart, WEB_UNIT.to_owned())]);
    let told = format!("ZKOPS_RELEASE_DIR=\"{}\"\n", host.data().join("releases/webapp/v2").display());
    assert!(host.variables(WEB_UNIT).contains(&told));
    eventually("answered", async || host.status(WEB).await["assignment"] == 2).await;
    // Though nothing happens any more.
    eventually("nothing to go back to", async || !host.ledger().contains("\"before\"")).await;
}

#[tokio::test]
async fn a_wrong_checksum_is_rejected_and_the_old_version_goes_on() {
    let web = Web::start().await;
    let (mut host, source) = running(&web).await;
    let listed = host.instance(WEB).await;
    web.answer("/v2.tar.gz", 200, b"something else");
    host.assign(WEB, &version(&source, "v2")).await;
    let status = wait_until_rejected(&host).await;
    assert_eq!((&status["version"], &status["assignment"]), (&json!("v1"), &json!(2)));
    assert_eq!((&status["state"], host.instance(WEB).await), (&json!("running"), listed));
    let asked = web.requests("/v2.tar.gz");
    // The same work written again is tried once more, as `zkops rollout resume` wants it.
    host.assign(WEB, &version(&source, "v2")).await;
    eventually("the nudge", async || host.status(WEB).await["assignment"] == 3).await;
    assert_eq!(wait_until_rejected(&host).await["assignment"], json!(3));
    assert!(web.requests("/v2.tar.gz") > asked);
    let asked = web.requests("/v2.tar.gz");
    // A new process does not try it again.
    host.wait_for_ledger("\"rejected\"").await;
    host.kill().await;
    host.start();
    host.wait_until_listed(WEB).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((web.requests("/v2.tar.gz"), host.status(WEB).await["rejected"].clone()), (asked, json!(true)));
    // Other work does, and then the same again.
    host.assign(WEB, &version(&source, "v1")).await;
    eventually("the old one wanted", async || {
        let status = host.status(WEB).await;
        status["rejected"].is_null() && status["assignment"] == 4
    })
    .await;
    assert_eq!(host.jobs(), [], "nothing was restarted for all that");
    web.release(&["v2"]);
    host.assign(WEB, &version(&source, "v2")).await;
    eventually("v2", async || host.instance(WEB).await["version"] == "v2").await;
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again() {
    let web = Web::start().await;
    let (host, source) = running(&web).await;
    web.answer("/v2.tar.gz", 500, b"");
    host.assign(WEB, &version(&source, "v2")).await;
    host.wait_for_message(WEB, "will retry").await;
    let status = host.status(WEB).await;
    assert_eq!((&status["rejected"], &status["version"]), (&Value::Null, &json!("v1")));
    web.release(&["v2"]);
    eventually("v2", async || host.instance(WEB).await["version"] == "v2").await;
}

#[tokio::test]
async fn the_first_version_is_waited_for_and_one_that_is_not_there_fails() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    let source = web.release(&["v1"]);
    web.hold(true);
    host.assign(WEB, &version(&source, "v1")).await;
    host.start();
    host.wait_for_state(WEB, "pending").await;
    host.wait_for_message(WEB, "fetching v1").await;
    assert_eq!(host.status(WEB).await["version"], Value::Null);
    assert_eq!(host.jobs(), []);
    web.answer("/v1.tar.gz", 404, b"");
    web.hold(false);
    host.wait_for_state(WEB, "failed").await;
    assert_eq!(wait_until_rejected(&host).await["version"], Value::Null);
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn an_agent_that_is_restarted_in_the_middle_goes_on() {
    let web = Web::start().await;
    let (mut host, source) = running(&web).await;
    let (pid, listed) = (host.unit(WEB_UNIT).await.main_pid, host.instance(WEB).await);
    web.hold(true);
    host.assign(WEB, &version(&source, "v2")).await;
    eventually("a request", async || web.requests("/v2.tar.gz") == 1).await;
    host.kill().await;
    // The attempt would have died with the process; here it is a task that outlives the agent, on the same files.
    web.cut();
    let download = host.data().join("releases/webapp/.download-v2");
    eventually("the end of the attempt", async || !download.exists()).await;
    host.start();
    eventually("another", async || web.requests("/v2.tar.gz") == 2).await;
    assert_eq!((host.unit(WEB_UNIT).await.main_pid, host.instance(WEB).await), (pid, listed));
    assert_eq!(host.jobs(), []);
    web.hold(false);
    eventually("v2", async || host.instance(WEB).await["version"] == "v2").await;
    host.kill().await;
    host.jobs();
    host.start();
    host.wait_until_listed(WEB).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((host.jobs(), web.requests("/v2.tar.gz")), (vec![], 2));
}

#[tokio::test]
async fn newer_work_overtakes_a_fetch() {
    let web = Web::start().await;
    let (host, source) = running(&web).await;
    web.hold(true);
    host.assign(WEB, &version(&source, "v2")).await;
    host.wait_for_message(WEB, "fetching v2").await;
    host.assign(WEB, &version(&source, "v1")).await;
    eventually("answered", async || host.status(WEB).await["assignment"] == 3).await;
    web.hold(false);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((host.jobs(), host.instance(WEB).await["version"].clone()), (vec![], json!("v1")));
}

#[tokio::test]
async fn a_host_that_reboots_without_zookeeper_starts_what_it_has() {
    let web = Web::start().await;
    let (mut host, source) = running(&web).await;
    web.hold(true);
    host.assign(WEB, &version(&source, "v2")).await;
    host.wait_for_message(WEB, "fetching v2").await;
    host.kill().await;
    host.reboot(&Behaviour::default());
    let proxy = host.tree.proxy();
    proxy.cut();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), host.systemd.clone());
    eventually("its start", async || host.unit(WEB_UNIT).await.active.is_up()).await;
    assert_eq!(host.jobs(), [(Verb::Start, WEB_UNIT.to_owned())]);
    assert_eq!(fs::read_link(host.current("releases")).unwrap(), Path::new("v1"));
    proxy.heal();
    host.wait_until_listed(WEB).await;
    assert_eq!(host.instance(WEB).await["version"], "v1");
    web.hold(false);
    eventually("v2", async || host.instance(WEB).await["version"] == "v2").await;
}

#[tokio::test]
async fn old_releases_go_and_with_the_replica_all() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    let versions = ["v1", "v2", "v3", "v4", "v5"];
    let source = web.release(&versions);
    host.start();
    for number in versions {
        host.assign(WEB, &version(&source, number)).await;
        eventually(number, async || host.instance(WEB).await["version"] == number).await;
    }
    let releases = host.data().join("releases/webapp");
    eventually("the oldest pruned", async || !releases.join("v1").exists()).await;
    assert!(releases.join("v5").exists() && releases.join("v4").exists());
    host.withdraw(WEB).await;
    eventually("all gone", async || !releases.join("v5").exists()).await;
}

#[tokio::test]
async fn a_process_that_systemd_restarts_meanwhile_does_not_pass_for_the_new_version() {
    let web = Web::start().await;
    let (host, source) = running(&web).await;
    let mut wanted = version(&source, "v2");
    wanted["template"]["drain_time"] = json!("1500ms");
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "draining").await;
    host.systemd.end(&name(WEB_UNIT), End::Kill);
    eventually("v2", async || {
        let old = fs::read_link(host.current("releases")).unwrap() == Path::new("v1");
        assert!(!old || host.instance(WEB).await["version"] != "v2");
        host.instance(WEB).await["version"] == "v2"
    })
    .await;
    assert_eq!(host.jobs(), [(Verb::Restart, WEB_UNIT.to_owned())]);
    assert_eq!(host.status(WEB).await["version"], "v2");
}

#[tokio::test]
async fn the_old_version_is_looked_after_while_the_new_one_is_fetched() {
    let web = Web::start().await;
    let (host, source) = running(&web).await;
    web.hold(true);
    host.assign(WEB, &version(&source, "v2")).await;
    host.wait_for_message(WEB, "fetching v2").await;
    let before = host.instance(WEB).await;
    host.systemd.end(&name(WEB_UNIT), End::Kill);
    eventually("its restart", async || {
        let instance = host.instance(WEB).await;
        instance["pid"].is_u64() && instance["pid"] != before["pid"]
    })
    .await;
    let status = host.status(WEB).await;
    assert_eq!((&status["version"], &status["assignment"]), (&json!("v1"), &json!(1)));
    host.put(
        "/hosts/web1/assigned/webapp.0000000001",
        &json!({ "mode": "disabled", "unit": WEB_UNIT, "template": {} }),
    )
    .await;
    host.wait_for_state(WEB, "stopped").await;
}

#[tokio::test]
async fn what_was_stopped_on_purpose_does_not_come_back_as_what_it_was() {
    let web = Web::start().await;
    let (host, source) = running(&web).await;
    let mut off = version(&source, "v1");
    off["mode"] = json!("disabled");
    host.assign(WEB, &off).await;
    host.wait_for_state(WEB, "stopped").await;
    host.jobs();
    web.hold(true);
    host.assign(WEB, &version(&source, "v2")).await;
    host.wait_for_message(WEB, "fetching v2").await;
    assert_eq!((&host.status(WEB).await["state"], host.jobs()), (&json!("pending"), vec![]));
    web.hold(false);
    eventually("v2", async || host.instance(WEB).await["version"] == "v2").await;
    assert_eq!(host.jobs(), [(Verb::Start, WEB_UNIT.to_owned())]);
}

#[tokio::test]
async fn a_lost_ledger_restarts_nothing_that_has_its_release() {
    let web = Web::start().await;
    let (mut host, _) = running(&web).await;
    let (pid, asked) = (host.unit(WEB_UNIT).await.main_pid, web.requests("/v1.tar.gz"));
    host.kill().await;
    fs::remove_file(host.state().join("ledger.json")).unwrap();
    host.start();
    host.wait_for_ledger("v1").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((host.unit(WEB_UNIT).await.main_pid, host.jobs()), (pid, vec![]));
    assert_eq!(web.requests("/v1.tar.gz"), asked);
}
