//! How many ready replicas planned changes may make unready in one round: moves, updates and rollbacks share it.

use super::{
    classify::{Case, Found, known},
    facts::Facts,
    rollout::ActiveRollout,
};

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
    /// one, or failed: what was given up does not stay for them, though nothing else is disturbed beyond the budget.
    pub(super) fn grant(facts: &Facts<'_>, course: &ActiveRollout<'_>, found: &[Found<'_>]) -> Self {
        let ready = found.iter().filter_map(known).filter(|case| !case.desired.removing && case.ready()).count();
        let wanted = facts.force.wanted();
        let (max_unavailable, _) = facts.force.spec.budget(wanted);
        let beyond = |forgiven: usize| (ready + max_unavailable + forgiven).saturating_sub(wanted);
        // With the rollout's end, that is over, too.
        let left = beyond(if course.is_active() { course.survey.forgiven } else { 0 });
        let idle = || found.iter().filter_map(known).filter(|case| is_idle(case)).count();
        let leeway = if course.is_going_back() { beyond(idle()).saturating_sub(left) } else { 0 };
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
    pub(super) fn return_leeway_of(&mut self, case: &Case<'_>) {
        self.leeway = self.leeway.saturating_sub(usize::from(is_idle(case)));
    }
}

/// Whether nobody hopes that the replica, one of those wanted, will serve by itself soon: it is on no host or on a lost one, or
/// failed.
fn is_idle(case: &Case<'_>) -> bool {
    let waits = case.desired.removing || case.desired.surge || case.ready();
    !waits && (case.host.is_none() || !case.host_alive || case.failed())
}
