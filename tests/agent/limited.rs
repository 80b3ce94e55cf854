//! An agent that is not root, and drives what is installed.

use serde_json::json;
use zkops::{model::Verb, systemd::fake::Call};

use super::{
    host::{Host, assignment},
    support::eventually,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

async fn limited() -> Host {
    let mut host = Host::new().await;
    host.accepts = (false, false);
    host.limited = true;
    host
}

#[tokio::test]
async fn a_limited_agent_drives_units_without_a_drop_in_or_a_reload() {
    let mut host = limited().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    assert!(!host.drop_in(WEB_UNIT).exists());
    assert!(host.variables(WEB_UNIT).contains("ZKOPS_VERSION=\"v1\""), "{}", host.variables(WEB_UNIT));
    host.assign(WEB, &json!({ "mode": "enabled", "unit": WEB_UNIT, "version": "v2", "template": {} })).await;
    eventually_runs(&host, "v2").await;
    assert!(host.variables(WEB_UNIT).contains("ZKOPS_VERSION=\"v2\""));
    assert!(!host.systemd.calls().contains(&Call::DaemonReload), "{:?}", host.systemd.calls());
    let jobs = host.jobs();
    let verbs: Vec<_> = jobs.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(verbs, [Verb::Start, Verb::Restart]);
    host.withdraw(WEB).await;
    let folder = host.units().join(format!("{WEB_UNIT}.d"));
    eventually("its variables are removed", async || !folder.exists()).await;
    assert!(!host.systemd.calls().contains(&Call::DaemonReload));
}

#[tokio::test]
async fn a_limited_agent_refuses_what_takes_a_drop_in() {
    let mut host = limited().await;
    host.start();
    for (key, value, what) in [
        ("environment", json!({ "GREETING": "hello" }), "an environment"),
        ("credentials", json!({ "key": "/etc/webapp/key" }), "credentials"),
        ("restart", json!({ "policy": "always" }), "a restart policy"),
        ("unit_file", json!("[Service]\nExecStart=/bin/sleep 1\n"), "accept_unit_files"),
    ] {
        let mut wanted = assignment(WEB_UNIT);
        wanted["template"][key] = value;
        host.assign(WEB, &wanted).await;
        host.wait_for_message(WEB, what).await;
        host.wait_for_state(WEB, "refused").await;
    }
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn what_a_limited_agent_lost_with_its_ledger_is_found_by_the_variables() {
    let mut host = limited().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.kill().await;
    std::fs::remove_dir_all(host.state()).unwrap();
    host.withdraw(WEB).await;
    host.jobs();
    host.start();
    eventually("it is stopped", async || host.unit(WEB_UNIT).await.is_down()).await;
    eventually("nothing is left of it", async || !host.units().join(format!("{WEB_UNIT}.d")).exists()).await;
}

async fn eventually_runs(host: &Host, version: &str) {
    let runs = async || host.instance(WEB).await["version"] == version;
    eventually(&format!("{version} runs"), runs).await;
}
