//! Why a replica may not stay on its host, and whether it would be in another's way there.

use jiff::Timestamp;

use super::{
    classify::Replica,
    host::{Closed, HostIndex},
    placement::Placement,
    rollout::ActiveRollout,
    words::MustMove,
};
use crate::{
    model::{ReplicaId, ReplicaNumber, ServiceName},
    tree::snapshot::Doc,
};

impl<'a> Placement<'_, 'a> {
    /// Why the replica may not stay where it is. What cannot be known is no reason: labels of a host whose documents
    /// cannot be read, or whose agent is away.
    pub(super) fn must_move(
        &self,
        replica: &Replica<'a>,
        index: HostIndex,
        rollout: &ActiveRollout<'a>,
    ) -> Option<MustMove> {
        let why = self.must_move_unasked(replica, index, rollout);
        let is_for_the_host = matches!(why, Some(MustMove::Drains | MustMove::Constraint(_)));
        // A surge replica is there for a while only.
        let may_be_asked = !is_for_the_host && !replica.desired.surge && self.fleet.hosts[index].alive();
        if may_be_asked && self.is_asked_to_leave(replica.number(), index) { Some(MustMove::Asked) } else { why }
    }

    /// The same, whether or not an operator has asked that it leave.
    pub(super) fn must_move_unasked(
        &self,
        replica: &Replica<'a>,
        index: HostIndex,
        rollout: &ActiveRollout<'a>,
    ) -> Option<MustMove> {
        let host = &self.fleet.hosts[index];
        if host.closed == Some(Closed::Draining) {
            return Some(MustMove::Drains);
        }
        let labels_known = host.alive() && host.problems().is_empty();
        let constraint = labels_known.then(|| host.fails(&self.facts.force.spec.placement.constraints)).flatten();
        if let Some(selector) = constraint {
            return Some(MustMove::Constraint(selector.to_string()));
        }
        if self.conflicts.is_too_many(replica) {
            return Some(MustMove::Crowded);
        }
        let unit_taken = self.rival(replica, index).map(|service| MustMove::UnitTaken(service.clone()));
        let port_taken = || {
            let (port, holder) =
                rollout.may_update(replica.number()).then(|| self.next_port_holder(replica, index))??;
            Some(MustMove::PortTaken(port, holder.clone()))
        };
        unit_taken.or_else(port_taken)
    }

    /// Who has the port on the replica's host that it is to get with what is new. Who shares one already is not moved for it.
    fn next_port_holder(&self, replica: &Replica<'a>, host: HostIndex) -> Option<(u16, &ReplicaId)> {
        let port = self.placer.unit.port?;
        let has_another = replica.assignment.and_then(Doc::good).is_some_and(|now| now.template.port != Some(port));
        has_another.then(|| self.fleet.port_of_another(host, port, &replica.id))?.map(|holder| (port, holder))
    }

    fn rival(&self, replica: &Replica<'a>, host: HostIndex) -> Option<&ServiceName> {
        let unit_now = replica.assignment.and_then(Doc::good).map(|assignment| &assignment.unit);
        self.fleet.must_yield(host, self.placer.unit, &replica.id, unit_now)
    }

    /// Whether the replica, run as the service is described now, would share its unit with another on its host; or its port,
    /// which it gets when its turn has come.
    pub(super) fn clashes(&self, replica: &Replica<'a>, host: HostIndex, is_turn: bool) -> bool {
        self.clashes_by_unit(replica, host) || is_turn && self.next_port_holder(replica, host).is_some()
    }

    fn clashes_by_unit(&self, replica: &Replica<'a>, host: HostIndex) -> bool {
        let plain = !self.placer.unit.unit.is_template();
        let leaves_another = plain && replica.desired.removing && self.placer.occupancy.taken_on(host) > 1;
        let own =
            leaves_another || self.conflicts.is_too_many(replica) || self.conflicts.held_by_another(host, replica);
        let now = replica.assignment.and_then(Doc::good).map(|assignment| &assignment.unit);
        let comes_again = now != Some(&self.placer.unit.unit.for_replica(replica.number()));
        own || self.rival(replica, host).is_some()
            || comes_again && self.fleet.unit_alleged(host, self.placer.unit, &replica.id)
    }

    /// Whether an operator has asked that the replica leave the host.
    pub(super) fn is_asked_to_leave(&self, number: ReplicaNumber, host: HostIndex) -> bool {
        let moves = self.facts.view.moves.as_ref().and_then(Doc::good);
        moves.is_some_and(|moves| moves.leave.get(&number) == Some(self.fleet.hosts[host].name))
    }

    /// Whether the replica waits for its successor before it leaves its host. While a rollout is under way, what cannot be updated
    /// where it is does not: the rollout waits for it, and has surge replicas of its own.
    pub(super) fn waits_for_successor(&self, replica: &Replica<'a>, rollout: &ActiveRollout<'a>) -> bool {
        let leaves = |host| {
            let waits = match self.must_move(replica, host, rollout) {
                Some(MustMove::Asked) => !self.keeps_a_rollout_up(replica, host, rollout),
                Some(MustMove::Drains | MustMove::Constraint(_)) => {
                    self.facts.starts_first() && !self.keeps_a_rollout_up(replica, host, rollout)
                }
                Some(MustMove::Crowded | MustMove::UnitTaken(_)) => self.facts.starts_first() && !rollout.is_active(),
                Some(MustMove::PortTaken(..)) | None => false,
            };
            waits && !self.is_overdue(host)
        };
        self.facts.starts_first_when_asked()
            && !replica.desired.surge
            && replica.ready()
            && replica.host.is_some_and(leaves)
    }

    /// Whether the replica's turn has come to be updated, and it cannot be where it is.
    pub(super) fn keeps_a_rollout_up(
        &self,
        replica: &Replica<'a>,
        host: HostIndex,
        rollout: &ActiveRollout<'a>,
    ) -> bool {
        rollout.may_update(replica.number()) && self.clashes(replica, host, true)
    }

    /// Whether the replica can take the place of one that leaves, once it is ready: it may stay where it is.
    pub(super) fn may_succeed(&self, replica: &Replica<'a>, rollout: &ActiveRollout<'a>) -> bool {
        let stays = |host| self.must_move(replica, host, rollout).is_none();
        replica.desired.surge && !replica.desired.removing && replica.host.is_some_and(stays)
    }

    /// Whether the time has passed that the operator gave the host to be drained within the services' budgets.
    pub(super) fn is_overdue(&self, host: HostIndex) -> bool {
        self.deadline_of(host).is_some_and(|deadline| deadline <= self.facts.context.now)
    }

    /// Until when the operator gives the host to be drained within the services' budgets.
    pub(super) fn deadline_of(&self, host: HostIndex) -> Option<Timestamp> {
        let spec = self.fleet.hosts[host].view?.spec.as_ref()?.good()?;
        spec.drain_deadline.filter(|_| spec.drain)
    }
}
