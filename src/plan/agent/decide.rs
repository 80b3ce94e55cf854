//! The decision for one replica.

use std::time::{Duration, Instant};

use super::{
    Busy, Decision, LastLine, Owner, Prepare, Step, View, Wanted,
    down::{down, failure, start, unusable, with_last_line},
    health, upcoming,
};
use crate::model::{ActiveState, Assignment, ConfigApply, Files, Mode, Record, ReplicaState, Stale, Verb};

/// Decides one replica. `owner` is another replica that has the same unit on this host.
pub fn decide(view: &View<'_>, owner: Option<Owner<'_>>, now: Instant) -> Decision {
    let decision = Decision { ready: view.probed.ready, ..unless_busy(view, owner, now) };
    match view.upcoming {
        Some(upcoming) => upcoming::announce(view, upcoming, decision, now),
        None => decision,
    }
}

fn unless_busy(view: &View<'_>, owner: Option<Owner<'_>>, now: Instant) -> Decision {
    let decision = || settled(view, owner, now);
    let retry_at = view.memory.step.retry_at.filter(|at| now < *at);
    match view.busy {
        Some(Busy::Job(verb)) if verb != Verb::Stop => overtake(decision()).unwrap_or_else(|| waiting(view)),
        Some(_) => waiting(view),
        None => retry_at.map_or_else(decision, |at| waiting(view).wake_at(at)),
    }
}

/// A job under way is waited for, unless what is wanted now is that nothing runs.
fn overtake(decision: Decision) -> Option<Decision> {
    let stops = decision.step == Some(Step::Job(Verb::Stop));
    let leaves = decision.step.is_none() && decision.state == ReplicaState::Draining;
    (stops || leaves).then_some(decision)
}

/// A step is under way, or one failed and its back-off is not over: say how things stand.
fn waiting(view: &View<'_>) -> Decision {
    let listed = view.is_enabled() && (view.in_instances || view.is_back()) && view.serves();
    let (state, listed) = match view.busy {
        // What runs of it yet is on its way out.
        Some(Busy::Job(Verb::Restart)) if view.is_stale() => (ReplicaState::Stopping, listed),
        Some(Busy::Files { leaves: true }) if view.unit.active.is_up() => (ReplicaState::Draining, false),
        _ => (seen(view), listed),
    };
    let obstacle = view.memory.obstructed.as_ref().filter(|_| view.is_down()).map(|it| it.why.clone());
    let has_failed = state == ReplicaState::Failed && view.unit.active == ActiveState::Failed;
    let message = view.memory.step.problem.clone().or(obstacle).or_else(|| has_failed.then(|| failure(view)));
    Decision { message, ..Decision::steady(state, listed) }
}

/// Nothing of it is on the host yet. A unit of its name that runs all the same is left alone.
fn awaited(view: &View<'_>) -> Decision {
    let state = match view.unit.active {
        ActiveState::Inactive | ActiveState::Failed => ReplicaState::Pending,
        _ => seen(view),
    };
    Decision::steady(state, view.in_instances && view.serves())
}

/// It goes on for as long as it is up: systemd may restart it, this agent does not start it.
fn kept(view: &View<'_>, why: &str) -> Decision {
    let state = match seen(view) {
        ReplicaState::Pending | ReplicaState::Failed => ReplicaState::Refused,
        state => state,
    };
    let why = if state == ReplicaState::Refused { why.to_owned() } else { format!("runs on as it is: {why}") };
    Decision { rejected: true, ..Decision::steady(state, view.serves()) }.message(why)
}

/// Nothing is under way.
fn settled(view: &View<'_>, owner: Option<Owner<'_>>, now: Instant) -> Decision {
    match (view.wanted, owner) {
        (Wanted::Refused(_, why), _) => Decision::steady(ReplicaState::Refused, false).message(why),
        (_, Some(owner)) => give_way(view, owner),
        (Wanted::Awaited(_), None) => awaited(view),
        (Wanted::Kept { why, .. }, None) => kept(view, why),
        (Wanted::Leaving { why, drain_time, .. }, None) => leaving(view, why, drain_time, now),
        (Wanted::Assigned { assignment, files, key }, None) => match assignment.mode {
            Mode::Enabled => enabled(view, assignment, files, key, now),
            Mode::Disabled => stopped(view, Duration::ZERO, "mode is disabled", now),
            Mode::Drain => stopped(view, assignment.template.drain_time.get(), "mode is drain", now),
        },
    }
}

/// Another replica has the unit: an obstacle that passes, or one that does not.
fn give_way(view: &View<'_>, owner: Owner<'_>) -> Decision {
    let (unit, id) = (view.unit_name(), owner.id);
    match (owner.leaving, view.is_enabled()) {
        (true, true) => {
            Decision::steady(ReplicaState::Pending, false).message(format!("waits until {id} has left {unit}"))
        }
        (true, false) => Decision::steady(ReplicaState::Stopped, false),
        (false, _) => {
            let primary = view.primary_name();
            let alias = if primary == unit.as_str() { "" } else { &format!(", another name of {primary},") };
            Decision::steady(ReplicaState::Refused, false)
                .message(format!("{unit}{alias} already runs as {id} on this host"))
        }
    }
}

/// The unit's state in a replica's words.
fn seen(view: &View<'_>) -> ReplicaState {
    match view.unit.active {
        ActiveState::Active if view.is_enabled() && view.unit.has_ended() => ReplicaState::Pending,
        ActiveState::Active | ActiveState::Reloading | ActiveState::Maintenance | ActiveState::Unknown => {
            ReplicaState::Running
        }
        ActiveState::Activating => ReplicaState::Starting,
        ActiveState::Failed | ActiveState::Inactive if view.is_enabled() && view.is_obstructed() => {
            ReplicaState::Failed
        }
        // What failed was wanted before; or it is not the end yet, or not told yet.
        ActiveState::Failed
            if view.is_enabled()
                && (view.memory.fresh || view.is_starting() || view.last_line == LastLine::Awaited) =>
        {
            ReplicaState::Pending
        }
        ActiveState::Failed if view.is_enabled() => ReplicaState::Failed,
        ActiveState::Inactive if view.is_enabled() => ReplicaState::Pending,
        ActiveState::Inactive | ActiveState::Failed if view.is_down() => ReplicaState::Stopped,
        ActiveState::Inactive | ActiveState::Failed | ActiveState::Deactivating => ReplicaState::Stopping,
    }
}

fn enabled(view: &View<'_>, assignment: &Assignment, files: &Files, key: &str, now: Instant) -> Decision {
    if view.unit.is_broken() && *view.files == Files::default() {
        // By what is on the host, not by what zkops wrote.
        return broken(view, assignment, now);
    }
    if view.files != files || !view.loaded || view.record.is_none() || view.is_misplaced() {
        return outdated(view, files, key);
    }
    match view.unit.active {
        ActiveState::Deactivating => {
            Decision::steady(ReplicaState::Stopping, false).message("waits for its unit to stop")
        }
        ActiveState::Inactive | ActiveState::Failed => down(view, assignment, now),
        ActiveState::Active if view.unit.has_ended() && !view.is_stale() => {
            start(view, Step::Job(Verb::Restart), "is enabled and its process has ended", now)
        }
        ActiveState::Activating if view.is_stale() => restart(view, assignment, now),
        ActiveState::Activating => {
            let exit = view.unit.exit.as_ref().filter(|_| view.last_line != LastLine::Awaited);
            Decision {
                message: exit.map(|exit| with_last_line(exit, view)),
                ..Decision::steady(ReplicaState::Starting, false)
            }
        }
        ActiveState::Active | ActiveState::Reloading | ActiveState::Maintenance | ActiveState::Unknown => {
            running(view, assignment, now)
        }
    }
}

/// Its unit's file on the host cannot be used: what runs goes on, nothing is written beside it.
fn broken(view: &View<'_>, assignment: &Assignment, now: Instant) -> Decision {
    if view.is_down() {
        return down(view, assignment, now);
    }
    let problem = unusable(view).unwrap_or_default();
    Decision::steady(seen(view), view.in_instances && view.serves()).message(format!("runs on as it is: {problem}"))
}

/// Generated files are out of date. What runs goes on while they are written; a start that is still under way with what
/// is no longer wanted is given up first, for it may never end.
fn outdated(view: &View<'_>, files: &Files, key: &str) -> Decision {
    let other = view.record.is_some_and(|record| record.prepared_key.as_deref() != Some(key));
    if other && view.is_starting() && view.unit.active == ActiveState::Activating && !view.in_instances {
        let why = "start cancelled: what it is to run has changed";
        return Decision::step(ReplicaState::Stopping, Step::Job(Verb::Stop), why);
    }
    prepare(view, files, key)
}

fn prepare(view: &View<'_>, files: &Files, key: &str) -> Decision {
    let before = view.record.and_then(|record| record.prepared_key.as_deref());
    let runs =
        !matches!(view.unit.active, ActiveState::Inactive | ActiveState::Failed) && !view.unit.invocation.is_empty();
    let ours_before = view.files.drop_in.is_some() || before.is_some();
    let known = view.record.and_then(|record| record.stale.as_ref());
    let undone = known.is_some_and(|stale| view.is_stale() && stale.key.as_deref() == Some(key) && view.links.release);
    let stale = if undone {
        None
    } else if view.is_stale() || (before == Some(key) && !view.is_misplaced()) {
        known.cloned()
    } else if runs && (ours_before || view.is_misplaced()) {
        Some(Stale {
            invocation: view.unit.invocation.clone(),
            version: view.running_version(),
            // What was started with these very files runs with another release.
            key: before.filter(|before| *before != key).map(str::to_owned),
        })
    } else {
        None
    };
    // What is to be restarted leaves `instances` while the files are written, unless they could not be: then it serves
    // until they are.
    let restarts = stale.as_ref().is_some_and(|stale| stale.invocation == view.unit.invocation);
    let leaves = restarts && view.unit.active.is_up() && !view.disk_busy && view.memory.step.failures == 0;
    let seen_now = view.unit.invocation.clone();
    let prepare = Prepare { files: files.clone(), key: key.to_owned(), stale, seen: seen_now, leaves };
    let state = if leaves { ReplicaState::Draining } else { seen(view) };
    let listed = (view.in_instances || view.is_back()) && view.serves() && !leaves;
    Decision::step(state, Step::Prepare(prepare), "its generated files are out of date").listed(listed)
}

fn running(view: &View<'_>, assignment: &Assignment, now: Instant) -> Decision {
    let listed = view.probed.ready && (view.unit.active == ActiveState::Active || view.in_instances);
    let setback = view.probed.setback.filter(|_| view.probed.ready).map(|setback| format!("on trial: {setback}"));
    let not_ready = view.probed.message.filter(|_| !view.probed.ready).map(str::to_owned).or(setback);
    let steady = Decision { message: not_ready, ..Decision::steady(ReplicaState::Running, listed) };
    let unread = is_unread(view, assignment);
    match unusable(view) {
        Some(problem) if view.is_stale() || unread => steady.message(format!("runs on as it is: {problem}")),
        None if !view.probed.alive => health::dead(view, assignment, now),
        _ if view.is_stale() => restart(view, assignment, now),
        _ if unread => reread(view, assignment, now),
        _ => Decision { in_force: true, ..steady },
    }
}

/// Whether the process has yet to read the configuration that is wanted.
fn is_unread(view: &View<'_>, assignment: &Assignment) -> bool {
    let other = |record: &Record| !record.is_found() && record.applied_config != assignment.config_version;
    view.record.is_some_and(other) || !view.links.config
}

/// Has the process read its configuration, without a restart where that is possible.
fn reread(view: &View<'_>, assignment: &Assignment, now: Instant) -> Decision {
    let policy = assignment.template.config.as_ref();
    let apply = policy.map(|policy| policy.apply).unwrap_or_default();
    let step = match apply {
        ConfigApply::Reload if view.unit.can_reload => Step::Job(Verb::Reload),
        ConfigApply::Signal => Step::Signal(policy.and_then(|policy| policy.signal.clone())),
        ConfigApply::Reload | ConfigApply::Restart => return restart(view, assignment, now),
    };
    let from = shown(view.record.and_then(|record| record.applied_config));
    let reason = format!("config_version changes from {from} to {}", shown(assignment.config_version));
    Decision::step(ReplicaState::Running, step, reason).listed(view.in_instances && view.probed.ready)
}

fn restart(view: &View<'_>, assignment: &Assignment, now: Instant) -> Decision {
    let reason = match (view.running_version(), &assignment.version) {
        (from, to) if from != *to => format!("version changes from {} to {}", shown(from.as_ref()), shown(to.as_ref())),
        _ if !view.is_stale() && is_unread(view, assignment) => {
            let from = shown(view.record.and_then(|record| record.applied_config));
            format!("config_version changes from {from} to {}", shown(assignment.config_version))
        }
        _ => "its start configuration changed".to_owned(),
    };
    leave(view, assignment.template.drain_time.get(), Step::Job(Verb::Restart), reason, now)
}

/// The process must go, or be replaced: first out of `instances`, then the drain time, then the step.
pub(super) fn leave(view: &View<'_>, drain_time: Duration, step: Step, reason: String, now: Instant) -> Decision {
    if view.in_instances {
        return Decision { reason, ..Decision::steady(ReplicaState::Draining, false) };
    }
    match view.memory.unlisted_at.map(|left| left + drain_time) {
        Some(until) if now < until => {
            Decision { reason, ..Decision::steady(ReplicaState::Draining, false) }.wake_at(until)
        }
        _ => Decision::step(ReplicaState::Stopping, step, reason),
    }
}

fn stopped(view: &View<'_>, drain_time: Duration, why: &str, now: Instant) -> Decision {
    match view.unit.active {
        ActiveState::Deactivating => Decision::steady(ReplicaState::Stopping, false),
        ActiveState::Inactive | ActiveState::Failed if view.unit.has_processes => remains(view),
        ActiveState::Inactive | ActiveState::Failed if view.in_instances => {
            Decision::steady(ReplicaState::Stopping, false)
        }
        ActiveState::Inactive | ActiveState::Failed if view.is_down() => Decision::steady(ReplicaState::Stopped, false),
        _ => leave(view, drain_time, Step::Job(Verb::Stop), why.to_owned(), now),
    }
}

fn remains(view: &View<'_>) -> Decision {
    let message =
        format!("{} is stopped but processes of it remain (check KillMode=): see systemctl status", view.unit_name());
    Decision::steady(ReplicaState::Stopping, false).message(message)
}

/// To leave this unit for good: stopped, then forgotten.
fn leaving(view: &View<'_>, why: &str, drain_time: Duration, now: Instant) -> Decision {
    let decision = stopped(view, drain_time, why, now);
    if decision.state == ReplicaState::Stopped && decision.step.is_none() {
        return Decision::step(ReplicaState::Stopped, Step::Forget, why);
    }
    decision
}

fn shown<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
