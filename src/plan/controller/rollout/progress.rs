//! How far the replicas are on their way to what a rollout brings.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Goal;
use crate::{
    model::{ReplicaNumber, Span},
    plan::controller::{
        Context, after,
        classify::{Case, Found, known},
        notice::clip,
    },
};

/// How much of an agent's message goes into a rollout's reason, in characters: how a process ended, and its last line.
pub(super) const LONGEST_MESSAGE: usize = 320;

/// The replicas of one service, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::plan::controller) struct RolloutProgress {
    /// Those wanted that exist, with a known state.
    pub(super) regular: usize,
    /// Of them, those whose documents say what the rollout brings.
    pub(super) at_goal: usize,
    /// Of these, those that have been ready for long enough.
    pub(in crate::plan::controller) healthy: usize,
    /// Of them all, those that no host fits: nobody waits for them.
    pub(super) unplaced: usize,
    /// Of them all, those that failed and are not waited for: `max_failures` allows it.
    pub(in crate::plan::controller) forgiven: usize,
    /// Those that are placed and whose documents say what the rollout brings, surge included: its exposure.
    pub(super) exposed: usize,
    /// Those that are placed, surge included.
    pub(super) placed: usize,
    /// Those that are there for the rollout only, or so that another can leave its host.
    pub(in crate::plan::controller) surge: usize,
    /// Of these, those that no host fits.
    pub(super) surge_unplaced: usize,
    /// Those that are placed and whose documents say what the rollout brings.
    pub(super) surge_at_goal: usize,
    /// Of these, those that have been ready for long enough.
    pub(super) surge_healthy: usize,
    /// Replicas told what is new and not healthy yet, surge included.
    pub(super) in_flight: Vec<ReplicaNumber>,
    /// Of these, those whose host is lost: no time of theirs is up.
    pub(super) lost: Vec<ReplicaNumber>,
    /// Nodes of replicas that have no document yet.
    pub(super) fresh: usize,
    /// The numbers of the healthy ones, surge included.
    pub(super) healthy_numbers: Vec<ReplicaNumber>,
    /// The first of them that says what keeps it from being healthy, in words.
    pub(super) stuck: Option<String>,
    /// The first of those wanted that does not serve, and why, whatever it was told.
    pub(super) idle: Option<String>,
    /// The first of those wanted that still runs what was before, in words.
    pub(super) outdated: Option<String>,
    /// When the next one counts as healthy, if it stays ready.
    pub(super) wake_at: Option<Timestamp>,
}

/// When a replica is healthy, and which are waited for.
pub(super) struct Terms {
    /// How long it must have been ready.
    pub(super) min_healthy_time: Span,
    /// Those on lost hosts that are not waited for: they are as good as those that no host fits.
    pub(super) stranded: BTreeSet<ReplicaNumber>,
}

impl RolloutProgress {
    pub(super) fn of(found: &[Found<'_>], goal: Goal<'_>, terms: &Terms, context: &Context) -> Self {
        let fresh = found.iter().filter(|replica| matches!(replica, Found::Fresh(..))).count();
        let mut survey = Self { fresh, ..Self::default() };
        for case in found.iter().filter_map(known).filter(|case| !case.desired.removing) {
            survey.add(case, goal, terms, context);
        }
        survey
    }

    fn add(&mut self, case: &Case<'_>, goal: Goal<'_>, terms: &Terms, context: &Context) {
        let regular = !case.desired.surge;
        self.regular += usize::from(regular);
        self.surge += usize::from(!regular);
        self.placed += usize::from(case.host.is_some());
        self.surge_unplaced += usize::from(!regular && case.host.is_none());
        if regular && !case.ready() {
            self.idle = self.idle.take().or_else(|| Some(idle(case)));
        }
        if !goal.is_of(case) {
            if regular {
                self.outdated = self.outdated.take().or_else(|| outdated(case));
            }
            return;
        }
        self.exposed += usize::from(case.host.is_some());
        self.at_goal += usize::from(regular);
        self.surge_at_goal += usize::from(!regular && case.host.is_some());
        let due = healthy_at(case, terms.min_healthy_time, context);
        let healthy = due.is_some_and(|due| due <= context.now);
        if healthy {
            *(if regular { &mut self.healthy } else { &mut self.surge_healthy }) += 1;
            self.healthy_numbers.push(case.number());
        } else if case.host.is_none() || terms.stranded.contains(&case.number()) {
            self.unplaced += usize::from(regular);
        } else {
            self.in_flight.push(case.number());
            self.stuck = self.stuck.take().or_else(|| trouble(case));
            self.lost.extend((!case.host_alive).then(|| case.number()));
            self.wake_at = self.wake_at.into_iter().chain(due).min();
        }
    }

    /// The replica failed, and the rollout goes on without it.
    pub(super) fn forgive(&mut self, case: &Case<'_>) {
        self.in_flight.retain(|number| *number != case.number());
        self.forgiven += usize::from(!case.desired.surge);
    }

    /// Whether so many are exposed as a canary of this size can have.
    pub(super) fn has_canary(&self, size: usize) -> bool {
        self.exposed > 0 && self.exposed >= size.min(self.placed)
    }

    /// Whether every replica there is to be runs what the rollout brings, and is healthy where it can be.
    pub(super) fn is_done(&self, wanted: usize) -> bool {
        let all = self.regular == wanted && self.at_goal == wanted;
        let healthy = self.healthy + self.unplaced + self.forgiven == wanted && (self.healthy > 0 || wanted == 0);
        all && healthy && self.fresh == 0
    }
}

/// Why a replica does not serve, in words.
fn idle(case: &Case<'_>) -> String {
    let number = case.number().0;
    match case.desired.node.as_ref() {
        None => format!("replica {number} is on no host"),
        Some(node) if !case.host_alive => format!("replica {number} is on {node}, which is lost"),
        Some(node) => trouble(case).unwrap_or_else(|| format!("replica {number} on {node} is not ready")),
    }
}

/// That a replica runs what was before, in words; `None` of one that is nowhere.
fn outdated(case: &Case<'_>) -> Option<String> {
    let node = case.desired.node.as_ref()?;
    Some(format!("replica {} on {node} still runs what was before", case.number().0))
}

/// What a replica's agent says against it, in words; `None` when it says nothing.
fn trouble(case: &Case<'_>) -> Option<String> {
    let status = case.status.filter(|_| case.host_alive)?;
    let said = clip(status.message.as_deref()?, LONGEST_MESSAGE);
    Some(format!("replica {} on {} is {}: {said}", case.number().0, status.node, status.state))
}

/// When a replica that is ready now has been so for long enough; `None` while it is not ready.
fn healthy_at(case: &Case<'_>, min_healthy_time: Span, context: &Context) -> Option<Timestamp> {
    let since = context.ready_since.get(&case.id).copied().unwrap_or(context.now);
    case.ready().then(|| after(since, min_healthy_time))
}
