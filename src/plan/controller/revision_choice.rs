//! What a replica runs where it is put: what is new when its turn has come, else what it ran; and what it asks of a place.

use super::{
    claims::UnitRef,
    classify::Replica,
    place::Ask,
    rollout::{ActiveRollout, Goal},
    words::Held,
};
use crate::{
    model::{Assignment, ReplicaDesired, ReplicaNumber, Revision},
    tree::snapshot::Doc,
};

/// What a replica is to run where it is put.
#[derive(Clone, Copy)]
pub(super) enum RevisionChoice<'s, 'a> {
    /// What a rollout brought; whether it is a surge replica.
    Goal(Goal<'a>, bool),
    /// What it ran before.
    Same(&'s Replica<'a>),
}

impl<'a> ActiveRollout<'a> {
    /// What the replica would be told out of its turn where it is put: it is nowhere, or what it ran is not known well
    /// enough to be run elsewhere.
    fn untimely(&self, replica: &Replica<'a>, revision: RevisionChoice<'_, 'a>) -> Option<Goal<'a>> {
        let again = replica.host.is_none() || matches!(revision, RevisionChoice::Goal(..));
        self.brought(revision).filter(|_| again && !self.may_update(replica.number()))
    }

    /// What keeps the replica from any other host: nobody knows what it would run there, or it would be told what is new, which
    /// is on its canary or paused.
    pub(super) fn is_held(&self, unit: UnitRef<'a>, replica: &Replica<'a>) -> Option<Held> {
        if self.goal().is_none() && !self.is_known(unit, replica) {
            return Some(Held::RevisionUnknown);
        }
        let goal =
            self.untimely(replica, self.choose_revision(unit, replica)).filter(|goal| !self.may_expose(*goal))?;
        Some(if replica.host.is_none() { Held::Awaits(goal.number) } else { Held::UnknownAwaits(goal.number) })
    }

    pub(super) fn expose(&mut self, replica: &Replica<'a>, revision: RevisionChoice<'_, 'a>) {
        if let Some(goal) = self.untimely(replica, revision) {
            self.exposes(goal);
        }
    }

    /// What the replica runs from now on: what is new when its turn has come, else what it ran, if that is known.
    pub(super) fn choose_revision<'s>(&self, unit: UnitRef<'a>, replica: &'s Replica<'a>) -> RevisionChoice<'s, 'a> {
        let known = self.is_known(unit, replica);
        let goal = self.goal().filter(|_| !known || self.may_update(replica.number()));
        goal.map_or(RevisionChoice::Same(replica), |goal| RevisionChoice::Goal(goal, replica.desired.surge))
    }

    /// Whether it is known what the replica ran, so that it can be run elsewhere. Where only its index says it, and its unit is to be
    /// another, a place is looked for as that.
    fn is_known(&self, unit: UnitRef<'a>, replica: &Replica<'a>) -> bool {
        let is_same = |before: &Assignment| {
            before.unit == unit.unit.for_replica(replica.number())
                && before.template.unit_file.as_deref() == unit.unit_file
        };
        self.own(replica).is_some() || replica.assignment.and_then(Doc::good).is_some_and(is_same)
    }

    /// What brought this, as far as that is known.
    fn brought(&self, revision: RevisionChoice<'_, 'a>) -> Option<Goal<'a>> {
        match revision {
            RevisionChoice::Goal(goal, _) => Some(goal),
            RevisionChoice::Same(replica) => self.own(replica),
        }
    }

    /// What a place elsewhere is asked for, for the replica; `ahead`: see [`Ask`].
    pub(super) fn ask<'q>(&self, unit: UnitRef<'a>, replica: &'q Replica<'a>, ahead: bool) -> Ask<'q, 'a> {
        let first = self.brought(self.choose_revision(unit, replica)).and_then(|goal| self.runs_first(goal));
        let failed_on = &replica.desired.failed_on;
        Ask { id: &replica.id, first, from: replica.host, ahead, failed_on, now: self.facts.context.now }
    }

    /// How a replica runs at first that is not brought to the goal yet.
    pub(super) fn runs_first(&self, own: Goal<'a>) -> Option<&'a Revision> {
        let brought = self.goal().is_some_and(|goal| goal.number == own.number);
        (!brought).then_some(own.revision)
    }

    pub(super) fn desired_of(&self, revision: RevisionChoice<'_, 'a>) -> ReplicaDesired {
        let mode = self.facts.force.desired.mode;
        match revision {
            RevisionChoice::Goal(goal, surge) => {
                ReplicaDesired { surge, ..ReplicaDesired::with(mode, goal.number, goal.revision) }
            }
            RevisionChoice::Same(replica) => ReplicaDesired { mode, removing: false, ..replica.desired.clone() },
        }
    }

    /// Its index. What it ran is told by its index where it was, or else by the rollout that brought it.
    pub(super) fn assignment_of(
        &self,
        revision: RevisionChoice<'_, 'a>,
        desired: &ReplicaDesired,
        number: ReplicaNumber,
    ) -> Option<Assignment> {
        let goal = match revision {
            RevisionChoice::Goal(goal, _) => goal,
            RevisionChoice::Same(replica) => match (self.own(replica), replica.assignment.and_then(Doc::good)) {
                (Some(own), _) => own,
                (None, Some(before)) => return Some(Assignment { mode: desired.mode, ..before.clone() }),
                (None, None) => self.goal()?,
            },
        };
        Some(self.assignment(goal, desired, number))
    }

    /// What an agent is told of a replica that is to run what `goal` brought. What was healthy before need not show it for
    /// as long again.
    pub(super) fn assignment(&self, goal: Goal<'a>, desired: &ReplicaDesired, number: ReplicaNumber) -> Assignment {
        let min_healthy_time = self.min_healthy_time();
        Assignment { min_healthy_time, ..Assignment::new(goal.revision, desired, number) }
    }
}
