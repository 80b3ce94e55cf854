#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::cli::{fixture, fleet::Fleet};

/// Four replicas that run what rollout 1 brought, the third of them not ready.
fn tree() -> BTreeMap<String, crate::tree::node::Node> {
    let mut tree = BTreeMap::new();
    let mut put = |path: String, document: Value| tree.insert(path, fixture::node(&document, 0));
    put("/services/webapp".into(), json!({"unit": "webapp@.service"}));
    put("/services/webapp/rollouts/0000000001".into(), fixture::rollout("completed", "v1", 7));
    for number in 1..=4 {
        let desired = json!({"mode": "enabled", "version": "v1", "config_version": 7, "node": "web1", "rollout": 1});
        put(format!("/services/webapp/{number:010}/desired"), desired);
        if number != 3 {
            let instance = json!({"replica": number, "started": "2026-11-22T18:00:00Z"});
            put(format!("/services/webapp/instances/web{number}"), instance);
        }
    }
    tree
}

fn forecast(spec: &Value, desired: &Value) -> Option<Forecast> {
    let mut description = json!({"unit": "webapp@.service"});
    description.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut wanted = json!({"version": "v1", "config_version": 7, "replicas": 4});
    wanted.as_object_mut().unwrap().extend(desired.as_object().unwrap().clone());
    let fleet = Fleet::of(&tree());
    let service = fleet.services.values().next().unwrap();
    let (spec, desired) = (serde_json::from_value(description).unwrap(), serde_json::from_value(wanted).unwrap());
    Forecast::of(service, &spec, &desired, &BTreeSet::new())
}

fn groups(forecast: &Forecast) -> Vec<Vec<u32>> {
    forecast.batches.iter().map(|batch| batch.replicas.iter().map(|number| number.0).collect()).collect()
}

#[test]
fn what_replicas_run_by_makes_a_rollout_and_nothing_else() {
    let plain = json!({});
    assert!(forecast(&plain, &plain).is_none());
    assert!(forecast(&json!({"max_unavailable": 2, "lost_after": "1m"}), &json!({"replicas": 5})).is_none());
    let next = forecast(&plain, &json!({"version": "v2"})).unwrap();
    assert_eq!((next.number, next.from, next.disruptive, next.min_ready), (2, Some(1), true, 3));
    assert_eq!(groups(&next), [[3, 1, 2, 4]], "what serves nobody comes first");
}

#[test]
fn each_change_has_what_it_takes() {
    let action = |spec: Value, desired: Value| forecast(&spec, &desired).unwrap().replicas[0].action;
    assert_eq!(action(json!({}), json!({"version": "v2"})), Action::Restart);
    assert_eq!(action(json!({"environment": {"A": "1"}}), json!({})), Action::Restart);
    assert_eq!(action(json!({}), json!({"config_version": 8})), Action::Reload);
    assert_eq!(action(json!({"drain_time": "1s"}), json!({})), Action::Adopt);
    assert!(!forecast(&json!({"drain_time": "1s"}), &json!({})).unwrap().disruptive);
    assert!(!forecast(&json!({}), &json!({"version": "v2", "mode": "disabled"})).unwrap().disruptive);
}

#[test]
fn canary_and_batches_cut_the_queue() {
    let spec = json!({"rollout": {"canary": 1, "batches": [1, "50%"], "batch_pause": "30s", "max_failures": 1}});
    let next = forecast(&spec, &json!({"version": "v2"})).unwrap();
    assert_eq!(groups(&next), [vec![3], vec![1], vec![2, 4]]);
    assert_eq!((next.surge, next.promotion, next.batches[1].pause), (0, true, Span::from_secs(30)));
    assert_eq!(next.replicas[3], Step { replica: ReplicaNumber(4), action: Action::Restart, batch: 3 });
    assert_eq!(next.max_failures, 1);
}

/// As in the controller's `surge_wanted` and `batch_left`.
#[test]
fn surge_replicas_are_the_first_of_the_canary() {
    let surge = |canary: u32, max_surge: u32| {
        let spec = json!({"rollout": {"canary": canary, "batches": [1, "50%"], "max_surge": max_surge}});
        let next = forecast(&spec, &json!({"version": "v2"})).unwrap();
        assert_eq!((next.surge, next.promotion), (usize::try_from(max_surge).unwrap(), true));
        assert!(next.batches[1..].iter().all(|batch| batch.surge == 0));
        (next.batches[0].surge, groups(&next))
    };
    assert_eq!(surge(1, 1), (1, vec![vec![], vec![3], vec![1, 2], vec![4]]));
    assert_eq!(surge(1, 2), (1, vec![vec![], vec![3], vec![1, 2], vec![4]]));
    assert_eq!(surge(2, 1), (1, vec![vec![3], vec![1], vec![2, 4]]));
    // What was healthy before needs no canary, and what is the first of its kind has none started beside it.
    let back = json!({"rollout": {"canary": 0, "max_surge": 1}});
    assert_eq!(groups(&forecast(&back, &json!({"version": "v2"})).unwrap()), [[3, 1, 2, 4]]);
}

#[test]
fn what_is_removed_is_not_updated() {
    let fleet = Fleet::of(&tree());
    let service = fleet.services.values().next().unwrap();
    let spec = serde_json::from_value(json!({"unit": "webapp@.service"})).unwrap();
    let desired = serde_json::from_value(json!({"version": "v2", "config_version": 7, "replicas": 2})).unwrap();
    let removed = BTreeSet::from([ReplicaNumber(3), ReplicaNumber(1)]);
    let next = Forecast::of(service, &spec, &desired, &removed).unwrap();
    assert_eq!((groups(&next), next.existing), (vec![vec![2, 4]], 2));
}
