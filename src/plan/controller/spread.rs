//! Moves that would spread replicas more evenly: asked of the same functions that place them. Nothing moves by itself; an
//! operator asks for these, and they are carried out as a drain is, within every budget.

use std::collections::BTreeSet;

use super::{
    Cluster, Context, Doc,
    accept::in_force,
    classify::{Case, classify},
    fleet::{Fleet, HostIndex},
    notice::Notices,
    round::{Round, known},
};
use crate::model::{HostName, ReplicaId, ReplicaNumber, ServiceName};

/// A replica that would better be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub id: ReplicaId,
    /// Where it is.
    pub from: HostName,
    /// Where the controller would put it now. It decides anew when its turn comes.
    pub to: HostName,
    /// Why that is better.
    pub reason: String,
}

/// How crowded it is where a replica is, itself included: of its service in the domain and on the host, and of all on the
/// host. Less is better, in this order, as for placement.
type Crowd = (u32, u32, u32);

/// At most `most` moves of these services' replicas (of all, when none is named), the most useful of each first. A service
/// that does not run, or whose rollout is under way, has none.
pub fn spread(cluster: &Cluster, context: &Context, services: &BTreeSet<ServiceName>, most: usize) -> Vec<Move> {
    let mut fleet = Fleet::new(cluster, context);
    let mut moves = Vec::new();
    for (name, view) in &cluster.services {
        if !services.is_empty() && !services.contains(name) {
            continue;
        }
        let mut notices = Notices::default();
        let Some(force) = in_force(name, view, &mut notices) else { continue };
        let mut round = Round::new(name, view, force, &mut fleet, context, notices);
        moves.extend(round.moves(most - moves.len()));
    }
    moves
}

impl<'a> Round<'_, 'a> {
    fn moves(&mut self, most: usize) -> Vec<Move> {
        let found = classify(self.name, self.view, self.fleet);
        self.survey(&found);
        if !self.force.enabled() || self.force.spec.deleting || self.course.begins() || self.course.is_active() {
            return Vec::new();
        }
        let stays = |case: &&Case<'a>| {
            let fits = |host| self.unfit(case, host).is_none() && self.fleet.hosts[host].alive();
            !case.desired.removing && case.host.is_some_and(fits)
        };
        let mut left: Vec<&Case<'a>> = found.iter().filter_map(known).filter(stays).collect();
        let mut moves = Vec::new();
        while moves.len() < most {
            let crowds: Vec<Crowd> = left.iter().map(|case| self.crowd_at(case.host.unwrap_or_default())).collect();
            let worst = (0..left.len()).max_by_key(|index| (crowds[*index], left[*index].number()));
            let Some(worst) = worst else { break };
            let case = left.swap_remove(worst);
            moves.extend(self.better(case, crowds[worst]));
        }
        moves
    }

    fn crowd_at(&mut self, host: HostIndex) -> Crowd {
        let (domain, here) = self.placer.seats.crowd(self.fleet, host);
        (domain, here, self.fleet.hosts[host].load)
    }

    /// A better host for the replica, on which it is from now on.
    fn better(&mut self, case: &Case<'a>, now: Crowd) -> Option<Move> {
        let from = case.host?;
        let ask = self.ask(case, true);
        let choice = self.placer.pick(self.fleet, &ask).ok()?;
        if self.crowd_at(choice.host) >= now {
            self.placer.unpick(self.fleet, &ask, &choice);
            return None;
        }
        let (from, to) = (self.fleet.hosts[from].name.clone(), self.fleet.hosts[choice.host].name.clone());
        let (_, here, all) = now;
        let reason = format!("{}; where it is: {here} of this service and {all} in all", choice.reason);
        Some(Move { id: case.id.clone(), from, to, reason })
    }

    /// Whether an operator has asked that the replica leave the host.
    pub(super) fn is_asked_to_leave(&self, number: ReplicaNumber, host: HostIndex) -> bool {
        let moves = self.view.moves.as_ref().and_then(Doc::good);
        moves.is_some_and(|moves| moves.leave.get(&number) == Some(self.fleet.hosts[host].name))
    }
}
