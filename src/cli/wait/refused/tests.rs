#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{cli::fixture, tree::node::Node};

const WHY: &str = "the service has a unit_file, and accept_unit_files is not set in";

/// web1 and web2 are alive, web3 is cordoned; each of the first two refuses its replica.
fn tree() -> BTreeMap<String, Node> {
    let mut tree = fixture::tree();
    tree.retain(|path, _| !path.starts_with("/services/webapp/0000000003"));
    let alive = tree["/hosts/web1/alive"].clone();
    tree.insert("/hosts/web2/alive".to_owned(), alive);
    for (number, host) in [(1, "web1"), (2, "web2")] {
        set(
            &mut tree,
            &format!("/services/webapp/000000000{number}/status"),
            &json!({"state": "refused", "reason": "not_allowed", "node": host, "assignment": 0, "message": format!("{WHY} {host}'s agent.toml"),
                    "updated": "2026-11-22T18:00:00Z"}),
        );
    }
    tree
}

fn set(tree: &mut BTreeMap<String, Node>, path: &str, document: &Value) {
    tree.insert(path.to_owned(), fixture::node(document, 0));
}

/// With a key of a document set to something else.
fn with(path: &str, key: &str, value: Value) -> BTreeMap<String, Node> {
    let mut tree = tree();
    let node = tree.get_mut(path).unwrap();
    let mut document: Value = serde_json::from_slice(&node.data).unwrap();
    document[key] = value;
    node.data = document.to_string().into_bytes();
    tree
}

fn without(path: &str) -> BTreeMap<String, Node> {
    let mut tree = tree();
    tree.remove(path).unwrap();
    tree
}

fn said(tree: &BTreeMap<String, Node>) -> Option<String> {
    by_all(&"webapp".parse().unwrap(), &Fleet::of(tree))
}

#[test]
fn all_hosts_that_refuse_are_told_in_one_line() {
    let text = said(&tree()).unwrap();
    assert_eq!(
        text,
        format!(
            "webapp: 2 of 2 hosts refuse it (web1, web2): {WHY} their agent.toml. Allow it there and restart zkops-agent, \
             or take it out of the service"
        )
    );
    let out_of_its_zone = with("/hosts/web3", "cordon", false.into());
    assert_eq!(said(&out_of_its_zone), Some(text), "a host that the service may not have is no hope");
    let unit = |number: u8, host: &str| {
        let path = format!("/services/webapp/000000000{number}/status");
        let text = format!("webapp@000000000{number}.service is not among the allowed_units of {host}'s agent.toml");
        (path, Value::from(text))
    };
    let mut tree = tree();
    for (path, text) in [unit(1, "web1"), unit(2, "web2")] {
        tree.insert(path.clone(), with(&path, "message", text).remove(&path).unwrap());
    }
    let text = said(&tree).unwrap();
    assert!(
        text.contains("(web1, web2): webapp@.service is not among the allowed_units of their agent.toml."),
        "{text}"
    );
}

/// Of one replica: web1 refused it, and the controller moved it on to web2, which refuses it, too.
fn moved_on(refused: &Value) -> BTreeMap<String, Node> {
    let mut tree = with(
        "/services/webapp/0000000002/desired",
        "failed_on",
        json!([{"node": "web1", "at": "2026-11-22T18:00:00Z", "refused": refused}]),
    );
    tree.retain(|path, _| !path.starts_with("/services/webapp/0000000001") && !path.ends_with("webapp.0000000001"));
    tree
}

#[test]
fn what_the_controller_remembers_of_other_hosts_counts() {
    let tree = moved_on(&json!({"reason": "not_allowed", "at": "2026-11-22T18:00:00Z"}));
    let text = said(&tree).unwrap();
    assert!(
        text.starts_with(&format!("webapp: 2 of 2 hosts refuse it (web1, web2): {WHY} their agent.toml.")),
        "{text}"
    );
}

#[test]
fn an_agents_words_are_for_people() {
    let said = said(&with(STATUS, "message", "not on a Sunday".into())).unwrap();
    assert!(said.contains("not on a Sunday"), "{said}");
}

const STATUS: &str = "/services/webapp/0000000002/status";

#[rstest]
#[case::a_host_that_was_not_tried({
    let mut tree = tree();
    set(&mut tree, "/hosts/web3", &json!({}));
    tree
})]
#[case::a_host_that_runs_it(with(STATUS, "state", "running".into()))]
#[case::another_reason(with(STATUS, "reason", "unit_taken".into()))]
#[case::an_agent_that_does_not_say_why(with(STATUS, "reason", Value::Null))]
#[case::a_reason_of_a_later_release(with(STATUS, "reason", "moon_phase".into()))]
#[case::refused_before_its_agent_was_started_again(moved_on(&json!({"reason": "not_allowed", "at": "2026-11-22T17:00:00Z"})))]
#[case::refused_for_another_reason(moved_on(&json!({"reason": "unit_taken", "at": "2026-11-22T18:00:00Z"})))]
#[case::failed_there(moved_on(&Value::Null))]
#[case::refused_before_what_is_wanted_now({
    let mut tree = moved_on(&json!({"reason": "not_allowed", "at": "2026-11-22T18:00:00Z"}));
    tree.get_mut("/services/webapp/desired").unwrap().mzxid = 2;
    tree.get_mut(STATUS).unwrap().mzxid = 2;
    tree
})]
#[case::an_answer_to_an_older_assignment(with(STATUS, "assignment", (-1).into()))]
#[case::an_agent_started_since(with(STATUS, "updated", "2026-11-22T17:00:00Z".into()))]
#[case::a_host_that_is_away(without("/hosts/web2/alive"))]
#[case::a_change_that_nobody_has_answered(with("/services/webapp/status", "observed_desired", 4.into()))]
#[case::a_replica_of_an_older_version(with("/services/webapp/0000000002/desired", "version", "v1".into()))]
#[case::a_refusal_older_than_what_is_wanted({
    let mut tree = tree();
    tree.get_mut("/services/webapp/desired").unwrap().mzxid = 2;
    tree
})]
#[case::no_hosts({
    let mut tree = tree();
    tree.retain(|path, _| !path.starts_with("/hosts"));
    tree
})]
fn whatever_may_still_take_it_is_waited_for(#[case] tree: BTreeMap<String, Node>) {
    assert_eq!(said(&tree), None);
}

/// web1 and web2 tell what they run; nothing was ever placed.
#[test]
fn hosts_that_tell_what_they_run_need_not_be_tried() {
    let told = |accepts: &Value| {
        let mut tree = tree();
        tree.retain(|path, _| !path.starts_with("/services/webapp/000"));
        for host in ["web1", "web2"] {
            let path = format!("/hosts/{host}/alive");
            let mut alive: Value = serde_json::from_slice(&tree[&path].data).unwrap();
            alive["accepts"] = accepts.clone();
            set(&mut tree, &path, &alive);
        }
        said(&tree)
    };
    let text = told(&json!({"units": ["nginx.service"]})).unwrap();
    let line = "webapp: 2 of 2 hosts refuse it (web1, web2): webapp@.service is not among the allowed_units of their \
                agent.toml. Allow it there and restart zkops-agent, or take it out of the service";
    assert_eq!(text, line);
    assert_eq!(told(&json!({"units": ["webapp@*.service"]})), None);
    assert_eq!(told(&Value::Null), None, "of a release that does not tell");
}
