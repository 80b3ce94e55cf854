//! Whether what was changed about a replica has been checked since. Pure: times are arguments, counted from when the
//! invocation was first seen.
//!
//! A replica is on trial from a change (a start, a reload, a signal, another probe) until its checks have succeeded for
//! `min_healthy_time`. Only checks that *began after* the change count: what was asked before tells of what was before.
//! While on trial it is asked at short intervals, and one failed check begins the trial again. After each such setback
//! it takes twice as many successes in a row to be taken for healthy again: one that goes to and fro soon is not, and
//! stays so, without a word for each turn. Whether it is ready or alive is another matter, which thresholds decide
//! ([`super::state`]): checks made for the trial alone don't count there.

use std::time::Duration;

use super::state::{AGAIN, EAGER, LATENESS, REST};
use crate::model::{Probe, Span, TrialOutcome};

/// How often a replica whose checks succeed is asked within its trial, at least, unless its period is shorter.
const SAMPLES: u32 = 16;
/// So often a setback doubles the successes that it takes.
const DOUBLINGS: u32 = 5;
/// The least time between two such checks.
const LEAST: Duration = Duration::from_millis(100);

/// One probe's trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    length: Duration,
    period: Duration,
    success_threshold: u32,
    /// When the change was: earlier checks don't count.
    began: Duration,
    successes: u32,
    good_since: Option<Duration>,
    setbacks: u32,
    failure: Option<String>,
    next: Option<Duration>,
}

impl Trial {
    /// A trial that begins at `began` and lasts `length` (`min_healthy_time`). The first check is due at once, but not
    /// before the probe's initial delay.
    ///
    /// It ends later than that, because whoever counts the time sees the first success later than this host does.
    pub(crate) fn new(probe: &Probe, length: Span, began: Duration) -> Self {
        Self {
            length: length.get().saturating_mul(2),
            period: probe.period.get(),
            success_threshold: probe.success_threshold,
            began,
            successes: 0,
            good_since: None,
            setbacks: 0,
            failure: None,
            next: Some(began.max(probe.initial_delay.get())),
        }
    }

    /// When the next check is due; `None` when the trial is over.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.next
    }

    pub(crate) fn outcome(&self) -> TrialOutcome {
        let (unconfirmed, failure) = (self.good_since.is_none(), self.failure.clone());
        TrialOutcome { unconfirmed, setbacks: self.setbacks, failure, over: self.next.is_none() }
    }

    /// Takes in a check's result, and when the check began and ended. One that began before the change tells nothing.
    pub(crate) fn record(&mut self, began: Duration, ended: Duration, result: &Result<(), String>) {
        if began < self.began || self.next.is_none() {
            return;
        }
        match result {
            Ok(()) => self.succeed(ended),
            Err(message) => self.fail(message),
        }
        let over = self.good_since.is_some_and(|since| ended >= since.saturating_add(self.length));
        self.next = (!over).then(|| self.due(began, ended));
    }

    /// Takes in what came of a check. One that could not be made tells nothing, and is made again soon.
    pub(crate) fn take_in(&mut self, began: Duration, ended: Duration, result: &Result<Result<(), String>, String>) {
        match result {
            Ok(result) => self.record(began, ended, result),
            Err(_) if self.next.is_none() => {}
            Err(_) => self.next = Some(ended.saturating_add(self.period.clamp(REST, AGAIN))),
        }
    }

    fn succeed(&mut self, ended: Duration) {
        self.successes = self.successes.saturating_add(1);
        if self.successes >= self.needed() {
            self.good_since.get_or_insert(ended);
            self.failure = None;
        }
    }

    /// How many successes in a row it takes.
    fn needed(&self) -> u32 {
        self.success_threshold.max(1).saturating_mul(1 << self.setbacks.min(DOUBLINGS))
    }

    fn fail(&mut self, message: &str) {
        self.successes = 0;
        self.failure = Some(message.to_owned());
        if self.good_since.take().is_some() {
            self.setbacks = self.setbacks.saturating_add(1);
        }
    }

    /// As soon as a starting replica is asked while no check has succeeded; else so often that a failure within the
    /// trial is noticed.
    fn due(&self, began: Duration, ended: Duration) -> Duration {
        let regular = began.saturating_add(self.period).max(ended.saturating_add(REST));
        let took = ended.saturating_sub(began);
        let rest = if self.good_since.is_some() {
            LEAST.max(self.length / 2 / SAMPLES)
        } else {
            EAGER.max(ended.saturating_sub(self.began) / LATENESS)
        };
        regular.min(ended.saturating_add(rest.max(took)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn trial(probe: &Probe) -> Trial {
        Trial::new(probe, Span::from_secs(10), 60 * SECOND)
    }

    fn failure() -> Result<(), String> {
        Err("503".to_owned())
    }

    fn unconfirmed(trial: &Trial) -> bool {
        trial.outcome().unconfirmed
    }

    #[test]
    fn a_check_that_began_before_the_change_tells_nothing() {
        let mut trial = trial(&Probe::default());
        trial.record(59 * SECOND, 61 * SECOND, &Ok(()));
        assert!(unconfirmed(&trial));
        assert_eq!(trial.next(), Some(60 * SECOND), "the first that counts is due at once");
        trial.record(60 * SECOND, 60 * SECOND, &Ok(()));
        assert!(!unconfirmed(&trial));
    }

    #[test]
    fn a_failed_check_suspends_it_and_the_time_begins_again() {
        let mut trial = trial(&Probe::default());
        trial.record(60 * SECOND, 60 * SECOND, &Ok(()));
        trial.record(69 * SECOND, 69 * SECOND, &failure());
        let expected = TrialOutcome { unconfirmed: true, setbacks: 1, failure: Some("503".to_owned()), over: false };
        assert_eq!(trial.outcome(), expected);
        trial.record(70 * SECOND, 70 * SECOND, &Ok(()));
        assert_eq!(trial.outcome(), expected, "one success is not enough after a setback");
        trial.record(70 * SECOND, 70 * SECOND, &Ok(()));
        assert_eq!((unconfirmed(&trial), trial.outcome().failure), (false, None));
        trial.record(89 * SECOND, 89 * SECOND, &Ok(()));
        assert!(!trial.outcome().over, "it counts from the last failure");
        trial.record(90 * SECOND, 90 * SECOND, &Ok(()));
        assert!(trial.outcome().over);
        trial.record(91 * SECOND, 91 * SECOND, &failure());
        assert_eq!((trial.outcome().setbacks, trial.next()), (1, None), "from then on thresholds decide alone");
    }

    #[test]
    fn without_a_min_healthy_time_the_first_success_ends_it() {
        let mut trial = Trial::new(&Probe::default(), Span::ZERO, SECOND);
        trial.record(SECOND, SECOND, &failure());
        assert!(unconfirmed(&trial) && !trial.outcome().over);
        trial.record(2 * SECOND, 2 * SECOND, &Ok(()));
        assert!(!unconfirmed(&trial) && trial.outcome().over);
    }

    #[test]
    fn a_first_check_waits_for_the_initial_delay() {
        let probe = Probe { initial_delay: Span::from_secs(90), ..Probe::default() };
        assert_eq!(trial(&probe).next(), Some(90 * SECOND));
    }

    #[test]
    fn what_goes_to_and_fro_soon_says_so_no_more() {
        for good_in_a_row in [1, 2, 5, 20, 100] {
            let mut trial = trial(&Probe { period: Span::from_secs(1), ..Probe::default() });
            let (mut said, mut before, mut now) = (0, trial.outcome(), 60 * SECOND);
            for check in 0..10_000 {
                let result = if check % (good_in_a_row + 1) == good_in_a_row { failure() } else { Ok(()) };
                trial.record(now, now, &result);
                said += u32::from(trial.outcome() != before);
                before = trial.outcome();
                now = trial.next().unwrap_or(now).max(now);
                if before.over {
                    break;
                }
            }
            assert!(said <= 20, "{good_in_a_row}: said {said} times");
        }
    }

    proptest! {
        /// Whatever the times: what serves nothing is never confirmed, and what fails within the trial is noticed.
        #[test]
        fn checks_are_close_enough_together(
            period in 1..60_000_u64,
            length in 0..120_000_u64,
            threshold in 1..4_u32,
            results in vec((any::<bool>(), 0..2_000_u64), 1..80),
        ) {
            let probe = Probe { period: Span::from_millis(period), success_threshold: threshold, ..Probe::default() };
            let mut trial = Trial::new(&probe, Span::from_millis(length), SECOND);
            let mut last = Vec::new();
            for (good, took) in results {
                let Some(began) = trial.next() else { break };
                let ended = began + Duration::from_millis(took);
                trial.record(began, ended, &if good { Ok(()) } else { failure() });
                last.push(good);
                let run = last.iter().rev().take_while(|good| **good).count();
                prop_assert!(unconfirmed(&trial) || run >= threshold as usize);
                prop_assert_eq!(!unconfirmed(&trial), run >= (threshold as usize) << trial.outcome().setbacks.min(DOUBLINGS));
                let Some(next) = trial.next() else { break };
                let regular = (began + probe.period.get()).max(ended + REST);
                prop_assert!(next > ended && next <= regular, "one at a time, and no later than the period");
                let short = LEAST.max(Duration::from_millis(length) / SAMPLES).max(Duration::from_millis(took));
                prop_assert!(!good || unconfirmed(&trial) || next <= ended + short);
            }
        }
    }
}
