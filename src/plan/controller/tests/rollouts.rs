//! Rollouts: in which order, how far at a time, and how each comes to its end.

use serde_json::json;

use super::*;
use crate::{
    model::{Instance, RolloutState},
    sim::cluster::{FAILS, REJECTED, UNREADY},
};

/// The first replica's host restarts, and from then on nothing of the service starts there.
/// The first replica's host crashes, and nothing of the service starts any more, wherever it is tried.
fn fail_the_first(sim: &mut Sim) {
    let host = sim.replica("webapp.0000000001").unwrap().node.unwrap().to_string();
    sim.hosts.values_mut().for_each(|host| _ = host.setup.failing.insert("webapp".parse().unwrap()));
    sim.power_cycle(&host);
    sim.settle();
}

/// The versions after each time the agents had their say, until nothing changes.
fn versions_over_time(sim: &mut Sim) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..60 {
        sim.run_controller();
        if seen.last() != Some(&versions(sim)) {
            seen.push(versions(sim));
        }
        sim.run_agents();
    }
    seen
}

#[test]
fn the_first_rollout_is_completed_once_everything_is_healthy() {
    let sim = fleet(json!({}));
    assert_eq!((state(&sim).as_str(), record(&sim, 1).from), ("1 completed", None));
}

#[test]
fn one_after_the_other_by_number() {
    let mut sim = fleet(json!({}));
    want(&mut sim, "v2");
    let expected = ["v2 v1 v1 v1", "v2 v2 v1 v1", "v2 v2 v2 v1", "v2 v2 v2 v2"];
    assert_eq!(versions_over_time(&mut sim), expected);
    assert_eq!(state(&sim), "2 completed");
    assert_rest(&mut sim);
}

#[test]
fn a_replica_must_stay_ready_before_the_next_one_is_touched() {
    let mut sim = fleet(json!({ "min_healthy_time": "10s" }));
    sim.live(11);
    want(&mut sim, "v2");
    sim.live(9);
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    sim.live(3);
    assert_eq!(versions(&sim), "v2 v2 v1 v1");
    sim.live(40);
    assert_eq!(state(&sim), "2 completed");
}

#[test]
fn surge_replicas_come_first_and_go_last() {
    let mut sim = fleet(json!({ "max_surge": 1 }));
    sim.patch("/services/webapp", &json!({ "max_unavailable": 0 }));
    sim.settle();
    want(&mut sim, "v2");
    let expected = [
        "v1 v1 v1 v1 [v2]",
        "v2 v1 v1 v1 [v2]",
        "v2 v2 v1 v1 [v2]",
        "v2 v2 v2 v1 [v2]",
        "v2 v2 v2 v2 [v2]",
        "v2 v2 v2 v2",
    ];
    assert_eq!(versions_over_time(&mut sim), expected);
    assert_eq!(sim.status("webapp").replicas, 4);
    assert_rest(&mut sim);
}

#[test]
fn a_surge_replica_that_fails_leaves_the_others_untouched() {
    let mut sim = fleet(json!({ "max_surge": "25%" }));
    want(&mut sim, FAILS);
    assert_eq!(versions_over_time(&mut sim), ["v1 v1 v1 v1 [fails]", "v1 v1 v1 v1"]);
    assert_eq!(state(&sim), "2 rolled_back");
    assert_rest(&mut sim);
}

#[test]
fn what_fails_is_rolled_back_and_says_why() {
    for (version, why) in [
        (
            FAILS,
            "replica 1 on web2 is failed, as on web1: webapp@0000000001.service failed (exit-code): exited with status 1",
        ),
        (REJECTED, "rejected the update"),
    ] {
        let mut sim = fleet(json!({}));
        want(&mut sim, version);
        assert_eq!(versions_over_time(&mut sim), [&format!("{version} v1 v1 v1"), "v1 v1 v1 v1"]);
        assert_eq!(state(&sim), "2 rolled_back");
        assert_condition(&sim, "webapp", &["RolledBack: rollout 2", why, "zkops rollout resume webapp"]);
        assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
        assert_rest(&mut sim);
    }
}

#[test]
fn what_never_gets_ready_is_rolled_back_at_its_deadline() {
    let mut sim = fleet(json!({ "healthy_deadline": "30s" }));
    want(&mut sim, UNREADY);
    sim.live(29);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("unready v1 v1 v1", "2 running"));
    sim.live(3);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"));
    assert_condition(&sim, "webapp", &["not healthy within 30s (healthy_deadline)"]);
}

#[test]
fn one_that_fails_after_it_was_healthy_fails_the_rollout() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1m" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    fail_the_first(&mut sim);
    assert!(record(&sim, 2).back, "{:#?}", record(&sim, 2));
}

#[test]
fn the_policy_may_be_to_pause() {
    let mut sim = fleet(json!({ "on_failure": "pause" }));
    want(&mut sim, FAILS);
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("fails v1 v1 v1", "2 paused"));
    assert_condition(&sim, "webapp", &["RolloutPaused", "is failed", "`zkops rollout resume webapp` or `abort`"]);
    assert_rest(&mut sim);
    order(&mut sim, 2, "abort");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"));
    assert_condition(&sim, "webapp", &["aborted by ann"]);
}

#[test]
fn with_nothing_to_go_back_to_it_pauses() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 2, "version": REJECTED }));
    sim.settle();
    assert_eq!(state(&sim), "1 paused");
    assert_condition(&sim, "webapp", &["there is nothing to go back to"]);
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2", "2 completed"));
    assert_eq!(record(&sim, 1).state, RolloutState::Superseded);
}

/// A canary that is a surge replica finds no place at first: it comes as soon as there is one.
#[test]
fn a_canary_that_no_host_fits_comes_when_one_does() {
    let keys = json!({
        "placement": { "max_per_host": 1 }, "max_unavailable": 0,
        "rollout": { "min_healthy_time": "0s", "max_surge": 1, "canary": 1 },
    });
    let mut sim = webapp_with(2, keys);
    sim.tree.put("/hosts/web3", "{\"cordon\":true}");
    want(&mut sim, "v2");
    sim.live(5);
    assert_eq!(versions(&sim), "v1 v1 [v2]");
    assert_condition(&sim, "webapp", &["Unplaced", "no host fits"]);
    sim.tree.put("/hosts/web3", "{}");
    sim.live(5);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 [v2]", "2 paused"), "{:#?}", sim.log);
    assert_condition(&sim, "webapp", &["RolloutPaused", "canary (1 of 2) is healthy"]);
    order(&mut sim, 2, "promote");
    sim.live(5);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2", "2 completed"));
}

/// Nothing was healthy before, and no host is left to try: a person is told at once, not at a deadline.
#[test]
fn a_first_version_that_fails_everywhere_pauses_once_every_host_was_tried() {
    for (policy, fails) in
        [(json!({}), true), (json!({ "max_failures": 1 }), true), (json!({ "max_failures": 2 }), false)]
    {
        let mut sim = Sim::new(&["web1", "web2"]);
        sim.service("webapp", &spec(json!({ "rollout": policy })), &json!({ "replicas": 2, "version": FAILS }));
        let began = sim.now;
        sim.settle();
        assert_eq!(sim.now, began, "no deadline is waited for");
        let said = format!("{:#?}", sim.status("webapp").rollout);
        assert_eq!(
            state(&sim) == "1 paused" && said.contains("there is nothing to go back to"),
            fails,
            "{policy}: {said}"
        );
    }
}

#[test]
fn a_canary_waits_to_be_promoted() {
    let mut sim = fleet(json!({ "canary": 1 }));
    want(&mut sim, "v2");
    sim.live(2000);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
    assert_condition(&sim, "webapp", &["RolloutPaused", "canary (1 of 4)", "zkops rollout promote webapp"]);
    assert_rest(&mut sim);
    order(&mut sim, 2, "promote");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn a_canary_may_promote_itself_and_what_was_healthy_before_needs_none() {
    let mut sim = fleet(json!({ "canary": 1, "auto_promote": true, "batch_pause": "20s" }));
    want(&mut sim, "v2");
    sim.live(15);
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    sim.live(10);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
    want(&mut sim, "v3");
    sim.settle();
    assert_eq!(versions(&sim), "v3 v2 v2 v2");
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "4 completed"));
}

#[test]
fn batches_grow_with_a_pause_between_them() {
    let mut sim = fleet(json!({ "batches": [1, 2], "batch_pause": "20s" }));
    want(&mut sim, "v2");
    sim.live(15);
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    sim.live(15);
    assert_eq!(versions(&sim), "v2 v2 v2 v1");
    sim.live(30);
    assert_eq!(state(&sim), "2 completed");
}

#[test]
fn a_person_pauses_and_resumes_it() {
    let mut sim = fleet(json!({}));
    want(&mut sim, "v2");
    sim.round();
    sim.round();
    order(&mut sim, 2, "pause");
    sim.live(3000);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
    assert_rest(&mut sim);
    order(&mut sim, 2, "resume");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn an_order_for_another_rollout_or_one_that_makes_no_sense_is_void() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    for (number, action) in [(1, "abort"), (2, "promote"), (2, "resume")] {
        order(&mut sim, number, action);
        sim.settle();
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 running"), "{action}");
    }
    sim.tree.put("/services/webapp/rollouts", "{\"rollout\":2,\"action\":\"stop\"}");
    sim.settle();
    assert_condition(&sim, "webapp", &["InvalidDocument: /services/webapp/rollouts", "action"]);
}

#[test]
fn resuming_what_was_rolled_back_tries_it_again() {
    let mut sim = fleet(json!({ "healthy_deadline": "30s" }));
    want(&mut sim, UNREADY);
    sim.live(35);
    assert_eq!(state(&sim), "2 rolled_back");
    order(&mut sim, 2, "resume");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("unready v1 v1 v1", "3 running"));
}

#[test]
fn something_new_supersedes_it_mid_way() {
    let mut sim = fleet(json!({ "batches": [2], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v2 v1 v1");
    want(&mut sim, "v3");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v3 v3 v1 v1", "3 running"));
    assert_eq!((record(&sim, 2).state, record(&sim, 3).from), (RolloutState::Superseded, Some(1)));
    want(&mut sim, FAILS);
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "4 rolled_back"));
}

#[test]
fn while_the_service_is_disabled_all_is_changed_and_no_time_is_up() {
    let mut sim = fleet(json!({}));
    want(&mut sim, "v2");
    sim.round();
    sim.round();
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.live(2000);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 paused"));
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.settle();
    assert_eq!(state(&sim), "2 completed");
}

#[test]
fn replicas_added_meanwhile_run_what_is_known_to_be_good() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "replicas": 5 }));
    sim.settle();
    assert_eq!(versions(&sim), "v2 v1 v1 v1 v1");
}

#[test]
fn a_host_that_crashes_meanwhile_changes_nothing_of_its_end() {
    let mut sim = fleet(json!({ "min_healthy_time": "2s" }));
    sim.live(3);
    want(&mut sim, "v2");
    sim.live(3);
    sim.crash("web2");
    sim.live(60);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
    assert!(!sim.places("webapp").contains("web2"));
}

#[test]
fn a_replica_that_moves_meanwhile_keeps_what_it_runs_until_its_turn() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    let last = sim.replica("webapp.0000000004").unwrap().node.unwrap().to_string();
    sim.tree.put(&format!("/hosts/{last}"), r#"{"drain":true}"#);
    sim.live(5);
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    assert!(!sim.places("webapp").contains(&last), "{}", sim.places("webapp"));
}

#[test]
fn another_leader_goes_on_where_the_last_one_stopped() {
    let mut sim = fleet(json!({ "min_healthy_time": "2s", "max_surge": 1 }));
    sim.live(3);
    want(&mut sim, "v2");
    for _ in 0..40 {
        sim.another_leads();
        sim.live(3);
    }
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn without_progress_it_comes_to_a_decision() {
    let mut sim = Sim::new(&["web1"]);
    let rollout = json!({ "min_healthy_time": "0s", "max_surge": 1, "progress_deadline": "10m" });
    let description = json!({ "unit": "webapp.service", "max_unavailable": 0, "rollout": rollout });
    sim.service("webapp", &description, &json!({ "replicas": 1, "version": "v1" }));
    sim.settle();
    want(&mut sim, "v2");
    sim.live(599);
    assert_eq!(state(&sim), "2 running");
    sim.live(3);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1", "2 rolled_back"));
    assert_condition(&sim, "webapp", &["no progress for 10m (progress_deadline)"]);
}

#[test]
fn a_deadline_without_progress_names_what_stood_in_the_way() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1m" }));
    want(&mut sim, "v2");
    sim.settle();
    for host in ["web1", "web2", "web3"] {
        sim.host(host).setup.failing.insert("webapp".parse().unwrap());
    }
    fail_the_first(&mut sim);
    sim.live(700);
    assert_eq!(state(&sim), "2 paused");
    let why = [
        "the way back made no progress for 10m (progress_deadline)",
        "; replica 1 on web",
        "is failed: webapp@0000000001.service failed (exit-code): exited with status 1",
    ];
    assert_condition(&sim, "webapp", &why);
}

#[test]
fn history_is_kept_within_its_limit() {
    let mut sim = fleet(json!({ "history_limit": 2 }));
    for version in 2..9 {
        want(&mut sim, &format!("v{version}"));
        sim.settle();
    }
    let view = &sim.cluster().services[&"webapp".parse().unwrap()];
    assert_eq!(view.rollouts.keys().copied().collect::<Vec<_>>(), [5, 6, 7, 8]);
}

#[test]
fn an_unreadable_record_changes_nothing_and_deleting_it_begins_again() {
    let mut sim = fleet(json!({}));
    want(&mut sim, "v2");
    sim.round();
    sim.round();
    sim.tree.put("/services/webapp/rollouts/0000000002", "{");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    assert_condition(&sim, "webapp", &["InvalidDocument: /services/webapp/rollouts/0000000002", "begun again"]);
    sim.tree.delete_all("/services/webapp/rollouts/0000000002");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "3 completed"));
}

#[test]
fn a_configuration_that_is_not_there_is_not_accepted() {
    let mut sim = fleet(json!({}));
    sim.patch("/services/webapp", &json!({ "config": {} }));
    sim.settle();
    sim.patch_desired("webapp", &json!({ "config_version": 7 }));
    sim.settle();
    assert_condition(&sim, "webapp", &["InvalidDocument: /services/webapp/desired", "no revision 7", "config push"]);
    sim.tree.put("/services/webapp/config", "{}");
    sim.tree.put("/services/webapp/config/7", "{\"files\":{}}");
    sim.settle();
    assert_eq!(state(&sim), "3 completed");
    assert_eq!(sim.replica("webapp.0000000004").unwrap().config_version, Some(7));
}

#[test]
fn why_it_goes_back_is_said_until_its_end() {
    let mut sim = fleet(json!({}));
    want(&mut sim, "v2");
    for _ in 0..2 {
        sim.run_controller();
        sim.run_agents();
    }
    order(&mut sim, 2, "abort");
    sim.run_controller();
    order(&mut sim, 2, "pause");
    sim.settle();
    assert_eq!(record(&sim, 2).reason, "paused by ann; it went back because: aborted by ann");
    order(&mut sim, 2, "resume");
    sim.run_controller();
    assert_eq!(record(&sim, 2).reason, "resumed by ann; it went back because: aborted by ann");
    sim.settle();
    assert_eq!((state(&sim).as_str(), record(&sim, 2).reason.as_str()), ("2 rolled_back", "aborted by ann"));
}

#[test]
fn a_way_back_that_makes_progress_is_not_given_up() {
    let mut sim = fleet(json!({ "healthy_deadline": "30s", "progress_deadline": "40s" }));
    want(&mut sim, "v2");
    sim.round();
    sim.round();
    for _ in 0..3 {
        sim.run_agents();
        sim.run_controller();
    }
    sim.run_agents();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 running"));
    order(&mut sim, 2, "abort");
    for _ in 0..4 {
        sim.run_controller();
        assert_eq!(state(&sim), "2 rolling_back");
        sim.sleep(25);
        sim.run_agents();
    }
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"));
}

#[test]
fn surge_replicas_stay_when_something_new_supersedes_the_rollout() {
    let mut sim = fleet(json!({ "max_surge": 1 }));
    sim.patch("/services/webapp", &json!({ "max_unavailable": 0 }));
    sim.settle();
    want(&mut sim, "v2");
    for _ in 0..2 {
        sim.run_controller();
        sim.run_agents();
    }
    sim.run_controller();
    assert_eq!(versions(&sim), "v2 v2 v1 v1 [v2]");
    want(&mut sim, "v3");
    sim.run_controller();
    assert_eq!(versions(&sim), "v2 v3 v1 v1 [v2]", "the surge replica serves in place of the second");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v3 v3 v3 v3", "3 completed"));
    assert_rest(&mut sim);
}

#[test]
fn surge_replicas_stay_while_the_record_can_not_be_read() {
    let mut sim = fleet(json!({ "max_surge": 1, "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v1 v1 v1 [v2]");
    sim.tree.put("/services/webapp/rollouts/0000000002", "{");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v1 v1 v1 [v2]");
    sim.tree.delete_all("/services/webapp/rollouts/0000000002");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1 [v2]", "3 running"));
}

#[test]
fn something_new_frees_a_rollout_whose_replica_never_gets_ready() {
    let mut sim = fleet(json!({ "max_surge": 1 }));
    sim.patch("/services/webapp", &json!({ "max_unavailable": 0 }));
    sim.settle();
    want(&mut sim, UNREADY);
    sim.settle();
    assert_eq!(versions(&sim), "v1 v1 v1 v1 [unready]");
    want(&mut sim, "v3");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v3 v3 v3 v3", "3 completed"));
}

#[test]
fn a_blip_in_a_long_pause_between_batches_fails_nothing() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v1 v1 v1");
    sim.sleep(1800);
    sim.settle();
    let entry = |path: &&str| {
        let instance = sim.tree.get(path).filter(|_| path.contains("/instances/")).map(decode::<Instance>);
        instance.is_some_and(|instance| instance.unwrap().replica.0 == 1)
    };
    let name = sim.tree.paths().find(entry).unwrap().to_owned();
    let data = sim.tree.get(&name).unwrap().to_vec();
    sim.tree.delete_all(&name);
    sim.round();
    sim.tree.put(&name, data);
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 running"));
}

#[test]
fn the_time_to_get_healthy_does_not_run_while_the_old_one_drains() {
    let mut sim = fleet(json!({ "healthy_deadline": "30s", "progress_deadline": "40s" }));
    sim.patch("/services/webapp", &json!({ "drain_time": "2m" }));
    sim.settle();
    want(&mut sim, "v2");
    sim.run_controller();
    sim.run_controller();
    sim.sleep(125);
    sim.run_controller();
    assert_eq!(state(&sim), "3 running", "{:#?}", record(&sim, 3));
}

#[test]
fn a_canary_that_fails_while_it_waits_is_rolled_back() {
    let mut sim = fleet(json!({ "canary": 1 }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(state(&sim), "2 paused");
    fail_the_first(&mut sim);
    assert!(record(&sim, 2).back, "{:#?}", record(&sim, 2));
}

#[test]
fn a_clock_that_was_ahead_lengthens_no_deadline() {
    let mut sim = fleet(json!({ "healthy_deadline": "30s", "progress_deadline": "40s" }));
    let now = sim.now;
    sim.sleep(86_400);
    want(&mut sim, UNREADY);
    sim.settle();
    sim.now = now;
    sim.another_leads();
    sim.live(45);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"));
}

#[test]
fn a_clock_set_back_keeps_nobody_from_getting_healthy() {
    let mut sim = fleet(json!({ "min_healthy_time": "5s", "batches": [1] }));
    sim.live(6);
    want(&mut sim, "v2");
    let now = sim.now;
    sim.sleep(86_400);
    sim.settle();
    sim.now = now;
    sim.live(60);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn resuming_tries_what_was_rejected_once_more() {
    let mut sim = fleet(json!({ "on_failure": "pause" }));
    want(&mut sim, REJECTED);
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("rejected v1 v1 v1", "2 paused"));
    let path = layout::assignment(
        &sim.replica("webapp.0000000001").unwrap().node.unwrap(),
        &"webapp.0000000001".parse().unwrap(),
    );
    let before = sim.tree.version(&path);
    order(&mut sim, 2, "resume");
    sim.round();
    sim.round();
    assert_eq!(state(&sim), "2 running", "its agent has not said anything yet");
    assert_ne!(sim.tree.version(&path), before, "its agent is asked again");
    sim.settle();
    assert_eq!(state(&sim), "2 paused");
    assert_rest(&mut sim);
}

#[test]
fn a_pause_without_a_cause_is_somebodys() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    sim.patch("/services/webapp/rollouts/0000000002", &json!({ "state": "paused" }));
    sim.settle();
    assert_condition(&sim, "webapp", &["RolloutPaused", "resume"]);
    order(&mut sim, 2, "resume");
    sim.settle();
    assert_eq!(state(&sim), "2 running");
}

#[test]
fn a_record_stays_small_however_many_replicas_are_on_their_way() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 2500, "version": "v1" }));
    sim.run_controller();
    assert_eq!(record(&sim, 1).updating.len(), 2000);
}

#[test]
fn a_rollout_may_be_aborted_while_the_service_is_disabled() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h", "max_surge": 1 }));
    want(&mut sim, "v2");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
    order(&mut sim, 2, "abort");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"));
    assert_rest(&mut sim);
}

#[test]
fn a_rollout_that_is_scaled_meanwhile_ends_with_as_many_as_are_wanted() {
    for replicas in [0, 1, 7] {
        let mut sim = fleet(json!({ "max_surge": "50%", "batches": [1], "batch_pause": "10s" }));
        want(&mut sim, "v2");
        sim.settle();
        sim.patch_desired("webapp", &json!({ "replicas": replicas }));
        sim.live(120);
        assert_eq!(versions(&sim), vec!["v2"; replicas].join(" "));
        assert_eq!(state(&sim), if replicas == 0 { "2 paused" } else { "2 completed" });
        assert_rest(&mut sim);
    }
}

#[test]
fn a_surge_replica_goes_with_its_lost_host() {
    let mut sim = fleet(json!({ "max_surge": 1, "canary": 1 }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1 [v2]", "2 paused"));
    let host = sim.places("webapp").rsplit_once('=').unwrap().1.to_owned();
    sim.crash(&host);
    order(&mut sim, 2, "promote");
    sim.live(120);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
    assert!(!sim.places("webapp").contains(&host));
    assert_rest(&mut sim);
}

#[test]
fn a_host_that_is_gone_for_long_is_not_held_against_what_is_new() {
    let mut sim = fleet(json!({ "healthy_deadline": "30s", "min_healthy_time": "5s", "progress_deadline": "1h" }));
    sim.patch("/services/webapp", &json!({ "lost_after": "30m" }));
    sim.live(10);
    want(&mut sim, "v2");
    sim.round();
    sim.round();
    let first = sim.replica("webapp.0000000001").unwrap().node.unwrap().to_string();
    sim.crash(&first);
    sim.live(300);
    sim.boot(&first);
    sim.live(60);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn with_a_host_lost_for_long_the_way_back_ends_all_the_same() {
    let mut sim = fleet(json!({}));
    sim.patch("/services/webapp", &json!({ "lost_after": "10h" }));
    sim.settle();
    let first = sim.replica("webapp.0000000001").unwrap().node.unwrap().to_string();
    sim.crash(&first);
    want(&mut sim, "v2");
    sim.live(700);
    assert_eq!(state(&sim), "2 rolled_back");
}

#[test]
fn a_canary_that_is_not_healthy_any_more_is_on_trial_again() {
    let mut sim = fleet(json!({ "canary": 1, "healthy_deadline": "30s" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(state(&sim), "2 paused");
    let path = "/services/webapp/0000000001/status";
    sim.patch(path, &json!({ "state": "starting", "message": "restarted" }));
    sim.run_controller();
    assert_eq!(state(&sim), "2 running");
    sim.sleep(31);
    sim.run_controller();
    assert!(record(&sim, 2).back);
}

#[test]
fn no_share_at_all_is_none_and_at_rest() {
    let mut sim = fleet(json!({ "max_surge": "0%", "canary": "0%" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(state(&sim), "2 completed");
    assert_rest(&mut sim);
}

#[test]
fn a_first_version_that_is_rejected_leaves_the_service_degraded() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("webapp", &spec(json!({})), &json!({ "version": REJECTED }));
    sim.settle();
    assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
}
