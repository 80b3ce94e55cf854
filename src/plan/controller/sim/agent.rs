//! An agent and its host's processes: enough of one to answer the controller as the real one does.
//!
//! As the real one, it watches its own host's subtree and nothing else: that someone deleted its `instances` entry or
//! a status it learns only when its assignment changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::Tree;
use crate::{
    model::{
        Assignment, HostName, Instance, Mode, ReplicaDesired, ReplicaId, ReplicaState, ReplicaStatus, ServiceName,
        UnitName, decode, encode,
    },
    store::layout,
};

#[derive(Clone, Debug)]
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
    /// Whether it says which version of an assignment it answers to.
    pub(crate) answers: bool,
}

#[derive(Clone, Debug)]
struct Process {
    /// What it runs with; its mode does not matter.
    content: Assignment,
    draining: bool,
    started: bool,
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
            answers: true,
        }
    }

    /// The replicas of which it has processes.
    pub(crate) fn running(&self) -> impl Iterator<Item = &ReplicaId> {
        self.processes.keys()
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
                let content = process.content;
                let said = Said { content, assignment: version, state: ReplicaState::Stopped, rejected: false };
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
            "labels": labels,
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
        let state = match (wanted.mode, self.processes.get_mut(id)) {
            (Mode::Enabled, Some(process)) if rejects(process, &wanted) => ReplicaState::Running,
            (Mode::Enabled, None) => self.start(id, &wanted),
            (Mode::Enabled, Some(process)) if !same_content(&process.content, &wanted) && is(&wanted, FAILS) => {
                self.processes.remove(id);
                tree.delete_all(&self.instance_path(id));
                ReplicaState::Failed
            }
            (Mode::Enabled, Some(process)) if !same_content(&process.content, &wanted) => {
                *process = Process { content: wanted.clone(), draining: false, started: false };
                tree.delete_all(&self.instance_path(id));
                ReplicaState::Starting
            }
            (Mode::Enabled, Some(process)) => {
                let news = process.draining || !process.started;
                (process.draining, process.started) = (false, true);
                if !is(&wanted, UNREADY) && (news || self.looks_again(tree, id, version)) {
                    self.list(tree, id, &wanted, now);
                }
                ReplicaState::Running
            }
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
        let content = self.processes.get(id).map_or(&wanted, |process| &process.content).clone();
        let said = Said { content, assignment: version, state, rejected };
        self.say(tree, id, said, now) || state == ReplicaState::Draining
    }

    /// Whether the assignment is newer than what was last said of it.
    fn looks_again(&self, tree: &Tree, id: &ReplicaId, version: Option<i32>) -> bool {
        self.said.get(id).is_none_or(|said| said.assignment != version)
            || self.said.get(id).is_some_and(|said| said.state != ReplicaState::Running)
            || tree.get(&layout::alive(&self.name)).is_none()
    }

    fn start(&mut self, id: &ReplicaId, wanted: &Assignment) -> ReplicaState {
        if self.refused.contains(&id.service) {
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
        self.processes.insert(id.clone(), Process { content: wanted.clone(), draining: false, started: false });
        ReplicaState::Starting
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
        let Said { content, assignment, state, rejected } = said;
        let status = ReplicaStatus {
            state,
            node: self.name.clone(),
            pid: None,
            version: content.version.clone(),
            config_version: content.config_version,
            assignment,
            ready: !is(&content, UNREADY),
            rejected,
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
    Assignment { mode: right.mode, ..left.clone() } == *right
}
