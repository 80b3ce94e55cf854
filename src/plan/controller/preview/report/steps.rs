//! What a transaction decided, by the documents before and after it: they are what agents act on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    model::{
        Assignment, HostName, Mode, PauseCause, ReplicaDesired, ReplicaId, ReplicaNumber, Rollout, RolloutState,
        ServiceName, UpdateAction,
    },
    plan::controller::preview::world::World,
    tree::{layout::Place, snapshot::ServiceView, txn::Transaction},
};

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The service.
    pub service: ServiceName,
    /// The replica; absent when it is about all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaNumber>,
    /// What is done.
    #[serde(flatten)]
    pub what: What,
    /// Why, in the planner's words; empty when it says no more than that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What is done with a replica, or with a service's rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It is started for the first time, or again after it was on no host.
    Placed {
        /// There.
        on: HostName,
        /// It is there for a while only, beside those wanted.
        surge: bool,
        /// The rollout that brought what it runs.
        rollout: Option<u64>,
        /// The batch that its rollout is at.
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<Batch>,
    },
    /// It leaves its host for another.
    Moved {
        /// The host it leaves.
        from: HostName,
        /// The host it goes to.
        to: HostName,
        /// The rollout that brought what it runs there.
        rollout: Option<u64>,
        /// The batch, when it runs something new there.
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<Batch>,
    },
    /// It is told something new where it is.
    Updated {
        /// Its host.
        on: HostName,
        /// What its process notices of that.
        action: UpdateAction,
        /// The rollout that brings it.
        rollout: Option<u64>,
        /// The batch.
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<Batch>,
    },
    /// It is started or stopped where it is, or drained to leave its host.
    Switched {
        /// Its host.
        on: HostName,
        /// What it is to do.
        mode: Mode,
    },
    /// It begins its way out: drained, then removed.
    Retired {
        /// Its host.
        on: HostName,
    },
    /// It is gone.
    Removed {
        /// The host it was on.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<HostName>,
    },
    /// The newest rollout begins, or its state changes.
    Rollout {
        /// Which.
        number: u64,
        /// The one that it would go back to.
        from: Option<u64>,
        /// Its state from now on.
        state: RolloutState,
        /// Why it is paused, while it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pause: Option<PauseCause>,
    },
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Batch {
    /// The record's own count, from 0.
    pub number: u32,
    /// Whether nobody has promoted it yet.
    pub promoted: bool,
}

/// What a transaction is about.
pub(in crate::plan::controller::preview) struct Before {
    replicas: BTreeMap<ReplicaId, Facts>,
    rollouts: BTreeMap<ServiceName, Option<Newest>>,
}

/// A replica's documents.
#[derive(Clone)]
pub(super) struct Facts {
    desired: Option<ReplicaDesired>,
    assignment: Option<Assignment>,
}

/// How far the newest rollout is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Newest {
    number: u64,
    state: RolloutState,
    pause: Option<PauseCause>,
}

impl Facts {
    /// The documents of all that the transaction touches, as they are.
    pub(super) fn before(world: &World, transaction: &Transaction) -> Before {
        let mut before = Before { replicas: BTreeMap::new(), rollouts: BTreeMap::new() };
        for op in &transaction.ops {
            match Place::of(op.path()) {
                Place::Replica(id) | Place::ReplicaDesired(id) | Place::Assignment(_, id) => {
                    before.replicas.entry(id).or_insert_with_key(|id| Self::of(world, id));
                }
                Place::Rollout(name, _) => {
                    before.rollouts.entry(name).or_insert_with_key(|name| newest(world, name).map(|(it, _)| it));
                }
                _ => {}
            }
        }
        before
    }

    fn of(world: &World, id: &ReplicaId) -> Self {
        let replica = service(world, &id.service).and_then(|service| service.replicas.get(&id.number));
        let desired = replica.and_then(|replica| replica.desired.as_ref()?.good().cloned());
        let host = desired.as_ref().and_then(|desired| world.cluster.hosts.get(desired.node.as_ref()?));
        let assignment = host.and_then(|host| host.assigned.get(id)?.good().cloned());
        Self { desired, assignment }
    }
}

impl Before {
    /// What has been decided since.
    pub(super) fn steps(self, world: &World) -> Vec<Step> {
        let rollouts = self.rollouts.into_iter().filter_map(|(name, before)| of_rollout(world, name, before));
        let replicas = self.replicas.into_iter().filter_map(|(id, before)| of_replica(world, id, &before));
        rollouts.chain(replicas).collect()
    }
}

fn of_rollout(world: &World, service: ServiceName, before: Option<Newest>) -> Option<Step> {
    let (after, record) = newest(world, &service)?;
    let Newest { number, state, pause } = after;
    let what = What::Rollout { number, from: record.from, state, pause };
    (before != Some(after)).then(|| Step { service, replica: None, what, why: record.reason.clone() })
}

fn of_replica(world: &World, id: ReplicaId, before: &Facts) -> Option<Step> {
    let after = Facts::of(world, &id);
    let batch = newest(world, &id.service).map(|(_, record)| Batch { number: record.batch, promoted: record.promoted });
    let what = what(before, &after, batch)?;
    let says_why = matches!(what, What::Placed { .. } | What::Moved { .. } | What::Retired { .. });
    let is_news = before.desired.as_ref().map(|it| &it.reason) != after.desired.as_ref().map(|it| &it.reason);
    let why = after.desired.filter(|_| says_why || is_news).map(|desired| desired.reason).unwrap_or_default();
    Some(Step { service: id.service, replica: Some(id.number), what, why })
}

fn what(before: &Facts, after: &Facts, batch: Option<Batch>) -> Option<What> {
    let host = |facts: &Facts| facts.desired.as_ref().and_then(|desired| desired.node.clone());
    let (was, is) = (host(before), host(after));
    let Some(desired) = &after.desired else {
        return before.desired.is_some().then_some(What::Removed { from: was });
    };
    let rollout = desired.rollout;
    let told = before.desired.as_ref().and_then(|before| before.rollout);
    match (was, is?) {
        (None, on) => Some(What::Placed { on, surge: desired.surge, rollout, batch }),
        (Some(from), to) if from != to => {
            Some(What::Moved { from, to, rollout, batch: batch.filter(|_| told != rollout) })
        }
        (Some(_), on) => what_there(before, after, on, batch),
    }
}

/// What is done with a replica where it is.
fn what_there(before: &Facts, after: &Facts, on: HostName, batch: Option<Batch>) -> Option<What> {
    let (was, is) = (before.desired.as_ref()?, after.desired.as_ref()?);
    if is.removing && !was.removing {
        return Some(What::Retired { on });
    }
    let content = |it: &ReplicaDesired| (it.rollout, it.version.clone(), it.config_version);
    if content(was) != content(is) {
        let both = before.assignment.as_ref().zip(after.assignment.as_ref());
        let action = both.map_or(UpdateAction::Restart, |(before, after)| UpdateAction::between(before, after));
        return Some(What::Updated { on, action, rollout: is.rollout, batch });
    }
    (was.mode != is.mode).then_some(What::Switched { on, mode: is.mode })
}

fn service<'w>(world: &'w World, name: &ServiceName) -> Option<&'w ServiceView> {
    world.cluster.services.get(name)
}

fn newest<'w>(world: &'w World, name: &ServiceName) -> Option<(Newest, &'w Rollout)> {
    let (number, doc) = service(world, name)?.rollouts.last_key_value()?;
    let record = doc.good()?;
    Some((Newest { number: *number, state: record.state, pause: record.pause }, record))
}
