//! A unit that is down and must not be: why it is, and when it is started again.

use std::time::Instant;

use super::{Decision, LastLine, Step, View, memory::STARTS};
use crate::model::{ActiveState, Assignment, LoadState, ReplicaState, Verb};

/// The unit is down, and must not be.
pub(super) fn down(view: &View<'_>, assignment: &Assignment, now: Instant) -> Decision {
    let has_failed = view.unit.active == ActiveState::Failed;
    let step = if has_failed { Step::ResetAndStart } else { Step::Job(Verb::Start) };
    match (unusable(view), &view.memory.dead) {
        (Some(problem), _) => Decision::steady(ReplicaState::Failed, false).message(problem),
        (None, _) if view.memory.obstructed.is_some() => obstructed(view, assignment, step, now),
        (None, Some(why)) => given_up(view, why, step, now),
        (None, None) if has_failed => failed(view, now),
        (None, None) => start(view, step, "is enabled and its unit is inactive", now),
    }
}

/// Why the unit cannot be started at all, whatever is tried.
pub(super) fn unusable(view: &View<'_>) -> Option<String> {
    let unit = view.unit_name();
    match view.unit.load {
        // Its package is downloaded; the start installs it first, and with it the unit.
        LoadState::NotFound if !view.links.release => None,
        LoadState::NotFound => {
            Some(format!("{unit} is not installed on this host, and the service brings no unit_file"))
        }
        LoadState::Masked => Some(format!("{unit} is masked on this host (systemctl unmask {unit})")),
        LoadState::Error | LoadState::BadSetting => {
            let why = view.unit.load_error.as_deref().unwrap_or("it gives no reason");
            Some(format!("systemd cannot load {unit}: {why} (see systemctl status {unit})"))
        }
        LoadState::Loaded if view.unit.refuses_start => {
            Some(format!("{unit} has RefuseManualStart=yes: only another unit may start it"))
        }
        LoadState::Loaded | LoadState::Other => None,
    }
}

/// systemd did not even begin to start it. It is tried again as a process that crashes would be; after
/// `restart.limit_burst` times in a row it counts as failed on this host, and is tried more and more rarely.
fn obstructed(view: &View<'_>, assignment: &Assignment, step: Step, now: Instant) -> Decision {
    let Some(obstructed) = &view.memory.obstructed else { return start(view, step, "is enabled", now) };
    let rest = match obstructed.count.checked_sub(assignment.template.restart.limit_burst) {
        None => assignment.template.restart.delay.get(),
        Some(past) => STARTS.rest(past),
    };
    let state = if view.is_obstructed() { ReplicaState::Failed } else { ReplicaState::Pending };
    let due = view.memory.last_start.and_then(|last| last.checked_add(rest)).filter(|at| now < *at);
    let decision = match due {
        Some(at) => Decision::steady(state, false).wake_at(at),
        None => Decision { state, ..Decision::step(state, step, "what kept it from starting may be gone") },
    };
    decision.message(obstructed.why.clone())
}

/// The unit is down: start it, at once or when its back-off is over.
pub(super) fn start(view: &View<'_>, step: Step, why: &str, now: Instant) -> Decision {
    match view.memory.next_start() {
        Some(at) if now < at => Decision::steady(ReplicaState::Pending, false)
            .message(format!("{}; is started again after a back-off", ended(view)))
            .wake_at(at),
        _ => Decision::step(ReplicaState::Starting, step, why),
    }
}

/// It was stopped because it was not alive: failed, and tried again after a back-off as what fails to start is.
fn given_up(view: &View<'_>, why: &str, step: Step, now: Instant) -> Decision {
    let decision = start(view, step, "is tried again after its liveness probe failed", now);
    Decision { state: ReplicaState::Failed, ..decision }.message(why)
}

/// How it came that the unit does not run though it was started.
fn ended(view: &View<'_>) -> String {
    view.unit.exit.clone().unwrap_or_else(|| "its unit exited".to_owned())
}

/// How it ended, and what it said about it.
pub(super) fn with_last_line(exit: &str, view: &View<'_>) -> String {
    match view.last_line {
        LastLine::Known(line) => format!("{exit}; its last line: {line}"),
        LastLine::Awaited | LastLine::Unknown => exit.to_owned(),
    }
}

/// Past the start limit, or its start failed for good: new work gets a fresh start, known work its back-off.
fn failed(view: &View<'_>, now: Instant) -> Decision {
    if view.memory.fresh {
        return Decision::step(
            ReplicaState::Starting,
            Step::ResetAndStart,
            "is newly assigned and its unit had failed",
        );
    }
    let decision = start(view, Step::ResetAndStart, "is tried again after it failed", now);
    if view.last_line == LastLine::Awaited && decision.step.is_none() {
        // Told once it can be told why.
        return Decision { state: ReplicaState::Pending, message: None, ..decision };
    }
    Decision { state: ReplicaState::Failed, ..decision }.message(failure(view))
}

/// How a unit that has failed did.
pub(super) fn failure(view: &View<'_>) -> String {
    let exit = with_last_line(view.unit.exit.as_deref().unwrap_or("did not start"), view);
    format!("{} failed ({}): {exit}", view.unit_name(), view.unit.result)
}
