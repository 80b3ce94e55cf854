//! What an agent does next: assignments, units and ephemerals in; steps with reasons out.
//!
//! Each replica is decided by itself, from what is wanted of it, its unit, its generated files and what the agent
//! remembers. A decision says at most one step; when the step is done, the replica is looked at again:
//!
//! ```text
//!  enabled:    stage (release, configuration) ─► prepare (drop-in, daemon-reload) ─► start ─► running
//!              ─► ready by its probes: in `instances`
//!  changed:    stage, while the old goes on ─► prepare and out of `instances` ─► drain time ─► restart ─► running
//!              only its configuration: stage ─► prepare ─► reload or signal, and it stays in `instances`
//!  not alive:  out of `instances` ─► restart; too often: stop, failed
//!  disabled:   out of `instances` ─► stop ─► stopped
//!  drain:      out of `instances` ─► drain time ─► stop ─► stopped
//!  no longer assigned here, or its unit is another:  out of `instances` ─► stop ─► forget (files removed)
//! ```
//!
//! A replica always leaves `instances` before its process is stopped or restarted. The links to the release and the
//! configuration are switched by the job that starts, restarts or reloads.

pub mod action;
mod adopt;
mod decide;
mod down;
mod force;
mod health;
mod memory;
mod state;
#[cfg(test)]
mod tests;
mod upcoming;
mod view;
mod work;

use std::{collections::BTreeMap, time::Instant};

pub use adopt::adopt;
pub use decide::decide;
pub use force::{Overruled, Part, Placed, overruled};
pub use memory::Memory;
pub use state::{Findings, FoldersOf, Policy, Round, State, needs_any};
pub use upcoming::meanwhile;
pub use view::{Busy, LastLine, Links, Probed, Staging, Upcoming, View, Wanted};
pub use work::{Basis, Claim, Effect, Unreadable, Work};

use crate::model::{Files, ReplicaId, ReplicaState, Stale, Verb};

/// What to do with one replica, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own to those who carry it out")]
pub struct Decision {
    /// The next step; `None` = nothing to do, or something must happen first.
    pub step: Option<Step>,
    /// Why the step is due, or what is waited for.
    pub reason: String,
    /// What `status` says.
    pub state: ReplicaState,
    /// What stands in the way, or what went wrong, for `status`.
    pub message: Option<String>,
    /// Whether the replica belongs in `instances`.
    pub listed: bool,
    /// Whether all that is wanted of it is in force. While it is not, `status` speaks of what still runs: it must not
    /// pass for what is wanted.
    pub in_force: bool,
    /// When to look again though nothing changed.
    pub wake_at: Option<Instant>,
    /// Whether its readiness probe succeeds; true when it has none.
    pub ready: bool,
    /// Its newer work is to be brought onto the host now, beside whatever the step is.
    pub stage: bool,
    /// Its newer work was given up.
    pub rejected: bool,
    /// It is about to be started again, having been said to be down.
    pub retrying: bool,
}

/// One step for a replica's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the generated files and let systemd read them.
    Prepare(Prepare),
    /// One systemd job.
    Job(Verb),
    /// Bring the configuration into force and send the main process this signal.
    Signal(Option<String>),
    /// Clear the failed state (and with it the start limit), then start.
    ResetAndStart,
    /// Restart it because it is not alive.
    Revive,
    /// Stop it because it is not alive, and restarts did not help.
    GiveUp,
    /// Remove the generated files and forget the replica.
    Forget,
}

/// Generated files to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The files' text.
    pub files: Files,
    /// What the files stand for: [`restart_key`](crate::model::restart_key).
    pub key: String,
    /// To be on disk before the files change: the invocation that will not have read them.
    pub stale: Option<Stale>,
    /// The unit's invocation when this was decided. One that was started since may have read either files.
    pub seen: String,
    /// What runs is to be restarted, and leaves `instances` while the files are written.
    pub leaves: bool,
}

/// The replica that has a unit which another wants, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Which.
    pub id: &'a ReplicaId,
    /// It is on its way out: the unit will be free.
    pub leaving: bool,
}

/// Decides every replica.
///
/// Units are not shared: of two replicas that name the same unit, be it by two names, the one that the agent already runs (or else the
/// first by name) gets it, the other is refused.
pub fn plan(views: &[View<'_>], now: Instant) -> BTreeMap<ReplicaId, Decision> {
    let mut owners: BTreeMap<&str, &View<'_>> = BTreeMap::new();
    for view in views.iter().filter(|view| !matches!(view.wanted, Wanted::Refused(..))) {
        let owner = owners.entry(view.primary_name()).or_insert(view);
        if view.record.is_some() && owner.record.is_none() {
            *owner = view;
        }
    }
    let owner_of = |view: &View<'_>| {
        let owner = owners.get(view.primary_name()).filter(|owner| owner.id != view.id)?;
        Some(Owner { id: owner.id, leaving: owner.is_leaving() })
    };
    views.iter().map(|view| (view.id.clone(), decide(view, owner_of(view), now))).collect()
}

impl Decision {
    /// Nothing to do.
    fn steady(state: ReplicaState, listed: bool) -> Self {
        Self {
            step: None,
            reason: String::new(),
            state,
            message: None,
            listed,
            in_force: false,
            wake_at: None,
            ready: true,
            stage: false,
            rejected: false,
            retrying: false,
        }
    }

    /// Whether the step brings a process up.
    fn starts(&self) -> bool {
        matches!(self.step, Some(Step::Job(Verb::Start | Verb::Restart) | Step::ResetAndStart))
    }

    /// A step is due.
    fn step(state: ReplicaState, step: Step, reason: impl Into<String>) -> Self {
        Self { step: Some(step), reason: reason.into(), ..Self::steady(state, false) }
    }

    fn message(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    fn listed(self, listed: bool) -> Self {
        Self { listed, ..self }
    }

    fn wake_at(self, at: Instant) -> Self {
        Self { wake_at: Some(at), ..self }
    }
}
