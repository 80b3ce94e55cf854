//! One probe's task: wait until a check is due, check, publish what that means.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Target,
    check::Check,
    failure::Failure,
    state::{Finding, Kind, State},
};
use crate::model::Probe;

/// One probe of one invocation, and what it has found. Ends its task when dropped.
#[derive(Debug)]
pub(super) struct Prober {
    kind: Kind,
    job: Option<(Probe, Check)>,
    found: Arc<Mutex<Found>>,
    task: Option<JoinHandle<()>>,
}

/// What is known so far.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    finding: Finding,
    /// Why the last check could not be made, if so.
    not_asked: Option<String>,
}

impl Prober {
    /// Probes an invocation that was first seen at `since`; `known_good` when it is known to be ready, or alive.
    pub(super) fn start(kind: Kind, target: &Target, since: Instant, known_good: bool, publish: &Publish) -> Self {
        let job = job(kind, target);
        let state = job.as_ref().and_then(|(probe, check)| state(kind, probe, check, known_good));
        let finding = state.as_ref().map_or(Finding { good: true, message: None }, State::finding);
        let found = Arc::new(Mutex::new(Found { finding, not_asked: None }));
        let task = job.clone().zip(state).map(|((probe, check), state)| {
            tokio::spawn(run(state, probe, check, since, Arc::clone(&found), publish.clone()))
        });
        Self { kind, job, found, task }
    }

    /// Goes on with what is now wanted: undisturbed when that is the same, else from what was found.
    pub(super) fn retarget(self, target: &Target, since: Instant, publish: &Publish) -> Self {
        if job(self.kind, target) == self.job {
            return self;
        }
        let known_good = self.kind == Kind::Readiness && self.finding().good;
        Self::start(self.kind, target, since, known_good, publish)
    }

    /// What has been found so far.
    pub(super) fn finding(&self) -> Finding {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).finding.clone()
    }

    /// Why the last check could not be made, if so.
    pub(super) fn not_asked(&self) -> Option<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).not_asked.clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn job(kind: Kind, target: &Target) -> Option<(Probe, Check)> {
    let probe = match kind {
        Kind::Readiness => target.readiness.as_ref(),
        Kind::Liveness => target.liveness.as_ref(),
    }?;
    Some((probe.clone(), Check::new(probe, target)))
}

/// Where a probe begins; `None` when there is nothing to find out.
fn state(kind: Kind, probe: &Probe, check: &Check, known_good: bool) -> Option<State> {
    let state = State::new(kind, probe);
    let state = if known_good { state.known_good() } else { state };
    let at_once = probe.initial_delay.get().is_zero() && probe.success_threshold <= 1;
    let nothing = *check == Check::Systemd && (state.finding().good || at_once);
    (!nothing).then_some(state)
}

/// How what was found is made known.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    changed: Arc<Notify>,
    not_asked: Counter,
}

impl Publish {
    pub(super) fn new(changed: &Arc<Notify>, not_asked: &Counter) -> Self {
        Self { changed: Arc::clone(changed), not_asked: not_asked.clone() }
    }

    fn publish(&self, found: &Mutex<Found>, now: Found) {
        let mut known = found.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != now {
            *known = now;
            self.changed.notify_one();
        }
    }
}

async fn run(mut state: State, probe: Probe, check: Check, since: Instant, found: Arc<Mutex<Found>>, publish: Publish) {
    while let Some(next) = state.next() {
        // A time too far for the clock never comes.
        let Some(due) = since.checked_add(next) else { return };
        // A timer rounds up to the next millisecond, even if it is due now.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let began = since.elapsed();
        let result = check.run(probe.timeout).await;
        let ended = since.elapsed();
        let not_asked = match result {
            Ok(()) => record(&mut state, began, ended, Ok(())),
            Err(Failure::Replica(why)) => record(&mut state, began, ended, Err(why)),
            Err(Failure::NotAsked(why)) => {
                publish.not_asked.inc();
                state.pass_over(ended, &why);
                Some(why)
            }
        };
        publish.publish(&found, Found { finding: state.finding(), not_asked });
        if check == Check::Systemd && state.finding().good {
            return;
        }
    }
}

/// The replica was asked.
fn record(state: &mut State, began: Duration, ended: Duration, result: Result<(), String>) -> Option<String> {
    state.record(began, ended, result);
    None
}
