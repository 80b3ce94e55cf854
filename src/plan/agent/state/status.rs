//! What is said: each replica's status, and how the agent stands.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{State, publisher::Report, targets::Target};
use crate::{
    model::{CheckedAssignment, Instance, Record, RefusalReason, ReplicaId, ReplicaState, ReplicaStatus, one_line},
    plan::agent::{
        Basis, Decision, LastLine, Memory, Unreadable,
        action::{Connection, Now},
    },
};

impl State {
    /// Says how these replicas stand.
    pub(super) fn say(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        due: &BTreeSet<ReplicaId>,
        decisions: &BTreeMap<ReplicaId, Decision>,
        now: Now,
    ) {
        for id in due {
            let known = |target| self.is_read(target) && self.health.is_known(id) && !self.lacks_last_line(id, target);
            let status = match (targets.get(id), decisions.get(id)) {
                (Some(target), Some(decision)) if known(target) => Some(self.status(id, target, decision, now.time)),
                (Some(_), _) => None,
                (None, _) => self.unusable(id, now.time),
            };
            let same = match (&status, self.statuses.get(id)) {
                (Some(status), Some(before)) => status.says_the_same(before),
                (status, before) => status.is_none() && before.is_none(),
            };
            if same {
                continue;
            }
            self.said.insert(id.clone());
            match status {
                Some(status) => drop(self.statuses.insert(id.clone(), status)),
                None => drop(self.statuses.remove(id)),
            }
        }
    }

    /// Whether the replica's unit was ever read: before that, nothing can be said of it.
    pub(super) fn is_read(&self, target: &Target) -> bool {
        target.managed_unit().is_none_or(|unit| self.units.get(unit).is_some())
    }

    /// Whether the unit had failed before this agent looked, and what it said last is yet to be known: what a predecessor
    /// said of it stands until then.
    fn lacks_last_line(&self, id: &ReplicaId, target: &Target) -> bool {
        self.last_line(target) == LastLine::Awaited && !self.statuses.contains_key(id)
    }

    fn status(&self, id: &ReplicaId, target: &Target, decision: &Decision, time: Timestamp) -> ReplicaStatus {
        let assignment = target.assignment();
        let unit = self.unit(&assignment.unit);
        let record = self.ledger.replicas.get(id).filter(|_| !decision.in_force);
        // Nothing of it is here yet: whatever runs, it is not this.
        let awaited = record.is_none() && matches!(target, Target::Awaited(_));
        let wanted = Some(assignment).filter(|_| !awaited);
        let version = wanted.and_then(|wanted| wanted.version.as_ref());
        let unreadable = self.work.unreadable(id);
        let message = unreadable.map(not_acted_on).or_else(|| decision.message.clone());
        ReplicaStatus {
            state: decision.state,
            node: self.policy.host.clone(),
            pid: unit.main_pid,
            version: record.map_or(version, |it| self.running_version(target, it, &unit.invocation)).cloned(),
            config_version: record.map_or(wanted.and_then(|it| it.config_version), |record| record.applied_config),
            ready: decision.ready,
            rejected: decision.rejected || unreadable.is_some(),
            retrying: decision.retrying,
            reason: (decision.state == ReplicaState::Refused).then(|| match unreadable {
                Some(_) => RefusalReason::NotValid,
                None => target.refusal_reason(),
            }),
            // Also while it is restarted because it is not alive: what runs then is what is wanted, and serves nothing.
            unconfirmed: self.health.is_unconfirmed(id),
            setbacks: self.health.setbacks(id),
            restarts: unit.restarts,
            assignment: unreadable.map(|it| it.version).or_else(|| self.answered(id, target, decision)),
            // What others said is repeated in it.
            message: message.or_else(|| self.note_on(id, target)).map(|text| one_line(&text).into_owned()),
            updated: time,
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

    /// What is said of a replica of which there is no good assignment, and never was one here.
    fn unusable(&self, id: &ReplicaId, time: Timestamp) -> Option<ReplicaStatus> {
        let unreadable = self.work.unusable(id, &self.ledger).filter(|_| self.work.basis() == Basis::Tree)?;
        Some(ReplicaStatus {
            state: ReplicaState::Refused,
            node: self.policy.host.clone(),
            pid: None,
            version: None,
            config_version: None,
            assignment: Some(unreadable.version),
            ready: false,
            rejected: true,
            retrying: false,
            reason: Some(RefusalReason::NotValid),
            unconfirmed: false,
            setbacks: 0,
            restarts: 0,
            message: Some(not_acted_on(unreadable)),
            updated: time,
        })
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
        let unit = self.unit(&assignment.unit);
        Instance {
            replica: id.number,
            pid: unit.main_pid,
            address: self.policy.address.clone(),
            port: assignment.template.port,
            version: self.statuses.get(id).and_then(|status| status.version.clone()),
            started: unit.active_since.unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// Whether all that could be done without waiting is done. What takes long (a unit that starts slowly, another machine
    /// that goes by this host's name) must not have the agent taken for one that hangs.
    pub fn is_settled(&self) -> bool {
        let settled = self.busy.is_empty() && self.confirming.is_empty() && self.artifacts.is_settled();
        let held = self.work.held_by().is_some();
        let registered = self.connection.is_some_and(|it| self.publisher.is_registered(it.epoch));
        let published = self.publisher.is_idle() && (registered || held || self.work.basis() == Basis::Ledger);
        settled && published && self.work.basis() != Basis::Waiting
    }

    /// How things stand, for the service manager.
    pub fn in_words(&self) -> String {
        let running = self.statuses.values().filter(|status| status.state == ReplicaState::Running).count();
        let link = match (self.connection.is_some(), self.work.basis()) {
            (true, _) => "connected to ZooKeeper",
            (false, Basis::Waiting) => "waiting for ZooKeeper",
            (false, _) => "ZooKeeper is out of reach, running the last known assignments",
        };
        let problems =
            self.problems.iter().map(|(what, problem)| format!("; {what}: {problem}")).collect::<Vec<_>>().concat();
        format!("{running} of {} replicas running; {link}{problems}", self.statuses.len())
    }

    /// Nobody waits any more for what is being written.
    pub fn abandon_publications(&mut self) {
        self.publisher.abandon();
    }

    /// The machine goes down. The last publication: nothing is listed any more, and every replica that runs is on its way
    /// down.
    pub fn bid_farewell(&mut self, now: Now) {
        let registered = |it: &Connection| self.publisher.is_registered(it.epoch);
        let Some(connection) = self.connection.filter(registered) else { return };
        let stopped = |status: &ReplicaStatus| ReplicaStatus {
            state: ReplicaState::Stopped,
            retrying: false,
            pid: None,
            reason: None,
            message: Some("its host shuts down".to_owned()),
            updated: now.time,
            ..status.clone()
        };
        self.statuses.values_mut().for_each(|status| *status = stopped(status));
        self.statuses.keys().for_each(|id| self.publisher.say(id));
        self.publisher.list_nothing();
        self.publisher.relinked();
        let report = Report {
            alive: Some(&self.alive),
            statuses: &self.statuses,
            is_ours: &|id| self.work.is_present(id),
            known: &|| self.statuses.keys().cloned().collect(),
        };
        let begun = self.publisher.publish(connection, &report, now);
        self.actions.extend(begun);
    }
}

/// What the status says of an assignment that no check lets pass.
fn not_acted_on(Unreadable { why, .. }: &Unreadable) -> String {
    format!("the assignment is not acted on: {why}; correct it, or the description that it repeats")
}

/// A version that no node ever has: this is the answer to nothing that can be seen now.
const BEFORE_ANY: i32 = -1;
