//! Leaving a host without being missed, in order `start-first`: another replica is started elsewhere, and only once it
//! is ready, this one goes, and the other takes its place in the number wanted.
//!
//! A replica's number is on one host at a time, so the other has a number of its own. While it is on trial it is a surge
//! replica: should the reason to leave pass, it goes again, and nothing has happened to what serves.

use super::{
    classify::{Replica, ReplicaKind, managed},
    nodes::Change,
    place::Ask,
    round::Round,
    status::ReplicaOutcome,
    transaction::Note,
};
use crate::model::{EventReason, ReplicaDesired, ReplicaId, ReplicaNumber, RolloutState};

impl<'a> Round<'_, 'a> {
    /// How many replicas are to be started first. While a rollout is under way, none is begun: it has its own.
    pub(super) fn count_successors(&mut self, found: &[ReplicaKind<'a>]) {
        let enabled = self.facts.force.enabled() && !self.facts.force.spec.deleting;
        if !enabled || self.rollout.begins() || !self.facts.starts_first_when_asked() {
            return;
        }
        let leaving: Vec<&Replica<'a>> = found
            .iter()
            .filter_map(managed)
            .filter(|replica| !replica.desired.removing && self.places.waits_for_successor(replica, &self.rollout))
            .collect();
        let Some(first) = leaving.first() else { return };
        let at_once = self.facts.force.spec.rollout.max_surge.ceil(self.facts.force.wanted()).max(1);
        let is_there = found.iter().filter_map(managed).any(|replica| self.places.may_succeed(replica, &self.rollout));
        let waits = |replica: &&Replica<'a>| replica.desired.surge && !replica.desired.removing;
        // Without a place for it, another replica would serve nobody. Units of a template differ by the number: where that of
        // the one that is there is taken, the next one's may not be. Where that one has no place, it goes first.
        let fits = is_there
            || match found.iter().filter_map(managed).find(waits) {
                Some(replica) => self.places.fits_elsewhere(replica, &self.rollout, &mut self.out),
                None => self.another_fits(first),
            };
        self.successors = if fits { leaving.len().min(at_once) } else { 0 };
    }

    /// Whether a host would take a replica with a number that nobody has yet, in place of this one.
    fn another_fits(&mut self, leaving: &Replica<'a>) -> bool {
        let id = ReplicaId { service: self.facts.name.clone(), number: ReplicaNumber(u32::MAX) };
        let ask =
            Ask { id: &id, first: None, from: leaving.host, ahead: false, failed_on: &[], now: self.facts.context.now };
        self.places.placer.fits(self.places.fleet, &ask)
    }

    /// Puts successors that are ready in the place of those that wait for them.
    pub(super) fn replace(&mut self, found: &mut Vec<ReplicaKind<'a>>) {
        if self.rollout.is_active() || self.rollout.begins() {
            return;
        }
        while self.out.builder.has_room() {
            let is_successor =
                |replica: &Replica<'a>| replica.ready() && self.places.may_succeed(replica, &self.rollout);
            let leaves = |replica: &Replica<'a>| {
                !replica.desired.removing && self.places.waits_for_successor(replica, &self.rollout)
            };
            let pair = (position(found, is_successor), position(found, leaves));
            let (Some(successor), Some(leaving)) = pair else { return };
            self.exchange(found, leaving, successor);
        }
    }

    /// In a rollout, what has to leave for what that brings, and fits nowhere else, gives way to a surge replica that is
    /// healthy with it: that one may have the last place there is.
    pub(super) fn give_way(&mut self, found: &mut Vec<ReplicaKind<'a>>) {
        let under_way = self.rollout.is(RolloutState::Running) || self.rollout.is(RolloutState::RollingBack);
        if !under_way || self.rollout.begins() || !self.facts.force.enabled() {
            return;
        }
        while self.out.builder.has_room() {
            let is_healthy = |replica: &Replica<'a>| {
                self.places.may_succeed(replica, &self.rollout) && self.rollout.is_healthy(replica.number())
            };
            let Some(successor) = position(found, is_healthy) else { return };
            // What serves nobody goes first, and costs nothing.
            let mut replicas: Vec<(usize, &Replica<'a>)> =
                found.iter().enumerate().filter_map(|(index, it)| Some((index, managed(it)?))).collect();
            replicas.sort_by_key(|(_, replica)| replica.ready());
            let leaving = replicas.into_iter().find(|(_, replica)| self.has_no_place(replica));
            let mut may_go =
                |replica: &Replica<'a>| !replica.ready() || self.budget.take_leeway() || self.budget.take();
            let Some((leaving, replica)) = leaving.filter(|(_, replica)| may_go(replica)) else { return };
            // Another serves in its place: nobody is disturbed any more because nobody hoped that this one would.
            self.budget.return_leeway_of(replica);
            self.exchange(found, leaving, successor);
        }
    }

    /// Whether the replica cannot be brought to what the rollout brings where it is, nor anywhere else.
    fn has_no_place(&mut self, replica: &Replica<'a>) -> bool {
        let stays = replica.desired.removing || replica.desired.surge;
        let Some(host) = replica.host.filter(|_| !stays) else { return false };
        self.places.keeps_a_rollout_up(replica, host, &self.rollout)
            && self.rollout.is_held(self.places.placer.unit, replica).is_none()
            && !self.places.fits_elsewhere(replica, &self.rollout, &mut self.out)
    }

    fn exchange(&mut self, found: &mut Vec<ReplicaKind<'a>>, leaving: usize, successor: usize) {
        let old = found.remove(leaving);
        let new = found.remove(successor - usize::from(successor > leaving));
        if let (Some(old), Some(new)) = (managed(&old), managed(&new)) {
            self.replace_by(old, new);
        }
        self.out.counts.retired();
        self.out.counts.count(ReplicaOutcome::Busy, &new, &self.rollout);
    }

    /// Both in one step: between the two there would be one too many, or one too few.
    fn replace_by(&mut self, old: &Replica<'a>, new: &Replica<'a>) {
        let Some(host) = old.host else { return };
        let name = self.places.fleet.hosts[host].name;
        let why = self
            .places
            .must_move(old, host, &self.rollout)
            .map_or("its unit there is in use by another".to_owned(), |why| why.to_string());
        let reason = format!("removed: {why}, and replica {} serves in its place", new.number().0);
        let mut ops = self.removal(old, host, &reason);
        let stays = ReplicaDesired { surge: false, ..new.desired.clone() };
        let (id, view, home) = (&new.id, new.view, new.host);
        ops.extend(self.places.ops(Change { id, view, from: home, home, desired: &stays, assignment: None }));
        self.out.push(ops, Note::of_replica(EventReason::Removing, old.number(), Some(name), reason), false);
    }
}

fn position<'a>(found: &[ReplicaKind<'a>], wanted: impl Fn(&Replica<'a>) -> bool) -> Option<usize> {
    found.iter().position(|it| managed(it).is_some_and(&wanted))
}
