//! What bounds a rollout holds, whatever else is done to the service: canaries, pauses, and what has been shown to serve.

use super::*;
use crate::sim::cluster::{FAILS, UNREADY};

/// How many replicas run a version, those that are on no host left out.
fn exposed(sim: &Sim, version: &str) -> usize {
    let cluster = sim.cluster();
    let view = &cluster.services[&"webapp".parse().unwrap()];
    let known = view.replicas.values().filter_map(|replica| replica.desired.as_ref()?.good());
    known.filter(|desired| desired.node.is_some() && desired.version.as_deref() == Some(version)).count()
}

fn off_and_on(sim: &mut Sim, mode: &str) {
    sim.patch_desired("webapp", &json!({ "mode": mode }));
    sim.live(20);
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.live(20);
}

fn ready(sim: &Sim) -> u32 {
    sim.status("webapp").ready
}

#[test]
fn to_switch_it_off_and_on_promotes_no_canary() {
    for mode in ["disabled", "drain"] {
        let mut sim = fleet(json!({ "canary": 1 }));
        want(&mut sim, "v2");
        sim.settle();
        off_and_on(&mut sim, mode);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"), "{mode}");
        order(&mut sim, 2, "promote");
        sim.settle();
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"), "{mode}");
    }
}

#[test]
fn what_is_wanted_while_it_is_off_begins_with_its_canary() {
    let mut sim = fleet(json!({ "canary": 1 }));
    sim.patch_desired("webapp", &json!({ "mode": "disabled", "version": "v2" }));
    sim.settle();
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
}

#[test]
fn to_switch_it_off_and_on_ends_no_pause() {
    for (policy, version, pause) in
        [(json!({ "on_failure": "pause" }), FAILS, ""), (json!({ "batches": [1], "batch_pause": "1h" }), "v2", "pause")]
    {
        let mut sim = fleet(policy);
        want(&mut sim, version);
        sim.settle();
        if !pause.is_empty() {
            order(&mut sim, 2, pause);
            sim.settle();
        }
        let before = versions(&sim);
        assert_eq!(state(&sim), "2 paused");
        off_and_on(&mut sim, "disabled");
        assert_eq!((versions(&sim), state(&sim)), (before, "2 paused".to_owned()));
        assert!(ready(&sim) >= 3, "what served before serves again");
    }
}

#[test]
fn what_is_on_no_host_is_no_canary() {
    let mut sim = webapp_with(
        4,
        json!({ "placement": { "max_per_host": 1 }, "max_unavailable": 2, "rollout": {
            "min_healthy_time": "0s", "canary": 1, "auto_promote": true, "batch_pause": "1h"
        } }),
    );
    assert_eq!(sim.places("webapp").matches("=-").count(), 1);
    want(&mut sim, "v2");
    for _ in 0..20 {
        sim.live(1);
        let healthy = record(&sim, 2).batch_done.is_some();
        assert!(!healthy || exposed(&sim, "v2") == 1, "healthy, and {} run it", exposed(&sim, "v2"));
    }
    assert_eq!(exposed(&sim, "v2"), 1);
}

#[test]
fn a_canary_is_no_larger_than_what_is_placed() {
    let mut sim = Sim::new(&["web1"]);
    let keys = json!({ "placement": { "max_per_host": 1 }, "max_unavailable": 4, "rollout": {
        "min_healthy_time": "0s", "canary": 2
    } });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 4, "version": "v1" }));
    sim.settle();
    want(&mut sim, "v2");
    sim.live(20);
    assert_eq!((exposed(&sim, "v2"), state(&sim).as_str()), (1, "2 paused"));
    assert_rest(&mut sim);
}

#[test]
fn a_canary_bounds_what_is_exposed_surge_included() {
    let mut sim = fleet(json!({ "canary": 1, "max_surge": 3 }));
    sim.patch("/services/webapp", &json!({ "max_unavailable": 0 }));
    sim.settle();
    want(&mut sim, "v2");
    for _ in 0..10 {
        sim.live(1);
        assert!(exposed(&sim, "v2") <= 1, "{}", versions(&sim));
    }
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1 [v2]", "2 paused"));
    order(&mut sim, 2, "promote");
    sim.live(20);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
    assert_rest(&mut sim);
}

/// What comes after a canary is no larger for that having been a surge replica.
#[test]
fn a_batch_after_a_canary_of_surge_replicas_is_as_large_as_any() {
    let mut sim = fleet(json!({ "canary": 1, "max_surge": 1, "batches": [1], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(versions(&sim), "v1 v1 v1 v1 [v2]");
    order(&mut sim, 2, "promote");
    for told in ["v2 v1 v1 v1 [v2]", "v2 v2 v1 v1 [v2]", "v2 v2 v2 v1 [v2]"] {
        sim.settle();
        assert_eq!(versions(&sim), told);
        sim.sleep(3601);
    }
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn one_replica_with_a_surge_replica_has_a_canary_too() {
    let mut sim = webapp_with(
        1,
        json!({ "max_unavailable": 0, "rollout": {
        "min_healthy_time": "0s", "canary": 1, "max_surge": 1
    } }),
    );
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 [v2]", "2 paused"));
    order(&mut sim, 2, "promote");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2", "2 completed"));
}

#[test]
fn a_canary_that_is_scaled_away_is_tried_again() {
    let mut sim = fleet(json!({ "canary": 1 }));
    want(&mut sim, "v2");
    sim.settle();
    let host = sim.replica("webapp.0000000001").unwrap().node.unwrap();
    sim.tree.put(&format!("/hosts/{host}"), r#"{"drain":true}"#);
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.live(5);
    assert_eq!((exposed(&sim, "v2"), state(&sim).as_str()), (1, "2 paused"), "{}", versions(&sim));
}

#[test]
fn scaling_down_takes_what_does_not_serve_first() {
    let mut sim = fleet(json!({}));
    want(&mut sim, UNREADY);
    sim.settle();
    assert_eq!((versions(&sim).as_str(), ready(&sim)), ("unready v1 v1 v1", 3));
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.run_controller();
    let cluster = sim.cluster();
    let view = &cluster.services[&"webapp".parse().unwrap()];
    let staying = view
        .replicas
        .iter()
        .filter(|(_, replica)| !replica.desired.as_ref().and_then(|doc| doc.good()).unwrap().removing);
    assert_eq!(staying.map(|(number, _)| number.0).collect::<Vec<_>>(), [2], "it serves");
}

#[test]
fn what_nobody_ran_is_nothing_to_go_back_to() {
    let mut sim = fleet(json!({}));
    want(&mut sim, FAILS);
    sim.round();
    sim.patch_desired("webapp", &json!({ "replicas": 0 }));
    sim.live(700);
    assert_eq!((sim.places("webapp").as_str(), state(&sim).as_str()), ("", "2 paused"));
    assert_eq!(sim.status("webapp").summary.to_string(), "healthy");
    sim.patch_desired("webapp", &json!({ "replicas": 3 }));
    sim.live(700);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1", "2 rolled_back"));
}

#[test]
fn scaled_from_nothing_what_was_before_need_not_start_once_more() {
    let mut sim = fleet(json!({}));
    sim.patch_desired("webapp", &json!({ "replicas": 0 }));
    sim.settle();
    want(&mut sim, "v2");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "replicas": 3 }));
    sim.log.clear();
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2", "2 completed"));
    assert!(!sim.log.iter().any(|reason| reason.contains("v1 →")), "{:#?}", sim.log);
}

#[test]
fn going_back_by_hand_ends_as_wanted_whatever_happens_on_the_way() {
    let mut sim = fleet(json!({ "batches": [2], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    want(&mut sim, "v1");
    sim.round();
    sim.round();
    let host = sim.replica("webapp.0000000001").unwrap().node.unwrap().to_string();
    sim.hosts.values_mut().for_each(|host| _ = host.setup.failing.insert("webapp".parse().unwrap()));
    sim.power_cycle(&host);
    sim.live(5);
    sim.hosts.values_mut().for_each(|host| host.setup.failing.clear());
    sim.live(700);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "3 completed"));
    assert_eq!(sim.status("webapp").summary.to_string(), "healthy");
}

#[test]
fn no_deadline_runs_without_a_leader() {
    let mut sim = fleet(json!({ "healthy_deadline": "60s", "progress_deadline": "90s", "min_healthy_time": "10s" }));
    want(&mut sim, "v2");
    sim.live(5);
    sim.sleep(4000);
    sim.another_leads();
    sim.live(200);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

/// The process was stopped, ZooKeeper was out of reach, or the clock was set ahead: nobody has looked either.
#[test]
fn no_deadline_runs_while_the_leader_sees_nothing() {
    for told in [true, false] {
        let mut sim =
            fleet(json!({ "healthy_deadline": "60s", "progress_deadline": "90s", "min_healthy_time": "10s" }));
        sim.live(20);
        want(&mut sim, "v2");
        sim.live(5);
        // Not as `sleep` would, where the leader looks when a plan is due.
        sim.now = sim.now.checked_add(std::time::Duration::from_secs(4000)).unwrap();
        if told {
            sim.leader.lead_from(sim.now);
        }
        sim.live(200);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"), "{:#?}", sim.log);
    }
}

/// A plan that is late for work alone loses no time.
#[test]
fn a_leader_that_looks_when_it_should_lets_deadlines_pass() {
    let mut sim = fleet(json!({ "healthy_deadline": "60s", "progress_deadline": "90s", "min_healthy_time": "10s" }));
    sim.live(20);
    want(&mut sim, UNREADY);
    sim.settle();
    for _ in 0..3 {
        sim.now = sim.now.checked_add(std::time::Duration::from_secs(40)).unwrap();
        sim.settle();
    }
    assert!(record(&sim, 2).back, "{:?}", record(&sim, 2));
}

/// What runs by a rollout that was superseded before its end serves as well: with surge replicas, none of it is missing.
#[test]
fn what_supersedes_the_first_rollout_comes_to_an_end_though_none_may_be_missing() {
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
    let policy = json!({ "max_surge": 1, "min_healthy_time": "0s" });
    let spec = json!({ "unit": "webapp@.service", "max_unavailable": 0, "rollout": policy });
    sim.service("webapp", &spec, &json!({ "replicas": 2, "version": "v1" }));
    // Both run, and no controller has seen it.
    sim.run_controller();
    sim.run_agents();
    want(&mut sim, "v2");
    sim.live(5);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2", "2 completed"), "{:#?}", sim.log);
}

#[test]
fn no_word_is_lost_that_was_said_before_another() {
    for (first, second, expected) in [("abort", "pause", "2 paused"), ("pause", "abort", "2 rolled_back")] {
        let mut sim = fleet(json!({ "batches": [1], "batch_pause": "1h" }));
        want(&mut sim, "v2");
        sim.settle();
        order(&mut sim, 2, first);
        // As the command line does while no controller has heard the first.
        let path = "/services/webapp/rollouts";
        let before: crate::model::RolloutOrder = decode(sim.tree.get(path).unwrap()).unwrap();
        let version = sim.tree.version(path).unwrap();
        let next = decode::<crate::model::RolloutOrder>(
            json!({ "rollout": 2, "action": second, "by": "bob" }).to_string().as_bytes(),
        )
        .unwrap()
        .after(&before, version, record(&sim, 2).order);
        assert_eq!(next.earlier.len(), 1);
        sim.tree.put(path, serde_json::to_string(&next).unwrap());
        sim.settle();
        assert_eq!(state(&sim), expected, "{first}, {second}");
        assert!(record(&sim, 2).back, "{first}, {second}: it was aborted");
        let heard = next.clone().after(&next, sim.tree.version(path).unwrap(), record(&sim, 2).order);
        assert_eq!(heard.earlier.len(), if record(&sim, 2).order.is_some() { 1 } else { 2 });
    }
}

#[test]
fn a_deadline_names_what_takes_up_the_budget() {
    let mut sim = webapp_with(
        4,
        json!({ "placement": { "max_per_host": 1 }, "rollout": { "min_healthy_time": "0s", "healthy_deadline": "30s", "progress_deadline": "1m" } }),
    );
    want(&mut sim, "v2");
    sim.live(100);
    assert_condition(&sim, "webapp", &["replica 4 is on no host", "max_unavailable (1) lets no other be changed"]);
}

/// One host of four is broken, and only for what is new.
fn with_a_broken_host(policy: Value, broken: &[&str]) -> Sim {
    let hosts = ["web1", "web2", "web3", "web4"];
    let mut sim = Sim::new(&hosts);
    let mut rollout = json!({ "min_healthy_time": "0s" });
    rollout.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
    sim.service("webapp", &spec(json!({ "rollout": rollout })), &json!({ "replicas": 4, "version": "v1" }));
    sim.settle();
    for host in broken {
        sim.host(host).setup.failing.insert("webapp".parse().unwrap());
    }
    sim
}

#[test]
fn what_follows_a_host_is_the_hosts_fault() {
    let mut sim = with_a_broken_host(json!({}), &["web2"]);
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(state(&sim), "2 completed");
    assert!(!sim.places("webapp").contains("web2"), "{}", sim.places("webapp"));
}

#[test]
fn a_second_host_is_tried_before_a_revision_is_judged_by_one() {
    let mut sim = with_a_broken_host(json!({}), &[]);
    want(&mut sim, FAILS);
    sim.settle();
    assert_eq!(state(&sim), "2 rolled_back");
    let reason = record(&sim, 2).reason;
    assert!(reason.starts_with("replica 1 on web2 is failed, as on web1: webapp@0000000001.service failed (exit-code): exited with status 1"), "{reason}");
    // Where there is no other host, one is enough.
    let placement = json!({ "placement": { "max_per_host": 1 }, "rollout": { "min_healthy_time": "0s" } });
    let mut sim = webapp_with(3, placement);
    want(&mut sim, FAILS);
    sim.settle();
    assert_eq!(state(&sim), "2 rolled_back");
    assert!(
        record(&sim, 2).reason.starts_with(
            "replica 1 on web1 is failed: webapp@0000000001.service failed (exit-code): exited with status 1"
        ),
        "{:?}",
        record(&sim, 2)
    );
}

#[test]
fn so_many_failures_as_max_failures_are_forgiven() {
    for (max, broken, expected) in [
        (json!(0), &["web2", "web3"][..], "rolled back"),
        (json!(1), &["web2", "web3"][..], "rolled back"),
        (json!(1), &["web3"][..], "completed"),
        (json!("25%"), &["web3"][..], "completed"),
        (json!("24%"), &["web3"][..], "rolled back"),
        (json!(2), &["web2", "web3"][..], "completed"),
    ] {
        let mut sim = with_a_broken_host(json!({ "max_failures": max }), broken);
        // One on each host: there is no other to try.
        sim.patch("/services/webapp", &json!({ "placement": { "max_per_host": 1 } }));
        want(&mut sim, "v2");
        sim.settle();
        assert_eq!(record(&sim, 2).back, expected == "rolled back", "{max} {broken:?}: {:?}", record(&sim, 2));
        if expected == "completed" {
            assert_eq!(state(&sim), "2 completed", "{max} {broken:?}: {:?}", record(&sim, 2));
            let healthy = u32::try_from(4 - broken.len()).unwrap();
            assert_eq!(
                (record(&sim, 2).healthy, versions(&sim).as_str()),
                (healthy, "v2 v2 v2 v2"),
                "{max} {broken:?}"
            );
            assert_condition(&sim, "webapp", &["Failed", "web3"]);
            assert!(sim.log.iter().any(|it| it.contains("that failed (max_failures)")), "{:?}", sim.log);
        }
    }
}

#[test]
fn no_failure_of_a_canary_is_forgiven() {
    let mut sim = with_a_broken_host(json!({ "canary": 1, "max_failures": "50%" }), &["web1"]);
    sim.patch("/services/webapp", &json!({ "placement": { "max_per_host": 1 } }));
    want(&mut sim, "v2");
    sim.settle();
    assert!(record(&sim, 2).back, "{:?}", record(&sim, 2));
}

#[test]
fn what_failed_is_not_completed_by_wanting_none() {
    let mut sim = fleet(json!({ "on_failure": "pause" }));
    want(&mut sim, FAILS);
    sim.settle();
    assert_eq!(state(&sim), "2 paused");
    sim.patch_desired("webapp", &json!({ "replicas": 0 }));
    sim.settle();
    assert_eq!(state(&sim), "2 paused");
    order(&mut sim, 2, "abort");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1", "2 rolled_back"));
}

/// Also when the unit itself is another with what is new: what is added, and what has to move, is told it in its turn.
#[test]
fn a_canary_of_another_unit_bounds_what_is_exposed_too() {
    let mut sim = fleet(json!({ "canary": 1 }));
    let units = |sim: &Sim| sim.processes().matches("other@").count();
    sim.patch("/services/webapp", &json!({ "unit": "other@.service", "lost_after": "1s" }));
    sim.settle();
    assert_eq!((units(&sim), state(&sim).as_str()), (1, "2 paused"));
    sim.patch_desired("webapp", &json!({ "replicas": 6 }));
    sim.settle();
    assert_eq!((units(&sim), ready(&sim)), (1, 6), "{}", sim.processes());
    let others = sim.places("webapp").split_once("1=web1 ").map(|(_, others)| others.matches("web2").count());
    assert!(others.is_some_and(|others| others > 0), "{}", sim.places("webapp"));
    sim.crash("web2");
    sim.live(30);
    assert_eq!((units(&sim), ready(&sim), state(&sim).as_str()), (1, 6, "2 paused"), "{}", sim.processes());
    order(&mut sim, 2, "promote");
    sim.live(30);
    assert_eq!((units(&sim), ready(&sim), state(&sim).as_str()), (6, 6, "2 completed"), "{}", sim.processes());
    assert_rest(&mut sim);
}

/// What would be refused everywhere keeps nobody from running what was before elsewhere.
#[test]
fn while_it_is_not_updated_a_replica_moves_as_what_it_is() {
    let mut sim = fleet(json!({ "on_failure": "pause" }));
    allow_only(&mut sim, "webapp@.service");
    sim.patch("/services/webapp", &json!({ "unit": "webap@.service", "lost_after": "1s" }));
    sim.settle();
    assert_eq!((ready(&sim), state(&sim).as_str()), (3, "2 paused"));
    sim.crash("web2");
    sim.live(30);
    assert_eq!(sim.places("webapp").matches("web2").count(), 0, "{}", sim.places("webapp"));
    assert_eq!(ready(&sim), 3, "{:#?}", sim.status("webapp"));
}

/// Nor does one that found no place before become one more, whenever there is a place for it.
#[test]
fn a_canary_does_not_grow_by_what_found_no_place_at_first() {
    for rounds in 0..8 {
        let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
        sim.cut("web4");
        let keys = json!({ "placement": { "max_per_host": 1 }, "rollout": {
            "min_healthy_time": "0s", "canary": 1, "max_surge": 1
        } });
        sim.service("webapp", &spec(keys), &json!({ "replicas": 3, "version": "v1" }));
        sim.settle();
        want(&mut sim, "v2");
        (0..rounds).for_each(|_| _ = sim.round());
        sim.boot("web4");
        sim.run_agents();
        while sim.round() {
            assert!(exposed(&sim, "v2") <= 1, "after {rounds} rounds: {}", versions(&sim));
        }
        sim.settle();
        assert_eq!((exposed(&sim, "v2"), state(&sim).as_str()), (1, "2 paused"), "{rounds}: {}", versions(&sim));
        order(&mut sim, 2, "promote");
        sim.live(20);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2", "2 completed"), "{rounds}");
    }
}

#[test]
fn while_it_is_paused_nobody_gets_a_place_with_what_failed() {
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
    sim.cut("web4");
    let keys = json!({ "placement": { "max_per_host": 1 }, "rollout": {
        "min_healthy_time": "0s", "max_surge": 1, "on_failure": "pause"
    } });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 3, "version": "v1" }));
    sim.settle();
    want(&mut sim, FAILS);
    sim.settle();
    assert_eq!((exposed(&sim, FAILS), state(&sim).as_str()), (1, "2 paused"), "{}", versions(&sim));
    sim.boot("web4");
    sim.settle();
    assert_eq!((exposed(&sim, FAILS), state(&sim).as_str()), (1, "2 paused"), "{}", versions(&sim));
}

/// A canary that the policy has only now bounds nothing of a rollout that has ended.
#[test]
fn what_has_ended_is_on_no_canary() {
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
    for host in ["web2", "web3", "web4"] {
        sim.cut(host);
    }
    let keys = |canary: u32| {
        let rollout = json!({ "min_healthy_time": "0s", "canary": canary });
        spec(json!({ "placement": { "max_per_host": 1 }, "max_unavailable": 4, "rollout": rollout }))
    };
    sim.service("webapp", &keys(0), &json!({ "replicas": 4, "version": "v1" }));
    sim.settle();
    want(&mut sim, "v2");
    sim.live(10);
    assert_eq!((ready(&sim), state(&sim).as_str()), (1, "2 completed"));
    sim.patch("/services/webapp", &keys(1));
    sim.settle();
    for host in ["web2", "web3", "web4"] {
        sim.boot(host);
    }
    sim.run_agents();
    sim.round();
    assert_eq!(exposed(&sim, "v2"), 4, "all at once: {:#?}", sim.status("webapp"));
}

/// Four replicas, one a host, of which there is none to spare.
fn no_spare(rollout: Value, max_unavailable: u32) -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
    let keys = json!({ "placement": { "max_per_host": 1 }, "max_unavailable": max_unavailable, "rollout": rollout });
    sim.service("webapp", &spec(keys), &json!({ "replicas": 4, "version": "v1" }));
    sim.settle();
    sim
}

#[test]
fn a_lost_host_keeps_nothing_that_was_aborted() {
    for failures in [0, 1] {
        let policy = json!({ "min_healthy_time": "0s", "batches": [3], "batch_pause": "1h", "max_failures": failures });
        let mut sim = no_spare(policy, 1);
        want(&mut sim, "v2");
        sim.live(5);
        assert_eq!(versions(&sim), "v2 v2 v2 v1");
        if failures == 0 {
            sim.crash("web4");
        } else {
            sim.host("web4").setup.failing.insert("webapp".parse().unwrap());
            sim.power_cycle("web4");
        }
        order(&mut sim, 2, "abort");
        sim.live(60);
        assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"), "{:#?}", sim.log);
    }
}

#[test]
fn a_host_that_nothing_replaces_holds_no_rollout_up() {
    let policy = json!({ "min_healthy_time": "0s", "progress_deadline": "90s", "healthy_deadline": "60s" });
    let mut sim = no_spare(policy.clone(), 2);
    sim.crash("web4");
    sim.live(60);
    want(&mut sim, "v2");
    sim.live(200);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"), "{:#?}", sim.log);
    // With nothing to spare, it is named.
    let mut sim = no_spare(policy, 1);
    sim.crash("web4");
    sim.live(60);
    want(&mut sim, "v2");
    sim.live(200);
    assert!(state(&sim).starts_with("2 rolled_back"), "{:#?}", sim.log);
    let reason = record(&sim, 2).reason;
    assert!(reason.contains("replica 4 is on web4, which is lost"), "{reason}");
}

#[test]
fn no_scaling_promotes_a_canary() {
    let mut sim = fleet(json!({ "canary": 1 }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.live(20);
    // What has been shown to serve stays, and the canary is sought again among what is left.
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2", "2 paused"), "{:#?}", sim.log);
    let host = sim.hosts.keys().find(|host| sim.places("webapp").contains(host.as_str())).unwrap().to_string();
    sim.power_cycle(&host);
    sim.live(20);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2", "2 paused"), "{:#?}", sim.log);
    sim.patch_desired("webapp", &json!({ "replicas": 4 }));
    sim.live(20);
    assert_eq!((exposed(&sim, "v2"), state(&sim).as_str()), (1, "2 paused"), "{:#?}", sim.log);
    order(&mut sim, 2, "promote");
    sim.live(20);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn what_was_given_up_goes_before_what_serves() {
    let mut sim = fleet(json!({ "batches": [3], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    order(&mut sim, 2, "abort");
    sim.round();
    order(&mut sim, 2, "pause");
    sim.settle();
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v1 v1", "2 paused"), "{:#?}", sim.log);
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.settle();
    assert_eq!(versions(&sim), "v1", "{:#?}", sim.log);
}

#[test]
fn a_pause_that_is_said_while_it_is_off_holds_when_it_is_on() {
    let mut sim = fleet(json!({ "batches": [1], "batch_pause": "20s" }));
    want(&mut sim, "v2");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    order(&mut sim, 2, "pause");
    sim.settle();
    sim.patch_desired("webapp", &json!({ "mode": "enabled" }));
    sim.live(100);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v1 v1 v1", "2 paused"));
    order(&mut sim, 2, "resume");
    sim.live(100);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

#[test]
fn a_canary_that_waits_may_be_told_to_promote_itself() {
    let mut sim = fleet(json!({ "canary": 1 }));
    want(&mut sim, "v2");
    sim.settle();
    sim.patch(
        "/services/webapp",
        &json!({ "rollout": { "canary": 1, "auto_promote": true, "min_healthy_time": "0s" } }),
    );
    sim.live(20);
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v2 v2 v2 v2", "2 completed"));
}

/// Begun while one might be missing, given up when none may: others are started first on the way back, too.
#[test]
fn where_none_may_be_missing_the_way_back_starts_others_first() {
    let mut sim = fleet(json!({ "batches": [2], "batch_pause": "1h" }));
    want(&mut sim, "v2");
    sim.settle();
    assert_eq!(versions(&sim), "v2 v2 v1 v1");
    let policy = json!({ "batches": [2], "batch_pause": "1h", "min_healthy_time": "0s", "max_surge": 1 });
    sim.patch("/services/webapp", &json!({ "max_unavailable": 0, "rollout": policy }));
    order(&mut sim, 2, "abort");
    sim.run_agents();
    for _ in 0..100 {
        sim.round();
        sim.run_agents();
        assert!(ready(&sim) >= 4, "{:#?}", sim.log);
    }
    assert_eq!((versions(&sim).as_str(), state(&sim).as_str()), ("v1 v1 v1 v1", "2 rolled_back"), "{:#?}", sim.log);
}

/// Two of three failed as what is given up, and are brought back at once: the last that serves waits until they do. If they fail
/// as what was before, too, nobody waits for them any more.
#[test]
fn what_failed_as_what_is_given_up_may_serve_as_what_was_before() {
    for fails_still in [false, true] {
        let mut sim = Sim::new(&["web1", "web2", "web3"]);
        let keys = json!({ "max_unavailable": 2, "rollout": { "min_healthy_time": "60s", "on_failure": "pause" } });
        sim.service("webapp", &spec(keys), &json!({ "replicas": 3, "version": "v1" }));
        sim.live(90);
        want(&mut sim, "v2");
        sim.live(30);
        assert_eq!((versions(&sim).as_str(), ready(&sim)), ("v2 v2 v1", 3));
        sim.live(60);
        assert_eq!((versions(&sim).as_str(), ready(&sim)), ("v2 v2 v2", 3));
        // They fail where they are.
        sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
        for host in ["web1", "web2"] {
            sim.host(host).setup.failing.insert("webapp".parse().unwrap());
            sim.power_cycle(host);
        }
        sim.live(10);
        assert_eq!(ready(&sim), 1, "{:#?}", sim.log);
        for host in ["web1", "web2"].iter().filter(|_| !fails_still) {
            sim.host(host).setup.failing.clear();
        }
        order(&mut sim, 2, "abort");
        sim.run_controller();
        assert_eq!(versions(&sim), "v1 v1 v2", "{:#?}", sim.log);
        sim.live(60);
        assert_eq!(
            (versions(&sim).as_str(), ready(&sim)),
            ("v1 v1 v1", if fails_still { 1 } else { 3 }),
            "{:#?}",
            sim.log
        );
    }
}
