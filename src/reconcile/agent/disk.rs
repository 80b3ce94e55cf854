//! Generated files and the ledger, written by one task at a time, in this order: the ledger (with what the files'
//! change makes stale, and without what is to be forgotten), the files, one daemon-reload for all of them.
//!
//! A crash between any two is safe. Files that are missing or old are seen to be so and written again; files that
//! systemd has not read are seen by what it says of the unit; a replica whose files outlive its record is found by
//! them. One replica's files that can't be written are that replica's problem alone.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Agent, publication::explain, steps::Done};
use crate::{
    ledger::{Ledger, LedgerFile, Record, Stale},
    model::{Assignment, ReplicaId, UnitName},
    plan::agent::{Busy, Files, Prepare},
    systemd::{ActiveState, FileError, UnitError, UnitFiles, UnitManager, UnitStatus},
};

/// How long a ledger that may wait ([`Ledger::may_wait`]) does, so that it does not stand in the way of who waits for what
/// the agent has done.
const SAVE_DELAY: Duration = Duration::from_millis(50);

/// How long a ledger rests that could not be written.
const SAVE_RETRY: Duration = Duration::from_secs(5);

/// One replica's generated files change.
pub(super) struct Change {
    id: ReplicaId,
    number: u64,
    assignment: Assignment,
    /// `None` = the files go, and with them the replica.
    prepare: Option<Prepare>,
    why: String,
}

/// What the task came to.
pub(super) struct Written {
    ledger: Ledger,
    saved: Result<(), String>,
    changes: Vec<Ended>,
}

/// A change, whether it was made, and its unit after it.
type Ended = (Change, Result<(), String>, Result<UnitStatus, UnitError>);

impl<M: UnitManager + 'static> Agent<M> {
    /// Starts the task, if there is anything to write and none runs.
    pub(super) fn write_disk(&mut self, mut changes: Vec<Change>, now: Instant) {
        self.unsaved_since = if self.ledger == self.saved { None } else { self.unsaved_since.or(Some(now)) };
        if self.disk_busy || (changes.is_empty() && self.save_due().is_none_or(|at| now < at)) {
            return;
        }
        let mut ledger = self.ledger.clone();
        for change in &mut changes {
            let leaves = change.prepare.as_ref().is_some_and(|prepare| prepare.leaves);
            change.number = self.begin(&change.id, Busy::Files { leaves });
            change.record(&mut ledger);
        }
        self.disk_busy = true;
        let (manager, files, file) = (Arc::clone(&self.manager), self.unit_files.clone(), self.ledger_file.clone());
        let unloaded = self.unloaded.clone();
        self.tasks.push(Box::pin(async move {
            Done::Disk(Box::new(write_all(&*manager, files, file, ledger, changes, unloaded).await))
        }));
    }

    /// When a ledger that is not on disk is written though no files change.
    pub(super) fn save_due(&self) -> Option<Instant> {
        let since = self.unsaved_since.filter(|_| !self.disk_busy)?;
        let delay = if self.ledger.may_wait(&self.saved) { SAVE_DELAY } else { Duration::ZERO };
        Some(since + delay).max(self.save_retry_at)
    }

    pub(super) fn finish_disk(&mut self, written: Written) {
        self.disk_busy = false;
        self.save_retry_at = written.saved.is_err().then(|| Instant::now() + SAVE_RETRY);
        self.note("ledger", written.saved.as_ref().err().cloned());
        for (change, result, status) in written.changes {
            self.on_disk.remove(&change.assignment.unit);
            self.end(&change.id, change.number);
            match &change.prepare {
                Some(prepare) => self.prepared(&change, prepare, &written.ledger, result, status),
                None => self.removed(&change, result),
            }
        }
        if written.saved.is_ok() {
            self.saved = written.ledger;
        }
    }

    fn prepared(
        &mut self,
        change: &Change,
        prepare: &Prepare,
        ledger: &Ledger,
        result: Result<(), String>,
        status: Result<UnitStatus, UnitError>,
    ) {
        let (id, unit) = (&change.id, &change.assignment.unit);
        // Also after a failure: what the ledger says of stale invocations must not be lost if it was written.
        if let Some(mut record) = ledger.replicas.get(id).cloned() {
            let before = self.ledger.replicas.get(id);
            overtaken(&mut record, before, prepare, status.as_ref().ok());
            self.ledger.replicas.insert(id.clone(), record);
        }
        let differ = || Some("its generated files don't read back as they were written".to_owned());
        let as_written = matches!(self.read_files(unit), Ok(files) if *files == prepare.files);
        let problem = result.err().or_else(|| if as_written { None } else { differ() });
        if problem.is_none() {
            self.unloaded.remove(unit);
        } else {
            self.unloaded.insert(unit.clone());
        }
        self.finish_step_read(unit, status);
        self.remember(id, "writing its generated files", problem);
    }

    fn removed(&mut self, change: &Change, result: Result<(), String>) {
        match result {
            Ok(()) => self.forgotten(&change.id, &change.why),
            Err(problem) => self.remember(&change.id, "removing its generated files", Some(problem)),
        }
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
    pub(super) fn prepare(id: &ReplicaId, assignment: &Assignment, prepare: &Prepare) -> Self {
        Self { prepare: Some(prepare.clone()), ..Self::forget(id, assignment, "its generated files are out of date") }
    }

    pub(super) fn forget(id: &ReplicaId, assignment: &Assignment, why: &str) -> Self {
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

    fn write(&self, files: &UnitFiles) -> Result<bool, FileError> {
        let unit = &self.assignment.unit;
        let Files { drop_in, variables, unit_file } =
            self.prepare.as_ref().map(|it| it.files.clone()).unwrap_or_default();
        // First, as the drop-in names the file. What changes with each rollout is in it, and costs no daemon-reload.
        match variables {
            Some(text) => files.write_variables(unit, &text)?,
            None => files.remove_variables(unit)?,
        };
        let unit_file_changed = match unit_file {
            Some(text) => files.write_unit_file(unit, &self.id.service, &text)?,
            None => files.remove_unit_file(unit)?,
        };
        let drop_in_changed = match drop_in {
            Some(text) => files.write_drop_in(unit, &text)?,
            None => files.remove_drop_in(unit)?,
        };
        Ok(unit_file_changed || drop_in_changed)
    }
}

async fn write_all<M: UnitManager>(
    manager: &M,
    files: UnitFiles,
    file: LedgerFile,
    ledger: Ledger,
    changes: Vec<Change>,
    unloaded: BTreeSet<UnitName>,
) -> Written {
    let blocking = move || write_files(&files, &file, ledger, changes);
    let (ledger, saved, written) = match tokio::task::spawn_blocking(blocking).await {
        Ok(written) => written,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let must_load = |(change, result): &(Change, Result<bool, String>)| {
        *result == Ok(true) || (result.is_ok() && unloaded.contains(&change.assignment.unit))
    };
    let loaded = if written.iter().any(must_load) { manager.daemon_reload().await } else { Ok(()) };
    let mut changes = Vec::new();
    for item in written {
        let due = must_load(&item);
        let (change, result) = item;
        let loaded = if due { loaded.as_ref().map_err(ToString::to_string).copied() } else { Ok(()) };
        if change.prepare.is_none() {
            // The unit may be gone already; a failed state left behind harms nothing.
            let _ = manager.reset_failed(&change.assignment.unit).await;
        }
        let status = manager.unit(&change.assignment.unit).await;
        changes.push((change, result.and(loaded), status));
    }
    Written { ledger, saved, changes }
}

/// The ledger, whether it was saved, and which replica's files changed.
type FilesWritten = (Ledger, Result<(), String>, Vec<(Change, Result<bool, String>)>);

fn write_files(files: &UnitFiles, file: &LedgerFile, ledger: Ledger, changes: Vec<Change>) -> FilesWritten {
    let saved = file.save(&ledger).map_err(|error| format!("can't write the ledger: {error}"));
    let write = |change: Change| {
        let written = saved.clone().and_then(|()| change.write(files).map_err(|error| explain(&error)));
        (change, written)
    };
    let changes = changes.into_iter().map(write).collect();
    (ledger, saved, changes)
}
