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
  reason: the best eligible host, with 0 of this service's replicas and 0 in total

webapp.0000000002 is on web2: lost, not ready
  reason: the best eligible host, with 0 of this service's replicas and 0 in total
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
      rollout 2: promote was requested, and is not carried out yet

    webapp.0000000001 is on web1: running, ready
      it runs what rollout 1 brought (version v1, config 7), not what 2 brings: the rollout is paused
      its update was rejected, what ran before keeps running; only another change is tried
      agent: as it says

    webapp.0000000002 is on web1: running, not ready
      surge: beyond the replicas wanted, for a rollout or to serve in place of one that leaves its host
      it runs, but its readiness probe does not succeed
      agent: as it says
    "#);
}

#[test]
fn what_was_said_of_its_host_is_told() {
    let mut tree = fixture::tree();
    let mut said = |word: Value| {
        tree.insert("/hosts/web1".to_owned(), fixture::node(&word, 1));
        anstream::adapter::strip_str(&explained_of("webapp.1", &tree).unwrap().text()).to_string()
    };
    assert!(said(json!({"cordon": true})).contains("web1 is cordoned: it stays, nothing new is placed there"));
    assert!(said(json!({"cordon": true, "drain": true})).contains("web1 is being drained: it has to leave"));
    assert!(!said(json!({})).contains("web1 is cordoned"));
}

/// What the planner no longer minds is not held against a host; what it does mind is told.
#[test]
fn each_host_has_the_planners_own_answer() {
    let mut tree = fixture::tree();
    let mut put = |path: &str, document: Value| tree.insert(path.to_owned(), fixture::node(&document, 1));
    let failed = |at: &str| json!([{"node": "web4", "at": at}]);
    let wanted = |at: &str| json!({"mode": "enabled", "version": "v2", "config_version": 7, "failed_on": failed(at)});
    let alive = json!({"labels": {"zone": "a"}, "version": "0.1.0", "machine_id": "m", "boot_id": "b", "pid": 9,
                       "started": "2026-11-22T17:02:00Z"});
    for host in ["web4", "web5", "web6"] {
        put(&format!("/hosts/{host}"), json!({}));
        put(&format!("/hosts/{host}/alive"), alive.clone());
    }
    put("/hosts/web5", json!({"cordon": "perhaps"}));
    put("/hosts/web4/assigned", json!({}));
    put("/hosts/web5/assigned", json!({}));
    put("/services/webapp/0000000003/desired", wanted("2026-11-22T18:01:00Z"));
    let text = |tree: &BTreeMap<String, Node>| {
        let text = explained_of("webapp.3", tree).unwrap().text();
        anstream::adapter::strip_str(&text).to_string()
    };
    let lately = text(&tree);
    assert!(lately.contains("web4: it failed there recently\n") && !lately.contains("tried again"), "{lately}");
    assert!(lately.contains("web5: with an unreadable document\n"), "{lately}");
    assert!(lately.contains("web6: not set up yet\n"), "{lately}");
    tree.insert("/services/webapp/0000000003/desired".to_owned(), fixture::node(&wanted("2026-11-22T17:40:00Z"), 2));
    let later = text(&tree);
    assert!(later.contains("web4: fits\n") && later.contains("; that host is tried again\n"), "{later}");
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
