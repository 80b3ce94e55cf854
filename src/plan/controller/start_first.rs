//! Leaving a host without being missed, in order `start-first`: another replica is started elsewhere, and only once it
//! is ready, this one goes, and the other takes its place in the number wanted.
//!
//! A replica's number is on one host at a time, so the other has a number of its own. While it is on trial it is a surge
//! replica: should the reason to leave pass, it goes again, and nothing has happened to what serves.

use super::{
    change::Change,
    classify::{Case, Found, known},
    draft::{Note, Step},
    host::HostIndex,
    place::Ask,
    round::{Round, is_idle},
    status::Standing,
    vacate::Unfit,
};
use crate::model::{MoveOrder, ReplicaDesired, ReplicaId, ReplicaNumber, RolloutState};

impl<'a> Round<'_, 'a> {
    /// Whether replicas of the service leave a host in this order: it says so, or no ready one may ever be missing.
    pub(super) fn starts_first(&self) -> bool {
        let (max_unavailable, _) = self.force.spec.budget(self.force.wanted());
        self.force.spec.placement.move_order == MoveOrder::StartFirst || max_unavailable == 0
    }

    /// The same of those that an operator asks to leave, which nothing forces out: also where a rollout may start others beside
    /// those wanted.
    pub(super) fn starts_first_when_asked(&self) -> bool {
        let (_, max_surge) = self.force.spec.budget(self.force.wanted());
        self.view.moves.is_some() && max_surge > 0 || self.starts_first()
    }

    /// Whether the replica waits for its successor before it leaves its host. While a rollout is under way, what can't be updated
    /// where it is does not: the rollout waits for it, and has surge replicas of its own.
    pub(super) fn waits_for_successor(&self, case: &Case<'a>) -> bool {
        let leaves = |host| {
            let waits = match self.unfit(case, host) {
                Some(Unfit::Asked) => !self.keeps_a_rollout_up(case, host),
                Some(Unfit::Drains | Unfit::Constraint(_)) => {
                    self.starts_first() && !self.keeps_a_rollout_up(case, host)
                }
                Some(Unfit::Crowded | Unfit::UnitTaken(_)) => self.starts_first() && !self.course.is_active(),
                Some(Unfit::PortTaken(..)) | None => false,
            };
            waits && !self.is_overdue(host)
        };
        self.starts_first_when_asked() && !case.desired.surge && case.ready() && case.host.is_some_and(leaves)
    }

    /// Whether the replica's turn has come to be updated, and it can't be where it is.
    pub(super) fn keeps_a_rollout_up(&self, case: &Case<'a>, host: HostIndex) -> bool {
        self.course.may_update(case.number()) && self.clashes(case, host)
    }

    /// How many replicas are to be started first. While a rollout is under way, none is begun: it has its own.
    pub(super) fn count_successors(&mut self, found: &[Found<'a>]) {
        let enabled = self.force.enabled() && !self.force.spec.deleting;
        if !enabled || self.course.begins() || !self.starts_first_when_asked() {
            return;
        }
        let leaving: Vec<&Case<'a>> = found
            .iter()
            .filter_map(known)
            .filter(|case| !case.desired.removing && self.waits_for_successor(case))
            .collect();
        let Some(first) = leaving.first() else { return };
        let at_once = self.force.spec.rollout.max_surge.ceil(self.force.wanted()).max(1);
        let is_there = found.iter().filter_map(known).any(|case| self.may_succeed(case));
        let waits = |case: &&Case<'a>| case.desired.surge && !case.desired.removing;
        // Without a place for it, another replica would serve nobody. Units of a template differ by the number: where that of
        // the one that is there is taken, the next one's may not be. Where that one has no place, it goes first.
        let fits = is_there
            || match found.iter().filter_map(known).find(waits) {
                Some(case) => self.fits_elsewhere(case),
                None => self.another_fits(first),
            };
        self.successors = if fits { leaving.len().min(at_once) } else { 0 };
    }

    /// Whether a host would take a replica with a number that nobody has yet, in place of this one.
    fn another_fits(&mut self, leaving: &Case<'a>) -> bool {
        let id = ReplicaId { service: self.name.clone(), number: ReplicaNumber(u32::MAX) };
        let ask = Ask { id: &id, first: None, from: leaving.host, ahead: false, failed_on: &[], now: self.context.now };
        self.placer.fits(self.fleet, &ask)
    }

    /// Whether the replica can take the place of one that leaves, once it is ready: it may stay where it is.
    fn may_succeed(&self, case: &Case<'a>) -> bool {
        let stays = |host| self.unfit(case, host).is_none();
        case.desired.surge && !case.desired.removing && case.host.is_some_and(stays)
    }

    /// Puts successors that are ready in the place of those that wait for them.
    pub(super) fn replace(&mut self, found: &mut Vec<Found<'a>>) {
        if self.course.is_active() || self.course.begins() {
            return;
        }
        while self.draft.has_room() {
            let is_successor = |case: &Case<'a>| case.ready() && self.may_succeed(case);
            let leaves = |case: &Case<'a>| !case.desired.removing && self.waits_for_successor(case);
            let pair = (position(found, is_successor), position(found, leaves));
            let (Some(successor), Some(leaving)) = pair else { return };
            self.exchange(found, leaving, successor);
        }
    }

    /// In a rollout, what has to leave for what that brings, and fits nowhere else, gives way to a surge replica that is
    /// healthy with it: that one may have the last place there is.
    pub(super) fn give_way(&mut self, found: &mut Vec<Found<'a>>) {
        let under_way = self.course.is(RolloutState::Running) || self.course.is(RolloutState::RollingBack);
        if !under_way || self.course.begins() || !self.force.enabled() {
            return;
        }
        while self.draft.has_room() {
            let is_healthy = |case: &Case<'a>| self.may_succeed(case) && self.course.is_healthy(case.number());
            let Some(successor) = position(found, is_healthy) else { return };
            // What serves nobody goes first, and costs nothing.
            let mut cases: Vec<(usize, &Case<'a>)> =
                found.iter().enumerate().filter_map(|(index, it)| Some((index, known(it)?))).collect();
            cases.sort_by_key(|(_, case)| case.ready());
            let leaving = cases.into_iter().find(|(_, case)| self.has_no_place(case));
            let mut may_go = |case: &Case<'a>| !case.ready() || self.take_leeway() || self.take_budget();
            let Some((leaving, case)) = leaving.filter(|(_, case)| may_go(case)) else { return };
            // Another serves in its place: nobody is disturbed any more because nobody hoped that this one would.
            self.leeway = self.leeway.saturating_sub(usize::from(is_idle(case)));
            self.exchange(found, leaving, successor);
        }
    }

    /// Whether the replica can't be brought to what the rollout brings where it is, nor anywhere else.
    fn has_no_place(&mut self, case: &Case<'a>) -> bool {
        let stays = case.desired.removing || case.desired.surge;
        let Some(host) = case.host.filter(|_| !stays) else { return false };
        self.keeps_a_rollout_up(case, host) && self.is_held(case).is_none() && !self.fits_elsewhere(case)
    }

    fn exchange(&mut self, found: &mut Vec<Found<'a>>, leaving: usize, successor: usize) {
        let old = found.remove(leaving);
        let new = found.remove(successor - usize::from(successor > leaving));
        if let (Some(old), Some(new)) = (known(&old), known(&new)) {
            self.replace_by(old, new);
        }
        self.tally.retired();
        self.tally.count(Standing::Busy, &new, &self.course);
    }

    /// Both in one step: between the two there would be one too many, or one too few.
    fn replace_by(&mut self, old: &Case<'a>, new: &Case<'a>) {
        let Some(host) = old.host else { return };
        let name = self.fleet.hosts[host].name;
        let why = self.unfit(old, host).map_or("its unit there is another's".to_owned(), |why| why.to_string());
        let reason = format!("removed: {why}, and replica {} serves in its place", new.number().0);
        let mut ops = self.removal(old, host, &reason);
        let stays = ReplicaDesired { surge: false, ..new.desired.clone() };
        let (id, view, home) = (&new.id, new.view, new.host);
        ops.extend(self.ops(Change { id, view, from: home, home, desired: &stays, assignment: None }));
        self.draft.push(Step { ops, event: Note::new(Some(old.number()), Some(name), reason), urgent: false });
    }
}

fn position<'a>(found: &[Found<'a>], wanted: impl Fn(&Case<'a>) -> bool) -> Option<usize> {
    found.iter().position(|it| known(it).is_some_and(&wanted))
}
