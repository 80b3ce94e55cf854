//! What serves nothing: however it is probed and whoever acts when, no more than `max_unavailable` replicas ever have it.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::sim::cluster::{Host, Sim, merge};

const HOSTS: [&str; 4] = ["web1", "web2", "web3", "web4"];

/// Who acts, or how much time passes.
#[derive(Clone, Debug)]
enum Turn {
    Controller,
    Agent(&'static str),
    Everyone,
    Pass(u64),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => Just(Turn::Controller),
        6 => select(&HOSTS[..]).prop_map(Turn::Agent),
        2 => Just(Turn::Everyone),
        6 => select(vec![1_u64, 5, 60, 700, 3_000, 11_000, 45_000]).prop_map(Turn::Pass),
    ]
}

/// A probe with any times, and a rollout's times that may hold together with it or not.
fn service() -> impl Strategy<Value = Value> {
    let probe = (1..40_u64, 1..5_u32, 1..4_u32, select(vec![0_u64, 15]), any::<bool>());
    (probe, select(vec![0_u64, 1, 10, 60]), 1..3_u32).prop_map(
        |((period, failures, successes, delay, liveness), healthy, unavailable)| {
            let successes = if liveness { 1 } else { successes };
            let probe = json!({
                "tcp": { "port": 80 }, "period": format!("{period}s"), "failure_threshold": failures,
                "success_threshold": successes, "initial_delay": format!("{delay}s"),
            });
            let kind = if liveness { "liveness" } else { "readiness" };
            json!({
                "unit": "webapp@.service", "max_unavailable": unavailable, "probes": { kind: probe },
                "config": { "apply": "reload" },
                "rollout": { "min_healthy_time": format!("{healthy}s"), "healthy_deadline": "3m" },
            })
        },
    )
}

/// Four replicas that serve with configuration 1, and configuration 2, which serves nothing.
fn fleet(spec: &Value, reloads: bool, confirms: bool) -> Sim {
    let mut sim = Sim::new(&HOSTS);
    for host in HOSTS {
        let setup = &mut sim.host(host).setup;
        (setup.confirms, setup.broken) = (confirms, BTreeSet::from([2]));
    }
    let mut spec = spec.clone();
    merge(&mut spec, &json!({ "config": { "apply": if reloads { "reload" } else { "restart" } } }));
    sim.service("webapp", &spec, &json!({ "replicas": 4, "config_version": 1 }));
    sim.tree.put("/services/webapp/config", "{}");
    for revision in [1, 2, 3] {
        sim.tree.put(&format!("/services/webapp/config/{revision}"), "{\"files\":{}}");
    }
    assert_eq!(outcome(&mut sim), "completed");
    sim
}

/// How the newest rollout ends.
fn outcome(sim: &mut Sim) -> String {
    sim.settle();
    for _ in 0..200 {
        let state = sim.status("webapp").rollout.unwrap().state;
        if state.has_ended() {
            return state.to_string();
        }
        sim.sleep(7);
        sim.settle();
    }
    "under way".to_owned()
}

fn broken(sim: &Sim) -> usize {
    sim.hosts.values().map(Host::broken_processes).sum()
}

fn act(sim: &mut Sim, turn: &Turn) {
    match turn {
        Turn::Controller => _ = sim.round(),
        Turn::Agent(host) => _ = sim.step_agent(host),
        Turn::Everyone => HOSTS.into_iter().for_each(|host| _ = sim.step_agent(host)),
        Turn::Pass(millis) => sim.sleep_millis(*millis),
    }
}

/// The most replicas that had configuration 2 at once, until it was given up.
fn most_broken(sim: &mut Sim, turns: &[Turn]) -> usize {
    sim.patch_desired("webapp", &json!({ "config_version": 2 }));
    let mut most = 0;
    for turn in turns {
        act(sim, turn);
        most = most.max(broken(sim));
    }
    for _ in 0..200 {
        sim.run_agents();
        sim.round();
        most = most.max(broken(sim));
        if broken(sim) == 0 && sim.status("webapp").rollout.is_some_and(|it| it.number > 1 && it.state.has_ended()) {
            break;
        }
        sim.sleep(5);
    }
    most
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_serves_nothing_never_gets_beyond_max_unavailable(
        spec in service(),
        reloads: bool,
        turns in vec(turn(), 0..120),
    ) {
        let mut sim = fleet(&spec, reloads, true);
        let max = usize::try_from(spec["max_unavailable"].as_u64().unwrap()).unwrap();
        let most = most_broken(&mut sim, &turns);
        prop_assert!(most <= max, "{most} of 4 had it: {}", sim.log.join("\n"));
        prop_assert_eq!(outcome(&mut sim), "rolled_back", "{}", sim.log.join("\n"));
        prop_assert_eq!(broken(&sim), 0);
        sim.patch_desired("webapp", &json!({ "config_version": 3 }));
        prop_assert_eq!(outcome(&mut sim), "completed", "{}", sim.log.join("\n"));
    }
}

/// A process that is restarted because it is not alive is on trial anew. Its status said nothing of that for as long as the
/// restart was under way, and that it runs what is wanted: the next replica was changed for it.
#[test]
fn one_that_is_restarted_for_its_liveness_is_not_believed_meanwhile() {
    let probe = json!({ "tcp": { "port": 80 }, "period": "2s", "failure_threshold": 3 });
    let spec = json!({
        "unit": "webapp@.service", "max_unavailable": 1, "probes": { "liveness": probe },
        "rollout": { "min_healthy_time": "0s", "healthy_deadline": "3m" },
    });
    for step in 0..12 {
        let mut sim = fleet(&spec, false, true);
        let turns: Vec<_> = (0..12).map(|_| Turn::Everyone).chain([Turn::Pass(3_000), Turn::Everyone]).collect();
        let revived =
            [Turn::Pass(3_000)].into_iter().chain((0..step).map(|_| Turn::Everyone)).chain([Turn::Controller]);
        let turns: Vec<_> = [Turn::Controller, Turn::Controller].into_iter().chain(turns).chain(revived).collect();
        assert_eq!(most_broken(&mut sim, &turns), 1, "after {step} steps: {}", sim.log.join("\n"));
    }
}

/// An agent of a release that says nothing of trials is judged as it was before: by its word that the replica is ready.
#[test]
fn agents_that_say_nothing_of_trials_are_believed() {
    let spec = json!({
        "unit": "webapp@.service", "config": { "apply": "reload" }, "probes": { "readiness": { "tcp": { "port": 80 } } },
        "rollout": { "min_healthy_time": "10s" },
    });
    let mut sim = fleet(&spec, true, false);
    assert!(most_broken(&mut sim, &[]) > 1, "which is why newer ones do say it");
    let mut sim = fleet(&spec, true, false);
    sim.patch_desired("webapp", &json!({ "config_version": 3 }));
    assert_eq!(outcome(&mut sim), "completed");
}
