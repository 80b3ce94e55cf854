//! The state of the fake: its units, their jobs, and who watches what.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use tokio::time::Instant;

use super::{
    Behaviour, Call,
    files::Files,
    unit::{Counters, FakeUnit, Job, Obstacle},
};
use crate::{
    model::{JobResult, UnitName, Verb},
    systemd::UnitError,
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
    /// Other names of units, each with the primary one.
    pub(super) aliases: BTreeMap<UnitName, UnitName>,
    pub(super) units: BTreeMap<UnitName, FakeUnit>,
    pub(super) watched: BTreeSet<UnitName>,
    pub(super) changed: BTreeSet<UnitName>,
    pub(super) finished: BTreeMap<u64, JobResult>,
    pub(super) reloads: u64,
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
            aliases: BTreeMap::new(),
            units: BTreeMap::new(),
            watched: BTreeSet::new(),
            changed: BTreeSet::new(),
            finished: BTreeMap::new(),
            reloads: 0,
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
        let primary = self.primary(name);
        let of_it = |watched: &&UnitName| self.primary(watched) == primary;
        let names: Vec<_> = self.watched.iter().filter(of_it).cloned().collect();
        self.changed.extend(names);
    }

    /// The unit's own name.
    pub(super) fn primary(&self, name: &UnitName) -> UnitName {
        self.aliases.get(name).unwrap_or(name).clone()
    }

    /// All names of the unit.
    fn names(&self, primary: &UnitName) -> Vec<UnitName> {
        let aliases = self.aliases.iter().filter(|(_, to)| *to == primary).map(|(alias, _)| alias);
        std::iter::once(primary).chain(aliases).cloned().collect()
    }

    /// Tells that any unit may have changed.
    pub(super) fn touch_all(&mut self) {
        self.changed.clone_from(&self.watched);
    }

    /// The unit, loaded when it is installed.
    pub(super) fn load(&mut self, name: &UnitName) -> Option<&mut FakeUnit> {
        let name = self.primary(name);
        if !self.units.contains_key(&name) && !name.is_template() {
            let behaviour = self.behaviours.get(&name.file_name())?.clone();
            let files = Files::read(self.root.as_deref(), &self.names(&name));
            self.units.insert(name.clone(), FakeUnit::new(behaviour, files));
        }
        self.units.get_mut(&name)
    }

    /// Queues a job, or joins the one of the same verb; its number.
    pub(super) fn begin(&mut self, verb: Verb, name: &UnitName, now: Instant) -> Result<u64, UnitError> {
        self.load(name);
        let primary = self.primary(name);
        let unit = self.units.get_mut(&primary).ok_or_else(|| UnitError::NoSuchUnit { unit: name.clone() })?;
        if unit.broken().is_some() && verb != Verb::Stop {
            return Err(UnitError::Unusable { unit: name.clone(), message: format!("Unit {name} is broken.") });
        }
        if unit.masked && verb != Verb::Stop {
            return Err(UnitError::Unusable { unit: name.clone(), message: format!("Unit {name} is masked.") });
        }
        match unit.behaviour.obstacle.clone() {
            Some(Obstacle::MissingRequirement(required)) if verb != Verb::Stop => {
                let message = format!("Unit {required} not found.");
                return Err(UnitError::Requires { unit: name.clone(), required, message });
            }
            Some(Obstacle::RefusesStart) if verb != Verb::Stop => {
                let message = format!("Operation refused, unit {name} may be requested by dependency only.");
                return Err(UnitError::Refused { name: "org.freedesktop.systemd1.OnlyByDependency".into(), message });
            }
            _ => {}
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
        self.reloads += 1;
        let found = self.root.as_deref().map(Files::units).unwrap_or_default();
        for gone in self.found.difference(&found) {
            self.behaviours.remove(gone);
        }
        for file in &found {
            self.behaviours.entry(file.clone()).or_default();
        }
        self.found = found;
        self.units.retain(|name, unit| self.behaviours.contains_key(&name.file_name()) || !unit.is_down());
        let names: Vec<_> = self.units.keys().map(|name| (name.clone(), self.names(name))).collect();
        for (name, names) in names {
            if let Some(unit) = self.units.get_mut(&name) {
                unit.files = Files::read(self.root.as_deref(), &names);
            }
        }
    }
}
