//! Nonsense in the tree, and nodes deleted by hand: the last good state stays in force, and is put back.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{model::assigned, tree::txn::Op};

/// Nothing of the replicas changes while `path` says `data`, and the service says what is wrong.
#[track_caller]
fn assert_ignored(path: &str, data: &str, words: &[&str]) {
    let mut sim = webapp(2);
    sim.tree.put(path, data);
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service web2:webapp@0000000002.service");
    assert_condition(&sim, "webapp", words);
    assert_condition(&sim, "webapp", &["InvalidDocument", path]);
    let version = sim.tree.version("/services/webapp/desired");
    assert_eq!(sim.status("webapp").observed_desired, version);
    assert_rest(&mut sim);
}

#[test]
fn a_bad_document_changes_nothing_and_is_named() {
    assert_ignored("/services/webapp/desired", "{", &["EOF", "the last good one stays in force"]);
    assert_ignored("/services/webapp/desired", r#"{"replicas":-1}"#, &["replicas: invalid value"]);
    assert_ignored("/services/webapp/desired", r#"{"replicas":"2"}"#, &["replicas: invalid type"]);
    assert_ignored("/services/webapp/desired", r#"{"mode":"on"}"#, &["mode: unknown variant"]);
    assert_ignored("/services/webapp/desired", r#"{"replicas":99999}"#, &["replicas: 99999 is more than 10000"]);
    assert_ignored("/services/webapp", r#"{"unit":"../x.service"}"#, &["unit: ", "is not a service unit's name"]);
    assert_ignored("/services/webapp", r#"{"unit":"a.service","port":0}"#, &["port: must be 1 to 65535"]);
    assert_ignored("/services/webapp", "", &["EOF"]);
    let credential = json!({"unit": "a.service", "credentials": {"x:/a\nExecStartPre=+/bin/sh": "/etc/hostname"}});
    assert_ignored(
        "/services/webapp",
        &credential.to_string(),
        &["credentials.x:/a\\nExecStartPre=+/bin/sh: a credential's name"],
    );
    let negative = r#"{"unit":"a.service","drain_time":"-5s"}"#;
    assert_ignored("/services/webapp", negative, &["drain_time: ", "is not a duration"]);
    assert_ignored("/services/webapp/desired", &"x".repeat(2 << 20), &["the document has 2097152 bytes"]);
    assert_ignored("/hosts/web1", r#"{"cordon":7}"#, &["cordon: invalid type", "(webapp.0000000001)"]);
    assert_ignored("/hosts/web1/alive", "?", &["expected value"]);
}

#[test]
fn a_service_that_never_was_good_says_so_and_starts_when_fixed() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("webapp", &json!({ "unit": 7 }), &json!({}));
    sim.settle();
    assert_condition(&sim, "webapp", &["/services/webapp: unit: ", "there is no earlier good one"]);
    assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
    assert_rest(&mut sim);
    sim.tree.put("/services/webapp", spec(json!({})).to_string());
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp@0000000002.service");
}

#[test]
fn a_condition_keeps_its_date_while_it_holds_and_goes_when_it_is_fixed() {
    let mut sim = webapp(1);
    sim.tree.put("/services/webapp/desired", "{");
    sim.settle();
    let since = sim.status("webapp").conditions[0].since;
    sim.sleep(60);
    sim.tree.put("/services/webapp/desired", "[");
    sim.settle();
    assert_eq!(sim.status("webapp").conditions[0].since, since);
    sim.tree.put("/services/webapp/desired", "{}");
    sim.settle();
    assert_eq!(conditions(&sim.status("webapp")), "");
}

/// What the tree says was accepted, or was rolled out, is believed as little as what an operator writes.
#[test]
fn what_was_accepted_is_checked_as_what_is_wanted() {
    let evil = json!({"x:/a\nExecStartPre=+/bin/sh -c 'id'\nLoadCredential=y": "/etc/hostname"});
    let mut sim = webapp(2);
    sim.tree.put("/services/webapp", "?");
    let path = "/services/webapp/status";
    let mut status = serde_json::to_value(sim.status("webapp")).unwrap();
    status["accepted"]["service"]["credentials"] = evil.clone();
    sim.tree.put(path, status.to_string());
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service web2:webapp@0000000002.service");
    let text = |path: &str| String::from_utf8_lossy(sim.tree.get(path).unwrap_or_default()).into_owned();
    let evil_at: Vec<_> = sim.tree.paths().filter(|path| text(path).contains("ExecStartPre")).collect();
    assert_eq!(evil_at, Vec::<&str>::new());
    assert_condition(&sim, "webapp", &["/services/webapp: ", "there is no earlier good one"]);
    assert_rest(&mut sim);

    let mut sim = webapp(2);
    let path = "/services/webapp/rollouts/0000000001";
    let mut record: serde_json::Value = serde_json::from_slice(sim.tree.get(path).unwrap()).unwrap();
    record["revision"]["template"]["credentials"] = evil;
    sim.tree.put(path, record.to_string());
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service web2:webapp@0000000002.service");
    assert_condition(&sim, "webapp", &["InvalidDocument", path, "revision.template.credentials.x"]);
}

/// An upgrade finds what an earlier release accepted: it stays in force, in the description and where it is repeated.
#[test]
fn what_an_earlier_release_accepted_stays_in_force() {
    for keys in crate::model::released() {
        let mut sim = webapp_with(1, keys.clone());
        let add = |sim: &mut Sim, path: &str, at: &str| {
            let mut document: serde_json::Value = serde_json::from_slice(sim.tree.get(path).unwrap()).unwrap();
            let part = document.pointer_mut(at).unwrap().as_object_mut().unwrap();
            part.extend(keys.as_object().unwrap().clone());
            sim.tree.put(path, document.to_string());
        };
        add(&mut sim, "/services/webapp/status", "/accepted/service");
        add(&mut sim, "/services/webapp/rollouts/0000000001", "/revision/template");
        sim.settle();
        assert_eq!((&keys, conditions(&sim.status("webapp")).contains("InvalidDocument")), (&keys, false));
        sim.patch_desired("webapp", &json!({ "replicas": 2 }));
        sim.settle();
        assert_eq!((&keys, sim.processes().matches("webapp").count()), (&keys, 2));

        // What was accepted does as well alone.
        sim.tree.put("/services/webapp", "?");
        add(&mut sim, "/services/webapp/status", "/accepted/service");
        sim.patch_desired("webapp", &json!({ "replicas": 3 }));
        sim.settle();
        assert_condition(&sim, "webapp", &["/services/webapp: ", "the last good one stays in force"]);
        assert_eq!((&keys, sim.processes().matches("webapp").count()), (&keys, 3));
        assert_rest(&mut sim);
    }
}

#[test]
fn a_missing_desired_disturbs_nothing() {
    let mut sim = webapp(2);
    sim.tree.delete_all("/services/webapp/desired");
    sim.settle();
    assert_eq!(sim.processes().matches("webapp").count(), 2);
    assert_condition(&sim, "webapp", &["/services/webapp/desired: is missing; the last good one stays in force"]);
    assert_eq!(sim.status("webapp").observed_desired, None);
}

#[test]
fn an_unreadable_host_gets_and_loses_nothing() {
    let mut sim = webapp(2);
    sim.tree.put("/hosts/web2", "{");
    sim.tree.put("/hosts/web3", "{");
    sim.patch_desired("webapp", &json!({ "replicas": 4 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 6=web1 7=web1");
}

#[test]
fn what_the_controller_wrote_is_written_again() {
    for (path, data) in [
        ("/services/webapp/status", "nonsense"),
        ("/services/webapp/0000000001/desired", "nonsense"),
        ("/hosts/web1/assigned/webapp.0000000001", "nonsense"),
        // As no release wrote it; and one that says something else.
        ("/hosts/web1/assigned/webapp.0000000001", r#"{"mode":"disabled","unit":"webapp@0000000001.service"}"#),
        (
            "/hosts/web1/assigned/webapp.0000000001",
            r#"{"mode":"disabled","unit":"webapp@0000000001.service","template":{}}"#,
        ),
    ] {
        let mut sim = webapp(2);
        sim.tree.put(path, data);
        sim.settle();
        assert_eq!((path, sim.places("webapp").as_str()), (path, "1=web1 2=web2"));
        assert_ne!((path, sim.tree.get(path).unwrap()), (path, data.as_bytes()));
        assert_eq!((path, sim.status("webapp").summary.to_string().as_str()), (path, "healthy"));
        assert_rest(&mut sim);
    }
}

#[test]
fn what_was_deleted_by_hand_is_put_back_where_it_was() {
    for path in [
        "/services/webapp/status",
        "/services/webapp/instances",
        "/services/webapp/instances/web1",
        "/services/webapp/0000000001/desired",
        "/services/webapp/0000000001/status",
        "/hosts/web1/assigned/webapp.0000000001",
        "/hosts/web1/assigned",
    ] {
        let mut sim = webapp(2);
        sim.tree.delete_all(path);
        sim.live(20);
        assert!(sim.tree.get(path).is_some(), "{path}");
        assert_eq!((path, sim.places("webapp").as_str()), (path, "1=web1 2=web2"));
        assert_eq!((path, sim.status("webapp").summary.to_string().as_str()), (path, "healthy"));
        assert_rest(&mut sim);
    }
}

#[test]
fn an_agent_that_does_not_answer_is_nudged_ever_more_rarely() {
    let mut sim = webapp(1);
    sim.tree.delete_all("/services/webapp/instances/web1");
    let mut nudged = Vec::new();
    for second in 0..700 {
        let before = sim.log.len();
        sim.run_controller();
        nudged.extend(sim.log[before..].iter().any(|reason| reason.contains("is asked for the")).then_some(second));
        sim.sleep(1);
    }
    assert_eq!(nudged, [2, 6, 14, 30, 62, 126, 254, 510]);
}

#[test]
fn a_replica_deleted_by_hand_is_replaced() {
    let mut sim = webapp(2);
    sim.tree.delete_all("/services/webapp/0000000001");
    sim.settle();
    assert_eq!(sim.places("webapp"), "2=web2 6=web1");
    assert_eq!(sim.processes(), "web1:webapp@0000000006.service web2:webapp@0000000002.service");
}

#[test]
fn a_service_deleted_by_hand_is_stopped_everywhere() {
    let mut sim = webapp(2);
    sim.tree.delete_all("/services/webapp");
    sim.settle();
    assert_eq!(sim.processes(), "");
    assert!(!sim.tree.paths().any(|path| path.contains("webapp")));
}

#[test]
fn an_index_that_belongs_to_nothing_is_deleted() {
    let mut sim = webapp(1);
    let index = sim.tree.get("/hosts/web1/assigned/webapp.0000000001").unwrap().to_vec();
    sim.tree.put("/hosts/web2/assigned/webapp.0000000001", &index);
    sim.tree.put("/hosts/web3/assigned/webapp.0000000077", &index);
    sim.tree.put("/hosts/web3/assigned/other.0000000001", "nonsense");
    sim.run_controller();
    let indexes = sim.tree.paths().filter(|path| path.contains("/assigned/"));
    assert_eq!(indexes.collect::<Vec<_>>(), ["/hosts/web1/assigned/webapp.0000000001"]);
}

#[test]
fn a_replica_moved_by_hand_is_where_its_desired_says() {
    let mut sim = webapp(1);
    sim.patch("/services/webapp/0000000001/desired", &json!({ "node": "web3" }));
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().as_str()), ("1=web3", "web3:webapp@0000000001.service"));
}

#[test]
fn foreign_nodes_hold_up_only_what_they_block() {
    let mut sim = webapp(2);
    sim.tree.put("/services/webapp/0000000002/mine", "");
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2(removing)");
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service");
    assert_condition(
        &sim,
        "webapp",
        &["Waiting: webapp.0000000002: /services/webapp/0000000002/mine is not zkops's own"],
    );
    assert_rest(&mut sim);
    sim.tree.delete_all("/services/webapp/0000000002/mine");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1");
}

#[test]
fn malformed_names_are_noted_and_nothing_more() {
    let mut sim = webapp(1);
    sim.tree.put("/services/UPPER", "");
    sim.tree.put("/hosts/a_b", "");
    let plan = sim.plan();
    assert_eq!(plan.transactions, []);
    assert!(plan.notes[0].starts_with("/hosts/a_b: \"a_b\" is not a host name"), "{:?}", plan.notes);
    assert!(plan.notes[1].starts_with("/services/UPPER: \"UPPER\" is not a service name"), "{:?}", plan.notes);
}

#[test]
fn an_unreadable_replica_keeps_its_place_from_others() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("webapp", &json!({ "unit": "webapp.service" }), &json!({ "replicas": 2 }));
    sim.settle();
    sim.tree.put("/services/webapp/0000000001/desired", "nonsense");
    sim.round();
    assert_eq!(sim.places("webapp"), "1=web1 2=-");
}

#[test]
fn an_unreadable_index_keeps_its_unit_from_others() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("alpha", &json!({ "unit": "same.service" }), &json!({}));
    sim.settle();
    for broken in ["put", "delete"] {
        match broken {
            "put" => sim.tree.put("/hosts/web1/assigned/alpha.0000000001", "nonsense"),
            _ => drop(sim.tree.delete_all("/hosts/web1/assigned/alpha.0000000001")),
        }
        sim.service("beta", &json!({ "unit": "same.service" }), &json!({}));
        sim.run_controller();
        assert_eq!(sim.places("beta"), "1=-", "{broken}");
        sim.tree.delete_all("/services/beta");
        sim.settle();
    }
}

#[test]
fn an_index_is_not_put_back_over_another_services_unit() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("alpha", &json!({ "unit": "alpha.service" }), &json!({}));
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({}));
    sim.settle();
    sim.patch("/services/beta", &json!({ "unit": "alpha.service" }));
    sim.tree.delete_all("/hosts/web1/assigned/beta.0000000001");
    sim.settle();
    assert_eq!(sim.processes(), "web1:alpha.service web1:beta.service");
    assert_condition(&sim, "beta", &["Waiting: web1: its unit there is in use by alpha"]);
    // Nothing can come of it: once its time is up, it is what it was.
    sim.sleep(700);
    sim.settle();
    assert_eq!(sim.processes(), "web1:alpha.service web1:beta.service");
    assert_condition(&sim, "beta", &["RolledBack"]);
    assert_rest(&mut sim);
}

#[test]
fn an_index_that_is_put_back_takes_its_unit_at_once() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("alpha", &json!({ "unit": "alpha.service" }), &json!({}));
    sim.settle();
    sim.tree.delete_all("/hosts/web1/assigned/alpha.0000000001");
    sim.patch("/services/alpha", &json!({ "unit": "beta.service" }));
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({}));
    sim.tree.put("/services/beta/0000000001", "{}");
    sim.round();
    assert_eq!(sim.places("beta"), "1=-");
}

/// An entry of a host's index that no described work stands behind moves nobody, also not at a leader that is new; and it
/// is put right.
#[rstest]
#[case::of_no_service("evil.0000000077", json!({"unit": "webapp@0000000001.service"}), true)]
#[case::with_another_file("evil.0000000077", json!({"unit": "webapp@0000000077.service", "unit_file": "[Service]\n"}), true)]
#[case::of_a_template("evil.0000000077", json!({"unit": "webapp@.service"}), false)]
#[case::of_another_services_replica("api.0000000001", json!({"unit": "webapp@0000000001.service"}), true)]
#[case::of_no_replica("api.0000000099", json!({"unit": "webapp@0000000001.service"}), true)]
#[case::unreadable("api.0000000099", json!({"unit": 7}), false)]
fn what_an_index_alone_says_displaces_no_described_work(
    #[case] id: &str,
    #[case] keys: serde_json::Value,
    #[case] is_read: bool,
) {
    let mut sim = webapp(2);
    sim.service("api", &json!({"unit": "api@.service"}), &json!({}));
    sim.settle();
    let (places, processes) = (sim.places("webapp"), sim.processes());
    let mut entry = json!({"mode": "enabled"});
    entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    sim.tree.put(&format!("/hosts/web1/assigned/{id}"), assigned(entry).to_string());
    let read = &sim.cluster().hosts[&"web1".parse().unwrap()].assigned[&id.parse().unwrap()].value;
    assert_eq!(read.is_ok(), is_read, "{read:?}");
    sim.another_leads();
    let of_webapp = |path: &str| path.starts_with("/services/webapp/0") || path.contains("/assigned/webapp.");
    let plan = sim.plan();
    let ops = plan.transactions.iter().flat_map(|transaction| &transaction.ops);
    let touched: Vec<_> = ops.map(Op::path).filter(|path| of_webapp(path)).collect();
    assert_eq!(touched, Vec::<&str>::new());
    sim.live(20);
    assert_eq!((sim.places("webapp"), sim.processes()), (places, processes));
    assert_rest(&mut sim);
}

/// The same where both are described and on one host: the entry says what its service never did.
#[test]
fn an_entry_with_another_services_unit_displaces_nobody() {
    let mut sim = webapp(3);
    sim.service("api", &json!({"unit": "api@.service"}), &json!({}));
    sim.settle();
    let (places, processes) = (sim.places("webapp"), sim.processes());
    let host = sim.replica("api.0000000001").unwrap().node.unwrap();
    let unit = processes.split(' ').find_map(|process| process.strip_prefix(&format!("{host}:webapp")));
    let unit = format!("webapp{}", unit.unwrap());
    sim.patch(&format!("/hosts/{host}/assigned/api.0000000001"), &json!({ "unit": unit }));
    sim.another_leads();
    sim.round();
    assert_eq!(sim.places("webapp"), places);
    sim.settle();
    assert_eq!((sim.places("webapp"), sim.processes()), (places, processes));
    assert_rest(&mut sim);
}

/// While its index is gone, nobody gets the unit that it will be written again with.
#[test]
fn what_a_deleted_index_named_stays_taken() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("alpha", &json!({ "unit": "alpha.service" }), &json!({ "version": "v1" }));
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({ "version": "v1" }));
    sim.settle();
    // Described again, taken up, and nobody told yet.
    sim.patch("/services/alpha", &json!({ "unit": "gamma.service" }));
    sim.patch("/services/beta", &json!({ "unit": "alpha.service" }));
    sim.round();
    sim.tree.delete_all("/hosts/web1/assigned/alpha.0000000001");
    for _ in 0..5 {
        let (plan, context) = (sim.plan(), sim.context());
        let wrong = crate::plan::controller::check::plan(&sim.tree, &plan, &context);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        sim.round();
    }
}

/// An index that no service vouches for displaces nobody, and nobody takes its unit on while it is there.
#[test]
fn what_an_alleged_index_names_is_taken_on_by_nobody() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({ "version": "v1" }));
    sim.settle();
    sim.patch("/services/beta", &json!({ "unit": "alpha.service" }));
    sim.round();
    sim.tree.put(
        "/hosts/web1/assigned/alpha.0000000001",
        json!({ "mode": "enabled", "unit": "alpha.service", "template": {} }).to_string(),
    );
    let (plan, context) = (sim.plan(), sim.context());
    let wrong = crate::plan::controller::check::plan(&sim.tree, &plan, &context);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sim.settle();
    assert_eq!(sim.processes(), "web1:alpha.service", "it is nobody's, and was deleted");
}

/// The record that a rollback returns to is damaged or deleted on the way: it says so, and can be resumed.
#[test]
fn a_way_back_to_what_nobody_knows_is_paused_and_goes_forward_when_resumed() {
    for (damaged, off) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut sim = fleet(json!({}));
        sim.hosts.values_mut().for_each(|host| _ = host.setup.failing.insert("webapp".parse().unwrap()));
        want(&mut sim, "v2");
        while !sim.tree.get("/services/webapp/rollouts/0000000002").is_some_and(|_| record(&sim, 2).back) {
            sim.run_agents();
            sim.round();
        }
        if damaged {
            sim.tree.put("/services/webapp/rollouts/0000000001", "");
        } else {
            sim.tree.delete_all("/services/webapp/rollouts/0000000001");
        }
        if off {
            // What is added now would be told what was before.
            sim.patch_desired("webapp", &json!({ "mode": "disabled", "replicas": 5 }));
        }
        sim.settle();
        assert_eq!(state(&sim), "2 paused", "{:#?}", sim.log);
        assert_condition(&sim, "webapp", &["RolloutPaused", "nothing to go back to"]);
        sim.hosts.values_mut().for_each(|host| host.setup.failing.clear());
        order(&mut sim, 2, "resume");
        sim.settle();
        sim.patch_desired("webapp", &json!({ "mode": "enabled", "replicas": 4 }));
        sim.live(60);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"), "{:#?}", sim.log);
    }
}

/// The record of what was healthy before is damaged or deleted while a canary waits: nobody else is told what is new.
#[test]
fn a_canary_with_nothing_left_to_go_back_to_is_held() {
    for damaged in [true, false] {
        let mut sim = fleet(json!({ "canary": 1 }));
        want(&mut sim, "v2");
        sim.settle();
        if damaged {
            sim.tree.put("/services/webapp/rollouts/0000000001", "{");
        } else {
            sim.tree.delete_all("/services/webapp/rollouts/0000000001");
        }
        sim.live(20);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"), "{:#?}", sim.log);
        assert_condition(&sim, "webapp", &["RolloutPaused", "nothing to go back to"]);
        sim.patch_desired("webapp", &json!({ "replicas": 5 }));
        sim.live(20);
        assert_eq!(sim.processes().split(' ').count(), 4, "{}", sim.processes());
        assert_condition(&sim, "webapp", &["Unplaced", "nobody knows what it is to run"]);
        sim.patch_desired("webapp", &json!({ "replicas": 4 }));
        // A person says that it is to go forward all the same.
        order(&mut sim, 2, "resume");
        sim.live(20);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"), "{:#?}", sim.log);
    }
}

/// The same where the canary has another unit, so that what the others run cannot be told from their indices: they stay where they
/// are, whatever becomes of their hosts.
#[test]
fn what_nobody_knows_how_to_run_is_moved_nowhere_while_a_canary_waits() {
    for leaves in ["lost", "drains"] {
        let mut sim = fleet(json!({ "canary": 1 }));
        sim.patch("/services/webapp", &json!({ "unit": "shop@.service" }));
        want(&mut sim, "v2");
        sim.settle();
        sim.tree.delete_all("/services/webapp/rollouts/0000000001");
        sim.live(20);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
        let kind = if leaves == "lost" {
            sim.crash("web3");
            "HostLost: web3"
        } else {
            sim.tree.put("/hosts/web3", r#"{"drain":true}"#);
            "Waiting: web3"
        };
        sim.live(60);
        assert_eq!(versions(&sim), "v2 v1 v1 v1", "{leaves}");
        assert_condition(
            &sim,
            "webapp",
            &[kind, "what it ran is not known any more, and what is new waits for rollout 2"],
        );
        order(&mut sim, 2, "resume");
        sim.live(60);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"), "{:#?}", sim.log);
        assert!(!sim.places("webapp").contains("web3"), "{}", sim.places("webapp"));
    }
}

/// After a rollback, the record of what runs is lost: what is added says why it is nowhere.
#[test]
fn what_is_added_after_a_rollback_to_what_nobody_knows_says_so() {
    let mut sim = fleet(json!({}));
    want(&mut sim, crate::sim::cluster::REJECTED);
    sim.settle();
    assert_eq!(state(&sim), "2 rolled_back");
    sim.tree.delete_all("/services/webapp/rollouts/0000000001");
    sim.patch_desired("webapp", &json!({ "replicas": 5 }));
    sim.settle();
    assert_condition(&sim, "webapp", &["Unplaced", "nobody knows what it is to run", "zkops rollout resume webapp"]);
    assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
}

/// Whatever somebody put below an old record keeps that, and nothing else.
#[test]
fn a_foreign_node_below_an_old_record_is_left_alone() {
    let mut sim = fleet(json!({ "history_limit": 1 }));
    sim.tree.put("/services/webapp/rollouts/0000000001/note", "x");
    for version in ["v2", "v3", "v4", "v5"] {
        want(&mut sim, version);
        sim.settle();
        assert_eq!(versions(&sim), [version; 4].join(" "), "{:#?}", sim.log);
    }
    assert_eq!(state(&sim), "5 completed");
    assert!(sim.tree.get("/services/webapp/rollouts/0000000001/note").is_some());
    assert!(sim.tree.get("/services/webapp/rollouts/0000000002").is_none(), "the others are forgotten as ever");
}
