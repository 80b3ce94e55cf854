//! Generated files and the ledger: when they are written, and what follows from how that went.
//!
//! They are written by one task at a time, in this order: the ledger (with what the files' change makes stale, and without
//! what is to be forgotten), the files, one daemon-reload for all of them. A crash between any two is safe. Files that are
//! missing or old are seen to be so and written again; files that systemd has not read are seen by what it says of the
//! unit; a replica whose files outlive its record is found by them. One replica's files that cannot be written are that
//! replica's problem alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::State;
use crate::{
    model::{ActiveState, CheckedAssignment, Files, Ledger, Record, ReplicaId, Stale, UnitName, UnitStatus},
    plan::agent::{
        Busy, Prepare,
        action::{Action, Change, Changed, Refusal, Severity, Write, Written},
    },
};

/// How long a ledger that may wait ([`Ledger::may_wait`]) does, so that it does not stand in the way of who waits for what
/// the agent has done.
const SAVE_DELAY: Duration = Duration::from_millis(50);

/// The same of one that only says of fewer replicas that they are on trial: these end at about the same time.
const LONG_SAVE_DELAY: Duration = Duration::from_secs(2);

/// How long a ledger rests that could not be written.
const SAVE_RETRY: Duration = Duration::from_secs(5);

/// Whether the generated files may be other than this agent left them: they are looked at whenever systemd reads its unit
/// files again for another than this agent (`systemctl daemon-reload`, `revert`, `edit`, a package's scripts). That is when
/// such a change comes into force. What is not as it was is seen to be out of date, and put back.
#[derive(Clone, Debug, Default)]
pub(super) struct ForeignChanges {
    /// How often systemd read its unit files again, as far as the generated files were looked at since, or were this
    /// agent's reason.
    reloads: u64,
    /// It read them again for another.
    pub(super) raised: bool,
    /// The files are being looked at, and how many batches this agent had written before.
    looking: Option<u64>,
    /// The batches of files that this agent has written.
    batches: u64,
}

impl State {
    /// Has changes written, and the ledger, if there is anything to write and nothing is being written.
    pub(super) fn write(&mut self, mut changes: Vec<Change>, now: Instant) {
        let is_saved = self.unsaved.is_empty() && self.ledger.left == self.saved.left;
        self.unsaved_since = if is_saved { None } else { self.unsaved_since.or(Some(now)) };
        if self.disk_busy || (changes.is_empty() && self.save_due().is_none_or(|at| now < at)) {
            return;
        }
        let mut ledger = self.ledger.clone();
        for change in &mut changes {
            let leaves = change.prepare.as_ref().is_some_and(|prepare| prepare.leaves);
            change.number = self.begin(&change.id, Busy::Files { leaves });
            change.record(&mut ledger);
            self.units.write_began(&change.assignment.unit);
            // What it runs with is known by its record from now on.
            self.ledger.left.remove(&change.assignment.unit);
            ledger.left.remove(&change.assignment.unit);
        }
        self.disk_busy = true;
        let unloaded = self.unloaded.clone();
        self.act(Action::Write(Box::new(Write { ledger, changes, unloaded })));
    }

    /// What the ledger says of these replicas may be on disk, or not any more.
    pub(super) fn look_for_unsaved(&mut self, due: &BTreeSet<ReplicaId>) {
        for id in due {
            if self.ledger.says_the_same_of(id, &self.saved) {
                self.unsaved.remove(id);
            } else {
                self.unsaved.insert(id.clone());
            }
        }
    }

    /// When a ledger that is not on disk is written though no files change.
    pub(super) fn save_due(&self) -> Option<Instant> {
        let since = self.unsaved_since.filter(|_| !self.disk_busy)?;
        let delay = match &self.saved {
            saved if self.ledger.may_wait_long(saved, &self.unsaved) => LONG_SAVE_DELAY,
            saved if self.ledger.may_wait(saved, &self.unsaved) => SAVE_DELAY,
            _ => Duration::ZERO,
        };
        Some(since + delay).max(self.save_retry_at)
    }

    pub(super) fn written(&mut self, written: Written, now: Instant) {
        self.disk_busy = false;
        self.foreign_changes.reloads += written.reloads;
        self.foreign_changes.batches += 1;
        self.save_retry_at = written.saved.is_err().then(|| now + SAVE_RETRY);
        self.note("ledger", written.saved.as_ref().err().cloned());
        for Changed { change, result, status, files } in written.changes {
            self.units.write_ended(&change.assignment.unit);
            self.know_files(&change.assignment.unit, files);
            self.end(&change.id, change.number);
            match &change.prepare {
                Some(prepare) => self.prepared(&change, prepare, &written.ledger, result, status, now),
                None => self.removed(&change, result, now),
            }
        }
        if written.saved.is_ok() {
            self.saved = written.ledger;
            // What has changed meanwhile may be what was on disk before.
            let known = [&self.ledger, &self.saved].into_iter().flat_map(Ledger::ids);
            let unsaved = known.filter(|id| !self.ledger.says_the_same_of(id, &self.saved));
            self.unsaved = unsaved.cloned().collect();
        }
    }

    fn prepared(
        &mut self,
        change: &Change,
        prepare: &Prepare,
        ledger: &Ledger,
        result: Result<(), Refusal>,
        status: Result<UnitStatus, String>,
        now: Instant,
    ) {
        let (id, unit) = (&change.id, &change.assignment.unit);
        if result.as_ref().is_err_and(|refusal| refusal.rejected) {
            return self.put_back(change, result, status, now);
        }
        // Also after a failure: what the ledger says of stale invocations must not be lost if it was written.
        if let Some(mut record) = ledger.replicas.get(id).cloned() {
            let before = self.ledger.replicas.get(id);
            overtaken(&mut record, before, prepare, status.as_ref().ok());
            self.ledger.replicas.insert(id.clone(), record);
        }
        let differ = || Some("its generated files don't read back as they were written".to_owned());
        let as_written = matches!(self.on_disk.get(unit), Some(Ok(files)) if *files == prepare.files);
        let problem = result.err().map(|refusal| refusal.message).or_else(|| if as_written { None } else { differ() });
        if problem.is_none() {
            self.unloaded.remove(unit);
        } else {
            self.unloaded.insert(unit.clone());
        }
        self.unit_read_after_step(unit, status, now);
        self.remember(id, "writing its generated files", problem, now);
    }

    /// systemd could not load the unit with the files that this work asks for: those of before are back, and the
    /// work is given up. The ledger's record is still that of before, but for what a predecessor was in the middle of.
    fn put_back(
        &mut self,
        change: &Change,
        result: Result<(), Refusal>,
        status: Result<UnitStatus, String>,
        now: Instant,
    ) {
        let (id, wanted) = (&change.id, &change.assignment);
        self.unloaded.remove(&wanted.unit);
        self.unit_read_after_step(&wanted.unit, status, now);
        let message = result.err().map(|refusal| refusal.message).unwrap_or_default();
        let known = self.ledger.replicas.get_mut(id).filter(|record| record.assignment == *wanted);
        if known.is_none_or(Record::go_back) {
            self.reject(id, wanted, message);
            self.remember(id, "putting its files back", None, now);
        } else {
            self.remember(id, "writing its generated files", Some(message), now);
        }
    }

    fn removed(&mut self, change: &Change, result: Result<(), Refusal>, now: Instant) {
        match result {
            Ok(()) => self.forgotten(&change.id, &change.why),
            Err(refusal) => self.remember(&change.id, "removing its generated files", Some(refusal.message), now),
        }
    }

    /// Has the generated files looked at, if another has had systemd read them again. While this agent writes them itself,
    /// that waits. `reloads` = how often systemd has read its unit files again.
    pub(super) fn look_at_files(&mut self, reloads: u64) {
        let changes = &mut self.foreign_changes;
        if self.disk_busy || changes.looking.is_some() {
            return;
        }
        changes.raised |= reloads > changes.reloads;
        changes.reloads = changes.reloads.max(reloads);
        changes.raised &= !self.on_disk.is_empty();
        if changes.raised {
            changes.looking = Some(changes.batches);
            let units = self.on_disk.keys().cloned().collect();
            self.act(Action::ReadAllFiles(units));
        }
    }

    pub(super) fn all_files_read(&mut self, found: BTreeMap<UnitName, Result<Files, String>>) {
        let began = self.foreign_changes.looking.take();
        if self.disk_busy || began != Some(self.foreign_changes.batches) {
            // What was written meanwhile may be newer than what was found: once more.
            return;
        }
        self.foreign_changes.raised = false;
        for (unit, now) in found {
            let Some(before) = self.on_disk.get_mut(&unit).filter(|before| **before != now) else { continue };
            let what = changed(before, &now);
            *before = now;
            self.changed.unit(&unit);
            self.log(Severity::Warning, format!("{unit}: another hand has changed {what}; it is put back"));
            self.say_put_back(&unit, what);
        }
    }

    /// The replica's status tells of it, until something else is wanted of it.
    fn say_put_back(&mut self, unit: &UnitName, what: &str) {
        let path = self.policy.paths.drop_in(unit);
        let ids: Vec<_> = self.by_unit.with(unit).filter(|id| self.has_recorded(id, unit)).cloned().collect();
        for id in ids {
            self.memory_of(&id).noted(format!("another hand had changed {what} (see {}): put back", path.display()));
        }
    }
}

fn changed(before: &Result<Files, String>, now: &Result<Files, String>) -> &'static str {
    match (before, now) {
        (Ok(before), Ok(now)) if before.drop_in != now.drop_in => "its generated drop-in",
        (Ok(before), Ok(now)) if before.unit_file != now.unit_file => "its generated unit file",
        (Ok(_), Ok(_)) => "its generated variables",
        _ => "its generated files",
    }
}

/// An invocation that began while the files were being written may have read either.
fn overtaken(record: &mut Record, before: Option<&Record>, prepare: &Prepare, unit: Option<&UnitStatus>) {
    let changed = before.is_some_and(|before| before.prepared_key.as_ref() != Some(&prepare.key));
    let runs = |unit: &&UnitStatus| !matches!(unit.active, ActiveState::Inactive | ActiveState::Failed);
    if let Some(unit) = unit.filter(runs)
        && changed
        && unit.invocation != prepare.seen
        && !unit.invocation.is_empty()
    {
        let version = before.and_then(|before| before.running_version(&prepare.seen)).cloned();
        record.stale = Some(Stale { invocation: unit.invocation.clone(), version, key: None });
    }
}

impl Change {
    pub(super) fn prepare(id: &ReplicaId, assignment: &CheckedAssignment, prepare: &Prepare) -> Self {
        Self { prepare: Some(prepare.clone()), ..Self::forget(id, assignment, "its generated files are out of date") }
    }

    pub(super) fn forget(id: &ReplicaId, assignment: &CheckedAssignment, why: &str) -> Self {
        Self { id: id.clone(), number: 0, assignment: assignment.clone(), prepare: None, why: why.to_owned() }
    }

    /// What the ledger is to say before the files change.
    fn record(&self, ledger: &mut Ledger) {
        let Some(prepare) = &self.prepare else {
            ledger.replicas.remove(&self.id);
            return;
        };
        let new = || Record::new(self.assignment.clone());
        let record = ledger.replicas.entry(self.id.clone()).or_insert_with(new);
        record.prepare(&self.assignment);
        record.prepared_key = Some(prepare.key.clone());
        record.stale.clone_from(&prepare.stale);
    }
}
