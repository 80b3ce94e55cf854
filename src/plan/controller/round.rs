//! One service while it is planned, by what may be touched: what is given, what comes out, where its replicas may go, its
//! rollout, and what may be disturbed. Whatever needs only one of these is that one's own.

use std::collections::BTreeSet;

use super::{
    Context, accept,
    budget::Budget,
    classify::ReplicaKind,
    facts::Facts,
    failures::RecentFailures,
    fleet::Fleet,
    host::HostIndex,
    notice::Notices,
    output::Output,
    placement::Placement,
    rollout::{ActiveRollout, Steering},
};
use crate::{
    model::{ReplicaId, ReplicaNumber, ServiceName},
    tree::snapshot::ServiceView,
};

/// A service while it is planned.
pub(super) struct Round<'p, 'a> {
    pub(super) facts: Facts<'a>,
    pub(super) out: Output<'a>,
    pub(super) places: Placement<'p, 'a>,
    pub(super) rollout: ActiveRollout<'a>,
    pub(super) budget: Budget,
    pub(super) failures: RecentFailures,
    /// Nodes that were created for surge replicas and have no document yet.
    pub(super) fresh_surge: BTreeSet<ReplicaNumber>,
    /// How many replicas there are to be so that others can leave their host.
    pub(super) successors: usize,
}

impl<'p, 'a> Round<'p, 'a> {
    /// Begins with a service that has something in force; else what is wrong with its documents.
    ///
    /// # Errors
    /// [`Notices`]: nothing of the service ever was good.
    pub(super) fn open(
        name: &'a ServiceName,
        view: &'a ServiceView,
        fleet: &'p mut Fleet<'a>,
        context: &'a Context,
    ) -> Result<Self, Notices> {
        let mut notices = Notices::default();
        let Some(force) = accept::in_force(name, view, &mut notices) else { return Err(notices) };
        let facts = Facts { name, view, force, context };
        Ok(Self {
            facts,
            out: Output::new(force.spec, notices, context.now),
            places: Placement::new(facts, fleet),
            rollout: ActiveRollout::new(facts),
            budget: Budget::default(),
            failures: RecentFailures::default(),
            fresh_surge: BTreeSet::new(),
            successors: 0,
        })
    }

    /// Who is where, what the replicas are brought to, and as what they look for a place.
    pub(super) fn observe(&mut self, found: &[ReplicaKind<'a>]) {
        self.failures = RecentFailures::count(found, self.facts.context.now);
        self.places.seat_all(found);
        let Self { facts, rollout, places, failures, out, .. } = self;
        Steering { facts: *facts, rollout, places, failures: *failures, out }.steer(found);
        if let Some(goal) = self.rollout.goal() {
            self.places.placer.run_as(goal.revision);
        }
    }

    /// How much may be disturbed, and whose turn it is to be updated.
    pub(super) fn choose_turn(&mut self, found: &[ReplicaKind<'a>]) {
        let blocked = self.rollout.blocked(found, &mut self.places, &mut self.out);
        self.budget = Budget::grant(&self.facts, &self.rollout, found, &blocked);
        self.rollout.choose_turn(found, &blocked, self.budget);
    }

    /// Whether the replica's index on the host cannot be deleted. Says so.
    pub(super) fn is_index_blocked(&mut self, id: &ReplicaId, host: HostIndex) -> bool {
        self.out.is_blocked(id, self.places.foreign_node_below_index(id, host))
    }

    /// Whether the replica's nodes cannot be deleted. Says so.
    pub(super) fn is_replica_blocked(&mut self, id: &ReplicaId) -> bool {
        self.out.is_blocked(id, self.facts.foreign_node_below(id))
    }
}
