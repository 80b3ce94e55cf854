#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::sim::cluster::Sim;

/// Six replicas, all of them on the first two of three hosts.
fn uneven(keys: &Value) -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    let mut spec = json!({ "unit": "webapp@.service", "rollout": { "min_healthy_time": "0s" } });
    spec.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    sim.service("webapp", &spec, &json!({ "replicas": 6, "version": "v1" }));
    sim.settle();
    sim.tree.put("/hosts/web3", "{}");
    sim.settle();
    sim
}

/// One replica beside two of another service, where it could have a host for itself.
fn beside_others(keys: &Value) -> Sim {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    let mut spec = json!({ "unit": "webapp@.service" });
    spec.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    sim.service("webapp", &spec, &json!({ "replicas": 1 }));
    sim.service("other", &json!({ "unit": "other@.service" }), &json!({ "replicas": 2 }));
    sim.settle();
    sim.tree.put("/hosts/web2", "{}");
    sim
}

/// The moves that are best now, as `6: web2`.
fn best(sim: &mut Sim, most: usize) -> Vec<String> {
    let context = sim.context();
    let moves = spread(&sim.cluster(), &context, &BTreeSet::new(), most);
    moves.iter().map(|it| format!("{}: {}", it.id.number.0, it.from)).collect()
}

fn pending(sim: &mut Sim) -> Option<Pending> {
    let context = sim.context();
    pending_moves(&sim.cluster(), &context, &BTreeSet::new()).remove(&"webapp".parse::<ServiceName>().unwrap())
}

fn ask(sim: &mut Sim, leave: &Value) {
    sim.tree.put("/services/webapp/moves", json!({ "leave": leave }).to_string());
}

#[test]
fn what_was_asked_before_is_chosen_again() {
    let mut sim = uneven(&json!({}));
    assert_eq!((best(&mut sim, 9), pending(&mut sim)), (vec!["6: web2".to_owned(), "5: web1".to_owned()], None));
    ask(&mut sim, &json!({ "6": "web2", "5": "web1" }));
    assert_eq!(best(&mut sim, 9), ["6: web2", "5: web1"], "though nobody has carried it out yet");
    assert_eq!(best(&mut sim, 1), ["6: web2"], "and they count for how many there may be");
    let leave: Vec<_> = pending(&mut sim).unwrap().leave.into_keys().map(|number| number.0).collect();
    assert_eq!(leave, [5, 6]);
}

#[test]
fn of_two_that_are_as_good_the_one_goes_that_was_asked_before() {
    let mut sim = uneven(&json!({}));
    ask(&mut sim, &json!({ "2": "web2", "1": "web1" }));
    assert_eq!(best(&mut sim, 9), ["2: web2", "1: web1"]);
}

#[test]
fn what_makes_no_sense_any_more_is_not_chosen_again() {
    let mut sim = uneven(&json!({}));
    ask(&mut sim, &json!({ "6": "web2", "5": "web1", "4": "web2" }));
    assert_eq!(best(&mut sim, 9), ["6: web2", "5: web1"], "a third would make it uneven again");
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    assert_eq!(best(&mut sim, 9), Vec::<String>::new(), "no host is better any more");
    assert_eq!(pending(&mut sim).unwrap().leave.len(), 3, "and they wait for one until they are taken back");
}

/// Asks again and again until all is done, as impatient operators do: what is done is the same as if they had not.
#[test]
fn asking_again_while_moves_are_under_way_changes_nothing() {
    let surge = json!({ "max_surge": 1, "min_healthy_time": "0s" });
    let never_missing = json!({ "max_unavailable": 0, "rollout": surge });
    let mut with_port = never_missing.clone();
    with_port["port"] = 8080.into();
    for keys in [json!({}), json!({ "placement": { "move": "start-first" } }), never_missing, with_port] {
        let crowded = !keys["port"].is_null();
        let mut sim = if crowded { beside_others(&keys) } else { uneven(&keys) };
        let services = BTreeSet::from(["webapp".parse().unwrap()]);
        let mut asked: Option<BTreeSet<ReplicaId>> = None;
        for round in 0.. {
            assert!(round < 100, "{keys}: it does not end: {:?}", sim.log);
            let context = sim.context();
            let moves = spread(&sim.cluster(), &context, &services, usize::MAX);
            let ids: BTreeSet<ReplicaId> = moves.iter().map(|it| it.id.clone()).collect();
            let first = asked.get_or_insert_with(|| ids.clone());
            assert!(!first.is_empty(), "{keys}");
            assert!(ids.is_subset(first), "{keys}: {ids:?} after {first:?}");
            let leave: BTreeMap<_, _> = moves.iter().map(|it| (it.id.number.0.to_string(), it.from.clone())).collect();
            ask(&mut sim, &json!(leave));
            if ids.is_empty() {
                break;
            }
            sim.round();
            let hosts: Vec<HostName> = sim.hosts.keys().cloned().collect();
            for host in &hosts {
                sim.step_agent(host.as_str());
            }
        }
        sim.settle();
        // What was taken back has not moved.
        let on_free_host = if crowded { "=web2" } else { "=web3" };
        let moved = sim.places("webapp").matches(on_free_host).count();
        assert_eq!(moved, asked.unwrap().len(), "{keys}: {}", sim.places("webapp"));
    }
}

#[test]
fn what_was_asked_of_a_service_whose_rollout_is_under_way_stays_asked() {
    let mut sim = uneven(&json!({ "rollout": { "canary": 1, "min_healthy_time": "0s" } }));
    ask(&mut sim, &json!({ "6": "web2", "2": "web3" }));
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    let now = pending(&mut sim).unwrap();
    assert_eq!((now.leave.len(), now.left_alone), (1, Some("the service's rollout is under way")));
    assert_eq!(best(&mut sim, 9), Vec::<String>::new());
    sim.patch_desired("webapp", &json!({ "version": "v1", "mode": "disabled" }));
    assert_eq!(pending(&mut sim).unwrap().left_alone, Some("the service is not enabled"));
}
