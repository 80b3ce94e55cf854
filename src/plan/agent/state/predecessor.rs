//! What a predecessor, or this agent before it probed them, had in `instances` of the replicas of this host.

use std::time::Instant;

use super::{State, placement::RETRY};
use crate::{
    model::{CheckedAssignment, ReplicaId, UnitStatus},
    plan::agent::action::{Action, Listed},
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
        if self.health.is_judged(id, &unit.invocation) || assignment.probes.readiness.is_none() {
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

    pub(super) fn listed_read(&mut self, id: ReplicaId, invocation: String, listed: Option<Listed>, now: Instant) {
        if listed.is_some() {
            self.health.inherited.insert(id, (invocation, listed));
        } else {
            self.health.inherited.remove(&id);
            self.confirm_at = Some(now + RETRY);
        }
    }
}
