//! Which replicas are decided again. A decision rests on what is known of the replica, of its unit, and of the host as a
//! whole; whoever changes any of that says so here, and what did not change is not decided again.
//!
//! That nobody forgets to say so is tested: every third time that the simulation has an agent plan, a copy of it decides
//! every replica, and must come to the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{State, targets::Target};
use crate::{
    model::{ReplicaId, ServiceName, UnitName},
    plan::agent::{Basis, Decision, Step, action::Connection},
};

/// What has changed since the last round.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    all: bool,
    ids: BTreeSet<ReplicaId>,
    units: BTreeSet<UnitName>,
}

impl Changed {
    /// Something that every replica's decision may rest on.
    pub(super) fn all(&mut self) {
        self.all = true;
    }

    /// Something of the replica.
    pub(super) fn replica(&mut self, id: &ReplicaId) {
        if !self.ids.contains(id) {
            self.ids.insert(id.clone());
        }
    }

    /// Something of the unit.
    pub(super) fn unit(&mut self, unit: &UnitName) {
        if !self.units.contains(unit) {
            self.units.insert(unit.clone());
        }
    }
}

/// How things were in the last round.
#[derive(Clone, Debug, Default)]
pub(super) struct LastRound {
    circumstances: Option<Circumstances>,
    /// Whether files were being written.
    is_disk_busy: bool,
    /// Whether nothing was to be started yet.
    pub(super) is_newcomer: bool,
}

/// What every replica's decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
struct Circumstances {
    basis: Basis,
    is_held: bool,
    connection: Option<Connection>,
    synced: Option<u64>,
    /// What could not be read of the tree rests.
    rests: bool,
    has_taken_over: bool,
    /// Nobody else has shown for so long that nobody will.
    is_alone: bool,
    /// Generated files may be other than they were.
    doubted: bool,
}

impl State {
    /// Everything is to be decided again.
    #[cfg(test)]
    pub(crate) fn doubt_everything(&mut self) {
        self.changed.all();
        self.units_differ = true;
    }

    /// Something of the service's replicas has changed.
    pub(super) fn service_changed(&mut self, service: &ServiceName) {
        let ids: Vec<_> = self.ids().into_iter().filter(|id| id.service == *service).collect();
        for id in ids {
            self.changed.replica(&id);
        }
    }

    /// The replicas to be decided in this round; from now on, what changes counts for the next one, too.
    pub(super) fn take_due(&mut self, now: Instant) -> BTreeSet<ReplicaId> {
        for id in self.publisher.take_moved() {
            self.changed.replica(&id);
        }
        let circumstances = Some(self.circumstances(now));
        if self.last_round.circumstances != circumstances {
            self.last_round.circumstances = circumstances;
            self.changed.all();
        }
        let mut due = self.changed_ids();
        self.changed = Changed::default();
        let is_awake = |decision: &Decision| decision.wake_at.is_some_and(|at| at <= now);
        due.extend(self.decisions.iter().filter(|(_, decision)| is_awake(decision)).map(|(id, _)| id.clone()));
        due.extend(self.health.deferred.iter().cloned());
        if self.last_round.is_disk_busy != self.disk_busy {
            self.last_round.is_disk_busy = self.disk_busy;
            let waits = |decision: &Decision| matches!(decision.step, Some(Step::Prepare(_) | Step::Forget));
            due.extend(self.decisions.iter().filter(|(_, decision)| waits(decision)).map(|(id, _)| id.clone()));
        }
        due
    }

    /// The replicas of which something has changed.
    pub(super) fn changed_ids(&self) -> BTreeSet<ReplicaId> {
        if self.changed.all {
            return self.ids();
        }
        let by_unit = self.changed.units.iter().flat_map(|unit| self.by_unit.with(unit));
        self.changed.ids.iter().chain(by_unit).cloned().collect()
    }

    /// Every replica that anything is known of.
    fn ids(&self) -> BTreeSet<ReplicaId> {
        let known = self.ledger.ids().chain(self.work.ids());
        let own = self.decisions.keys().chain(self.memory.keys()).chain(self.statuses.keys());
        known.chain(own).cloned().collect()
    }

    /// The replica is wanted as this from now on, or not any more: what concerns it is known.
    pub(super) fn index(&mut self, id: &ReplicaId, target: Option<&Target>) {
        let record = self.ledger.replicas.get(id);
        let recorded = record.map(|record| &record.assignment.unit);
        let wanted = self.work.wanted().get(id).map(|assignment| &assignment.unit);
        let mut units: Vec<_> = target.map(Target::unit).into_iter().chain(recorded).chain(wanted).cloned().collect();
        units.sort();
        units.dedup();
        self.by_unit.set(id, units);
    }

    /// Adds those that share a unit with any of these, by whatever name, or did: which of them has it is decided for all at
    /// once.
    pub(super) fn add_sharers(&mut self, targets: &BTreeMap<ReplicaId, Target>, due: &mut BTreeSet<ReplicaId>) {
        let mut sharers = Vec::new();
        for id in due.iter() {
            let before = self.by_primary.of(id);
            sharers.extend(
                before.iter().flat_map(|name| self.by_primary.with(name)).filter(|other| *other != id).cloned(),
            );
            let primary = targets.get(id).map(|target| {
                let name = &self.unit(target.unit()).id;
                if name.is_empty() { target.unit().to_string() } else { name.clone() }
            });
            sharers.extend(
                primary.iter().flat_map(|name| self.by_primary.with(name)).filter(|other| *other != id).cloned(),
            );
            self.by_primary.set(id, primary.into_iter().collect());
        }
        due.extend(sharers);
    }

    fn circumstances(&self, now: Instant) -> Circumstances {
        Circumstances {
            basis: self.work.basis(),
            is_held: self.work.held_by().is_some(),
            connection: self.connection,
            synced: self.synced,
            rests: self.confirm_at.is_some_and(|at| now < at),
            has_taken_over: self.publisher.has_taken_over(),
            is_alone: self.known_since.is_some_and(|since| now >= since + self.policy.patience),
            doubted: self.foreign_changes.raised,
        }
    }
}
