//! A systemd, as far as agents depend on it: files count once they were read again, a process keeps what it was started
//! with, each start is another invocation.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{
    ActiveState, Files, JobResult, LoadState, ReplicaId, UnitName, UnitPaths, UnitStatus, Verb, drop_in_owner,
};

/// A version that does not start.
pub(crate) const FAILS: &str = "fails";

#[derive(Clone, Debug, Default)]
pub(crate) struct Systemd {
    units: BTreeMap<UnitName, Unit>,
    /// The generated files on disk, which a reboot takes away.
    pub(crate) files: BTreeMap<UnitName, Files>,
    /// Those of them that systemd has read.
    loaded: BTreeMap<UnitName, Files>,
    pub(crate) reloads: u64,
    invocations: u64,
    /// What is told of the units that are watched.
    pub(crate) watched: BTreeSet<UnitName>,
    pub(crate) changed: BTreeSet<UnitName>,
    /// Units that cannot be started.
    pub(crate) failing: BTreeSet<UnitName>,
}

#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) active: ActiveState,
    pub(crate) invocation: String,
    since: Option<Timestamp>,
    pub(crate) process: Option<Process>,
}

/// What a process was started with, or has read since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) variables: Option<String>,
    pub(crate) drop_in: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) config: Option<u64>,
}

impl Process {
    /// The replica that it was started for.
    pub(crate) fn owner(&self) -> Option<ReplicaId> {
        drop_in_owner(self.drop_in.as_deref()?)
    }

    /// The version that it was told it is.
    pub(crate) fn version(&self) -> Option<&str> {
        let mut lines = self.variables.as_deref()?.lines();
        lines.find_map(|line| line.strip_prefix("ZKOPS_VERSION=\"")?.strip_suffix('"'))
    }
}

impl Systemd {
    pub(crate) fn unit(&self, name: &UnitName) -> Option<&Unit> {
        self.units.get(name)
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = (&UnitName, &Process)> {
        self.units.iter().filter_map(|(name, unit)| Some((name, unit.process.as_ref()?)))
    }

    /// The process of an invocation, while there is one.
    pub(crate) fn process(&self, invocation: &str) -> Option<&Process> {
        self.units.values().find(|unit| unit.invocation == invocation)?.process.as_ref()
    }

    pub(crate) fn status(&self, name: &UnitName, paths: &UnitPaths) -> UnitStatus {
        let nothing = Files::default();
        let (there, loaded) = (self.files.get(name).unwrap_or(&nothing), self.loaded.get(name).unwrap_or(&nothing));
        let unit = self.units.get(name);
        let active = unit.map_or(ActiveState::Inactive, |unit| unit.active);
        let pid = unit.filter(|unit| unit.process.is_some()).map(|unit| unit.invocation.parse().unwrap());
        UnitStatus {
            id: name.to_string(),
            load: LoadState::Loaded,
            active,
            sub: if active == ActiveState::Failed { "failed" } else { "running" }.to_owned(),
            result: if active == ActiveState::Failed { "exit-code" } else { "success" }.to_owned(),
            main_pid: pid,
            invocation: unit.map(|unit| unit.invocation.clone()).unwrap_or_default(),
            can_reload: true,
            need_daemon_reload: there.drop_in != loaded.drop_in || there.unit_file != loaded.unit_file,
            active_since: unit.and_then(|unit| unit.since),
            exit: (active == ActiveState::Failed).then(|| "exited with status 1".to_owned()),
            drop_in_paths: loaded.drop_in.iter().map(|_| paths.drop_in(name).display().to_string()).collect(),
            has_processes: pid.is_some(),
            kind: "simple".to_owned(),
            ..UnitStatus::not_found()
        }
    }

    pub(crate) fn daemon_reload(&mut self) {
        self.loaded.clone_from(&self.files);
        self.reloads += 1;
        self.changed.extend(self.watched.iter().cloned());
    }

    /// Carries a job out; `links` = the release and the configuration in force.
    pub(crate) fn run(
        &mut self,
        verb: Verb,
        name: &UnitName,
        links: (Option<String>, Option<u64>),
        now: Timestamp,
    ) -> JobResult {
        self.tell(name);
        let active = self.units.get(name).is_some_and(|unit| unit.active == ActiveState::Active);
        match verb {
            Verb::Stop => self.end(name, ActiveState::Inactive),
            Verb::Start if active => {}
            Verb::Start | Verb::Restart => return self.start(name, links, now),
            Verb::Reload => {
                let process = self.units.get_mut(name).and_then(|unit| unit.process.as_mut());
                let Some(process) = process else { return JobResult::Failed };
                process.config = links.1;
            }
        }
        JobResult::Done
    }

    fn start(
        &mut self,
        name: &UnitName,
        (release, config): (Option<String>, Option<u64>),
        now: Timestamp,
    ) -> JobResult {
        self.invocations += 1;
        let variables = self.files.get(name).and_then(|files| files.variables.clone());
        let drop_in = self.loaded.get(name).and_then(|files| files.drop_in.clone());
        let process = Process { variables, drop_in, release, config };
        let fails = process.version() == Some(FAILS) || self.failing.contains(name);
        let unit = Unit {
            active: if fails { ActiveState::Failed } else { ActiveState::Active },
            invocation: self.invocations.to_string(),
            since: Some(now),
            process: (!fails).then_some(process),
        };
        self.units.insert(name.clone(), unit);
        if fails { JobResult::Failed } else { JobResult::Done }
    }

    pub(crate) fn reset_failed(&mut self, name: &UnitName) {
        if let Some(unit) = self.units.get_mut(name).filter(|unit| unit.active == ActiveState::Failed) {
            unit.active = ActiveState::Inactive;
            self.tell(name);
        }
    }

    /// Its process ends by itself.
    pub(crate) fn end(&mut self, name: &UnitName, active: ActiveState) {
        if let Some(unit) = self.units.get_mut(name) {
            (unit.active, unit.process) = (active, None);
            self.tell(name);
        }
    }

    fn tell(&mut self, name: &UnitName) {
        self.changed.extend(self.watched.get(name).cloned());
    }

    /// The machine boots: nothing runs, and what was in memory is gone.
    pub(crate) fn boot(&mut self) {
        *self = Self { invocations: self.invocations, ..Self::default() };
    }
}
