//! Generated files and the ledger written, in this order: the ledger, the files, one daemon-reload for all of them. Files
//! with which systemd cannot load the unit are replaced by those of before.

use futures_util::future::join_all;

use super::{publication::explain, units};
use crate::{
    blocking::Worker,
    ledger::LedgerFile,
    model::{Files, Ledger, ReplicaId, UnitName, UnitStatus},
    plan::agent::action::{Change, Changed, Refusal, Write, Written},
    systemd::{FileError, UnitFiles, UnitManager},
};

/// Where ledger and generated files are.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) files: UnitFiles,
    pub(super) ledger: LedgerFile,
    /// A thread that does nothing else: one thing is written at a time.
    pub(super) worker: Worker,
}

/// Writes the ledger, then the files, and has systemd read these.
pub(super) async fn write_all<M: UnitManager>(manager: &M, disk: Disk, order: Write) -> Written {
    let Write { ledger, changes, unloaded } = order;
    let (files, worker) = (disk.files.clone(), disk.worker.clone());
    let (ledger, saved, written) = worker.run(move || write_files(&disk, ledger, changes)).await;
    let must_load = |(change, result): &FileWritten| {
        let changed = result.as_ref().map(|(_, changed)| *changed);
        changed == Ok(true) || (changed.is_ok() && unloaded.contains(&change.assignment.unit))
    };
    let reloads = written.iter().any(must_load);
    let loaded = if reloads { manager.daemon_reload().await } else { Ok(()) };
    let read = written.into_iter().map(async |item| {
        let (due, (change, result)) = (must_load(&item), item);
        if change.prepare.is_none() {
            // The unit may be gone already; a failed state left behind harms nothing.
            let _ = manager.reset_failed(&change.assignment.unit).await;
        }
        let status = manager.unit(&change.assignment.unit).await;
        (change, result, due, status)
    });
    let (mut changes, mut broken) = (Vec::new(), Vec::new());
    for (change, result, due, status) in join_all(read).await {
        let loaded = if due { loaded.as_ref().map_err(ToString::to_string).copied() } else { Ok(()) };
        let spoilt = due && change.prepare.is_some() && status.as_ref().is_ok_and(UnitStatus::is_broken);
        match result {
            Ok((before, _)) if spoilt => broken.push((change, before)),
            result => {
                let result = result.map(drop).and(loaded).map_err(Refusal::passing);
                changes.push((change, result, units::answer(status)));
            }
        }
    }
    let again = if broken.is_empty() { 0 } else { put_back(manager, &worker, &files, broken, &mut changes).await };
    let changes = worker.run(move || changes.into_iter().map(|change| read_back(&files, change)).collect()).await;
    Written { ledger, saved, changes, reloads: u64::from(reloads && loaded.is_ok()) + again }
}

/// A change, whether it was made, and its unit after it.
type Made = (Change, Result<(), Refusal>, Result<UnitStatus, String>);

fn read_back(files: &UnitFiles, (change, result, status): Made) -> Changed {
    let files = units::read(files, &change.assignment.unit).map_err(|error| error.to_string());
    Changed { change, result, status, files }
}

/// systemd cannot load these units with their new files: puts those of before back. How often it read them again.
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
            (Err(problem), _) => Refusal::passing(format!("{why}; its files of before cannot be put back: {problem}")),
            // A predecessor had written them, and came no further: what was in force before is in the ledger.
            (Ok(true), _) => Refusal::rejected(why),
            // Not for what zkops wrote.
            (Ok(false), Ok(status)) if status.is_broken() => Refusal::passing(why),
            (Ok(false), _) => Refusal::rejected(format!("{why}; its files of before are back")),
        };
        made.push((change, Err(refusal), units::answer(status)));
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
    let saved = disk.ledger.save(&ledger).map_err(|error| format!("cannot write the ledger: {error}"));
    let write = |change: Change| {
        let write = || make(&change, &disk.files).map_err(|error| explain(&error));
        let written = saved.clone().and_then(|()| write());
        (change, written)
    };
    let changes = changes.into_iter().map(write).collect();
    (ledger, saved, changes)
}

/// The files as they were before, and whether systemd has to read them again.
fn make(change: &Change, files: &UnitFiles) -> Result<(Files, bool), FileError> {
    let unit = &change.assignment.unit;
    let Some(prepare) = &change.prepare else { return Ok((Files::default(), remove(files, unit)?)) };
    let before = units::read(files, unit)?;
    let changed = write(files, unit, &change.id, &prepare.files)?;
    Ok((before, changed))
}

/// Removes what is ours. What others put in its place (a mask, say) is not, and stays.
fn remove(files: &UnitFiles, unit: &UnitName) -> Result<bool, FileError> {
    let ours = |removed: Result<bool, FileError>| match removed {
        Err(FileError::NotOurs { .. }) => Ok(false),
        removed => removed,
    };
    ours(files.remove_variables(unit))?;
    let unit_file_changed = ours(files.remove_unit_file(unit))?;
    let drop_in_changed = ours(files.remove_drop_in(unit))?;
    Ok(unit_file_changed || drop_in_changed)
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
