//! Random operators, faults and interleavings: every plan is checked before it lands, every landing after; and once
//! everyone leaves it alone, the cluster comes to rest as wanted.
#![allow(clippy::unwrap_used)]

mod steps;
mod trial;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use self::steps::{HOSTS, SERVICES, Step, step};

use super::{
    Context, Memory, check, host, plan,
    sim::{Host, Seen, Sim, Tree, merge},
};
use crate::{
    model::{
        Accepts, AllowedUnits, ConfigPolicy, Mode, PauseCause, ReplicaId, ReplicaNumber, Rollout, RolloutOrder,
        RolloutState, ServiceName, ServiceStatus, decode, encode,
    },
    tree::{
        layout,
        snapshot::{Cluster, Doc},
    },
};

/// A controller: what it last saw, and what it remembers.
#[derive(Default)]
struct Controller {
    seen: Seen,
    memory: Memory,
    looks: usize,
}

impl Controller {
    fn look(&mut self, tree: &Tree) {
        self.seen.look(tree);
        self.looks += 1;
        // What was taken in wrongly stays wrong, as a rule: it need not be found at once.
        if self.looks.is_multiple_of(16) {
            assert_eq!(self.seen.cluster, tree.cluster(), "change by change is not the same as at once");
        }
    }
}

/// The cluster, two controllers that take turns, and what the operators mean.
struct World {
    sim: Sim,
    controllers: [Controller; 2],
    /// Which of them planned last.
    leader: Option<usize>,
    specs: BTreeMap<&'static str, Value>,
    desireds: BTreeMap<&'static str, Value>,
    hosts: BTreeMap<&'static str, Value>,
    /// How many configurations were pushed of each service.
    pushed: BTreeMap<&'static str, u64>,
    /// Hosts that die for good in the end.
    doomed: BTreeSet<&'static str>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            sim: Sim::new(&HOSTS),
            controllers: <[Controller; 2]>::default(),
            leader: None,
            specs: BTreeMap::new(),
            desireds: BTreeMap::new(),
            hosts: HOSTS.iter().map(|host| (*host, json!({}))).collect(),
            pushed: BTreeMap::new(),
            doomed: BTreeSet::new(),
        };
        for (name, unit) in [("alpha", "alpha@.service"), ("beta", "beta.service"), ("gamma", "gamma@.service")] {
            world.specs.insert(name, json!({ "unit": unit, "config": { "keep": 1 } }));
            world.desireds.insert(name, json!({ "replicas": 2, "version": "v1" }));
            world.write(name);
        }
        world
    }

    fn write(&mut self, name: &str) {
        let (spec, desired) = (self.specs[name].clone(), self.desireds[name].clone());
        self.sim.service(name, &spec, &desired);
    }

    fn happen(&mut self, step: &Step) {
        match step {
            Step::Control { who, fresh, transactions } => self.control(*who, *fresh, *transactions),
            Step::Agent(host) => self.agent(host),
            Step::Agents => HOSTS.into_iter().for_each(|host| self.agent(host)),
            Step::Settle => self.settle(),
            Step::Sleep(seconds) => self.sim.sleep(*seconds),
            Step::Leaderless(seconds) => {
                self.leader = None;
                self.sim.sleep(*seconds);
            }
            Step::Turn(host) => self.turn(host),
            Step::Advance(host, index, luck) => self.on_host(host, |host, tree| host.advance_one(*index, tree, *luck)),
            Step::Kill(host, goes_on, back) => self.on_host(host, |host, tree| {
                host.kill_agent(tree, *goes_on);
                if *back {
                    host.boot();
                }
            }),
            Step::PowerOff(host, back) => self.on_host(host, |host, tree| {
                host.crash(tree);
                if *back {
                    host.boot();
                }
            }),
            Step::Disconnect(host) => self.sim.host(host).disconnect(),
            Step::End(host, index, fails) => self.sim.host(host).end_one(*index, *fails),
            Step::Sick(host, sick) => self.sim.host(host).fall_sick(*sick),
            Step::Revert(host, index) => self.sim.host(host).revert_one(*index),
            Step::Crash(host) => self.sim.crash(host),
            Step::Cut(host) => self.sim.cut(host),
            Step::ShutDown(host) => self.sim.shut_down(host),
            Step::Boot(host) => self.sim.boot(host),
            Step::Doom(hosts) => self.doomed.extend(hosts),
            Step::Fail(hosts, service) => self.choose_hosts(service, hosts, |host| &mut host.setup.failing),
            Step::Refuse(hosts, service) => self.choose_hosts(service, hosts, |host| &mut host.setup.refused),
            Step::Leave(service, index) => self.leave(service, *index),
            Step::Allow(host, units) => self.allow(host, units.as_deref()),
            Step::Desired(service, keys) => {
                merge(self.desireds.get_mut(service).unwrap(), keys);
                self.write(service);
            }
            Step::Describe(service, keys) => self.describe(service, keys),
            Step::Order(service, actions) => actions.iter().for_each(|action| self.order(service, action)),
            Step::Undo(service) => self.undo(service),
            Step::Push(service, count) => (0..*count).for_each(|_| self.push(service)),
            Step::Host(host, words) => {
                self.hosts.insert(host, words.clone());
                self.sim.tree.put(&format!("/hosts/{host}"), words.to_string());
            }
            Step::Garbage(index, garbage) => {
                let path = self.some_path(*index);
                self.sim.tree.put(&path, garbage);
            }
            Step::Delete(index) => {
                let path = self.some_path(*index);
                self.sim.tree.delete_all(&path);
                self.refresh();
            }
        }
    }

    /// A service that is being deleted comes back under its name only when it is gone.
    fn describe(&mut self, service: &'static str, keys: &Value) {
        merge(self.specs.get_mut(service).unwrap(), keys);
        self.write(service);
        if self.specs[service]["deleting"] == json!(true) {
            self.specs.get_mut(service).unwrap().as_object_mut().unwrap().remove("deleting");
        }
    }

    /// The service is in that set of these hosts' agents from now on, and of no other's.
    fn choose_hosts(&mut self, service: &str, hosts: &[&str], set: impl Fn(&mut Host) -> &mut BTreeSet<ServiceName>) {
        let service: ServiceName = service.parse().unwrap();
        for host in HOSTS {
            let set = set(self.sim.host(host));
            if hosts.contains(&host) {
                set.insert(service.clone());
            } else {
                set.remove(&service);
            }
        }
    }

    /// As `zkops rebalance` writes it.
    fn leave(&mut self, service: &str, index: prop::sample::Index) {
        let cluster = self.sim.look();
        let Some(view) = cluster.services.get(&service.parse().unwrap()) else { return };
        let placed = |number: &ReplicaNumber| Some((number.0.to_string(), host::placed_on(view, *number)?.to_string()));
        let placed: Vec<_> = view.replicas.keys().filter_map(placed).collect();
        if !placed.is_empty() {
            let (number, host) = index.get(&placed);
            self.sim.tree.put(&format!("/services/{service}/moves"), json!({ "leave": { number: host } }).to_string());
        }
    }

    fn allow(&mut self, host: &str, units: Option<&[&str]>) {
        let units = units.map(|units| units.iter().map(|unit| unit.parse().unwrap()).collect());
        self.sim.host(host).setup.accepts =
            units.map(|units| Accepts { units: AllowedUnits::new(units), ..Accepts::default() });
    }

    fn agent(&mut self, host: &str) {
        let now = self.sim.now;
        self.on_host(host, |host, tree| _ = host.step(tree, now));
    }

    fn turn(&mut self, host: &str) {
        let now = self.sim.now;
        self.on_host(host, |host, tree| host.turn_at(tree, now));
    }

    fn on_host(&mut self, name: &str, act: impl FnOnce(&mut Host, &mut Tree)) {
        let host = self.sim.hosts.get_mut(&name.parse().unwrap()).unwrap();
        act(host, &mut self.sim.tree);
    }

    fn settle(&mut self) {
        for _ in 0..8 {
            let before = self.sim.tree.clone();
            for host in HOSTS.into_iter().flat_map(|host| [host; 3]) {
                self.agent(host);
            }
            self.control(0, true, usize::MAX);
            if self.sim.tree == before {
                break;
            }
        }
    }

    fn some_path(&self, index: prop::sample::Index) -> String {
        let ours = |path: &&str| path.matches('/').count() >= 2;
        let paths: Vec<&str> = self.sim.tree.paths().filter(ours).filter(|path| !path.starts_with("/con")).collect();
        (*index.get(&paths)).to_owned()
    }

    /// No snapshot survives a deletion by hand: versions start anew, and only the leader's lock tells old from new.
    fn refresh(&mut self) {
        for controller in &mut self.controllers {
            controller.look(&self.sim.tree);
        }
    }

    fn control(&mut self, who: usize, fresh: bool, transactions: usize) {
        let controller = &mut self.controllers[who];
        // No one plans that has not seen the tree since it leads.
        let fresh = fresh || self.leader != Some(who);
        if fresh {
            controller.look(&self.sim.tree);
        }
        controller.memory.observe(&controller.seen.cluster, self.sim.now);
        if self.leader != Some(who) {
            controller.memory.lead_from(self.sim.now);
            self.leader = Some(who);
        }
        let context = controller.memory.context(self.sim.now, 0.55);
        // The second one gets on in small steps.
        let context = Context { work: if who == 0 { context.work } else { 3 }, ..context };
        let plan = plan(&controller.seen.cluster, &context);
        controller.memory.go_on_after(&plan, self.sim.now);
        if plan.transactions.is_empty() && plan.rest.is_none() && context.begin_at.is_none() {
            assert_time_alone_changes_nothing(&controller.seen.cluster, &context, plan.wake_at);
        }
        let wrong = check::plan(&controller.seen.tree, &plan, &context);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for transaction in plan.transactions.iter().take(transactions) {
            let before = self.sim.tree.clone();
            match self.sim.tree.commit(&transaction.ops) {
                Ok(_) => self.landed(who, &before, &transaction.reason, fresh),
                Err(error) => assert!(!fresh, "{} does not land: {error}", transaction.reason),
            }
        }
        if transactions < plan.transactions.len() {
            self.controllers[who].memory = Memory::default();
        }
    }

    fn landed(&self, who: usize, before: &Tree, reason: &str, fresh: bool) {
        // Of two services, each guarded by its own status, an old plan may not know the other's latest.
        let foreign = |wrong: &String| !fresh && (wrong.contains("share the unit") || wrong.contains("share the port"));
        let wrong: Vec<_> = check::structure(before, &self.sim.tree).into_iter().filter(|w| !foreign(w)).collect();
        assert!(wrong.is_empty(), "{}\n  in: {reason}", wrong.join("\n"));
        self.assert_nothing_left_behind(&self.controllers[who].seen.cluster, before, reason);
    }

    /// A replica leaves a host that the controller saw alive only when no process of it is left. (That a host is back
    /// no transaction can check; its agent then stops what is no longer its own.)
    fn assert_nothing_left_behind(&self, seen: &Cluster, before: &Tree, reason: &str) {
        let after = &self.sim.tree;
        let is_touched = |id: &ReplicaId| {
            let path = layout::replica_desired(id);
            before.get(&path) != after.get(&path)
        };
        if !self.sim.hosts.values().flat_map(Host::running).any(|id| is_touched(&id)) {
            return;
        }
        let (old, new) = (before.cluster(), after.cluster());
        for it in self.sim.hosts.values().filter(|it| it.is_connected()) {
            let was_here = |id: &ReplicaId| host::placed_on(&old.services[&id.service], id.number) == Some(&it.name);
            let is_here = |id: &ReplicaId| {
                let service = new.services.get(&id.service);
                service.and_then(|service| host::placed_on(service, id.number)) == Some(&it.name)
            };
            let alive = seen.hosts.get(&it.name).is_some_and(|host| host.alive.is_some());
            let known = it.running().filter(|id| old.services.contains_key(&id.service));
            let left = known.filter(was_here).find(|id| alive && !is_here(id));
            assert!(left.is_none(), "{left:?} still runs on {}\n  in: {reason}\n{}", it.name, it.story.join("\n"));
        }
    }

    /// As the conditions say: records that are nonsense are deleted, and so is an order.
    fn mend_rollouts(&mut self) {
        for (name, view) in self.sim.cluster().services {
            if view.rollouts_node.is_some_and(|doc| doc.value.is_err()) {
                self.sim.tree.put(&layout::rollouts(&name), "{}");
            }
            for (number, _) in view.rollouts.iter().filter(|(_, doc)| doc.good().is_none()) {
                self.sim.tree.delete_all(&layout::rollout(&name, *number));
            }
        }
        self.refresh();
    }

    fn newest(&mut self, service: &str) -> Option<(u64, Rollout)> {
        let cluster = self.sim.look();
        let (number, doc) = cluster.services.get(&service.parse().unwrap())?.rollouts.iter().next_back()?;
        Some((*number, doc.good()?.clone()))
    }

    /// As the CLI writes it: a word that no controller has heard yet is kept.
    fn order(&mut self, service: &str, action: &str) {
        let path = format!("/services/{service}/rollouts");
        let Some((number, record)) = self.newest(service) else { return };
        let Some(last) = self.sim.tree.get(&path).map(decode::<RolloutOrder>) else { return };
        let order = json!({ "rollout": number, "action": action });
        let order: RolloutOrder = serde_json::from_value(order).unwrap();
        let version = self.sim.tree.version(&path).unwrap();
        let order = last.map_or(order.clone(), |last| order.after(&last, version, record.order));
        self.sim.tree.put(&path, encode(&order));
    }

    /// An operator wants again what was completed last, and says it as any other wish.
    fn undo(&mut self, service: &'static str) {
        let cluster = self.sim.look();
        let Some(view) = cluster.services.get(&service.parse().unwrap()) else { return };
        let mut records = view.rollouts.values().rev().filter_map(Doc::good);
        let Some(record) = records.find(|record| record.state == RolloutState::Completed) else { return };
        let (version, config) = (&record.revision.version, record.revision.config_version);
        let keys = json!({ "version": version, "config_version": config });
        merge(self.desireds.get_mut(service).unwrap(), &keys);
        self.write(service);
    }

    /// The next revision is there before anybody wants it.
    fn push(&mut self, service: &'static str) {
        let configs = format!("/services/{service}/config");
        if self.sim.tree.get(&format!("/services/{service}")).is_none() {
            return;
        }
        if self.sim.tree.get(&configs).is_none() {
            self.sim.tree.put(&configs, "{}");
        }
        let revision = self.pushed.entry(service).or_default();
        *revision += 1;
        self.sim.tree.put(&format!("{configs}/{revision}"), "{\"files\":{}}");
        self.desireds.get_mut(service).unwrap()["config_version"] = json!(*revision);
        self.write(service);
    }

    /// An operator who wants it to go on.
    fn order_on(&mut self, service: &str) {
        let Some((_, record)) = self.newest(service) else { return };
        match (record.state, record.pause) {
            (RolloutState::Paused, Some(PauseCause::Canary)) => self.order(service, "promote"),
            (RolloutState::Paused | RolloutState::RolledBack, _) => self.order(service, "resume"),
            _ => {}
        }
    }

    /// Everything is mended, and everyone is left alone until nothing happens any more.
    fn come_to_rest(&mut self) {
        self.mend_rollouts();
        for host in HOSTS {
            self.sim.boot(host);
            self.sim.host(host).fall_sick(false);
            self.sim.host(host).setup.failing.clear();
            self.sim.host(host).setup.refused.clear();
            self.sim.host(host).setup.accepts = None;
            let words = self.hosts[host].to_string();
            self.sim.tree.put(&format!("/hosts/{host}"), words);
        }
        for service in SERVICES {
            self.write(service);
            self.bring_config(service);
        }
        for turn in 0..60 {
            self.sim.settle();
            // Later on, whatever fails is left as it is.
            if turn < 20 && turn % 5 == 4 {
                for service in SERVICES {
                    self.order_on(service);
                }
            }
            self.sim.sleep(60);
        }
        self.sim.settle();
        self.assert_rolled_out();
        self.lose_for_good();
    }

    /// What is good, serves and fits is completed, if it was resumed whenever it had ended otherwise.
    fn assert_rolled_out(&mut self) {
        for name in SERVICES {
            let status = self.sim.status(name);
            let Some((_, record)) = self.newest(name) else { continue };
            let desired = &self.desireds[name];
            let bad = desired["version"].as_str().is_some_and(|version| !version.starts_with('v'));
            let serves = status.ready > 0 && desired["mode"] != json!("disabled") && desired["mode"] != json!("drain");
            let may = !bad && serves && fits(self, name);
            assert!(!may || record.state == RolloutState::Completed, "{name}: {status:#?}");
        }
    }

    /// Whatever configuration is wanted is there.
    fn bring_config(&mut self, service: &str) {
        let Some(revision) = self.desireds[service]["config_version"].as_u64() else { return };
        let configs = format!("/services/{service}/config");
        for path in [configs.clone(), format!("{configs}/{revision}")] {
            if self.sim.tree.get(&path).is_none() {
                self.sim.tree.put(&path, "{\"files\":{}}");
            }
        }
    }

    /// One host dies after the other, each some time after the one before was dealt with; one stays. While some work can't
    /// leave a dead host, no more than half of them are dead: failover would be held.
    fn lose_for_good(&mut self) {
        let stays = HOSTS.into_iter().find(|host| self.is_open(host));
        for (dead, host) in self.doomed.clone().into_iter().filter(|host| Some(*host) != stays).enumerate() {
            if dead >= HOSTS.len() / 2 && SERVICES.into_iter().any(|name| self.on_dead_hosts(name) > 0) {
                break;
            }
            self.sim.crash(host);
            for _ in 0..15 {
                self.sim.settle();
                self.sim.sleep(60);
            }
            self.sim.settle();
        }
    }

    fn is_open(&self, host: &str) -> bool {
        let words = &self.hosts[host];
        words["drain"].is_null() && words["cordon"].is_null()
    }

    /// How many replicas stay with hosts that are dead for good.
    fn on_dead_hosts(&self, name: &str) -> u32 {
        let places = self.sim.places(name);
        let dead = |host: &&str| !self.sim.hosts[&host.parse().unwrap()].is_connected();
        let left = HOSTS.iter().filter(|host| dead(host)).map(|host| places.matches(&format!("={host}")).count());
        u32::try_from(left.sum::<usize>()).unwrap()
    }

    /// The hosts that are not dead for good, and that take replicas.
    fn takes_replicas(&self, host: &str) -> bool {
        self.is_open(host) && self.sim.hosts[&host.parse().unwrap()].is_connected()
    }
}

/// Until [`Plan::wake_at`](super::Plan::wake_at), nothing comes of planning again.
fn assert_time_alone_changes_nothing(cluster: &Cluster, context: &Context, wake_at: Option<Timestamp>) {
    let later = context.now.checked_add(Duration::from_secs(3600)).unwrap();
    let before = wake_at.unwrap_or(later).checked_sub(Duration::from_millis(1)).unwrap();
    let plan = plan(cluster, &Context { now: before.max(context.now), ..context.clone() });
    assert!(plan.transactions.is_empty(), "at {before}, before {wake_at:?}: {:#?}", plan.transactions);
}

/// What must hold of the cluster at rest.
fn assert_as_wanted(world: &mut World) {
    let cluster = world.sim.cluster();
    for name in SERVICES {
        let status = world.sim.status(name);
        let view = &cluster.services[&name.parse().unwrap()];
        let desired = view.desired.as_ref().unwrap().good().unwrap();
        let unplaced =
            view.replicas.values().filter(|replica| replica.desired.as_ref().unwrap().good().unwrap().node.is_none());
        let unplaced = u32::try_from(unplaced.count()).unwrap();
        let says = |text: &str| status.conditions.iter().any(|condition| condition.kind.to_string() == text);
        // An index deleted by hand just when another service took over its unit's name: only a person can tell.
        if status.conditions.iter().any(|condition| condition.message.contains("its index is gone")) {
            continue;
        }
        // A rollout that waits for a person keeps its surge replicas.
        let surge = status.rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Paused);
        if surge {
            assert!(status.replicas >= desired.replicas, "{name}: {status:#?}");
        } else {
            assert_eq!(status.replicas, desired.replicas, "{name}: {status:#?}");
        }
        assert_eq!(unplaced > 0, says("Unplaced"), "{name}: {status:#?}");
        let bad = desired.version.as_deref().is_some_and(|version| !version.starts_with('v'));
        if desired.mode == Mode::Enabled && !says("Waiting") && !bad {
            let dead = world.on_dead_hosts(name);
            assert!(dead == 0 || !fits(world, name), "{name} fits elsewhere: {status:#?}");
            assert_eq!(status.ready, status.replicas - unplaced - dead, "{name}: {status:#?}");
        }
        let record = world.newest(name).map(|(_, record)| record);
        let ended =
            record.as_ref().is_some_and(|record| record.state.has_ended() || record.state == RolloutState::Paused);
        assert!(ended, "{name}: {record:#?}");
        assert!(
            record.as_ref().is_some_and(|record| record.state != RolloutState::Paused || !record.reason.is_empty())
        );
        if bad {
            continue;
        }
        let fits = fits(world, name);
        assert!(!fits || unplaced == 0, "{name} fits: {status:#?}");
        let waits = says("Waiting");
        assert!(!fits || !says("FailoverHeld"), "{name}: {status:#?}");
        assert_configs_are_forgotten(world, name, &status);
        // Where others fit, nobody waits for a budget for ever.
        let starved = status.conditions.iter().find(|condition| condition.message.contains("max_unavailable ("));
        assert!(!fits || surge || starved.is_none(), "{name}: {starved:?}");
        if fits && !waits {
            let places = world.sim.places(name);
            let left = HOSTS.into_iter().find(|host| {
                let gone = !world.sim.hosts[&host.parse().unwrap()].is_connected();
                let leaves = !world.hosts[host]["drain"].is_null() || gone && desired.mode == Mode::Enabled;
                leaves && places.contains(&format!("={host}"))
            });
            assert!(left.is_none(), "{left:?} is not left: {places} {status:#?}");
            let summary = match desired.mode {
                Mode::Enabled => "healthy",
                Mode::Disabled => "disabled",
                Mode::Drain => "drained",
            };
            assert_eq!(status.summary.to_string(), summary, "{name}: {status:#?}");
        }
    }
}

/// Of the revisions that nothing wants, no more than `keep` are there.
fn assert_configs_are_forgotten(world: &World, name: &str, status: &ServiceStatus) {
    let cluster = world.sim.cluster();
    let view = &cluster.services[&name.parse().unwrap()];
    let keep = world.specs[name]["config"]["keep"].as_u64();
    let keep = usize::try_from(keep.unwrap_or(u64::from(ConfigPolicy::KEEP))).unwrap();
    let records = view.rollouts.values().filter_map(Doc::good).filter_map(|record| record.revision.config_version);
    let wanted = world.desireds[name]["config_version"].as_u64();
    let told = view.replicas.values().filter_map(|replica| replica.desired.as_ref()?.good()?.config_version);
    let used: BTreeSet<u64> = records.chain(wanted).chain(told).collect();
    let unused = view.configs.difference(&used).count();
    assert!(unused <= keep, "{name}: {:?} are there, {used:?} are used: {status:#?}", view.configs);
}

/// Whether another service has not left the service's unit yet.
fn others_have(world: &World, name: &str) -> bool {
    let file = world.specs[name]["unit"].as_str().unwrap().split('@').next().unwrap();
    let hosts = world.sim.cluster().hosts;
    let mut others = hosts.values().flat_map(|host| &host.assigned).filter(|(id, _)| id.service.as_str() != name);
    others.any(|(_, doc)| doc.good().is_some_and(|assignment| assignment.unit.as_str().starts_with(file)))
}

/// Whether the service surely fits: any number on any host, and an open host there is.
fn fits(world: &World, name: &str) -> bool {
    let spec = &world.specs[name];
    let own = spec["unit"] == json!("gamma@.service") || name == "alpha" && spec["unit"] == json!("alpha@.service");
    let alone = world.specs.iter().all(|(other, spec)| *other == name || spec["unit"] != world.specs[name]["unit"]);
    let portless = world.specs.values().all(|spec| spec["port"].is_null());
    let free = portless && spec["placement"]["constraints"].is_null() && spec["placement"]["max_per_host"].is_null();
    let open = HOSTS.into_iter().any(|host| world.takes_replicas(host));
    own && alone && free && open && !others_have(world, name)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_safe_and_the_cluster_comes_to_rest(
        begun in prop::bool::weighted(0.8),
        steps in vec(step(), 1..100),
    ) {
        let mut world = World::new();
        if begun {
            world.settle();
        }
        for step in &steps {
            world.happen(step);
        }
        world.come_to_rest();
        let plan = world.sim.plan();
        prop_assert!(plan.transactions.is_empty(), "{:#?}", plan.transactions);
        assert_as_wanted(&mut world);
    }
}
