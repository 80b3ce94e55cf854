//! Liveness: a process that runs and does no good.

use std::time::{Duration, Instant};

use super::{Decision, Memory, Step, View, decide};
use crate::model::Assignment;

/// Its liveness probe fails: it is restarted, and when that was done too often, stopped for good.
pub(super) fn dead(view: &View<'_>, assignment: &Assignment, now: Instant) -> Decision {
    let why = view.probed.message.unwrap_or("liveness: its probe fails").to_owned();
    let (step, reason) =
        if view.is_stale() || revived(view.memory, assignment, now) < assignment.template.restart.limit_burst {
            (Step::Revive, why)
        } else {
            (Step::GiveUp, format!("{why}; {} restarts did not help", assignment.template.restart.limit_burst))
        };
    decide::leave(view, Duration::ZERO, step, reason.clone(), now).message(reason)
}

/// How often it was restarted for that of late.
fn revived(memory: &Memory, assignment: &Assignment, now: Instant) -> u32 {
    let window = window(assignment);
    let recent = memory.revived.iter().filter(|at| now.saturating_duration_since(**at) < window);
    u32::try_from(recent.count()).unwrap_or(u32::MAX)
}

/// `restart.limit_interval`, unless the probe takes longer to fail so often: a replica that never comes alive must reach
/// its limit, however slow its probe is.
fn window(assignment: &Assignment) -> Duration {
    let interval = assignment.template.restart.limit_interval.get();
    let Some(probe) = &assignment.template.probes.liveness else { return interval };
    let checks = probe.period.get().saturating_add(probe.timeout.get()).saturating_mul(probe.failure_threshold);
    let verdict = probe.initial_delay.get().saturating_add(checks);
    interval.max(verdict.saturating_mul(assignment.template.restart.limit_burst.saturating_mul(2)))
}
