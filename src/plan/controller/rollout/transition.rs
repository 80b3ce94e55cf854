//! From one state of a rollout to the next: what each change of state writes into the record, and says.

use super::ActiveRollout;
use crate::{
    model::{EventReason, OnFailure, PauseCause, RolloutState, counted},
    plan::controller::notice::clip,
};

/// The longest reason of a record, in characters.
const LONGEST: usize = 600;

impl ActiveRollout<'_> {
    /// What was written by a clock that was ahead counts from now: no deadline is put off by more than its length.
    pub(super) fn correct_clock(&mut self) {
        let now = self.facts.context.now;
        let Some(record) = self.record().filter(|record| !record.state.has_ended()) else { return };
        let ahead = record.updating.values().chain([&record.progress]).chain(&record.batch_done).any(|at| *at > now);
        if ahead && let Some(record) = self.edit() {
            record.updating.values_mut().for_each(|at| *at = now.min(*at));
            record.progress = record.progress.min(now);
            record.batch_done = record.batch_done.map(|at| at.min(now));
        }
    }

    /// While the service is not enabled, or no replica is wanted of it, nothing can become healthy, and no time is up.
    /// What nobody has run is not completed, lest a rollback should return to it. On a way back to what nobody knows any
    /// more, or with nothing to go back to any more, a person has to say what is to run, whatever the mode.
    pub(super) fn suspend(&mut self) {
        let held = self.is_paused_for(PauseCause::Failure) || self.is_paused_for(PauseCause::Operator);
        if self.is_lost() && !held {
            let reason =
                "the record of what was healthy before is gone or cannot be read; there is nothing to go back to";
            return self.pause(PauseCause::Failure, reason);
        }
        let enabled = self.facts.force.enabled();
        let untried = self.facts.force.wanted() == 0 && self.stable.is_some();
        let (forward, backward) = (self.is(RolloutState::Running), self.is(RolloutState::RollingBack));
        if self.is_paused_for(PauseCause::Disabled) && enabled && !untried {
            self.go_on("the service is enabled");
        } else if !enabled && (forward || backward) {
            self.pause(PauseCause::Disabled, "the service is not enabled");
        } else if untried && forward {
            self.pause(PauseCause::Disabled, "no replicas are wanted");
        }
    }

    pub(super) fn pause(&mut self, cause: PauseCause, reason: &str) {
        let Some(record) = self.edit() else { return };
        (record.state, record.pause, record.batch_done) = (RolloutState::Paused, Some(cause), None);
        record.updating.clear();
        self.say(EventReason::RolloutPaused, "paused", reason);
    }

    /// Ends a pause: all deadlines start again. When nobody knows any more what was before, it goes forward as what comes
    /// first.
    pub(super) fn go_on(&mut self, why: &str) {
        let now = self.facts.context.now;
        let known = self.stable.is_some();
        let Some(record) = self.edit() else { return };
        record.back &= known;
        if !record.back {
            record.cause.clear();
        }
        record.from = record.from.filter(|_| known);
        record.resumed |= record.pause == Some(PauseCause::Failure);
        record.state = if record.back { RolloutState::RollingBack } else { RolloutState::Running };
        (record.pause, record.batch_done, record.progress) = (None, None, now);
        record.updating.clear();
        self.say(EventReason::RolloutResumed, "goes on", why);
    }

    pub(super) fn promote(&mut self, by: &str) {
        if let Some(record) = self.edit() {
            (record.promoted, record.batch) = (true, 1);
        }
        self.go_on(&format!("the canary was promoted{by}"));
    }

    /// Back to what was healthy last; with nothing there, a person has to decide.
    pub(super) fn go_back(&mut self, reason: &str) {
        if self.stable.is_none() {
            let reason = format!("{reason}; there is nothing to go back to");
            return self.pause(PauseCause::Failure, &reason);
        }
        let now = self.facts.context.now;
        let Some(record) = self.edit() else { return };
        (record.state, record.pause, record.back) = (RolloutState::RollingBack, None, true);
        (record.batch_done, record.progress, record.healthy) = (None, now, 0);
        record.updating.clear();
        record.cause = clip(reason, LONGEST);
        self.say(EventReason::RollingBack, "is being rolled back", reason);
    }

    pub(super) fn fail(&mut self, reason: &str) {
        match self.facts.force.spec.rollout.on_failure {
            OnFailure::Rollback => self.go_back(reason),
            OnFailure::Pause => self.pause(PauseCause::Failure, reason),
        }
    }

    pub(super) fn end(&mut self, state: RolloutState) {
        let now = self.facts.context.now;
        // What was wanted is what there is, whatever happened on the way.
        let same = self.stable.zip(self.newest()).is_some_and(|(to, new)| to.revision == new.revision);
        let state = if same { RolloutState::Completed } else { state };
        let healthy = u32::try_from(self.progress.healthy).unwrap_or(u32::MAX);
        let without = match self.progress.forgiven {
            0 => String::new(),
            failed => format!("without {} that failed (max_failures)", counted(failed, "replica")),
        };
        let Some(record) = self.edit() else { return };
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
        if let Some(number) = self.number() {
            let (reason, what) = if state == RolloutState::Completed {
                (EventReason::RolloutCompleted, "completed")
            } else {
                (EventReason::RolledBack, "rolled back")
            };
            let said = format!("rollout {number} {what} {without}");
            self.said.push((reason, said.trim_end().to_owned()));
        }
    }

    /// What happens on the way back does not hide why it was begun.
    fn say(&mut self, event: EventReason, what: &str, reason: &str) {
        let Some(number) = self.number() else { return };
        self.said.push((event, format!("rollout {number} {what}: {reason}")));
        let Some(record) = self.edit() else { return };
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
