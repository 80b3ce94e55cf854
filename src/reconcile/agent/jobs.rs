//! Jobs: the links are switched, then one systemd job (or a signal), then a look at the unit.
//!
//! A reload that fails is undone: the links lead to what was before, the unit reads that again, and the work is given
//! up.

use std::{sync::Arc, time::Instant};

use super::{
    Agent,
    goods::{Store, config},
    revision::Refusal,
    steps::Done,
};
use crate::{
    ledger::Record,
    model::{Assignment, ReplicaId, UnitName},
    plan::agent::Busy,
    systemd::{JobResult, UnitError, UnitManager, UnitStatus, Verb},
};

/// What a unit is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One job.
    Verb(Verb),
    /// The failed state is cleared, then it is started.
    ResetAndStart,
    /// The main process gets this signal.
    Signal(i32),
}

impl Order {
    /// The log's word for it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Verb(verb) => verb.as_str(),
            Self::ResetAndStart => "reset-failed and start",
            Self::Signal(_) => "signal",
        }
    }

    /// What is under way meanwhile.
    fn verb(self) -> Verb {
        match self {
            Self::Verb(verb) => verb,
            Self::ResetAndStart => Verb::Start,
            Self::Signal(_) => Verb::Reload,
        }
    }
}

/// A job that ended.
pub(super) struct Job {
    id: ReplicaId,
    number: u64,
    order: Order,
    assignment: Assignment,
    /// The configuration to go back to when a reload fails.
    before: Option<Box<Assignment>>,
    /// The unit's invocation before.
    invocation: String,
    outcome: Outcome,
    status: Result<UnitStatus, UnitError>,
}

/// How it ended.
enum Outcome {
    /// As systemd says.
    Ended(Result<JobResult, UnitError>),
    /// The links could not be switched; the unit was not touched.
    NotSwitched(Refusal),
    /// The reload failed, and what was before is in force again: why.
    Undone(String),
}

impl<M: UnitManager + 'static> Agent<M> {
    pub(super) fn start_job(&mut self, id: &ReplicaId, assignment: &Assignment, order: Order, reason: &str) {
        self.count_start(id, order);
        Self::announce(id, order.as_str(), &assignment.unit, reason);
        let number = self.begin(id, Busy::Job(order.verb()));
        self.units.job_began(&assignment.unit);
        let record = self.ledger.replicas.get(id).filter(|record| record.assignment.unit == assignment.unit);
        let job = Job {
            number,
            id: id.clone(),
            order,
            // What the files were written for: that is what the unit starts with, and reads.
            assignment: record.map_or(assignment, |record| &record.assignment).clone(),
            before: record.and_then(|record| self.fallback(id, record)),
            invocation: self.units.get(&assignment.unit).map(|unit| unit.invocation.clone()).unwrap_or_default(),
            outcome: Outcome::Ended(Ok(JobResult::Done)),
            status: Ok(UnitStatus::not_found()),
        };
        let (manager, store) = (Arc::clone(&self.manager), self.goods.store.clone());
        self.tasks.push(Box::pin(async move {
            let outcome = job.run(&*manager, &store).await;
            let status = manager.unit(&job.assignment.unit).await;
            Done::Job(Box::new(Job { outcome, status, ..job }))
        }));
    }

    /// What was in force before, when its configuration is still what the process has read, and on the host.
    fn fallback(&self, id: &ReplicaId, record: &Record) -> Option<Box<Assignment>> {
        let before = record.before.as_ref().filter(|before| before.config_version == record.applied_config)?;
        let wanted = config(id, before)?;
        self.goods.store.configurations.is_staged(&wanted).then(|| before.clone())
    }

    fn count_start(&mut self, id: &ReplicaId, order: Order) {
        let memory = self.memory.entry(id.clone()).or_default();
        match order.verb() {
            Verb::Start => {
                (memory.attempts, memory.last_start, memory.fresh) = (memory.attempts + 1, Some(Instant::now()), false);
                memory.dead = None;
            }
            // What was given up stays so until it is started.
            Verb::Stop if memory.dead.is_some() => {}
            Verb::Stop | Verb::Restart | Verb::Reload => memory.attempts = 0,
        }
    }

    pub(super) fn finish_job(&mut self, job: Job) {
        let (applied, problem, step) = (job.has_applied(), job.problem(), job.order.as_str());
        self.metrics.step(step, problem.is_none());
        self.goods.forget(&job.id);
        let Job { id, number, order, assignment, outcome, status, .. } = job;
        self.units.job_ended(&assignment.unit);
        self.finish_step_read(&assignment.unit, status);
        if let Some(record) = self.ledger.replicas.get_mut(&id).filter(|_| applied) {
            record.applied_config = assignment.config_version;
        }
        if applied && assignment.config.is_some() {
            self.metrics.config_applied(true);
        }
        let current = self.end(&id, number);
        if current && matches!(outcome, Outcome::Ended(Ok(JobResult::Done))) && order != Order::Verb(Verb::Stop) {
            self.settle(&id);
        }
        match outcome {
            Outcome::Undone(why) => self.undone(&id, &assignment, why),
            Outcome::NotSwitched(Refusal { rejected: true, message }) if self.has_before(&id) => {
                self.undone(&id, &assignment, message);
            }
            _ if current => self.remember(&id, step, problem),
            _ => {}
        }
    }

    /// What the job was for is in force: it is what to go back to from now on.
    fn settle(&mut self, id: &ReplicaId) {
        let before = self.ledger.replicas.get_mut(id).and_then(|record| record.before.take());
        if before.is_some() && self.goods.store.has_any(&id.service) {
            self.prune_later(&id.service);
        }
    }

    fn has_before(&self, id: &ReplicaId) -> bool {
        self.ledger.replicas.get(id).is_some_and(|record| record.before.is_some())
    }

    /// What was before is in force again, and this work is given up.
    fn undone(&mut self, id: &ReplicaId, assignment: &Assignment, why: String) {
        self.metrics.config_applied(false);
        self.reject(id, assignment, why);
        if let Some(record) = self.ledger.replicas.get_mut(id).filter(|record| record.assignment == *assignment) {
            record.go_back();
        }
        self.remember(id, "undoing", None);
    }
}

impl Job {
    async fn run<M: UnitManager>(&self, manager: &M, store: &Store) -> Outcome {
        let unit = &self.assignment.unit;
        let switched = match self.order {
            Order::Verb(Verb::Stop) => Ok(()),
            Order::Verb(Verb::Reload) | Order::Signal(_) => store.switch_config(&self.id, &self.assignment),
            Order::Verb(Verb::Start | Verb::Restart) | Order::ResetAndStart => {
                store.switch(&self.id, &self.assignment).await
            }
        };
        if let Err(refusal) = switched {
            return Outcome::NotSwitched(refusal);
        }
        let result = run(manager, self.order, unit).await;
        match (self.order, &self.before, &result) {
            (Order::Verb(Verb::Reload), Some(before), Ok(ended)) if !is_passing(ended) => {
                self.undo(manager, store, before, ended).await
            }
            _ => Outcome::Ended(result),
        }
    }

    /// The reload failed: the unit reads again what was before.
    async fn undo<M: UnitManager>(
        &self,
        manager: &M,
        store: &Store,
        before: &Assignment,
        ended: &JobResult,
    ) -> Outcome {
        if let Err(refusal) = store.switch_config(&self.id, before) {
            return Outcome::NotSwitched(refusal);
        }
        let (unit, revision) = (&self.assignment.unit, shown(self.assignment.config_version));
        let again = run(manager, self.order, unit).await;
        let restored = match again {
            Ok(JobResult::Done) => format!("{} is in force again", shown(before.config_version)),
            Ok(other) => format!("{} is back, and its reload ended with {other}, too", shown(before.config_version)),
            Err(error) => format!("{} is back, and its reload ended with: {error}", shown(before.config_version)),
        };
        let why = format!("systemctl reload {unit} with configuration {revision}: {ended}; {restored}");
        Outcome::Undone(why)
    }

    /// Whether the unit has read its configuration: the job did it, or the unit was started anew whatever the job says.
    fn has_applied(&self) -> bool {
        let Outcome::Ended(result) = &self.outcome else { return false };
        let anew = self.status.as_ref().is_ok_and(|unit| unit.invocation != self.invocation);
        self.order != Order::Verb(Verb::Stop) && (anew || *result == Ok(JobResult::Done))
    }

    /// What went wrong, unless the unit's own state tells: it does when a start or stop failed, but a reload leaves
    /// no trace there, and neither does a job that never came to run.
    fn problem(&self) -> Option<String> {
        let reloads = self.order.verb() == Verb::Reload;
        match &self.outcome {
            Outcome::Ended(Ok(result)) if is_passing(result) => None,
            Outcome::Ended(Ok(JobResult::Failed)) if !reloads => None,
            Outcome::Ended(Ok(result)) => {
                Some(format!("systemctl {} {}: {result}", self.order.as_str(), self.assignment.unit))
            }
            Outcome::Ended(Err(error)) => Some(error.to_string()),
            Outcome::NotSwitched(refusal) => Some(refusal.message.clone()),
            Outcome::Undone(why) => Some(why.clone()),
        }
    }
}

/// Whether the job's end says nothing against the unit.
fn is_passing(result: &JobResult) -> bool {
    matches!(result, JobResult::Done | JobResult::Skipped | JobResult::Canceled)
}

fn shown(revision: Option<u64>) -> String {
    revision.map_or_else(|| "none".to_owned(), |revision| format!("configuration {revision}"))
}

async fn run<M: UnitManager>(manager: &M, order: Order, unit: &UnitName) -> Result<JobResult, UnitError> {
    if let Order::Signal(number) = order {
        return manager.signal(unit, number).await.map(|()| JobResult::Done);
    }
    // What the operator asks for is no crash loop: it does not count towards the start limit.
    let result = match order {
        Order::ResetAndStart => {
            manager.reset_failed(unit).await?;
            manager.run(Verb::Start, unit).await?
        }
        // Within its limit a restart need not wait for the answer: systemd reads the calls in this order.
        Order::Verb(Verb::Restart) => {
            let (reset, result) = tokio::join!(manager.reset_failed(unit), manager.run(Verb::Restart, unit));
            reset.and(result)?
        }
        _ => manager.run(order.verb(), unit).await?,
    };
    if order == Order::Verb(Verb::Stop) {
        // Nor does the start that may follow; a unit that is gone has nothing to forget.
        let _ = manager.reset_failed(unit).await;
    }
    Ok(result)
}
