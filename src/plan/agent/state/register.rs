//! When this host registers, and what it then has in `instances`: its ephemerals come into the tree only once nothing runs
//! here that is no longer its own, and once it is known what does run.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, publisher::Report, targets::Target};
use crate::{
    model::{ReplicaId, UnitName},
    plan::agent::{
        Basis,
        action::{Connection, Now},
    },
};

/// What keeps a host from registering.
enum Unregistered {
    /// Something is being asked.
    Unknown,
    /// A process is left that is no longer this host's: which.
    Left(String),
}

impl State {
    /// The connection, while what this agent would write rests on all that is in the tree.
    pub(super) fn publishable(&self) -> Option<Connection> {
        let ours = self.work.basis() == Basis::Tree && self.work.held_by().is_none();
        self.connection.filter(|it| ours && self.synced == Some(it.epoch))
    }

    /// A host registers only when nothing runs on it that is no longer its own, and when it is known what does run:
    /// what a predecessor listed stays listed.
    pub(super) fn register(&mut self, targets: &BTreeMap<ReplicaId, Target>, now: Now) {
        let Some(connection) = self.publishable() else { return };
        let is_registered = self.publisher.is_registered(connection.epoch);
        let why_not = if is_registered { None } else { self.why_not(targets) };
        let report = Report {
            alive: why_not.is_none().then_some(&self.alive),
            statuses: &self.statuses,
            is_ours: &|id| self.work.is_present(id),
            known: &|| self.decisions.keys().chain(self.statuses.keys()).cloned().collect(),
        };
        let begun = self.publisher.publish(connection, &report, now);
        self.actions.extend(begun);
        // What is only being read is over in a moment, or told as a problem of its own.
        let left = why_not.and_then(|why_not| match why_not {
            Unregistered::Unknown => None,
            Unregistered::Left(what) => Some(what),
        });
        self.note("not registered", left);
    }

    /// What these replicas should have in `instances`, and that there may be something to say of them.
    pub(super) fn list(&mut self, targets: &BTreeMap<ReplicaId, Target>, due: &BTreeSet<ReplicaId>) {
        for id in due {
            let decision = self.decisions.get(id);
            let target = targets.get(id).filter(|_| decision.is_some_and(|decision| decision.listed));
            let instance = target.map(|target| self.instance(id, target.assignment()));
            self.publisher.list(id, instance.as_ref());
            if decision.is_none() && !self.statuses.contains_key(id) {
                self.publisher.say_nothing(id);
            } else {
                self.publisher.say(id);
            }
        }
    }

    /// What keeps this host from registering. What has no process left does not, whatever else is wrong with it.
    fn why_not(&self, targets: &BTreeMap<ReplicaId, Target>) -> Option<Unregistered> {
        if self.is_delisting() {
            return Some(Unregistered::Unknown);
        }
        let mut reasons = targets.iter().filter_map(|(id, target)| {
            let left = target.managed_unit().is_some_and(|unit| self.may_run(unit));
            if target.is_gone() && left && self.is_read(target) {
                let why = self.statuses.get(id).and_then(|status| status.message.as_deref());
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                let what = format!("waits to stop {}: it {}{why}", target.unit(), target.why_gone());
                return Some(Unregistered::Left(what));
            }
            let unknown = !self.is_read(target) || !self.health.is_known(id) || (left && self.unconfirmed.contains(id));
            unknown.then_some(Unregistered::Unknown)
        });
        let first = reasons.next()?;
        let is_left = |why: &Unregistered| matches!(why, Unregistered::Left(_));
        if is_left(&first) { Some(first) } else { Some(reasons.find(is_left).unwrap_or(first)) }
    }

    /// Whether a process of the unit may be left, as far as is known.
    fn may_run(&self, unit: &UnitName) -> bool {
        self.units.certain(unit).is_none_or(|unit| !unit.is_down())
    }
}
