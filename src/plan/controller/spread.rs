//! Moves that would spread replicas more evenly: asked of the same functions that place them. Nothing moves by itself; an
//! operator asks for these, and they are carried out as a drain is, within every budget.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Context,
    classify::{Replica, ReplicaKind, classify, managed},
    fleet::Fleet,
    host::HostIndex,
    round::Round,
};
use crate::{
    model::{HostName, ReplicaId, ReplicaNumber, ServiceName},
    tree::snapshot::Cluster,
};

/// A replica that would better be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub id: ReplicaId,
    /// Where it is.
    pub from: HostName,
    /// Where the controller would put it now. It decides again when its turn comes.
    pub to: HostName,
    /// Why that is better.
    pub reason: String,
}

/// How crowded it is where a replica is, itself included: of its service in the domain and on the host, and of all on the
/// host. Less is better, in this order, as for placement.
type Crowd = (u32, u32, u32);

/// What was asked of a service's replicas before, as far as it is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// By replica, the host that it is to leave.
    pub leave: BTreeMap<ReplicaNumber, HostName>,
    /// Why nothing is asked of the service at present. What was asked before stays asked.
    pub left_alone: Option<&'static str>,
}

/// At most `most` moves of these services' replicas (of all, when none is named), the most useful of each first. What was
/// asked before is chosen again with all others. A service that does not run, or whose rollout is under way, has none.
pub fn spread(cluster: &Cluster, context: &Context, services: &BTreeSet<ServiceName>, most: usize) -> Vec<Move> {
    let mut moves = Vec::new();
    for_each_round(cluster, context, services, |mut round| moves.extend(round.moves(most - moves.len())));
    moves
}

/// What was asked before of these services (of all, when none is named): of each of which anything was.
pub fn pending_moves(
    cluster: &Cluster,
    context: &Context,
    services: &BTreeSet<ServiceName>,
) -> BTreeMap<ServiceName, Pending> {
    let mut pending = BTreeMap::new();
    for_each_round(cluster, context, services, |mut round| {
        if round.facts.view.moves.is_some() {
            pending.insert(round.facts.name.clone(), round.pending_moves());
        }
    });
    pending
}

fn for_each_round<'a>(
    cluster: &'a Cluster,
    context: &'a Context,
    services: &BTreeSet<ServiceName>,
    mut work: impl FnMut(Round<'_, 'a>),
) {
    let mut fleet = Fleet::new(cluster, context);
    let named = cluster.services.iter().filter(|(name, _)| services.is_empty() || services.contains(*name));
    for (name, view) in named {
        if let Ok(round) = Round::open(name, view, &mut fleet, context) {
            work(round);
        }
    }
}

impl<'a> Round<'_, 'a> {
    fn moves(&mut self, most: usize) -> Vec<Move> {
        let found = classify(self.facts.name, self.facts.view, self.places.fleet);
        self.observe(&found);
        if self.left_alone().is_some() {
            return Vec::new();
        }
        self.leave_successors_out(&found);
        let stays = |replica: &&Replica<'a>| {
            let fits = |host| {
                self.places.must_move_unasked(replica, host, &self.rollout).is_none()
                    && self.places.fleet.hosts[host].alive()
            };
            !replica.desired.removing && !replica.desired.surge && replica.host.is_some_and(fits)
        };
        let mut left: Vec<&Replica<'a>> = found.iter().filter_map(managed).filter(stays).collect();
        let mut moves = Vec::new();
        while moves.len() < most {
            let crowds: Vec<Crowd> =
                left.iter().map(|replica| self.crowd_at(replica.host.unwrap_or_default())).collect();
            // Of two that are as good, the one that was asked before may be on its way already.
            let key = |index: &usize| (crowds[*index], self.is_asked(left[*index]), left[*index].number());
            let Some(worst) = (0..left.len()).max_by_key(key) else { break };
            let replica = left.swap_remove(worst);
            moves.extend(self.better(replica, crowds[worst]));
        }
        moves
    }

    fn pending_moves(&mut self) -> Pending {
        let found = classify(self.facts.name, self.facts.view, self.places.fleet);
        self.observe(&found);
        let asked =
            found.iter().filter_map(managed).filter(|replica| !replica.desired.removing && self.is_asked(replica));
        let leave = asked.filter_map(|replica| Some((replica.number(), replica.desired.node.clone()?))).collect();
        Pending { leave, left_alone: self.left_alone() }
    }

    /// Why nothing is asked of the service at present.
    fn left_alone(&self) -> Option<&'static str> {
        if self.facts.force.spec.deleting {
            Some("the service is being deleted")
        } else if !self.facts.force.enabled() {
            Some("the service is not enabled")
        } else {
            let is_rolling = self.rollout.begins() || self.rollout.is_active();
            is_rolling.then_some("the service's rollout is under way")
        }
    }

    /// A replica that was started so that another can leave, as was asked, would be in its way when the move is chosen
    /// again: it is that move's own. Those that have to leave for another reason have the first of these.
    fn leave_successors_out(&mut self, found: &[ReplicaKind<'a>]) {
        let replicas = || found.iter().filter_map(managed).filter(|replica| !replica.desired.removing);
        let leaves = |replica: &&Replica<'a>| {
            !replica.desired.surge
                && replica
                    .host
                    .is_some_and(|host| self.places.must_move_unasked(replica, host, &self.rollout).is_some())
        };
        let others = if self.facts.starts_first() { replicas().filter(leaves).count() } else { 0 };
        for replica in replicas().filter(|replica| replica.desired.surge).skip(others) {
            if let Some(host) = replica.host {
                self.places.placer.occupancy.give_back(self.places.fleet, host);
                self.places.fleet.leave_out(host, &replica.id);
            }
        }
    }

    fn crowd_at(&mut self, host: HostIndex) -> Crowd {
        let (domain, here) = self.places.placer.occupancy.crowd(self.places.fleet, host);
        (domain, here, self.places.fleet.hosts[host].load)
    }

    /// A better host for the replica, on which it is from now on.
    fn better(&mut self, replica: &Replica<'a>, now: Crowd) -> Option<Move> {
        let from = replica.host?;
        let ask = self.rollout.ask(self.places.placer.unit, replica, true);
        let choice = self.places.placer.pick(self.places.fleet, &ask).ok()?;
        if self.crowd_at(choice.host) >= now {
            self.places.placer.unpick(self.places.fleet, &ask, &choice);
            return None;
        }
        let (from, to) =
            (self.places.fleet.hosts[from].name.clone(), self.places.fleet.hosts[choice.host].name.clone());
        let (_, here, all) = now;
        let reason = format!("{}; where it is: {here} of this service's replicas and {all} in total", choice.reason);
        Some(Move { id: replica.id.clone(), from, to, reason })
    }

    fn is_asked(&self, replica: &Replica<'a>) -> bool {
        replica.host.is_some_and(|host| self.places.is_asked_to_leave(replica.number(), host))
    }
}

#[cfg(test)]
mod tests;
