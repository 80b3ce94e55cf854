//! Where one service's replicas are and may go: the hosts, who is on them, and what is reserved.

use std::collections::BTreeMap;

use super::{
    after,
    classify::{Replica, ReplicaKind, managed},
    conflicts::HostConflicts,
    facts::Facts,
    fleet::Fleet,
    host::{Host, HostIndex},
    no_feasible_host::NoFeasibleHost,
    output::Output,
    place::{Ask, Choice, Placer},
    rollout::ActiveRollout,
};
use crate::{
    model::{ReplicaId, ReplicaNumber},
    tree::{layout, snapshot::below},
};

/// One service's places.
pub(super) struct Placement<'p, 'a> {
    pub(super) facts: Facts<'a>,
    pub(super) fleet: &'p mut Fleet<'a>,
    pub(super) placer: Placer<'a>,
    pub(super) conflicts: HostConflicts,
    /// Places elsewhere for replicas that are draining on the host they leave.
    reserved: BTreeMap<ReplicaNumber, Choice>,
}

impl<'p, 'a> Placement<'p, 'a> {
    /// Nobody has a place yet: see [`seat_all`](Self::seat_all).
    pub(super) fn new(facts: Facts<'a>, fleet: &'p mut Fleet<'a>) -> Self {
        let placer = Placer::new(facts.force.spec);
        Self { facts, fleet, placer, conflicts: HostConflicts::default(), reserved: BTreeMap::new() }
    }

    /// Every placed replica has its seat, those on their way out too, and every index that is still there: their
    /// processes may be as well.
    pub(super) fn seat_all(&mut self, found: &[ReplicaKind<'a>]) {
        for replica in found.iter().filter_map(managed) {
            if let Some(host) = replica.host {
                self.placer.occupancy.seat(host, !replica.desired.removing);
            }
        }
        for &(_, host) in self.fleet.strays.get(self.facts.name).into_iter().flatten() {
            self.placer.occupancy.seat(host, false);
        }
    }

    /// Who has to leave because of others of the service. Those that are put on their way out are in nobody's way.
    pub(super) fn find_conflicts(&mut self, found: &[ReplicaKind<'a>]) {
        self.conflicts = HostConflicts::find(self.facts.force.spec, self.placer.unit, found, self.fleet);
    }

    /// Asks for a host for the replica to move to now, in place of a seat that was reserved.
    ///
    /// # Errors
    /// [`NoFeasibleHost`]: no host fits.
    pub(super) fn pick(
        &mut self,
        replica: &Replica<'a>,
        rollout: &ActiveRollout<'a>,
        out: &mut Output<'a>,
    ) -> Result<Choice, NoFeasibleHost> {
        self.cancel(replica, rollout);
        self.choose(replica, &rollout.ask(self.placer.unit, replica, false), out)
    }

    /// Reserves a seat elsewhere for a replica that is still where it is.
    ///
    /// # Errors
    /// [`NoFeasibleHost`]: no host fits.
    pub(super) fn reserve(
        &mut self,
        replica: &Replica<'a>,
        rollout: &ActiveRollout<'a>,
        out: &mut Output<'a>,
    ) -> Result<(), NoFeasibleHost> {
        let choice = self.choose(replica, &rollout.ask(self.placer.unit, replica, true), out)?;
        self.reserved.insert(replica.number(), choice);
        Ok(())
    }

    fn choose(
        &mut self,
        replica: &Replica<'a>,
        ask: &Ask<'_, 'a>,
        out: &mut Output<'a>,
    ) -> Result<Choice, NoFeasibleHost> {
        let choice = self.placer.pick(self.fleet, ask);
        if choice.is_err() {
            out.wake_after_cool_off(replica);
        }
        choice
    }

    /// Gives a reserved seat back.
    pub(super) fn cancel(&mut self, replica: &Replica<'a>, rollout: &ActiveRollout<'a>) {
        if let Some(choice) = self.reserved.remove(&replica.number()) {
            self.placer.unpick(self.fleet, &rollout.ask(self.placer.unit, replica, true), &choice);
        }
    }

    /// Whether another host would take the replica, as far as can be told before anything is decided.
    pub(super) fn fits_elsewhere(
        &mut self,
        replica: &Replica<'a>,
        rollout: &ActiveRollout<'a>,
        out: &mut Output<'a>,
    ) -> bool {
        self.fits(replica, &rollout.ask(self.placer.unit, replica, false), out)
    }

    /// The same of one whose turn to be brought to what all are brought to has not come, once it has.
    pub(super) fn will_fit_elsewhere(
        &mut self,
        replica: &Replica<'a>,
        rollout: &ActiveRollout<'a>,
        out: &mut Output<'a>,
    ) -> bool {
        self.fits(replica, &Ask { first: None, ..rollout.ask(self.placer.unit, replica, false) }, out)
    }

    fn fits(&mut self, replica: &Replica<'a>, ask: &Ask<'_, 'a>, out: &mut Output<'a>) -> bool {
        let fits = self.placer.fits(self.fleet, ask);
        if !fits {
            out.wake_after_cool_off(replica);
        }
        fits
    }

    /// Whether a replica's host is lost for longer than `lost_after`, or was shut down, and no other fits.
    pub(super) fn is_stranded(
        &mut self,
        replica: &Replica<'a>,
        rollout: &ActiveRollout<'a>,
        out: &mut Output<'a>,
    ) -> bool {
        let Some(since) = replica.host.and_then(|host| self.fleet.hosts[host].lost_since) else { return false };
        let deadline = after(since, self.facts.force.spec.lost_after);
        let over = self.facts.was_shut_down(replica) || deadline <= self.facts.context.now;
        over && self.fleet.hold.held.is_none() && !self.fits_elsewhere(replica, rollout, out)
    }

    /// A node below the replica's index on the host that is not zkops's own: ZooKeeper deletes no node with children.
    pub(super) fn foreign_node_below_index(&self, id: &ReplicaId, host: HostIndex) -> Option<&'a str> {
        let Host { name, view, .. } = self.fleet.hosts[host];
        view.and_then(|view| below(&view.others, &layout::assignment(name, id)).next())
    }
}
