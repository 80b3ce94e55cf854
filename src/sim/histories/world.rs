//! The cluster, its controllers, and what the operators mean; and what happens to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::prop;
use serde_json::{Value, json};

use super::steps::{HOSTS, Step};
use crate::{
    model::{
        Accepts, AllowedUnits, HostName, PauseCause, ReplicaId, ReplicaNumber, Rollout, RolloutOrder, RolloutState,
        ServiceName, decode, encode,
    },
    plan::controller::{Context, check, plan},
    sim::{
        cluster::Sim,
        host::Host,
        leader::Leader,
        story::Story,
        tree::{Seen, Tree, merge},
    },
    tree::{
        layout,
        snapshot::{Cluster, Doc, ServiceView},
    },
};

/// A controller: what it last saw, and what it remembers.
#[derive(Default)]
struct Controller {
    seen: Seen,
    leader: Leader,
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
pub(super) struct World {
    pub(super) sim: Sim,
    controllers: [Controller; 2],
    /// Which of them planned last.
    leader: Option<usize>,
    pub(super) specs: BTreeMap<&'static str, Value>,
    pub(super) desireds: BTreeMap<&'static str, Value>,
    pub(super) hosts: BTreeMap<&'static str, Value>,
    /// How many configurations were pushed of each service.
    pushed: BTreeMap<&'static str, u64>,
    /// Hosts that die for good in the end.
    pub(super) doomed: BTreeSet<&'static str>,
}

impl World {
    /// What happens is told in this story.
    pub(super) fn told_in(story: &Story) -> Self {
        let mut world = Self {
            sim: Sim::told_in(story, &HOSTS),
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

    pub(super) fn write(&mut self, name: &str) {
        let (spec, desired) = (self.specs[name].clone(), self.desireds[name].clone());
        self.sim.service(name, &spec, &desired);
    }

    pub(super) fn happen(&mut self, step: &Step) {
        self.sim.story.push(format!("— {step:?}"));
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
            Step::Clock(host, ahead) => self.sim.host(host).setup.ahead = SignedDuration::from_secs(*ahead),
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
    pub(super) fn describe(&mut self, service: &'static str, keys: &Value) {
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
        let placed = |number: &ReplicaNumber| Some((number.0.to_string(), placed_on(view, *number)?.to_string()));
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

    pub(super) fn settle(&mut self) {
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

    /// No snapshot survives a deletion by hand: versions start again, and only the leader's lock tells old from new.
    pub(super) fn refresh(&mut self) {
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
        controller.seen.show(&mut controller.leader, self.sim.now);
        if self.leader != Some(who) {
            controller.leader.lead_from(self.sim.now);
            self.leader = Some(who);
        }
        // The second one gets on in small steps.
        if who > 0 {
            controller.leader.work = 3;
        }
        let context = controller.leader.context(self.sim.now, 0.55);
        let plan = controller.leader.plan(&controller.seen.cluster, self.sim.now, 0.55);
        if plan.transactions.is_empty() && plan.rest.is_none() && context.begin_at.is_none() {
            assert_time_alone_changes_nothing(&controller.seen.cluster, &context, plan.wake_at);
        }
        let wrong = check::plan(&controller.seen.tree, &plan, &context);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for transaction in plan.transactions.iter().take(transactions) {
            let before = self.sim.tree.clone();
            match self.sim.tree.commit(&transaction.ops) {
                Ok(_) => {
                    self.sim.story.push(format!("controller {who}: {}", transaction.reason));
                    self.landed(who, &before, &transaction.reason, fresh);
                }
                Err(error) => assert!(!fresh, "{} does not land: {error}", transaction.reason),
            }
        }
        // It was killed, or goes on after what did not land.
        if transactions < plan.transactions.len() && transactions.is_multiple_of(2) {
            self.controllers[who].leader = Leader::default();
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
            let was_here = |id: &ReplicaId| placed_on(&old.services[&id.service], id.number) == Some(&it.name);
            let is_here = |id: &ReplicaId| {
                let service = new.services.get(&id.service);
                service.and_then(|service| placed_on(service, id.number)) == Some(&it.name)
            };
            let alive = seen.hosts.get(&it.name).is_some_and(|host| host.alive.is_some());
            let known = it.running().filter(|id| old.services.contains_key(&id.service));
            let left = known.filter(was_here).find(|id| alive && !is_here(id));
            assert!(left.is_none(), "{left:?} still runs on {}\n  in: {reason}", it.name);
        }
    }

    /// As the conditions say: records that are nonsense are deleted, and so is an order.
    pub(super) fn fix_rollouts(&mut self) {
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

    pub(super) fn newest(&mut self, service: &str) -> Option<(u64, Rollout)> {
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
    pub(super) fn order_on(&mut self, service: &str) {
        let Some((_, record)) = self.newest(service) else { return };
        match (record.state, record.pause) {
            (RolloutState::Paused, Some(PauseCause::Canary)) => self.order(service, "promote"),
            (RolloutState::Paused | RolloutState::RolledBack, _) => self.order(service, "resume"),
            _ => {}
        }
    }
}

/// The host that the tree names for a replica.
fn placed_on(view: &ServiceView, number: ReplicaNumber) -> Option<&HostName> {
    view.replicas.get(&number)?.desired.as_ref()?.good()?.node.as_ref()
}

/// Until [`Plan::wake_at`](crate::plan::controller::Plan::wake_at), nothing comes of planning again.
fn assert_time_alone_changes_nothing(cluster: &Cluster, context: &Context, wake_at: Option<Timestamp>) {
    let later = context.now.checked_add(Duration::from_secs(3600)).unwrap();
    let before = wake_at.unwrap_or(later).checked_sub(Duration::from_millis(1)).unwrap();
    let plan = plan(cluster, &Context { now: before.max(context.now), ..context.clone() });
    assert!(plan.transactions.is_empty(), "at {before}, before {wake_at:?}: {:#?}", plan.transactions);
}
