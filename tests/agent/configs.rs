//! Configuration revisions.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use zkops::{
    model::Verb,
    systemd::fake::{Behaviour, Call},
};

use super::{
    host::{Host, assignment, name},
    support::{LONG, eventually},
    web::Web,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

fn config(revision: u64, policy: &Value) -> Value {
    let mut wanted = assignment(WEB_UNIT);
    (wanted["config_version"], wanted["template"]["config"]) = (json!(revision), policy.clone());
    wanted
}

fn reloads() -> Behaviour {
    // Long enough to be seen.
    Behaviour { can_reload: true, reload_time: Duration::from_millis(100), ..Behaviour::default() }
}

/// A host whose replica runs with revision 1.
async fn running(policy: &Value, behaviour: Behaviour) -> Host {
    let mut host = Host::new().await;
    host.systemd.install(&name("webapp@.service"), behaviour);
    for revision in 1..=3 {
        host.push(revision, &format!("revision {{{{ config_version }}}} of {revision}\n")).await;
    }
    host.assign(WEB, &config(1, policy)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    assert_eq!(read(&host), "revision 1 of 1\n");
    host.jobs();
    host
}

fn read(host: &Host) -> String {
    fs::read_to_string(host.current("config").join("app.conf")).unwrap()
}

async fn wait_for_config(host: &Host, revision: u64) {
    eventually(&format!("configuration {revision}"), async || host.status(WEB).await["config_version"] == revision)
        .await;
}

#[tokio::test]
async fn a_reload_keeps_the_process_and_its_place_in_instances() {
    let mut host = running(&json!({}), reloads()).await;
    let (pid, listed) = (host.unit(WEB_UNIT).await.main_pid, host.instance(WEB).await);
    host.assign(WEB, &config(2, &json!({}))).await;
    eventually("configuration 2", async || {
        assert_eq!(host.instance(WEB).await, listed);
        host.status(WEB).await["config_version"] == 2
    })
    .await;
    assert_eq!((read(&host), host.unit(WEB_UNIT).await.main_pid), ("revision 2 of 2\n".to_owned(), pid));
    assert_eq!(host.jobs(), [(Verb::Reload, WEB_UNIT.to_owned())]);
    eventually("answered", async || host.status(WEB).await["assignment"] == 2).await;
    host.wait_for_ledger("\"applied_config\": 2").await;
    host.kill().await;
    host.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((host.jobs(), host.instance(WEB).await), (vec![], listed));
    let told = format!("ZKOPS_CONFIG_DIR=\"{}\"\n", host.current("config").display());
    assert!(host.variables(WEB_UNIT).contains(&told));
}

#[tokio::test]
async fn what_cannot_reload_is_restarted_outside_of_instances() {
    let host = running(&json!({}), Behaviour::default()).await;
    host.assign(WEB, &config(2, &json!({}))).await;
    wait_for_config(&host, 2).await;
    assert_eq!(
        (read(&host), host.jobs()),
        ("revision 2 of 2\n".to_owned(), vec![(Verb::Restart, WEB_UNIT.to_owned())])
    );
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn a_signal_is_sent_to_what_wants_one() {
    let policy = json!({ "apply": "signal", "signal": "SIGUSR1" });
    let host = running(&policy, reloads()).await;
    let listed = host.instance(WEB).await;
    host.systemd.take_calls();
    host.assign(WEB, &config(2, &policy)).await;
    wait_for_config(&host, 2).await;
    assert!(host.systemd.take_calls().contains(&Call::Signal(name(WEB_UNIT), 10)));
    assert_eq!((read(&host), host.instance(WEB).await), ("revision 2 of 2\n".to_owned(), listed));
}

#[tokio::test]
async fn what_its_check_refuses_is_not_swapped_in() {
    let policy = json!({ "check": ["/bin/grep", "-q", "revision 1", "{dir}/app.conf"] });
    let host = running(&policy, reloads()).await;
    host.assign(WEB, &config(2, &policy)).await;
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    let status = host.status(WEB).await;
    assert_eq!((&status["config_version"], &status["assignment"]), (&json!(1), &json!(2)));
    assert_eq!((read(&host), host.jobs()), ("revision 1 of 1\n".to_owned(), vec![]));
    assert!(!host.instance(WEB).await.is_null());
}

#[tokio::test]
async fn a_failed_reload_brings_the_last_good_files_back() {
    let mut host = running(&json!({}), Behaviour { fails_to_reload: true, ..reloads() }).await;
    let (pid, listed) = (host.unit(WEB_UNIT).await.main_pid, host.instance(WEB).await);
    host.assign(WEB, &config(2, &json!({}))).await;
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    host.wait_for_message(WEB, "configuration 1").await;
    let status = host.status(WEB).await;
    assert_eq!((&status["config_version"], &status["assignment"]), (&json!(1), &json!(2)));
    assert_eq!((&status["state"], read(&host).as_str()), (&json!("running"), "revision 1 of 1\n"));
    let told = async || host.variables(WEB_UNIT).contains("CONFIG_VERSION=\"1\"");
    eventually("the variables as they were", told).await;
    let reload = || (Verb::Reload, WEB_UNIT.to_owned());
    assert_eq!(host.jobs(), [reload(), reload()], "the second reads the old files again");
    host.wait_for_ledger("\"rejected\"").await;
    host.kill().await;
    host.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((host.jobs(), host.instance(WEB).await), (vec![], listed));
    assert_eq!((host.status(WEB).await["rejected"].clone(), host.unit(WEB_UNIT).await.main_pid), (json!(true), pid));
    host.systemd.install(&name("webapp@.service"), reloads());
    host.assign(WEB, &config(3, &json!({}))).await;
    wait_for_config(&host, 3).await;
    assert_eq!((read(&host), host.jobs()), ("revision 3 of 3\n".to_owned(), vec![reload()]));
}

#[tokio::test]
async fn a_revision_that_is_not_there_is_rejected() {
    let host = running(&json!({}), reloads()).await;
    host.assign(WEB, &config(9, &json!({}))).await;
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    host.wait_for_message(WEB, "zkops config push webapp").await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn templates_see_other_services_instances() {
    let host = running(&json!({}), reloads()).await;
    let db = json!({ "replica": 4, "port": 5432, "address": "10.0.0.4", "started": "2026-01-01T00:00:00Z" });
    host.put("/services/db/instances/db1", &db).await;
    host.push(4, "{% for it in instances[\"db\"] %}{{ it.host }}={{ it.address }}:{{ it.port }}{% endfor %}").await;
    host.assign(WEB, &config(4, &json!({}))).await;
    wait_for_config(&host, 4).await;
    assert_eq!(read(&host), "db1=10.0.0.4:5432");
}

#[tokio::test]
async fn templates_see_the_labels_that_the_operator_gave_the_host() {
    let host = running(&json!({}), reloads()).await;
    host.put("/hosts/web1", &json!({ "labels": { "rack": "r7", "zone": "a\nroot = /" } })).await;
    host.push(4, "{{ labels.rack }}{{ labels.zone|default('') }}").await;
    host.assign(WEB, &config(4, &json!({}))).await;
    wait_for_config(&host, 4).await;
    assert_eq!(read(&host), "r7", "and none that would begin a line");
}

#[tokio::test]
async fn a_host_that_reboots_without_zookeeper_has_its_configuration() {
    let mut host = running(&json!({}), reloads()).await;
    host.kill().await;
    host.reboot(&reloads());
    fs::remove_dir_all(host.data().join("config")).unwrap();
    let proxy = host.tree.proxy();
    proxy.cut();
    host.start_on(host.tree.session_at(&proxy.address(), LONG), host.systemd.clone());
    eventually("its start", async || host.unit(WEB_UNIT).await.active.is_up()).await;
    assert_eq!((read(&host), host.jobs()), ("revision 1 of 1\n".to_owned(), vec![(Verb::Start, WEB_UNIT.to_owned())]));
}

#[tokio::test]
async fn a_process_that_systemd_restarted_reads_no_half_configuration() {
    let host = running(&json!({ "apply": "restart" }), reloads()).await;
    let mut wanted = config(2, &json!({ "apply": "restart" }));
    wanted["template"]["drain_time"] = json!("1s");
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "draining").await;
    host.systemd.end(&name(WEB_UNIT), zkops::systemd::fake::End::Kill);
    wait_for_config(&host, 2).await;
    assert_eq!(read(&host), "revision 2 of 2\n");
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn a_configuration_that_comes_during_a_reload_goes_back_to_the_one_before_it() {
    let slow = Behaviour { reload_time: Duration::from_millis(700), ..reloads() };
    let host = running(&json!({}), slow.clone()).await;
    host.assign(WEB, &config(2, &json!({}))).await;
    eventually("its reload", async || read(&host).starts_with("revision 2")).await;
    host.assign(WEB, &config(3, &json!({}))).await;
    eventually("the next one's", async || read(&host).starts_with("revision 3")).await;
    host.systemd.install(&name("webapp@.service"), Behaviour { fails_to_reload: true, ..slow });
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    assert_eq!((read(&host).as_str(), &host.status(WEB).await["config_version"]), ("revision 2 of 2\n", &json!(2)));
}

#[tokio::test]
async fn old_configurations_go_and_with_the_replica_all() {
    let host = running(&json!({}), reloads()).await;
    let kept = host.data().join("revisions/webapp");
    assert!(kept.join("1.json").exists());
    host.assign(WEB, &config(2, &json!({}))).await;
    eventually("the old revision gone", async || !kept.join("1.json").exists()).await;
    assert!(kept.join("2.json").exists());
    host.withdraw(WEB).await;
    eventually("all gone", async || !kept.exists() && !host.data().join("config/webapp").exists()).await;
}

#[tokio::test]
async fn what_reloads_and_no_longer_serves_is_unconfirmed_though_it_is_listed() {
    let web = Web::start().await;
    web.answer("/ready", 200, b"");
    let probed = |revision: u64| {
        let mut wanted = config(revision, &json!({}));
        // As it is by default: only the third failure, 20 s after the first, takes it out of `instances`.
        wanted["template"]["probes"] =
            json!({ "readiness": { "http": { "path": "/ready", "port": web.port }, "timeout": "5s" } });
        wanted
    };
    let mut host = running(&json!({}), reloads()).await;
    host.assign(WEB, &probed(1)).await;
    let says = async |host: &Host, what: &str, assignment: i32, unconfirmed: bool, setbacks: u32| {
        eventually(what, async || {
            let status = host.status(WEB).await;
            let told = (status["unconfirmed"] == true, status["setbacks"].as_u64().unwrap_or_default());
            status["assignment"] == assignment && told == (unconfirmed, u64::from(setbacks))
        })
        .await;
    };
    says(&host, "a new probe is confirmed", 2, false, 0).await;
    let listed = host.instance(WEB).await;
    web.answer("/ready", 503, b"");
    host.assign(WEB, &probed(2)).await;
    says(&host, "no check since the reload has succeeded", 3, true, 0).await;
    host.wait_for_message(WEB, "on trial: readiness: ").await;
    assert_eq!(host.instance(WEB).await, listed, "thresholds alone decide on that");
    web.answer("/ready", 200, b"");
    says(&host, "one has", 3, false, 0).await;
    web.answer("/ready", 503, b"");
    says(&host, "one fails while it is on trial", 3, true, 1).await;
    // A successor knows what is on trial.
    host.wait_for_ledger("\"on_trial\": true").await;
    let alive = host.get("/hosts/web1/alive").await;
    host.kill().await;
    host.start();
    eventually("the successor", async || host.get("/hosts/web1/alive").await["started"] != alive["started"]).await;
    says(&host, "it is still unconfirmed", 3, true, 0).await;
    web.answer("/ready", 200, b"");
    says(&host, "confirmed by the successor", 3, false, 0).await;
    assert_eq!(host.instance(WEB).await, listed);
    assert_eq!(host.jobs(), [(Verb::Reload, WEB_UNIT.to_owned())]);
}
