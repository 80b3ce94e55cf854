//! What is given of one service for the whole of a plan. Every part of a round has it, and none can change it.

use super::{Context, accept::InForce};
use crate::{
    model::{MoveOrder, ReplicaId, ReplicaState, ServiceName},
    plan::controller::classify::Replica,
    tree::{
        layout,
        snapshot::{ServiceView, below},
    },
};

/// One service as it is planned.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) name: &'a ServiceName,
    pub(super) view: &'a ServiceView,
    pub(super) force: InForce<'a>,
    pub(super) context: &'a Context,
}

impl<'a> Facts<'a> {
    /// Whether nobody has put anything below the node, so that it can be deleted.
    pub(super) fn is_leaf(&self, path: &str) -> bool {
        below(&self.view.others, path).next().is_none()
    }

    /// A node below the replica's that is not zkops's own: ZooKeeper deletes no node with children.
    pub(super) fn foreign_node_below(&self, id: &ReplicaId) -> Option<&'a str> {
        below(&self.view.others, &layout::replica(id)).next()
    }

    /// Whether replicas of the service leave a host after their successors have started: it says so, or no ready one may
    /// ever be missing.
    pub(super) fn starts_first(&self) -> bool {
        let (max_unavailable, _) = self.force.spec.budget(self.force.wanted());
        self.force.spec.placement.move_order == MoveOrder::StartFirst || max_unavailable == 0
    }

    /// The same of those that an operator asks to leave, which nothing forces out: also where a rollout may start others beside
    /// those wanted.
    pub(super) fn starts_first_when_asked(&self) -> bool {
        let (_, max_surge) = self.force.spec.budget(self.force.wanted());
        self.view.moves.is_some() && max_surge > 0 || self.starts_first()
    }

    /// Whether the replica's host was shut down in order, and the service does not wait for that.
    pub(super) fn was_shut_down(&self, replica: &Replica<'_>) -> bool {
        replica.state() == Some(ReplicaState::Stopped) && !self.force.spec.wait_for_reboot
    }
}
