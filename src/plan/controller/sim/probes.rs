//! A process's probes, with the periods, thresholds and trials of the real agent, asked in the simulation's time.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    model::{Assignment, TrialOutcome},
    probe::{
        state::{Kind, State},
        trial::Trial,
    },
};

/// The probe of one process: its readiness probe, or else its liveness probe.
#[derive(Clone, Debug)]
pub(super) struct Probed {
    kind: Kind,
    state: State,
    trial: Trial,
    since: Timestamp,
}

impl Probed {
    /// Of a process that has just been started; `None` without probes.
    pub(super) fn start(content: &Assignment, now: Timestamp) -> Option<Self> {
        let probes = &content.probes;
        let readiness = probes.readiness.as_ref().map(|probe| (Kind::Readiness, probe));
        let (kind, probe) = readiness.or(probes.liveness.as_ref().map(|probe| (Kind::Liveness, probe)))?;
        let trial = Trial::new(probe, content.min_healthy_time, Duration::ZERO);
        Some(Self { kind, state: State::new(kind, probe), trial, since: now })
    }

    /// The process has been told to read other content.
    pub(super) fn change(&mut self, content: &Assignment, now: Timestamp) {
        let probe = match self.kind {
            Kind::Readiness => content.probes.readiness.as_ref(),
            Kind::Liveness => content.probes.liveness.as_ref(),
        };
        if let Some(probe) = probe {
            self.trial = Trial::new(probe, content.min_healthy_time, self.elapsed(now));
        }
    }

    fn elapsed(&self, now: Timestamp) -> Duration {
        now.duration_since(self.since).unsigned_abs()
    }

    /// Makes one check, if one is due.
    pub(super) fn check(&mut self, serves: bool, now: Timestamp) -> bool {
        let regular = self.state.next();
        let trial = self.trial.next().filter(|_| self.state.is_settled());
        let at = self.elapsed(now);
        if regular.into_iter().chain(trial).min().is_none_or(|due| due > at) {
            return false;
        }
        let result = if serves { Ok(()) } else { Err("503".to_owned()) };
        if regular.is_some_and(|due| due <= at) {
            self.state.record(at, at, result.clone());
        }
        self.trial.record(at, at, &result);
        true
    }

    pub(super) fn is_ready(&self) -> bool {
        self.kind == Kind::Liveness || self.state.finding().good
    }

    /// Whether it is to be restarted, which takes time: nothing dies twice in one moment.
    pub(super) fn is_dead(&self, now: Timestamp) -> bool {
        self.kind == Kind::Liveness && !self.state.finding().good && now > self.since
    }

    pub(super) fn outcome(&self) -> TrialOutcome {
        self.trial.outcome()
    }
}
