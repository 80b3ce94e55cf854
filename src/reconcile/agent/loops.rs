//! The agent's loop: wait for anything, take it in, then *look → plan → carry out → tell*.

use std::{collections::BTreeMap, mem, time::Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;

use super::{Agent, READY_LIMIT, now};
use crate::{
    blocking,
    model::{Probing, ReplicaId},
    plan::agent::{
        Findings,
        action::{Event, Linked, Published},
    },
    reconcile::{Woken, sleep_until},
    report::notify::{Call, ServiceManager},
    store::{Link, Presence},
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
        let ready = (!self.is_ready).then(|| self.started + READY_LIMIT);
        let deadline = self.state.wake_at().into_iter().chain(ready).min();
        tokio::select! {
            call = service_manager.call() => match call {
                Call::Stop => return Ok(Woken::Stop),
                Call::Fed => return Ok(Woken::Fed),
            },
            batch = self.mirror.next() => self.tree_changed(batch.context("the mirror of the tree ended")?),
            units = self.manager.changed() => self.observe(Event::UnitsChanged(units)),
            Some(event) = self.tasks.next() => self.ended(event),
            () = self.probers.changed() => {}
            Some((published, presence)) = self.publications.next() => self.published(published, presence),
            link = self.link.changed() => { link.context("the session's supervisor ended")?; self.relinked(); }
            () = sleep_until(deadline) => {}
            () = self.spare.give_back() => return Ok(Woken::Fed),
        }
        self.spare.worked(Instant::now());
        self.take_in_the_rest();
        Ok(Woken::Changed)
    }

    /// One round.
    fn reconcile(&mut self) {
        self.state.set_connection(self.connection());
        let now = now();
        let mut round = self.state.look(self.manager.reloads(), now.instant);
        let findings = self.ask_probers(mem::take(&mut round.probed));
        let decisions = self.state.plan(&round, &findings, now);
        self.metrics.plan();
        tracing::debug!(?decisions, "planned");
        self.carry_out();
    }

    fn ask_probers(&mut self, probed: BTreeMap<ReplicaId, (String, Probing)>) -> Findings {
        let ids: Vec<_> = probed.keys().cloned().collect();
        self.probers.set(probed);
        let found = |id: ReplicaId| {
            let verdict = (self.probers.get(&id), self.probers.trial(&id));
            (id, verdict)
        };
        Findings { of: ids.into_iter().map(found).collect(), not_asked: self.probers.not_asked() }
    }

    fn ended(&mut self, event: Event) {
        if let Event::Staged { stage, .. } = &event {
            self.staging.remove(&stage.number);
        }
        self.observe(event);
    }

    fn observe(&mut self, event: Event) {
        self.state.set_connection(self.connection());
        self.state.observe(event, Instant::now());
    }

    /// Takes in what else is already there, so that one plan answers to all of it.
    fn take_in_the_rest(&mut self) {
        while let Some(batch) = self.mirror.try_next() {
            self.tree_changed(batch);
        }
    }

    fn tree_changed(&mut self, batch: Batch) {
        tracing::debug!(changes = batch.changes.len(), synced = ?batch.synced, "the tree changed");
        self.observe(Event::Tree(batch));
    }

    fn relinked(&mut self) {
        let link = self.link.borrow_and_update().clone();
        self.metrics.link(matches!(link, Link::Up(_)), matches!(&link, Link::Up(up) if up.joins == 0));
        self.observe(Event::Link(match link {
            Link::Up(_) => Linked::Up,
            Link::Suspended => Linked::Suspended,
            Link::Down { reason } => Linked::Down(reason),
        }));
    }

    pub(super) fn published(&mut self, published: Published, presence: Option<Presence>) {
        tracing::debug!(?published, "published");
        let seen = published.ephemerals.as_ref().is_some_and(|it| it.seen);
        if let Some(presence) = presence {
            self.presence = Some(presence);
        }
        self.observe(Event::Published(Box::new(published)));
        if seen {
            self.take_in_the_rest();
            self.state.look_at_alive();
        }
    }

    /// Tells the service manager, the metrics and whoever asks the socket how things stand.
    fn tell(&mut self, service_manager: &mut ServiceManager) {
        self.state.set_connection(self.connection());
        let statuses = self.state.statuses();
        self.metrics.count_replicas(statuses.values().map(|status| status.state));
        let (host, words) = (&self.settings.host, self.state.in_words());
        let value = serde_json::json!({ "host": host, "status": words, "replicas": statuses });
        self.shown.send_if_modified(|shown| {
            let changed = *shown != value;
            *shown = value;
            changed
        });
        if self.state.is_settled() || self.started.elapsed() >= READY_LIMIT {
            self.is_ready = true;
            service_manager.ready();
        }
        service_manager.status(&words);
    }
}
