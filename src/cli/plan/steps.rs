//! What a preview tells, for people.

use std::fmt::Write as _;

use crate::{
    cli::render,
    model::{ConditionKind, ServiceName, counted},
    plan::controller::{End, Report, Step, What},
};

/// Longer lists are cut.
const MOST_STEPS: usize = 200;

/// Everything that is decided on these services, and how they end. A line each.
pub(super) fn text(report: &Report, wanted: impl Fn(&ServiceName) -> bool) -> String {
    let mut text = String::new();
    let steps = report.rounds.iter().flat_map(|round| round.steps.iter().map(|step| (round.after, step)));
    let lines: Vec<String> = steps
        .filter(|(_, step)| wanted(&step.service))
        .map(|(after, step)| format!("{:<9} {}", format!("+{after}"), line(step)))
        .collect();
    for line in lines.iter().take(MOST_STEPS) {
        let _ = writeln!(text, "  {}", render::harmless(line));
    }
    if let Some(more) = lines.len().checked_sub(MOST_STEPS).filter(|more| *more > 0) {
        let _ = writeln!(text, "  … and {} (-o json has them all)", counted(more, "more step"));
    }
    for (name, end) in report.services.iter().filter(|(name, _)| wanted(name)) {
        let _ = writeln!(
            text,
            "{name}: in the end {}, {} of {} ready",
            end.summary,
            end.ready,
            counted(end.wanted, "replica")
        );
        for line in undone(end) {
            let _ = writeln!(text, "  {}", render::harmless(&line));
        }
    }
    text
}

/// What stays undone of a service, and why.
pub(super) fn undone(end: &End) -> impl Iterator<Item = String> {
    let told = end.undone.iter().filter(|it| it.kind != ConditionKind::Progressing);
    told.map(|it| {
        let today = if it.today { " (as today)" } else { "" };
        format!("undone:   {}: {}{today}", it.kind, it.message)
    })
}

/// The replicas that change their host, in order.
pub(super) fn moves<'r>(steps: impl Iterator<Item = &'r Step>) -> Vec<String> {
    steps.filter(|step| matches!(step.what, What::Moved { .. })).map(line).collect()
}

/// One decision.
fn line(step: &Step) -> String {
    let Step { service, replica, what, why } = step;
    let who = replica.map_or_else(|| service.to_string(), |number| format!("{service}.{number}"));
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let done = match what {
        What::Placed { on, surge: false, .. } => format!("placed on {on}"),
        What::Placed { on, surge: true, .. } => format!("placed on {on} for a while"),
        What::Moved { from, to, .. } => format!("moved from {from} to {to}"),
        What::Updated { on, action, rollout, .. } => {
            let by = rollout.map(|number| format!(" by rollout {number}")).unwrap_or_default();
            format!("updated on {on}{by}: {}", super::words::action(*action))
        }
        What::Switched { on, mode } => format!("mode {mode} on {on}"),
        What::Retired { on } => format!("drained on {on}, to be removed"),
        What::Removed { .. } => "removed".to_owned(),
        What::Rollout { number, state, .. } => format!("rollout {number} is {}", state.as_str().replace('_', " ")),
    };
    format!("{who}: {done}{why}")
}
