//! Generated files that another hand changed: they are looked at whenever systemd reads its unit files again for
//! another than this agent (`systemctl daemon-reload`, `revert`, `edit`, a package's scripts). That is when such a change
//! comes into force. What is not as it was is seen to be out of date, and put back.

use std::collections::BTreeMap;

use super::{Agent, disk, steps::Done};
use crate::{
    blocking,
    model::UnitName,
    plan::agent::Files,
    systemd::{UnitFiles, UnitManager},
};

/// Each unit's generated files as they are now.
pub(super) type Found = BTreeMap<UnitName, Result<Files, String>>;

/// Whether the generated files may be other than this agent left them.
#[derive(Debug, Default)]
pub(super) struct Doubts {
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

impl Doubts {
    /// This agent has written files, and so often had systemd read its unit files again.
    pub(super) fn wrote(&mut self, reloads: u64) {
        self.reloads += reloads;
        self.batches += 1;
    }
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Looks at the generated files, if another has had systemd read them again. While this agent writes them itself,
    /// that waits.
    pub(super) fn look_at_files(&mut self) {
        if self.disk_busy || self.doubts.looking.is_some() {
            return;
        }
        let reloads = self.manager.reloads();
        self.doubts.raised |= reloads > self.doubts.reloads;
        self.doubts.reloads = self.doubts.reloads.max(reloads);
        if !self.doubts.raised || self.on_disk.is_empty() {
            self.doubts.raised = false;
            return;
        }
        self.doubts.looking = Some(self.doubts.batches);
        let (files, units): (UnitFiles, Vec<UnitName>) =
            (self.unit_files.clone(), self.on_disk.keys().cloned().collect());
        let read = move || {
            let read = |unit: UnitName| {
                let found = disk::read(&files, &unit).map_err(|error| error.to_string());
                (unit, found)
            };
            units.into_iter().map(read).collect::<Found>()
        };
        self.tasks.push(Box::pin(async move { Done::FilesFound(Box::new(blocking::GENERATED.run(read).await)) }));
    }

    pub(super) fn finish_look_at_files(&mut self, found: Found) {
        let began = self.doubts.looking.take();
        if self.disk_busy || began != Some(self.doubts.batches) {
            // What was written meanwhile may be newer than what was found: once more.
            return;
        }
        self.doubts.raised = false;
        for (unit, now) in found {
            let Some(before) = self.on_disk.get_mut(&unit).filter(|before| **before != now) else { continue };
            let what = changed(before, &now);
            tracing::warn!("{unit}: another hand has changed {what}; it is put back");
            *before = now;
            self.say_put_back(&unit, what);
        }
    }

    /// The replica's status tells of it, until something else is wanted of it.
    fn say_put_back(&mut self, unit: &UnitName, what: &str) {
        let path = self.unit_files.drop_in_path(unit);
        for (id, record) in &self.ledger.replicas {
            if record.assignment.unit == *unit {
                let note = format!("another hand had changed {what} (see {}): put back", path.display());
                self.memory.entry(id.clone()).or_default().noted(note);
            }
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
