//! New versions, configurations and descriptions: one by one, within `max_unavailable`.

use serde_json::json;

use super::*;

/// The versions that the replicas are to run, in the order of their numbers.
fn versions(sim: &Sim) -> Vec<String> {
    let view = &sim.cluster().services[&"webapp".parse().unwrap()];
    let desired = view.replicas.values().filter_map(|replica| replica.desired.as_ref()?.good()?.version.clone());
    desired.collect()
}

#[test]
fn a_new_version_goes_out_one_by_one_in_the_order_of_numbers() {
    let mut sim = webapp(3);
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.run_controller();
    assert_eq!(versions(&sim), ["v2", "v1", "v1"]);
    assert_condition(&sim, "webapp", &["Progressing: 3/3 replicas ready, 0 up to date"]);
    sim.run_agents();
    sim.run_controller();
    assert_eq!(versions(&sim), ["v2", "v2", "v1"]);
    sim.settle();
    assert_eq!(versions(&sim), ["v2", "v2", "v2"]);
    assert_eq!((sim.status("webapp").updated, conditions(&sim.status("webapp")).as_str()), (3, ""));
    assert_rest(&mut sim);
}

#[test]
fn max_unavailable_sets_the_pace() {
    let mut sim = webapp_with(3, json!({ "max_unavailable": 2 }));
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.run_controller();
    assert_eq!(versions(&sim), ["v2", "v2", "v1"]);
}

#[test]
fn what_is_unready_already_uses_the_budget_but_may_itself_be_updated() {
    let mut sim = webapp_with(3, json!({ "lost_after": "10m" }));
    sim.crash("web2");
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.run_controller();
    assert_eq!(versions(&sim), ["v1", "v2", "v1"]);
}

#[test]
fn a_new_config_or_environment_is_rolled_the_same_way() {
    for keys in [json!({ "environment": { "A": "b" } }), json!({ "restart": { "limit_burst": 9 } })] {
        let mut sim = webapp(3);
        sim.patch("/services/webapp", &keys);
        sim.run_controller();
        let assigned = |sim: &Sim, host: &str, number: u32| {
            let path = format!("/hosts/{host}/assigned/webapp.{number:010}");
            sim.tree.version(&path).unwrap()
        };
        assert_eq!((assigned(&sim, "web1", 1), assigned(&sim, "web2", 2), assigned(&sim, "web3", 3)), (1, 0, 0));
        sim.settle();
        assert_eq!((assigned(&sim, "web1", 1), assigned(&sim, "web2", 2), assigned(&sim, "web3", 3)), (1, 1, 1));
        assert_eq!(sim.status("webapp").updated, 3);
    }
}

#[test]
fn a_disabled_service_is_updated_at_once() {
    let mut sim = webapp(3);
    sim.patch_desired("webapp", &json!({ "version": "v2", "mode": "disabled" }));
    sim.run_controller();
    assert_eq!(versions(&sim), ["v2", "v2", "v2"]);
}

#[test]
fn what_does_not_concern_replicas_disturbs_none() {
    let mut sim = webapp(3);
    let before = sim.tree.clone();
    sim.patch("/services/webapp", &json!({ "lost_after": "20s", "max_unavailable": 2 }));
    sim.settle();
    let touched = |path: &&str| path.contains("/0000") && sim.tree.version(path) != before.version(path);
    assert_eq!(sim.tree.paths().filter(touched).count(), 0);
}

#[test]
fn from_a_template_to_a_plain_unit_never_two_share_it_on_a_host() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 2 }));
    sim.settle();
    sim.patch("/services/webapp", &json!({ "unit": "webapp.service" }));
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp.service web1:webapp@0000000002.service");
    assert_condition(
        &sim,
        "webapp",
        &["Waiting: web1: more than max_per_host replicas are on the host", "no other host fits"],
    );
    sim.tree.put("/hosts/web2", "");
    sim.settle();
    assert_eq!(sim.processes(), "web1:webapp.service web2:webapp.service");
}

#[test]
fn without_the_agents_answer_versions_still_pace_a_rollout() {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    for host in ["web1", "web2", "web3"] {
        sim.host(host).setup.answers = false;
    }
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 3, "version": "v1" }));
    sim.settle();
    sim.patch_desired("webapp", &json!({ "version": "v2" }));
    sim.run_controller();
    assert_eq!(versions(&sim), ["v2", "v1", "v1"]);
    sim.settle();
    assert_eq!(versions(&sim), ["v2", "v2", "v2"]);
}

#[test]
fn of_two_on_a_host_the_one_that_has_the_plain_unit_stays() {
    let mut sim = Sim::new(&["web1", "web2"]);
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    sim.service("webapp", &spec(json!({})), &json!({ "replicas": 2 }));
    sim.settle();
    sim.patch("/services/webapp", &json!({ "unit": "webapp.service" }));
    // The first was given the unit; then it seems to vanish, and comes back after the second got it.
    let unit = json!({ "unit": "webapp.service" });
    sim.patch("/hosts/web1/assigned/webapp.0000000002", &unit);
    sim.run_controller();
    let index = |sim: &Sim, number: u32| -> Value {
        serde_json::from_slice(sim.tree.get(&format!("/hosts/web1/assigned/webapp.{number:010}")).unwrap()).unwrap()
    };
    assert_eq!(index(&sim, 1)["unit"], "webapp@0000000001.service");
    assert_eq!(index(&sim, 2)["unit"], "webapp.service");
}
