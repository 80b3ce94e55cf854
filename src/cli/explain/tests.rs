#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::{
    cli::{failure, fixture},
    tree::node::Node,
};

fn explained_of(what: &str, tree: &BTreeMap<String, Node>) -> anyhow::Result<Explanation> {
    Explanation::of(&what.parse().unwrap(), &Fleet::of(tree), &context::cluster(tree), fixture::now())
}

fn explained(what: &str) -> anyhow::Result<String> {
    let text = explained_of(what, &fixture::tree())?.text();
    Ok(anstream::adapter::strip_str(&text).to_string())
}

#[test]
fn each_replica_has_its_reasons() {
    insta::assert_snapshot!(explained("webapp").unwrap(), @r#"
webapp
  degraded: 1 of 3 replicas ready
  Unplaced: 0000000003: no host fits

webapp.0000000001 is on web1: running, ready
  reason: the best host that fits, with 0 of this service and 0 in all

webapp.0000000002 is on web2: lost, not ready
  reason: the best host that fits, with 0 of this service and 0 in all
  web2 is lost: no agent of it is connected, so what runs there is not known
  hosts:
    web1: has as many of its replicas as are allowed on one host
    web2: it is here now
    web3: cordoned

webapp.0000000003 is on no host: unplaced, not ready
  hosts:
    web1: has as many of its replicas as are allowed on one host
    web2: lost (no agent of it is connected)
    web3: cordoned
"#);
}

#[test]
fn a_rollout_explains_what_runs() {
    let mut tree = fixture::tree();
    let mut put =
        |path: &str, document: Value| tree.insert(format!("/services/webapp/{path}"), fixture::node(&document, 1));
    put("rollouts/0000000001", fixture::rollout("completed", "v1", 7));
    let mut newest = fixture::rollout("paused", "v2", 7);
    (newest["pause"], newest["reason"]) = ("canary".into(), "the canary is healthy".into());
    put("rollouts/0000000002", newest);
    put("rollouts", json!({"rollout": 2, "action": "promote"}));
    let wanted =
        |rollout: u64, surge: bool| json!({"mode": "enabled", "node": "web1", "rollout": rollout, "surge": surge});
    let seen = |ready: bool, rejected: bool| {
        json!({"state": "running", "node": "web1", "ready": ready, "rejected": rejected,
                                   "message": "as it says", "updated": "2026-11-22T18:00:00Z"})
    };
    put("0000000001/desired", wanted(1, false));
    put("0000000001/status", seen(true, true));
    put("0000000002/desired", wanted(2, true));
    put("0000000002/status", seen(false, false));
    let text = explained_of("webapp", &tree).unwrap().text();
    let text = anstream::adapter::strip_str(&text).to_string();
    insta::assert_snapshot!(text.split("\nwebapp.0000000003").next().unwrap(), @r#"
    webapp
      degraded: 1 of 3 replicas ready
      Unplaced: 0000000003: no host fits
      rollout 2: waits for promotion, 1/3 healthy: the canary is healthy; `zkops rollout promote webapp` goes on, `zkops rollout abort webapp` goes back
      the order to promote rollout 2 is not carried out yet

    webapp.0000000001 is on web1: running, ready
      it runs what rollout 1 brought (version v1, config 7), not what 2 brings: the rollout is paused
      its update was given up, what ran before goes on; only another change is tried
      agent: as it says

    webapp.0000000002 is on web1: running, not ready
      surge: beyond the replicas wanted, for a rollout or to serve in place of one that leaves its host
      it runs, but its readiness probe does not succeed
      agent: as it says
    "#);
}

#[test]
fn zeros_may_be_left_out() {
    assert!(explained("webapp.3").unwrap().contains("webapp.0000000003 is on no host"));
}

#[test]
fn what_is_not_there_is_not_found() {
    for what in ["nope", "webapp.9", "nope.0000000001"] {
        assert_eq!(failure::code(&explained(what).unwrap_err()), 3, "{what}");
    }
}
