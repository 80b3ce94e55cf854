//! What is said of a service: counts, one word, conditions, events. Written with every change that the round makes,
//! and else only when it says something new: never for the sake of a time.

use super::{
    Context,
    accept::InForce,
    classify::ReplicaKind,
    notice::{Undated, clip, date},
    rollout::ActiveRollout,
    transaction::TransactionBuilder,
    words::{Progress, Running},
};
use crate::{
    model::{
        Accepted, Condition, Event, Mode, ReplicaState, RolloutSummary, ServiceName, ServiceStatus, Summary, encode,
    },
    tree::{
        layout,
        snapshot::{Doc, ServiceView},
        txn::{Op, Transaction},
    },
};

/// The longest message of an event, in characters.
const LONGEST_EVENT: usize = 300;

/// How a replica stands after the round's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplicaOutcome {
    /// It serves, with what is wanted now.
    Ready,
    /// Something is under way, here or at its agent.
    Busy,
    /// It is not as wanted, and nothing that zkops does will change that by itself.
    Stuck,
    /// It is not to run, and no process of it is left.
    Gone,
}

/// The replicas by how they stand.
#[derive(Default)]
pub(super) struct StatusCounts {
    ready: usize,
    busy: usize,
    stuck: usize,
    pub(super) listed: u32,
    pub(super) updated: u32,
    leaving: usize,
    pub(super) created: usize,
    pub(super) deleted: usize,
}

impl StatusCounts {
    pub(super) fn count(&mut self, standing: ReplicaOutcome, replica: &ReplicaKind<'_>, rollout: &ActiveRollout<'_>) {
        match standing {
            ReplicaOutcome::Ready => self.ready += 1,
            ReplicaOutcome::Busy => self.busy += 1,
            ReplicaOutcome::Stuck => self.stuck += 1,
            ReplicaOutcome::Gone => {}
        }
        if replica.removing() {
            self.leaving += 1;
        } else if let ReplicaKind::Managed(replica) = replica {
            self.listed += u32::from(replica.listed);
            let running = replica.state() == Some(ReplicaState::Running) && replica.answered();
            self.updated += u32::from(running && rollout.is_newest(replica));
        }
    }

    /// A replica was chosen to go in this round.
    pub(super) fn retired(&mut self) {
        self.busy += 1;
        self.leaving += 1;
    }

    pub(super) fn created(&mut self, count: usize) {
        self.busy += count;
        self.created += count;
    }

    pub(super) fn deleted(&mut self) {
        self.deleted += 1;
    }

    pub(super) fn summary(&self, force: &InForce<'_>) -> Summary {
        let quiet = self.busy == 0 && self.stuck == 0;
        match force.desired.mode {
            _ if force.spec.deleting => Summary::Deleting,
            Mode::Enabled if self.busy > 0 => Summary::Progressing,
            Mode::Enabled if self.stuck > 0 => Summary::Degraded,
            Mode::Enabled => Summary::Healthy,
            Mode::Disabled if quiet => Summary::Disabled,
            Mode::Disabled => Summary::Progressing,
            Mode::Drain if quiet => Summary::Drained,
            Mode::Drain => Summary::Draining,
        }
    }

    pub(super) fn progress(&self, force: &InForce<'_>) -> Progress {
        let runs = force.enabled() && !force.spec.deleting;
        let running = Running { wanted: force.wanted(), ready: self.listed, updated: self.updated };
        Progress {
            running: runs.then_some(running),
            stopping: self.busy.saturating_sub(self.leaving),
            leaving: self.leaving.saturating_sub(self.deleted),
        }
    }
}

/// What a status says, its dates aside.
pub(super) struct StatusContent<'f> {
    pub(super) view: &'f ServiceView,
    pub(super) force: Option<InForce<'f>>,
    pub(super) summary: Summary,
    pub(super) replicas: u32,
    pub(super) ready: u32,
    pub(super) updated: u32,
    pub(super) rollout: Option<RolloutSummary>,
    pub(super) conditions: Vec<Undated>,
}

impl StatusContent<'_> {
    fn is(&self, before: &ServiceStatus) -> bool {
        let same = |(now, before): (&Undated, &Condition)| now.is(before);
        let accepted = before.accepted.as_ref().map(|accepted| (&accepted.service, &accepted.desired));
        (before.observed_desired, before.observed_service) == self.observed()
            && before.summary == self.summary
            && (before.desired, before.replicas) == (self.desired(), self.replicas)
            && (before.ready, before.updated) == (self.ready, self.updated)
            && before.rollout == self.rollout
            && accepted == self.force.map(|force| (force.spec, force.desired))
            && self.conditions.len() == before.conditions.len()
            && self.conditions.iter().zip(&before.conditions).all(same)
    }

    fn observed(&self) -> (Option<i32>, Option<i32>) {
        (self.view.desired.as_ref().map(|doc| doc.version), self.view.spec.as_ref().map(|doc| doc.version))
    }

    fn desired(&self) -> u32 {
        self.force.map_or(0, |force| figure(force.wanted()))
    }

    fn dated(
        self,
        before: Option<&ServiceStatus>,
        builder: &TransactionBuilder<'_>,
        context: &Context,
    ) -> ServiceStatus {
        let (observed_desired, observed_service) = self.observed();
        let force = self.force;
        ServiceStatus {
            observed_desired,
            observed_service,
            summary: self.summary,
            desired: self.desired(),
            replicas: self.replicas,
            ready: self.ready,
            updated: self.updated,
            rollout: self.rollout,
            conditions: date(self.conditions, before.map_or(&[], |before| &before.conditions), context.now),
            events: events(before, builder, context),
            accepted: force.map(|force| Accepted { service: force.spec.clone(), desired: force.desired.clone() }),
        }
    }
}

pub(super) fn figure(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The last events, the round's own included. What was said last of a replica is not said again.
fn events(before: Option<&ServiceStatus>, builder: &TransactionBuilder<'_>, context: &Context) -> Vec<Event> {
    let mut events = before.map(|before| before.events.clone()).unwrap_or_default();
    for note in builder.notes() {
        let message = clip(&note.message, LONGEST_EVENT);
        let last = events.iter().rev().find(|event| event.replica == note.replica);
        if note.replica.is_none() || last.is_none_or(|last| last.message != message) {
            let (reason, replica, node) = (note.reason, note.replica, note.node.clone());
            events.push(Event { at: context.now, reason, replica, node, message });
        }
    }
    events.split_off(events.len().saturating_sub(ServiceStatus::MAX_EVENTS))
}

/// The builder's operations and the status, unless there is nothing to do and nothing new to say.
pub(super) fn transaction(
    name: &ServiceName,
    face: StatusContent<'_>,
    builder: TransactionBuilder<'_>,
    context: &Context,
) -> Option<Transaction> {
    let doc = face.view.status.as_ref();
    let before = doc.and_then(Doc::good);
    if builder.is_empty() && before.is_some_and(|before| face.is(before)) {
        return None;
    }
    let reason = if builder.is_empty() { format!("status: {}", face.summary) } else { builder.summary() };
    let version = doc.map(|doc| doc.version);
    let data = encode(&face.dated(before, &builder, context));
    let path = layout::status(name);
    let status = match version {
        Some(version) => Op::Set { path, data, version: Some(version) },
        None => Op::Create { path, data },
    };
    let mut ops = builder.into_ops();
    ops.push(status);
    Some(Transaction { ops, reason: format!("{name}: {reason}"), ..Transaction::default() })
}
