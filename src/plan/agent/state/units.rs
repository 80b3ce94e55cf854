//! What is known of the units. They are read beside the loop, so that a systemd that does not answer (it may take
//! minutes to read its unit files again) holds up nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{State, targets::Target};
use crate::{
    model::{ActiveState, Files, ReplicaId, UnitName, UnitStatus},
    plan::agent::{
        Memory,
        action::{Action, UnitRead},
    },
};

/// How long a unit that could not be read rests, unless a change of it is reported first.
const RETRY: Duration = Duration::from_secs(1);

/// How long a unit's changes may go unread while a job of it runs, or its files are written. It changes several times
/// then, and reading it is work for the very systemd that has the job to do; at the end it is read anyway.
const JOB_PATIENCE: Duration = Duration::from_millis(50);

/// How long generated files that could not be read rest.
const FILES_RETRY: Duration = Duration::from_secs(5);

/// The units of this host's replicas, as they were last read.
#[derive(Clone, Debug, Default)]
pub(super) struct Units {
    known: BTreeMap<UnitName, UnitStatus>,
    reading: BTreeMap<UnitName, Reading>,
    /// How many jobs of them this agent waits for.
    jobs: BTreeMap<UnitName, usize>,
    /// Those whose files are being written: they are read at the end of it.
    writing: BTreeSet<UnitName>,
    /// Those that changed meanwhile, or while a job runs, and when they are read at the latest.
    put_off: BTreeMap<UnitName, Instant>,
    unreadable: BTreeMap<UnitName, (String, Instant)>,
}

/// A read under way.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// The unit changed since: it is to be read again.
    again: bool,
    /// Something newer is known already: the answer is old.
    overtaken: bool,
}

impl Units {
    /// The unit, if it could ever be read.
    pub(super) fn get(&self, name: &UnitName) -> Option<&UnitStatus> {
        self.known.get(name)
    }

    /// The unit, unless the last attempt to read it failed: what was known before is no ground for a step.
    pub(super) fn certain(&self, name: &UnitName) -> Option<&UnitStatus> {
        self.known.get(name).filter(|_| !self.unreadable.contains_key(name))
    }

    /// Why units cannot be read, if so; any one stands for all.
    pub(super) fn problem(&self) -> Option<String> {
        self.unreadable.values().map(|(problem, _)| problem.clone()).next()
    }

    /// When a unit is to be read though nothing reports a change.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let unreadable = self.unreadable.iter().map(|(name, (_, at))| (name, *at));
        let all = unreadable.chain(self.put_off.iter().map(|(name, at)| (name, *at)));
        // What is being read wakes the loop by itself.
        all.filter(|(name, _)| !self.reading.contains_key(*name)).map(|(_, at)| at).min()
    }

    /// The units that are to be read at some time though nothing reports a change.
    fn waiting(&self) -> impl Iterator<Item = &UnitName> {
        self.unreadable.keys().chain(self.put_off.keys())
    }

    fn retain(&mut self, names: &BTreeSet<UnitName>) {
        self.known.retain(|name, _| names.contains(name));
        self.unreadable.retain(|name, _| names.contains(name));
        self.put_off.retain(|name, _| names.contains(name));
    }

    /// Whether the unit is to be read though nothing reported a change; `has_files` = its generated files are known. A read
    /// that began before the replica left and came back may have been of the unit alone.
    fn is_due(&self, name: &UnitName, has_files: bool, now: Instant) -> bool {
        let unknown = !self.known.contains_key(name) || !has_files;
        let due = self.unreadable.get(name).map_or(unknown, |(_, at)| *at <= now);
        let put_off = self.put_off.get(name).is_some_and(|at| *at <= now);
        (due || put_off) && !self.reading.contains_key(name)
    }

    /// A job of the unit is waited for.
    pub(super) fn job_began(&mut self, name: &UnitName) {
        *self.jobs.entry(name.clone()).or_default() += 1;
    }

    /// How many jobs of the unit are waited for.
    pub(super) fn jobs(&self, name: &UnitName) -> usize {
        self.jobs.get(name).copied().unwrap_or_default()
    }

    /// It is over.
    pub(super) fn job_ended(&mut self, name: &UnitName) {
        if let Some(jobs) = self.jobs.get_mut(name) {
            *jobs -= 1;
        }
        self.jobs.retain(|_, jobs| *jobs > 0);
    }

    /// Its files are about to be written.
    pub(super) fn write_began(&mut self, name: &UnitName) {
        self.writing.insert(name.clone());
    }

    /// That is over.
    pub(super) fn write_ended(&mut self, name: &UnitName) {
        self.writing.remove(name);
    }

    /// Puts off the read of a unit that changed, if a job of it runs or its files are being written.
    fn puts_off(&mut self, name: &UnitName, now: Instant) -> bool {
        let runs = self.jobs.contains_key(name) || self.writing.contains(name);
        if runs {
            self.put_off.entry(name.clone()).or_insert(now + JOB_PATIENCE);
        }
        runs
    }

    /// Whether a read has to be begun; one under way is repeated.
    fn begin(&mut self, name: &UnitName) -> bool {
        self.put_off.remove(name);
        let begun = self.reading.get_mut(name).map(|reading| reading.again = true);
        begun.is_none() && self.reading.insert(name.clone(), Reading::default()).is_none()
    }

    /// A read ended: its answer if that is of use, and whether the unit is to be read again.
    fn ended(
        &mut self,
        name: &UnitName,
        answer: Result<UnitStatus, String>,
        now: Instant,
    ) -> (Option<UnitStatus>, bool) {
        let reading = self.reading.remove(name).unwrap_or_default();
        (answer.map_err(|problem| self.failed(name, problem, now)).ok().filter(|_| !reading.overtaken), reading.again)
    }

    fn failed(&mut self, name: &UnitName, problem: String, now: Instant) {
        self.unreadable.insert(name.clone(), (problem, now + RETRY));
    }

    /// The unit as it is; the one before.
    fn set(&mut self, name: &UnitName, status: UnitStatus) -> Option<UnitStatus> {
        self.unreadable.remove(name);
        self.known.insert(name.clone(), status)
    }
}

impl State {
    /// Has systemd tell of changes to the replicas' units, and reads those that are not known; `due` = the replicas of
    /// which anything has changed.
    pub(super) fn look_at_units(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        due: &BTreeSet<ReplicaId>,
        now: Instant,
    ) {
        if std::mem::take(&mut self.units_differ) {
            self.watch(targets);
        }
        self.read_files_again(now);
        let of_due = due.iter().filter_map(|id| targets.get(id)?.managed_unit());
        let names = of_due.chain(self.units.waiting()).filter(|name| self.watched.contains(*name));
        let is_due = |name: &&UnitName| self.units.is_due(name, self.on_disk.contains_key(*name), now);
        let unread = names.filter(is_due).cloned().collect();
        self.refresh(unread);
        self.note("systemd", self.units.problem());
    }

    /// The replicas have other units than before.
    fn watch(&mut self, targets: &BTreeMap<ReplicaId, Target>) {
        let names: BTreeSet<UnitName> = targets.values().filter_map(Target::managed_unit).cloned().collect();
        if self.watched != names {
            self.act(Action::WatchUnits(names.clone()));
            self.watched.clone_from(&names);
        }
        self.units.retain(&names);
        self.last_lines.retain(&names);
        self.unloaded.retain(|name| names.contains(name));
        let all: BTreeSet<&UnitName> = targets.values().map(Target::unit).collect();
        let stays = |name: &UnitName, files: &Result<Files, String>| {
            names.contains(name) || (files.is_err() && all.contains(name))
        };
        self.on_disk.retain(|name, files| {
            let stays = stays(name, files);
            if !stays {
                self.changed.unit(name);
            }
            stays
        });
    }

    /// systemd says that units changed.
    pub(super) fn units_changed(&mut self, mut names: BTreeSet<UnitName>, now: Instant) {
        names.retain(|name| !self.units.puts_off(name, now));
        self.refresh(names);
    }

    /// Has units read again; and their generated files, unless these are known.
    fn refresh(&mut self, names: BTreeSet<UnitName>) {
        for unit in names {
            if self.units.begin(&unit) {
                let with_files = !self.on_disk.contains_key(&unit);
                self.act(Action::ReadUnit { unit, with_files });
            }
        }
    }

    /// Has those generated files read again that could not be read.
    fn read_files_again(&mut self, now: Instant) {
        let unreadable = self.on_disk.iter().filter(|(_, files)| files.is_err()).map(|(name, _)| name.clone());
        let unreadable: Vec<_> = unreadable.collect();
        let due = self.files_again.is_some_and(|at| at <= now);
        self.files_again = if due { None } else { self.files_again }.filter(|_| !unreadable.is_empty());
        if !unreadable.is_empty() {
            self.files_again.get_or_insert(now + FILES_RETRY);
        }
        for name in unreadable.into_iter().filter(|_| due) {
            self.act(Action::ReadFiles(name));
        }
    }

    /// A unit's generated files were read.
    pub(super) fn know_files(&mut self, name: &UnitName, read: Result<Files, String>) {
        self.changed.unit(name);
        self.on_disk.insert(name.clone(), read);
    }

    /// A unit was read, and its generated files when they were not known.
    pub(super) fn unit_read(&mut self, read: UnitRead, now: Instant) {
        let UnitRead { unit: name, answer, files } = read;
        let name = &name;
        if !self.watched.contains(name) {
            // It has come to concern nobody meanwhile.
            self.units.reading.remove(name);
            return;
        }
        self.changed.unit(name);
        if let Some(files) = files.filter(|_| !self.on_disk.contains_key(name)) {
            self.know_files(name, files);
        }
        let (status, again) = self.units.ended(name, answer, now);
        if let Some(status) = status {
            self.observed(name, status, now);
        }
        if again {
            self.refresh([name.clone()].into());
        }
    }

    /// A unit was read after a step of it: newer than whatever is on its way.
    pub(super) fn unit_read_after_step(&mut self, name: &UnitName, answer: Result<UnitStatus, String>, now: Instant) {
        if !self.watched.contains(name) {
            return;
        }
        self.changed.unit(name);
        if let Some(reading) = self.units.reading.get_mut(name) {
            (reading.again, reading.overtaken) = (true, true);
        }
        match answer {
            Ok(status) => self.observed(name, status, now),
            Err(problem) => self.units.failed(name, problem, now),
        }
    }

    /// One that has run well for a while has its earlier starts forgiven when it goes down.
    fn observed(&mut self, name: &UnitName, status: UnitStatus, now: Instant) {
        let (first, up) = (self.units.get(name).is_none(), status.active.is_up());
        let has_drop_in = matches!(self.on_disk.get(name), Some(Ok(files)) if files.drop_in.is_some());
        let needs_reload = self.policy.paths.needs_reload(name, &status, has_drop_in);
        if first && (needs_reload || self.is_left_broken(name, &status)) {
            // A predecessor may have written them and not come to the reload, or not to putting them back.
            self.unloaded.insert(name.clone());
        }
        let end = |unit: &UnitStatus| (unit.active == ActiveState::Failed).then(|| unit.invocation.clone());
        let failed = end(&status);
        let before = self.units.set(name, status);
        if before.as_ref().is_some_and(|before| before.active.is_up()) && !up {
            self.remember_of(name, |memory| memory.went_down(now));
        }
        if failed.is_some() && before.is_none_or(|before| end(&before) != failed) {
            self.remember_of(name, |memory| memory.failed(now));
        }
        self.ask_for_last_line(name, now);
    }

    /// Whether systemd cannot load the unit with what was written for work that did not come into force.
    fn is_left_broken(&self, name: &UnitName, status: &UnitStatus) -> bool {
        let has_before = |id: &ReplicaId| self.ledger.replicas.get(id).is_some_and(|record| record.before.is_some());
        status.is_broken() && self.by_unit.with(name).any(|id| self.has_recorded(id, name) && has_before(id))
    }

    /// Something happened to a unit that is remembered of whatever replica has it.
    fn remember_of(&mut self, name: &UnitName, change: impl Fn(&mut Memory)) {
        let ids: Vec<_> = self.by_unit.with(name).filter(|id| self.has_recorded(id, name)).cloned().collect();
        for id in ids {
            change(self.memory_of(&id));
        }
    }

    /// Whether the ledger says that the replica has this unit.
    pub(super) fn has_recorded(&self, id: &ReplicaId, unit: &UnitName) -> bool {
        self.ledger.replicas.get(id).is_some_and(|record| record.assignment.unit == *unit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_change_during_a_job_is_read_after_it_however_the_job_ended() {
        let (mut units, name, now) = (Units::default(), "webapp.service".parse().unwrap(), Instant::now());
        assert!(!units.puts_off(&name, now), "no job: at once");
        units.set(&name, UnitStatus::not_found());
        units.job_began(&name);
        assert!(units.puts_off(&name, now) && units.puts_off(&name, now + JOB_PATIENCE));
        units.job_ended(&name);
        units.set(&name, UnitStatus::not_found());
        assert_eq!(units.next_due(), Some(now + JOB_PATIENCE), "counted from the first change");
        assert!(!units.is_due(&name, true, now) && units.is_due(&name, true, now + JOB_PATIENCE));
    }

    #[test]
    fn what_is_being_read_wakes_nobody_by_time() {
        let (mut units, name, now) = (Units::default(), "webapp.service".parse().unwrap(), Instant::now());
        units.job_began(&name);
        assert!(units.begin(&name));
        assert!(units.puts_off(&name, now));
        assert_eq!(units.next_due(), None);
    }
}
