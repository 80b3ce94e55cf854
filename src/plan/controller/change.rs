//! Carrying out what is wanted of a replica where it is: its mode at once, its content within the budget.
//!
//! The replica's `desired` is the authority, the assignment its index: here both are written, and an index that was
//! lost or damaged is put back.

use super::{classify::Case, draft::Note, host::HostIndex, rollout::Goal, round::Round, status::Standing};
use crate::{
    model::{
        Assignment, ConditionKind, Mode, PauseCause, ReplicaDesired, ReplicaId, ReplicaNumber, RolloutState, encode,
    },
    tree::{
        layout,
        snapshot::{Doc, ReplicaView},
        txn::Op,
    },
};

/// Whether a replica's content may be brought up to date where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Yes, within the budget, unless it would clash with another replica on its host.
    Update,
    /// No: it is leaving.
    Keep,
}

/// A replica's documents as they are to be.
pub(super) struct Change<'c, 'a> {
    pub(super) id: &'c ReplicaId,
    pub(super) view: &'a ReplicaView,
    /// The host it was on.
    pub(super) from: Option<HostIndex>,
    /// The host it is on now; `desired.node` names it.
    pub(super) home: Option<HostIndex>,
    pub(super) desired: &'c ReplicaDesired,
    /// What that host's agent is told; `None` leaves its index alone.
    pub(super) assignment: Option<Assignment>,
}

impl<'a> Round<'_, 'a> {
    /// Keeps the replica where it is, as the service wants it.
    pub(super) fn keep(&mut self, case: &Case<'a>) -> Standing {
        self.align(case, self.force.desired.mode, Content::Update, "")
    }

    /// Writes what differs from what is wanted of the replica on its host. `why` is the reason for its mode, when it
    /// is not the service's.
    pub(super) fn align(&mut self, case: &Case<'a>, mode: Mode, content: Content, why: &str) -> Standing {
        let goal = self.course.goal();
        let outdated = content == Content::Update && goal.is_some_and(|goal| !goal.is_of(case));
        if !outdated && is_written(case, mode) {
            self.nudge(case);
            return self.standing(case, outdated);
        }
        let clashes = case.host.is_some_and(|host| self.clashes(case, host));
        let turn = outdated && self.course.may_update(case.number());
        let update = goal.filter(|_| turn && !clashes && self.may_disturb(case, mode));
        let desired = Self::adjusted(case, mode, update, why);
        let assignment = self.adjusted_assignment(case, &desired, update, clashes);
        if assignment.is_some() && (update.is_some() || case.assignment.and_then(Doc::good).is_none()) {
            self.claim_unit(case);
        }
        let change =
            Change { id: &case.id, view: case.view, from: case.host, home: case.host, desired: &desired, assignment };
        let ops = self.ops(change);
        if ops.is_empty() && clashes && case.assignment.and_then(Doc::good).is_none() {
            let text = "its index is gone, and what it ran as is not known: its unit is another's there by now";
            self.notice(ConditionKind::Waiting, "", case.number(), text);
            return Standing::Stuck;
        }
        if ops.is_empty() {
            self.nudge(case);
            return self.standing(case, outdated);
        }
        if update.is_some() {
            self.course.updated(case.number(), self.context.now);
        }
        let message = explain(case, &desired, update.is_some(), why);
        self.push(ops, Note::new(Some(case.number()), desired.node.as_ref(), message), false);
        Standing::Busy
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
                let goal = update.or_else(|| self.own(case)).or(self.course.goal())?;
                Some(self.assignment(goal, desired, case.number()))
            }
        }
    }

    /// What an agent is told of a replica that is to run what `goal` brought. What was healthy before need not show it for
    /// as long again.
    pub(super) fn assignment(&self, goal: Goal<'a>, desired: &ReplicaDesired, number: ReplicaNumber) -> Assignment {
        let min_healthy_time = self.min_healthy_time();
        Assignment { min_healthy_time, ..Assignment::new(&goal.revision.template, desired, number) }
    }

    /// A ready replica is disturbed within the budget only; an unready one has nothing to lose.
    fn may_disturb(&mut self, case: &Case<'a>, mode: Mode) -> bool {
        if mode != Mode::Enabled || !case.ready() {
            return true;
        }
        self.take_leeway() || self.spend(case, "its update")
    }

    /// Takes one from what may be disturbed beyond the budget, once that is spent.
    pub(super) fn take_leeway(&mut self) -> bool {
        let left = self.leeway.checked_sub(1).filter(|_| self.budget == 0);
        self.leeway = left.unwrap_or(self.leeway);
        left.is_some()
    }

    /// Takes one from the budget; without any, notes what waits.
    pub(super) fn spend(&mut self, case: &Case<'a>, what: &str) -> bool {
        if !self.take_budget() {
            let max = self.force.spec.max_unavailable;
            let text = if max.is_zero() {
                format!(
                    "{what} waits until another replica is ready beside it: max_unavailable (0) lets none be missing"
                )
            } else {
                format!("{what} waits: max_unavailable ({max}) replicas are not ready already")
            };
            self.notice(ConditionKind::Waiting, "", case.number(), &text);
            return false;
        }
        true
    }

    /// Takes one from the budget, if there is any.
    pub(super) fn take_budget(&mut self) -> bool {
        let left = self.budget.checked_sub(1);
        self.budget = left.unwrap_or(self.budget);
        left.is_some()
    }

    fn claim_unit(&mut self, case: &Case<'a>) {
        if let Some(host) = case.host {
            self.fleet.claim(host, self.placer.unit, &case.id);
        }
    }

    fn standing(&self, case: &Case<'a>, outdated: bool) -> Standing {
        if !self.force.enabled() || case.desired.mode != Mode::Enabled {
            return if case.down() { Standing::Gone } else { Standing::Busy };
        }
        if outdated && self.course.is_active() {
            let failed = self.course.record().is_some_and(|record| record.pause == Some(PauseCause::Failure));
            return if failed { Standing::Stuck } else { Standing::Busy };
        }
        match (case.ready(), outdated, case.failed() || case.rejected()) {
            (true, false, _) if self.course.is(RolloutState::RolledBack) => Standing::Stuck,
            (true, false, _) => Standing::Ready,
            (_, true, _) | (_, _, true) => Standing::Stuck,
            _ => Standing::Busy,
        }
    }

    /// The operations that make the replica's nodes say what they should; none when they do. A replica that changes
    /// its host loses its status as well: nobody is to take an old host's word for the new one's.
    pub(super) fn ops(&self, change: Change<'_, 'a>) -> Vec<Op> {
        let Change { id, view, from, home, desired, assignment } = change;
        let path = layout::replica_desired(id);
        let mut ops = write(&path, view.desired.as_ref(), desired);
        let is_said = ops.is_empty();
        if from != home {
            ops.extend(home.and_then(|home| self.still_open(home)));
            ops.extend(from.and_then(|from| self.delete_index(id, from)));
            ops.extend(self.delete_status(id, view));
        }
        if let (Some(home), Some(assignment)) = (home, assignment) {
            ops.extend(self.write_index(id, home, &assignment));
        }
        // An index says what `desired` said when it was planned.
        if let Some(doc) = view.desired.as_ref().filter(|_| is_said && !ops.is_empty()) {
            ops.push(Op::Check { path, version: doc.version });
        }
        ops
    }

    /// That the operator has said nothing of the host since: what was planned before a cordon does not land after it.
    fn still_open(&self, host: HostIndex) -> Option<Op> {
        let host = &self.fleet.hosts[host];
        let version = host.view?.spec.as_ref()?.version;
        Some(Op::Check { path: layout::host(host.name), version })
    }

    pub(super) fn delete_index(&self, id: &ReplicaId, host: HostIndex) -> Option<Op> {
        let host = &self.fleet.hosts[host];
        let version = host.assignment(id)?.version;
        Some(Op::Delete { path: layout::assignment(host.name, id), version: Some(version) })
    }

    /// Nothing when there are nodes below it, which are not zkops's: a status alone stands in nobody's way.
    pub(super) fn delete_status(&self, id: &ReplicaId, view: &ReplicaView) -> Option<Op> {
        let version = view.status.as_ref()?.version;
        let path = layout::replica_status(id);
        self.is_leaf(&path).then_some(Op::Delete { path, version: Some(version) })
    }

    /// Nothing while the host has no `assigned`: it was deleted by hand, and is created by itself.
    fn write_index(&self, id: &ReplicaId, host: HostIndex, assignment: &Assignment) -> Vec<Op> {
        let host = &self.fleet.hosts[host];
        if !host.view.is_some_and(|view| view.has_assigned) {
            return Vec::new();
        }
        write(&layout::assignment(host.name, id), host.assignment(id), assignment)
    }

    /// Writes an assignment anew when its agent owes an answer: the new version makes it look again.
    fn nudge(&mut self, case: &Case<'a>) {
        let again = self.course.tries_again && case.rejected();
        let due = if again { Some(self.context.now) } else { self.context.nudge_at.get(&case.id).copied() };
        let (Some(due), Some(doc), Some(host)) = (due, case.assignment, case.host) else { return };
        let Some(assignment) = doc.good().filter(|_| case.host_alive) else { return };
        if due > self.context.now {
            return self.wake(due);
        }
        let name = self.fleet.hosts[host].name;
        let path = layout::assignment(name, &case.id);
        let ops = vec![Op::Set { path, data: encode(assignment), version: Some(doc.version) }];
        let why = if again { "it had given up" } else { "what it says of it is missing or not in instances" };
        let message = format!("{name} is asked to look again: {why}");
        self.push(ops, Note::new(Some(case.number()), Some(name), message), false);
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

/// Creates or replaces a document, unless it says the same already.
fn write<T: serde::Serialize + PartialEq>(path: &str, current: Option<&Doc<T>>, wanted: &T) -> Vec<Op> {
    let path = path.to_owned();
    match current {
        None => vec![Op::Create { path, data: encode(wanted) }],
        Some(doc) if doc.good() == Some(wanted) => Vec::new(),
        Some(doc) => vec![Op::Set { path, data: encode(wanted), version: Some(doc.version) }],
    }
}

fn explain(case: &Case<'_>, desired: &ReplicaDesired, update: bool, why: &str) -> String {
    let mut parts = Vec::new();
    if desired.mode != case.desired.mode {
        let why = if why.is_empty() { "as the service is" } else { why };
        parts.push(format!("mode {} → {}: {why}", case.desired.mode, desired.mode));
    }
    if update {
        parts.push(update_message(case, desired));
    }
    if parts.is_empty() {
        parts.push("index put back: it was missing or did not say what the replica's desired says".to_owned());
    }
    parts.join(", ")
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
