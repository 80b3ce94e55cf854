#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{cli::fixture, tree::node::Node};

const STATUS: &str = "/services/webapp/status";

fn target(aim: Aim) -> Target {
    Target { service: "webapp".parse().unwrap(), aim, desired_version: 5, service_version: 2 }
}

fn missing(aim: Aim, status: &Value) -> Option<String> {
    let mut tree = fixture::tree();
    tree.insert(STATUS.to_owned(), fixture::node(status, 1));
    target(aim).missing(&Fleet::of(&tree))
}

fn status(summary: &str) -> Value {
    json!({"observed_desired": 5, "observed_service": 2, "summary": summary, "desired": 3, "replicas": 3,
           "ready": 3, "updated": 3})
}

#[test]
fn what_is_missing_is_said() {
    let text = target(Aim::Healthy).missing(&fixture::fleet()).unwrap();
    assert_eq!(text, "webapp: degraded, 1/3 ready, 2 up to date; Unplaced: 0000000003: no host fits");
    let mut tree = fixture::tree();
    tree.remove(STATUS);
    let text = target(Aim::Healthy).missing(&Fleet::of(&tree)).unwrap();
    assert_eq!(text, "webapp: the controller has not taken it up yet");
    tree.retain(|path, _| !path.starts_with(layout::ELECTION));
    let text = target(Aim::Healthy).missing(&Fleet::of(&tree)).unwrap();
    assert_eq!(text, "webapp: no controller is connected: is zkops-controller.service running?");
}

#[test]
fn each_aim_has_its_end() {
    for (aim, summary) in [(Aim::Healthy, "healthy"), (Aim::Disabled, "disabled"), (Aim::Drained, "drained")] {
        assert_eq!(missing(aim, &status(summary)), None, "{summary}");
        assert!(missing(aim, &status("progressing")).is_some());
    }
    assert!(missing(Aim::Gone, &status("deleting")).is_some());
    assert_eq!(target(Aim::Gone).missing(&Fleet::default()), None);
}

#[test]
fn a_rollout_is_followed_to_its_end() {
    let record = |state: &str, pause: Option<&str>| {
        let mut tree = fixture::tree();
        let mut healthy = status("healthy");
        healthy["accepted"] = json!({"service": {"unit": "webapp@.service"},
                                     "desired": {"version": "v2", "config_version": 7, "replicas": 3}});
        tree.insert(STATUS.to_owned(), fixture::node(&healthy, 1));
        let mut record = fixture::rollout(state, "v2", 7);
        record["reason"] = "because".into();
        if let Some(pause) = pause {
            record["pause"] = pause.into();
        }
        tree.insert("/services/webapp/rollouts/0000000002".to_owned(), fixture::node(&record, 1));
        let fleet = Fleet::of(&tree);
        let goal = target(Aim::Healthy);
        match goal.lost(&fleet) {
            Some(failure) => {
                let text = failure.to_string();
                format!("{} {text}", crate::cli::failure::code(&failure.into()))
            }
            None => goal.missing(&fleet).unwrap_or_default(),
        }
    };
    assert_eq!(record("completed", None), "");
    assert!(record("running", None).ends_with("rollout 2: running, 1/3 healthy: because"));
    assert!(record("superseded", None).ends_with("the rollout after 2 has not begun yet"));
    assert!(record("rolled_back", None).starts_with("7 webapp: rollout 2 was rolled back: because; "));
    assert!(record("paused", Some("failure")).starts_with("7 webapp: rollout 2 is paused by a failure: because; "));
    assert!(record("paused", Some("canary")).starts_with("8 webapp: rollout 2 waits for promotion: because; "));
    assert!(record("paused", Some("operator")).contains("rollout 2: paused, 1/3 healthy"));
}

#[test]
fn an_answer_to_an_older_change_does_not_count() {
    for key in ["observed_desired", "observed_service"] {
        let mut old = status("healthy");
        old[key] = 1.into();
        assert!(missing(Aim::Healthy, &old).unwrap().contains("not taken it up"), "{key}");
    }
}

#[test]
fn replicas_on_their_way_out_count() {
    let mut shrinking = status("healthy");
    shrinking["replicas"] = 4.into();
    assert!(missing(Aim::Healthy, &shrinking).unwrap().contains("1 more than wanted"));
}

#[test]
fn a_document_that_was_not_accepted_is_no_success() {
    let mut refused = status("healthy");
    refused["conditions"] =
        json!([{"type": "InvalidDocument", "message": "replicas: -1", "since": "2026-11-22T18:00:00Z"}]);
    assert!(missing(Aim::Healthy, &refused).unwrap().contains("InvalidDocument: replicas: -1"));
}

/// What is still missing of a drain of `host`, on which these replicas were.
fn left(tree: &BTreeMap<String, Node>, host: &str, replicas: &[u8]) -> Option<String> {
    let id = |number: &u8| format!("webapp.000000000{number}").parse().unwrap();
    let goal = Drained { host: host.parse().unwrap(), replicas: replicas.iter().map(id).collect() };
    goal.missing(&Fleet::of(tree))
}

#[test]
fn a_host_is_drained_when_nothing_is_left_there() {
    let mut tree = fixture::tree();
    assert_eq!(left(&tree, "web1", &[1]).as_deref(), Some("web1: 1 left: webapp.0000000001"));
    assert_eq!(left(&tree, "web3", &[]), None);
    let mut waits = status("degraded");
    waits["conditions"] = json!([{"type": "Waiting", "message": "web1: the host is draining, but no other host fits: 1 full",
                                  "since": "2026-11-22T18:01:00Z"}]);
    tree.insert(STATUS.to_owned(), fixture::node(&waits, 1));
    assert_eq!(
        left(&tree, "web1", &[1]).as_deref(),
        Some("web1: 1 left: webapp.0000000001; web1: the host is draining, but no other host fits: 1 full")
    );
}

/// That the processes are gone is half of it.
#[test]
fn a_host_is_drained_when_what_was_there_serves_elsewhere() {
    let mut tree = fixture::tree();
    assert_eq!(
        left(&tree, "web3", &[1, 2]).as_deref(),
        Some("web3: nothing is left, but webapp.0000000002 on web2 is not ready (running)")
    );
    assert_eq!(
        left(&tree, "web3", &[3, 2]).as_deref(),
        Some("web3: nothing is left, but webapp.0000000002 on web2 is not ready (running) (and 1 more)")
    );
    assert_eq!(
        left(&tree, "web3", &[3]).as_deref(),
        Some("web3: nothing is left, but webapp.0000000003 is on no host")
    );
    assert_eq!(left(&tree, "web3", &[4]), None, "one that is gone is not waited for");
    assert_eq!(left(&tree, "web3", &[1]), None);
    let refused =
        json!({"state": "refused", "node": "web2", "message": "not on a Sunday", "updated": "2026-11-22T17:50:00Z"});
    tree.insert("/services/webapp/0000000002/status".to_owned(), fixture::node(&refused, 1));
    let text = left(&tree, "web3", &[2]).unwrap();
    assert!(text.ends_with("webapp.0000000002 on web2 is not ready (refused: not on a Sunday)"), "{text}");
    let off = json!({"mode": "disabled", "node": "web2", "version": "v2"});
    tree.insert("/services/webapp/0000000002/desired".to_owned(), fixture::node(&off, 1));
    assert_eq!(left(&tree, "web3", &[2]), None, "what is not to run need not be ready");
}

#[test]
fn a_patience_beyond_all_clocks_is_a_long_one() {
    let year = Duration::from_secs(365 * 86_400);
    for patience in [Duration::from_secs(1), Duration::MAX] {
        let left = after(patience).duration_since(Instant::now());
        assert_eq!(left > year, patience > year, "{patience:?}: {left:?}");
    }
}
