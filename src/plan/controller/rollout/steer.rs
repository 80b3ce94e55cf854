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

use super::{Survey, survey::Terms};
use crate::{
    model::{ConditionKind, OnFailure, PauseCause, ReplicaNumber, Rollout, RolloutAction, RolloutState, Span, counted},
    plan::controller::{
        classify::{Case, Found, known},
        notice::clip,
        round::Round,
    },
    tree::{layout, snapshot::Doc},
};

/// The longest reason of a record, in characters.
const LONGEST: usize = 600;

impl<'a> Round<'_, 'a> {
    /// Decides the rollout's next state.
    pub(in crate::plan::controller) fn steer(&mut self, found: &[Found<'a>]) {
        self.course.survey.surge = surge_of(found);
        if self.force.spec.deleting || self.is_unreadable() {
            return;
        }
        self.look(found);
        if self.wishes_something_new() {
            return self.begin();
        }
        self.correct_clock();
        self.looking_again(found, Self::obey);
        if self.course.next.is_none() && self.course.is_active() {
            self.looking_again(found, |round| {
                round.suspend();
                round.advance(found);
            });
        }
        self.note_rollout();
    }

    /// How far the replicas are is another matter once they are to be brought to something else.
    fn looking_again(&mut self, found: &[Found<'a>], steer: impl FnOnce(&mut Self)) {
        let before = self.course.goal().map(|goal| goal.number);
        steer(self);
        if self.course.goal().map(|goal| goal.number) != before {
            self.look(found);
        }
    }

    fn look(&mut self, found: &[Found<'a>]) {
        let Some(goal) = self.course.goal() else { return };
        if !self.course.is_active() {
            // Nobody asks.
            return;
        }
        let terms = Terms { min_healthy_time: self.min_healthy_time(), stranded: self.stranded(found) };
        self.course.survey = Survey::of(found, goal, &terms, self.context);
        if let Some(at) = self.course.survey.wake_at {
            self.wake(at);
        }
    }

    /// Those on lost hosts that nobody waits for: no other host fits, so that they come back with theirs. On the way back that
    /// is said of all: what lost its host runs what was before with the next one.
    fn stranded(&mut self, found: &[Found<'a>]) -> BTreeSet<ReplicaNumber> {
        let back = self.goes_back();
        let lost = found.iter().filter_map(known).filter(|case| case.host.is_some() && !case.host_alive);
        lost.filter(|case| back || self.is_stranded(case)).map(Case::number).collect()
    }

    pub(super) fn goes_back(&self) -> bool {
        self.course.record().is_some_and(|record| record.back)
    }

    /// How long a replica must stay ready to count as healthy. What was healthy before need not show it again.
    pub(in crate::plan::controller) fn min_healthy_time(&self) -> Span {
        if self.goes_back() { Span::ZERO } else { self.force.spec.rollout.min_healthy_time }
    }

    /// The newest record is nonsense: nothing is updated until it is mended.
    fn is_unreadable(&mut self) -> bool {
        let Some((&number, doc)) = self.view.rollouts.iter().next_back() else { return false };
        let Err(error) = &doc.value else { return false };
        let text = format!("{error}; nothing is rolled out until it is mended, or deleted and so begun anew");
        self.notices.add(ConditionKind::InvalidDocument, &layout::rollout(self.name, number), None, &text);
        true
    }

    /// What was written by a clock that was ahead counts from now: no deadline is put off by more than its length.
    fn correct_clock(&mut self) {
        let now = self.context.now;
        let Some(record) = self.course.record().filter(|record| !record.state.has_ended()) else { return };
        let ahead = record.updating.values().chain([&record.progress]).chain(&record.batch_done).any(|at| *at > now);
        if ahead && let Some(record) = self.course.edit() {
            record.updating.values_mut().for_each(|at| *at = now.min(*at));
            record.progress = record.progress.min(now);
            record.batch_done = record.batch_done.map(|at| at.min(now));
        }
    }

    /// Carries out the operators' words, each once.
    fn obey(&mut self) {
        let Some(doc) = &self.view.rollouts_node else { return };
        let (Some(number), Some(record)) = (self.course.number(), self.course.record()) else { return };
        let seen = record.order;
        let order = match &doc.value {
            Ok(Some(order)) if order.rollout == number && seen.is_none_or(|seen| seen < doc.version) => order,
            Ok(_) => return,
            Err(error) => {
                let path = layout::rollouts(self.name);
                self.notices.add(ConditionKind::InvalidDocument, &path, None, &error.to_string());
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
        if active && let Some(record) = self.course.edit() {
            record.order = Some(doc.version);
        }
    }

    fn carry_out(&mut self, action: RolloutAction, by: Option<&str>) {
        let Some(record) = self.course.record().filter(|_| !self.course.begins()) else { return };
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        match (action, record.state, record.pause) {
            (RolloutAction::Pause, RolloutState::Running | RolloutState::RollingBack, _)
            | (RolloutAction::Pause, RolloutState::Paused, Some(PauseCause::Disabled)) => {
                self.pause(PauseCause::Operator, &format!("paused{by}"));
            }
            (RolloutAction::Resume, RolloutState::Paused, None | Some(PauseCause::Operator | PauseCause::Failure)) => {
                self.course.tries_again = record.pause == Some(PauseCause::Failure);
                self.go_on(&format!("resumed{by}"));
            }
            (RolloutAction::Resume, RolloutState::RolledBack, _) => self.begin(),
            (RolloutAction::Promote, RolloutState::Paused, Some(PauseCause::Canary)) => self.promote(&by),
            (RolloutAction::Abort, RolloutState::Running | RolloutState::Paused, _) if !record.back => {
                self.go_back(&format!("aborted{by}"));
            }
            _ => {}
        }
    }

    /// While the service is not enabled, or no replica is wanted of it, nothing can become healthy, and no time is up.
    /// What nobody has run is not completed, lest a rollback should return to it. On a way back to what nobody knows any
    /// more, or with nothing to go back to any more, a person has to say what is to run, whatever the mode.
    fn suspend(&mut self) {
        let held = self.is_paused_for(PauseCause::Failure) || self.is_paused_for(PauseCause::Operator);
        if self.course.is_lost() && !held {
            let reason =
                "the record of what was healthy before is gone or can't be read; there is nothing to go back to";
            return self.pause(PauseCause::Failure, reason);
        }
        let enabled = self.can_become_healthy();
        let untried = self.force.wanted() == 0 && self.course.stable.is_some();
        let (forward, backward) = (self.course.is(RolloutState::Running), self.course.is(RolloutState::RollingBack));
        if self.is_paused_for(PauseCause::Disabled) && enabled && !untried {
            self.go_on("the service is enabled");
        } else if !enabled && (forward || backward) {
            self.pause(PauseCause::Disabled, "the service is not enabled");
        } else if untried && forward {
            self.pause(PauseCause::Disabled, "no replicas are wanted");
        }
    }

    pub(super) fn pause(&mut self, cause: PauseCause, reason: &str) {
        let Some(record) = self.course.edit() else { return };
        (record.state, record.pause, record.batch_done) = (RolloutState::Paused, Some(cause), None);
        record.updating.clear();
        self.say("is paused", reason);
    }

    /// Ends a pause: all deadlines start anew. When nobody knows any more what was before, it goes forward as what comes
    /// first.
    pub(super) fn go_on(&mut self, why: &str) {
        let now = self.context.now;
        let known = self.course.stable.is_some();
        let Some(record) = self.course.edit() else { return };
        record.back &= known;
        if !record.back {
            record.cause.clear();
        }
        record.from = record.from.filter(|_| known);
        record.resumed |= record.pause == Some(PauseCause::Failure);
        record.state = if record.back { RolloutState::RollingBack } else { RolloutState::Running };
        (record.pause, record.batch_done, record.progress) = (None, None, now);
        record.updating.clear();
        self.say("goes on", why);
    }

    fn promote(&mut self, by: &str) {
        if let Some(record) = self.course.edit() {
            (record.promoted, record.batch) = (true, 1);
        }
        self.go_on(&format!("the canary was promoted{by}"));
    }

    /// Back to what was healthy last; with nothing there, a person has to decide.
    pub(super) fn go_back(&mut self, reason: &str) {
        if self.course.stable.is_none() {
            let reason = format!("{reason}; there is nothing to go back to");
            return self.pause(PauseCause::Failure, &reason);
        }
        let now = self.context.now;
        let Some(record) = self.course.edit() else { return };
        (record.state, record.pause, record.back) = (RolloutState::RollingBack, None, true);
        (record.batch_done, record.progress, record.healthy) = (None, now, 0);
        record.updating.clear();
        record.cause = clip(reason, LONGEST);
        self.say("is rolled back", reason);
    }

    pub(super) fn fail(&mut self, reason: &str) {
        match self.force.spec.rollout.on_failure {
            OnFailure::Rollback => self.go_back(reason),
            OnFailure::Pause => self.pause(PauseCause::Failure, reason),
        }
    }

    pub(super) fn end(&mut self, state: RolloutState) {
        let now = self.context.now;
        // What was wanted is what there is, whatever happened on the way.
        let same = self.course.stable.zip(self.course.newest()).is_some_and(|(to, new)| to.revision == new.revision);
        let state = if same { RolloutState::Completed } else { state };
        let healthy = u32::try_from(self.course.survey.healthy).unwrap_or(u32::MAX);
        let without = match self.course.survey.forgiven {
            0 => String::new(),
            failed => format!("without {} that failed (max_failures)", counted(failed, "replica")),
        };
        let Some(record) = self.course.edit() else { return };
        (record.state, record.pause, record.ended) = (state, None, Some(now));
        (record.batch_done, record.back) = (None, record.back && !same);
        if !record.back {
            record.cause.clear();
        }
        record.updating.clear();
        record.healthy = healthy;
        if state == RolloutState::Completed {
            record.reason.clone_from(&without);
        } else if !record.cause.is_empty() {
            record.reason.clone_from(&record.cause);
        }
        if let Some(number) = self.course.number() {
            let what = if state == RolloutState::Completed { "completed" } else { "rolled back" };
            let said = format!("rollout {number} is {what} {without}");
            self.course.said.push(said.trim_end().to_owned());
        }
    }

    /// What happens on the way back does not hide why it was begun.
    fn say(&mut self, what: &str, reason: &str) {
        let Some(number) = self.course.number() else { return };
        self.course.said.push(format!("rollout {number} {what}: {reason}"));
        let Some(record) = self.course.edit() else { return };
        if record.back && record.cause.is_empty() {
            // Written by an earlier release.
            record.cause.clone_from(&record.reason);
        }
        record.reason = clip(reason, LONGEST);
        if record.back && !record.cause.is_empty() && record.cause != record.reason {
            record.reason = format!("{}; it went back because: {}", record.reason, record.cause);
        }
    }
}

fn surge_of(found: &[Found<'_>]) -> usize {
    found.iter().filter_map(known).filter(|case| case.desired.surge && !case.desired.removing).count()
}

/// Whether a rollout has not ended, for whoever has to watch its replicas more closely.
pub(in crate::plan::controller) fn is_under_way(record: Option<&Doc<Rollout>>) -> bool {
    record.and_then(Doc::good).is_some_and(|record| !record.state.has_ended())
}
