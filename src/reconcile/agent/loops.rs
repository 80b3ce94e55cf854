//! The agent's loop: wait for anything, take it in, then *snapshot → plan → execute → status*.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::StreamExt as _;

use super::{Agent, publish::Published};
use crate::{
    blocking,
    model::ReplicaId,
    plan::agent::Effect,
    reconcile::{Woken, sleep_until},
    report::notify::{Call, ServiceManager},
    store::{Link, Up},
    systemd::UnitManager,
    tree::node::Batch,
};

impl<M: UnitManager + 'static> Agent<M> {
    /// Turns the loop until the service manager wants the agent to stop.
    pub(super) async fn run(mut self, mut service_manager: ServiceManager) -> anyhow::Result<()> {
        let _loop = blocking::Loop::begin();
        loop {
            match self.wait(&mut service_manager).await? {
                Woken::Stop => break,
                Woken::Fed => {}
                Woken::Changed => {
                    self.reconcile();
                    self.tell(&mut service_manager);
                }
            }
        }
        self.stop(&mut service_manager).await;
        Ok(())
    }

    /// Waits for something to happen and takes it in.
    async fn wait(&mut self, service_manager: &mut ServiceManager) -> anyhow::Result<Woken> {
        let deadline = self.wake_at;
        tokio::select! {
            call = service_manager.call() => match call {
                Call::Stop => return Ok(Woken::Stop),
                Call::Fed => return Ok(Woken::Fed),
            },
            batch = self.mirror.next() => self.absorb(&batch.context("the mirror of the tree ended")?),
            units = self.manager.changed() => self.units_changed(units),
            Some(done) = self.tasks.next() => self.finish(done),
            () = self.health.probers.changed() => {}
            Some(published) = self.publications.next() => self.published(published),
            link = self.link.changed() => { link.context("the session's supervisor ended")?; self.relinked(); }
            () = sleep_until(deadline) => {}
            () = self.spare.give_back() => return Ok(Woken::Fed),
        }
        self.spare.worked(Instant::now());
        self.absorb_the_rest();
        Ok(Woken::Changed)
    }

    /// Takes in what else is already there, so that one plan answers to all of it.
    fn absorb_the_rest(&mut self) {
        while let Some(batch) = self.mirror.try_next() {
            self.absorb(&batch);
        }
    }

    fn absorb(&mut self, batch: &Batch) {
        for change in &batch.changes {
            match self.work.apply(change, &self.ledger) {
                Effect::None => {}
                Effect::Alive(owner) if owner == self.up().map(|up| up.session_id) => {}
                Effect::Alive(_) => self.publisher.doubt(None),
                Effect::Fresh(id) => self.refreshed(&id),
                Effect::Unreadable(id, why) => {
                    tracing::error!("{id}: its assignment is not acted on, the last good one stays in force: {why}");
                }
                Effect::BadLabels(path, bad) => {
                    for why in bad {
                        tracing::warn!("{path}: the label is left out: {why}");
                    }
                }
                Effect::Nudged(id) => {
                    // Somebody wants it tried once more.
                    self.ledger.rejected.remove(&id);
                    self.publisher.doubt(Some(&id));
                }
            }
        }
        tracing::debug!(changes = batch.changes.len(), synced = ?batch.synced, "the tree changed");
        if let Some(synced) = batch.synced {
            self.synced = Some(synced.epoch);
            self.work.synced();
            self.known_since.get_or_insert_with(Instant::now);
        }
    }

    fn relinked(&mut self) {
        let link = self.link.borrow_and_update().clone();
        self.metrics.link(matches!(link, Link::Up(_)), matches!(&link, Link::Up(up) if up.joins == 0));
        self.publisher.relinked();
        self.confirm_at = None;
        for memory in self.memory.values_mut() {
            // What could not be read from the tree may be there now.
            memory.stage_at_once();
        }
        match &link {
            Link::Up(up) => {
                tracing::info!("connected to ZooKeeper: session {:#x}, join {}", up.session_id, up.joins);
                if self.synced.is_some_and(|epoch| epoch != up.epoch) {
                    self.session_lost();
                }
            }
            Link::Suspended => {
                tracing::warn!("connection to ZooKeeper lost; services go on, the session may still be saved");
            }
            Link::Down { reason } => {
                tracing::warn!("no session with ZooKeeper; services go on: {reason}");
                self.session_lost();
            }
        }
    }

    /// The session's ephemerals are gone: what it listed is out of `instances` from now on.
    fn session_lost(&mut self) {
        self.synced = None;
        let lost = self.publisher.session_lost();
        self.left_instances(lost);
    }

    fn left_instances(&mut self, ids: Vec<ReplicaId>) {
        let now = Instant::now();
        for id in ids {
            self.memory.entry(id).or_default().unlisted(now);
        }
    }

    /// The link, when it is up.
    pub(super) fn up(&self) -> Option<Up> {
        match &*self.link.borrow() {
            Link::Up(up) => Some(up.clone()),
            _ => None,
        }
    }

    pub(super) fn published(&mut self, published: Published) {
        let outcome = self.publisher.published(self.up().as_ref(), published, Instant::now());
        tracing::debug!(?outcome, "published");
        (0..outcome.writes).for_each(|_| self.metrics.write());
        for id in &outcome.listed {
            self.memory.entry(id.clone()).or_default().listed();
        }
        self.left_instances(outcome.unlisted);
        self.note("zookeeper", outcome.error);
        if outcome.seen {
            self.look_at_alive();
        }
    }

    /// What was just registered must be in the tree as the mirror has it by now. It is not when another hand deleted
    /// it at once: the mirror found nothing before and after, and so had no change to tell of.
    fn look_at_alive(&mut self) {
        self.absorb_the_rest();
        let Some(up) = self.up() else { return };
        if self.publisher.is_registered(up.epoch) && self.work.alive_owner() != Some(up.session_id) {
            self.publisher.doubt(None);
        }
    }

    /// Remembers a problem of the agent's own under `what`, or that it is over; logs changes only.
    pub(super) fn note(&mut self, what: &'static str, problem: Option<String>) {
        if self.problems.get(what) == problem.as_ref() {
            return;
        }
        match problem {
            Some(problem) => {
                tracing::warn!("{what}: {problem}");
                self.problems.insert(what, problem);
            }
            None => drop(self.problems.remove(what)),
        }
    }
}
