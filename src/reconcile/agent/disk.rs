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

use super::{Agent, publication::explain, revision::Refusal, steps::Done};
use crate::{
    blocking::Worker,
    ledger::LedgerFile,
    model::{ActiveState, CheckedAssignment, Ledger, Record, ReplicaId, Stale, UnitName, UnitStatus},
    plan::agent::{Busy, Files, Prepare},
    systemd::{FileError, UnitError, UnitFiles, UnitManager},
};

/// How long a ledger that may wait ([`Ledger::may_wait`]) does, so that it does not stand in the way of who waits for what
/// the agent has done.
const SAVE_DELAY: Duration = Duration::from_millis(50);

/// The same of one that only says of fewer replicas that they are on trial: these end at about the same time.
const LONG_SAVE_DELAY: Duration = Duration::from_secs(2);

/// How long a ledger rests that could not be written.
const SAVE_RETRY: Duration = Duration::from_secs(5);

/// One replica's generated files change.
pub(super) struct Change {
    id: ReplicaId,
    number: u64,
    assignment: CheckedAssignment,
    /// `None` = the files go, and with them the replica.
    prepare: Option<Prepare>,
    why: String,
}

/// What the task came to.
pub(super) struct Written {
    ledger: Ledger,
    saved: Result<(), String>,
    changes: Vec<Ended>,
    /// How often systemd read its unit files again for it.
    reloads: u64,
}

/// A change, whether it was made, its unit after it, and its files as they read back.
type Ended = (Change, Result<(), Refusal>, Result<UnitStatus, UnitError>, Result<Files, String>);

/// The unit's generated files as they are. May block.
pub(super) fn read(files: &UnitFiles, unit: &UnitName) -> Result<Files, FileError> {
    let (drop_in, variables) = (files.read_drop_in(unit)?, files.read_variables(unit)?);
    Ok(Files { drop_in, variables, unit_file: files.read_unit_file(unit)? })
}

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
            // What it runs with is known by its record from now on.
            self.ledger.left.remove(&change.assignment.unit);
            ledger.left.remove(&change.assignment.unit);
        }
        self.disk_busy = true;
        let disk = Disk { files: self.unit_files.clone(), ledger: self.ledger_file.clone() };
        let (manager, worker, unloaded) = (Arc::clone(&self.manager), self.disk.clone(), self.unloaded.clone());
        let sources = Arc::clone(&self.goods.store.sources);
        let gone = changes.iter().filter(|change| change.prepare.is_none());
        let gone: Vec<_> = gone.map(|change| (change.id.service.clone(), change.assignment.unit.clone())).collect();
        self.tasks.push(Box::pin(async move {
            // Before the files: by these a replica is found that is to be forgotten.
            sources.unlink(gone).await;
            Done::Disk(Box::new(write_all(&*manager, &worker, disk, ledger, changes, unloaded).await))
        }));
    }

    /// When a ledger that is not on disk is written though no files change.
    pub(super) fn save_due(&self) -> Option<Instant> {
        let since = self.unsaved_since.filter(|_| !self.disk_busy)?;
        let delay = match &self.saved {
            saved if self.ledger.may_wait_long(saved) => LONG_SAVE_DELAY,
            saved if self.ledger.may_wait(saved) => SAVE_DELAY,
            _ => Duration::ZERO,
        };
        Some(since + delay).max(self.save_retry_at)
    }

    pub(super) fn finish_disk(&mut self, written: Written) {
        self.disk_busy = false;
        self.doubts.wrote(written.reloads);
        self.save_retry_at = written.saved.is_err().then(|| Instant::now() + SAVE_RETRY);
        self.note("ledger", written.saved.as_ref().err().cloned());
        for (change, result, status, files) in written.changes {
            self.know_files(&change.assignment.unit, files);
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
        result: Result<(), Refusal>,
        status: Result<UnitStatus, UnitError>,
    ) {
        let (id, unit) = (&change.id, &change.assignment.unit);
        if result.as_ref().is_err_and(|refusal| refusal.rejected) {
            return self.put_back(change, result, status);
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
        self.finish_step_read(unit, status);
        self.remember(id, "writing its generated files", problem);
    }

    /// systemd could not load the unit with the files that this work asks for: those of before are back, and the
    /// work is given up. The ledger's record is still that of before, but for what a predecessor was in the middle of.
    fn put_back(&mut self, change: &Change, result: Result<(), Refusal>, status: Result<UnitStatus, UnitError>) {
        let (id, wanted) = (&change.id, &change.assignment);
        self.unloaded.remove(&wanted.unit);
        self.finish_step_read(&wanted.unit, status);
        let message = result.err().map(|refusal| refusal.message).unwrap_or_default();
        let known = self.ledger.replicas.get_mut(id).filter(|record| record.assignment == *wanted);
        if known.is_none_or(Record::go_back) {
            self.reject(id, wanted, message);
            self.remember(id, "putting its files back", None);
        } else {
            self.remember(id, "writing its generated files", Some(message));
        }
    }

    fn removed(&mut self, change: &Change, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.forgotten(&change.id, &change.why),
            Err(refusal) => self.remember(&change.id, "removing its generated files", Some(refusal.message)),
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

    /// The files as they were before, and whether systemd has to read them again.
    fn write(&self, disk: &Disk) -> Result<(Files, bool), FileError> {
        let (unit, files) = (&self.assignment.unit, &disk.files);
        let Some(prepare) = &self.prepare else { return Ok((Files::default(), self.remove(disk)?)) };
        let before = read(files, unit)?;
        let changed = write(files, unit, &self.id, &prepare.files)?;
        Ok((before, changed))
    }

    /// Removes what is ours. What others put in its place (a mask, say) is not, and stays.
    fn remove(&self, disk: &Disk) -> Result<bool, FileError> {
        let (unit, files) = (&self.assignment.unit, &disk.files);
        let ours = |removed: Result<bool, FileError>| match removed {
            Err(FileError::NotOurs { .. }) => Ok(false),
            removed => removed,
        };
        ours(files.remove_variables(unit))?;
        let unit_file_changed = ours(files.remove_unit_file(unit))?;
        let drop_in_changed = ours(files.remove_drop_in(unit))?;
        Ok(unit_file_changed || drop_in_changed)
    }
}

/// What is written to.
struct Disk {
    files: UnitFiles,
    ledger: LedgerFile,
}

/// Whether systemd has to read the unit's files again.
fn write(files: &UnitFiles, unit: &UnitName, id: &ReplicaId, wanted: &Files) -> Result<bool, FileError> {
    // First, as the drop-in names the file. What changes with each rollout is in it, and costs no daemon-reload.
    match &wanted.variables {
        Some(text) => files.write_variables(unit, text)?,
        None => files.remove_variables(unit)?,
    };
    let unit_file_changed = match &wanted.unit_file {
        Some(text) => files.write_unit_file(unit, &id.service, text)?,
        None => files.remove_unit_file(unit)?,
    };
    let drop_in_changed = match &wanted.drop_in {
        Some(text) => files.write_drop_in(unit, text)?,
        None => files.remove_drop_in(unit)?,
    };
    Ok(unit_file_changed || drop_in_changed)
}

async fn write_all<M: UnitManager>(
    manager: &M,
    worker: &Worker,
    disk: Disk,
    ledger: Ledger,
    changes: Vec<Change>,
    unloaded: BTreeSet<UnitName>,
) -> Written {
    let files = disk.files.clone();
    let (ledger, saved, written) = worker.run(move || write_files(&disk, ledger, changes)).await;
    let must_load = |(change, result): &FileWritten| {
        let changed = result.as_ref().map(|(_, changed)| *changed);
        changed == Ok(true) || (changed.is_ok() && unloaded.contains(&change.assignment.unit))
    };
    let reloads = written.iter().any(must_load);
    let loaded = if reloads { manager.daemon_reload().await } else { Ok(()) };
    let (mut changes, mut broken) = (Vec::new(), Vec::new());
    for item in written {
        let due = must_load(&item);
        let (change, result) = item;
        let loaded = if due { loaded.as_ref().map_err(ToString::to_string).copied() } else { Ok(()) };
        if change.prepare.is_none() {
            // The unit may be gone already; a failed state left behind harms nothing.
            let _ = manager.reset_failed(&change.assignment.unit).await;
        }
        let status = manager.unit(&change.assignment.unit).await;
        let spoilt = due && change.prepare.is_some() && status.as_ref().is_ok_and(UnitStatus::is_broken);
        match result {
            Ok((before, _)) if spoilt => broken.push((change, before)),
            result => changes.push((change, result.map(drop).and(loaded).map_err(Refusal::passing), status)),
        }
    }
    let again = if broken.is_empty() { 0 } else { put_back(manager, worker, &files, broken, &mut changes).await };
    let changes = worker.run(move || changes.into_iter().map(|change| read_back(&files, change)).collect()).await;
    Written { ledger, saved, changes, reloads: u64::from(reloads && loaded.is_ok()) + again }
}

/// A change, whether it was made, and its unit after it.
type Made = (Change, Result<(), Refusal>, Result<UnitStatus, UnitError>);

fn read_back(files: &UnitFiles, (change, result, status): Made) -> Ended {
    let read = read(files, &change.assignment.unit).map_err(|error| error.to_string());
    (change, result, status, read)
}

/// systemd can't load these units with their new files: puts those of before back. How often it read them again.
async fn put_back<M: UnitManager>(
    manager: &M,
    worker: &Worker,
    files: &UnitFiles,
    broken: Vec<(Change, Files)>,
    made: &mut Vec<Made>,
) -> u64 {
    let mut why = Vec::new();
    for (change, _) in &broken {
        let unit = &change.assignment.unit;
        let said = manager.complaint(unit).await;
        why.push(said.unwrap_or_else(|| "see systemctl status".to_owned()));
    }
    let files = files.clone();
    let restore = move || {
        let restore = |(change, before): (Change, Files)| {
            let restored = write(&files, &change.assignment.unit, &change.id, &before);
            let left = change.prepare.as_ref().is_some_and(|prepare| loads_the_same(&prepare.files, &before));
            (change, restored.map(|_| left).map_err(|error| explain(&error)))
        };
        broken.into_iter().map(restore).collect::<Vec<_>>()
    };
    let restored = worker.run(restore).await;
    let loaded = manager.daemon_reload().await;
    for ((change, restored), why) in restored.into_iter().zip(why) {
        let unit = &change.assignment.unit;
        let status = manager.unit(unit).await;
        let why = format!("systemd cannot load {unit} as it is wanted: {why}");
        let whole = restored.and_then(|left| loaded.as_ref().map(|()| left).map_err(ToString::to_string));
        let refusal = match (whole, &status) {
            (Err(problem), _) => Refusal::passing(format!("{why}; its files of before can't be put back: {problem}")),
            // A predecessor had written them, and came no further: what was in force before is in the ledger.
            (Ok(true), _) => Refusal::rejected(why),
            // Not for what zkops wrote.
            (Ok(false), Ok(status)) if status.is_broken() => Refusal::passing(why),
            (Ok(false), _) => Refusal::rejected(format!("{why}; its files of before are back")),
        };
        made.push((change, Err(refusal), status));
    }
    u64::from(loaded.is_ok())
}

/// Of a replica, the files of before and whether systemd has to read them again.
type FileWritten = (Change, Result<(Files, bool), String>);

/// Whether systemd has the same of a unit with these files as with the others.
fn loads_the_same(one: &Files, other: &Files) -> bool {
    one.drop_in == other.drop_in && one.unit_file == other.unit_file
}

/// The ledger, whether it was saved, and what was written.
type FilesWritten = (Ledger, Result<(), String>, Vec<FileWritten>);

fn write_files(disk: &Disk, ledger: Ledger, changes: Vec<Change>) -> FilesWritten {
    let saved = disk.ledger.save(&ledger).map_err(|error| format!("can't write the ledger: {error}"));
    let write = |change: Change| {
        let write = || change.write(disk).map_err(|error| explain(&error));
        let written = saved.clone().and_then(|()| write());
        (change, written)
    };
    let changes = changes.into_iter().map(write).collect();
    (ledger, saved, changes)
}
