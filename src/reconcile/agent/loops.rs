//! The agent's loop: wait for anything, take it in, then *look → plan → carry out → tell*.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _};

use super::{Agent, READY_LIMIT, now};
use crate::{
    blocking,
    model::ReplicaId,
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
        let round = self.state.look(self.manager.reloads(), now.instant);
        if round.probes_differ {
            self.probers.set(self.state.probed().clone());
        }
        let findings = self.findings();
        self.state.plan(round, &findings, now);
        self.metrics.plan();
        tracing::debug!(decisions = ?self.state.decisions(), "planned");
        self.carry_out();
    }

    fn findings(&self) -> Findings {
        let found = |id: ReplicaId| {
            let verdict = (self.probers.get(&id), self.probers.trial(&id));
            (id, verdict)
        };
        Findings { of: self.state.probed().keys().cloned().map(found).collect(), not_asked: self.probers.not_asked() }
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

    /// Takes in what else is already there, so that one plan answers to all of it. Nothing is begun meanwhile, so that
    /// this has an end.
    fn take_in_the_rest(&mut self) {
        self.take_in_the_tree();
        while let Some(Some(event)) = self.tasks.next().now_or_never() {
            self.ended(event);
        }
        if let Some(units) = self.manager.changed().now_or_never() {
            self.observe(Event::UnitsChanged(units));
        }
        while let Some(Some((published, presence))) = self.publications.next().now_or_never() {
            self.published(published, presence);
        }
    }

    fn take_in_the_tree(&mut self) {
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
            self.take_in_the_tree();
            self.state.look_at_alive();
        }
    }

    /// Tells the service manager, the metrics and whoever asks the socket how things stand.
    fn tell(&mut self, service_manager: &mut ServiceManager) {
        self.state.set_connection(self.connection());
        let (words, said) = (self.state.in_words(), self.state.take_said());
        let statuses = self.state.statuses();
        self.metrics.count_replicas(statuses.values().map(|status| status.state));
        self.shown.send_modify(|shown| {
            if shown.get("replicas").is_none() {
                *shown = serde_json::json!({ "host": self.settings.host, "replicas": {} });
            }
            shown["status"] = words.as_str().into();
            let Some(replicas) = shown["replicas"].as_object_mut() else { return };
            for id in said {
                match statuses.get(&id) {
                    Some(status) => drop(replicas.insert(id.to_string(), serde_json::json!(status))),
                    None => drop(replicas.remove(&id.to_string())),
                }
            }
        });
        if self.state.is_settled() || self.started.elapsed() >= READY_LIMIT {
            self.is_ready = true;
            service_manager.ready();
        }
        service_manager.status(&words);
    }
}
