//! What is said of a rollout.

use crate::{
    cli::{fleet::Service, render::Tone},
    model::{PauseCause, Revision, Rollout, RolloutAction, RolloutState, ServiceName},
};

/// The order as the command's verb.
pub(in crate::cli) const fn order(action: RolloutAction) -> &'static str {
    match action {
        RolloutAction::Pause => "pause",
        RolloutAction::Resume => "resume",
        RolloutAction::Promote => "promote",
        RolloutAction::Abort => "abort",
    }
}

/// How far it is, in a word or two.
pub(in crate::cli) const fn state(rollout: &Rollout) -> &'static str {
    match (rollout.state, rollout.pause) {
        (RolloutState::Running, _) => "running",
        (RolloutState::Paused, Some(PauseCause::Operator) | None) => "paused",
        (RolloutState::Paused, Some(PauseCause::Canary)) => "waits for promotion",
        (RolloutState::Paused, Some(PauseCause::Failure)) => "paused by a failure",
        (RolloutState::Paused, Some(PauseCause::Disabled)) => "paused, nothing is to run",
        (RolloutState::RollingBack, _) => "rolling back",
        (RolloutState::Completed, _) => "completed",
        (RolloutState::RolledBack, _) => "rolled back",
        (RolloutState::Superseded, _) => "superseded",
    }
}

/// What colour that has.
pub(in crate::cli) const fn tone(rollout: &Rollout) -> Tone {
    match (rollout.state, rollout.pause) {
        (RolloutState::Completed, _) => Tone::Good,
        (RolloutState::RolledBack | RolloutState::RollingBack, _)
        | (RolloutState::Paused, Some(PauseCause::Failure)) => Tone::Bad,
        (RolloutState::Superseded, _) => Tone::Plain,
        (RolloutState::Running | RolloutState::Paused, _) => Tone::Busy,
    }
}

/// What would end the state that it is in, where that is up to a person.
pub(in crate::cli) fn way_out(name: &ServiceName, rollout: &Rollout) -> Option<String> {
    let back = if rollout.from.is_some() && !rollout.back {
        format!(", `zkops rollout abort {name}` goes back")
    } else {
        String::new()
    };
    match (rollout.state, rollout.pause) {
        (RolloutState::Paused, Some(PauseCause::Canary)) => {
            Some(format!("`zkops rollout promote {name}` goes on{back}"))
        }
        (RolloutState::Paused, Some(PauseCause::Failure)) => {
            Some(format!("`zkops rollout resume {name}` retries{back}"))
        }
        (RolloutState::Paused, Some(PauseCause::Disabled)) => {
            Some(format!("`zkops enable {name}`, or `zkops scale` to more than 0, goes on"))
        }
        (RolloutState::Paused, _) => Some(format!("`zkops rollout resume {name}` goes on")),
        (RolloutState::RolledBack, _) => {
            Some(format!("`zkops rollout resume {name}` retries it, `zkops rollout undo {name}` keeps what runs"))
        }
        _ => None,
    }
}

/// The rollout in one line, as in `rollout 7: running, 2/4 healthy: batch 1 of 2`.
pub(in crate::cli) fn line(service: &Service, number: u64, rollout: &Rollout) -> String {
    let (healthy, total) = service.rollout_progress(number, rollout);
    let progress = if rollout.state.has_ended() { String::new() } else { format!(", {healthy}/{total} healthy") };
    let reason = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
    format!("rollout {number}: {}{progress}{reason}", state(rollout))
}

/// What replicas run by it, as in `version v2, config 7`.
pub(in crate::cli) fn revision(revision: &Revision) -> String {
    let version = revision.version.as_ref().map(|version| format!("version {version}"));
    let config = revision.config_version.map(|config| format!("config {config}"));
    let words: Vec<_> = [version, config].into_iter().flatten().collect();
    if words.is_empty() { "no version".to_owned() } else { words.join(", ") }
}
