//! What the results of a probe's checks mean, and when the next one is due. Thresholds as in Kubernetes. Pure: times
//! are arguments, counted from when the invocation was first seen.

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use crate::model::Probe;

/// How soon at the earliest a readiness check that failed is repeated while its replica has never been ready. A service
/// that starts in no time is noticed in no time.
pub(super) const EAGER: Duration = Duration::from_millis(2);
/// Later it is this part of the time since the first failure, up to the period: who waits for a replica waits at most so
/// much longer than the replica needs. It is as long as the check took at least: to be asked must not be most of what a
/// starting replica does.
pub(super) const LATENESS: u32 = 16;
/// The least time from the end of one check to the next, so that no period, however short, keeps a core busy.
pub(super) const REST: Duration = Duration::from_millis(10);
/// How long at most after a check that could not be made.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bad until it succeeds, and probed for ever.
    Readiness,
    /// Good until it fails, which is final.
    Liveness,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        })
    }
}

/// What a probe has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Ready, or alive.
    pub good: bool,
    /// The last failure, while it is not good.
    pub message: Option<String>,
}

/// One probe of one invocation.
#[derive(Clone, Debug)]
pub struct State {
    kind: Kind,
    period: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    good: bool,
    /// It has been good by a check, or is known to have been.
    settled: bool,
    successes: u32,
    failures: u32,
    /// When the first check that failed began.
    first: Option<Duration>,
    last_failure: Option<String>,
    next: Option<Duration>,
}

impl State {
    /// A probe whose first check is due after its initial delay.
    pub fn new(kind: Kind, probe: &Probe) -> Self {
        Self {
            kind,
            period: probe.period.get(),
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            good: kind == Kind::Liveness,
            settled: kind == Kind::Liveness,
            successes: 0,
            failures: 0,
            first: None,
            last_failure: None,
            next: Some(probe.initial_delay.get()),
        }
    }

    /// The same, of an invocation that is known to have been good: it is until the threshold of failures is reached,
    /// and the first check is due at once.
    #[must_use]
    pub fn known_good(mut self) -> Self {
        (self.good, self.settled) = (true, true);
        self.next = Some(Duration::ZERO);
        self
    }

    /// When the next check is due; `None` when no check can change anything any more.
    pub fn next(&self) -> Option<Duration> {
        self.next
    }

    /// Whether it has been good by a check, or is known to have been.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// What has been found so far.
    pub fn finding(&self) -> Finding {
        let message = self.last_failure.as_ref().filter(|_| !self.good);
        Finding { good: self.good, message: message.map(|message| format!("{}: {message}", self.kind)) }
    }

    /// Takes in a check's result, an error with what went wrong, and when the check began and ended.
    pub fn record(&mut self, began: Duration, ended: Duration, result: Result<(), String>) {
        let failed = result.is_err();
        match result {
            Ok(()) => self.succeed(),
            Err(message) => self.fail(message),
        }
        self.next = (self.good || self.kind == Kind::Readiness).then(|| self.due(began, ended, failed));
    }

    /// Takes in what came of a check; an error says why it could not be made.
    pub(super) fn take_in(&mut self, began: Duration, ended: Duration, result: &Result<Result<(), String>, String>) {
        match result {
            Ok(result) => self.record(began, ended, result.clone()),
            Err(why) => self.pass_over(ended, why),
        }
    }

    /// A check could not be made, for a reason that is not the replica's: nothing is counted, and it is made again soon.
    /// One that is not good yet says why that is not found out.
    pub fn pass_over(&mut self, ended: Duration, why: &str) {
        if !self.good {
            self.last_failure = Some(format!("could not be asked: {why}"));
        }
        self.next = Some(ended.saturating_add(self.period.clamp(REST, AGAIN)));
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        if self.successes >= self.success_threshold {
            (self.good, self.settled, self.last_failure) = (true, true, None);
        }
    }

    fn fail(&mut self, message: String) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(message);
        if self.failures >= self.failure_threshold {
            self.good = false;
        }
    }

    fn due(&mut self, began: Duration, ended: Duration, failed: bool) -> Duration {
        let regular = began.saturating_add(self.period).max(ended.saturating_add(REST));
        if self.settled || !failed {
            return regular;
        }
        let waited = ended.saturating_sub(*self.first.get_or_insert(began));
        let took = ended.saturating_sub(began);
        regular.min(ended.saturating_add(EAGER.max(waited / LATENESS).max(took)))
    }
}
