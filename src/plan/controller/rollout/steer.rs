//! The rollout's next state: what is wanted, the operator's orders, failures, deadlines, batches.
//!
//! ```text
//!            ┌──── pause, canary healthy, failure ────┐
//!            ▼                                        │
//!         paused ── resume, promote ──► running ──────┼── all healthy ──► completed
//!            │                                        │
//!            │ abort                                  │ failure, deadline, abort
//!            └───────────────► rolling_back ◄─────────┘
//!                                   └── all ready with what was before ──► rolled_back
//! ```
//!
//! Something new that is wanted supersedes whatever has not ended. Every wait has a deadline or a person.

use std::collections::BTreeSet;

use super::{ActiveRollout, RolloutProgress, progress::Terms};
use crate::{
    model::{PauseCause, ReplicaNumber, Rollout, RolloutAction, RolloutState},
    plan::controller::{
        classify::{Replica, ReplicaKind, managed},
        facts::Facts,
        failures::RecentFailures,
        output::Output,
        placement::Placement,
        words::{Consequence, Halted, Invalid, Subject},
    },
    tree::{layout, snapshot::Doc},
};

/// What decides the rollout's next state: it changes the record, and has no part in steps, nor in the budget.
pub(in crate::plan::controller) struct Steering<'r, 'p, 'a> {
    pub(in crate::plan::controller) facts: Facts<'a>,
    pub(in crate::plan::controller) rollout: &'r mut ActiveRollout<'a>,
    pub(in crate::plan::controller) places: &'r mut Placement<'p, 'a>,
    pub(in crate::plan::controller) failures: RecentFailures,
    pub(in crate::plan::controller) out: &'r mut Output<'a>,
}

impl<'a> Steering<'_, '_, 'a> {
    /// Decides the rollout's next state.
    pub(in crate::plan::controller) fn steer(&mut self, found: &[ReplicaKind<'a>]) {
        self.rollout.progress.surge = surge_of(found);
        if self.facts.force.spec.deleting || self.is_unreadable() {
            return;
        }
        self.look(found);
        if self.rollout.wishes_something_new() {
            return self.rollout.begin();
        }
        self.rollout.correct_clock();
        self.looking_again(found, Self::obey);
        if self.rollout.next.is_none() && self.rollout.is_active() {
            self.looking_again(found, |it| {
                it.rollout.suspend();
                it.advance(found);
            });
        }
        self.note_rollout();
    }

    /// How far the replicas are is another matter once they are to be brought to something else.
    fn looking_again(&mut self, found: &[ReplicaKind<'a>], steer: impl FnOnce(&mut Self)) {
        let before = self.rollout.goal().map(|goal| goal.number);
        steer(self);
        if self.rollout.goal().map(|goal| goal.number) != before {
            self.look(found);
        }
    }

    fn look(&mut self, found: &[ReplicaKind<'a>]) {
        let Some(goal) = self.rollout.goal() else { return };
        if !self.rollout.is_active() {
            // Nobody asks.
            return;
        }
        let terms = Terms { min_healthy_time: self.rollout.min_healthy_time(), stranded: self.stranded(found) };
        self.rollout.progress = RolloutProgress::of(found, goal, &terms, self.facts.context);
        if let Some(at) = self.rollout.progress.wake_at {
            self.out.wake(at);
        }
    }

    /// Those on lost hosts that nobody waits for: no other host fits, so that they come back with theirs. On the way back that
    /// is said of all: what lost its host runs what was before with the next one.
    fn stranded(&mut self, found: &[ReplicaKind<'a>]) -> BTreeSet<ReplicaNumber> {
        let back = self.rollout.goes_back();
        let lost = found.iter().filter_map(managed).filter(|replica| replica.host.is_some() && !replica.host_alive);
        lost.filter(|replica| back || self.places.is_stranded(replica, self.rollout, self.out))
            .map(Replica::number)
            .collect()
    }

    /// The newest record is nonsense: nothing is updated until it is fixed.
    fn is_unreadable(&mut self) -> bool {
        let Some((&number, doc)) = self.facts.view.rollouts.iter().next_back() else { return false };
        let Err(error) = &doc.value else { return false };
        let why = Invalid::Unreadable(error, Consequence::NothingRolledOut);
        self.out.notices.add(Subject::Document(layout::rollout(self.facts.name, number)), None, &why);
        true
    }

    /// Carries out the operators' words, each once.
    fn obey(&mut self) {
        let Some(doc) = &self.facts.view.rollouts_node else { return };
        let (Some(number), Some(record)) = (self.rollout.number(), self.rollout.record()) else { return };
        let seen = record.order;
        let order = match &doc.value {
            Ok(Some(order)) if order.rollout == number && seen.is_none_or(|seen| seen < doc.version) => order,
            Ok(_) => return,
            Err(error) => {
                let why = Invalid::Unreadable(error, Consequence::OrderIgnored);
                self.out.notices.add(Subject::Document(layout::rollouts(self.facts.name)), None, &why);
                return;
            }
        };
        let active = !record.state.has_ended();
        // What others said before that, unheard so far, is carried out first.
        let earlier = order.earlier.iter().filter(|word| seen.is_none_or(|seen| seen < word.version));
        for word in earlier {
            self.carry_out(word.action, word.by.as_deref());
        }
        self.carry_out(order.action, order.by.as_deref());
        if active && let Some(record) = self.rollout.edit() {
            record.order = Some(doc.version);
        }
    }

    fn carry_out(&mut self, action: RolloutAction, by: Option<&str>) {
        let Some(record) = self.rollout.record().filter(|_| !self.rollout.begins()) else { return };
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        match (action, record.state, record.pause) {
            (RolloutAction::Pause, RolloutState::Running | RolloutState::RollingBack, _)
            | (RolloutAction::Pause, RolloutState::Paused, Some(PauseCause::Disabled)) => {
                self.rollout.pause(PauseCause::Operator, &format!("paused{by}"));
            }
            (RolloutAction::Resume, RolloutState::Paused, None | Some(PauseCause::Operator | PauseCause::Failure)) => {
                self.rollout.tries_again = record.pause == Some(PauseCause::Failure);
                self.rollout.go_on(&format!("resumed{by}"));
            }
            (RolloutAction::Resume, RolloutState::RolledBack, _) => self.rollout.begin(),
            (RolloutAction::Promote, RolloutState::Paused, Some(PauseCause::Canary)) => self.rollout.promote(&by),
            (RolloutAction::Abort, RolloutState::Running | RolloutState::Paused, _) if !record.back => {
                self.rollout.go_back(&format!("aborted{by}"));
            }
            _ => {}
        }
    }

    /// Says what stands still, and what would end that.
    fn note_rollout(&mut self) {
        let (Some(number), Some(record)) = (self.rollout.number(), self.rollout.record()) else { return };
        if let Some(halted) = Halted::new(self.facts.name, record) {
            self.out.notices.add(Subject::Rollout(number), None, &halted);
        }
    }
}

fn surge_of(found: &[ReplicaKind<'_>]) -> usize {
    found.iter().filter_map(managed).filter(|replica| replica.desired.surge && !replica.desired.removing).count()
}

/// Whether a rollout has not ended, for whoever has to watch its replicas more closely.
pub(in crate::plan::controller) fn is_under_way(record: Option<&Doc<Rollout>>) -> bool {
    record.and_then(Doc::good).is_some_and(|record| !record.state.has_ended())
}
