//! Leaving a host without being missed, in order `start-first`: another replica is started elsewhere, and only once it
//! is ready, this one goes, and the other takes its place in the number wanted.
//!
//! A replica's number is on one host at a time, so the other has a number of its own. While it is on trial it is a surge
//! replica: should the reason to leave pass, it goes again, and nothing has happened to what serves.

use super::{
    classify::{Case, Found, known},
    nodes::Change,
    place::Ask,
    round::Round,
    status::ReplicaOutcome,
    transaction::Note,
};
use crate::model::{EventReason, ReplicaDesired, ReplicaId, ReplicaNumber, RolloutState};

impl<'a> Round<'_, 'a> {
    /// How many replicas are to be started first. While a rollout is under way, none is begun: it has its own.
    pub(super) fn count_successors(&mut self, found: &[Found<'a>]) {
        let enabled = self.facts.force.enabled() && !self.facts.force.spec.deleting;
        if !enabled || self.course.begins() || !self.facts.starts_first_when_asked() {
            return;
        }
        let leaving: Vec<&Case<'a>> = found
            .iter()
            .filter_map(known)
            .filter(|case| !case.desired.removing && self.places.waits_for_successor(case, &self.course))
            .collect();
        let Some(first) = leaving.first() else { return };
        let at_once = self.facts.force.spec.rollout.max_surge.ceil(self.facts.force.wanted()).max(1);
        let is_there = found.iter().filter_map(known).any(|case| self.places.may_succeed(case, &self.course));
        let waits = |case: &&Case<'a>| case.desired.surge && !case.desired.removing;
        // Without a place for it, another replica would serve nobody. Units of a template differ by the number: where that of
        // the one that is there is taken, the next one's may not be. Where that one has no place, it goes first.
        let fits = is_there
            || match found.iter().filter_map(known).find(waits) {
                Some(case) => self.places.fits_elsewhere(case, &self.course, &mut self.out),
                None => self.another_fits(first),
            };
        self.successors = if fits { leaving.len().min(at_once) } else { 0 };
    }

    /// Whether a host would take a replica with a number that nobody has yet, in place of this one.
    fn another_fits(&mut self, leaving: &Case<'a>) -> bool {
        let id = ReplicaId { service: self.facts.name.clone(), number: ReplicaNumber(u32::MAX) };
        let ask =
            Ask { id: &id, first: None, from: leaving.host, ahead: false, failed_on: &[], now: self.facts.context.now };
        self.places.placer.fits(self.places.fleet, &ask)
    }

    /// Puts successors that are ready in the place of those that wait for them.
    pub(super) fn replace(&mut self, found: &mut Vec<Found<'a>>) {
        if self.course.is_active() || self.course.begins() {
            return;
        }
        while self.out.builder.has_room() {
            let is_successor = |case: &Case<'a>| case.ready() && self.places.may_succeed(case, &self.course);
            let leaves =
                |case: &Case<'a>| !case.desired.removing && self.places.waits_for_successor(case, &self.course);
            let pair = (position(found, is_successor), position(found, leaves));
            let (Some(successor), Some(leaving)) = pair else { return };
            self.exchange(found, leaving, successor);
        }
    }

    /// In a rollout, what has to leave for what that brings, and fits nowhere else, gives way to a surge replica that is
    /// healthy with it: that one may have the last place there is.
    pub(super) fn give_way(&mut self, found: &mut Vec<Found<'a>>) {
        let under_way = self.course.is(RolloutState::Running) || self.course.is(RolloutState::RollingBack);
        if !under_way || self.course.begins() || !self.facts.force.enabled() {
            return;
        }
        while self.out.builder.has_room() {
            let is_healthy =
                |case: &Case<'a>| self.places.may_succeed(case, &self.course) && self.course.is_healthy(case.number());
            let Some(successor) = position(found, is_healthy) else { return };
            // What serves nobody goes first, and costs nothing.
            let mut cases: Vec<(usize, &Case<'a>)> =
                found.iter().enumerate().filter_map(|(index, it)| Some((index, known(it)?))).collect();
            cases.sort_by_key(|(_, case)| case.ready());
            let leaving = cases.into_iter().find(|(_, case)| self.has_no_place(case));
            let mut may_go = |case: &Case<'a>| !case.ready() || self.budget.take_leeway() || self.budget.take();
            let Some((leaving, case)) = leaving.filter(|(_, case)| may_go(case)) else { return };
            // Another serves in its place: nobody is disturbed any more because nobody hoped that this one would.
            self.budget.return_leeway_of(case);
            self.exchange(found, leaving, successor);
        }
    }

    /// Whether the replica cannot be brought to what the rollout brings where it is, nor anywhere else.
    fn has_no_place(&mut self, case: &Case<'a>) -> bool {
        let stays = case.desired.removing || case.desired.surge;
        let Some(host) = case.host.filter(|_| !stays) else { return false };
        self.places.keeps_a_rollout_up(case, host, &self.course)
            && self.course.is_held(self.places.placer.unit, case).is_none()
            && !self.places.fits_elsewhere(case, &self.course, &mut self.out)
    }

    fn exchange(&mut self, found: &mut Vec<Found<'a>>, leaving: usize, successor: usize) {
        let old = found.remove(leaving);
        let new = found.remove(successor - usize::from(successor > leaving));
        if let (Some(old), Some(new)) = (known(&old), known(&new)) {
            self.replace_by(old, new);
        }
        self.out.counts.retired();
        self.out.counts.count(ReplicaOutcome::Busy, &new, &self.course);
    }

    /// Both in one step: between the two there would be one too many, or one too few.
    fn replace_by(&mut self, old: &Case<'a>, new: &Case<'a>) {
        let Some(host) = old.host else { return };
        let name = self.places.fleet.hosts[host].name;
        let why = self
            .places
            .must_move(old, host, &self.course)
            .map_or("its unit there is in use by another".to_owned(), |why| why.to_string());
        let reason = format!("removed: {why}, and replica {} serves in its place", new.number().0);
        let mut ops = self.removal(old, host, &reason);
        let stays = ReplicaDesired { surge: false, ..new.desired.clone() };
        let (id, view, home) = (&new.id, new.view, new.host);
        ops.extend(self.places.ops(Change { id, view, from: home, home, desired: &stays, assignment: None }));
        self.out.push(ops, Note::of_replica(EventReason::Removing, old.number(), Some(name), reason), false);
    }
}

fn position<'a>(found: &[Found<'a>], wanted: impl Fn(&Case<'a>) -> bool) -> Option<usize> {
    found.iter().position(|it| known(it).is_some_and(&wanted))
}
