//! The leading controller's planner: plans again what has changed, and the services that this concerns. What comes of it is what
//! planning all of them would bring.
//!
//! A service's plan rests on its own nodes; on the hosts where its replicas are, and who else is there; and on the time, until
//! when it says. Is a place looked for, it rests on all hosts: then all of them are worked out. Else a plan costs what
//! has changed, not how much there is.
//!
//! Nobody has to trust that: whenever the simulation plans, everything is planned as well, and has to come to the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use jiff::Timestamp;

use super::{Context, Draft, Memory, Plan, Standing, WORK, draft, fleet::Fleet, hold::Hold, relations::Relations};
use crate::{
    model::{HostName, ServiceName},
    tree::{
        layout::Place,
        snapshot::{Cluster, ServiceView},
    },
};

/// Plans for a leader, from change to change.
#[derive(Clone, Debug)]
pub struct Planner {
    memory: Memory,
    /// `None`: nothing has been seen yet.
    relations: Option<Relations>,
    news: News,
    due: Due,
    /// What the last plan of each service came to.
    standing: BTreeMap<ServiceName, Standing>,
    /// Those that were planned since a plan last had no rest.
    planned: BTreeSet<ServiceName>,
    /// What that rested on.
    last: Option<Basis>,
    /// How much work one plan may be; see [`WORK`].
    pub(crate) work: usize,
}

/// Where something has changed.
#[derive(Clone, Debug, Default)]
struct News {
    services: BTreeMap<ServiceName, Change>,
    hosts: BTreeSet<HostName>,
}

/// What has changed of a service. The more, the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// What agents say of its replicas, which concerns no other.
    AgentsWord,
    /// Its status, which has what is accepted.
    Status,
    Any,
}

/// What is planned next.
#[derive(Clone, Debug, Default)]
struct Due {
    all: bool,
    services: BTreeSet<ServiceName>,
    /// Hosts whose index may have to be mended.
    hosts: BTreeSet<HostName>,
}

/// What all plans rest on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Basis {
    now: Timestamp,
    leading_since: Timestamp,
    hold: Hold,
}

impl Default for Planner {
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            relations: None,
            news: News::default(),
            due: Due::default(),
            standing: BTreeMap::new(),
            planned: BTreeSet::new(),
            last: None,
            work: WORK,
        }
    }
}

impl Planner {
    /// The node at `path` is another than it was when a snapshot was last observed.
    pub fn changed(&mut self, path: &str) {
        let change = match Place::of(path) {
            Place::ReplicaStatus(_) | Place::Instance(..) => Change::AgentsWord,
            Place::Status(_) => Change::Status,
            _ => Change::Any,
        };
        let mut parts = path.trim_start_matches('/').split('/');
        let (Some(kind), Some(name)) = (parts.next(), parts.next()) else { return };
        if kind == "services"
            && let Ok(name) = name.parse()
        {
            let known = self.news.services.entry(name).or_insert(change);
            *known = change.max(*known);
        } else if kind == "hosts"
            && let Ok(name) = name.parse()
        {
            self.news.hosts.insert(name);
        }
    }

    /// Everything is planned again: should anything ever have been missed, it is not for long.
    pub fn doubt(&mut self) {
        self.due.all = true;
    }

    /// Takes in a snapshot seen at `now`; call it for each, before planning, and after all that has
    /// [changed](Self::changed) was told.
    pub fn observe(&mut self, cluster: &Cluster, now: Timestamp) {
        let News { services, hosts } = mem::take(&mut self.news);
        let Some(relations) = &mut self.relations else {
            self.relations = Some(Relations::of(cluster));
            self.due.all = true;
            return self.memory.observe(cluster, now);
        };
        let shared = relations.shared_files().clone();
        let is_outward = |(name, change): &(&ServiceName, &Change)| match change {
            Change::AgentsWord => false,
            Change::Status => relations.is_other_to_neighbours(name, cluster),
            Change::Any => true,
        };
        let outward: Vec<&ServiceName> = services.iter().filter(is_outward).map(|(name, _)| name).collect();
        // As it was, and as it is.
        let mut around: BTreeSet<HostName> =
            outward.iter().flat_map(|name| relations.hosts_of(name)).cloned().collect();
        around.extend(hosts.iter().cloned());
        let mut concerned: BTreeSet<ServiceName> =
            around.iter().flat_map(|host| relations.services_on(host)).cloned().collect();
        for name in &outward {
            relations.take_service(name, cluster);
        }
        for host in &hosts {
            relations.take_host(host, cluster);
        }
        around.extend(outward.iter().flat_map(|name| relations.hosts_of(name)).cloned());
        concerned.extend(around.iter().flat_map(|host| relations.services_on(host)).cloned());
        let is_more = !around.is_empty() || !outward.is_empty();
        concerned.extend(services.into_keys());
        self.memory.observe_changes(cluster, &concerned, &relations.lost().collect(), now);
        self.due.all |= shared != *relations.shared_files();
        // Who does not lead plans nothing, for as long as that is.
        self.due.all |= self.due.services.len() > 2 * cluster.services.len() + 100;
        if self.due.all {
            self.due = Due { all: true, ..Due::default() };
            return;
        }
        if is_more {
            let seekers = self.standing.iter().filter(|(_, standing)| standing.asked.seeks);
            self.due.services.extend(seekers.map(|(name, _)| name.clone()));
        }
        self.due.services.append(&mut concerned);
        self.due.hosts.append(&mut around);
    }

    /// How many services and hosts there are, and how many of the hosts have no live agent.
    pub fn counts(&self, cluster: &Cluster) -> (usize, usize, usize) {
        let lost = self.relations.iter().flat_map(Relations::lost).filter(|name| cluster.hosts.contains_key(*name));
        (cluster.services.len(), cluster.hosts.len(), lost.count())
    }

    /// See [`Memory::lead_from`].
    pub fn lead_from(&mut self, now: Timestamp) {
        self.memory.lead_from(now);
    }

    /// What a plan made at `now` has to know.
    fn context(&self, now: Timestamp, failover_max_fraction: f64) -> Context {
        Context { work: self.work, ..self.memory.context(now, failover_max_fraction) }
    }

    /// What is kept from change to change is what there is, and what is remembered what anyone would.
    #[cfg(test)]
    pub(crate) fn assert_known(&self, cluster: &Cluster, memory: &Memory) {
        assert_eq!(self.relations.as_ref(), Some(&Relations::of(cluster)));
        assert_eq!(&self.memory, memory);
    }

    /// Plans the next round, of a snapshot that was observed: see [`plan`](super::plan). What the plans before it said of services
    /// that are left out still holds: the plan's time, notes and numbers are those of all.
    pub fn plan(&mut self, cluster: &Cluster, now: Timestamp, failover_max_fraction: f64) -> Plan {
        let relations = self.relations.take().unwrap_or_else(|| Relations::of(cluster));
        let context = self.context(now, failover_max_fraction);
        let hold = Hold::by(&relations, cluster, &context);
        let is_all = self.find_due(&relations, hold, &context, cluster);
        let (draft, mended) = self.draft(cluster, &context, &relations, hold, is_all);
        // Whoever was planned with what may not land may have to be planned without it.
        let is_in_flux = draft.planned.iter().any(|(_, standing)| standing.asked.takes && !standing.is_settled);
        for (name, standing) in draft.planned {
            if standing.is_settled && !is_in_flux {
                self.due.services.remove(name);
            }
            self.planned.insert(name.clone());
            self.standing.insert(name.clone(), standing);
        }
        self.due.hosts = mended;
        if draft.left.is_none() {
            self.planned.clear();
        }
        let rest = draft.left.cloned();
        let plan = Plan::of(draft.transactions, self.standing.values(), rest, cluster);
        self.relations = Some(relations);
        self.memory.go_on_after(&plan, now);
        plan
    }

    /// What has to be planned, beside what has changed; whether that is all.
    fn find_due(&mut self, relations: &Relations, hold: Hold, context: &Context, cluster: &Cluster) -> bool {
        let basis = Basis { now: context.now, leading_since: context.leading_since, hold };
        let due = &mut self.due;
        match self.last.replace(basis) {
            Some(last) if basis.now >= last.now && basis.leading_since == last.leading_since => {
                if last.hold != hold {
                    due.services.extend(relations.lost().flat_map(|host| relations.services_on(host)).cloned());
                }
            }
            _ => due.all = true,
        }
        let is_all = mem::take(&mut due.all);
        if is_all {
            due.services.extend(cluster.services.keys().cloned());
            due.services.extend(self.standing.keys().cloned());
            due.hosts.extend(cluster.hosts.keys().cloned());
        }
        let is_over = |standing: &Standing| standing.wake_at.is_some_and(|at| at <= context.now);
        due.services.extend(self.standing.iter().filter(|(_, it)| is_over(it)).map(|(name, _)| name.clone()));
        due.services.retain(|name| {
            let is_there = cluster.services.get(name).is_some_and(|view| view.spec.is_some());
            if !is_there {
                self.standing.remove(name);
            }
            is_there
        });
        is_all
    }

    /// Also says of which hosts the index has to be mended.
    fn draft<'a>(
        &mut self,
        cluster: &'a Cluster,
        context: &'a Context,
        relations: &'a Relations,
        hold: Hold,
        is_all: bool,
    ) -> (Draft<'a>, BTreeSet<HostName>) {
        let seeks = |name| self.standing.get(name).is_some_and(|standing| standing.asked.seeks);
        // For whom a place is kept, it is in all plans.
        let keeps = |standing: &Standing| standing.asked.takes && standing.is_settled;
        let is_wide = is_all || context.begin_at.is_some() || self.standing.values().any(keeps);
        if !is_wide && !self.due.services.iter().any(seeks) {
            let mut fleet = Fleet::around(&self.due.services, &self.due.hosts, cluster, context, relations, hold);
            if let Some(draft) = draft(self.in_order(cluster, context), &mut fleet, context, true) {
                return draft.mend(cluster, &fleet);
            }
        }
        let others = self.standing.iter().filter(|(_, standing)| standing.asked.seeks || keeps(standing));
        let others = others.filter(|(name, _)| !self.planned.contains(*name));
        self.due.services.extend(others.map(|(name, _)| name.clone()));
        let mut fleet = Fleet::new(cluster, context);
        let draft = draft(self.in_order(cluster, context), &mut fleet, context, false).unwrap_or_default();
        draft.mend(cluster, &fleet)
    }

    /// The services that are due: the last plan came as far as the first.
    fn in_order<'a>(
        &self,
        cluster: &'a Cluster,
        context: &Context,
    ) -> impl Iterator<Item = (&'a ServiceName, &'a ServiceView)> {
        let (before, from): (Vec<_>, Vec<_>) =
            self.due.services.iter().partition(|name| context.begin_at.as_ref().is_some_and(|begin| *name < begin));
        from.into_iter().chain(before).filter_map(|name| cluster.services.get_key_value(name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::sim::cluster::Sim;

    /// A service on each of two hosts, and one that no host fits; and a leader that has planned all of that.
    fn settled() -> (Sim, Planner) {
        let mut sim = Sim::new(&["web1", "web2"]);
        for (name, host) in [("alpha", "web1"), ("beta", "web2"), ("gamma", "web3")] {
            sim.tree.put(&format!("/hosts/{host}"), json!({ "labels": { "for": name } }).to_string());
            let placement = json!({ "constraints": [format!("for={name}")] });
            let spec = json!({ "unit": format!("{name}@.service"), "placement": placement });
            sim.service(name, &spec, &json!({ "replicas": 2 }));
        }
        sim.live(5);
        let mut planner = Planner::default();
        planner.observe(&sim.cluster(), sim.now);
        let plan = planner.plan(&sim.cluster(), sim.now, 1.0);
        assert!(plan.transactions.is_empty(), "{plan:#?}");
        (sim, planner)
    }

    /// The services that are planned again when these nodes change.
    fn due(sim: &Sim, planner: &Planner, changed: &[&str]) -> String {
        let mut planner = planner.clone();
        for path in changed {
            planner.changed(path);
        }
        planner.observe(&sim.cluster(), sim.now);
        planner.due.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_has_changed_is_planned_and_what_that_concerns() {
        let (sim, planner) = settled();
        for (changed, planned) in [
            ("/services/alpha/0000000001/status", "alpha"),
            ("/services/alpha/instances/web1@0000000001", "alpha"),
            ("/services/alpha/desired", "alpha gamma"),
            ("/hosts/web2/alive", "beta gamma"),
            ("/hosts/web3", "gamma"),
            ("/controllers/lock/1", ""),
        ] {
            assert_eq!(due(&sim, &planner, &[changed]), planned, "{changed}");
        }
        assert_eq!(due(&sim, &planner, &[]), "");
    }
}
