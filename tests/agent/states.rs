//! The unit as systemd has it decides, not what was asked for.

use std::{fs, sync::Arc, time::Duration};

use serde_json::{Value, json};
use zkops::{
    model::Verb,
    systemd::{
        UnitManager as _,
        fake::{Behaviour, End, Obstacle},
    },
};

use super::{
    host::{Host, assignment, name},
    manager::Slow,
    support::eventually,
    web::Web,
};

const WEB: &str = "webapp.0000000001";
const WEB_UNIT: &str = "webapp@0000000001.service";

/// As [`WEB_UNIT`], for what is about one plain unit.
const PLAIN: &str = "webapp.service";

/// A host where a plain unit behaves like this.
async fn with(behaviour: Behaviour) -> Host {
    let host = Host::new().await;
    host.systemd.install(&name(PLAIN), behaviour);
    host
}

async fn wait_until_rejected(host: &Host) -> Value {
    eventually("rejected", async || host.status(WEB).await["rejected"] == true).await;
    host.status(WEB).await
}

#[tokio::test]
async fn a_unit_is_followed_by_whatever_name_it_was_asked_for() {
    let mut host = Host::new().await;
    host.allowed = vec!["db.service", "webapp.service"];
    host.systemd.alias(&name(PLAIN), &name("db.service"));
    host.assign(WEB, &assignment(PLAIN)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let first = host.instance(WEB).await["pid"].clone();
    host.systemd.end(&name("db.service"), End::Kill);
    eventually("the new process", async || {
        let pid = host.instance(WEB).await["pid"].clone();
        !pid.is_null() && pid != first
    })
    .await;
    // Another service that has it by its own name is refused: the two are one.
    host.assign("db.0000000001", &assignment("db.service")).await;
    host.wait_for_state("db.0000000001", "refused").await;
    host.wait_for_message("db.0000000001", "already runs as webapp.0000000001").await;
    host.withdraw(WEB).await;
    host.wait_until_listed("db.0000000001").await;
}

#[tokio::test]
async fn an_alias_leads_to_no_unit_that_is_not_allowed() {
    let mut host = Host::new().await;
    host.allowed = vec!["webapp.service"];
    host.systemd.alias(&name(PLAIN), &name("db.service"));
    host.assign(WEB, &assignment(PLAIN)).await;
    host.start();
    host.wait_for_state(WEB, "refused").await;
    host.wait_for_message(WEB, "another name of db.service").await;
    host.withdraw(WEB).await;
    host.wait_until_registered().await;
    assert_eq!(host.jobs(), []);
    assert!(!host.drop_in(PLAIN).exists());
}

#[tokio::test]
async fn an_alias_whose_unit_is_not_allowed_any_more_runs_on_and_can_be_stopped() {
    for withdrawn in [false, true] {
        let mut host = Host::new().await;
        host.allowed = vec!["webapp.service", "db.service"];
        host.systemd.alias(&name(PLAIN), &name("db.service"));
        let mut wanted = assignment(PLAIN);
        host.assign(WEB, &wanted).await;
        host.start();
        host.wait_until_listed(WEB).await;
        host.wait_for_state(WEB, "running").await;
        let listed = host.instance(WEB).await;
        host.kill().await;
        host.jobs();
        host.allowed = vec!["webapp.service"];
        host.start();
        let status = wait_until_rejected(&host).await;
        assert_eq!((&status["state"], host.instance(WEB).await), (&json!("running"), listed));
        host.wait_for_message(WEB, "add db.service there").await;
        if withdrawn {
            host.withdraw(WEB).await;
            eventually("forgotten", async || !host.drop_in(PLAIN).exists()).await;
        } else {
            wanted["mode"] = json!("disabled");
            host.assign(WEB, &wanted).await;
            host.wait_for_state(WEB, "stopped").await;
            wanted["mode"] = json!("enabled");
            host.assign(WEB, &wanted).await;
            host.wait_for_state(WEB, "refused").await;
        }
        assert_eq!(host.jobs(), [(Verb::Stop, PLAIN.to_owned())], "{withdrawn}");
        host.kill().await;
    }
}

#[tokio::test]
async fn active_without_a_process_is_out_and_started_again() {
    let mut host = with(Behaviour { remains: true, ..Behaviour::default() }).await;
    host.assign(WEB, &assignment(PLAIN)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.jobs();
    host.systemd.end(&name(PLAIN), End::Exit(0));
    eventually("out of instances", async || host.instance(WEB).await.is_null()).await;
    // After a back-off, as what ends with status 0.
    host.wait_until_listed(WEB).await;
    assert_eq!(host.jobs(), [(Verb::Restart, PLAIN.to_owned())]);
}

#[tokio::test]
async fn a_oneshot_that_is_done_stays() {
    let mut host = with(Behaviour { remains: true, oneshot: true, ..Behaviour::default() }).await;
    host.assign(WEB, &assignment(PLAIN)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    assert_eq!(host.jobs(), [(Verb::Start, PLAIN.to_owned())]);
}

#[tokio::test]
async fn files_that_systemd_cannot_load_are_taken_back_and_the_old_ones_serve() {
    let mut host = with(Behaviour { remains: true, oneshot: true, ..Behaviour::default() }).await;
    host.assign(WEB, &assignment(PLAIN)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let before = fs::read_to_string(host.drop_in(PLAIN)).unwrap();
    host.jobs();
    let mut always = assignment(PLAIN);
    (always["template"]["restart"], always["version"]) = (json!({ "policy": "always" }), json!("v2"));
    host.assign(WEB, &always).await;
    let status = wait_until_rejected(&host).await;
    assert_eq!((&status["state"], &status["version"]), (&json!("running"), &json!("v1")));
    host.wait_for_message(WEB, "Restart=always is not for Type=oneshot").await;
    host.wait_until_listed(WEB).await;
    assert_eq!(fs::read_to_string(host.drop_in(PLAIN)).unwrap(), before);
    assert_eq!(host.jobs(), []);
    host.assign(WEB, &assignment(PLAIN)).await;
    eventually("as before", async || host.status(WEB).await["rejected"].is_null()).await;
    assert_eq!(host.jobs(), [], "nothing was restarted for all that");
}

/// The predecessor was killed between the moment at which systemd had read its files and that at which it put the old ones
/// back.
#[tokio::test]
async fn files_that_a_predecessor_left_and_systemd_cannot_load_are_taken_back() {
    let mut host = with(Behaviour { remains: true, oneshot: true, ..Behaviour::default() }).await;
    host.assign(WEB, &assignment(PLAIN)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let before = fs::read_to_string(host.drop_in(PLAIN)).unwrap();
    host.kill().await;
    host.start_on(
        host.tree.session(),
        Arc::new(Slow { reload: Duration::from_secs(3600), ..Slow::new(&host.systemd) }),
    );
    let mut always = assignment(PLAIN);
    (always["template"]["restart"], always["version"]) = (json!({ "policy": "always" }), json!("v2"));
    host.assign(WEB, &always).await;
    eventually("written", async || fs::read_to_string(host.drop_in(PLAIN)).unwrap() != before).await;
    host.kill().await;
    host.systemd.daemon_reload().await.unwrap();
    host.jobs();
    host.start();
    let status = wait_until_rejected(&host).await;
    assert_eq!((&status["state"], &status["version"]), (&json!("running"), &json!("v1")));
    host.wait_for_message(WEB, "Restart=always is not for Type=oneshot").await;
    eventually("taken back", async || fs::read_to_string(host.drop_in(PLAIN)).unwrap() == before).await;
    host.wait_until_listed(WEB).await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn a_unit_file_that_systemd_cannot_load_leaves_nothing_behind() {
    let mut host = Host::new().await;
    let mut wanted = assignment(PLAIN);
    wanted["template"]["unit_file"] = json!("[Service]\nType=simple\n");
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_for_state(WEB, "failed").await;
    host.wait_for_message(WEB, "it has no ExecStart=").await;
    assert_eq!(host.status(WEB).await["rejected"], true);
    assert!(!host.units().join(PLAIN).exists() && !host.drop_in(PLAIN).exists());
    wanted["template"]["unit_file"] = json!("[Service]\nExecStart=/bin/true\n");
    host.assign(WEB, &wanted).await;
    host.wait_until_listed(WEB).await;
}

#[tokio::test]
async fn a_unit_file_that_another_hides_is_refused_naming_that_one() {
    let fragment = "/etc/systemd/system/webapp.service";
    let mut host = with(Behaviour { fragment: Some(fragment.to_owned()), ..Behaviour::default() }).await;
    let mut wanted = assignment(PLAIN);
    wanted["template"]["unit_file"] = json!("[Service]\nExecStart=/bin/true\n");
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_for_state(WEB, "refused").await;
    host.wait_for_message(WEB, fragment).await;
    assert_eq!(host.jobs(), []);
    // It is removed: nothing has to be restarted for that.
    host.systemd.install(&name(PLAIN), Behaviour::default());
    host.systemd.daemon_reload().await.unwrap();
    host.wait_until_listed(WEB).await;
    // It comes back: what runs goes on, and says so.
    host.jobs();
    host.systemd.install(&name(PLAIN), Behaviour { fragment: Some(fragment.to_owned()), ..Behaviour::default() });
    host.systemd.daemon_reload().await.unwrap();
    host.wait_for_message(WEB, "runs on as it is").await;
    assert_eq!((&host.status(WEB).await["state"], host.jobs()), (&json!("running"), vec![]));
    assert!(!host.instance(WEB).await.is_null());
}

#[tokio::test]
async fn generated_files_that_another_hand_changed_are_put_back_at_the_reload() {
    let mut host = Host::new().await;
    host.assign(WEB, &assignment(WEB_UNIT)).await;
    host.start();
    host.wait_until_listed(WEB).await;
    let (drop_in, before) = (host.drop_in(WEB_UNIT), fs::read_to_string(host.drop_in(WEB_UNIT)).unwrap());
    host.jobs();
    for edited in [None, Some(before.replace("Restart=on-failure", "Restart=no"))] {
        match &edited {
            None => fs::remove_dir_all(drop_in.parent().unwrap()).unwrap(),
            Some(text) => fs::write(&drop_in, text).unwrap(),
        }
        host.systemd.daemon_reload().await.unwrap();
        let back = async || fs::read_to_string(&drop_in).is_ok_and(|text| text == before);
        eventually(&format!("{edited:?} put back"), back).await;
        host.wait_for_message(WEB, "another hand had changed its generated drop-in").await;
    }
    assert_eq!((host.jobs(), host.variables(WEB_UNIT).is_empty()), (vec![], false));
    assert!(!host.instance(WEB).await.is_null(), "it served throughout");
}

#[tokio::test]
async fn what_cannot_come_up_here_is_failed_after_the_start_limit() {
    for (obstacle, said) in [
        (Obstacle::Requirement("needs.service".to_owned()), "it requires needs.service, which failed"),
        (Obstacle::MissingRequirement("needs.service".to_owned()), "requires needs.service, which cannot be started"),
        (Obstacle::Condition("ConditionPathExists=/srv".to_owned()), "ConditionPathExists=/srv does not hold"),
        (Obstacle::Assertion("AssertPathExists=/srv".to_owned()), "AssertPathExists=/srv does not hold"),
        (Obstacle::RefusesStart, "RefuseManualStart=yes"),
    ] {
        let starts = if obstacle == Obstacle::RefusesStart { 0 } else { 3 };
        let mut host = with(Behaviour { obstacle: Some(obstacle), ..Behaviour::default() }).await;
        let mut wanted = assignment(PLAIN);
        wanted["template"]["restart"] = json!({ "delay": "20ms", "limit_burst": 3 });
        host.assign(WEB, &wanted).await;
        host.start();
        host.wait_for_state(WEB, "failed").await;
        host.wait_for_message(WEB, said).await;
        assert_eq!(host.jobs().len(), starts, "{said}");
        // What kept it is gone, and something about it changes.
        host.systemd.install(&name(PLAIN), Behaviour::default());
        wanted["version"] = json!("v2");
        host.assign(WEB, &wanted).await;
        host.wait_until_listed(WEB).await;
        host.kill().await;
    }
}

#[tokio::test]
async fn a_start_that_fails_after_one_that_was_obstructed_is_a_failure() {
    let obstacle = Obstacle::Requirement("needs.service".to_owned());
    let mut host = with(Behaviour { obstacle: Some(obstacle), ..Behaviour::default() }).await;
    let mut wanted = assignment(PLAIN);
    wanted["template"]["restart"] = json!({ "delay": "50ms", "limit_burst": 1000 });
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_for_message(WEB, "it requires needs.service, which failed").await;
    // The requirement is there now, and the unit's own program is not.
    host.systemd.install(&name(PLAIN), Behaviour { fails_to_start: Some(203), restart: false, ..Behaviour::default() });
    host.wait_for_state(WEB, "failed").await;
    host.wait_for_message(WEB, "webapp.service failed").await;
}

#[tokio::test]
async fn what_is_not_accepted_any_more_runs_on_and_can_be_stopped() {
    let exec = json!({ "readiness": { "exec": { "command": ["/bin/true"] }, "period": "50ms" } });
    for (key, value) in [
        ("probes", exec),
        ("unit_file", json!("[Service]\nExecStart=/bin/true\n")),
        ("config", json!({ "check": ["/bin/true"] })),
    ] {
        let mut host = Host::new().await;
        let mut wanted = assignment(WEB_UNIT);
        wanted["template"][key] = value;
        host.assign(WEB, &wanted).await;
        host.start();
        host.wait_until_listed(WEB).await;
        host.wait_for_state(WEB, "running").await;
        let listed = host.instance(WEB).await;
        host.kill().await;
        host.jobs();
        (host.accepts, host.accepts_unit_files) = ((false, false), false);
        host.start();
        let status = wait_until_rejected(&host).await;
        assert_eq!((&status["state"], host.instance(WEB).await), (&json!("running"), listed), "{key}");
        host.wait_for_message(WEB, "runs on as it is").await;
        wanted["mode"] = json!("disabled");
        host.assign(WEB, &wanted).await;
        host.wait_for_state(WEB, "stopped").await;
        assert_eq!(host.jobs(), [(Verb::Stop, WEB_UNIT.to_owned())], "{key}");
        wanted["mode"] = json!("enabled");
        host.assign(WEB, &wanted).await;
        host.wait_for_state(WEB, "refused").await;
        host.withdraw(WEB).await;
        eventually("forgotten", async || !host.drop_in(WEB_UNIT).exists()).await;
        host.kill().await;
    }
}

#[tokio::test]
async fn what_was_not_ready_does_not_become_so_by_not_being_asked() {
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["probes"] = json!({ "readiness": { "exec": { "command": ["/bin/false"] }, "period": "50ms" } });
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_for_state(WEB, "running").await;
    host.kill().await;
    host.accepts = (false, false);
    host.start();
    wait_until_rejected(&host).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(host.instance(WEB).await.is_null());
}

#[tokio::test]
async fn what_is_left_alone_keeps_its_release() {
    let web = Web::start().await;
    let mut host = Host::new().await;
    let mut wanted = assignment(WEB_UNIT);
    wanted["template"]["source"] = web.release(&["v1"]);
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.kill().await;
    host.jobs();
    host.allowed = vec!["db.service"];
    host.start();
    host.wait_for_state(WEB, "refused").await;
    host.withdraw(WEB).await;
    let release = host.current("releases").join("version");
    host.wait_for_ledger("\"left\"").await;
    // Another replica of the service comes and goes, and what only it needed with it.
    let mut other = assignment("db.service");
    (other["template"]["source"], other["version"]) = (web.release(&["v2"]), json!("v2"));
    host.assign("webapp.0000000002", &other).await;
    eventually("the other", async || host.status("webapp.0000000002").await["state"] == "running").await;
    host.withdraw("webapp.0000000002").await;
    eventually("v2 gone", async || !host.data().join("releases/webapp/v2").exists()).await;
    assert!(release.exists());
    host.kill().await;
    host.start();
    host.wait_until_registered().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(release.exists(), "nor does a successor remove it");
    assert!(host.jobs().iter().all(|(_, unit)| unit == "db.service"));
}

/// A host on which a replica runs, and what is wanted of it.
async fn runs() -> (Host, Value) {
    let mut host = with(Behaviour::default()).await;
    let wanted = assignment(PLAIN);
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    (host, wanted)
}

#[tokio::test]
async fn a_credential_that_is_no_file_is_rejected_and_what_runs_stays_as_it_is() {
    let (host, mut wanted) = runs().await;
    let listed = "/services/webapp/instances/web1";
    let before = host.tree.client.get(listed).await.unwrap().unwrap().mzxid;
    wanted["version"] = json!("v2");
    wanted["template"]["credentials"] = json!({ "x": "/dev/null" });
    host.assign(WEB, &wanted).await;
    host.wait_for_message(WEB, "/dev/null is a device; a credential has to be a file").await;
    let after = host.tree.client.get(listed).await.unwrap().unwrap().mzxid;
    assert_eq!(before, after, "it left instances");
    let status = host.status(WEB).await;
    assert_eq!((&status["rejected"], &status["version"]), (&json!(true), &json!("v1")), "{status}");
    // systemd starts it again: with the files of before, which is what it is called.
    host.systemd.end(&name(PLAIN), End::Kill);
    eventually("the restart", async || host.status(WEB).await["restarts"] == 1).await;
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    assert_eq!(host.status(WEB).await["version"], json!("v1"));
    assert_eq!(host.instance(WEB).await["version"], json!("v1"));
    assert!(host.variables(PLAIN).contains("v1"));
}

#[tokio::test]
async fn a_credential_is_looked_at_before_each_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, "secret").unwrap();
    let mut host = with(Behaviour::default()).await;
    let mut wanted = assignment(PLAIN);
    wanted["template"]["credentials"] = json!({ "x": path });
    host.assign(WEB, &wanted).await;
    host.start();
    host.wait_for_state(WEB, "running").await;
    wanted["mode"] = json!("disabled");
    host.assign(WEB, &wanted).await;
    host.wait_for_state(WEB, "stopped").await;
    host.jobs();
    fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    wanted["mode"] = json!("enabled");
    host.assign(WEB, &wanted).await;
    host.wait_for_message(WEB, "is a socket").await;
    assert_eq!(host.jobs(), []);
}

#[tokio::test]
async fn what_runs_without_its_new_files_is_not_called_new() {
    let (host, mut wanted) = runs().await;
    fs::create_dir(host.units().join(format!("{PLAIN}.d/.zkops.tmp"))).unwrap();
    wanted["version"] = json!("v2");
    host.assign(WEB, &wanted).await;
    host.wait_for_message(WEB, "cannot write").await;
    host.systemd.end(&name(PLAIN), End::Kill);
    eventually("the restart", async || host.status(WEB).await["restarts"] == 1).await;
    host.wait_until_listed(WEB).await;
    host.wait_for_state(WEB, "running").await;
    assert!(host.variables(PLAIN).contains("v1"));
    let status = host.status(WEB).await;
    assert_eq!((&status["version"], &host.instance(WEB).await["version"]), (&json!("v1"), &json!("v1")), "{status}");
    assert_ne!(status["assignment"], 2, "{status}");
}
