//! Calm histories: operators change what runs, drain hosts, and nothing breaks but what they roll out. Then, whatever ends late
//! or gets lost on the way, no more than `max_unavailable` replicas are missing at any time.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Value, json};

use super::{
    steps::{HOSTS, Step, luck},
    world::World,
};
use crate::{
    model::{Instance, ReplicaId, decode},
    sim::{
        cluster::{FAILS, REJECTED, UNREADY},
        story::Story,
    },
    tree::layout,
};

const SERVICE: &str = "alpha";
const REPLICAS: usize = 3;

/// How the service is updated, and what happens.
#[derive(Clone, Debug)]
pub(super) struct Calm {
    unavailable: usize,
    spec: Value,
    pub(super) steps: Vec<Step>,
}

pub(super) fn calm() -> impl Strategy<Value = Calm> {
    let policy = (0..3_usize, select(vec![0, 1, 2]), select(vec![0, 1]), select(vec!["0s", "5s"]), any::<bool>());
    (policy, vec(step(), 1..200)).prop_map(|((unavailable, surge, canary, healthy, first), steps)| {
        let surge = if unavailable == 0 { surge.max(1) } else { surge };
        let spec = json!({
            "unit": "alpha@.service", "max_unavailable": unavailable, "config": { "keep": 2 },
            "placement": { "move": if first { "start-first" } else { "stop-first" } },
            "rollout": { "max_surge": surge, "canary": canary, "min_healthy_time": healthy, "healthy_deadline": "60s" },
        });
        Calm { unavailable, spec, steps }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let host = || select(&HOSTS[..]);
    let words = vec![json!({}), json!({}), json!({ "cordon": true }), json!({ "drain": true })];
    let versions = vec!["v1", "v2", "v3", FAILS, UNREADY, REJECTED];
    prop_oneof![
        20 => (select(vec![0_usize, 0, 0, 1]), prop::bool::weighted(0.8), select(vec![1_usize, 100, 100]))
            .prop_map(|(who, fresh, transactions)| Step::Control { who, fresh, transactions }),
        30 => host().prop_map(Step::Turn),
        40 => (host(), any::<Index>(), luck()).prop_map(|(host, index, luck)| Step::Advance(host, index, luck)),
        4 => Just(Step::Agents),
        4 => Just(Step::Settle),
        8 => select(vec![1_u64, 1, 3, 11, 70]).prop_map(Step::Sleep),
        1 => select(vec![10_u64, 100]).prop_map(Step::Leaderless),
        2 => (host(), any::<bool>()).prop_map(|(host, goes_on)| Step::Kill(host, goes_on, true)),
        3 => select(versions).prop_map(|version| Step::Desired(SERVICE, json!({ "version": version }))),
        1 => Just(Step::Push(SERVICE, 1)),
        1 => Just(Step::Undo(SERVICE)),
        3 => (host(), select(words)).prop_map(|(host, words)| Step::Host(host, words)),
        2 => vec(select(vec!["pause", "resume", "promote", "abort"]), 1..3).prop_map(|words| Step::Order(SERVICE, words)),
        1 => any::<Index>().prop_map(|index| Step::Leave(SERVICE, index)),
        1 => select(vec!["a", "b"]).prop_map(|value| Step::Describe(SERVICE, json!({ "environment": { "A": value } }))),
    ]
}

/// Lets it happen.
pub(super) fn happens(story: &Story, Calm { unavailable, spec, steps }: &Calm) {
    let mut world = World::told_in(story);
    world.describe(SERVICE, spec);
    world.happen(&Step::Desired(SERVICE, json!({ "replicas": REPLICAS })));
    world.sim.live(20);
    world.refresh();
    assert_eq!(serving(&world), REPLICAS, "it does not begin");
    for step in steps {
        match step {
            // No agent is away for as long as a session lasts.
            Step::Sleep(seconds) | Step::Leaderless(seconds) => {
                for _ in 0..*seconds {
                    world.sim.run_agents();
                    check(&world, *unavailable);
                    world.sim.sleep(1);
                }
                world.sim.run_agents();
            }
            step => world.happen(step),
        }
        check(&world, *unavailable);
    }
}

fn check(world: &World, unavailable: usize) {
    let serve = serving(world);
    assert!(serve + unavailable >= REPLICAS, "{serve} of {REPLICAS} serve, {unavailable} may be missing");
}

/// How many replicas are found by clients, and answer them.
fn serving(world: &World) -> usize {
    let service = SERVICE.parse().unwrap();
    let tree = &world.sim.tree;
    let below = layout::instances(&service);
    let found = tree.below(&below).filter_map(|path| {
        let host = path.rsplit('/').next()?.split('@').next()?;
        let number = decode::<Instance>(tree.get(path)?).ok()?.replica;
        Some((host, ReplicaId { service: service.clone(), number }))
    });
    let serves = |(host, id): &(&str, ReplicaId)| world.sim.hosts[&host.parse().unwrap()].is_serving(id);
    found.filter(serves).count()
}
