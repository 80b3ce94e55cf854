//! An agent and its host's processes: enough of one to answer the controller as the real one does.
//!
//! As the real one, it watches its own host's subtree and nothing else: that someone deleted its `instances` entry or
//! a status it learns only when its assignment changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::{Tree, probes::Probed};
use crate::{
    model::{
        Accepts, Assignment, HostName, Instance, Mode, RefusalReason, ReplicaDesired, ReplicaId, ReplicaState,
        ReplicaStatus, ServiceName, UnitName, decode, encode,
    },
    tree::layout,
};

#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Agent {
    pub(crate) name: HostName,
    pub(crate) zone: Option<String>,
    connected: bool,
    processes: BTreeMap<ReplicaId, Process>,
    /// What it last wrote of each replica: nothing is written twice.
    said: BTreeMap<ReplicaId, ReplicaStatus>,
    /// Services that fail here.
    pub(crate) failing: BTreeSet<ServiceName>,
    /// Services that its configuration does not allow.
    pub(crate) refused: BTreeSet<ServiceName>,
    /// What its configuration allows, which it tells; `None`: anything, and nothing is told.
    pub(crate) accepts: Option<Accepts>,
    /// Whether it says which version of an assignment it answers to.
    pub(crate) answers: bool,
    /// Whether its units read another configuration without a restart.
    pub(crate) reloads: bool,
    /// Configuration revisions with which a process serves nothing; only probes tell.
    pub(crate) broken: BTreeSet<u64>,
    /// Whether it says what checks made since a change have found.
    pub(crate) confirms: bool,
}

#[derive(Clone, Debug)]
struct Process {
    /// What it runs with; its mode does not matter.
    content: Assignment,
    draining: bool,
    started: bool,
    probed: Option<Probed>,
}

impl Process {
    fn start(content: &Assignment, now: Timestamp) -> Self {
        Self { content: content.clone(), draining: false, started: false, probed: Probed::start(content, now) }
    }

    fn is_ready(&self) -> bool {
        self.probed.as_ref().is_none_or(Probed::is_ready)
    }
}

impl Agent {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.parse().unwrap(),
            zone: None,
            connected: true,
            processes: BTreeMap::new(),
            said: BTreeMap::new(),
            failing: BTreeSet::new(),
            refused: BTreeSet::new(),
            accepts: None,
            answers: true,
            reloads: false,
            broken: BTreeSet::new(),
            confirms: true,
        }
    }

    /// The replicas of which it has processes.
    pub(crate) fn running(&self) -> impl Iterator<Item = &ReplicaId> {
        self.processes.keys()
    }

    /// How many of its processes run with a configuration that serves nothing.
    pub(crate) fn broken_processes(&self) -> usize {
        self.processes.values().filter(|process| self.is_broken(&process.content)).count()
    }

    fn is_broken(&self, content: &Assignment) -> bool {
        content.config_version.is_some_and(|config| self.broken.contains(&config))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn units(&self) -> Vec<UnitName> {
        self.processes.values().map(|process| process.content.unit.clone()).collect()
    }

    pub(crate) fn crash(&mut self) {
        self.disconnect();
        self.processes.clear();
    }

    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.said.clear();
    }

    pub(crate) fn connect(&mut self) {
        self.connected = true;
    }

    /// Its session ends: its ephemerals vanish.
    pub(crate) fn expire(&self, tree: &mut Tree) {
        let suffix = format!("/instances/{}", self.name);
        let mine: Vec<String> = tree.paths().filter(|path| path.contains(&suffix)).map(str::to_owned).collect();
        for path in mine.iter().filter(|path| path.ends_with(&suffix) || path.contains(&format!("{suffix}@"))) {
            tree.delete_all(path);
        }
        tree.delete_all(&layout::alive(&self.name));
    }

    /// Out of `instances`, processes stopped, statuses written, session closed.
    pub(crate) fn shut_down(&mut self, tree: &mut Tree, now: Timestamp) {
        if self.connected {
            for (id, process) in std::mem::take(&mut self.processes) {
                tree.delete_all(&self.instance_path(&id));
                let version = tree.version(&layout::assignment(&self.name, &id));
                let state = ReplicaState::Stopped;
                let said = Said { content: process.content, assignment: version, state, rejected: false, probed: None };
                self.say(tree, &id, said, now);
            }
        }
        self.crash();
        self.expire(tree);
    }

    /// One thing that it has to do; false when there is none.
    pub(crate) fn step(&mut self, tree: &mut Tree, now: Timestamp) -> bool {
        self.connected && (self.stop_foreign(tree) || self.register(tree) || self.work(tree, now))
    }

    /// Stops what is no longer its own; an index that someone deleted by hand is no reason.
    fn stop_foreign(&mut self, tree: &mut Tree) -> bool {
        let foreign = |id: &&ReplicaId| {
            let assigned = tree.get(&layout::assignment(&self.name, id)).is_some();
            let desired = tree.get(&layout::replica_desired(id)).map(decode::<ReplicaDesired>);
            let named = matches!(desired, Some(Ok(desired)) if desired.node.as_ref() == Some(&self.name));
            !assigned && !named
        };
        let Some(id) = self.processes.keys().find(foreign).cloned() else { return false };
        self.processes.remove(&id);
        self.said.remove(&id);
        tree.delete_all(&self.instance_path(&id));
        true
    }

    fn register(&mut self, tree: &mut Tree) -> bool {
        let alive = layout::alive(&self.name);
        if tree.get(&alive).is_some() && tree.get(&layout::assigned(&self.name)).is_some() {
            return false;
        }
        for path in [layout::host(&self.name), layout::assigned(&self.name)] {
            if tree.get(&path).is_none() {
                tree.put(&path, "");
            }
        }
        let labels = self.zone.as_ref().map_or(json!({}), |zone| json!({ "zone": zone }));
        let document = json!({
            "version": "1", "machine_id": "m", "boot_id": "b", "pid": 1, "started": "2026-01-01T00:00:00Z",
            "labels": labels, "accepts": self.accepts,
        });
        tree.put(&alive, document.to_string());
        true
    }

    fn work(&mut self, tree: &mut Tree, now: Timestamp) -> bool {
        let prefix = format!("{}/", layout::assigned(&self.name));
        let mine = tree.paths().filter_map(|path| path.strip_prefix(&prefix)?.parse().ok());
        mine.collect::<Vec<ReplicaId>>().into_iter().any(|id| self.attend(tree, &id, now))
    }

    fn attend(&mut self, tree: &mut Tree, id: &ReplicaId, now: Timestamp) -> bool {
        let path = layout::assignment(&self.name, id);
        let Some(Ok(wanted)) = tree.get(&path).map(decode::<Assignment>) else { return false };
        let version = tree.version(&path);
        let refused = self.refuses(id, &wanted);
        let state = match (wanted.mode, self.processes.get_mut(id)) {
            (Mode::Enabled, Some(process)) if rejects(process, &wanted) => ReplicaState::Running,
            (Mode::Enabled, None) => self.start(id, &wanted, now),
            (Mode::Enabled, Some(process)) if self.reloads && reads_other_config(&process.content, &wanted) => {
                process.content.clone_from(&wanted);
                process.probed.iter_mut().for_each(|probed| probed.change(&wanted, now));
                ReplicaState::Running
            }
            (Mode::Enabled, Some(process))
                if !same_content(&process.content, &wanted)
                    && (is(&wanted, FAILS) || self.failing.contains(&id.service)) =>
            {
                self.processes.remove(id);
                tree.delete_all(&self.instance_path(id));
                ReplicaState::Failed
            }
            (Mode::Enabled, Some(process)) if process.content.unit != wanted.unit && refused => {
                self.processes.remove(id);
                tree.delete_all(&self.instance_path(id));
                ReplicaState::Refused
            }
            (Mode::Enabled, Some(process)) if !same_content(&process.content, &wanted) => {
                *process = Process::start(&wanted, now);
                tree.delete_all(&self.instance_path(id));
                ReplicaState::Starting
            }
            (Mode::Enabled, Some(_)) => return self.attend_running(tree, id, &wanted, version, now),
            (Mode::Drain, Some(process)) if !process.draining => {
                process.draining = true;
                tree.delete_all(&self.instance_path(id));
                ReplicaState::Draining
            }
            (_, Some(_)) => {
                tree.delete_all(&self.instance_path(id));
                self.processes.remove(id);
                ReplicaState::Stopped
            }
            (_, None) => ReplicaState::Stopped,
        };
        let rejected = is(&wanted, REJECTED) && matches!(state, ReplicaState::Running | ReplicaState::Pending);
        let process = self.processes.get(id);
        let content = process.map_or(&wanted, |process| &process.content).clone();
        let probed = process.and_then(|process| process.probed.clone());
        let said = Said { content, assignment: version, state, rejected, probed };
        self.say(tree, id, said, now) || state == ReplicaState::Draining
    }

    /// What runs as it is wanted is asked how it is, listed while it is ready, and restarted when it is not alive.
    fn attend_running(
        &mut self,
        tree: &mut Tree,
        id: &ReplicaId,
        wanted: &Assignment,
        version: Option<i32>,
        now: Timestamp,
    ) -> bool {
        let serves = !self.is_broken(wanted);
        let Some(process) = self.processes.get_mut(id) else { return false };
        let news = process.draining || !process.started;
        (process.draining, process.started) = (false, true);
        let was_ready = process.is_ready();
        let checked = !news && process.probed.as_mut().is_some_and(|probed| probed.check(serves, now));
        if process.probed.as_ref().is_some_and(|probed| probed.is_dead(now)) {
            *process = Process::start(wanted, now);
            tree.delete_all(&self.instance_path(id));
            return true;
        }
        let (is_ready, probed) = (process.is_ready(), process.probed.clone());
        if !is_ready {
            tree.delete_all(&self.instance_path(id));
        } else if !is(wanted, UNREADY) && (news || !was_ready || self.looks_again(tree, id, version)) {
            self.list(tree, id, wanted, now);
        }
        let (content, state) = (wanted.clone(), ReplicaState::Running);
        self.say(tree, id, Said { content, assignment: version, state, rejected: false, probed }, now) || checked
    }

    /// Whether the assignment is newer than what was last said of it.
    fn looks_again(&self, tree: &Tree, id: &ReplicaId, version: Option<i32>) -> bool {
        self.said.get(id).is_none_or(|said| said.assignment != version)
            || self.said.get(id).is_some_and(|said| said.state != ReplicaState::Running)
            || tree.get(&layout::alive(&self.name)).is_none()
    }

    fn start(&mut self, id: &ReplicaId, wanted: &Assignment, now: Timestamp) -> ReplicaState {
        if self.refuses(id, wanted) {
            return ReplicaState::Refused;
        }
        if is(wanted, REJECTED) {
            return ReplicaState::Pending;
        }
        if self.failing.contains(&id.service) || is(wanted, FAILS) {
            return ReplicaState::Failed;
        }
        if self.units().contains(&wanted.unit) {
            return ReplicaState::Pending;
        }
        self.processes.insert(id.clone(), Process::start(wanted, now));
        ReplicaState::Starting
    }

    fn refuses(&self, id: &ReplicaId, wanted: &Assignment) -> bool {
        let objects = |accepts: &Accepts| accepts.objection(false, &wanted.unit, &wanted.into()).is_some();
        self.refused.contains(&id.service) || self.accepts.as_ref().is_some_and(objects)
    }

    fn instance_path(&self, id: &ReplicaId) -> String {
        layout::instance(&id.service, &format!("{}@{}", self.name, id.number))
    }

    fn list(&self, tree: &mut Tree, id: &ReplicaId, wanted: &Assignment, now: Timestamp) {
        let path = self.instance_path(id);
        let version = wanted.version.clone();
        let instance = Instance { replica: id.number, pid: Some(1), address: None, port: None, version, started: now };
        let listed = tree.get(&path).and_then(|data| decode::<Instance>(data).ok());
        let right = listed.is_some_and(|listed| Instance { started: now, ..listed } == instance);
        if !right && tree.get(&layout::instances(&id.service)).is_some() {
            tree.put(&path, encode(&instance));
        }
    }

    /// Writes the status, when it says something new and the replica is still this host's.
    fn say(&mut self, tree: &mut Tree, id: &ReplicaId, said: Said, now: Timestamp) -> bool {
        let Said { content, assignment, state, rejected, probed } = said;
        let outcome = probed.as_ref().map(Probed::outcome).filter(|_| self.confirms).unwrap_or_default();
        let status = ReplicaStatus {
            state,
            node: self.name.clone(),
            pid: None,
            version: content.version.clone(),
            config_version: content.config_version,
            assignment,
            ready: !is(&content, UNREADY) && probed.is_none_or(|probed| probed.is_ready()),
            rejected,
            reason: (state == ReplicaState::Refused).then_some(RefusalReason::NotAllowed),
            unconfirmed: outcome.unconfirmed,
            setbacks: outcome.setbacks,
            restarts: 0,
            message: (state == ReplicaState::Failed).then(|| "exit code 1".to_owned()),
            updated: now,
        };
        if self.said.get(id) == Some(&status) || self.said.get(id).is_some_and(|said| said.says_the_same(&status)) {
            return false;
        }
        self.said.insert(id.clone(), status.clone());
        let written = ReplicaStatus { assignment: assignment.filter(|_| self.answers), ..status };
        let desired = tree.get(&layout::replica_desired(id)).map(decode::<ReplicaDesired>);
        let elsewhere = matches!(desired, Some(Ok(desired)) if desired.node.as_ref() != Some(&self.name));
        if tree.get(&layout::replica(id)).is_some() && !elsewhere {
            tree.put(&layout::replica_status(id), encode(&written));
        }
        true
    }
}

/// What it sees of a replica.
struct Said {
    content: Assignment,
    assignment: Option<i32>,
    state: ReplicaState,
    rejected: bool,
    /// What its probe has found.
    probed: Option<Probed>,
}

/// A version that fails to start.
pub(crate) const FAILS: &str = "fails";
/// A version that runs and never gets ready.
pub(crate) const UNREADY: &str = "unready";
/// A version that is not even tried, as one with a wrong checksum.
pub(crate) const REJECTED: &str = "rejected";

fn is(assignment: &Assignment, version: &str) -> bool {
    assignment.version.as_deref() == Some(version)
}

fn rejects(process: &Process, wanted: &Assignment) -> bool {
    is(wanted, REJECTED) && process.content.version != wanted.version
}

fn same_content(left: &Assignment, right: &Assignment) -> bool {
    Assignment { mode: right.mode, min_healthy_time: right.min_healthy_time, ..left.clone() } == *right
}

/// Whether nothing but the configuration differs.
fn reads_other_config(left: &Assignment, right: &Assignment) -> bool {
    let alike = Assignment { config_version: right.config_version, ..left.clone() };
    left.config_version != right.config_version && same_content(&alike, right)
}
