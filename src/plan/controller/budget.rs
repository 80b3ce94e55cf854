//! How many ready replicas planned changes may make unready in one round: moves, updates and rollbacks share it.

use std::collections::BTreeSet;

use super::{
    classify::{Replica, ReplicaKind, managed},
    facts::Facts,
    rollout::ActiveRollout,
};
use crate::model::ReplicaNumber;

/// What is left of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Budget {
    /// How many more ready replicas a planned change may make unready.
    left: usize,
    /// The same, beyond that, of changes that bring replicas back to what was healthy before.
    leeway: usize,
}

impl Budget {
    /// How many ready replicas may become unready: those beyond the number wanted, and `max_unavailable`. Of those that
    /// `max_failures` forgives, nobody hopes that they serve. On a way back neither of those that are on no host or on a lost
    /// one, or failed: what was given up does not stay for them, though nothing else is disturbed beyond the budget. What
    /// failed as that is first brought back, and may well serve then, unless it is `blocked`.
    pub(super) fn grant(
        facts: &Facts<'_>,
        rollout: &ActiveRollout<'_>,
        found: &[ReplicaKind<'_>],
        blocked: &BTreeSet<ReplicaNumber>,
    ) -> Self {
        let ready =
            found.iter().filter_map(managed).filter(|replica| !replica.desired.removing && replica.ready()).count();
        let wanted = facts.force.wanted();
        let (max_unavailable, _) = facts.force.spec.budget(wanted);
        let beyond = |forgiven: usize| (ready + max_unavailable + forgiven).saturating_sub(wanted);
        // With the rollout's end, that is over, too.
        let left = beyond(if rollout.is_active() { rollout.progress.forgiven } else { 0 });
        let outdated = |replica: &Replica<'_>| rollout.goal().is_some_and(|goal| !goal.is_of(replica));
        let comes_back =
            |replica: &Replica<'_>| replica.host_alive && outdated(replica) && !blocked.contains(&replica.number());
        let is_hopeless = |replica: &&Replica<'_>| is_idle(replica) && !comes_back(replica);
        let idle = || found.iter().filter_map(managed).filter(is_hopeless).count();
        let leeway = if rollout.is_going_back() { beyond(idle()).saturating_sub(left) } else { 0 };
        Self { left, leeway }
    }

    pub(super) fn is_spent(self) -> bool {
        self.left == 0
    }

    /// How many may be brought back to what was healthy before.
    pub(super) fn of_way_back(self) -> usize {
        self.left + self.leeway
    }

    /// Takes one, if there is any.
    pub(super) fn take(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Takes one from what may be disturbed beyond the budget, once that is spent.
    pub(super) fn take_leeway(&mut self) -> bool {
        let left = self.leeway.checked_sub(1).filter(|_| self.left == 0);
        self.leeway = left.unwrap_or(self.leeway);
        left.is_some()
    }

    /// A replica that nobody hoped would serve has been replaced: nobody is disturbed for it any more.
    pub(super) fn return_leeway_of(&mut self, replica: &Replica<'_>) {
        self.leeway = self.leeway.saturating_sub(usize::from(is_idle(replica)));
    }
}

/// Whether nobody hopes that the replica, one of those wanted, will serve by itself soon: it is on no host or on a lost one, or
/// failed.
fn is_idle(replica: &Replica<'_>) -> bool {
    let waits = replica.desired.removing || replica.desired.surge || replica.ready();
    !waits && (replica.host.is_none() || !replica.host_alive || replica.failed())
}
