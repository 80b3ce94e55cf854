//! One probe's task: wait until a check is due, check, publish what that means.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    check::Check,
    failure::Failure,
    state::{Finding, Kind, State},
    trial::Trial,
};
use crate::model::{Probe, Probing, Span, TrialOutcome};

/// One probe of one invocation, and what it has found. Ends its task when dropped.
#[derive(Debug)]
pub(super) struct Prober {
    kind: Kind,
    job: Option<(Probe, Check)>,
    since: Instant,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

/// What is known so far.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    finding: Finding,
    /// Why the last check could not be made, if so.
    not_asked: Option<String>,
    trial: Option<Trial>,
}

/// What a probe's task and its owner share.
#[derive(Debug)]
struct Shared {
    found: Mutex<Found>,
    /// A trial has begun: a check is due.
    begun: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the trial asks for a check. What has never been ready is asked often enough without it.
    fn trial_due(&self, state: &State) -> Option<Duration> {
        self.lock().trial.as_ref().filter(|_| state.is_settled()).and_then(Trial::next)
    }
}

impl Prober {
    /// Probes an invocation that was first seen at `since`; `known_good` when it is known to be ready, or alive.
    pub(super) fn start(kind: Kind, target: &Probing, since: Instant, known_good: bool, publish: &Publish) -> Self {
        let job = job(kind, target);
        let state = job.as_ref().and_then(|(probe, check)| state(kind, probe, check, known_good));
        let finding = state.as_ref().map_or(Finding { good: true, message: None }, State::finding);
        let found = Mutex::new(Found { finding, not_asked: None, trial: None });
        let shared = Arc::new(Shared { found, begun: Notify::new() });
        let task = job.clone().zip(state).map(|((probe, check), state)| {
            tokio::spawn(run(state, probe, check, since, Arc::clone(&shared), publish.clone()))
        });
        Self { kind, job, since, shared, task }
    }

    /// Something about the invocation has changed just now: only checks that begin from now on count for its trial.
    pub(super) fn begin_trial(&self, length: Span) {
        let Some((probe, _)) = self.job.as_ref().filter(|_| self.asks()) else { return };
        self.shared.lock().trial = Some(Trial::new(probe, length, self.since.elapsed()));
        self.shared.begun.notify_one();
    }

    /// The same of an invocation whose every check counts, because all begin after it did.
    pub(super) fn start_on_trial(&self, length: Span) {
        let Some((probe, _)) = self.job.as_ref().filter(|_| self.asks()) else { return };
        self.shared.lock().trial = Some(Trial::new(probe, length, Duration::ZERO));
        self.shared.begun.notify_one();
    }

    /// What its trial has come to; `None` when this probe asks nothing, so that there is nothing to wait for. Passed when
    /// none has begun.
    pub(super) fn trial(&self) -> Option<TrialOutcome> {
        self.asks().then(|| self.shared.lock().trial.as_ref().map_or_else(TrialOutcome::passed, Trial::outcome))
    }

    /// Whether there is anyone to ask but systemd.
    fn asks(&self) -> bool {
        self.task.is_some() && self.job.as_ref().is_some_and(|(_, check)| *check != Check::Systemd)
    }

    /// Goes on with what is now wanted: undisturbed when that is the same, else from what was found.
    pub(super) fn retarget(self, target: &Probing, since: Instant, publish: &Publish) -> Self {
        if job(self.kind, target) == self.job {
            return self;
        }
        let known_good = self.kind == Kind::Readiness && self.finding().good;
        Self::start(self.kind, target, since, known_good, publish)
    }

    /// What has been found so far.
    pub(super) fn finding(&self) -> Finding {
        self.shared.lock().finding.clone()
    }

    /// Why the last check could not be made, if so.
    pub(super) fn not_asked(&self) -> Option<String> {
        self.shared.lock().not_asked.clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn job(kind: Kind, target: &Probing) -> Option<(Probe, Check)> {
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

    /// Makes known what was found, and has the trial take in the check that it came of.
    fn publish(&self, shared: &Shared, finding: Finding, check: &Checked) {
        let mut known = shared.lock();
        let trial_before = known.trial.as_ref().map(Trial::outcome);
        if let Some(trial) = &mut known.trial {
            trial.take_in(check.began, check.ended, &check.result);
        }
        let not_asked = check.result.as_ref().err();
        let same = known.finding == finding
            && known.not_asked.as_ref() == not_asked
            && known.trial.as_ref().map(Trial::outcome) == trial_before;
        if !same {
            (known.finding, known.not_asked) = (finding, not_asked.cloned());
            self.changed.notify_one();
        }
    }
}

/// A check that was made, or could not be.
struct Checked {
    began: Duration,
    ended: Duration,
    /// What the replica's answer comes to; an outer error says why it was not asked.
    result: Result<Result<(), String>, String>,
}

async fn run(mut state: State, probe: Probe, check: Check, since: Instant, shared: Arc<Shared>, publish: Publish) {
    let mut rested = Duration::ZERO;
    while let Some(regular) = state.next() {
        let next = shared.trial_due(&state).map_or(regular, |trial| trial.min(regular)).max(rested);
        if !wait_until(since.checked_add(next), &shared.begun).await {
            continue;
        }
        let began = since.elapsed();
        let result = check.run(probe.timeout).await;
        let ended = since.elapsed();
        rested = ended.saturating_add(check.rest());
        let result = match result {
            Ok(()) => Ok(Ok(())),
            Err(Failure::Replica(why)) => Ok(Err(why)),
            Err(Failure::NotAsked(why)) => {
                publish.not_asked.inc();
                Err(why)
            }
        };
        // A check for the trial alone counts towards no threshold.
        if began >= regular {
            state.take_in(began, ended, &result);
        }
        publish.publish(&shared, state.finding(), &Checked { began, ended, result });
        if check == Check::Systemd && state.finding().good {
            return;
        }
    }
}

/// Waits until a check is due; false when a trial has begun meanwhile, so that another may be due sooner. A time too far for
/// the clock never comes.
async fn wait_until(due: Option<Instant>, begun: &Notify) -> bool {
    // A timer rounds up to the next millisecond, even if it is due now.
    if due.is_some_and(|due| due <= Instant::now()) {
        return true;
    }
    let timer = async {
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = timer => true,
        () = begun.notified() => false,
    }
}
