//! Assignments that vanished: is the replica still this host's? Its `desired`, which is the authority, is read. What
//! that says decides, with [`Work`](crate::plan::agent::Work), whether the replica is stopped.
//!
//! A host is told of its own subtree alone. Where an assignment is missing of a replica that is this host's, or of which
//! `desired` cannot be read, the controller writes it again; but what it writes may be that another host has it, and nothing
//! comes here. So `desired` is read again, ever more rarely, and at last with all else.

use std::time::{Duration, Instant};

use super::State;
use crate::{
    model::ReplicaId,
    plan::agent::action::{Action, Connection, Severity},
};

/// How long what could not be read rests.
pub(super) const RETRY: Duration = Duration::from_secs(1);

impl State {
    /// The connection, while what is missing in this host's subtree is known to be missing in the tree.
    pub(super) fn confirmable(&self) -> Option<Connection> {
        self.connection.filter(|it| self.synced == Some(it.epoch))
    }

    /// Has the `desired` of replicas read whose assignment vanished.
    pub(super) fn confirm_withdrawn(&mut self, now: Instant) {
        if self.confirm_at.is_some_and(|at| now < at) || self.confirmable().is_none() {
            return;
        }
        self.confirm_at = None;
        let mut ids: Vec<_> = self.unconfirmed.iter().cloned().collect();
        ids.extend(self.work.kept().filter(|(_, at)| *at <= now).map(|(id, _)| id.clone()));
        for id in ids {
            if self.confirming.insert(id.clone()) {
                self.act(Action::ReadPlacement(id));
            }
        }
    }

    pub(super) fn placement_read(&mut self, id: &ReplicaId, ours: Option<bool>, now: Instant) {
        self.changed.replica(id);
        self.confirming.remove(id);
        match ours {
            // It came back meanwhile.
            Some(true) if self.work.is_present(id) => {}
            Some(true) => {
                if self.work.keep(id, now) {
                    let line =
                        "its assignment was deleted by someone else; it keeps running, the controller restores it";
                    self.log(Severity::Warning, format!("{id}: {line}"));
                }
            }
            // Refused, say: nothing of it was ever here.
            Some(false) if !self.ledger.replicas.contains_key(id) => self.work.forget(id),
            Some(false) => {
                self.work.give_up(id);
                self.memory_of(id).refreshed();
            }
            None => self.confirm_at = Some(now + RETRY),
        }
    }

    /// When the `desired` of a kept replica is read next, but for those of which it is being read.
    pub(super) fn next_confirm_of_kept(&self) -> Option<Instant> {
        let waiting = self.work.kept().filter(|(id, _)| !self.confirming.contains(*id));
        waiting.map(|(_, at)| at).min()
    }
}
