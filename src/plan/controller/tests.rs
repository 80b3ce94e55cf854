//! The rules, one by one, as small stories: what an operator or fate does, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod changes;
mod failover;
mod holds;
mod leaving;
mod life;
mod nonsense;
mod placement;
mod rollouts;

use serde_json::{Value, json};

use crate::{
    model::{Accepts, AllowedUnits, Rollout, ServiceStatus, decode},
    sim::cluster::Sim,
    tree::layout,
};

/// Three hosts, and a template service with so many replicas.
fn webapp(replicas: u32) -> Sim {
    webapp_with(replicas, json!({}))
}

/// The same, with more in its description.
fn webapp_with(replicas: u32, keys: Value) -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.service("webapp", &spec(keys), &json!({ "replicas": replicas, "version": "v1" }));
    sim.settle();
    sim
}

fn spec(keys: Value) -> Value {
    let mut spec = json!({ "unit": "webapp@.service" });
    spec.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    spec
}

/// `Kind: message` of each condition, a line each.
fn conditions(status: &ServiceStatus) -> String {
    let lines = status.conditions.iter().map(|condition| format!("{}: {}", condition.kind, condition.message));
    lines.collect::<Vec<_>>().join("\n")
}

/// Asserts that the service has a condition that contains all of the words.
#[track_caller]
fn assert_condition(sim: &Sim, service: &str, words: &[&str]) {
    let conditions = conditions(&sim.status(service));
    let found = conditions.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no condition with {words:?} in:\n{conditions}");
}

/// Asserts that a further plan would do nothing, now and an hour later.
#[track_caller]
fn assert_rest(sim: &mut Sim) {
    for seconds in [0, 3600] {
        sim.sleep(seconds);
        let plan = sim.plan();
        assert!(plan.transactions.is_empty(), "not at rest: {:#?}", plan.transactions);
    }
}

/// Three hosts, four replicas, healthy at once unless the policy says otherwise.
fn fleet(policy: Value) -> Sim {
    let mut rollout = json!({ "min_healthy_time": "0s" });
    rollout.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
    webapp_with(4, json!({ "rollout": rollout }))
}

/// All hosts tell that they run this unit and no other.
fn allow_only(sim: &mut Sim, unit: &str) {
    let accepts = Accepts { units: AllowedUnits::new(vec![unit.parse().unwrap()]), ..Accepts::default() };
    for host in sim.hosts.values_mut() {
        host.setup.accepts = Some(accepts.clone());
    }
}

fn want(sim: &mut Sim, version: &str) {
    sim.patch_desired("webapp", &json!({ "version": version }));
}

/// The versions that the replicas are to run, by number; those of surge replicas in brackets, those leaving left out.
fn versions(sim: &Sim) -> String {
    let view = &sim.cluster().services[&"webapp".parse().unwrap()];
    let known = view.replicas.values().filter_map(|replica| replica.desired.as_ref()?.good().cloned());
    let shown = known.filter(|desired| !desired.removing).map(|desired| {
        let version = desired.version.unwrap_or_default();
        if desired.surge { format!("[{version}]") } else { version }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn record(sim: &Sim, number: u64) -> Rollout {
    decode(sim.tree.get(&layout::rollout(&"webapp".parse().unwrap(), number)).unwrap()).unwrap()
}

fn state(sim: &Sim) -> String {
    let rollout = sim.status("webapp").rollout.unwrap();
    format!("{} {}", rollout.number, rollout.state)
}

fn order(sim: &mut Sim, number: u64, action: &str) {
    let document = json!({ "rollout": number, "action": action, "by": "ann" });
    sim.tree.put("/services/webapp/rollouts", document.to_string());
}
