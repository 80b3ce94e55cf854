//! One probe's task: wait until a check is due, check, publish what that means.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Target,
    check::Check,
    state::{Finding, Kind, State},
};
use crate::model::Probe;

/// One probe of one invocation, and what it has found. Ends its task when dropped.
#[derive(Debug)]
pub(super) struct Prober {
    kind: Kind,
    job: Option<(Probe, Check)>,
    finding: Arc<Mutex<Finding>>,
    task: Option<JoinHandle<()>>,
}

impl Prober {
    /// Probes an invocation that was first seen at `since`; `known_good` when it is known to be ready, or alive.
    pub(super) fn start(kind: Kind, target: &Target, since: Instant, known_good: bool, changed: &Arc<Notify>) -> Self {
        let job = job(kind, target);
        let state = job.as_ref().and_then(|(probe, check)| state(kind, probe, check, known_good));
        let finding = state.as_ref().map_or(Finding { good: true, message: None }, State::finding);
        let finding = Arc::new(Mutex::new(finding));
        let task = job.clone().zip(state).map(|((probe, check), state)| {
            let publish = Publish { finding: Arc::clone(&finding), changed: Arc::clone(changed) };
            tokio::spawn(run(state, probe, check, since, publish))
        });
        Self { kind, job, finding, task }
    }

    /// Goes on with what is now wanted: undisturbed when that is the same, else from what was found.
    pub(super) fn retarget(self, target: &Target, since: Instant, changed: &Arc<Notify>) -> Self {
        if job(self.kind, target) == self.job {
            return self;
        }
        let known_good = self.kind == Kind::Readiness && self.finding().good;
        Self::start(self.kind, target, since, known_good, changed)
    }

    /// What has been found so far.
    pub(super) fn finding(&self) -> Finding {
        self.finding.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

struct Publish {
    finding: Arc<Mutex<Finding>>,
    changed: Arc<Notify>,
}

impl Publish {
    fn publish(&self, finding: Finding) {
        let mut published = self.finding.lock().unwrap_or_else(PoisonError::into_inner);
        if *published != finding {
            *published = finding;
            self.changed.notify_one();
        }
    }
}

async fn run(mut state: State, probe: Probe, check: Check, since: Instant, publish: Publish) {
    while let Some(next) = state.next() {
        // A time too far for the clock never comes.
        let Some(due) = since.checked_add(next) else { return };
        // A timer rounds up to the next millisecond, even if it is due now.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let began = since.elapsed();
        let result = check.run(probe.timeout).await;
        state.record(began, since.elapsed(), result);
        publish.publish(state.finding());
        if check == Check::Systemd && state.finding().good {
            return;
        }
    }
}
