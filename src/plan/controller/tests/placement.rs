//! Where replicas go, and what is said when they can go nowhere.

use serde_json::json;

use super::*;

/// Hosts in zones: `web1` and `web2` in a, `web3` in b, `web4` without.
fn zoned(keys: Value, replicas: u32) -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3", "web4"]);
    for (host, zone) in [("web1", "a"), ("web2", "a"), ("web3", "b")] {
        sim.tree.put(&format!("/hosts/{host}"), json!({ "labels": { "zone": zone } }).to_string());
    }
    sim.service("webapp", &spec(keys), &json!({ "replicas": replicas }));
    sim.settle();
    sim
}

#[test]
fn replicas_go_where_fewest_are() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("alpha", &json!({ "unit": "alpha.service" }), &json!({}));
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({}));
    sim.settle();
    assert_eq!((sim.places("alpha"), sim.places("beta")), ("1=web1".into(), "1=web2".into()));
}

#[test]
fn constraints_select_hosts() {
    let sim = zoned(json!({ "placement": { "constraints": ["zone=b"] } }), 2);
    assert_eq!(sim.places("webapp"), "1=web3 2=web3");
}

#[test]
fn the_operators_label_overrides_the_agents() {
    let mut sim = Sim::new(&["web1", "web2"]);
    for host in ["web1", "web2"] {
        sim.tree.delete_all(&format!("/hosts/{host}/alive"));
        sim.agent(host).zone = Some("a".to_owned());
    }
    sim.tree.put("/hosts/web1", r#"{"labels":{"zone":"b"}}"#);
    sim.run_agents();
    sim.service("webapp", &spec(json!({ "placement": { "constraints": ["zone=a"] } })), &json!({}));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2");
}

#[test]
fn spread_fills_the_emptiest_domain_first() {
    // Zone a, zone b, and web4, which is a domain of its own.
    let sim = zoned(json!({ "placement": { "spread": "zone" } }), 4);
    assert_eq!(sim.places("webapp"), "1=web1 2=web3 3=web4 4=web2");
}

#[test]
fn a_plain_unit_runs_once_per_host() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("webapp", &json!({ "unit": "webapp.service" }), &json!({ "replicas": 3 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=-");
    assert_condition(&sim, "webapp", &["Unplaced", "webapp.0000000003", "2 hosts: 2 full"]);
    assert_eq!(sim.status("webapp").summary.to_string(), "degraded");
    assert_rest(&mut sim);
}

#[test]
fn a_leaving_replica_still_takes_its_place() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("webapp", &json!({ "unit": "webapp.service" }), &json!({}));
    sim.settle();
    sim.patch_desired("webapp", &json!({ "replicas": 0 }));
    sim.run_controller();
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.run_controller();
    assert_eq!(sim.places("webapp"), "1=web1(removing) 5=-");
    sim.settle();
    assert_eq!(sim.places("webapp"), "5=web1");
}

#[test]
fn what_rules_hosts_out_is_said_and_tried_again_when_it_changes() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.crash("web1");
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(json!({ "placement": { "constraints": ["zone=a"] } })), &json!({}));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=-");
    assert_condition(&sim, "webapp", &["no host fits: 3 hosts: 1 lost, 1 cordoned, 1 not zone=a"]);
    sim.tree.put("/hosts/web3", r#"{"labels":{"zone":"a"}}"#);
    sim.settle();
    assert_eq!((sim.places("webapp").as_str(), conditions(&sim.status("webapp")).as_str()), ("1=web3", ""));
}

#[test]
fn without_hosts_it_says_so() {
    let mut sim = Sim::new(&[]);
    sim.service("webapp", &spec(json!({})), &json!({}));
    sim.settle();
    assert_condition(&sim, "webapp", &["there are no hosts"]);
}

#[test]
fn two_services_never_share_a_unit_on_a_host() {
    let mut sim = Sim::new(&["web1", "web2"]);
    for name in ["alpha", "beta", "gamma"] {
        sim.service(name, &json!({ "unit": "same.service" }), &json!({}));
    }
    sim.settle();
    assert_eq!(
        (sim.places("alpha"), sim.places("beta"), sim.places("gamma")),
        ("1=web1".into(), "1=web2".into(), "1=-".into())
    );
    assert_condition(&sim, "gamma", &["1 whose unit is alpha's, 1 whose unit is beta's"]);
}

#[test]
fn a_template_may_be_shared_but_not_with_different_unit_files() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("alpha", &json!({ "unit": "job@.service" }), &json!({ "replicas": 1 }));
    sim.settle();
    sim.service("beta", &json!({ "unit": "job@.service" }), &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!(sim.places("beta"), "1=- 2=web1", "job@0000000001.service is alpha's");
    let file = "[Service]\nExecStart=/bin/true\n";
    sim.service("gamma", &json!({ "unit": "job@.service", "unit_file": file }), &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!(sim.places("gamma"), "1=- 2=-");
}

#[test]
fn a_unit_that_another_service_takes_on_makes_the_later_one_leave() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("alpha", &json!({ "unit": "alpha.service" }), &json!({ "replicas": 2 }));
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({ "replicas": 1 }));
    sim.settle();
    assert_eq!(sim.places("beta"), "1=web1");
    sim.patch("/services/beta", &json!({ "unit": "alpha.service" }));
    sim.settle();
    // Nowhere to go: it keeps running as beta.service, and says what is in the way.
    assert_eq!(sim.processes(), "web1:alpha.service web1:beta.service web2:alpha.service");
    assert_condition(&sim, "beta", &["Waiting: web1", "its unit there is alpha's"]);
    sim.patch_desired("alpha", &json!({ "replicas": 1 }));
    sim.settle();
    assert_eq!(sim.processes(), "web1:alpha.service web2:alpha.service");
    assert_eq!(sim.places("beta"), "1=web2");
}

#[test]
fn a_newcomer_keeps_away_from_a_unit_that_is_about_to_be_anothers() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("beta", &json!({ "unit": "beta.service" }), &json!({ "replicas": 2 }));
    sim.settle();
    // One by one: beta's second replica is still beta.service when alpha looks for a place.
    sim.patch("/services/beta", &json!({ "unit": "same.service" }));
    sim.service("alpha", &json!({ "unit": "same.service" }), &json!({}));
    sim.settle();
    assert_eq!(sim.processes(), "web1:same.service web2:same.service");
    assert_eq!((sim.places("alpha"), sim.places("beta")), ("1=-".into(), "1=web1 2=web2".into()));
}
