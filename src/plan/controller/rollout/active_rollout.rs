//! What replicas are brought to: the newest rollout while it is planned, and what may be done for it in this round.

use std::collections::BTreeSet;

use super::progress::RolloutProgress;
use crate::{
    model::{EventReason, PauseCause, ReplicaNumber, Revision, Rollout, RolloutState, Span},
    plan::controller::{classify::Replica, facts::Facts},
    tree::snapshot::{Doc, ServiceView},
};

/// The most replicas whose time to get healthy is kept: a record has to stay small enough to be read. Of the others, the
/// progress is minded.
const MOST_UPDATING: usize = 2000;

/// What a replica is to run: what rollout `number` brought.
#[derive(Clone, Copy)]
pub(in crate::plan::controller) struct Goal<'a> {
    pub(in crate::plan::controller) number: u64,
    pub(in crate::plan::controller) revision: &'a Revision,
}

impl Goal<'_> {
    /// Whether the replica's documents say this. An index that is missing says nothing; of a replica that is nowhere, the
    /// rollout does that brought what it is to run.
    pub(in crate::plan::controller) fn is_of(&self, replica: &Replica<'_>) -> bool {
        if let Some((_, known)) = replica.compared.get().filter(|(number, _)| *number == self.number) {
            return known;
        }
        let Revision { version, config_version, .. } = self.revision;
        let other = replica.host.is_none() && replica.desired.rollout.is_some_and(|number| number != self.number);
        let versions =
            !other && replica.desired.version == *version && replica.desired.config_version == *config_version;
        let is = versions && replica.runs_by(self.revision);
        replica.compared.set(Some((self.number, is)));
        is
    }
}

/// The newest rollout while it is planned.
pub(in crate::plan::controller) struct ActiveRollout<'a> {
    pub(in crate::plan::controller) facts: Facts<'a>,
    /// The number of the newest, and its record as it is in the tree.
    pub(super) before: Option<(u64, &'a Rollout)>,
    /// As it is to be, once that differs.
    pub(super) after: Option<Box<Rollout>>,
    /// What a rollback returns to.
    pub(super) stable: Option<Goal<'a>>,
    /// The rollout that is to begin.
    pub(super) next: Option<Box<Rollout>>,
    /// The replicas that may be updated now, should the budget allow.
    pub(super) turn: BTreeSet<ReplicaNumber>,
    /// While it is on its canary or paused: how many more replicas may be put on a host with what is new, those whose turn it
    /// is left out.
    pub(super) exposure_left: Option<usize>,
    /// How many new replicas may be brought to the goal at once: nobody runs what was before.
    pub(super) fresh_left: usize,
    /// Replicas that failed on the only host on which what is new was seen to fail: another host is tried first.
    pub(super) spared: BTreeSet<ReplicaNumber>,
    /// How far the replicas are.
    pub(in crate::plan::controller) progress: RolloutProgress,
    /// A person has just resumed it after a failure: what was rejected is asked for once more.
    pub(in crate::plan::controller) tries_again: bool,
    /// What is said of it in the service's events.
    pub(super) said: Vec<(EventReason, String)>,
}

impl<'a> ActiveRollout<'a> {
    pub(in crate::plan::controller) fn new(facts: Facts<'a>) -> Self {
        let before = facts.view.rollouts.iter().next_back();
        let before = before.and_then(|(&number, doc)| Some((number, doc.good()?)));
        Self {
            facts,
            before,
            after: None,
            stable: before.and_then(|(_, newest)| goal_of(facts.view, newest.from?)),
            next: None,
            turn: BTreeSet::new(),
            exposure_left: None,
            fresh_left: 0,
            spared: BTreeSet::new(),
            progress: RolloutProgress::default(),
            tries_again: false,
            said: Vec::new(),
        }
    }

    /// Whether something was healthy before what the newest rollout brings: that is on trial.
    pub(in crate::plan::controller) fn follows(&self) -> bool {
        self.record().is_some_and(|record| record.from.is_some())
    }

    /// Whether nobody knows any more what that was: its record is gone, or cannot be read.
    pub(in crate::plan::controller) fn is_lost(&self) -> bool {
        self.follows() && self.stable.is_none()
    }

    /// Whether another rollout begins in this round.
    pub(in crate::plan::controller) fn begins(&self) -> bool {
        self.next.is_some()
    }

    /// The newest rollout, as it is to be.
    pub(in crate::plan::controller) fn record(&self) -> Option<&Rollout> {
        self.after.as_deref().or(self.before.map(|(_, record)| record))
    }

    pub(in crate::plan::controller) fn number(&self) -> Option<u64> {
        self.before.map(|(number, _)| number)
    }

    /// The record, to be changed. Only while there is one.
    pub(super) fn edit(&mut self) -> Option<&mut Rollout> {
        let (_, before) = self.before?;
        Some(self.after.get_or_insert_with(|| Box::new(before.clone())))
    }

    /// What the newest rollout brings.
    pub(super) fn newest(&self) -> Option<Goal<'a>> {
        self.before.map(|(number, record)| Goal { number, revision: &record.revision })
    }

    /// What the replicas are brought to. `None`: nothing is known that could be.
    pub(in crate::plan::controller) fn goal(&self) -> Option<Goal<'a>> {
        if self.record()?.back { self.stable } else { self.newest() }
    }

    /// What a replica that is added gets: what is known to be good, as long as it is not known of what is new. `None` also when
    /// nobody knows any more what that is.
    pub(in crate::plan::controller) fn goal_of_new(&self, surge: bool) -> Option<Goal<'a>> {
        let proven = self.record()?.state == RolloutState::Completed;
        if surge || proven {
            return self.goal();
        }
        self.stable.or(self.goal().filter(|_| !self.is_lost()))
    }

    /// The same of one that is placed for the first time. Where nobody runs what was before, it need not be started once
    /// more, as far as the present batch goes.
    pub(in crate::plan::controller) fn goal_of_fresh(&mut self, surge: bool) -> Option<Goal<'a>> {
        match self.fresh_left.checked_sub(1).filter(|_| !surge) {
            Some(left) => {
                self.fresh_left = left;
                self.goal()
            }
            None => self.goal_of_new(surge),
        }
    }

    /// Whether the replicas are being brought back to what was healthy before, or wait on the way.
    pub(in crate::plan::controller) fn is_going_back(&self) -> bool {
        self.record().is_some_and(|record| record.back && !record.state.has_ended())
    }

    /// Whether something is still to happen in it.
    pub(in crate::plan::controller) fn is_active(&self) -> bool {
        self.record().is_some_and(|record| !record.state.has_ended())
    }

    pub(in crate::plan::controller) fn is(&self, state: RolloutState) -> bool {
        self.record().is_some_and(|record| record.state == state)
    }

    pub(super) fn goes_back(&self) -> bool {
        self.record().is_some_and(|record| record.back)
    }

    pub(super) fn is_paused_for(&self, cause: PauseCause) -> bool {
        let paused = self.record().filter(|record| record.state == RolloutState::Paused);
        paused.is_some_and(|record| record.pause == Some(cause))
    }

    /// How long a replica must stay ready to count as healthy. What was healthy before need not show it again.
    pub(in crate::plan::controller) fn min_healthy_time(&self) -> Span {
        if self.goes_back() { Span::ZERO } else { self.facts.force.spec.rollout.min_healthy_time }
    }

    /// Whether the replica runs what is wanted of the service.
    pub(in crate::plan::controller) fn is_newest(&self, replica: &Replica<'a>) -> bool {
        self.newest().is_some_and(|newest| newest.is_of(replica))
    }

    /// Whether a replica that is nowhere may be put on a host with what `goal` brought: a pause and a canary bound that.
    pub(in crate::plan::controller) fn may_expose(&self, goal: Goal<'_>) -> bool {
        self.exposure_left != Some(0) || Some(goal.number) != self.number()
    }

    /// A replica that was nowhere has been put on a host with what `goal` brought.
    pub(in crate::plan::controller) fn exposes(&mut self, goal: Goal<'_>) {
        if Some(goal.number) == self.number() {
            self.exposure_left = self.exposure_left.map(|left| left.saturating_sub(1));
        }
    }

    /// Whether the replica is healthy with what the replicas are brought to.
    pub(in crate::plan::controller) fn is_healthy(&self, number: ReplicaNumber) -> bool {
        self.progress.healthy_numbers.contains(&number)
    }

    /// Whether the replica's turn has come to be brought to the goal.
    pub(in crate::plan::controller) fn may_update(&self, number: ReplicaNumber) -> bool {
        self.turn.contains(&number)
    }

    /// Whether a failure of the replica is put down to what it runs rather than to its host: something else was
    /// healthy before, and it failed on another host, too, or there is none.
    pub(in crate::plan::controller) fn suspects(&self, replica: &Replica<'a>) -> bool {
        let trial = self.is_active() && self.stable.is_some();
        let newest = self.newest().filter(|_| trial && !self.record().is_some_and(|record| record.back));
        newest.is_some_and(|newest| newest.is_of(replica)) && !self.spared.contains(&replica.number())
    }

    /// The replica begins again elsewhere: so does its time to become healthy.
    pub(in crate::plan::controller) fn moved(&mut self, number: ReplicaNumber, now: jiff::Timestamp) {
        if self.record().is_some_and(|record| record.updating.contains_key(&number)) {
            self.updated(number, now);
        }
    }

    /// The replica has just been told what is new.
    pub(in crate::plan::controller) fn updated(&mut self, number: ReplicaNumber, now: jiff::Timestamp) {
        if self.is(RolloutState::Running)
            && let Some(record) = self.edit()
            && record.updating.len() < MOST_UPDATING
        {
            record.updating.insert(number, now);
        }
    }

    /// What the replica runs as it is: what its rollout brought, or what the goal says if that is the same.
    pub(in crate::plan::controller) fn own(&self, replica: &Replica<'a>) -> Option<Goal<'a>> {
        let labelled = replica.desired.rollout.and_then(|number| goal_of(self.facts.view, number));
        let same = |goal: &Goal<'a>| {
            let Revision { version, config_version, .. } = goal.revision;
            *version == replica.desired.version && *config_version == replica.desired.config_version
        };
        labelled.filter(same).or(self.goal().filter(same)).or(self.stable.filter(same))
    }
}

/// What rollout `number` brought, if its record is there.
pub(in crate::plan::controller) fn goal_of(view: &ServiceView, number: u64) -> Option<Goal<'_>> {
    let record = view.rollouts.get(&number).and_then(Doc::good)?;
    Some(Goal { number, revision: &record.revision })
}
