//! A service's life: created, scaled, disabled, drained, deleted.

use serde_json::json;

use super::*;

#[test]
fn the_first_replica_of_a_new_service_is_number_one() {
    assert_eq!(webapp(2).places("webapp"), "1=web1 2=web2");
}

#[test]
fn a_description_alone_is_left_untouched_so_that_numbers_start_at_one() {
    let mut sim = Sim::new(&["web1"]);
    sim.tree.put("/services/webapp", spec(json!({})).to_string());
    let plan = sim.plan();
    let note = "webapp has no desired state, so nothing of it runs: /services/webapp/desired is missing";
    assert_eq!((plan.transactions.len(), plan.notes), (0, vec![note.to_owned()]));
    sim.tree.put("/services/webapp/desired", "{}");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1");
}

#[test]
fn replicas_run_and_the_service_is_healthy() {
    let mut sim = webapp(2);
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service web2:webapp@0000000002.service");
    let status = sim.status("webapp");
    assert_eq!((status.desired, status.replicas, status.ready, status.updated), (2, 2, 2, 2));
    assert_eq!((status.summary.to_string().as_str(), status.conditions.len()), ("healthy", 0));
    assert_rest(&mut sim);
}

#[test]
fn every_action_is_an_event_with_its_reason() {
    let mut sim = webapp(1);
    let mut seen = 0;
    let mut new = |sim: &Sim| {
        let events = sim.status("webapp").events;
        let new: Vec<_> = events[seen..].iter().map(|event| event.reason.to_string()).collect();
        seen = events.len();
        (new.join(" "), events.into_iter().map(|event| event.message).collect::<Vec<_>>())
    };
    assert_eq!(
        new(&sim),
        (
            "Created RolloutStarted Housekeeping Placed RolloutCompleted".to_owned(),
            [
                "1 replica created: 1 wanted, 0 there",
                "rollout 1 started: version v1",
                "instances created",
                "placed on web1: the best eligible host, with 0 of this service's replicas and 0 in total",
                "rollout 1 completed",
            ]
            .map(ToOwned::to_owned)
            .to_vec()
        )
    );
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.settle();
    assert_eq!(new(&sim).0, "RolloutStarted Updated RolloutCompleted");
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    assert_eq!(new(&sim).0, "ModeChanged");
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.settle();
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.settle();
    assert_eq!(new(&sim).0, "ModeChanged ModeChanged Moved");
    sim.tree.delete_all("/hosts/web2/assigned/webapp.0000000001");
    sim.settle();
    assert_eq!(new(&sim).0, "Repaired");
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.patch_desired("webapp", &json!({ "replicas": 4 }));
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!(new(&sim).0, "Created Unplaced Unplaced Unplaced");
    sim.patch_desired("webapp", &json!({ "replicas": 0 }));
    sim.settle();
    assert!(new(&sim).0.ends_with("Removed Removed Removed Removing Removed"), "{:?}", sim.status("webapp").events);
}

#[test]
fn each_turn_of_a_rollout_is_an_event_with_its_reason() {
    let mut sim = Sim::new(&["web1", "web2"]);
    let spec = json!({ "unit": "webapp@.service", "rollout": { "canary": 1, "min_healthy_time": "0s" } });
    sim.service("webapp", &spec, &json!({ "replicas": 2, "version": "v1" }));
    sim.settle();
    let mut seen = sim.status("webapp").events.len();
    let mut new = |sim: &Sim| {
        let events = sim.status("webapp").events;
        let new: Vec<_> = events[seen..].iter().map(|event| event.reason.to_string()).collect();
        seen = events.len();
        new.join(" ")
    };
    let order = |sim: &mut Sim, rollout: u64, action: &str| {
        sim.tree.put("/services/webapp/rollouts", json!({ "rollout": rollout, "action": action }).to_string());
        sim.settle();
    };
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.settle();
    assert_eq!(new(&sim), "RolloutStarted Updated RolloutPaused");
    order(&mut sim, 2, "promote");
    assert_eq!(new(&sim), "Updated RolloutResumed RolloutCompleted");
    sim.patch_desired("webapp", &json!({ "version": "v3" }));
    sim.settle();
    order(&mut sim, 3, "abort");
    assert_eq!(new(&sim), "RolloutStarted Updated RolloutPaused Updated RollingBack RolledBack");
    sim.tree.delete_all("/services/webapp/instances/web1");
    for _ in 0..5 {
        sim.run_controller();
        sim.sleep(1);
    }
    assert_eq!(new(&sim), "Retried");
}

#[test]
fn scaling_up_keeps_the_old_and_numbers_go_on() {
    let mut sim = webapp(1);
    sim.patch_desired("webapp", &json!({ "replicas": 3 }));
    sim.settle();
    // 2 and 3 were the numbers of `status` and `instances`: ZooKeeper counts every child.
    assert_eq!(sim.places("webapp"), "1=web1 5=web2 6=web3");
    assert_rest(&mut sim);
}

#[test]
fn scaling_down_drains_the_highest_number_then_deletes_it() {
    let mut sim = webapp(3);
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.run_controller();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3(removing)");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2");
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service web2:webapp@0000000002.service");
    assert_rest(&mut sim);
}

#[test]
fn numbers_never_return() {
    let mut sim = webapp(2);
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.settle();
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 6=web2");
}

#[test]
fn scaling_up_while_one_leaves_finishes_it_and_makes_a_new_one() {
    let mut sim = webapp(2);
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.run_controller();
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.run_controller();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2(removing) 6=web3");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 6=web3");
}

#[test]
fn scaling_down_prefers_what_is_of_least_use() {
    // Failed before draining, draining before cordoned, cordoned before the highest number.
    let mut sim = webapp_with(3, json!({ "placement": { "max_per_host": 1 } }));
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "2=web2 3=web3");
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "3=web3");
}

#[test]
fn scaling_down_takes_from_the_most_crowded_host() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 2 }));
    sim.settle();
    sim.tree.put("/hosts/web2", "");
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    sim.patch_desired("webapp", &json!({ "replicas": 3 }));
    sim.settle();
    sim.tree.put("/hosts/web1", "");
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 6=web2");
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 6=web2");
}

#[test]
fn disabled_replicas_stop_and_keep_numbers_and_hosts() {
    let mut sim = webapp(2);
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().as_str()), ("1=web1 2=web2", ""));
    assert_eq!(sim.status("webapp").summary.to_string(), "disabled");
    assert_rest(&mut sim);
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp@0000000001.service web2:webapp@0000000002.service");
}

#[test]
fn a_service_is_drained_only_when_every_process_is_gone() {
    let mut sim = webapp(2);
    sim.patch_desired("webapp", &json!({ "mode": "drain" }));
    sim.run_controller();
    assert_eq!(sim.status("webapp").summary.to_string(), "draining");
    sim.settle();
    assert_eq!((sim.status("webapp").summary.to_string().as_str(), sim.processes().as_str()), ("drained", ""));
    assert_rest(&mut sim);
}

#[test]
fn a_service_is_not_drained_while_a_lost_host_may_run_it() {
    let mut sim = webapp(2);
    sim.cut("web1");
    sim.patch_desired("webapp", &json!({ "mode": "drain" }));
    sim.live(60);
    assert_eq!(sim.status("webapp").summary.to_string(), "draining");
    assert_condition(&sim, "webapp", &["HostLost: web1", "cannot be known"]);
    sim.boot("web1");
    sim.settle();
    assert_eq!(sim.status("webapp").summary.to_string(), "drained");
}

#[test]
fn a_service_scaled_to_nothing_is_healthy() {
    let mut sim = webapp(2);
    sim.patch_desired("webapp", &json!({ "replicas": 0 }));
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.status("webapp").summary.to_string().as_str()), ("", "healthy"));
}

#[test]
fn deleting_drains_then_removes_every_node() {
    let mut sim = webapp(2);
    sim.tree.put("/services/webapp/config", "{}");
    sim.tree.put("/services/webapp/config/1", "{}");
    sim.patch("/services/webapp", &json!({ "deleting": true }));
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().as_str()), ("gone", ""));
    assert!(!sim.tree.paths().any(|path| path.contains("webapp")));
    assert_rest(&mut sim);
}

#[test]
fn deleting_stops_at_nodes_that_are_not_its_own() {
    let mut sim = webapp(1);
    sim.tree.put("/services/webapp/notes", "mine");
    sim.patch("/services/webapp", &json!({ "deleting": true }));
    sim.settle();
    assert_condition(&sim, "webapp", &["Waiting", "not zkops's own", "delete /services/webapp/notes"]);
    assert_eq!(sim.status("webapp").summary.to_string(), "deleting");
    assert_rest(&mut sim);
    sim.tree.delete_all("/services/webapp/notes");
    sim.settle();
    assert_eq!(sim.places("webapp"), "gone");
}

#[test]
fn a_long_history_is_deleted_in_several_transactions() {
    let mut sim = webapp(1);
    sim.tree.put("/services/webapp/rollouts", "{}");
    for number in 0..400 {
        sim.tree.put(&format!("/services/webapp/rollouts/{number:010}"), "{}");
    }
    sim.patch("/services/webapp", &json!({ "deleting": true }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "gone");
}

#[test]
fn many_replicas_come_in_several_transactions() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    let file = format!("[Service]\n{}", "# long\n".repeat(6000));
    sim.service("webapp", &spec(json!({ "unit_file": file })), &json!({ "replicas": 60 }));
    let mut rounds = 0;
    loop {
        let plan = sim.plan();
        let Some(transaction) = plan.transactions.first() else { break };
        let bytes: usize = transaction.ops.iter().map(crate::plan::controller::transaction::size).sum();
        assert!(transaction.ops.len() <= 300 && bytes <= 400 * 1024, "{} ops, {bytes} bytes", transaction.ops.len());
        sim.round();
        rounds += 1;
    }
    assert!(rounds > 10, "{rounds} rounds");
    sim.settle();
    assert_eq!(sim.status("webapp").ready, 60);
}

/// A plan has a budget of work: what it leaves, the next ones do, each service in its turn.
#[test]
fn what_one_plan_leaves_the_next_one_does() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    for name in ["alpha", "beta", "gamma"] {
        sim.service(name, &json!({ "unit": format!("{name}@.service") }), &json!({ "replicas": 2 }));
    }
    // Their numbers, which take no work.
    sim.round();
    sim.leader.work = 3;
    for expected in ["alpha", "beta", "gamma"] {
        let before = sim.log.len();
        assert!(sim.round(), "{expected}");
        let planned: Vec<&str> = sim.log[before..].iter().filter_map(|it| it.split(':').next()).collect();
        assert_eq!(planned, [expected]);
    }
    sim.settle();
    assert_eq!(["alpha", "beta", "gamma"].map(|name| sim.status(name).ready), [2, 2, 2]);
    assert_rest(&mut sim);
}

/// One for which there is no place anywhere is looked at in each plan, and keeps nobody else from theirs.
#[test]
fn what_fits_nowhere_does_not_use_the_budget_of_others_up() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.leader.work = 3;
    for name in ["alpha", "beta", "gamma"] {
        let placement = if name == "beta" { json!({}) } else { json!({ "constraints": ["gpu"] }) };
        let spec = json!({ "unit": format!("{name}@.service"), "placement": placement });
        sim.service(name, &spec, &json!({ "replicas": 20 }));
    }
    sim.settle();
    assert_eq!(["alpha", "beta", "gamma"].map(|name| sim.status(name).ready), [0, 20, 0]);
}

/// Each looks for a place in vain, and all of them are more work than one plan may be.
#[test]
fn what_fits_nowhere_is_looked_at_in_turn_and_comes_to_rest() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.leader.work = 3;
    let names = ["alpha", "beta", "gamma", "delta"];
    for name in names {
        let spec = json!({ "unit": format!("{name}@.service"), "placement": { "constraints": [format!("{name}=1")] } });
        sim.service(name, &spec, &json!({ "replicas": 3 }));
    }
    sim.settle();
    for name in names {
        sim.tree.put("/hosts/web1", json!({ "labels": { name: "1" } }).to_string());
        sim.settle();
        assert_eq!(sim.status(name).ready, 3, "{name}");
    }
}

/// A place that is given to another is free again when that does not come there.
#[test]
fn a_place_that_another_does_not_take_after_all_is_given_on() {
    let mut sim = Sim::new(&["web1"]);
    let spec = |name: &str| json!({ "unit": format!("{name}@.service"), "port": 80 });
    sim.service("alpha", &spec("alpha"), &json!({}));
    sim.service("beta", &spec("beta"), &json!({}));
    // Their numbers; then places, of which nothing lands.
    sim.round();
    for _ in 0..2 {
        let plan = sim.plan_in_vain();
        assert!(plan.transactions.iter().any(|it| it.reason.contains("placed on web1")), "{plan:#?}");
        sim.sleep(1);
    }
    sim.tree.delete_all("/services/alpha");
    sim.settle();
    assert_eq!(sim.status("beta").ready, 1, "{:#?}", sim.log);
}

/// So many revisions in the tree, of which the service wants one.
fn with_configs(revisions: std::ops::RangeInclusive<u64>, wanted: u64, keep: Option<u32>) -> Sim {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/services/webapp", "{}");
    sim.tree.put("/services/webapp/config", "{}");
    for revision in revisions {
        sim.tree.put(&format!("/services/webapp/config/{revision}"), "{\"files\":{}}");
    }
    let config = keep.map_or(json!({}), |keep| json!({ "keep": keep }));
    sim.service("webapp", &spec(json!({ "config": config })), &json!({ "config_version": wanted }));
    sim.settle();
    sim
}

fn configs(sim: &Sim) -> Vec<u64> {
    sim.cluster().services[&"webapp".parse().unwrap()].configs.iter().copied().collect()
}

#[test]
fn configuration_revisions_that_nothing_uses_are_forgotten() {
    let mut sim = with_configs(1..=100, 3, None);
    let newest: Vec<u64> = std::iter::once(3).chain(81..=100).collect();
    assert_eq!(configs(&sim), newest, "the one in use, and the newest");
    assert_rest(&mut sim);
    sim.patch_desired("webapp", &json!({ "config_version": 90 }));
    sim.settle();
    assert!(configs(&sim).contains(&3), "a rollout's record names it");

    let mut sim = with_configs(1..=5, 5, Some(1));
    assert_eq!(configs(&sim), [4, 5]);
    // What cannot be read may name any of them.
    sim.patch("/services/webapp", &json!({ "config": { "keep": 0 } }));
    sim.tree.put("/services/webapp/desired", "{");
    sim.settle();
    assert_eq!(configs(&sim), [4, 5]);
    // Nobody's node is deleted with what somebody put below it.
    sim.tree.put("/services/webapp/desired", "{\"config_version\":5}");
    sim.tree.put("/services/webapp/config/4/note", "mine");
    sim.settle();
    assert_eq!(configs(&sim), [4, 5]);
    sim.tree.delete_all("/services/webapp/config/4/note");
    sim.settle();
    assert_eq!(configs(&sim), [5]);
    assert_rest(&mut sim);
}
