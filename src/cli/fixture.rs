//! A small fleet for tests: three hosts, one of them lost, one cordoned, and a service in the middle of a failover.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::tree::node::Node;

/// A node with this document.
pub(super) fn node(document: &Value, version: i32) -> Node {
    Node { data: document.to_string().into_bytes(), version, mzxid: 1, ephemeral_owner: 0 }
}

/// Two minutes past the last change in [`tree`].
pub(super) fn now() -> Timestamp {
    "2026-11-22T18:02:00Z".parse().unwrap_or_default()
}

/// A rollout's record, begun two minutes before [`now`].
pub(super) fn rollout(state: &str, version: &str, config: u64) -> Value {
    json!({"state": state, "revision": {"version": version, "config_version": config,
                                        "unit": "webapp@.service", "template": {}},
           "from": 1, "started": "2026-11-22T18:00:00Z", "progress": "2026-11-22T18:00:10Z", "healthy": 1})
}

pub(super) fn fleet() -> Fleet {
    Fleet::of(&tree())
}

pub(super) fn tree() -> BTreeMap<String, Node> {
    let mut tree = BTreeMap::new();
    let mut add = |path: &str, document: Value, version| {
        tree.insert(path.to_owned(), node(&document, version));
    };
    let alive = |zone: &str| {
        json!({"address": "10.0.0.1", "labels": {"zone": zone}, "version": "0.1.0", "machine_id": "m", "boot_id": "b",
               "pid": 9, "started": "2026-11-22T17:02:00Z"})
    };
    let service = json!({"unit": "webapp@.service", "lost_after": "10s",
                         "placement": {"constraints": ["zone in (a,b)"], "max_per_host": 1}});
    let desired = json!({"mode": "enabled", "version": "v2", "replicas": 3, "config_version": 7});
    add("/services/webapp", service.clone(), 2);
    add("/services/webapp/desired", desired.clone(), 5);
    add(
        "/services/webapp/status",
        json!({
            "observed_desired": 5, "observed_service": 2, "summary": "degraded",
            "desired": 3, "replicas": 3, "ready": 1, "updated": 2,
            "conditions": [{"type": "Unplaced", "message": "0000000003: no host fits", "since": "2026-11-22T18:01:00Z"}],
            "events": [
                {"at": "2026-11-22T18:00:30Z", "message": "applied"},
                {"at": "2026-11-22T18:01:00Z", "replica": 2, "node": "web2", "reason": "Moved", "message": "host lost"},
            ],
            "accepted": {"service": service, "desired": desired}
        }),
        9,
    );
    let wanted = |node: Option<&str>, reason: &str| {
        let mut wanted = json!({"mode": "enabled", "version": "v2", "config_version": 7, "reason": reason});
        if let Some(node) = node {
            wanted["node"] = node.into();
        }
        wanted
    };
    add("/services/webapp/0000000001", json!({}), 0);
    add(
        "/services/webapp/0000000001/desired",
        wanted(Some("web1"), "the best eligible host, with 0 of this service's replicas and 0 in total"),
        0,
    );
    add(
        "/services/webapp/0000000001/status",
        json!({"state": "running", "node": "web1", "pid": 4711, "version": "v2",
        "config_version": 7, "restarts": 1, "updated": "2026-11-22T18:00:00Z"}),
        3,
    );
    add("/services/webapp/0000000002", json!({}), 0);
    add(
        "/services/webapp/0000000002/desired",
        wanted(Some("web2"), "the best eligible host, with 0 of this service's replicas and 0 in total"),
        0,
    );
    add(
        "/services/webapp/0000000002/status",
        json!({"state": "running", "node": "web2", "pid": 99, "version": "v2",
        "updated": "2026-11-22T17:50:00Z"}),
        3,
    );
    add("/services/webapp/0000000003", json!({}), 0);
    add("/services/webapp/0000000003/desired", wanted(None, ""), 0);
    add(
        "/services/webapp/instances/web1",
        json!({"replica": 1, "pid": 4711, "address": "10.0.0.1", "port": 8080,
        "version": "v2", "started": "2026-11-22T18:00:00Z"}),
        0,
    );
    add("/services/worker", json!({"unit": 7}), 1);
    add("/services/worker/desired", json!({"replicas": 2}), 0);
    add("/controller/election/contender-0000000000", json!({}), 0);
    add("/hosts/web1", json!({}), 0);
    add("/hosts/web1/alive", alive("a"), 0);
    add(
        "/hosts/web1/assigned/webapp.0000000001",
        json!({"mode": "enabled", "unit": "webapp@0000000001.service", "template": {}}),
        0,
    );
    add("/hosts/web2", json!({}), 0);
    add(
        "/hosts/web2/assigned/webapp.0000000002",
        json!({"mode": "enabled", "unit": "webapp@0000000002.service", "template": {}}),
        0,
    );
    add("/hosts/web3", json!({"cordon": true, "labels": {"zone": "c", "disk": "ssd"}}), 1);
    add("/hosts/web3/alive", alive("b"), 0);
    for host in ["web1", "web2", "web3"] {
        add(&format!("/hosts/{host}/assigned"), json!({}), 0);
    }
    tree
}
