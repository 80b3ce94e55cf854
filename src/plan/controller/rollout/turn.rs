//! Who is next.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{ActiveRollout, Goal};
use crate::{
    model::{PauseCause, ReplicaNumber, Rollout, RolloutPolicy, RolloutState},
    plan::controller::{
        budget::Budget,
        classify::{Replica, ReplicaKind, managed},
        output::Output,
        placement::Placement,
    },
};

/// How many replicas are to be updated when batch `batch` is done, all batches before it included. The canary is the
/// first batch; the last size given repeats. `surge` of the canary's were surge replicas, which are not among those wanted.
fn batch_end(policy: &RolloutPolicy, batch: u32, wanted: usize, surge: usize) -> usize {
    let canary = Some(policy.canary.ceil(wanted)).filter(|size| *size > 0);
    let sizes = canary.into_iter().chain(policy.batches.iter().map(|size| size.ceil(wanted).max(1)));
    let rest = policy.batches.last().map_or(wanted, |size| size.ceil(wanted).max(1));
    let mut end: usize = 0;
    for size in sizes.chain(std::iter::repeat(rest)).take(usize::try_from(batch).unwrap_or(usize::MAX) + 1) {
        end = end.saturating_add(size);
        if end.saturating_sub(surge) >= wanted {
            return wanted;
        }
    }
    end.saturating_sub(surge)
}

impl<'a> ActiveRollout<'a> {
    /// Chooses who may be updated in this round. Needs the budget: a rollback takes the highest numbers that it allows. Those that
    /// are `blocked` come last: others would wait for them in vain.
    pub(in crate::plan::controller) fn choose_turn(
        &mut self,
        found: &[ReplicaKind<'a>],
        blocked: &BTreeSet<ReplicaNumber>,
        budget: Budget,
    ) {
        let Some(goal) = self.goal() else { return };
        let left = self.exposure_left();
        self.exposure_left = left;
        let outdated: Vec<&Replica<'a>> = outdated(goal, found).collect();
        if outdated.is_empty() {
            self.fresh_left = if self.is(RolloutState::Running) { self.batch_left() } else { 0 };
            return;
        }
        // Their turn may have come, and they keep nobody else from being exposed.
        let untouchable =
            outdated.iter().filter(|replica| budget.is_spent() && replica.ready()).map(|replica| replica.number());
        let untouchable: BTreeSet<ReplicaNumber> = untouchable.collect();
        let turn: BTreeSet<ReplicaNumber> = if self.facts.force.enabled() {
            match self.record().map(|record| record.state) {
                Some(RolloutState::Paused) | None => BTreeSet::new(),
                Some(RolloutState::Running) => self.turn_forward(outdated, blocked, budget),
                Some(_) => Self::turn_back(outdated, blocked, budget),
            }
        } else {
            self.turn_while_off(outdated)
        };
        self.exposure_left = left.map(|left| left.saturating_sub(turn.difference(&untouchable).count()));
        self.turn = turn;
    }

    /// Those that cannot be brought to the goal where they are, nor anywhere else.
    pub(in crate::plan::controller) fn blocked(
        &self,
        found: &[ReplicaKind<'a>],
        places: &mut Placement<'_, 'a>,
        out: &mut Output<'a>,
    ) -> BTreeSet<ReplicaNumber> {
        let moves = self.facts.force.enabled() && !self.is(RolloutState::Paused);
        let Some(goal) = self.goal().filter(|_| moves) else { return BTreeSet::new() };
        let clash = |replica: &&Replica<'a>| replica.host.is_some_and(|host| places.clashes(replica, host, true));
        let mut blocked: Vec<&Replica<'a>> = outdated(goal, found).filter(clash).collect();
        blocked.retain(|replica| !places.will_fit_elsewhere(replica, self, out));
        blocked.into_iter().map(Replica::number).collect()
    }

    /// See [`ActiveRollout::may_expose`](super::ActiveRollout::may_expose).
    fn exposure_left(&self) -> Option<usize> {
        let record = self.record().filter(|record| record.from.is_some() && !record.back)?;
        if record.state == RolloutState::Paused && record.pause != Some(PauseCause::Disabled) {
            return Some(0);
        }
        self.is_on_canary().then(|| self.batch_end().saturating_sub(self.progress.exposed))
    }

    /// Nothing runs that could be disturbed. What bounds the rollout does so all the same: to switch a service off and on
    /// again promotes nothing.
    fn turn_while_off(&self, mut outdated: Vec<&Replica<'a>>) -> BTreeSet<ReplicaNumber> {
        let left = match self.record().map(|record| (record.state, record.pause)) {
            Some((RolloutState::Running, _) | (RolloutState::Paused, Some(PauseCause::Disabled))) => self.batch_left(),
            Some((RolloutState::Paused, _)) => 0,
            _ => outdated.len(),
        };
        let canary = self.is_on_canary();
        outdated.retain(|replica| !canary || replica.host.is_some());
        outdated.sort_by_key(|replica| (replica.host.is_none(), replica.number()));
        outdated.into_iter().take(left).map(Replica::number).collect()
    }

    /// Whether the rollout has reached no more replicas than its canary, which has not been promoted. Surge replicas are
    /// part of it.
    pub(super) fn is_on_canary(&self) -> bool {
        let policy = &self.facts.force.spec.rollout;
        let record = self.record().filter(|_| self.follows() && !policy.canary.is_zero());
        let on_trial = |record: &Rollout| !record.state.has_ended() && !record.promoted && !record.back;
        self.facts.force.wanted() > 0 && record.is_some_and(|record| record.batch == 0 && on_trial(record))
    }

    /// Whether the replica runs what nobody may rely on: a canary's content before its promotion, or what was given up.
    pub(in crate::plan::controller) fn is_unproven(&self, replica: &Replica<'a>) -> bool {
        (self.goes_back() || self.is_on_canary()) && self.is_newest(replica) && self.stable.is_some()
    }

    /// How many more replicas the present batch has.
    fn batch_left(&self) -> usize {
        let progress = &self.progress;
        let there = if self.is_on_canary() { progress.exposed } else { progress.at_goal };
        self.batch_end().saturating_sub(there)
    }

    /// Those that serve nobody first, then surge replicas, then by number, and last those that are nowhere; so many that no
    /// more are on their way than the budget has. Where none that serves may be touched, those that are nowhere may fit as
    /// what is new, and serve.
    fn turn_forward(
        &self,
        mut outdated: Vec<&Replica<'a>>,
        blocked: &BTreeSet<ReplicaNumber>,
        budget: Budget,
    ) -> BTreeSet<ReplicaNumber> {
        let progress = &self.progress;
        if self.surge_wanted(0) > progress.surge || progress.fresh > 0 {
            return BTreeSet::new();
        }
        let wanted = self.facts.force.wanted();
        let (max_unavailable, _) = self.facts.force.spec.budget(wanted);
        let room = max_unavailable.max(1).saturating_sub(progress.in_flight.len());
        let canary = self.is_on_canary();
        // What is on no host, or on a lost one, shows nothing.
        outdated.retain(|replica| !canary || replica.host.is_some() && replica.host_alive);
        let spent = budget.is_spent();
        outdated.sort_by_key(|replica| {
            let blocked = blocked.contains(&replica.number());
            let serves = (replica.ready(), !replica.desired.surge);
            (spent && replica.ready(), blocked, replica.host.is_none(), serves, replica.number())
        });
        let mut left = self.batch_left();
        outdated.retain(|replica| {
            let counts = canary || !replica.desired.surge;
            let goes = !counts || left > 0;
            left = left.saturating_sub(usize::from(counts));
            goes
        });
        outdated.into_iter().take(room).map(Replica::number).collect()
    }

    /// How many replicas are to be updated when the present batch is done. What is the first of its kind is not rolled
    /// out in batches: there is nothing that served before. While on the canary, surge replicas count; what comes after it is
    /// no larger for the canary having been one.
    pub(super) fn batch_end(&self) -> usize {
        let (policy, wanted) = (&self.facts.force.spec.rollout, self.facts.force.wanted());
        let batch = self.record().filter(|_| self.stable.is_some()).map(|record| record.batch);
        let canary = if self.is_on_canary() { 0 } else { policy.canary.ceil(wanted) };
        batch.map_or(wanted, |batch| batch_end(policy, batch, wanted, canary.min(self.progress.surge_at_goal)))
    }

    /// Those that serve nobody at once, of the others the highest numbers first.
    fn turn_back(
        outdated: Vec<&Replica<'a>>,
        blocked: &BTreeSet<ReplicaNumber>,
        budget: Budget,
    ) -> BTreeSet<ReplicaNumber> {
        let (mut ready, unready): (Vec<_>, Vec<_>) = outdated.into_iter().partition(|replica| replica.ready());
        ready.sort_by_key(|replica| (blocked.contains(&replica.number()), Reverse(replica.number())));
        unready.into_iter().chain(ready.into_iter().take(budget.of_way_back())).map(Replica::number).collect()
    }

    /// How many replicas there are to be beyond those wanted: for the rollout, or, without one, `successors` so that others can
    /// leave their host.
    pub(in crate::plan::controller) fn surge_wanted(&self, successors: usize) -> usize {
        if !self.facts.force.enabled() || self.facts.force.spec.deleting || self.facts.force.wanted() == 0 {
            return 0;
        }
        let there = self.progress.surge;
        if self.begins() {
            // They serve in place of others that the next rollout finds as this one leaves them.
            return there;
        }
        // Of a record that cannot be read, it is not known whether it has ended.
        let Some(record) = self.record() else { return there };
        if record.state.has_ended() {
            return successors;
        }
        let wanted = self.facts.force.wanted();
        let (max_unavailable, surge) = self.facts.force.spec.budget(wanted);
        // What serves by a rollout that was superseded before its end may not be missing either.
        let has_served = self.stable.is_some() || max_unavailable == 0;
        let forward = record.state == RolloutState::Running && !record.back && has_served;
        // Where none may be missing, there is no other way back, either.
        let backward = record.state == RolloutState::RollingBack && max_unavailable == 0 && self.stable.is_some();
        let outdated = self.progress.regular.saturating_sub(self.progress.at_goal);
        if !(forward || backward) || outdated == 0 {
            return there;
        }
        if self.is_on_canary() {
            // One that no host fits is no canary, and must not become one beside another.
            let placed = there - self.progress.surge_unplaced;
            let left = self.batch_end().saturating_sub(self.progress.exposed);
            return surge.min(placed + left).max(placed);
        }
        surge.min(wanted).max(there)
    }
}

/// Those that do not run what `goal` brought yet.
fn outdated<'f, 'a>(goal: Goal<'a>, found: &'f [ReplicaKind<'a>]) -> impl Iterator<Item = &'f Replica<'a>> {
    let wanted = found.iter().filter_map(managed).filter(|replica| !replica.desired.removing);
    wanted.filter(move |replica| !goal.is_of(replica))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Amount;

    fn ends(canary: Amount, batches: &[Amount], wanted: usize) -> Vec<usize> {
        let policy = RolloutPolicy { canary, batches: batches.to_vec(), ..RolloutPolicy::default() };
        (0..6).map(|batch| batch_end(&policy, batch, wanted, 0)).collect()
    }

    #[test]
    fn batches_grow_and_the_last_repeats() {
        let batches = [Amount::Count(1), Amount::Percent(10), Amount::Percent(50)];
        assert_eq!(ends(Amount::ZERO, &batches, 20), [1, 3, 13, 20, 20, 20]);
        assert_eq!(ends(Amount::ZERO, &[], 4), [4, 4, 4, 4, 4, 4]);
        assert_eq!(ends(Amount::Count(1), &[], 4), [1, 4, 4, 4, 4, 4]);
        assert_eq!(ends(Amount::Percent(10), &[Amount::Count(1)], 4), [1, 2, 3, 4, 4, 4]);
        assert_eq!(ends(Amount::Count(9), &[], 4), [4, 4, 4, 4, 4, 4]);
        assert_eq!(ends(Amount::ZERO, &[Amount::Count(1)], 0), [0, 0, 0, 0, 0, 0]);
    }
}
