//! Status: what the tree, the service manager, the metrics and the control socket are told.

use std::{collections::BTreeMap, time::Instant};

use jiff::Timestamp;

use super::{Agent, READY_LIMIT, snapshot::NO_UNIT, targets::Target};
use crate::{
    model::{CheckedAssignment, Instance, Record, RefusalReason, ReplicaId, ReplicaState, ReplicaStatus, one_line},
    plan::agent::{Basis, Decision, LastLine, Memory, Unreadable},
    report::notify::ServiceManager,
    systemd::UnitManager,
};

impl<M: UnitManager + 'static> Agent<M> {
    pub(super) fn say(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        decisions: &BTreeMap<ReplicaId, Decision>,
        now: Instant,
    ) {
        let known = |id: &ReplicaId| self.is_read(&targets[id]) && self.health.is_known(id);
        let read = decisions.iter().filter(|(id, _)| known(id) && !self.lacks_words(id, &targets[*id]));
        let read = read.map(|(id, decision)| (id.clone(), self.status(id, &targets[id], decision)));
        self.statuses = read.chain(self.unusable()).collect();
        self.metrics.count_replicas(self.statuses.values().map(|status| status.state));
        self.show();
        self.register(targets, decisions, now);
    }

    /// Whether the replica's unit was ever read: before that, nothing can be said of it.
    pub(super) fn is_read(&self, target: &Target) -> bool {
        target.managed_unit().is_none_or(|unit| self.units.get(unit).is_some())
    }

    /// Whether the unit had failed before this agent looked, and what it said last is yet to be known: what a predecessor
    /// said of it stands until then.
    fn lacks_words(&self, id: &ReplicaId, target: &Target) -> bool {
        self.last_line(target) == LastLine::Awaited && !self.statuses.contains_key(id)
    }

    /// What may be written: the statuses of replicas that the tree assigns to this host.
    pub(super) fn our_statuses(&self) -> impl Iterator<Item = (ReplicaId, ReplicaStatus)> {
        let ours = self.statuses.iter().filter(|(id, _)| self.work.is_present(id));
        ours.map(|(id, status)| (id.clone(), status.clone()))
    }

    fn status(&self, id: &ReplicaId, target: &Target, decision: &Decision) -> ReplicaStatus {
        let assignment = target.assignment();
        let unit = self.units.get(&assignment.unit).unwrap_or(&NO_UNIT);
        let record = self.ledger.replicas.get(id).filter(|_| !decision.in_force);
        // Nothing of it is here yet: whatever runs, it is not this.
        let awaited = record.is_none() && matches!(target, Target::Awaited(_));
        let wanted = Some(assignment).filter(|_| !awaited);
        let version = wanted.and_then(|wanted| wanted.version.as_ref());
        let unreadable = self.work.unreadable(id);
        let message = unreadable.map(not_acted_on).or_else(|| decision.message.clone());
        ReplicaStatus {
            state: decision.state,
            node: self.settings.host.clone(),
            pid: unit.main_pid,
            version: record.map_or(version, |it| self.running_version(target, it, &unit.invocation)).cloned(),
            config_version: record.map_or(wanted.and_then(|it| it.config_version), |record| record.applied_config),
            ready: decision.ready,
            rejected: decision.rejected || unreadable.is_some(),
            reason: (decision.state == ReplicaState::Refused).then(|| match unreadable {
                Some(_) => RefusalReason::NotValid,
                None => target.refusal_reason(),
            }),
            unconfirmed: decision.in_force && self.health.is_unconfirmed(id),
            setbacks: if decision.in_force { self.health.setbacks(id) } else { 0 },
            restarts: unit.restarts,
            assignment: unreadable.map(|it| it.version).or_else(|| self.answered(id, target, decision)),
            // What others said is repeated in it.
            message: message.or_else(|| self.note_on(id, target)).map(|text| one_line(&text).into_owned()),
            updated: Timestamp::now(),
        }
    }

    /// What runs. While the files of what is wanted could not be written, whatever was started since has read the old ones.
    fn running_version<'a>(&self, target: &Target, record: &'a Record, invocation: &str) -> Option<&'a String> {
        let known = record.stale.as_ref().is_some_and(|stale| stale.invocation == invocation);
        match record.before.as_deref().filter(|_| !known && self.is_unwritten(target)) {
            Some(before) => before.version.as_ref(),
            None => record.running_version(invocation),
        }
    }

    fn is_unwritten(&self, target: &Target) -> bool {
        let Target::Ours { assignment, files, .. } = target else { return false };
        !matches!(self.on_disk.get(&assignment.unit), Some(Ok(found)) if found == files)
    }

    fn note_on(&self, id: &ReplicaId, target: &Target) -> Option<String> {
        let note = self.memory.get(id).and_then(Memory::note).cloned();
        note.or_else(|| match target {
            Target::Ours { assignment, .. } => self.not_in_force(id, assignment),
            _ => None,
        })
    }

    /// What is said of replicas of which there is no good assignment, and never was one here.
    fn unusable(&self) -> impl Iterator<Item = (ReplicaId, ReplicaStatus)> {
        let status = |unreadable: &Unreadable| ReplicaStatus {
            state: ReplicaState::Refused,
            node: self.settings.host.clone(),
            pid: None,
            version: None,
            config_version: None,
            assignment: Some(unreadable.version),
            ready: false,
            rejected: true,
            reason: Some(RefusalReason::NotValid),
            unconfirmed: false,
            setbacks: 0,
            restarts: 0,
            message: Some(not_acted_on(unreadable)),
            updated: Timestamp::now(),
        };
        let unusable = self.work.unusable(&self.ledger).filter(|_| self.work.basis() == Basis::Tree);
        unusable.map(move |(id, unreadable)| (id.clone(), status(unreadable)))
    }

    /// The version of the assignment that the status answers to. One that runs with what was wanted before has not
    /// answered yet: else it would pass for ready, and the next be taken down.
    fn answered(&self, id: &ReplicaId, target: &Target, decision: &Decision) -> Option<i32> {
        let newer = matches!(target, Target::Ours { newer: Some(_), .. } | Target::Kept { newer: Some(_), .. });
        // On its way out it still is what was wanted before.
        let old = matches!(decision.state, ReplicaState::Running | ReplicaState::Draining | ReplicaState::Stopping)
            || (decision.state == ReplicaState::Starting && self.is_unwritten(target));
        let behind = (old || newer) && !decision.in_force && !decision.rejected;
        let elsewhere = matches!(target, Target::Leaving { .. });
        if behind || elsewhere {
            return self.statuses.get(id).and_then(|before| before.assignment).or(Some(BEFORE_ANY));
        }
        self.work.version(id)
    }

    pub(super) fn instance(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Instance {
        let unit = self.units.get(&assignment.unit).unwrap_or(&NO_UNIT);
        Instance {
            replica: id.number,
            pid: unit.main_pid,
            address: self.settings.address.clone(),
            port: assignment.port,
            version: self.statuses.get(id).and_then(|status| status.version.clone()),
            started: unit.active_since.unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// Tells the service manager how things stand. The first reconcile is done once all that could be done without
    /// waiting is done; what takes long (a unit that starts slowly, another machine that goes by this host's name)
    /// must not have the agent taken for one that hangs.
    pub(super) fn tell(&mut self, service_manager: &mut ServiceManager) {
        let settled = self.busy.is_empty() && self.confirming.is_empty() && self.goods.is_settled();
        let held = self.work.held_by().is_some();
        let registered = self.up().is_some_and(|up| self.publisher.is_registered(up.epoch));
        let published = self.publisher.is_idle() && (registered || held || self.work.basis() == Basis::Ledger);
        if (settled && published && self.work.basis() != Basis::Waiting) || self.started.elapsed() >= READY_LIMIT {
            self.is_ready = true;
            service_manager.ready();
        }
        service_manager.status(&self.in_words());
    }

    fn in_words(&self) -> String {
        let running = self.statuses.values().filter(|status| status.state == ReplicaState::Running).count();
        let link = match (self.up().is_some(), self.work.basis()) {
            (true, _) => "connected to ZooKeeper",
            (false, Basis::Waiting) => "asks ZooKeeper for its work",
            (false, _) => "ZooKeeper is out of reach, the last work is in force",
        };
        let problems =
            self.problems.iter().map(|(what, problem)| format!("; {what}: {problem}")).collect::<Vec<_>>().concat();
        format!("{running} of {} replicas running; {link}{problems}", self.statuses.len())
    }

    fn show(&self) {
        let value =
            serde_json::json!({ "host": self.settings.host, "status": self.in_words(), "replicas": self.statuses });
        self.shown.send_if_modified(|shown| {
            let changed = *shown != value;
            *shown = value;
            changed
        });
    }
}

/// What the status says of an assignment that no check lets pass.
fn not_acted_on(Unreadable { why, .. }: &Unreadable) -> String {
    format!("the assignment is not acted on: {why}; correct it, or the description that it repeats")
}

/// A version that no node ever has: this is the answer to nothing that can be seen now.
const BEFORE_ANY: i32 = -1;
