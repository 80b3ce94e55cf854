#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::{
    cli::wait::Aim,
    model::{Accepted, encode},
};

fn manifest(desired: Option<Value>) -> Manifest {
    let desired = desired.map(|keys| keys.as_object().unwrap().clone());
    let spec = ServiceSpec::new("w@.service".parse().unwrap());
    Manifest { source: "w.toml".into(), name: "w".parse().unwrap(), spec, desired }
}

fn node(data: Vec<u8>, version: i32) -> Node {
    Node { data, version, mzxid: 1, ephemeral_owner: 0 }
}

#[test]
fn a_new_service_gets_the_defaults() {
    let plan = Plan::new(&manifest(Some(json!({"version": "v1"}))), &Found::default()).unwrap();
    assert_eq!(plan.outcome(), "created");
    assert_eq!(plan.desired.after, json!({"mode": "enabled", "version": "v1", "replicas": 1}));
}

#[test]
fn keys_that_the_file_leaves_out_stay() {
    let service = node(encode(&ServiceSpec::new("w@.service".parse().unwrap())), 2);
    let desired = node(br#"{"mode":"disabled","replicas":5,"version":"v1"}"#.to_vec(), 9);
    let found = Found { service: Some(service), desired: Some(desired), ..Found::default() };
    let plan = |keys| Plan::new(&manifest(keys), &found).unwrap();
    assert_eq!(plan(None).outcome(), "unchanged");
    assert_eq!(plan(Some(json!({"replicas": 5}))).outcome(), "unchanged");
    let changed = plan(Some(json!({"version": "v2"})));
    assert_eq!(changed.outcome(), "configured");
    assert_eq!(changed.desired.after, json!({"mode": "disabled", "replicas": 5, "version": "v2"}));
    assert_eq!((changed.target().service_version, changed.target().desired_version), (2, 10));
    assert_eq!(changed.target().aim, Aim::Disabled);
}

#[test]
fn nonsense_is_fixed_from_what_is_in_force() {
    let spec = ServiceSpec::new("w@.service".parse().unwrap());
    let service = node(encode(&spec), 0);
    let in_force = Desired { replicas: 4, ..Desired::default() };
    let accepted = Some(Accepted { service: spec, desired: in_force });
    let status = node(encode(&ServiceStatus { accepted, ..ServiceStatus::default() }), 3);
    let junk = node(b"{".to_vec(), 1);
    let found = Found { service: Some(service), desired: Some(junk), status: Some(status), rollout: None };
    let plan = Plan::new(&manifest(None), &found).unwrap();
    assert_eq!(plan.desired.after, json!({"mode": "enabled", "replicas": 4}));
    assert_eq!(plan.outcome(), "configured");
}

#[test]
fn a_service_on_its_way_out_is_not_applied_to() {
    let mut spec = ServiceSpec::new("w@.service".parse().unwrap());
    spec.deleting = true;
    let found = Found { service: Some(node(encode(&spec), 0)), ..Found::default() };
    let error = Plan::new(&manifest(None), &found).unwrap_err();
    assert_eq!(crate::cli::failure::code(&error), 4);
}

#[test]
fn a_run_that_ends_half_way_says_how_far_it_came() {
    let manifests = [manifest(None), manifest(None)];
    let wishes: Vec<_> = manifests.iter().map(|manifest| Wish { manifest, config: None }).collect();
    let said = half_way(&wishes, 1);
    assert!(said.starts_with("1 of 2 services are applied; w (w.toml) and those after it are not. Run"), "{said}");
}
