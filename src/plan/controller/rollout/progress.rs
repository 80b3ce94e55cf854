//! How far the replicas are on their way to what a rollout brings.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Goal;
use crate::{
    model::{ReplicaNumber, Span},
    plan::controller::{
        Context, after,
        classify::{Replica, ReplicaKind, managed},
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
    pub(super) fn of(found: &[ReplicaKind<'_>], goal: Goal<'_>, terms: &Terms, context: &Context) -> Self {
        let fresh = found.iter().filter(|replica| matches!(replica, ReplicaKind::New(..))).count();
        let mut progress = Self { fresh, ..Self::default() };
        for replica in found.iter().filter_map(managed).filter(|replica| !replica.desired.removing) {
            progress.add(replica, goal, terms, context);
        }
        progress
    }

    fn add(&mut self, replica: &Replica<'_>, goal: Goal<'_>, terms: &Terms, context: &Context) {
        let regular = !replica.desired.surge;
        self.regular += usize::from(regular);
        self.surge += usize::from(!regular);
        self.placed += usize::from(replica.host.is_some());
        self.surge_unplaced += usize::from(!regular && replica.host.is_none());
        if regular && !replica.ready() {
            self.idle = self.idle.take().or_else(|| Some(idle(replica)));
        }
        if !goal.is_of(replica) {
            if regular {
                self.outdated = self.outdated.take().or_else(|| outdated(replica));
            }
            return;
        }
        self.exposed += usize::from(replica.host.is_some());
        self.at_goal += usize::from(regular);
        self.surge_at_goal += usize::from(!regular && replica.host.is_some());
        let due = healthy_at(replica, terms.min_healthy_time, context);
        let healthy = due.is_some_and(|due| due <= context.now);
        if healthy {
            *(if regular { &mut self.healthy } else { &mut self.surge_healthy }) += 1;
            self.healthy_numbers.push(replica.number());
        } else if replica.host.is_none() || terms.stranded.contains(&replica.number()) {
            self.unplaced += usize::from(regular);
        } else {
            self.in_flight.push(replica.number());
            self.stuck = self.stuck.take().or_else(|| trouble(replica));
            self.lost.extend((!replica.host_alive).then(|| replica.number()));
            self.wake_at = self.wake_at.into_iter().chain(due).min();
        }
    }

    /// The replica failed, and the rollout goes on without it.
    pub(super) fn forgive(&mut self, replica: &Replica<'_>) {
        self.in_flight.retain(|number| *number != replica.number());
        self.forgiven += usize::from(!replica.desired.surge);
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
fn idle(replica: &Replica<'_>) -> String {
    let number = replica.number().0;
    match replica.desired.node.as_ref() {
        None => format!("replica {number} is on no host"),
        Some(node) if !replica.host_alive => format!("replica {number} is on {node}, which is lost"),
        Some(node) => trouble(replica).unwrap_or_else(|| format!("replica {number} on {node} is not ready")),
    }
}

/// That a replica runs what was before, in words; `None` of one that is nowhere.
fn outdated(replica: &Replica<'_>) -> Option<String> {
    let node = replica.desired.node.as_ref()?;
    Some(format!("replica {} on {node} still runs what was before", replica.number().0))
}

/// What a replica's agent says against it, in words; `None` when it says nothing.
fn trouble(replica: &Replica<'_>) -> Option<String> {
    let status = replica.status.filter(|_| replica.host_alive)?;
    let said = clip(status.message.as_deref()?, LONGEST_MESSAGE);
    Some(format!("replica {} on {} is {}: {said}", replica.number().0, status.node, status.state))
}

/// When a replica that is ready now has been so for long enough; `None` while it is not ready.
fn healthy_at(replica: &Replica<'_>, min_healthy_time: Span, context: &Context) -> Option<Timestamp> {
    let since = context.ready_since.get(&replica.id).copied().unwrap_or(context.now);
    replica.ready().then(|| after(since, min_healthy_time))
}
