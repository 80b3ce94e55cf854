//! Carrying out what is wanted of a replica where it is: its mode at once, its content within the budget.
//!
//! The replica's `desired` is the authority, the assignment its index: here both are written, and an index that was
//! lost or damaged is put back.

use super::{
    classify::Case,
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
    pub(super) fn keep(&mut self, case: &Case<'a>) -> ReplicaOutcome {
        self.align(case, self.facts.force.desired.mode, Content::Update, "")
    }

    /// Writes what differs from what is wanted of the replica on its host. `why` is the reason for its mode, when it
    /// is not the service's.
    pub(super) fn align(&mut self, case: &Case<'a>, mode: Mode, content: Content, why: &str) -> ReplicaOutcome {
        let goal = self.course.goal();
        let outdated = content == Content::Update && goal.is_some_and(|goal| !goal.is_of(case));
        if !outdated && is_written(case, mode) {
            self.nudge(case);
            return self.standing(case, outdated);
        }
        let clashes =
            case.host.is_some_and(|host| self.places.clashes(case, host, self.course.may_update(case.number())));
        let turn = outdated && self.course.may_update(case.number());
        let update = goal.filter(|_| turn && !clashes && self.may_disturb(case, mode));
        let desired = Self::adjusted(case, mode, update, why);
        let assignment = self.adjusted_assignment(case, &desired, update, clashes);
        if assignment.is_some() && (update.is_some() || case.assignment.and_then(Doc::good).is_none()) {
            self.claim_unit(case);
        }
        let change =
            Change { id: &case.id, view: case.view, from: case.host, home: case.host, desired: &desired, assignment };
        let ops = self.places.ops(change);
        if ops.is_empty() && clashes && case.assignment.and_then(Doc::good).is_none() {
            self.out.notice(Subject::Service, case.number(), &Waiting::AssignmentLost);
            return ReplicaOutcome::Stuck;
        }
        if ops.is_empty() {
            self.nudge(case);
            return self.standing(case, outdated);
        }
        if update.is_some() {
            self.course.updated(case.number(), self.facts.context.now);
        }
        let (reason, message) = explain(case, &desired, update.is_some(), why);
        let note = Note::of_replica(reason, case.number(), desired.node.as_ref(), message);
        self.out.push(ops, note, false);
        ReplicaOutcome::Busy
    }

    fn adjusted(case: &Case<'a>, mode: Mode, update: Option<Goal<'a>>, why: &str) -> ReplicaDesired {
        let mut desired = ReplicaDesired { mode, ..case.desired.clone() };
        if mode != case.desired.mode && !why.is_empty() {
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
        case: &Case<'a>,
        desired: &ReplicaDesired,
        update: Option<Goal<'a>>,
        clashes: bool,
    ) -> Option<Assignment> {
        let current = case.assignment.and_then(Doc::good).filter(|_| update.is_none());
        let ReplicaDesired { mode, version, config_version, .. } = desired.clone();
        match current {
            Some(current) => Some(Assignment { mode, version, config_version, ..current.clone() }),
            // What it ran as is not known, and as it is described now the agent would take another's unit for its own.
            None if clashes => None,
            None => {
                let goal = update.or_else(|| self.course.own(case)).or(self.course.goal())?;
                Some(self.course.assignment(goal, desired, case.number()))
            }
        }
    }

    /// A ready replica is disturbed within the budget only; an unready one has nothing to lose.
    fn may_disturb(&mut self, case: &Case<'a>, mode: Mode) -> bool {
        if mode != Mode::Enabled || !case.ready() {
            return true;
        }
        self.budget.take_leeway() || self.spend(case, "its update")
    }

    /// Takes one from the budget; without any, notes what waits.
    pub(super) fn spend(&mut self, case: &Case<'a>, what: &str) -> bool {
        if !self.budget.take() {
            let why = Waiting::Budget(what, self.facts.force.spec.max_unavailable);
            self.out.notice(Subject::Service, case.number(), &why);
            return false;
        }
        true
    }

    fn claim_unit(&mut self, case: &Case<'a>) {
        if let Some(host) = case.host {
            self.places.fleet.claim(host, self.places.placer.unit, &case.id);
        }
    }

    fn standing(&self, case: &Case<'a>, outdated: bool) -> ReplicaOutcome {
        if !self.facts.force.enabled() || case.desired.mode != Mode::Enabled {
            return if case.down() { ReplicaOutcome::Gone } else { ReplicaOutcome::Busy };
        }
        if outdated && self.course.is_active() {
            let failed = self.course.record().is_some_and(|record| record.pause == Some(PauseCause::Failure));
            return if failed { ReplicaOutcome::Stuck } else { ReplicaOutcome::Busy };
        }
        match (case.ready(), outdated, case.failed() || case.rejected()) {
            (true, false, _) if self.course.is(RolloutState::RolledBack) => ReplicaOutcome::Stuck,
            (true, false, _) => ReplicaOutcome::Ready,
            (_, true, _) | (_, _, true) => ReplicaOutcome::Stuck,
            _ => ReplicaOutcome::Busy,
        }
    }

    /// Writes an assignment again when its agent owes an answer: the new version makes it look again.
    fn nudge(&mut self, case: &Case<'a>) {
        let again = self.course.tries_again && case.rejected();
        let due = if again { Some(self.facts.context.now) } else { self.facts.context.nudge_at.get(&case.id).copied() };
        let (Some(due), Some(doc), Some(host)) = (due, case.assignment, case.host) else { return };
        let Some(assignment) = doc.good().filter(|_| case.host_alive) else { return };
        if due > self.facts.context.now {
            return self.out.wake(due);
        }
        let name = self.places.fleet.hosts[host].name;
        let path = layout::assignment(name, &case.id);
        let ops = vec![Op::Set { path, data: encode(assignment), version: Some(doc.version) }];
        let what =
            if again { "to try again what it rejected" } else { "for the replica's status and its place in instances" };
        let message = format!("{name} is asked {what}");
        let note = Note::of_replica(EventReason::Retried, case.number(), Some(name), message);
        self.out.push(ops, note, false);
    }
}

/// Whether the replica's documents say the mode already, and its index what its `desired` says. By far the most
/// frequent case: it must cost nothing.
fn is_written(case: &Case<'_>, mode: Mode) -> bool {
    let index = case.assignment.and_then(Doc::good).is_some_and(|assignment| {
        assignment.mode == mode
            && assignment.version == case.desired.version
            && assignment.config_version == case.desired.config_version
    });
    case.desired.mode == mode && (index || case.host.is_none())
}

fn explain(case: &Case<'_>, desired: &ReplicaDesired, update: bool, why: &str) -> (EventReason, String) {
    let mut parts = Vec::new();
    let mut reason = EventReason::Repaired;
    if desired.mode != case.desired.mode {
        reason = EventReason::ModeChanged;
        let why = if why.is_empty() { "as the service is" } else { why };
        parts.push(format!("mode {} → {}: {why}", case.desired.mode, desired.mode));
    }
    if update {
        reason = EventReason::Updated;
        parts.push(update_message(case, desired));
    }
    if parts.is_empty() {
        parts.push("assignment restored: it was missing, or differed from the replica's desired state".to_owned());
    }
    (reason, parts.join(", "))
}

fn update_message(case: &Case<'_>, desired: &ReplicaDesired) -> String {
    let text = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
    let number = |version: Option<u64>| version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    if case.desired.version != desired.version {
        return format!("version {} → {}", text(&case.desired.version), text(&desired.version));
    }
    if case.desired.config_version != desired.config_version {
        return format!("config {} → {}", number(case.desired.config_version), number(desired.config_version));
    }
    "updated: the description changed".to_owned()
}
