//! What a round puts out for one service: it is added to, and never read to decide anything but whether more fits.

use jiff::Timestamp;

use super::{
    after,
    classify::Replica,
    cool_off::COOL_OFF,
    notice::Notices,
    status::StatusCounts,
    transaction::{Note, Step, TransactionBuilder},
    words::{Subject, Waiting, Why},
};
use crate::{
    model::{ReplicaId, ReplicaNumber, ServiceSpec},
    tree::txn::{Cause, Op},
};

/// What comes of a service's round.
pub(super) struct Output<'a> {
    pub(super) builder: TransactionBuilder<'a>,
    pub(super) notices: Notices,
    pub(super) counts: StatusCounts,
    /// Why replicas leave their host without being asked to.
    pub(super) moves: Vec<Cause>,
    /// How many replicas stay where they fail, because others are no better.
    pub(super) held: usize,
    /// When time alone will change something.
    pub(super) wake_at: Option<Timestamp>,
    now: Timestamp,
}

impl<'a> Output<'a> {
    pub(super) fn new(spec: &'a ServiceSpec, notices: Notices, now: Timestamp) -> Self {
        let builder = TransactionBuilder::new(Some(spec));
        Self { builder, notices, counts: StatusCounts::default(), moves: Vec::new(), held: 0, wake_at: None, now }
    }

    /// Adds a step: all of it lands, or none.
    pub(super) fn push(&mut self, ops: Vec<Op>, note: Note, urgent: bool) {
        self.builder.push(Step { ops, event: note, urgent });
    }

    /// Notes what the operator should know of a replica.
    pub(super) fn notice(&mut self, subject: Subject, number: ReplicaNumber, why: &impl Why) {
        self.notices.add(subject, Some(number), why);
    }

    /// Asks to be woken at `at`, unless that is over.
    pub(super) fn wake(&mut self, at: Timestamp) {
        if at > self.now {
            self.wake_at = self.wake_at.into_iter().chain([at]).min();
        }
    }

    /// A host where the replica failed may be tried again then.
    pub(super) fn wake_after_cool_off(&mut self, replica: &Replica<'_>) {
        for failed in &replica.desired.failed_on {
            self.wake(after(failed.at, COOL_OFF));
        }
    }

    /// Whether a foreign node keeps one of the replica's from being deleted. Says so.
    pub(super) fn is_blocked(&mut self, id: &ReplicaId, foreign: Option<&str>) -> bool {
        let Some(path) = foreign else { return false };
        self.notice(Subject::Service, id.number, &Waiting::ForeignNode(path));
        true
    }
}
