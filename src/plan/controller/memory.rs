//! What the leader has to remember between snapshots, because the tree does not say it: since when a host is gone,
//! and since when an agent owes an answer. Pure as well: the time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Context, Plan, WORK, after, rollout::is_under_way};
use crate::{
    model::{HostName, Mode, ReplicaDesired, ReplicaId, ReplicaNumber, ReplicaState, ServiceName, Span},
    tree::snapshot::{Cluster, Doc, HostView, ReplicaView, ServiceView},
};

/// How long a replica may say `running` without being in `instances` before its agent is nudged.
const UNLISTED: Span = Span::from_secs(2);
/// How long a replica may have no status of its host's agent. Longer, because an agent may have much to start.
const UNREPORTED: Span = Span::from_secs(5);
/// The longest wait between two nudges; it doubles from the first.
const LONGEST: Span = Span::from_secs(300);

/// A plan that is so late was not late for work: the process was stopped, ZooKeeper was out of reach, or the clock was set.
/// Nobody has led meanwhile.
const OVERSLEPT: Span = Span::from_secs(60);

/// What is remembered from snapshot to snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    began: Option<Timestamp>,
    lost_since: BTreeMap<HostName, Timestamp>,
    quiet: BTreeMap<ReplicaId, Quiet>,
    ready: BTreeMap<ReplicaId, Ready>,
    begin_at: Option<ServiceName>,
    /// When the next plan is due.
    due: Option<Timestamp>,
    /// When the last snapshot was seen.
    seen: Option<Timestamp>,
}

/// The replicas of the service among these.
fn of_service<'m, T>(known: &'m BTreeMap<ReplicaId, T>, name: &ServiceName) -> impl Iterator<Item = &'m ReplicaId> {
    let id = |number| ReplicaId { service: name.clone(), number: ReplicaNumber(number) };
    known.range(id(0)..=id(u32::MAX)).map(|(id, _)| id)
}

/// A replica of a service with a rollout under way that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ready {
    since: Timestamp,
    mark: ReadyMark,
}

/// What changes when a replica is started again or told something new, or when a check fails while it is on trial: the
/// start's time and process, restarts, the assignment's version that it answers to, and its setbacks.
type ReadyMark = (Timestamp, Option<u32>, u32, Option<i32>, u32);

/// An agent that owes an answer about a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Quiet {
    since: Timestamp,
    /// The assignment's version that the wait counts from: a nudge is a new version.
    assignment: i32,
    nudges: u32,
    grace: Span,
}

impl Quiet {
    fn due(&self) -> Timestamp {
        let wait = self.grace.get().saturating_mul(1 << self.nudges.min(16)).min(LONGEST.get());
        self.since.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}

impl Memory {
    /// Takes in a snapshot seen at `now`; call it for each, before planning.
    pub fn observe(&mut self, cluster: &Cluster, now: Timestamp) {
        let known = self.quiet.keys().chain(self.ready.keys()).map(|id| &id.service);
        let services = known.chain(cluster.services.keys()).cloned().collect();
        self.observe_changes(cluster, &services, &lost_hosts(cluster), now);
    }

    /// The same, of one in which nothing has changed since the last that concerns other services. `lost`: hosts without `alive`,
    /// in the tree or named by a replica.
    pub(super) fn observe_changes(
        &mut self,
        cluster: &Cluster,
        services: &BTreeSet<ServiceName>,
        lost: &BTreeSet<&HostName>,
        now: Timestamp,
    ) {
        self.pass(now);
        self.lost_since.retain(|host, _| lost.contains(host));
        for &host in lost {
            if !self.lost_since.contains_key(host) {
                self.lost_since.insert(host.clone(), now);
            }
        }
        for name in services {
            let view = cluster.services.get(name);
            self.observe_ready(name, view, now);
            self.observe_quiet(name, view, cluster, now);
        }
    }

    /// A clock that is set back has everything count from now at the latest.
    fn pass(&mut self, now: Timestamp) {
        let began = *self.began.get_or_insert(now);
        if self.seen.is_some_and(|seen| now < seen) {
            self.began = Some(now.min(began));
            let quiet = self.quiet.values_mut().map(|quiet| &mut quiet.since);
            let ready = self.ready.values_mut().map(|ready| &mut ready.since);
            self.lost_since.values_mut().chain(quiet).chain(ready).for_each(|since| *since = now.min(*since));
        }
        self.seen = Some(now);
        if let Some(due) = self.due.filter(|due| *due <= now) {
            self.due = None;
            if after(due, OVERSLEPT) < now {
                self.lead_from(now);
            }
        }
    }

    fn observe_ready(&mut self, name: &ServiceName, view: Option<&ServiceView>, now: Timestamp) {
        let mut ready: BTreeMap<ReplicaId, ReadyMark> =
            view.into_iter().flat_map(|view| ready_replicas(name, view)).collect();
        let known: Vec<ReplicaId> = of_service(&self.ready, name).cloned().collect();
        for id in known {
            // One that was started again is ready since now.
            if ready.get(&id) == self.ready.get(&id).map(|known| &known.mark) {
                ready.remove(&id);
            } else {
                self.ready.remove(&id);
            }
        }
        self.ready.extend(ready.into_iter().map(|(id, mark)| (id, Ready { since: now, mark })));
    }

    fn observe_quiet(&mut self, name: &ServiceName, view: Option<&ServiceView>, cluster: &Cluster, now: Timestamp) {
        let quiet: BTreeMap<ReplicaId, (Span, i32)> =
            view.into_iter().flat_map(|view| quiet_replicas(name, view, cluster)).collect();
        let over: Vec<ReplicaId> =
            of_service(&self.quiet, name).filter(|id| !quiet.contains_key(*id)).cloned().collect();
        for id in over {
            self.quiet.remove(&id);
        }
        for (id, (grace, assignment)) in quiet {
            let known = self.quiet.entry(id).or_insert(Quiet { since: now, assignment, nudges: 0, grace });
            if known.assignment != assignment {
                *known = Quiet { since: now, assignment, nudges: known.nudges + 1, grace };
            }
        }
    }

    /// Call it when the lead was gained, or the tree is seen again after a break: what came to pass meanwhile, nobody has
    /// seen, and no deadline ran.
    pub fn lead_from(&mut self, now: Timestamp) {
        self.began = Some(now);
        self.ready.values_mut().for_each(|ready| ready.since = now);
    }

    /// The next plan begins where this one, made at `now`, ended; it is due when this one says, or at once when there is
    /// more to do.
    pub fn go_on_after(&mut self, plan: &Plan, now: Timestamp) {
        self.begin_at.clone_from(&plan.rest);
        let more = plan.rest.is_some() || !plan.transactions.is_empty();
        self.due = if more { Some(now) } else { plan.wake_at };
    }

    /// When the next plan is due.
    #[cfg(test)]
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// What a plan made at `now` has to know.
    pub fn context(&self, now: Timestamp, failover_max_fraction: f64) -> Context {
        let nudge_at = self.quiet.iter().map(|(id, quiet)| (id.clone(), quiet.due())).collect();
        let ready_since = self.ready.iter().map(|(id, ready)| (id.clone(), ready.since)).collect();
        let leading_since = self.began.unwrap_or(now);
        Context {
            now,
            leading_since,
            lost_since: self.lost_since.clone(),
            nudge_at,
            ready_since,
            failover_max_fraction,
            begin_at: self.begin_at.clone(),
            work: WORK,
        }
    }
}

/// The service's replicas in `instances`, while a rollout is under way, unless checks made since their last change have yet to
/// succeed. A leader that is new counts from when it first saw them: rather too long than too short.
fn ready_replicas(name: &ServiceName, service: &ServiceView) -> impl Iterator<Item = (ReplicaId, ReadyMark)> {
    let moving = is_under_way(service.rollouts.values().next_back());
    let instances = service.instances.values().filter(move |_| moving).filter_map(Doc::good);
    instances.filter_map(move |instance| {
        let replica = service.replicas.get(&instance.replica)?;
        let status = replica.status.as_ref().and_then(Doc::good).filter(|status| !status.unconfirmed)?;
        let mark = (instance.started, instance.pid, status.restarts, status.assignment, status.setbacks);
        Some((ReplicaId { service: name.clone(), number: instance.replica }, mark))
    })
}

/// Hosts without `alive`: those in the tree, and those that a replica still names.
fn lost_hosts(cluster: &Cluster) -> BTreeSet<&HostName> {
    let known = cluster.hosts.iter().filter(|(_, host)| host.alive.is_none()).map(|(name, _)| name);
    let named = cluster.services.values().flat_map(|service| service.replicas.values()).filter_map(placed_on);
    known.chain(named.filter(|name| !cluster.hosts.contains_key(*name))).collect()
}

fn wanted(replica: &ReplicaView) -> Option<&ReplicaDesired> {
    replica.desired.as_ref().and_then(Doc::good)
}

fn placed_on(replica: &ReplicaView) -> Option<&HostName> {
    wanted(replica)?.node.as_ref()
}

/// The service's replicas on live hosts that should have been reported or listed, with their grace and their assignment's version.
fn quiet_replicas(
    name: &ServiceName,
    service: &ServiceView,
    cluster: &Cluster,
) -> impl Iterator<Item = (ReplicaId, (Span, i32))> {
    service.replicas.iter().filter_map(move |(&number, replica)| {
        let desired = wanted(replica)?;
        let node = desired.node.as_ref()?;
        let host = cluster.hosts.get(node).filter(|host| host.alive.is_some())?;
        let id = ReplicaId { service: name.clone(), number };
        let grace = grace(service, replica, desired, node, &id)?;
        Some((id.clone(), (grace, assignment_version(host, &id)?)))
    })
}

fn assignment_version(host: &HostView, id: &ReplicaId) -> Option<i32> {
    host.assigned.get(id).map(|doc| doc.version)
}

/// How long what is seen of the replica may last; `None` when nothing is owed.
fn grace(
    service: &ServiceView,
    replica: &ReplicaView,
    desired: &ReplicaDesired,
    node: &HostName,
    id: &ReplicaId,
) -> Option<Span> {
    let status = replica.status.as_ref().and_then(Doc::good).filter(|status| status.node == *node);
    match status {
        None => Some(UNREPORTED),
        Some(status) => {
            let unlisted = desired.mode == Mode::Enabled
                && status.state == ReplicaState::Running
                && status.ready
                && !service.lists(node, id.number);
            unlisted.then_some(UNLISTED)
        }
    }
}
