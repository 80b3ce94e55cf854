//! Execute: each step runs as a task beside the loop, and wakes it when done. Nothing is decided here.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Agent,
    disk::{Change, Written},
    foreign_changes,
    goods::{Looked, needs_any},
    jobs::{Job, Order},
    predecessor::Listed,
    signals,
    staging::Staged,
    targets::Target,
    units::Read,
};
use crate::{
    model::{
        Assignment, CheckedAssignment, Desired, InvalidAssignment, Ledger, Left, Mode, Record, ReplicaDesired,
        ReplicaId, ReplicaNumber, ServiceName, ServiceSpec, UnitName, Verb,
    },
    plan::agent::{Basis, Busy, Decision, Files, Step},
    systemd::{UnitFiles, UnitManager},
};

/// A task that ended.
pub(super) enum Done {
    /// A unit was read, and its generated files if they were not known.
    Read(Box<Read>),
    /// A unit's generated files were read again.
    FilesRead(UnitName, Result<Files, String>),
    /// What is on the host of a replica's work was looked at.
    Looked(Box<Looked>),
    /// What a unit said last in this invocation.
    Words(UnitName, String, Option<String>),
    /// A job for one replica.
    Job(Box<Job>),
    /// Files and ledger were written.
    Disk(Box<Written>),
    /// A replica's `desired` was read: is it still this host's? `None` = it could not be read.
    Confirmed(ReplicaId, Option<bool>),
    /// A predecessor's entry in `instances` was read: did it list this invocation? `None` = it could not be read.
    Listed(ReplicaId, String, Option<Listed>),
    /// The generated files were looked at.
    FilesFound(Box<foreign_changes::Found>),
    /// A replica's newer work is on the host, or can't be.
    Staged(Box<Staged>),
    /// What nobody needs of a service was removed.
    Pruned(ServiceName),
}

/// The ledger, and the units that carry our drop-ins without being in it (a lost ledger): they are this agent's, too.
pub(super) fn adopt(mut ledger: Ledger, files: &UnitFiles) -> Ledger {
    match files.managed() {
        Ok(managed) => {
            for (unit, id) in managed {
                match found(&unit) {
                    Ok(assignment) => drop(ledger.replicas.entry(id).or_insert_with(|| Record::new(assignment))),
                    Err(error) => remove_misplaced(&unit, &error, files),
                }
            }
        }
        Err(error) => tracing::warn!("can't look for generated drop-ins: {error}"),
    }
    ledger
}

/// What is known of a replica that was found by its unit's drop-in.
fn found(unit: &UnitName) -> Result<CheckedAssignment, InvalidAssignment> {
    let spec = ServiceSpec::new(unit.clone());
    let desired = ReplicaDesired::unplaced(&Desired::default());
    // The unit is an instance already, or none.
    let assignment = Assignment::new(&(&spec).into(), &desired, ReplicaNumber(0));
    Assignment { unit: unit.clone(), ..assignment }.check()
}

/// A drop-in of ours where none may be, such as that of a template, which counts for all of its instances.
fn remove_misplaced(unit: &UnitName, why: &InvalidAssignment, files: &UnitFiles) {
    let removed = files.remove_drop_in(unit).and_then(|_| files.remove_variables(unit));
    let outcome = removed.map_or_else(|error| error.to_string(), |_| "removed".to_owned());
    tracing::warn!("the drop-in of {unit} cannot be zkops's ({why}): {outcome}");
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Starts every step that is due.
    pub(super) fn execute(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        decisions: &BTreeMap<ReplicaId, Decision>,
        now: Instant,
    ) {
        let mut changes = Vec::new();
        let newcomer = self.is_newcomer(targets);
        for (id, decision) in decisions {
            let target = &targets[id];
            self.accept(id, target, decision);
            if let Some(memory) = self.memory.get_mut(id).filter(|_| decision.in_force) {
                memory.began();
            }
            let reason = &decision.reason;
            if let Some(upcoming) = target.upcoming().filter(|_| decision.stage && !newcomer) {
                self.stage(id, upcoming.assignment);
            }
            match &decision.step {
                None => {}
                Some(Step::Job(verb)) => self.start_job(id, target.assignment(), Order::Verb(*verb), reason),
                Some(Step::ResetAndStart) => self.start_job(id, target.assignment(), Order::ResetAndStart, reason),
                Some(Step::Signal(name)) => {
                    let number = signals::number(name.as_deref().unwrap_or("SIGHUP")).unwrap_or(signals::HANGUP);
                    self.start_job(id, target.assignment(), Order::Signal(number), reason);
                }
                Some(Step::Revive) => {
                    self.start_job(id, target.assignment(), Order::Verb(Verb::Restart), reason);
                    let most = target.assignment().restart.limit_burst;
                    self.memory.entry(id.clone()).or_default().revived(most, now);
                }
                Some(Step::GiveUp) => {
                    let why = decision.message.as_ref().unwrap_or(reason);
                    self.memory.entry(id.clone()).or_default().gave_up(why, now);
                    self.start_job(id, target.assignment(), Order::Verb(Verb::Stop), reason);
                }
                Some(Step::Prepare(prepare)) => changes.push(Change::prepare(id, target.assignment(), prepare)),
                Some(Step::Forget) => changes.push(Change::forget(id, target.assignment(), reason)),
            }
        }
        self.write_disk(changes, now);
    }

    /// What is in force is remembered as a whole, a new mode at once: a host that reboots without ZooKeeper must not
    /// start what was to stop.
    fn accept(&mut self, id: &ReplicaId, target: &Target, decision: &Decision) {
        let Target::Ours { assignment, key, unsure: false, .. } = target else { return };
        let Some(record) = self.ledger.replicas.get_mut(id).filter(|_| self.work.basis() == Basis::Tree) else {
            return;
        };
        record.assignment = record.assignment.with_mode(assignment.mode);
        record.rests |= assignment.mode != Mode::Enabled;
        if decision.in_force {
            let changed = record.before.is_some() || record.assignment != *assignment;
            let had_any = [Some(&record.assignment), record.before.as_deref()].into_iter().flatten().any(needs_any);
            record.accept(assignment);
            record.prepared_key.get_or_insert_with(|| key.clone());
            if changed && (had_any || needs_any(assignment)) {
                self.prune_later(&id.service);
            }
        }
    }

    /// Something is under way for the replica; the number that its end must name to count.
    pub(super) fn begin(&mut self, id: &ReplicaId, busy: Busy) -> u64 {
        self.begun += 1;
        self.busy.insert(id.clone(), (self.begun, busy));
        self.begun
    }

    /// What was begun under this number has ended; false when something else has overtaken it.
    pub(super) fn end(&mut self, id: &ReplicaId, number: u64) -> bool {
        let current = self.busy.get(id).is_some_and(|(begun, _)| *begun == number);
        if current {
            self.busy.remove(id);
        }
        current
    }

    /// A task ended: take in what it did.
    pub(super) fn finish(&mut self, done: Done) {
        match done {
            Done::Read(read) => self.finish_read(*read),
            Done::FilesRead(unit, files) => self.know_files(&unit, files),
            Done::Looked(looked) => self.goods.looked(&looked),
            Done::Words(unit, invocation, line) => self.finish_words(&unit, &invocation, line),
            Done::Job(job) => self.finish_job(*job),
            Done::Disk(written) => self.finish_disk(*written),
            Done::Confirmed(id, ours) => self.finish_confirm(&id, ours),
            Done::Listed(id, invocation, listed) => self.finish_asking(id, invocation, listed),
            Done::FilesFound(found) => self.finish_look_at_files(*found),
            Done::Staged(staged) => self.finish_staging(*staged),
            Done::Pruned(service) => self.finish_prune(&service),
        }
    }

    /// A step ended well, or failed and rests.
    pub(super) fn remember(&mut self, id: &ReplicaId, step: &str, problem: Option<String>) {
        let memory = self.memory.entry(id.clone()).or_default();
        let Some(problem) = problem else { return memory.step_done() };
        if memory.step_failed(&problem, Instant::now()) {
            tracing::warn!("{id}: {step} failed, it is tried again: {problem}");
        }
    }

    /// What is wanted of the replica has changed: earlier failures don't count.
    pub(super) fn refreshed(&mut self, id: &ReplicaId) {
        self.memory.entry(id.clone()).or_default().refreshed();
    }

    /// The replica has nothing on this host any more.
    pub(super) fn forgotten(&mut self, id: &ReplicaId, why: &str) {
        tracing::info!("{id}: forgotten: {why}");
        self.leave_goods(id);
        self.ledger.replicas.remove(id);
        self.memory.remove(id);
        self.work.forget(id);
        self.publisher.forget(id);
    }

    /// The replica is gone, and its unit is not this agent's to touch any more: what runs there goes on, and keeps what
    /// it needs.
    pub(super) fn leave_alone(&mut self, id: &ReplicaId) {
        tracing::warn!("{id}: its unit is not among the allowed_units any more, and left as it is");
        self.keep_goods_of(id);
        self.goods.forget(id);
        self.ledger.rejected.remove(id);
        self.ledger.replicas.remove(id);
        self.memory.remove(id);
        self.work.forget(id);
        self.publisher.forget(id);
    }

    /// What the replica's unit runs with is not removed, whoever else needs it or not.
    pub(super) fn keep_goods_of(&mut self, id: &ReplicaId) {
        let Some(record) = self.ledger.replicas.get(id) else { return };
        let unit = record.assignment.unit.clone();
        if !record.is_found() || !self.ledger.left.contains_key(&unit) {
            self.ledger.left.insert(unit, Left::new(&id.service, record));
        }
    }

    /// The log's line on a step that begins.
    pub(super) fn announce(id: &ReplicaId, step: &str, unit: &UnitName, reason: &str) {
        tracing::info!("{id}: {step} {unit}: {reason}");
    }
}
