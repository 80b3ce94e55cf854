#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    cli::{fixture, fleet::Fleet},
    model::{ServiceName, encode},
    plan::controller::{Changes, Terms, preview},
    tree::{copy::Znode, layout, node::Node},
};

/// Four replicas on as many hosts, which run what rollout 1 brought; the third of them is not ready.
fn tree() -> BTreeMap<String, Node> {
    let mut tree = BTreeMap::new();
    let mut put = |path: String, document: Value| tree.insert(path, fixture::node(&document, 0));
    for root in layout::ROOTS {
        put(root.to_owned(), json!({}));
    }
    let desired = json!({"mode": "enabled", "version": "v1", "config_version": 7, "replicas": 4});
    let service = json!({"unit": "webapp@.service"});
    put("/services/webapp".into(), service.clone());
    put("/services/webapp/desired".into(), desired.clone());
    put("/services/webapp/status".into(), json!({"accepted": {"service": service, "desired": desired}}));
    put("/services/webapp/instances".into(), json!({}));
    put("/services/webapp/rollouts".into(), json!({}));
    put("/services/webapp/rollouts/0000000001".into(), fixture::rollout("completed", "v1", 7));
    for number in 1..=4 {
        let (host, replica) = (format!("web{number}"), format!("/services/webapp/{number:010}"));
        put(replica.clone(), json!({}));
        let run = json!({"mode": "enabled", "version": "v1", "config_version": 7});
        let with = |keys: Value| {
            let mut document = run.clone();
            document.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            document
        };
        put(format!("{replica}/desired"), with(json!({"node": host, "rollout": 1})));
        put(format!("/hosts/{host}"), json!({}));
        let alive =
            json!({"version": "1", "machine_id": "m", "boot_id": "b", "pid": 1, "started": "2026-11-22T17:00:00Z"});
        put(format!("/hosts/{host}/alive"), alive);
        put(format!("/hosts/{host}/assigned"), json!({}));
        let unit = format!("webapp@{number:010}.service");
        put(format!("/hosts/{host}/assigned/webapp.{number:010}"), with(json!({"unit": unit, "template": {}})));
        let status = json!({"state": "running", "node": host, "version": "v1", "config_version": 7, "assignment": 0,
                            "ready": number != 3, "updated": "2026-11-22T18:00:00Z"});
        put(format!("{replica}/status"), status);
        if number != 3 {
            let instance = json!({"replica": number, "started": "2026-11-22T18:00:00Z"});
            put(format!("/services/webapp/instances/{host}"), instance);
        }
    }
    tree
}

fn merged(mut document: Value, keys: &Value) -> Value {
    document.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    document
}

fn foreseen(tree: &BTreeMap<String, Node>, spec: &Value, desired: &Value) -> (Option<Outlook>, Report) {
    let spec = merged(json!({"unit": "webapp@.service"}), spec);
    let desired = merged(json!({"mode": "enabled", "version": "v1", "config_version": 7, "replicas": 4}), desired);
    let document = |path: &str, document: &Value| (path.to_owned(), encode(document));
    let documents = vec![document("/services/webapp", &spec), document("/services/webapp/desired", &desired)];
    let znode = |node: &Node| Znode { data: node.data.clone(), version: node.version, created: 10 };
    let nodes = tree.iter().map(|(path, node)| (path.clone(), znode(node)));
    let now: Timestamp = fixture::now();
    let report = preview(nodes, &Changes { documents, ..Changes::default() }, now, &Terms::default()).unwrap();
    let fleet = Fleet::of(tree);
    let name: ServiceName = "webapp".parse().unwrap();
    let (spec, desired) = (serde_json::from_value(spec).unwrap(), serde_json::from_value(desired).unwrap());
    (Outlook::of(&name, &fleet.services[&name], (&spec, &desired), &report), report)
}

fn outlook(spec: &Value, desired: &Value) -> Option<Outlook> {
    foreseen(&tree(), spec, desired).0
}

fn groups(outlook: &Outlook) -> Vec<Vec<u32>> {
    outlook.batches.iter().map(|batch| batch.replicas.iter().map(|number| number.0).collect()).collect()
}

#[test]
fn what_replicas_run_by_makes_a_rollout_and_nothing_else() {
    let plain = json!({});
    assert!(outlook(&plain, &plain).is_none());
    assert!(outlook(&json!({"max_unavailable": 2, "lost_after": "1m"}), &json!({"replicas": 5})).is_none());
    let next = outlook(&plain, &json!({"version": "v2"})).unwrap();
    assert_eq!((next.number, next.from, next.disruptive, next.min_ready), (2, Some(1), true, 3));
    assert_eq!(groups(&next), [[3, 1, 2, 4]], "what serves nobody comes first");
    assert!(next.completes);
}

#[test]
fn each_change_has_what_it_takes() {
    let action = |spec: Value, desired: Value| outlook(&spec, &desired).unwrap().replicas[0].action;
    assert_eq!(action(json!({}), json!({"version": "v2"})), UpdateAction::Restart);
    assert_eq!(action(json!({"environment": {"A": "1"}}), json!({})), UpdateAction::Restart);
    assert_eq!(action(json!({}), json!({"config_version": 8})), UpdateAction::Reload);
    assert_eq!(action(json!({"drain_time": "1s"}), json!({})), UpdateAction::Adopt);
    assert!(!outlook(&json!({"drain_time": "1s"}), &json!({})).unwrap().disruptive);
    assert!(!outlook(&json!({}), &json!({"version": "v2", "mode": "disabled"})).unwrap().disruptive);
}

#[test]
fn canary_and_batches_cut_the_queue() {
    let spec = json!({"rollout": {"canary": 1, "batches": [1, "50%"], "batch_pause": "30s", "max_failures": 1}});
    let next = outlook(&spec, &json!({"version": "v2"})).unwrap();
    assert_eq!(groups(&next), [vec![3], vec![1], vec![2, 4]]);
    assert_eq!((next.surge, next.promotion, next.batches[1].pause), (0, true, Span::from_secs(30)));
    assert_eq!(next.replicas[3], Step { replica: ReplicaNumber(4), action: UpdateAction::Restart, batch: 3 });
    assert_eq!(next.max_failures, 1);
}

#[test]
fn surge_replicas_are_the_first_of_the_canary() {
    let surge = |canary: u32, max_surge: u32| {
        let spec = json!({"rollout": {"canary": canary, "batches": [1, "50%"], "max_surge": max_surge}});
        let next = outlook(&spec, &json!({"version": "v2"})).unwrap();
        assert_eq!((next.surge, next.promotion), (usize::try_from(max_surge).unwrap(), true));
        assert!(next.batches[1..].iter().all(|batch| batch.surge == 0));
        (next.batches[0].surge, groups(&next))
    };
    assert_eq!(surge(1, 1), (1, vec![vec![], vec![3], vec![1, 2], vec![4]]));
    assert_eq!(surge(1, 2), (1, vec![vec![], vec![3], vec![1, 2], vec![4]]));
    assert_eq!(surge(2, 1), (1, vec![vec![3], vec![1], vec![2, 4]]));
    // What was healthy before needs no canary, and what is the first of its kind has none started beside it.
    let back = json!({"rollout": {"canary": 0, "max_surge": 1}});
    assert_eq!(groups(&outlook(&back, &json!({"version": "v2"})).unwrap()), [[3, 1, 2, 4]]);
}

#[test]
fn what_is_removed_is_not_updated() {
    let tree = tree();
    let (next, report) = foreseen(&tree, &json!({}), &json!({"version": "v2", "replicas": 2}));
    let (next, name) = (next.unwrap(), "webapp".parse().unwrap());
    assert_eq!((groups(&next), next.existing), (vec![vec![1, 2]], 2));
    let gone = removed(&name, &Fleet::of(&tree).services[&name], &report);
    assert_eq!(gone, BTreeSet::from([ReplicaNumber(3), ReplicaNumber(4)]));
}

/// As a person reads it, where one of the hosts is lost and the service shrinks.
#[test]
fn a_lost_host_is_part_of_it() {
    let mut tree = tree();
    tree.remove("/hosts/web1/alive");
    tree.remove("/services/webapp/instances/web1");
    let spec = json!({"rollout": {"canary": 1, "max_surge": 2, "max_failures": 1}});
    let (next, report) = foreseen(&tree, &spec, &json!({"version": "v2", "replicas": 3}));
    let (next, name) = (next.unwrap(), "webapp".parse().unwrap());
    let lines = super::super::words::lines(&name, &next).join("\n");
    insta::assert_snapshot!(lines, @"
    action:   restart of 3/3 replicas
    surge:    1 more starts first, as the canary, 1 more starts once that is good, and all are removed at the end
    canary:   1 replica of the surge; then it waits for `zkops rollout promote webapp`
    batch 2:  0000000003, 0000000002, 0000000004
    budget:   at most 1 at once; 2 of 3 stay ready (max_unavailable: 1)
    healthy:  all but 1 (max_failures: 1, none of the canary) must be ready for 10s, within 5m, or all go back to what rollout 1 brought
    ");
    assert_eq!(removed(&name, &Fleet::of(&tree).services[&name], &report), BTreeSet::from([ReplicaNumber(1)]));
}
