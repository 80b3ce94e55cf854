//! Carrying out what is wanted of a replica where it is: its mode at once, its content within the budget.
//!
//! The replica's `desired` is the authority, the assignment its index: here both are written, and an index that was
//! lost or damaged is put back.

use super::{
    classify::Replica,
    nodes::Change,
    rollout::Goal,
    round::Round,
    status::ReplicaOutcome,
    transaction::Note,
    words::{Subject, Waiting},
};
use crate::{
    model::{Assignment, EventReason, Mode, PauseCause, ReplicaDesired, RolloutState, encode},
    tree::{layout, snapshot::Doc, txn::Op},
};

/// Whether a replica's content may be brought up to date where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Yes, within the budget, unless it would clash with another replica on its host.
    Update,
    /// No: it is leaving.
    Keep,
}

impl<'a> Round<'_, 'a> {
    /// Keeps the replica where it is, as the service wants it.
    pub(super) fn keep(&mut self, replica: &Replica<'a>) -> ReplicaOutcome {
        self.align(replica, self.facts.force.desired.mode, Content::Update, "")
    }

    /// Writes what differs from what is wanted of the replica on its host. `why` is the reason for its mode, when it
    /// is not the service's.
    pub(super) fn align(&mut self, replica: &Replica<'a>, mode: Mode, content: Content, why: &str) -> ReplicaOutcome {
        let goal = self.rollout.goal();
        let outdated = content == Content::Update && goal.is_some_and(|goal| !goal.is_of(replica));
        if !outdated && is_written(replica, mode) {
            self.nudge(replica);
            return self.standing(replica, outdated);
        }
        let clashes = replica
            .host
            .is_some_and(|host| self.places.clashes(replica, host, self.rollout.may_update(replica.number())));
        let turn = outdated && self.rollout.may_update(replica.number());
        let update = goal.filter(|_| turn && !clashes && self.may_disturb(replica, mode));
        let desired = Self::adjusted(replica, mode, update, why);
        let assignment = self.adjusted_assignment(replica, &desired, update, clashes);
        if assignment.is_some() && (update.is_some() || replica.assignment.and_then(Doc::good).is_none()) {
            self.claim_unit(replica);
        }
        let change = Change {
            id: &replica.id,
            view: replica.view,
            from: replica.host,
            home: replica.host,
            desired: &desired,
            assignment,
        };
        let ops = self.places.ops(change);
        if ops.is_empty() && clashes && replica.assignment.and_then(Doc::good).is_none() {
            self.out.notice(Subject::Service, replica.number(), &Waiting::AssignmentLost);
            return ReplicaOutcome::Stuck;
        }
        if ops.is_empty() {
            self.nudge(replica);
            return self.standing(replica, outdated);
        }
        if update.is_some() {
            self.rollout.updated(replica.number(), self.facts.context.now);
        }
        let (reason, message) = explain(replica, &desired, update.is_some(), why);
        let note = Note::of_replica(reason, replica.number(), desired.node.as_ref(), message);
        self.out.push(ops, note, false);
        ReplicaOutcome::Busy
    }

    fn adjusted(replica: &Replica<'a>, mode: Mode, update: Option<Goal<'a>>, why: &str) -> ReplicaDesired {
        let mut desired = ReplicaDesired { mode, ..replica.desired.clone() };
        if mode != replica.desired.mode && !why.is_empty() {
            why.clone_into(&mut desired.reason);
        }
        if let Some(Goal { number, revision }) = update {
            desired.version.clone_from(&revision.version);
            (desired.config_version, desired.rollout) = (revision.config_version, Some(number));
            desired.failed_on.clear();
        }
        desired
    }

    /// The index that goes with `desired`: the content that is in force where it may change, else what was there.
    fn adjusted_assignment(
        &self,
        replica: &Replica<'a>,
        desired: &ReplicaDesired,
        update: Option<Goal<'a>>,
        clashes: bool,
    ) -> Option<Assignment> {
        let current = replica.assignment.and_then(Doc::good).filter(|_| update.is_none());
        let ReplicaDesired { mode, version, config_version, .. } = desired.clone();
        match current {
            Some(current) => Some(Assignment { mode, version, config_version, ..current.clone() }),
            // What it ran as is not known, and as it is described now the agent would take another's unit for its own.
            None if clashes => None,
            None => {
                let goal = update.or_else(|| self.rollout.own(replica)).or(self.rollout.goal())?;
                Some(self.rollout.assignment(goal, desired, replica.number()))
            }
        }
    }

    /// A ready replica is disturbed within the budget only; an unready one has nothing to lose.
    fn may_disturb(&mut self, replica: &Replica<'a>, mode: Mode) -> bool {
        if mode != Mode::Enabled || !replica.ready() {
            return true;
        }
        self.budget.take_leeway() || self.spend(replica, "its update")
    }

    /// Takes one from the budget; without any, notes what waits.
    pub(super) fn spend(&mut self, replica: &Replica<'a>, what: &str) -> bool {
        if !self.budget.take() {
            let why = Waiting::Budget(what, self.facts.force.spec.max_unavailable);
            self.out.notice(Subject::Service, replica.number(), &why);
            return false;
        }
        true
    }

    fn claim_unit(&mut self, replica: &Replica<'a>) {
        if let Some(host) = replica.host {
            self.places.fleet.claim(host, self.places.placer.unit, &replica.id);
        }
    }

    fn standing(&self, replica: &Replica<'a>, outdated: bool) -> ReplicaOutcome {
        if !self.facts.force.enabled() || replica.desired.mode != Mode::Enabled {
            return if replica.down() { ReplicaOutcome::Gone } else { ReplicaOutcome::Busy };
        }
        if outdated && self.rollout.is_active() {
            let failed = self.rollout.record().is_some_and(|record| record.pause == Some(PauseCause::Failure));
            return if failed { ReplicaOutcome::Stuck } else { ReplicaOutcome::Busy };
        }
        match (replica.ready(), outdated, replica.failed() || replica.rejected()) {
            (true, false, _) if self.rollout.is(RolloutState::RolledBack) => ReplicaOutcome::Stuck,
            (true, false, _) => ReplicaOutcome::Ready,
            (_, true, _) | (_, _, true) => ReplicaOutcome::Stuck,
            _ => ReplicaOutcome::Busy,
        }
    }

    /// Writes an assignment again when its agent owes an answer: the new version makes it look again.
    fn nudge(&mut self, replica: &Replica<'a>) {
        let again = self.rollout.tries_again && replica.rejected();
        let due =
            if again { Some(self.facts.context.now) } else { self.facts.context.nudge_at.get(&replica.id).copied() };
        let (Some(due), Some(doc), Some(host)) = (due, replica.assignment, replica.host) else { return };
        let Some(assignment) = doc.good().filter(|_| replica.host_alive) else { return };
        if due > self.facts.context.now {
            return self.out.wake(due);
        }
        let name = self.places.fleet.hosts[host].name;
        let path = layout::assignment(name, &replica.id);
        let ops = vec![Op::Set { path, data: encode(assignment), version: Some(doc.version) }];
        let what =
            if again { "to try again what it rejected" } else { "for the replica's status and its place in instances" };
        let message = format!("{name} is asked {what}");
        let note = Note::of_replica(EventReason::Retried, replica.number(), Some(name), message);
        self.out.push(ops, note, false);
    }
}

/// Whether the replica's documents say the mode already, and its index what its `desired` says. By far the most
/// frequent case: it must cost nothing.
fn is_written(replica: &Replica<'_>, mode: Mode) -> bool {
    let index = replica.assignment.and_then(Doc::good).is_some_and(|assignment| {
        assignment.mode == mode
            && assignment.version == replica.desired.version
            && assignment.config_version == replica.desired.config_version
    });
    replica.desired.mode == mode && (index || replica.host.is_none())
}

fn explain(replica: &Replica<'_>, desired: &ReplicaDesired, update: bool, why: &str) -> (EventReason, String) {
    let mut parts = Vec::new();
    let mut reason = EventReason::Repaired;
    if desired.mode != replica.desired.mode {
        reason = EventReason::ModeChanged;
        let why = if why.is_empty() { "as the service is" } else { why };
        parts.push(format!("mode {} → {}: {why}", replica.desired.mode, desired.mode));
    }
    if update {
        reason = EventReason::Updated;
        parts.push(update_message(replica, desired));
    }
    if parts.is_empty() {
        parts.push("assignment restored: it was missing, or differed from the replica's desired state".to_owned());
    }
    (reason, parts.join(", "))
}

fn update_message(replica: &Replica<'_>, desired: &ReplicaDesired) -> String {
    let text = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
    let number = |version: Option<u64>| version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    if replica.desired.version != desired.version {
        return format!("version {} → {}", text(&replica.desired.version), text(&desired.version));
    }
    if replica.desired.config_version != desired.config_version {
        return format!("config {} → {}", number(replica.desired.config_version), number(desired.config_version));
    }
    "updated: the description changed".to_owned()
}
