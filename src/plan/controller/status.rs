//! What is said of a service: counts, one word, conditions, events. Written with every change that the round makes,
//! and else only when it says something new: never for the sake of a time.

use super::{
    Context,
    accept::InForce,
    classify::Found,
    cluster::{Doc, ServiceView},
    draft::{Draft, Note},
    notice::{Notices, clip, date},
    rollout::Course,
    round::{Planned, Round},
};
use crate::{
    model::{
        Accepted, ConditionKind, Event, Mode, ReplicaState, RolloutSummary, ServiceName, ServiceStatus, Summary, encode,
    },
    plan::txn::{Op, Transaction},
    store::layout,
};

/// The longest message of an event, in characters.
const LONGEST_EVENT: usize = 300;

/// How a replica stands after the round's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
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
pub(super) struct Tally {
    ready: usize,
    busy: usize,
    stuck: usize,
    listed: u32,
    updated: u32,
    leaving: usize,
    created: usize,
    deleted: usize,
}

impl Tally {
    pub(super) fn count(&mut self, standing: Standing, replica: &Found<'_>, course: &Course<'_>) {
        match standing {
            Standing::Ready => self.ready += 1,
            Standing::Busy => self.busy += 1,
            Standing::Stuck => self.stuck += 1,
            Standing::Gone => {}
        }
        if replica.removing() {
            self.leaving += 1;
        } else if let Found::Known(case) = replica {
            self.listed += u32::from(case.listed);
            let running = case.state() == Some(ReplicaState::Running) && case.answered();
            self.updated += u32::from(running && course.is_newest(case));
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

    fn summary(&self, force: &InForce<'_>) -> Summary {
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

    fn progress(&self, force: &InForce<'_>) -> String {
        let mut parts = Vec::new();
        if force.enabled() && !force.spec.deleting {
            let wanted = force.wanted();
            parts.push(format!("{} of {wanted} replicas are ready, {} up to date", self.listed, self.updated));
        } else if self.busy > self.leaving {
            parts.push(format!("{} replicas have not stopped yet", self.busy - self.leaving));
        }
        let leaving = self.leaving.saturating_sub(self.deleted);
        if leaving > 0 {
            parts.push(format!("{leaving} are on their way out"));
        }
        if parts.is_empty() { "the last nodes are being deleted".to_owned() } else { parts.join(", ") }
    }
}

/// What a status says, its dates aside.
struct Face<'f> {
    view: &'f ServiceView,
    force: Option<InForce<'f>>,
    summary: Summary,
    replicas: u32,
    ready: u32,
    updated: u32,
    rollout: Option<RolloutSummary>,
    conditions: Vec<(ConditionKind, String)>,
}

impl Face<'_> {
    fn is(&self, before: &ServiceStatus) -> bool {
        let conditions = before.conditions.iter().map(|condition| (condition.kind, condition.message.as_str()));
        let accepted = before.accepted.as_ref().map(|accepted| (&accepted.service, &accepted.desired));
        (before.observed_desired, before.observed_service) == self.observed()
            && before.summary == self.summary
            && (before.desired, before.replicas) == (self.desired(), self.replicas)
            && (before.ready, before.updated) == (self.ready, self.updated)
            && before.rollout == self.rollout
            && accepted == self.force.map(|force| (force.spec, force.desired))
            && conditions.eq(self.conditions.iter().map(|(kind, message)| (*kind, message.as_str())))
    }

    fn observed(&self) -> (Option<i32>, Option<i32>) {
        (self.view.desired.as_ref().map(|doc| doc.version), self.view.spec.as_ref().map(|doc| doc.version))
    }

    fn desired(&self) -> u32 {
        self.force.map_or(0, |force| figure(force.wanted()))
    }

    fn dated(self, before: Option<&ServiceStatus>, draft: &Draft<'_>, context: &Context) -> ServiceStatus {
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
            events: events(before, draft, context),
            accepted: force.map(|force| Accepted { service: force.spec.clone(), desired: force.desired.clone() }),
        }
    }
}

fn figure(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The last events, the round's own included. What was said last of a replica is not said again.
fn events(before: Option<&ServiceStatus>, draft: &Draft<'_>, context: &Context) -> Vec<Event> {
    let mut events = before.map(|before| before.events.clone()).unwrap_or_default();
    for note in draft.notes() {
        let message = clip(&note.message, LONGEST_EVENT);
        let last = events.iter().rev().find(|event| event.replica == note.replica);
        if note.replica.is_none() || last.is_none_or(|last| last.message != message) {
            events.push(Event { at: context.now, replica: note.replica, node: note.node.clone(), message });
        }
    }
    events.split_off(events.len().saturating_sub(ServiceStatus::MAX_EVENTS))
}

impl Round<'_, '_> {
    /// The round's transaction: all its steps, and the status, whose version guards them.
    pub(super) fn finish(mut self) -> Planned {
        self.create_instances();
        let summary = self.tally.summary(&self.force);
        if matches!(summary, Summary::Progressing | Summary::Draining | Summary::Deleting) {
            self.notices.add(ConditionKind::Progressing, "", None, &self.tally.progress(&self.force));
        }
        let replicas = (self.view.replicas.len() + self.tally.created).saturating_sub(self.tally.deleted);
        let face = Face {
            view: self.view,
            force: Some(self.force),
            summary,
            replicas: figure(replicas),
            ready: self.tally.listed,
            updated: self.tally.updated,
            rollout: self.rollout_summary(),
            conditions: self.notices.messages(self.name),
        };
        let is_urgent = self.draft.urgent();
        let transaction = transaction(self.name, face, self.draft, self.context);
        let transaction = transaction.map(|transaction| Transaction { moves: self.moves, ..transaction });
        Planned { transaction, is_urgent, wake_at: self.wake_at, note: None, held: self.held }
    }

    /// The parent of the agents' ephemerals. After the first sequential nodes, so that these start at 1.
    fn create_instances(&mut self) {
        if self.view.instances_version.is_none() && !self.force.spec.deleting {
            let op = Op::Create { path: layout::instances(self.name), data: b"{}".to_vec() };
            self.push(vec![op], Note::new(None, None, "instances created".to_owned()), false);
        }
    }

    /// The service is to be deleted and has no replicas left: its nodes go too, deepest first.
    pub(super) fn delete_service(mut self) -> Planned {
        let ours = ["config", "moves", "rollouts"].map(|child| format!("{}/{child}", layout::service(self.name)));
        let is_ours = |path: &str| {
            ours.iter().any(|root| {
                path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let foreign: Vec<_> = self.view.others.keys().filter(|path| !is_ours(path)).take(3).cloned().collect();
        if !foreign.is_empty() {
            let text = format!("the service's nodes stay: {} are not zkops's own; delete them", foreign.join(", "));
            self.notices.add(ConditionKind::Waiting, "", None, &text);
            return self.finish();
        }
        let mut ops: Vec<Op> =
            self.view.others.iter().rev().map(|(path, version)| delete(path.clone(), *version)).collect();
        let instances = self.view.instances.iter();
        ops.extend(instances.map(|(name, doc)| delete(layout::instance(self.name, name), doc.version)));
        if ops.len() > super::draft::MAX_OPS / 2 {
            ops.truncate(super::draft::MAX_OPS / 2);
            self.push(ops, Note::new(None, None, "its history is being deleted".to_owned()), false);
            return self.finish();
        }
        self.delete_own_nodes(ops)
    }

    fn delete_own_nodes(self, mut ops: Vec<Op>) -> Planned {
        let view = self.view;
        let own = [
            (layout::instances(self.name), view.instances_version),
            (layout::status(self.name), view.status.as_ref().map(|doc| doc.version)),
            (layout::desired(self.name), view.desired.as_ref().map(|doc| doc.version)),
            (layout::service(self.name), view.spec.as_ref().map(|doc| doc.version)),
        ];
        ops.extend(own.into_iter().filter_map(|(path, version)| Some(delete(path, version?))));
        let reason = format!("{}: deleted, as asked; no replica is left", self.name);
        let transaction = Some(Transaction { ops, reason, ..Transaction::default() });
        Planned { transaction, is_urgent: false, wake_at: None, note: None, held: 0 }
    }
}

fn delete(path: String, version: i32) -> Op {
    Op::Delete { path, version: Some(version) }
}

/// A service of which nothing ever was good: its status says what is wrong, and nothing else is touched.
pub(super) fn without_force(name: &ServiceName, view: &ServiceView, notices: &Notices, context: &Context) -> Planned {
    let face = Face {
        view,
        force: None,
        summary: Summary::Degraded,
        replicas: figure(view.replicas.len()),
        ready: figure(view.instances.len()),
        updated: 0,
        rollout: view.status.as_ref().and_then(Doc::good).and_then(|status| status.rollout.clone()),
        conditions: notices.messages(name),
    };
    let transaction = transaction(name, face, Draft::new(None), context);
    Planned { transaction, is_urgent: false, wake_at: None, note: None, held: 0 }
}

/// The draft's operations and the status, unless there is nothing to do and nothing new to say.
fn transaction(name: &ServiceName, face: Face<'_>, draft: Draft<'_>, context: &Context) -> Option<Transaction> {
    let doc = face.view.status.as_ref();
    let before = doc.and_then(Doc::good);
    if draft.is_empty() && before.is_some_and(|before| face.is(before)) {
        return None;
    }
    let reason = if draft.is_empty() { format!("status: {}", face.summary) } else { draft.summary() };
    let version = doc.map(|doc| doc.version);
    let data = encode(&face.dated(before, &draft, context));
    let path = layout::status(name);
    let status = match version {
        Some(version) => Op::Set { path, data, version: Some(version) },
        None => Op::Create { path, data },
    };
    let mut ops = draft.into_ops();
    ops.push(status);
    Some(Transaction { ops, reason: format!("{name}: {reason}"), ..Transaction::default() })
}
