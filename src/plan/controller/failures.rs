//! The brake on moves that change nothing: a replica that fails everywhere stays where it is.

use jiff::Timestamp;

use super::{
    after,
    classify::{Replica, ReplicaKind, managed},
    cool_off::{COOL_OFF, late_failures},
    facts::Facts,
    words::Brake,
};
use crate::model::ReplicaState;

/// On so many hosts a replica may fail within [`COOL_OFF`]. After that it is the service that fails, not the hosts: it
/// stays where it is, and its agent tries it again at growing intervals.
const MOST_TRIED: usize = 3;

/// The same of hosts that refuse it, which takes no time and harms nobody: few enough for a small document.
const MOST_REFUSING: usize = 20;

/// How often replicas of a service were moved of late because they had failed.
#[derive(Clone, Copy, Default)]
pub(super) struct RecentFailures {
    count: usize,
    /// When the first of these no longer counts.
    pub(super) until: Option<Timestamp>,
}

impl RecentFailures {
    pub(super) fn count(found: &[ReplicaKind<'_>], now: Timestamp) -> Self {
        let replicas = found.iter().filter_map(managed);
        let ends = replicas
            .flat_map(|replica| late_failures(&replica.desired.failed_on, now))
            .map(|it| after(it.at, COOL_OFF));
        ends.fold(Self::default(), |it, end| Self {
            count: it.count + 1,
            until: it.until.into_iter().chain([end]).min(),
        })
    }

    /// Another replica is moved because it failed.
    pub(super) fn add(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// Why a replica that failed stays, whatever hosts there are: no replica fails on more than so many hosts within
    /// [`COOL_OFF`], and of one service there are no more such moves than it has replicas, but as many as that.
    pub(super) fn brake(self, replica: &Replica<'_>, facts: Facts<'_>) -> Option<Brake> {
        let most = if replica.state() == Some(ReplicaState::Refused) { MOST_REFUSING } else { MOST_TRIED };
        let tried = late_failures(&replica.desired.failed_on, facts.context.now).count();
        if tried >= most - 1 {
            return Some(Brake::Tried(tried));
        }
        (self.count >= facts.force.wanted().max(most)).then_some(Brake::Moved(self.count))
    }
}
