//! A rollout that would begin, for people.

use std::collections::{BTreeMap, BTreeSet};

use super::outlook::{Batch, Outlook};
use crate::{
    cli::{fleet::Service, rollout::words},
    model::{Desired, Mode, OnFailure, ReplicaNumber, RolloutState, ServiceName, ServiceSpec, UpdateAction, counted},
};

/// Longer lists of replicas are cut.
const MOST_NAMES: usize = 20;

/// The rollout in one line.
pub(super) fn heading(rollout: &Outlook) -> String {
    let brings = words::revision(&rollout.revision);
    let before = rollout.before.as_ref().map(|before| format!(", from {}", words::revision(before)));
    let supersedes = rollout.supersedes.map(|number| format!("; rollout {number} is superseded"));
    let (before, supersedes) = (before.unwrap_or_default(), supersedes.unwrap_or_default());
    format!("rollout {} would begin: {brings}{before}{supersedes}", rollout.number)
}

/// What it does, in order.
pub(super) fn lines(name: &ServiceName, rollout: &Outlook) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String| lines.push(format!("{label:<9} {text}"));
    if rollout.existing == 0 {
        line("create:", format!("{}, at the new revision", counted(rollout.wanted, "replica")));
        return lines;
    }
    line("action:", actions(rollout));
    if rollout.replicas.is_empty() || rollout.mode != Mode::Enabled {
        return lines;
    }
    if rollout.surge > 0 {
        line("surge:", surge_text(rollout));
    }
    for batch in &rollout.batches {
        line(&label(batch, rollout.batches.len()), batch_text(name, batch, rollout.promotion));
    }
    let Outlook { min_ready, wanted, max_unavailable, at_once, policy, .. } = rollout;
    line(
        "budget:",
        format!("at most {at_once} at once; {min_ready} of {wanted} stay ready (max_unavailable: {max_unavailable})"),
    );
    let else_what = match (policy.on_failure, rollout.from) {
        (OnFailure::Rollback, Some(from)) => format!("all go back to what rollout {from} brought"),
        _ => "it pauses".to_owned(),
    };
    let (time, deadline) = (policy.min_healthy_time, policy.healthy_deadline);
    let who = match policy.max_failures.floor(*wanted) {
        0 => "each".to_owned(),
        failures => {
            let canary = rollout.batches.iter().any(|batch| batch.canary);
            let canary = if canary { ", none of the canary" } else { "" };
            format!("all but {failures} (max_failures: {}{canary})", policy.max_failures)
        }
    };
    line("healthy:", format!("{who} must be ready for {time}, within {deadline}, or {else_what}"));
    lines
}

fn actions(rollout: &Outlook) -> String {
    let total = rollout.existing;
    if rollout.replicas.is_empty() {
        return if rollout.completes {
            format!("none: all {total} replicas run it already")
        } else {
            "none: the rollout does not get so far".to_owned()
        };
    }
    if rollout.mode != Mode::Enabled {
        return "none: the service is not enabled, so nothing runs; the rollout waits until it is".to_owned();
    }
    let mut counts: BTreeMap<UpdateAction, usize> = BTreeMap::new();
    for step in &rollout.replicas {
        *counts.entry(step.action).or_default() += 1;
    }
    let each = counts.into_iter().rev().map(|(it, count)| format!("{} of {count}/{total} replicas", action(it)));
    each.collect::<Vec<_>>().join(", ")
}

/// What the process notices.
pub(super) const fn action(action: UpdateAction) -> &'static str {
    match action {
        UpdateAction::Adopt => "adopted without a restart",
        UpdateAction::Signal => "signal",
        UpdateAction::Reload => "reload (restart if the unit cannot)",
        UpdateAction::Restart => "restart",
    }
}

fn label(batch: &Batch, batches: usize) -> String {
    match batch {
        Batch { canary: true, .. } => "canary:".to_owned(),
        _ if batches == 1 => "order:".to_owned(),
        Batch { number, .. } => format!("batch {number}:"),
    }
}

/// How many replicas are started beside the others, and when.
fn surge_text(rollout: &Outlook) -> String {
    let start = |count: usize| if count == 1 { "1 more starts".to_owned() } else { format!("{count} more start") };
    let removed = if rollout.surge == 1 { "and is removed at the end" } else { "and all are removed at the end" };
    let on_canary = rollout.batches.iter().find(|batch| batch.canary).map_or(0, |batch| batch.surge);
    match (on_canary, rollout.surge - on_canary) {
        (0, surge) => format!("{} first, with what is new, {removed}", start(surge)),
        (canary, 0) => format!("{} first, as the canary, {removed}", start(canary)),
        (canary, rest) => {
            format!("{} first, as the canary, {} once that is good, {removed}", start(canary), start(rest))
        }
    }
}

/// The replicas' names, as many as one can read.
fn names<'a>(replicas: impl ExactSizeIterator<Item = &'a ReplicaNumber>) -> String {
    let more = replicas.len().saturating_sub(MOST_NAMES);
    let names: Vec<_> = replicas.take(MOST_NAMES).map(ReplicaNumber::to_string).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

fn batch_text(name: &ServiceName, batch: &Batch, promotion: bool) -> String {
    let surge = (batch.surge > 0).then(|| format!("{} of the surge", counted(batch.surge, "replica")));
    let regular = (!batch.replicas.is_empty()).then(|| names(batch.replicas.iter()));
    let who: Vec<String> = surge.into_iter().chain(regular).collect();
    let then = match batch {
        Batch { canary: true, .. } if promotion => format!("; then it waits for `zkops rollout promote {name}`"),
        Batch { pause, .. } if !pause.get().is_zero() => format!("; then a pause of {pause}"),
        _ => String::new(),
    };
    format!("{}{then}", who.join(", "))
}

/// What there is to be.
pub(super) struct After<'a> {
    pub(super) spec: &'a ServiceSpec,
    pub(super) desired: &'a Desired,
    /// The replicas that are removed.
    pub(super) removed: &'a BTreeSet<ReplicaNumber>,
}

/// What would come of it beside the rollout.
pub(super) fn notes(
    name: &ServiceName,
    service: &Service,
    after: &After<'_>,
    begins: bool,
    changed: bool,
) -> Vec<String> {
    let After { spec, desired, removed } = *after;
    let mut notes = Vec::new();
    let before = service.desired_or_accepted();
    if let Some(before) = before {
        let (old, new) = (before.replicas, desired.replicas);
        if new > old {
            notes.push(format!("at once: {old} -> {new} replicas, {} created", new - old));
        } else if new < old {
            notes.push(format!("at once: {old} -> {new} replicas"));
        }
        // There may be more than were wanted so far, too.
        if !removed.is_empty() {
            let are = if removed.len() == 1 { "is" } else { "are" };
            let (who, order) = (names(removed.iter()), "what serves nobody goes first, then from where most are");
            notes.push(format!("at once: {who} {are} drained and removed ({order})"));
        }
        if before.mode != desired.mode {
            let what = match desired.mode {
                Mode::Enabled => "all replicas are started",
                Mode::Disabled => "all replicas are stopped",
                Mode::Drain => "all replicas leave `instances`, then are stopped",
            };
            notes.push(format!("at once: mode {} -> {}, {what}", before.mode, desired.mode));
        }
    }
    notes.extend(spec.warnings().iter().map(|warning| format!("note: {warning}")));
    notes.extend(ports(spec, desired));
    notes.extend(stuck(name, service, begins, changed));
    notes
}

/// A port is one replica's on each host.
fn ports(spec: &ServiceSpec, desired: &Desired) -> Option<String> {
    let port = spec.port.filter(|_| spec.unit.is_template() && spec.placement.max_per_host != Some(1))?;
    let wanted = desired.replicas;
    let (_, surge) = spec.budget(usize::try_from(wanted).unwrap_or(usize::MAX));
    let surge = if surge > 0 { format!(", and {surge} more while a rollout surges") } else { String::new() };
    Some(format!("note: port {port} is one replica's on each host: {wanted} hosts are needed{surge}"))
}

/// A rollout of the same that came to nothing: applying it again begins nothing.
fn stuck(name: &ServiceName, service: &Service, begins: bool, changed: bool) -> Option<String> {
    let (number, newest) = service.newest_rollout()?;
    match newest.state {
        _ if begins => None,
        RolloutState::RolledBack => {
            let way_out = words::way_out(name, newest).unwrap_or_default();
            Some(format!("note: rollout {number} of this was rolled back ({}); {way_out}", newest.reason))
        }
        state if !state.has_ended() && !changed => {
            Some(format!("note: {} (zkops rollout status {name})", words::line(service, number, newest)))
        }
        _ => None,
    }
}
