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
        sim.host(host).setup.zone = Some("a".to_owned());
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
    assert_condition(&sim, "webapp", &["no host fits: 3 hosts: 1 lost, 1 cordoned, 1 not matching zone=a"]);
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
    assert_condition(&sim, "gamma", &["1 with the unit in use by alpha, 1 with the unit in use by beta"]);
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
    assert_condition(&sim, "beta", &["Waiting: web1", "its unit there is in use by alpha"]);
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

#[test]
fn a_port_is_one_replicas_on_each_host() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("webapp", &spec(json!({ "port": 8080 })), &json!({ "replicas": 3 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2 3=-");
    assert_condition(&sim, "webapp", &["Unplaced", "2 hosts: 2 with port 8080 in use by webapp"]);
    sim.service("proxy", &json!({ "unit": "proxy.service", "port": 8080 }), &json!({}));
    sim.service("other", &json!({ "unit": "other.service", "port": 9090 }), &json!({}));
    sim.service("quiet", &json!({ "unit": "quiet@.service" }), &json!({ "replicas": 4 }));
    sim.settle();
    assert_eq!((sim.places("proxy"), sim.places("other")), ("1=-".into(), "1=web1".into()));
    assert_eq!(sim.places("quiet"), "1=web2 2=web1 3=web2 4=web1", "no port, nothing to share");
    sim.patch_desired("webapp", &json!({ "replicas": 1 }));
    sim.settle();
    assert_eq!(sim.places("proxy"), "1=web2", "free again");
    assert_rest(&mut sim);
}

#[test]
fn two_that_look_for_a_port_at_once_get_a_host_each() {
    let mut sim = Sim::new(&["web1", "web2"]);
    for name in ["alpha", "beta", "gamma"] {
        sim.service(name, &json!({ "unit": format!("{name}.service"), "port": 80 }), &json!({}));
    }
    sim.settle();
    let places = ["alpha", "beta", "gamma"].map(|name| sim.places(name));
    assert_eq!(places, ["1=web1", "1=web2", "1=-"]);
    assert_condition(&sim, "gamma", &["1 with port 80 in use by alpha, 1 with port 80 in use by beta"]);
}

#[test]
fn a_surge_replica_never_stands_beside_one_that_answers_for_it() {
    let rollout = json!({ "max_surge": 1, "min_healthy_time": "0s", "progress_deadline": "10m" });
    let keys = json!({ "port": 8080, "max_unavailable": 0, "rollout": rollout });
    let mut sim = webapp_with(2, keys.clone());
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1 2=web2", "the third host was free for it");
    let mut sim = webapp_with(3, keys);
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.settle();
    let places = sim.places("webapp");
    assert!(places.starts_with("1=web1 2=web2 3=web3 ") && places.ends_with("=-"), "{places}");
    assert_condition(&sim, "webapp", &["Unplaced", "3 with port 8080 in use by webapp"]);
    assert_eq!(sim.status("webapp").ready, 3, "nobody is touched for it");
}

#[test]
fn who_shares_a_port_already_is_not_moved_for_it() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 4, "version": "v1" }));
    sim.settle();
    let before = sim.places("webapp");
    sim.patch("/services/webapp", &json!({ "port": 8080 }));
    sim.settle();
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.settle();
    assert_eq!(sim.places("webapp"), before);
    let cluster = sim.cluster();
    let (port, others) =
        crate::plan::controller::port_neighbours(&cluster, &"webapp.0000000001".parse().unwrap()).unwrap();
    assert_eq!((port, others), (8080, vec!["webapp.0000000003".parse().unwrap()]));
}

#[test]
fn a_port_that_changes_is_no_other_services_there() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.tree.put("/hosts/web3", r#"{"cordon":true}"#);
    sim.service("alpha", &json!({ "unit": "alpha.service", "port": 80 }), &json!({ "version": "v1" }));
    sim.service("beta", &json!({ "unit": "beta.service", "port": 81 }), &json!({ "replicas": 2 }));
    sim.settle();
    let alpha = |sim: &Sim, host: &str| {
        let (host, id) = (host.parse().unwrap(), "alpha.0000000001".parse().unwrap());
        (sim.places("alpha"), sim.cluster().hosts[&host].assigned[&id].good().unwrap().template.port.unwrap())
    };
    assert_eq!(alpha(&sim, "web1"), ("1=web1".to_owned(), 80));
    sim.patch("/services/alpha", &json!({ "port": 81 }));
    sim.settle();
    assert_eq!(alpha(&sim, "web1"), ("1=web1".to_owned(), 80));
    let words = ["Waiting: web1", "port 81 there is in use by beta.0000000002, but no other host fits", "1 cordoned"];
    assert_condition(&sim, "alpha", &words);
    sim.tree.put("/hosts/web3", "{}");
    sim.settle();
    assert_eq!(alpha(&sim, "web3"), ("1=web3".to_owned(), 81));
    // Where it is free, it stays.
    sim.patch("/services/alpha", &json!({ "port": 82 }));
    sim.settle();
    assert_eq!(alpha(&sim, "web3"), ("1=web3".to_owned(), 82));
    assert_eq!((sim.status("alpha").ready, sim.status("beta").ready), (1, 2));
    assert_rest(&mut sim);
}

#[test]
fn the_port_of_what_is_off_or_only_planned_keeps_no_rollout_up() {
    let mut sim = Sim::new(&["web1"]);
    sim.service("alpha", &json!({ "unit": "alpha.service", "port": 80 }), &json!({ "version": "v1" }));
    sim.service("beta", &json!({ "unit": "beta.service", "port": 81 }), &json!({ "mode": "disabled" }));
    sim.settle();
    let port = |sim: &Sim, id: &str| {
        sim.cluster().hosts[&"web1".parse().unwrap()].assigned[&id.parse().unwrap()]
            .good()
            .unwrap()
            .template
            .port
            .unwrap()
    };
    sim.patch("/services/alpha", &json!({ "port": 81 }));
    sim.settle();
    assert_eq!(port(&sim, "alpha.0000000001"), 81);
    // Of two that want the same one of them has it.
    sim.patch("/services/beta", &json!({ "port": 82 }));
    sim.patch_desired("beta", &json!({ "mode": "enabled" }));
    sim.settle();
    sim.patch("/services/alpha", &json!({ "port": 90 }));
    sim.patch("/services/beta", &json!({ "port": 90 }));
    sim.settle();
    assert_eq!((port(&sim, "alpha.0000000001"), port(&sim, "beta.0000000001")), (90, 82));
    assert_condition(
        &sim,
        "beta",
        &["Waiting: web1", "port 90 there is in use by alpha.0000000001, but no other host fits"],
    );
}

/// What speaks against each host, as `zkops explain` tells it.
fn why_not(sim: &mut Sim, id: &str) -> String {
    let context = sim.context();
    let prospects = crate::plan::controller::prospects(&sim.cluster(), &context, &id.parse().unwrap());
    let lines =
        prospects.hosts.into_iter().map(|(host, why)| format!("{host}: {}", why.unwrap_or_else(|| "fits".to_owned())));
    lines.collect::<Vec<_>>().join("; ")
}

#[test]
fn why_not_on_this_host_is_asked_of_the_planner() {
    let mut sim = webapp_with(1, json!({ "port": 8080 }));
    sim.host("web1").setup.failing.insert("webapp".parse().unwrap());
    sim.power_cycle("web1");
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web2");
    sim.service("taken", &json!({ "unit": "taken.service", "port": 8080 }), &json!({ "replicas": 3 }));
    sim.tree.put("/hosts/web1", "{\"cordon\":true}");
    sim.settle();
    sim.service("same", &json!({ "unit": "taken.service" }), &json!({ "replicas": 2 }));
    sim.settle();
    let against = why_not(&mut sim, "webapp.0000000001");
    let expected = "web1: cordoned; web2: it is here now; web3: port 8080 is in use by taken.";
    assert!(against.starts_with(expected), "{against}");
    sim.tree.put("/hosts/web1", "{}");
    assert!(why_not(&mut sim, "webapp.0000000001").starts_with("web1: it failed there recently; "));
    let against = why_not(&mut sim, "same.0000000002");
    assert!(against.contains("its unit there is in use by taken"), "{}: {against}", sim.places("same"));
}

/// Its `allowed_units` and other keys, which the host's agent tells when it is started again.
fn allow(sim: &mut Sim, host: &str, accepts: Value) {
    sim.host(host).setup.accepts = Some(serde_json::from_value(accepts).unwrap());
    sim.run_agents();
}

#[test]
fn no_replica_is_tried_where_it_would_be_refused() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    allow(&mut sim, "web1", json!({ "units": ["nginx.service"] }));
    allow(&mut sim, "web2", json!({ "units": ["webapp@*.service"] }));
    let file = json!({ "unit_file": "[Service]\nExecStart=/bin/true\n" });
    sim.service("webapp", &spec(file), &json!({ "replicas": 2 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web3 2=web3", "web3's agent does not tell: it is tried");

    allow(&mut sim, "web3", json!({ "units": ["webapp@*.service"] }));
    sim.patch_desired("webapp", &json!({ "replicas": 3 }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web3 2=web3 6=-", "what runs stays");
    let why = "3 hosts: 1 that would refuse it (webapp@.service is not among allowed_units), 2 that would refuse it \
               (accept_unit_files is off, the service has a unit_file)";
    assert_condition(&sim, "webapp", &["Unplaced", why]);
    assert_rest(&mut sim);

    allow(&mut sim, "web2", json!({ "units": ["webapp@*.service"], "unit_files": true }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web3 2=web3 6=web2", "fixed by the agent's next start");
}

/// A planned move goes where it is taken, or not at all.
#[test]
fn a_drain_passes_over_hosts_that_would_refuse() {
    let mut sim = webapp(1);
    for host in ["web2", "web3"] {
        allow(&mut sim, host, json!({ "units": ["nginx.service"] }));
    }
    sim.tree.put("/hosts/web1", r#"{"drain":true}"#);
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web1");
    assert_condition(&sim, "webapp", &["Waiting", "no other host fits", "not among allowed_units"]);
    allow(&mut sim, "web3", json!({ "units": ["web*"] }));
    sim.settle();
    assert_eq!(sim.places("webapp"), "1=web3");
}

/// A typo in the unit, of a service that has never run: fixed, all are placed.
#[test]
fn what_was_refused_everywhere_is_placed_once_it_is_fixed() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    allow_only(&mut sim, "webapp@.service");
    let typo = json!({ "unit": "wepapp@.service" });
    sim.service("webapp", &typo, &json!({ "replicas": 5, "version": "v1" }));
    sim.live(10);
    assert_condition(&sim, "webapp", &["Unplaced", "wepapp@.service"]);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 5, "version": "v1" }));
    sim.live(10);
    assert_eq!((sim.status("webapp").ready, state(&sim).as_str()), (5, "2 completed"), "{:#?}", sim.log);
}
