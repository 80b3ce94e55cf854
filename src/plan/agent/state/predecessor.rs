//! What a predecessor, or this agent before it probed them, had in `instances` of the replicas of this host.

use std::{collections::BTreeMap, time::Instant};

use super::{State, placement::RETRY, targets::Target};
use crate::{
    model::{CheckedAssignment, ReplicaId, UnitStatus},
    plan::agent::{
        Basis,
        action::{Action, Listed},
    },
};

impl State {
    /// Whether this invocation of the replica's unit was ready before it was probed here: by this process, which listed
    /// it without a probe, or by a predecessor. `None` = that is not known yet.
    pub(super) fn was_ready(
        &mut self,
        id: &ReplicaId,
        assignment: &CheckedAssignment,
        unit: &UnitStatus,
        now: Instant,
    ) -> Option<bool> {
        if self.health.is_judged(id, &unit.invocation) || assignment.template.probes.readiness.is_none() {
            return Some(false);
        }
        self.listed(id, unit, now).map(|listed| listed == Listed::Now)
    }

    /// What there was of the replica in `instances` when this invocation was first seen. `None` = that is not known yet.
    pub(super) fn listed(&mut self, id: &ReplicaId, unit: &UnitStatus, now: Instant) -> Option<Listed> {
        let known = self.health.inherited.get(id).filter(|(invocation, _)| *invocation == unit.invocation);
        let known = known.map(|(_, listed)| *listed);
        if self.publisher.has_taken_over() {
            let own = Listed::by(self.publisher.instance(id).as_ref(), unit);
            return Some(known.flatten().map_or(own, |left| left.max(own)));
        }
        match known {
            Some(listed) => listed,
            None => self.ask_predecessor(id, unit, now),
        }
    }

    /// What a predecessor says of it in the tree; without a connection there is nothing that could stay listed.
    fn ask_predecessor(&mut self, id: &ReplicaId, unit: &UnitStatus, now: Instant) -> Option<Listed> {
        if self.confirmable().is_none() {
            return self.connection.is_none().then_some(Listed::No);
        }
        if self.confirm_at.is_some_and(|at| now < at) {
            return None;
        }
        self.health.inherited.insert(id.clone(), (unit.invocation.clone(), None));
        self.act(Action::ReadListed { id: id.clone(), unit: Box::new(unit.clone()) });
        None
    }

    /// Whether the replica is in `instances`, or may be: by this process, or by a predecessor until this one has registered.
    /// Its session has ended by the time that another machine would have shown.
    pub(super) fn is_in_instances(&self, id: &ReplicaId, target: &Target, now: Instant) -> bool {
        let undecided = self.work.basis() == Basis::Tree && !self.publisher.has_taken_over();
        let has_ended = self.known_since.is_some_and(|since| now >= since + self.policy.patience);
        match (target.is_gone(), self.delisted.get(id)) {
            (true, Some(done)) => !done,
            (true, None) => self.publisher.lists(id) || (undecided && !has_ended),
            (false, _) => self.publisher.lists(id) || undecided,
        }
    }

    /// Takes replicas that are no longer this host's out of `instances` one by one, while this host is not registered: it
    /// registers only once they are stopped, and they are stopped only once nobody finds them any more. A predecessor may
    /// have listed them, or a transaction of this process whose answer was lost.
    pub(super) fn delist(&mut self, targets: &BTreeMap<ReplicaId, Target>, now: Instant) {
        // What is under way is waited for, whatever has become of the replica.
        let is_gone = |id: &ReplicaId| targets.get(id).is_some_and(Target::is_gone);
        self.forget_delisted(|id, done| !done || is_gone(id));
        let Some(connection) = self.confirmable() else { return };
        if self.publisher.is_registered(connection.epoch) {
            self.forget_delisted(|_, done| !done);
            return;
        }
        if self.confirm_at.is_some_and(|at| now < at) || self.publisher.is_registering() {
            return;
        }
        for (id, target) in targets {
            if target.is_gone() && self.is_in_instances(id, target, now) && !self.delisted.contains_key(id) {
                self.changed.replica(id);
                self.delisted.insert(id.clone(), false);
                self.act(Action::Delist(id.clone()));
            }
        }
    }

    fn forget_delisted(&mut self, stays: impl Fn(&ReplicaId, bool) -> bool) {
        let changed = &mut self.changed;
        self.delisted.retain(|id, done| {
            let stays = stays(id, *done);
            if !stays {
                changed.replica(id);
            }
            stays
        });
    }

    pub(super) fn delisted(&mut self, id: &ReplicaId, done: bool, now: Instant) {
        self.changed.replica(id);
        if done {
            self.delisted.insert(id.clone(), true);
        } else {
            self.delisted.remove(id);
            self.confirm_at = Some(now + RETRY);
        }
    }

    /// Whether an entry of this host is being deleted: what is written meanwhile might be, too.
    pub(super) fn is_delisting(&self) -> bool {
        self.delisted.values().any(|done| !done)
    }

    pub(super) fn listed_read(&mut self, id: ReplicaId, invocation: String, listed: Option<Listed>, now: Instant) {
        self.changed.replica(&id);
        if listed.is_some() {
            self.health.inherited.insert(id, (invocation, listed));
        } else {
            self.health.inherited.remove(&id);
            self.confirm_at = Some(now + RETRY);
        }
    }
}
