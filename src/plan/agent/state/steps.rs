//! The steps that decisions ask for are begun, and what a replica's end on this host means.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{State, artifacts::needs_any, targets::Target};
use crate::{
    model::{Left, Mode, ReplicaId, Verb},
    plan::agent::{
        Basis, Decision, Step,
        action::{Change, Order, Severity},
    },
};

impl State {
    /// Starts every step that is due.
    pub(super) fn execute(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        due: &BTreeSet<ReplicaId>,
        decisions: &BTreeMap<ReplicaId, Decision>,
        now: Instant,
    ) {
        let mut changes = Vec::new();
        let newcomer = self.is_newcomer(targets, now);
        for (id, decision) in decisions {
            let target = &targets[id];
            self.accept(id, target, decision);
            let is_obstructed = self.memory.get(id).is_some_and(|memory| memory.obstructed.is_some());
            if decision.in_force && is_obstructed {
                self.memory_of(id).began();
            }
            if let Some(upcoming) = target.upcoming().filter(|_| decision.stage && !newcomer) {
                self.stage(id, upcoming.assignment);
            }
            changes.extend(self.begin_step(id, target, decision, now));
        }
        self.look_for_unsaved(due);
        self.write(changes, now);
    }

    /// Begins the step that is due, but for a change of its files.
    fn begin_step(&mut self, id: &ReplicaId, target: &Target, decision: &Decision, now: Instant) -> Option<Change> {
        let (assignment, reason) = (target.assignment(), &decision.reason);
        let order = match decision.step.as_ref()? {
            Step::Prepare(prepare) => return Some(Change::prepare(id, assignment, prepare)),
            Step::Forget => return Some(Change::forget(id, assignment, reason)),
            Step::Job(verb) => Order::Verb(*verb),
            Step::ResetAndStart => Order::ResetAndStart,
            Step::Signal(name) => Order::Signal(name.clone()),
            Step::Revive => Order::Verb(Verb::Restart),
            Step::GiveUp => {
                let why = decision.message.as_ref().unwrap_or(reason);
                self.memory_of(id).gave_up(why, now);
                Order::Verb(Verb::Stop)
            }
        };
        self.run(id, assignment, order, reason, now);
        if decision.step == Some(Step::Revive) {
            self.memory_of(id).revived(assignment.template.restart.limit_burst, now);
        }
        None
    }

    /// What is in force is remembered as a whole, a new mode at once: a host that reboots without ZooKeeper must not
    /// start what was to stop.
    fn accept(&mut self, id: &ReplicaId, target: &Target, decision: &Decision) {
        let Target::Ours { assignment, key, unsure: false, .. } = target else { return };
        let Some(record) = self.ledger.replicas.get_mut(id).filter(|_| self.work.basis() == Basis::Tree) else {
            return;
        };
        let as_it_was = record.clone();
        record.assignment = record.assignment.with_mode(assignment.mode);
        record.rests |= assignment.mode != Mode::Enabled;
        if decision.in_force {
            let changed = record.before.is_some() || record.assignment != *assignment;
            let had_any = [Some(&record.assignment), record.before.as_deref()].into_iter().flatten().any(needs_any);
            record.accept(assignment);
            record.prepared_key.get_or_insert_with(|| key.clone());
            if changed && (had_any || needs_any(assignment)) {
                self.staging.prune_later(&id.service);
            }
        }
        if *record != as_it_was {
            self.changed.replica(id);
        }
    }

    /// A step ended well, or failed and rests.
    pub(super) fn remember(&mut self, id: &ReplicaId, step: &str, problem: Option<String>, now: Instant) {
        let memory = self.memory_of(id);
        let Some(problem) = problem else { return memory.step_done() };
        if memory.step_failed(&problem, now) {
            self.log(Severity::Warning, format!("{id}: {step} failed, will retry: {problem}"));
        }
    }

    /// The replica has nothing on this host any more.
    pub(super) fn forgotten(&mut self, id: &ReplicaId, why: &str) {
        self.log(Severity::Info, format!("{id}: forgotten: {why}"));
        self.leave_artifacts(id);
        self.forget(id);
    }

    /// The replica is gone, and its unit is not this agent's to touch any more: what runs there goes on, and keeps what
    /// it needs.
    pub(super) fn leave_alone(&mut self, id: &ReplicaId) {
        let line = format!("{id}: its unit is not among the allowed_units any more, and left as it is");
        self.log(Severity::Warning, line);
        self.keep_artifacts_of(id);
        self.artifacts.forget(id);
        self.ledger.rejected.remove(id);
        self.forget(id);
    }

    fn forget(&mut self, id: &ReplicaId) {
        self.changed.replica(id);
        self.ledger.replicas.remove(id);
        self.memory.remove(id);
        self.work.forget(id);
        self.publisher.forget(id);
    }

    /// What the replica's unit runs with is not removed, whoever else needs it or not.
    pub(super) fn keep_artifacts_of(&mut self, id: &ReplicaId) {
        let Some(record) = self.ledger.replicas.get(id) else { return };
        let unit = record.assignment.unit.clone();
        if !record.is_found() || !self.ledger.left.contains_key(&unit) {
            self.ledger.left.insert(unit, Left::new(&id.service, record));
        }
    }
}
