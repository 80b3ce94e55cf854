//! What is asked of a replica's processes, with the periods, thresholds and trials of the real probers, in simulated time.

use std::time::{Duration, Instant};

use crate::{
    model::{Probe, Probing, Span, TrialOutcome, Verdict},
    probe::{
        state::{Finding, Kind, State},
        trial::Trial,
    },
};

/// The probes of one invocation.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    pub(crate) invocation: String,
    since: Instant,
    target: Probing,
    readiness: Asked,
    liveness: Asked,
}

/// One of its probes.
#[derive(Clone, Debug)]
struct Asked {
    kind: Kind,
    probe: Option<Probe>,
    state: Option<State>,
    trial: Option<Trial>,
}

impl Prober {
    pub(super) fn start(invocation: String, target: Probing, now: Instant) -> Self {
        let asked =
            |kind| Asked::start(kind, &target, target.was_ready, target.trial.map(|length| (length, Duration::ZERO)));
        let (readiness, liveness) = (asked(Kind::Readiness), asked(Kind::Liveness));
        Self { invocation, since: now, readiness, liveness, target }
    }

    /// The same invocation with what is now wanted of it.
    pub(super) fn retarget(&mut self, target: &Probing) {
        let target = Probing { was_ready: self.target.was_ready, trial: self.target.trial, ..target.clone() };
        for asked in [&mut self.readiness, &mut self.liveness] {
            if wanted(asked.kind, &target) != asked.probe.as_ref() {
                let known_good = asked.kind == Kind::Readiness && asked.finding().good;
                *asked = Asked::start(asked.kind, &target, known_good, None);
            }
        }
        self.target = target;
    }

    pub(super) fn begin_trial(&mut self, length: Span, now: Instant) {
        let began = now.saturating_duration_since(self.since);
        for asked in [&mut self.readiness, &mut self.liveness] {
            asked.trial = asked.probe.as_ref().map(|probe| Trial::new(probe, length, began));
        }
    }

    /// Makes the checks that are due; whether what is known has changed.
    pub(super) fn check(&mut self, serves: bool, now: Instant) -> bool {
        let at = now.saturating_duration_since(self.since);
        let before = (self.verdict(), self.trial());
        self.readiness.check(serves, at);
        self.liveness.check(serves, at);
        (self.verdict(), self.trial()) != before
    }

    /// When the next check is due that may change something.
    pub(super) fn due(&self, serves: bool) -> Option<Instant> {
        let open = serves != self.verdict().ready || (serves && !self.trial().over);
        let due = [&self.readiness, &self.liveness].into_iter().filter_map(Asked::due).min();
        due.filter(|_| open).map(|due| self.since + due)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let (readiness, liveness) = (self.readiness.finding(), self.liveness.finding());
        let message = liveness.message.or(readiness.message);
        Verdict { ready: readiness.good, alive: liveness.good, message }
    }

    pub(super) fn trial(&self) -> TrialOutcome {
        let outcome = |asked: &Asked| {
            asked.probe.is_some().then(|| asked.trial.as_ref().map_or_else(TrialOutcome::passed, Trial::outcome))
        };
        let (readiness, liveness) = (outcome(&self.readiness), outcome(&self.liveness));
        let failed = liveness.as_ref().and_then(|it| it.failure.clone());
        let unconfirmed = match (&readiness, &liveness) {
            (Some(readiness), _) => readiness.unconfirmed || failed.is_some(),
            (None, Some(liveness)) => liveness.unconfirmed || failed.is_some(),
            (None, None) => false,
        };
        let both = || [&readiness, &liveness].into_iter().flatten();
        TrialOutcome {
            unconfirmed,
            setbacks: both().map(|it| it.setbacks).sum(),
            over: both().all(|it| it.over),
            failure: failed.or(readiness.as_ref().and_then(|it| it.failure.clone())),
        }
    }
}

fn wanted(kind: Kind, target: &Probing) -> Option<&Probe> {
    match kind {
        Kind::Readiness => target.readiness.as_ref(),
        Kind::Liveness => target.liveness.as_ref(),
    }
}

impl Asked {
    /// `trial` = how long, and when it began.
    fn start(kind: Kind, target: &Probing, known_good: bool, trial: Option<(Span, Duration)>) -> Self {
        let probe = wanted(kind, target).cloned();
        let state = probe.as_ref().map(|probe| {
            let state = State::new(kind, probe);
            if known_good { state.known_good() } else { state }
        });
        let trial = probe.as_ref().zip(trial).map(|(probe, (length, began))| Trial::new(probe, length, began));
        Self { kind, probe, state, trial }
    }

    fn finding(&self) -> Finding {
        self.state.as_ref().map_or(Finding { good: true, message: None }, State::finding)
    }

    fn trial_due(&self) -> Option<Duration> {
        self.trial.as_ref().filter(|_| self.state.as_ref().is_some_and(State::is_settled)).and_then(Trial::next)
    }

    fn due(&self) -> Option<Duration> {
        let regular = self.state.as_ref().and_then(State::next)?;
        Some(self.trial_due().map_or(regular, |trial| trial.min(regular)))
    }

    fn check(&mut self, serves: bool, at: Duration) {
        if self.due().is_none_or(|due| due > at) {
            return;
        }
        let result = if serves { Ok(()) } else { Err("503".to_owned()) };
        if let Some(state) = self.state.as_mut().filter(|state| state.next().is_some_and(|due| due <= at)) {
            state.record(at, at, result.clone());
        }
        if let Some(trial) = &mut self.trial {
            trial.record(at, at, &result);
        }
    }
}
