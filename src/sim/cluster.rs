//! A whole cluster in memory: a tree with `ZooKeeper`'s semantics, an agent per host, a leading controller.
//!
//! Complete enough to show what a plan leads to, and deterministic: whoever drives it decides who acts next, and
//! when time passes. For tests only.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::story::Story;
pub(crate) use super::{
    host::{Host, UNREADY},
    leader::Leader,
    systemd::FAILS,
    tasks::REJECTED,
    tree::{Seen, Tree, merge},
};
use crate::{
    model::{HostName, ReplicaDesired, ReplicaId, ServiceName, ServiceStatus, decode},
    plan::controller::{Context, Plan, check, plan},
    tree::{
        layout,
        snapshot::{Cluster, Doc},
        txn::Transaction,
    },
};

/// The cluster.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    pub(crate) tree: Tree,
    pub(crate) now: Timestamp,
    seen: Seen,
    pub(crate) leader: Leader,
    pub(crate) hosts: BTreeMap<HostName, Host>,
    pub(crate) max_fraction: f64,
    /// The reason of every transaction that landed.
    pub(crate) log: Vec<String>,
    /// What everyone did.
    pub(crate) story: Story,
}

impl Sim {
    /// Hosts with these names, up and registered, and no services.
    pub(crate) fn new(hosts: &[&str]) -> Self {
        Self::told_in(&Story::default(), hosts)
    }

    /// The same, and what happens is told in this story.
    pub(crate) fn told_in(story: &Story, hosts: &[&str]) -> Self {
        let story = story.clone();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let leader = Leader::default();
        let (tree, seen, log) = (Tree::new(), Seen::default(), Vec::new());
        let mut sim = Self { tree, now, seen, leader, hosts: BTreeMap::new(), max_fraction: 0.55, log, story };
        for host in hosts {
            sim.add_host(host);
        }
        sim.run_agents();
        sim
    }

    /// Writes a service: description and desired state, in JSON as an operator would. Unless it says otherwise, a
    /// replica is asked whether it serves, and is healthy once it does.
    pub(crate) fn service(&mut self, name: &str, spec: &Value, desired: &Value) {
        let mut spec = spec.clone();
        if spec.get("rollout").is_none() {
            merge(&mut spec, &json!({"rollout": {"min_healthy_time": "0s"}}));
        }
        if spec.get("probes").is_none() {
            merge(&mut spec, &json!({"probes": {"readiness": {"tcp": {"port": 80}}}}));
        }
        if spec.get("source").is_none() && desired.get("version").is_some() {
            let (url, sums) = ("https://example.com/{version}.tar", "https://example.com/SHA256SUMS");
            merge(&mut spec, &json!({"source": {"archive": {"url": url, "sha256_url": sums}}}));
        }
        self.tree.put(&format!("/services/{name}"), spec.to_string());
        self.tree.put(&format!("/services/{name}/desired"), desired.to_string());
    }

    /// Changes some keys of the JSON document at `path`; `null` removes one.
    pub(crate) fn patch(&mut self, path: &str, keys: &Value) {
        let mut document: Value = self.tree.get(path).map_or(json!({}), |data| serde_json::from_slice(data).unwrap());
        merge(&mut document, keys);
        self.tree.put(path, document.to_string());
    }

    pub(crate) fn patch_desired(&mut self, service: &str, keys: &Value) {
        self.patch(&format!("/services/{service}/desired"), keys);
    }

    pub(crate) fn cluster(&self) -> Cluster {
        self.tree.cluster()
    }

    /// The same, as the leader has it once it has looked.
    pub(crate) fn look(&mut self) -> &Cluster {
        self.seen.look(&self.tree);
        &self.seen.cluster
    }

    pub(crate) fn context(&mut self) -> Context {
        self.look();
        self.seen.show(&mut self.leader, self.now);
        self.leader.context(self.now, self.max_fraction)
    }

    /// A controller that has seen nothing yet takes over.
    pub(crate) fn another_leads(&mut self) {
        let work = self.leader.work;
        self.leader = Leader::default();
        self.leader.work = work;
    }

    /// What the leader would do now.
    pub(crate) fn plan(&mut self) -> Plan {
        let context = self.context();
        plan(&self.seen.cluster, &context)
    }

    /// Plans once, and nothing of that lands.
    pub(crate) fn plan_in_vain(&mut self) -> Plan {
        self.context();
        self.leader.plan(&self.seen.cluster, self.now, self.max_fraction)
    }

    /// Plans once, checks that and commits all of it; true when there was something.
    pub(crate) fn round(&mut self) -> bool {
        let context = self.context();
        let plan = self.leader.plan(&self.seen.cluster, self.now, self.max_fraction);
        let wrong = check::plan(&self.seen.tree, &plan, &context);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for transaction in &plan.transactions {
            self.commit(transaction);
        }
        !plan.transactions.is_empty() || plan.rest.is_some() || context.begin_at.is_some()
    }

    fn commit(&mut self, transaction: &Transaction) {
        match self.tree.commit(&transaction.ops) {
            Ok(_) => {
                self.story.push(format!("the controller: {}", transaction.reason));
                self.log.push(transaction.reason.clone());
            }
            Err(error) => panic!("{}: {error}\n{:#?}", transaction.reason, transaction.ops),
        }
    }

    /// Rounds of the controller alone, until its plan is empty.
    pub(crate) fn run_controller(&mut self) {
        for _ in 0..200 {
            if !self.round() {
                return;
            }
        }
        panic!("the controller does not come to rest: {:#?}", &self.log[self.log.len() - 10..]);
    }

    /// Lets every agent act until none has anything to do.
    pub(crate) fn run_agents(&mut self) {
        for _ in 0..10_000 {
            let acted: Vec<bool> = self.hosts.values_mut().map(|host| host.step(&mut self.tree, self.now)).collect();
            if !acted.contains(&true) {
                return;
            }
        }
        panic!("the agents do not come to rest");
    }

    /// Controller and agents in turn, until both are at rest. No time passes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..500 {
            self.run_agents();
            if !self.round() {
                return;
            }
        }
        panic!("the cluster does not come to rest: {:#?}", &self.log[self.log.len() - 10..]);
    }

    /// Time passes; nobody acts, though the leader looks when a plan is due.
    pub(crate) fn sleep(&mut self, seconds: u64) {
        self.sleep_millis(1000 * seconds);
    }

    /// The same.
    pub(crate) fn sleep_millis(&mut self, millis: u64) {
        let until = self.now.checked_add(Duration::from_millis(millis)).unwrap();
        if let Some(due) = self.leader.due().filter(|due| *due <= until) {
            self.seen.look(&self.tree);
            self.seen.show(&mut self.leader, due.max(self.now));
        }
        self.now = until;
        for host in self.hosts.values_mut() {
            host.pass_until(until, &mut self.tree);
        }
    }

    /// One agent does one thing; false when it has nothing to do.
    pub(crate) fn step_agent(&mut self, host: &str) -> bool {
        let now = self.now;
        self.hosts.get_mut(&host.parse().unwrap()).unwrap().step(&mut self.tree, now)
    }

    /// Time passes in steps of a second, everyone acting.
    pub(crate) fn live(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.settle();
            self.sleep(1);
        }
        self.settle();
    }

    /// A host of this name is set up.
    pub(crate) fn add_host(&mut self, name: &str) {
        let mut host = Host::told_in(&self.story, name);
        host.boot();
        self.tree.put_below(&layout::assigned(&host.name), "");
        self.hosts.insert(host.name.clone(), host);
    }

    pub(crate) fn host(&mut self, host: &str) -> &mut Host {
        self.hosts.get_mut(&host.parse().unwrap()).unwrap()
    }

    /// The host loses its power, and its session has run out.
    pub(crate) fn crash(&mut self, host: &str) {
        self.hosts.get_mut(&host.parse().unwrap()).unwrap().lose_power(&mut self.tree);
    }

    /// The host is cut off until its session has run out; its processes go on.
    pub(crate) fn cut(&mut self, host: &str) {
        self.hosts.get_mut(&host.parse().unwrap()).unwrap().cut_off(&mut self.tree);
    }

    /// The host is shut down in order.
    pub(crate) fn shut_down(&mut self, host: &str) {
        self.hosts.get_mut(&host.parse().unwrap()).unwrap().shut_down(&mut self.tree, self.now);
    }

    /// The host loses its power for a moment: its session has not run out when it is back.
    pub(crate) fn power_cycle(&mut self, host: &str) {
        let host = self.hosts.get_mut(&host.parse().unwrap()).unwrap();
        host.crash(&mut self.tree);
        host.boot();
    }

    /// A lost host is back.
    pub(crate) fn boot(&mut self, host: &str) {
        self.host(host).boot();
    }

    pub(crate) fn status(&self, service: &str) -> ServiceStatus {
        decode(self.tree.get(&format!("/services/{service}/status")).unwrap()).unwrap()
    }

    pub(crate) fn replica(&self, id: &str) -> Option<ReplicaDesired> {
        let id: ReplicaId = id.parse().unwrap();
        self.tree.get(&layout::replica_desired(&id)).map(|data| decode(data).unwrap())
    }

    /// The replicas' numbers and hosts, those on their way out marked: `1=web1 2=web2 3=web3(removing) 4=-`.
    pub(crate) fn places(&self, service: &str) -> String {
        let name: ServiceName = service.parse().unwrap();
        let cluster = self.cluster();
        let Some(view) = cluster.services.get(&name) else { return "gone".to_owned() };
        let places = view.replicas.iter().map(|(number, replica)| {
            let desired = replica.desired.as_ref().and_then(Doc::good);
            let node = desired.and_then(|desired| desired.node.clone()).map_or("-".to_owned(), |node| node.to_string());
            let removing = if desired.is_some_and(|desired| desired.removing) { "(removing)" } else { "" };
            format!("{}={node}{removing}", number.0)
        });
        places.collect::<Vec<_>>().join(" ")
    }

    /// What really runs: `web1:webapp@0000000001.service …`
    pub(crate) fn processes(&self) -> String {
        let units = self.hosts.values().flat_map(|it| {
            let host = it.name.clone();
            it.units().into_iter().map(move |unit| format!("{host}:{unit}"))
        });
        units.collect::<Vec<_>>().join(" ")
    }
}
