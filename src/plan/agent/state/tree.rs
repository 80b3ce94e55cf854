//! What `ZooKeeper` tells: changes below this host, and of the link itself.

use std::time::Instant;

use super::State;
use crate::{
    model::ReplicaId,
    plan::agent::{
        Effect,
        action::{Connection, Counted, Linked, Published, Severity},
    },
    tree::{layout::Place, node::Batch},
};

impl State {
    pub(super) fn tree_changed(&mut self, batch: &Batch, now: Instant) {
        for change in &batch.changes {
            if let Place::Assignment(_, id) = Place::of(&change.path) {
                self.changed.replica(&id);
            }
            match self.work.apply(change, &self.ledger) {
                Effect::None => {}
                Effect::Alive(owner) if owner == self.connection.map(|it| it.session_id) => {}
                Effect::Alive(_) => self.publisher.doubt(None),
                Effect::Fresh(id) => self.memory_of(&id).refreshed(),
                Effect::Unreadable(id, why) => {
                    let line = format!("{id}: its assignment is not acted on, the last good one stays in force: {why}");
                    self.log(Severity::Error, line);
                }
                Effect::BadLabels(path, bad) => {
                    for why in bad {
                        self.log(Severity::Warning, format!("{path}: the label is left out: {why}"));
                    }
                }
                Effect::Nudged(id) => {
                    // Somebody wants it tried once more.
                    self.ledger.rejected.remove(&id);
                    self.publisher.doubt(Some(&id));
                }
            }
        }
        if let Some(synced) = batch.synced {
            self.changed.all();
            self.synced = Some(synced.epoch);
            self.work.synced();
            self.known_since.get_or_insert(now);
        }
    }

    pub(super) fn relinked(&mut self, linked: Linked, now: Instant) {
        self.changed.all();
        self.publisher.relinked();
        self.confirm_at = None;
        for memory in self.memory.values_mut() {
            // What could not be read from the tree may be there now.
            memory.stage_at_once();
        }
        match linked {
            Linked::Up => {
                if let Some(connection) = self.connection {
                    let Connection { session_id, joins, epoch } = connection;
                    let line = format!("connected to ZooKeeper: session {session_id:#x}, join {joins}");
                    self.log(Severity::Info, line);
                    if self.synced.is_some_and(|synced| synced != epoch) {
                        self.session_lost(now);
                    }
                }
            }
            Linked::Suspended => {
                let line = "connection to ZooKeeper lost; services go on, the session may still be saved";
                self.log(Severity::Warning, line.to_owned());
            }
            Linked::Down(reason) => {
                self.log(Severity::Warning, format!("no session with ZooKeeper; services go on: {reason}"));
                self.session_lost(now);
            }
        }
    }

    /// The session's ephemerals are gone: what it listed is out of `instances` from now on.
    fn session_lost(&mut self, now: Instant) {
        self.synced = None;
        let lost = self.publisher.session_lost();
        self.left_instances(lost, now);
    }

    fn left_instances(&mut self, ids: Vec<ReplicaId>, now: Instant) {
        for id in ids {
            self.memory_of(&id).unlisted(now);
        }
    }

    pub(super) fn published(&mut self, published: Published, now: Instant) {
        let outcome = self.publisher.published(self.connection, published, now);
        if outcome.writes > 0 {
            self.count(Counted::Writes(outcome.writes));
        }
        for id in &outcome.listed {
            self.memory_of(id).listed();
        }
        self.left_instances(outcome.unlisted, now);
        self.note("zookeeper", outcome.error);
    }

    /// What was just registered must be in the tree as it is known by now. It is not when another hand deleted it at once:
    /// nothing was found before and after, and so there was no change to tell of.
    pub fn look_at_alive(&mut self) {
        let Some(connection) = self.connection else { return };
        if self.publisher.is_registered(connection.epoch) && self.work.alive_owner() != Some(connection.session_id) {
            self.publisher.doubt(None);
        }
    }
}
