//! Actions carried out: most as tasks beside the loop, which end in an event. Nothing is decided here.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{OptionFuture, abortable},
};

use super::{
    Agent,
    disk::write_all,
    jobs, placement, publication,
    revision::Order,
    units::{answer, read_all, read_beside},
};
use crate::{
    model::UnitName,
    plan::agent::action::{Action, Counted, Event, Registration, Severity, Stage, UnitRead, Write},
    systemd::UnitManager,
};

/// How long a failure may be kept back for its last line, waiting for a turn included.
const LAST_LINE_LIMIT: Duration = Duration::from_secs(3);

impl<M: UnitManager + 'static> Agent<M> {
    /// Begins what is to be done.
    pub(super) fn carry_out(&mut self) {
        for action in self.state.take_actions() {
            self.begin(action);
        }
    }

    fn begin(&mut self, action: Action) {
        match action {
            Action::WatchUnits(units) => self.manager.watch_units(&units),
            Action::ReadUnit { unit, with_files } => self.read_unit(unit, with_files),
            Action::ReadFiles(unit) => {
                let read = read_beside(self.disk.files.clone(), unit.clone());
                self.task(read.map(|files| Event::FilesRead(unit, files)));
            }
            Action::ReadAllFiles(units) => {
                let read = read_all(self.disk.files.clone(), units);
                self.task(read.map(|found| Event::AllFilesRead(found.into_iter().collect())));
            }
            Action::ReadLastLine { unit, invocation } => self.read_last_line(unit, invocation),
            Action::LookAtArtifacts { id, number, assignment } => {
                let store = self.store.clone();
                self.task(async move {
                    let artifacts = store.look_beside(&id, &assignment).await;
                    Event::ArtifactsSeen { id, number, artifacts }
                });
            }
            Action::Stage(stage) => self.stage(stage),
            Action::AbandonStaging(number) => {
                if let Some(abort) = self.staging.remove(&number) {
                    abort.abort();
                }
            }
            Action::Prune(prune) => {
                let (store, service) = (self.store.clone(), prune.service.clone());
                self.task(async move {
                    store.prune(*prune).await;
                    Event::Pruned(service)
                });
            }
            Action::Run(job) => {
                let (manager, store) = (Arc::clone(&self.manager), self.store.clone());
                self.task(async move {
                    let end = jobs::run(&job, &*manager, &store).await;
                    Event::JobEnded(job, Box::new(end))
                });
            }
            Action::Write(write) => self.write(write),
            Action::ReadPlacement(id) => {
                let (up, host) = (self.up(), self.settings.host.clone());
                self.task(async move {
                    let placed = async { placement::is_placed(&up?.client, &id, &host).await.ok() };
                    let placed = placed.await;
                    Event::PlacementRead(id, placed)
                });
            }
            Action::ReadListed { id, unit } => {
                let (up, host) = (self.up(), self.settings.host.clone());
                self.task(async move {
                    let listed = async { placement::listed(&up?.client, &id, &host, &unit).await.ok() };
                    let listed = listed.await;
                    Event::ListedRead { id, invocation: unit.invocation, listed }
                });
            }
            Action::Delist(id) => {
                let (up, host) = (self.up(), self.settings.host.clone());
                self.task(async move {
                    let delisted = async { placement::delist(&up?.client, &id, &host).await.ok() };
                    let delisted = delisted.await;
                    Event::Delisted(id, delisted.is_some())
                });
            }
            Action::Register(registration) => self.register(*registration),
            Action::WriteStatuses { at, all } => {
                let client = self.up().map(|up| up.client);
                let written = publication::write_statuses(client, at, all);
                self.publications.push(Box::pin(written.map(|published| (published, None))));
            }
            Action::BeginTrial(id, length) => self.probers.begin_trial(&id, length),
            Action::Log(Severity::Info, line) => tracing::info!("{line}"),
            Action::Log(Severity::Warning, line) => tracing::warn!("{line}"),
            Action::Log(Severity::Error, line) => tracing::error!("{line}"),
            Action::Count(counted) => self.count(counted),
        }
    }

    fn task(&mut self, task: impl Future<Output = Event> + Send + 'static) {
        self.tasks.push(Box::pin(task));
    }

    fn read_unit(&mut self, unit: UnitName, with_files: bool) {
        let manager = Arc::clone(&self.manager);
        let files = with_files.then(|| read_beside(self.disk.files.clone(), unit.clone()));
        self.task(async move {
            let (status, files) = tokio::join!(manager.unit(&unit), OptionFuture::from(files));
            Event::UnitRead(Box::new(UnitRead { unit, answer: answer(status), files }))
        });
    }

    fn read_last_line(&mut self, unit: UnitName, invocation: String) {
        let (manager, turns) = (Arc::clone(&self.manager), Arc::clone(&self.last_lines));
        self.task(async move {
            let answer = async {
                let _turn = turns.acquire().await.ok()?;
                manager.last_words(&unit, &invocation).await
            };
            let line = tokio::time::timeout(LAST_LINE_LIMIT, answer).await.ok().flatten();
            Event::LastLineRead { unit, invocation, line }
        });
    }

    fn stage(&mut self, stage: Box<Stage>) {
        let order = Order {
            id: stage.id.clone(),
            assignment: stage.assignment.clone(),
            store: self.store.clone(),
            address: self.settings.address.clone(),
            labels: stage.labels.clone(),
            client: self.up().map(|up| up.client),
        };
        let (future, abort) = abortable(order.stage_and_look());
        self.staging.insert(stage.number, abort);
        self.task(future.map(|result| Event::Staged { stage, result: result.ok() }));
    }

    fn write(&mut self, write: Box<Write>) {
        let (manager, disk) = (Arc::clone(&self.manager), self.disk.clone());
        let sources = Arc::clone(&self.store.sources);
        let gone = write.changes.iter().filter(|change| change.prepare.is_none());
        let gone: Vec<_> = gone.map(|change| (change.id.service.clone(), change.assignment.unit.clone())).collect();
        self.task(async move {
            // Before the files: by these a replica is found that is to be forgotten.
            sources.unlink(gone).await;
            Event::Written(Box::new(write_all(&*manager, disk, *write).await))
        });
    }

    fn register(&mut self, registration: Registration) {
        let Some(mut presence) = self.presence.take() else { return };
        let barrier = self.barrier.clone();
        self.publications.push(Box::pin(async move {
            let published = publication::register(registration, &mut presence, barrier).await;
            (published, Some(presence))
        }));
    }

    fn count(&self, counted: Counted) {
        match counted {
            Counted::Rejection => self.metrics.rejection(),
            Counted::Fetch(done) => self.metrics.fetch(done),
            Counted::Config(done) => self.metrics.config_applied(done),
            Counted::Step(step, done) => self.metrics.step(step, done),
            Counted::ProbeFailed(probe) => self.metrics.probe_failed(probe),
            Counted::Writes(count) => (0..count).for_each(|_| self.metrics.write()),
        }
    }
}
