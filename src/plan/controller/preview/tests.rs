//! What a preview says, and that the controller then does it.
#![allow(clippy::unwrap_used)]

mod leaving;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use proptest::{option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::{
    model::{HostName, HostSpec, ReplicaDesired, ReplicaId, ReplicaNumber},
    plan::controller::{Prospects, prospects},
    sim::cluster::Sim,
    tree::{snapshot::Cluster, txn::Op},
};

const HOSTS: [&str; 5] = ["web1", "web2", "web3", "web4", "web5"];

fn nodes(sim: &Sim) -> Vec<(String, Znode)> {
    let znode = |node: &Znode<_>| Znode {
        data: AsRef::<[u8]>::as_ref(&node.data).to_vec(),
        version: node.version,
        created: node.created,
    };
    sim.tree.iter().map(|(path, node)| (path.to_owned(), znode(node))).collect()
}

fn foreseen(sim: &Sim, changes: &Changes) -> Report {
    preview(nodes(sim), changes, sim.now, &Terms::default()).unwrap()
}

fn document(path: &str, document: &Value) -> (String, Vec<u8>) {
    (path.to_owned(), document.to_string().into_bytes())
}

/// A step as the test for agreement writes it; what only agents do is left out.
fn line(step: &Step) -> Option<String> {
    let id = |number: Option<ReplicaNumber>| format!("{}.{}", step.service, number.unwrap().0);
    Some(match &step.what {
        What::Placed { on, .. } => format!("{} on {on}", id(step.replica)),
        What::Moved { from, to, .. } => format!("{} from {from} to {to}", id(step.replica)),
        What::Updated { rollout, .. } => format!("{} by {}", id(step.replica), rollout.unwrap()),
        What::Retired { .. } => format!("{} retired", id(step.replica)),
        What::Removed { .. } => format!("{} removed", id(step.replica)),
        What::Switched { mode, .. } => format!("{} {mode}", id(step.replica)),
        What::Rollout { .. } => return None,
    })
}

fn lines(report: &Report) -> Vec<Vec<String>> {
    let round = |round: &RoundReport| {
        let mut lines: Vec<String> = round.steps.iter().filter_map(line).collect();
        lines.sort();
        lines
    };
    report.rounds.iter().map(round).filter(|round| !round.is_empty()).collect()
}

/// What is wanted of each replica.
fn wishes(cluster: &Cluster) -> BTreeMap<ReplicaId, ReplicaDesired> {
    let of = |(name, view): (&ServiceName, &ServiceView)| {
        let replicas = view.replicas.iter().filter_map(|(number, replica)| {
            let id = ReplicaId { service: name.clone(), number: *number };
            Some((id, replica.desired.as_ref()?.good()?.clone()))
        });
        replicas.collect::<Vec<_>>()
    };
    cluster.services.iter().flat_map(of).collect()
}

/// What one round of the real controller has changed.
fn changed(before: &Cluster, after: &Cluster) -> Vec<String> {
    let (before, after) = (wishes(before), wishes(after));
    let mut lines = Vec::new();
    for (id, is) in &after {
        let name = format!("{}.{}", id.service, id.number.0);
        let was = before.get(id);
        let from = was.and_then(|was| was.node.as_ref());
        let told = was.is_some_and(|was| was.rollout != is.rollout);
        match (from, is.node.as_ref()) {
            (None, Some(on)) => lines.push(format!("{name} on {on}")),
            (Some(from), Some(to)) if from != to => lines.push(format!("{name} from {from} to {to}")),
            (Some(_), Some(_)) if is.removing && !was.unwrap().removing => lines.push(format!("{name} retired")),
            (Some(_), Some(_)) if told => lines.push(format!("{name} by {}", is.rollout.unwrap())),
            (Some(_), Some(_)) if was.unwrap().mode != is.mode => lines.push(format!("{name} {}", is.mode)),
            _ => {}
        }
    }
    let gone = before.keys().filter(|id| !after.contains_key(*id));
    lines.extend(gone.map(|id| format!("{}.{} removed", id.service, id.number.0)));
    lines.sort();
    lines
}

/// Everyone goes on until nobody has anything to do; what each round of the controller changed.
fn carried_out(sim: &mut Sim) -> Vec<Vec<String>> {
    let mut rounds = Vec::new();
    carry_out(sim, |_, before, after, _| rounds.push(changed(before, after)));
    rounds.retain(|round| !round.is_empty());
    rounds
}

/// Everyone goes on until nobody has anything to do. What the tree was before and after each round of the controller is looked
/// at, and whether it had nothing to do.
fn carry_out(sim: &mut Sim, mut look: impl FnMut(&Sim, &Cluster, &Cluster, bool)) {
    for _ in 0..5_000 {
        sim.run_agents();
        let before = sim.cluster();
        let landed = sim.round();
        look(sim, &before, &sim.cluster(), !landed);
        if landed || promote(sim) {
            continue;
        }
        let Some(due) = sim.leader.due() else { return };
        let millis = due.duration_since(sim.now).as_millis();
        sim.sleep_millis(u64::try_from(millis).unwrap_or(0).max(1));
    }
    panic!("the cluster does not come to rest: {:#?}", &sim.log[sim.log.len() - 10..]);
}

fn promote(sim: &mut Sim) -> bool {
    let cluster = sim.cluster();
    let waiting = cluster.services.iter().find_map(|(name, view)| Some((name, waiting_canary(view)?)));
    let Some((name, rollout)) = waiting else { return false };
    let order = RolloutOrder { rollout, action: RolloutAction::Promote, by: None, earlier: Vec::new() };
    sim.tree.put(&layout::rollouts(name), encode(&order));
    true
}

/// What an operator or fate does.
#[derive(Clone, Debug, Default)]
struct Change {
    desired: Value,
    spec: Value,
    lose: Option<&'static str>,
    drain: Option<&'static str>,
    add: usize,
}

fn spec() -> impl Strategy<Value = Value> {
    let rollout = (0..3_u32, 0..3_u32, any::<bool>(), select(vec![0, 10, 60]), 1..3_u32);
    let placement = (option::of(1..4_u32), any::<bool>());
    (rollout, placement, 1..3_u32, any::<bool>()).prop_map(
        |((canary, surge, auto, healthy, batch), (most, spread), unavailable, first)| {
            let mut placement = json!({});
            if let Some(most) = most {
                placement["max_per_host"] = most.into();
            }
            if spread {
                placement["spread"] = "zone".into();
            }
            placement["move"] = if first { "start-first" } else { "stop-first" }.into();
            json!({
                "unit": "webapp@.service", "max_unavailable": unavailable, "placement": placement, "config": {},
                "rollout": {"canary": canary, "max_surge": surge, "auto_promote": auto, "batches": [batch],
                            "min_healthy_time": format!("{healthy}s"), "batch_pause": "30s"},
            })
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let desired = prop_oneof![
        2 => Just(json!({})),
        3 => Just(json!({"version": "v2"})),
        1 => Just(json!({"config_version": 2})),
        2 => (1..9_u32).prop_map(|replicas| json!({"replicas": replicas})),
        2 => (1..9_u32).prop_map(|replicas| json!({"replicas": replicas, "version": "v2"})),
        1 => select(vec!["disabled", "drain"]).prop_map(|mode| json!({"mode": mode})),
    ];
    let spec = prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({"environment": {"A": "1"}})),
        1 => Just(json!({"placement": {"max_per_host": 1}})),
        1 => Just(json!({"placement": {"constraints": ["zone=a"]}})),
    ];
    (desired, spec, option::weighted(0.3, select(&HOSTS[..])), option::weighted(0.3, select(&HOSTS[..])), 0..3_usize)
        .prop_map(|(desired, spec, lose, drain, add)| Change { desired, spec, lose, drain, add })
}

/// Two services at rest on hosts in two zones.
fn fleet(spec: &Value, replicas: u32) -> Sim {
    let mut sim = Sim::new(&HOSTS);
    for (index, host) in HOSTS.into_iter().enumerate() {
        sim.tree.put(
            &format!("/hosts/{host}"),
            json!({"labels": {"zone": if index % 2 == 0 { "a" } else { "b" }}}).to_string(),
        );
    }
    sim.service("webapp", spec, &json!({"replicas": replicas, "version": "v1", "config_version": 1}));
    sim.tree.put("/services/webapp/config", "{}");
    for revision in ["1", "2"] {
        sim.tree.put(&format!("/services/webapp/config/{revision}"), r#"{"files": {"a": {"text": "x"}}}"#);
    }
    sim.service("other", &json!({"unit": "other@.service", "max_unavailable": 1}), &json!({"replicas": 4}));
    _ = carried_out(&mut sim);
    assert!(sim.places("webapp").contains("=web"), "{}", sim.log.join("\n"));
    sim
}

fn put_on(sim: &mut Sim, change: &Change) -> Changes {
    let before = sim.cluster();
    sim.patch("/services/webapp", &change.spec);
    sim.patch_desired("webapp", &change.desired);
    let read = |sim: &Sim, path: &str| (path.to_owned(), sim.tree.get(path).unwrap().to_vec());
    let documents = vec![read(sim, "/services/webapp"), read(sim, "/services/webapp/desired")];
    let name = |host: &str| host.parse::<HostName>().unwrap();
    if let Some(host) = change.drain {
        let word = before.hosts[&name(host)].spec.as_ref().and_then(Doc::good).cloned().unwrap();
        sim.tree.put(&format!("/hosts/{host}"), encode(&HostSpec { drain: true, ..word }));
    }
    for number in 1..=change.add {
        let new = format!("web3-new{number}");
        let spec = before.hosts[&name("web3")].spec.as_ref().and_then(Doc::good).cloned().unwrap();
        sim.tree.put(&format!("/hosts/{new}"), encode(&spec));
        sim.add_host(&new);
    }
    if let Some(host) = change.lose {
        sim.crash(host);
    }
    let hosts = |host: Option<&str>| host.map(name).into_iter().collect();
    let like = (change.add > 0).then(|| name("web3"));
    Changes { documents, lose: hosts(change.lose), drain: hosts(change.drain), add: change.add, like }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    // Without a drain time: agents take no time in a preview.
    #[test]
    fn what_is_foreseen_is_what_happens(spec in spec(), replicas in 1..7_u32, change in change()) {
        let mut sim = fleet(&spec, replicas);
        let before = nodes(&sim);
        let changes = put_on(&mut sim, &change);
        let report = preview(before, &changes, sim.now, &Terms { failover_max_fraction: sim.max_fraction, ..Terms::default() }).unwrap();
        prop_assert!(report.rests, "{report:#?}");
        sim.log.clear();
        let happened = carried_out(&mut sim);
        prop_assert_eq!(lines(&report), happened, "{}", sim.log.join("\n"));
    }
}

/// What `zkops explain` said of hosts before the round, and the controller did otherwise: it put a replica where one does not
/// fit, or left one nowhere for good though it fits somewhere. `looked_at` counts both.
fn belied(sim: &Sim, before: &Cluster, after: &Cluster, at_rest: bool, looked_at: &Cell<(u32, u32)>) -> Vec<String> {
    let context = Context::of_onlooker(sim.now);
    let (was, is) = (wishes(before), wishes(after));
    let on = |wishes: &BTreeMap<ReplicaId, ReplicaDesired>, id: &ReplicaId| wishes.get(id)?.node.clone();
    // What one decision of a round makes room for, another may take.
    let left: BTreeSet<_> = was.keys().filter(|id| on(&was, id) != on(&is, id)).filter_map(|id| on(&was, id)).collect();
    let mut wrong = Vec::new();
    for id in was.keys() {
        let Prospects { held, hosts } = prospects(before, &context, id);
        match (on(&was, id), on(&is, id)) {
            (from, Some(to)) if from.as_ref() != Some(&to) && !left.contains(&to) => {
                looked_at.update(|(placed, nowhere)| (placed + 1, nowhere));
                let against = hosts.get(&to).cloned().flatten().or(held);
                wrong.extend(against.map(|against| format!("{id} on {to}: {against}")));
            }
            (None, None) if at_rest && held.is_none() => {
                looked_at.update(|(placed, nowhere)| (placed, nowhere + 1));
                let fits = hosts.iter().filter(|(_, against)| against.is_none());
                wrong.extend(fits.map(|(host, _)| format!("{id} nowhere, though {host} fits")));
            }
            _ => {}
        }
    }
    wrong
}

#[test]
fn what_is_explained_is_what_is_done() {
    let looked_at = Cell::new((0, 0));
    let config = ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() };
    proptest!(config, |(spec in spec(), replicas in 1..7_u32, change in change())| {
        let mut sim = fleet(&spec, replicas);
        put_on(&mut sim, &change);
        let mut wrong = Vec::new();
        carry_out(&mut sim, |sim, before, after, at_rest| wrong.extend(belied(sim, before, after, at_rest, &looked_at)));
        prop_assert_eq!(wrong, Vec::<String>::new(), "{}", sim.log.join("\n"));
    });
    let (placed, nowhere) = looked_at.get();
    assert!(placed > 0 && nowhere > 0, "{placed} placed, {nowhere} nowhere");
}

fn plain() -> Sim {
    fleet(&json!({"unit": "webapp@.service", "rollout": {"min_healthy_time": "10s", "canary": 1}}), 3)
}

#[test]
fn a_rollout_is_told_in_its_order() {
    let sim = plain();
    let wish = json!({"replicas": 3, "version": "v2", "config_version": 1});
    let report =
        foreseen(&sim, &Changes { documents: vec![document("/services/webapp/desired", &wish)], ..Changes::default() });
    let told: Vec<String> = report.rounds.iter().flat_map(|round| &round.steps).filter_map(line).collect();
    assert_eq!(told, ["webapp.2 by 2", "webapp.3 by 2", "webapp.4 by 2"]);
    let rollouts = report.rounds.iter().flat_map(|round| &round.steps).filter_map(|step| match step.what {
        What::Rollout { number: 2, state, pause, .. } => Some((state, pause)),
        _ => None,
    });
    let expected = [
        (RolloutState::Running, None),
        (RolloutState::Paused, Some(PauseCause::Canary)),
        (RolloutState::Running, None),
        (RolloutState::Completed, None),
    ];
    assert_eq!(rollouts.collect::<Vec<_>>(), expected);
    assert_eq!((report.rests, report.lasts), (true, Span::from_secs(30)));
    let end = &report.services[&"webapp".parse().unwrap()];
    assert_eq!((end.ready, end.wanted, end.undone.as_slice()), (3, 3, &[][..]));
}

#[test]
fn without_promotion_it_ends_at_the_canary() {
    let sim = plain();
    let wish = json!({"replicas": 3, "version": "v2", "config_version": 1});
    let changes = Changes { documents: vec![document("/services/webapp/desired", &wish)], ..Changes::default() };
    let report = preview(nodes(&sim), &changes, sim.now, &Terms { promotes: false, ..Terms::default() }).unwrap();
    assert_eq!(lines(&report), [["webapp.2 by 2"]]);
    let undone = &report.services[&"webapp".parse().unwrap()].undone;
    assert!(undone.iter().any(|it| it.kind == crate::model::ConditionKind::RolloutPaused && !it.today), "{undone:?}");
}

#[test]
fn what_can_not_be_done_is_told() {
    let sim = plain();
    let lose = HOSTS.map(|host| host.parse().unwrap()).to_vec();
    let report = foreseen(&sim, &Changes { lose, ..Changes::default() });
    assert_eq!(lines(&report), Vec::<Vec<String>>::new());
    let undone = &report.services[&"webapp".parse().unwrap()].undone;
    assert!(undone.iter().any(|it| it.kind == crate::model::ConditionKind::FailoverHeld), "{undone:?}");
}

#[test]
fn hosts_that_are_not_there_are_named() {
    let sim = plain();
    let nope: HostName = "nope".parse().unwrap();
    let of = |changes: Changes| preview(nodes(&sim), &changes, sim.now, &Terms::default()).unwrap_err();
    assert_eq!(of(Changes { lose: vec![nope.clone()], ..Changes::default() }), UnknownHost::Missing(nope.clone()));
    assert_eq!(of(Changes { drain: vec![nope.clone()], ..Changes::default() }), UnknownHost::Missing(nope));
    let all = HOSTS.map(|host| host.parse().unwrap()).to_vec();
    assert_eq!(of(Changes { lose: all, add: 1, ..Changes::default() }), UnknownHost::NoneIsAlive);
}

/// Hosts like those that are lost take over.
#[test]
fn added_hosts_are_used() {
    let sim = plain();
    let lose = [HOSTS[0], HOSTS[1]].map(|host| host.parse().unwrap()).to_vec();
    let report = foreseen(&sim, &Changes { lose, add: 2, ..Changes::default() });
    let moved: Vec<_> = report
        .rounds
        .iter()
        .flat_map(|round| &round.steps)
        .filter_map(|step| match &step.what {
            What::Moved { to, .. } => Some(to.as_str()),
            _ => None,
        })
        .collect();
    assert!(moved.iter().any(|to| to.contains("-new")), "{moved:?}");
    assert!(
        report.rounds[0].steps.iter().all(|step| step.why.contains("has been lost since")),
        "{:?}",
        report.rounds[0]
    );
}

#[test]
fn what_is_not_of_the_tree_does_not_land() {
    let mut world = World::new(Vec::new());
    assert!(!world.write("/services/webapp", b"{}"));
    assert!(world.commit(&[Op::Check { path: "/services".into(), version: 0 }]).is_err());
    assert_eq!(world.cluster, Cluster::default());
}
