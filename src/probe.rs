//! Whether replicas are ready for work and still alive, asked of the replicas themselves: readiness and liveness.
//!
//! ```text
//!  Probers::set ─► one task per probe: wait ─► check ─► State::record ─► wait …
//!                                       │       tcp, http, exec, zookeeper
//!  Probers::changed ◄── the verdict differs ◄───┘
//!  Probers::get
//! ```
//!
//! When a check is due and what its result means is decided in [`state`], which is pure. A probe whose check is the
//! unit's own state (`systemd`), or that there is not, has no task once it has succeeded: nothing polls when nothing
//! is probed.

mod check;
mod exec;
mod failure;
mod http;
pub mod state;
mod task;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod trial;
mod zookeeper;

use std::{collections::BTreeMap, mem, sync::Arc};

use prometheus_client::metrics::counter::Counter;
use tokio::{sync::Notify, time::Instant};

use crate::model::{Probing, ReplicaId, Span, TrialOutcome, Verdict};

use state::Kind;
use task::{Prober, Publish};

/// Probes replicas. Dropping it ends every check, and kills the commands that run as one.
#[derive(Debug, Default)]
pub struct Probers {
    replicas: BTreeMap<ReplicaId, Replica>,
    changed: Arc<Notify>,
    not_asked: Counter,
}

impl Probers {
    /// Probes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), and counts the checks that could not be made: see [`not_asked`](Self::not_asked).
    pub fn counting(not_asked: Counter) -> Self {
        Self { not_asked, ..Self::default() }
    }

    /// Sets what is probed: for each replica the invocation of its unit and its [`Probing`]. Idempotent, and cheap when
    /// nothing changes.
    ///
    /// A new invocation starts again: not ready (unless it has no readiness probe), alive, its initial delay counted
    /// from now. When a probe changes within an invocation, what was ready is so until the new one has failed, and
    /// liveness is judged again. What does not change goes on undisturbed. Other replicas than these are forgotten.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn set(&mut self, targets: BTreeMap<ReplicaId, (String, Probing)>) {
        let mut known = mem::take(&mut self.replicas);
        let publish = Publish::new(&self.changed, &self.not_asked);
        for (id, (invocation, target)) in targets {
            let replica = match known.remove(&id).filter(|known| known.invocation == invocation) {
                Some(known) => known.retarget(target, &publish),
                None => Replica::start(invocation, target, &publish),
            };
            self.replicas.insert(id, replica);
        }
    }

    /// What is known about a replica's current invocation; the default for one that is not probed.
    pub fn get(&self, id: &ReplicaId) -> Verdict {
        self.replicas.get(id).map(Replica::verdict).unwrap_or_default()
    }

    /// Why the last check of some replica could not be made, if so: the agent's own shortage, which leaves each verdict as
    /// it is. The first replica by name stands for all.
    pub fn not_asked(&self) -> Option<String> {
        self.replicas.iter().find_map(|(id, replica)| Some(format!("{id}: {}", replica.not_asked()?)))
    }

    /// The replica's current invocation was changed just now: it is on trial for `length`, and only checks that begin from
    /// now on count.
    pub fn begin_trial(&mut self, id: &ReplicaId, length: Span) {
        if let Some(replica) = self.replicas.get(id) {
            replica.readiness.begin_trial(length);
            replica.liveness.begin_trial(length);
        }
    }

    /// What the trial of a replica's current invocation has come to; passed when nothing is asked.
    pub fn trial(&self, id: &ReplicaId) -> TrialOutcome {
        self.replicas.get(id).map_or_else(TrialOutcome::passed, Replica::trial)
    }

    /// Waits until a check has changed a verdict or a trial since the last call; who calls [`set`](Self::set) looks by itself. May
    /// be dropped at any point: no change is lost.
    pub async fn changed(&mut self) {
        self.changed.notified().await;
    }
}

/// One replica's current invocation.
#[derive(Debug)]
struct Replica {
    invocation: String,
    /// When the invocation was first seen.
    since: Instant,
    target: Probing,
    readiness: Prober,
    liveness: Prober,
}

impl Replica {
    fn start(invocation: String, target: Probing, publish: &Publish) -> Self {
        let since = Instant::now();
        let readiness = Prober::start(Kind::Readiness, &target, since, target.was_ready, publish);
        let liveness = Prober::start(Kind::Liveness, &target, since, target.was_ready, publish);
        if let Some(length) = target.trial {
            readiness.start_on_trial(length);
            liveness.start_on_trial(length);
        }
        Self { invocation, since, target, readiness, liveness }
    }

    /// The same invocation with what is now wanted of it.
    fn retarget(mut self, target: Probing, publish: &Publish) -> Self {
        let target = Probing { was_ready: self.target.was_ready, trial: self.target.trial, ..target };
        if target != self.target {
            self.readiness = self.readiness.retarget(&target, self.since, publish);
            self.liveness = self.liveness.retarget(&target, self.since, publish);
            self.target = target;
        }
        self
    }

    fn not_asked(&self) -> Option<String> {
        self.readiness.not_asked().or_else(|| self.liveness.not_asked())
    }

    fn verdict(&self) -> Verdict {
        let (readiness, liveness) = (self.readiness.finding(), self.liveness.finding());
        let message = liveness.message.or(readiness.message);
        Verdict { ready: readiness.good, alive: liveness.good, message }
    }

    /// The readiness probe has to succeed, and the liveness probe not to fail: it may be asked much later. Without a
    /// readiness probe, liveness is all that tells.
    fn trial(&self) -> TrialOutcome {
        let (readiness, liveness) = (self.readiness.trial(), self.liveness.trial());
        let alone = readiness.is_none();
        let failure = |of: &Option<TrialOutcome>| of.as_ref().and_then(|outcome| outcome.failure.clone());
        let told = |kind: Kind, failure: String| format!("{kind}: {failure}");
        let failed = failure(&liveness).map(|failure| told(Kind::Liveness, failure));
        let unconfirmed = |outcome: &TrialOutcome| outcome.unconfirmed;
        TrialOutcome {
            unconfirmed: readiness.as_ref().is_some_and(unconfirmed)
                || failed.is_some()
                || (alone && liveness.as_ref().is_some_and(unconfirmed)),
            setbacks: [&readiness, &liveness].into_iter().flatten().map(|outcome| outcome.setbacks).sum(),
            over: [&readiness, &liveness].into_iter().flatten().all(|outcome| outcome.over),
            failure: failed.or(failure(&readiness).map(|failure| told(Kind::Readiness, failure))),
        }
    }
}

/// The beginning of what a replica said, short enough for a message.
fn brief(text: &str) -> String {
    const LENGTH: usize = 200;
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut brief: String = clean.take(LENGTH + 1).collect();
    if brief.chars().count() > LENGTH {
        brief.pop();
        brief.push('…');
    }
    brief
}
