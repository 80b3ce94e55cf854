//! Replicas that are asked whether they are ready and alive.

use std::time::Duration;

use serde_json::{Value, json};
use zkops::{
    model::Verb,
    systemd::{UnitManager as _, fake::End},
};

use super::{
    host::{Host, assignment, name},
    support::eventually,
    web::Web,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

/// A replica with one probe of `web`.
fn probed(web: &Web, kind: &str, path: &str) -> Value {
    let mut wanted = assignment(WEB_UNIT);
    let http = json!({ "path": path, "port": web.port });
    wanted["template"]["probes"] =
        json!({ kind: { "http": http, "period": "50ms", "timeout": "5s", "failure_threshold": 1 } });
    wanted
}

#[tokio::test]
async fn what_is_not_ready_is_not_in_instances() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    web.answer("/ready", 503, b"");
    host.assign(WEB, &probed(&web, "readiness", "/ready")).await;
    host.start();
    host.wait_for_state(WEB, "running").await;
    host.wait_for_message(WEB, "503").await;
    let status = host.status(WEB).await;
    assert_eq!((&status["ready"], host.instance(WEB).await), (&json!(false), Value::Null));
    // It says the same at each check, which is no reason to write it again.
    let asked = web.requests("/ready");
    eventually("more checks", async || web.requests("/ready") > asked + 3).await;
    assert_eq!(host.status(WEB).await["updated"], status["updated"]);
    web.answer("/ready", 200, b"");
    host.wait_until_listed(WEB).await;
    eventually("ready", async || host.status(WEB).await["ready"] == true).await;
    web.answer("/ready", 500, b"");
    eventually("out of instances", async || host.instance(WEB).await.is_null()).await;
    assert_eq!(host.jobs(), [(Verb::Start, WEB_UNIT.to_owned())], "it runs on");
}

#[tokio::test]
async fn a_process_that_was_started_again_has_to_become_ready_again() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    web.answer("/ready", 200, b"");
    host.assign(WEB, &probed(&web, "readiness", "/ready")).await;
    host.start();
    host.wait_until_listed(WEB).await;
    web.hold(true);
    host.systemd.end(&name(WEB_UNIT), End::Kill);
    eventually("out of instances", async || host.instance(WEB).await.is_null()).await;
    host.wait_for_state(WEB, "running").await;
    assert!(host.instance(WEB).await.is_null());
    web.hold(false);
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn an_agent_restart_changes_nothing_about_who_is_ready() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    web.answer("/ready", 200, b"");
    let mut wanted = probed(&web, "readiness", "/ready");
    wanted["min_healthy_time"] = json!("0s");
    host.assign(WEB, &wanted).await;
    let mut other = probed(&web, "readiness", "/never");
    other["unit"] = json!("db.service");
    host.assign("db.0000000001", &other).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_message("db.0000000001", "404").await;
    // The other one never is confirmed.
    eventually("its trial is over", async || host.ledger().matches("\"on_trial\": true").count() == 1).await;
    let (before, status) = (host.instance(WEB).await, host.status(WEB).await);
    let alive = host.get("/hosts/web1/alive").await;
    host.kill().await;
    web.hold(true);
    host.jobs();
    host.start();
    eventually("the successor", async || {
        assert_eq!(host.instance(WEB).await, before);
        host.get("/hosts/web1/alive").await["started"] != alive["started"]
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((host.instance(WEB).await, host.status(WEB).await), (before, status));
    assert!(host.instance("db.0000000001").await.is_null(), "it never was");
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn a_probe_that_comes_later_does_not_take_out_what_serves() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let before = host.instance(WEB).await;
    web.hold(true);
    host.assign(WEB, &probed(&web, "readiness", "/ready")).await;
    eventually("a check", async || web.requests("/ready") > 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(host.instance(WEB).await, before);
}

#[tokio::test]
async fn a_first_probe_is_on_trial_until_a_check_has_succeeded() {
    let web = Web::start().await;
    web.answer("/ready", 503, b"");
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    wanted["template"]["probes"] =
        json!({ "readiness": { "http": { "path": "/ready", "port": web.port }, "timeout": "5s" } });
    host.assign(WEB, &wanted).await;
    let says = async |host: &Host, unconfirmed: bool| {
        let status = host.status(WEB).await;
        status["assignment"] == 2 && (status["unconfirmed"] == true) == unconfirmed
    };
    eventually("no check has succeeded", async || says(&host, true).await).await;
    assert!(!host.instance(WEB).await.is_null(), "thresholds alone decide on that");
    web.answer("/ready", 200, b"");
    eventually("one has", async || says(&host, false).await).await;
}

#[tokio::test]
async fn what_is_not_alive_is_restarted_and_given_up_when_that_does_not_help() {
    let (mut host, web) = (Host::new().await, Web::start().await);
    web.answer("/live", 200, b"");
    let mut wanted = probed(&web, "liveness", "/live");
    wanted["template"]["restart"] = json!({ "limit_burst": 2, "limit_interval": "60s" });
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.jobs();
    web.answer("/live", 500, b"");
    host.wait_for_state(WEB, "failed").await;
    host.wait_for_message(WEB, "liveness").await;
    let verbs: Vec<_> = host.jobs().into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(verbs, [Verb::Restart, Verb::Restart, Verb::Stop]);
    assert!(host.instance(WEB).await.is_null());
    web.answer("/live", 200, b"");
    // After a back-off.
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn what_a_host_does_not_accept_is_refused() {
    let mut host = Host::new().await;
    host.accepts = (false, false);
    host.start();
    let exec = json!(["/bin/true"]);
    for (key, value, setting) in [
        ("probes", json!({ "readiness": { "exec": { "command": exec } } }), "accept_commands"),
        ("source", json!({ "exec": { "command": exec } }), "accept_commands"),
        ("config", json!({ "check": exec }), "accept_commands"),
        ("source", json!({ "apt": { "package": "webapp" } }), "accept_packages"),
        ("source", json!({ "nix": { "store_path": "{version}" } }), "accept_packages"),
    ] {
        let mut wanted = assignment(WEB_UNIT);
        wanted["template"][key] = value;
        host.assign(WEB, &wanted).await;
        host.wait_for_state(WEB, "refused").await;
        host.wait_for_message(WEB, setting).await;
    }
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn probes_of_an_address_that_is_not_set_are_refused() {
    let mut host = Host::new().await;
    host.start();
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["probes"] = json!({ "readiness": { "tcp": { "host": "{address}", "port": 80 } } });
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "refused").await;
    host.wait_for_message(WEB, "address is not set in web1's agent.toml").await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn what_a_host_does_not_accept_leaves_what_runs_alone() {
    let mut host = Host::new().await;
    host.accepts = (false, false);
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.jobs();
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["probes"] = json!({ "readiness": { "exec": { "command": ["/bin/true"] } } });
    host.assign(WEB, &wanted).await;
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    let status = host.status(WEB).await;
    assert_eq!((&status["state"], &status["assignment"]), (&json!("running"), &json!(2)));
    assert!(!host.instance(WEB).await.is_null());
    assert_eq!(host.jobs(), []);
}

/// The operator takes `accept_commands` back while a service has an exec probe.
#[tokio::test]
async fn what_is_not_asked_any_more_is_listed_again_when_systemd_has_restarted_it() {
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["probes"] = json!({ "readiness": { "exec": { "command": ["/bin/true"] }, "period": "50ms" } });
    host.assign(WEB, &wanted).await;
    let mut never = wanted.clone();
    never["unit"] = json!("db.service");
    never["template"]["probes"]["readiness"]["exec"]["command"] = json!(["/bin/false"]);
    host.assign("db.0000000001", &never).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_message("db.0000000001", "exited with status 1").await;
    host.kill().await;
    host.accepts.0 = false;
    host.jobs();
    host.start();
    host.wait_for_message(WEB, "runs on as it is").await;
    let crash = async |host: &Host| {
        let before = host.instance(WEB).await["pid"].clone();
        host.systemd.end(&name(WEB_UNIT), End::Kill);
        let again = async || ![&Value::Null, &before].contains(&&host.instance(WEB).await["pid"]);
        eventually("listed as its new process", again).await;
    };
    crash(&host).await;
    crash(&host).await;
    // And when that happens while no agent looks.
    host.kill().await;
    let before = host.instance(WEB).await["pid"].clone();
    host.systemd.end(&name(WEB_UNIT), End::Kill);
    eventually("restarted", async || host.systemd.unit(&name(WEB_UNIT)).await.is_ok_and(|it| it.active.is_up())).await;
    host.start();
    eventually("listed", async || ![&Value::Null, &before].contains(&&host.instance(WEB).await["pid"])).await;
    assert!(host.instance("db.0000000001").await.is_null(), "it never was ready");
    assert_eq!(host.jobs(), [], "nothing is started or stopped");
}
