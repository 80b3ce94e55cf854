//! Random histories of one host: whatever happens, and whenever, what must hold does.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Value, json};

use super::{REPLICAS, Step, World};
use crate::sim::{
    systemd::FAILS,
    tasks::{Luck, REJECTED},
};

fn keys() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(vec!["v1", "v2", "v3", FAILS, REJECTED]).prop_map(|version| json!({ "version": version })),
        2 => select(vec!["enabled", "disabled", "drain"]).prop_map(|mode| json!({ "mode": mode })),
        2 => (1..4).prop_map(|config| json!({ "config": {}, "config_version": config })),
        1 => Just(json!({ "config": null, "config_version": null })),
        1 => Just(json!({ "source": { "exec": { "command": ["/bin/true"] } } })),
        1 => Just(json!({ "source": null })),
        1 => Just(json!({ "probes": { "readiness": { "tcp": {} } }, "port": 80 })),
        1 => Just(json!({ "probes": null })),
        1 => select(vec!["a", "b"]).prop_map(|value| json!({ "environment": { "A": value } })),
        1 => Just(json!({ "drain_time": "3s" })),
        1 => select(vec!["other@1.service", "shared.service"]).prop_map(|unit| json!({ "unit": unit })),
        1 => Just(json!({})),
    ]
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![6 => Just(Luck::Good), 1 => Just(Luck::Fails), 1 => Just(Luck::Lost)]
}

fn replica() -> impl Strategy<Value = &'static str> {
    select(&REPLICAS[..])
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        16 => Just(Step::Turn),
        24 => (index(), luck()).prop_map(|(index, luck)| Step::Advance(index, luck)),
        4 => Just(Step::Settle),
        5 => select(vec![1_u64, 50, 1_000, 5_000, 70_000, 400_000]).prop_map(Step::Sleep),
        4 => Just(Step::Probe),
        1 => (replica(), any::<bool>()).prop_map(|(id, sick)| Step::Sick(id, sick)),
        8 => (replica(), keys()).prop_map(|(id, keys)| Step::Assign(id, keys)),
        3 => (replica(), prop::bool::weighted(0.7)).prop_map(|(id, moved)| Step::Withdraw(id, moved)),
        2 => (index(), any::<bool>()).prop_map(|(index, fails)| Step::End(index, fails)),
        3 => any::<bool>().prop_map(Step::Kill),
        5 => Just(Step::Start),
        1 => Just(Step::Crash),
        2 => Just(Step::Disconnect),
        4 => Just(Step::Connect),
        2 => any::<bool>().prop_map(Step::Expire),
        1 => index().prop_map(Step::Delete),
        1 => index().prop_map(Step::Revert),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_host_its_agent_does_no_harm_and_comes_to_rest(steps in vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.happens(step);
            prop_assert!(world.wrong.is_empty(), "{}", world.told());
        }
        world.come_to_rest();
        prop_assert!(world.wrong.is_empty(), "{}", world.told());
    }
}
