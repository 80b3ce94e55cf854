//! The rules, one by one, as small stories: what an operator or fate does, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod changes;
mod failover;
mod leaving;
mod life;
mod nonsense;
mod placement;
mod rollouts;

use serde_json::{Value, json};

use super::{Memory, sim::Sim};
use crate::model::ServiceStatus;

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
