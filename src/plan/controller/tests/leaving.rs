//! Leaving a host in order: cordon, drain, and rules that a host no longer meets.

use serde_json::json;

use super::*;

#[test]
fn a_cordoned_host_keeps_what_it_has() {
    let mut sim = webapp(3);
    sim.tree.put("/hosts/web1", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_rest(&mut sim);
}

#[test]
fn a_draining_host_is_left_only_once_the_processes_are_gone() {
    let mut sim = webapp(3);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    let draining = sim.replica("webapp.0000000001").unwrap();
    assert_eq!((draining.mode.to_string().as_str(), draining.reason.as_str()), ("drain", "the host drains"));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2 2=web2 3=web3");
    assert_eq!(sim.replica("webapp.0000000001").unwrap().mode.to_string(), "enabled");
    assert_rest(&mut sim);
}

#[test]
fn a_drain_stays_within_the_budget() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 3 }));
    sim.settle();
    sim.tree.put("/hosts/web2", "");
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    let drained = (1..=3).filter(|number| {
        let id = format!("webapp.{number:010}");
        sim.replica(&id).unwrap().mode.to_string() == "drain"
    });
    assert_eq!(drained.count(), 1);
    assert_condition(&sim, "webapp", &["Waiting", "leaving (the host drains) waits: max_unavailable (1)"]);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2 2=web2 3=web2");
}

#[test]
fn without_another_host_a_drain_waits_and_says_so() {
    let mut sim = webapp_with(3, json!({ "placement": { "max_per_host": 1 } }));
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
    assert_eq!(sim.processes().matches("webapp").count(), 3);
    assert_condition(&sim, "webapp", &["Waiting: web1: the host drains, but no other host fits: 3 hosts", "2 full"]);
    assert_rest(&mut sim);
}

#[test]
fn when_the_other_host_vanishes_meanwhile_it_comes_back() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("webapp", &json!({ "unit": "webapp.service" }), &json!({}));
    sim.settle();
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().as_str()), ("1=web1", "web1:webapp.service"));
    assert_rest(&mut sim);
}

#[test]
fn a_drain_that_is_called_off_leaves_it_where_it_is() {
    let mut sim = webapp(1);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    sim.tree.put("/hosts/web1", "");
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), sim.processes().matches("webapp").count()), ("1=web1", 1));
}

#[test]
fn stopped_replicas_leave_a_draining_host_in_one_step() {
    let mut sim = webapp(3);
    sim.patch_desired("webapp", &json!({ "mode": "disabled" }));
    sim.settle();
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.round();
    assert_eq!(sim.places("webapp"), "1=web2 2=web2 3=web3");
    sim.settle();
    assert_eq!(sim.processes(), "");
}

#[test]
fn a_host_that_no_longer_meets_the_constraints_is_left() {
    let mut sim = webapp_with(3, json!({ "placement": { "constraints": ["!gpu"] } }));
    sim.tree.put("/hosts/web2", r#"{"labels":{"gpu":"yes"}}"#);
    sim.run_controller();
    assert_eq!(sim.replica("webapp.0000000002").unwrap().reason, "the host does not meet !gpu");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web1 3=web3");
}

#[test]
fn a_draining_host_that_is_lost_is_left_at_once_when_its_time_is_over() {
    let mut sim = webapp(1);
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.run_controller();
    sim.crash("web1");
    sim.live(11);
    assert_eq!(sim.places("webapp"), "1=web2");
    assert_eq!(sim.processes(), "web2:webapp@0000000001.service");
}

#[test]
fn spread_alone_moves_nothing() {
    let mut sim = webapp(3);
    for host in ["web1", "web2", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"labels":{"rack":"r1"}}"#);
    }
    sim.patch("/services/webapp", &json!({ "placement": { "spread": "rack" } }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=web3");
}

#[test]
fn replicas_that_leave_do_not_take_each_others_places_before_these_are_free() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    let keys = json!({ "unit": "beta@.service", "max_unavailable": 2, "placement": { "max_per_host": 1 } });
    sim.service("alpha", &json!({ "unit": "alpha@.service" }), &json!({ "replicas": 2 }));
    sim.service("beta", &keys, &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!((sim.places("alpha"), sim.places("beta")), ("1=web1 2=web2".into(), "1=web3 2=web1".into()));
    // Replica 1 could go to web1 or web2, replica 2 to web2 or web3; web1 and web3 are taken until they have left.
    sim.patch("/services/beta", &json!({ "placement": { "constraints": ["!old"], "max_per_host": 1 } }));
    for host in ["web1", "web3"] {
        sim.tree.put(&format!("/hosts/{host}"), r#"{"labels":{"old":"yes"}}"#);
    }
    sim.run_controller();
    let drains = |sim: &Sim, id: &str| sim.replica(id).unwrap().mode.to_string() == "drain";
    assert_eq!((drains(&sim, "beta.0000000001"), drains(&sim, "beta.0000000002")), (true, false));
    sim.settle();
    assert_eq!(sim.places("beta"), "1=web2 2=web1");
    assert_condition(&sim, "beta", &["Waiting: web1: the host does not meet !old", "1 full"]);
}
