//! The state of the fake: its units, their jobs, and who watches what.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use tokio::time::Instant;

use super::{
    Behaviour, Call,
    files::Files,
    unit::{Counters, FakeUnit, Job},
};
use crate::{
    model::UnitName,
    systemd::{JobResult, UnitError, Verb},
};

/// So many ends of jobs are kept for those who wait for them.
const KEPT_RESULTS: usize = 1000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) version: u32,
    pub(super) stopping: bool,
    pub(super) unreachable: bool,
    /// Where unit files and drop-ins are looked for at a reload.
    pub(super) root: Option<PathBuf>,
    /// Behaviours by the file that a unit is loaded from.
    pub(super) behaviours: BTreeMap<UnitName, Behaviour>,
    /// Those of them that a reload found below the root.
    found: BTreeSet<UnitName>,
    pub(super) units: BTreeMap<UnitName, FakeUnit>,
    pub(super) watched: BTreeSet<UnitName>,
    pub(super) changed: BTreeSet<UnitName>,
    pub(super) finished: BTreeMap<u64, JobResult>,
    next_job: u64,
    counters: Counters,
    pub(super) calls: Vec<Call>,
}

impl State {
    /// A systemd 252 without units.
    pub(super) const fn new() -> Self {
        Self {
            version: 252,
            stopping: false,
            unreachable: false,
            root: None,
            behaviours: BTreeMap::new(),
            found: BTreeSet::new(),
            units: BTreeMap::new(),
            watched: BTreeSet::new(),
            changed: BTreeSet::new(),
            finished: BTreeMap::new(),
            next_job: 1,
            counters: Counters { pid: 1000, invocation: 0 },
            calls: Vec::new(),
        }
    }

    /// Does everything that is due by `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        let mut changed = Vec::new();
        for (name, unit) in &mut self.units {
            let (moved, result) = unit.advance(now, &mut self.counters);
            if let Some((job, result)) = result.and_then(|result| unit.job.take().zip(Some(result))) {
                self.finished.insert(job.id, result);
            }
            if moved {
                changed.push(name.clone());
            }
        }
        for name in changed {
            self.touch(&name);
        }
    }

    /// Tells that a unit changed, when it is watched.
    pub(super) fn touch(&mut self, name: &UnitName) {
        if self.watched.contains(name) {
            self.changed.insert(name.clone());
        }
    }

    /// Tells that any unit may have changed.
    pub(super) fn touch_all(&mut self) {
        self.changed.clone_from(&self.watched);
    }

    /// The unit, loaded when it is installed.
    pub(super) fn load(&mut self, name: &UnitName) -> Option<&mut FakeUnit> {
        if !self.units.contains_key(name) && !name.is_template() {
            let behaviour = self.behaviours.get(&name.file_name())?.clone();
            let files = Files::read(self.root.as_deref(), name);
            self.units.insert(name.clone(), FakeUnit::new(behaviour, files));
        }
        self.units.get_mut(name)
    }

    /// Queues a job, or joins the one of the same verb; its number.
    pub(super) fn begin(&mut self, verb: Verb, name: &UnitName, now: Instant) -> Result<u64, UnitError> {
        self.load(name);
        let unit = self.units.get_mut(name).ok_or_else(|| UnitError::NoSuchUnit { unit: name.clone() })?;
        if unit.masked && verb != Verb::Stop {
            return Err(UnitError::Unusable { unit: name.clone(), message: format!("Unit {name} is masked.") });
        }
        if let Some(job) = unit.job.filter(|job| job.verb == verb) {
            return Ok(job.id);
        }
        let (id, replaced) = (self.next_job, unit.job);
        let result = unit.begin(Job { id, verb }, now, &mut self.counters);
        if result.is_some() {
            unit.job = None;
        }
        self.next_job += 1;
        self.finished.extend(replaced.map(|job| (job.id, JobResult::Canceled)));
        self.finished.extend(result.map(|result| (id, result)));
        while self.finished.len() > KEPT_RESULTS {
            self.finished.pop_first();
        }
        self.touch(name);
        Ok(id)
    }

    /// Looks for unit files and drop-ins below the root; a unit without a file is gone once it is down.
    pub(super) fn reload(&mut self) {
        let found = self.root.as_deref().map(Files::units).unwrap_or_default();
        for gone in self.found.difference(&found) {
            self.behaviours.remove(gone);
        }
        for file in &found {
            self.behaviours.entry(file.clone()).or_default();
        }
        self.found = found;
        self.units.retain(|name, unit| self.behaviours.contains_key(&name.file_name()) || !unit.is_down());
        for (name, unit) in &mut self.units {
            unit.files = Files::read(self.root.as_deref(), name);
        }
    }
}
