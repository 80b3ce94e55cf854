#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::model::Span;

const SECOND: Duration = Duration::from_secs(1);

fn probe() -> Probe {
    Probe { initial_delay: Span::from_secs(5), ..Probe::default() }
}

fn failure() -> Result<(), String> {
    Err("refused".to_owned())
}

/// Records a result of a check that began when it was due and took no time.
fn record(state: &mut State, result: Result<(), String>) -> bool {
    let due = state.next().unwrap();
    state.record(due, due, result);
    state.finding().good
}

#[test]
fn readiness_begins_bad_and_liveness_good() {
    let readiness = State::new(Kind::Readiness, &probe());
    assert_eq!(readiness.finding(), Finding { good: false, message: None });
    assert_eq!(State::new(Kind::Liveness, &probe()).finding(), Finding { good: true, message: None });
    assert_eq!(readiness.next(), Some(5 * SECOND), "after the initial delay, with no period before it");
}

#[test]
fn the_first_success_makes_ready_and_the_third_failure_in_a_row_unready() {
    let mut state = State::new(Kind::Readiness, &probe());
    assert!(record(&mut state, Ok(())));
    assert!(record(&mut state, failure()));
    assert!(record(&mut state, failure()));
    assert_eq!(state.finding().message, None, "it is still ready");
    assert!(record(&mut state, Ok(())), "which begins the count again");
    assert!(record(&mut state, failure()));
    assert!(record(&mut state, failure()));
    assert!(!record(&mut state, failure()));
    assert_eq!(state.finding().message.as_deref(), Some("readiness: refused"));
    assert!(record(&mut state, Ok(())));
    assert_eq!(state.finding().message, None);
}

#[test]
fn a_success_threshold_counts_successes_in_a_row() {
    let mut state = State::new(Kind::Readiness, &Probe { success_threshold: 2, ..probe() });
    assert!(!record(&mut state, Ok(())));
    assert!(!record(&mut state, failure()));
    assert!(!record(&mut state, Ok(())));
    assert_eq!(state.finding().message.as_deref(), Some("readiness: refused"), "until it is ready");
    assert!(record(&mut state, Ok(())));
}

#[test]
fn a_liveness_that_failed_is_final() {
    let mut state = State::new(Kind::Liveness, &probe());
    assert!(record(&mut state, failure()));
    assert!(record(&mut state, failure()));
    assert!(!record(&mut state, failure()));
    assert_eq!(state.next(), None);
    assert_eq!(state.finding().message.as_deref(), Some("liveness: refused"));
}

#[test]
fn what_never_was_ready_is_asked_more_often() {
    let mut state = State::new(Kind::Readiness, &probe());
    let mut rests = Vec::new();
    while rests.last() != Some(&(10 * SECOND)) {
        let due = state.next().unwrap();
        state.record(due, due, failure());
        let rest = state.next().unwrap().saturating_sub(due);
        let waited = due.saturating_sub(5 * SECOND);
        assert!(rest <= EAGER.max(waited / 16), "{rest:?} after {waited:?}");
        rests.push(rest);
    }
    assert_eq!(rests[..17], [EAGER; 17]);
    assert!(rests.is_sorted() && rests.len() < 170, "{}", rests.len());
    record(&mut state, Ok(()));
    let ready = state.next().unwrap();
    record(&mut state, failure());
    assert_eq!(state.next(), Some(ready + 10 * SECOND), "what was ready once is not");
}

#[test]
fn a_check_that_takes_long_is_not_most_of_what_a_starting_replica_does() {
    let mut state = State::new(Kind::Readiness, &probe());
    state.record(5 * SECOND, 6 * SECOND, failure());
    assert_eq!(state.next(), Some(7 * SECOND));
    state.record(7 * SECOND, 13 * SECOND, failure());
    assert_eq!(state.next(), Some(17 * SECOND), "no later than the period has it");
}

#[test]
fn liveness_is_asked_once_a_period() {
    let mut state = State::new(Kind::Liveness, &probe());
    record(&mut state, failure());
    assert_eq!(state.next(), Some(15 * SECOND));
}

#[test]
fn a_period_counts_from_the_beginning_of_a_check_to_that_of_the_next() {
    let mut state = State::new(Kind::Liveness, &probe());
    state.record(5 * SECOND, 8 * SECOND, Ok(()));
    assert_eq!(state.next(), Some(15 * SECOND));
    state.record(15 * SECOND, 27 * SECOND, Ok(()));
    assert_eq!(state.next(), Some(27 * SECOND + REST), "checks of one probe don't overlap");
}

#[test]
fn what_is_known_to_be_ready_is_until_it_fails() {
    let mut state = State::new(Kind::Readiness, &probe()).known_good();
    assert_eq!((state.finding().good, state.next()), (true, Some(Duration::ZERO)));
    assert!(record(&mut state, failure()));
    assert_eq!(state.next(), Some(10 * SECOND));
    assert!(record(&mut state, failure()));
    assert!(!record(&mut state, failure()));
}

/// Whether a probe is good after these results, told from the results alone: the last run that was long enough.
fn good(kind: Kind, successes: usize, failures: usize, results: &[bool]) -> bool {
    let runs = |count: usize, what: bool| {
        (count..=results.len()).rev().find(|end| results[end - count..*end].iter().all(|result| *result == what))
    };
    match (kind, runs(successes, true), runs(failures, false)) {
        (Kind::Liveness, _, failed) => failed.is_none(),
        (Kind::Readiness, succeeded, failed) => succeeded > failed,
    }
}

proptest! {
    #[test]
    fn thresholds_and_times_hold_whatever_happens(
        liveness: bool,
        successes in 1..4_u32,
        failures in 1..4_u32,
        period in 1..20_000_u64,
        checks in vec((any::<bool>(), 0..30_000_u64), 1..60),
    ) {
        let kind = if liveness { Kind::Liveness } else { Kind::Readiness };
        let period = Span::from_millis(period);
        let probe = Probe { period, success_threshold: successes, failure_threshold: failures, ..Probe::default() };
        let mut state = State::new(kind, &probe);
        let (mut results, mut settled) = (Vec::new(), liveness);
        for (success, took) in checks {
            let Some(began) = state.next() else { break };
            let ended = began + Duration::from_millis(took);
            state.record(began, ended, if success { Ok(()) } else { failure() });
            results.push(success);
            let finding = state.finding();
            settled |= finding.good;
            prop_assert_eq!(finding.good, good(kind, successes as usize, failures as usize, &results), "{:?}", results);
            prop_assert_eq!(finding.message.is_some(), !finding.good && results.contains(&false));
            let over = liveness && !finding.good;
            prop_assert_eq!(state.next().is_none(), over, "it ends when nothing can change any more");
            let Some(next) = state.next() else { break };
            let pause = if settled || success { REST } else { EAGER };
            prop_assert!(next >= ended + pause, "one at a time, and with a pause");
            prop_assert!(next <= (began + period.get()).max(ended + REST), "no later than the period");
            let eager = results.iter().filter(|success| !**success).count();
            prop_assert!(next >= (began + period.get()).min(ended + EAGER) || period.get() < EAGER || eager == 0);
        }
    }
}

#[test]
fn a_check_that_could_not_be_made_counts_for_nothing_and_is_made_again_soon() {
    let mut state = State::new(Kind::Readiness, &probe());
    state.pass_over(5 * SECOND, "no descriptor left");
    assert_eq!(state.finding().message.as_deref(), Some("readiness: could not be asked: no descriptor left"));
    assert_eq!(state.next(), Some(6 * SECOND));
    assert!(record(&mut state, Ok(())));
    for _ in 0..2 {
        assert!(record(&mut state, failure()));
    }
    for _ in 0..9 {
        let due = state.next().unwrap();
        state.pass_over(due, "no descriptor left");
        assert_eq!(state.finding(), Finding { good: true, message: None });
    }
    assert!(!record(&mut state, failure()), "the third in a row of those that were made");
}
