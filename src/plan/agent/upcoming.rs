//! Newer work whose release or configuration is not on the host yet: what was in force before goes on.

use std::time::Instant;

use super::{Decision, Staging, Upcoming, View};
use crate::model::{Assignment, CheckedAssignment, Record, ReplicaState};

/// What a replica is run as while `wanted` is not on the host: what was in force before. `None` = nothing yet.
///
/// `is_up` = its unit runs; `is_there` = all that the ledger's work needs is on the host, so that it can be started.
pub fn meanwhile(
    wanted: &Assignment,
    record: Option<&Record>,
    is_up: bool,
    is_there: bool,
) -> Option<CheckedAssignment> {
    let record = record.filter(|record| !record.is_found())?;
    let may_run = is_up || (is_there && !record.rests);
    may_run.then(|| record.assignment.with_mode(wanted.mode))
}

/// Adds what is to be said of the newer work, and whether it is to be brought onto the host now.
pub(super) fn announce(view: &View<'_>, upcoming: Upcoming<'_>, decision: Decision, now: Instant) -> Decision {
    let what = what(upcoming.assignment);
    let trouble = &view.memory.staging;
    let tried = trouble.problem.as_ref().map(|why| format!("fetching {what} failed, will retry: {why}"));
    let said = tried.unwrap_or_else(|| format!("fetching {what}"));
    let decision = Decision { in_force: false, rejected: false, ..decision };
    match (upcoming.staging, trouble.retry_at.filter(|at| now < *at)) {
        (Staging::Looking, _) => decision,
        (Staging::Rejected(why), _) => {
            let decision = if is_idle(view, &decision) { failed(decision) } else { decision };
            Decision { rejected: true, ..decision }.message(why)
        }
        (Staging::Due, Some(at)) => {
            let wake_at = Some(decision.wake_at.map_or(at, |other| other.min(at)));
            also(Decision { wake_at, ..decision }, &said)
        }
        (staging, _) => {
            let stage = staging == Staging::Due && decision.state != ReplicaState::Refused;
            also(Decision { stage, ..decision }, &said)
        }
    }
}

/// Nothing runs of it, and nothing will by itself.
fn is_idle(view: &View<'_>, decision: &Decision) -> bool {
    matches!(view.wanted, super::Wanted::Awaited(_)) && decision.state == ReplicaState::Pending
}

fn failed(decision: Decision) -> Decision {
    Decision { state: ReplicaState::Failed, ..decision }
}

/// What stands in the way of the old comes first.
fn also(decision: Decision, message: &str) -> Decision {
    let message = decision.message.iter().map(String::as_str).chain([message]).collect::<Vec<_>>().join("; ");
    decision.message(message)
}

/// The work, in words.
pub(super) fn what(assignment: &Assignment) -> String {
    let version = assignment.version.iter().filter(|_| !assignment.template.source.is_none()).cloned();
    let config = assignment.config_version.filter(|_| assignment.template.config.is_some());
    version.chain(config.map(|revision| format!("configuration {revision}"))).collect::<Vec<_>>().join(" and ")
}
