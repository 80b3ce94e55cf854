//! Jobs: the links are switched, then one systemd job (or a signal), then a look at the unit.
//!
//! A reload that fails is undone: the links lead to what was before, the unit reads that again, and the work is given
//! up.

use std::{sync::Arc, time::Instant};

use super::{
    Agent,
    goods::{Found, Store, config, needs_any},
    revision::Refusal,
    steps::Done,
};
use crate::{
    model::{ActiveState, CheckedAssignment, JobResult, Record, ReplicaId, UnitName, UnitStatus, Verb},
    plan::agent::Busy,
    systemd::{UnitError, UnitManager},
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
    assignment: CheckedAssignment,
    /// The configuration to go back to when a reload fails.
    before: Option<Box<CheckedAssignment>>,
    /// The unit's invocation before.
    invocation: String,
    outcome: Outcome,
    status: Result<UnitStatus, UnitError>,
    /// What systemd has against the unit, when the outcome does not tell.
    complaint: Option<String>,
    /// What is on the host after it.
    found: Found,
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
    pub(super) fn start_job(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, order: Order, reason: &str) {
        self.count_start(id, &assignment.unit, order);
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
            before: record.and_then(|record| fallback(id, record)),
            invocation: self.units.get(&assignment.unit).map(|unit| unit.invocation.clone()).unwrap_or_default(),
            outcome: Outcome::Ended(Ok(JobResult::Done)),
            status: Ok(UnitStatus::not_found()),
            complaint: None,
            found: Found::NOTHING,
        };
        let (manager, store) = (Arc::clone(&self.manager), self.goods.store.clone());
        self.tasks.push(Box::pin(async move {
            let outcome = job.run(&*manager, &store).await;
            let unit = &job.assignment.unit;
            let look = store.look_beside(&job.id, &job.assignment);
            let (status, found) = tokio::join!(manager.unit(unit), look);
            let complaint = match outcome {
                Outcome::Ended(Ok(JobResult::Dependency)) => manager.complaint(unit).await,
                _ => None,
            };
            Done::Job(Box::new(Job { outcome, status, complaint, found, ..job }))
        }));
    }

    fn count_start(&mut self, id: &ReplicaId, unit: &UnitName, order: Order) {
        let has_ended = self.units.get(unit).is_some_and(UnitStatus::has_ended);
        self.memory.entry(id.clone()).or_default().ordered(order.verb(), has_ended, Instant::now());
    }

    pub(super) fn finish_job(&mut self, job: Job) {
        let (applied, problem, step) = (job.has_applied(), job.problem(), job.order.as_str());
        let obstacle = job.obstacle();
        let began = obstacle.is_none() && job.has_begun();
        self.metrics.step(step, problem.is_none());
        self.goods.forget(&job.id);
        let Job { id, number, order, assignment, outcome, status, found, .. } = job;
        self.goods.learn(&id, &assignment, found);
        self.units.job_ended(&assignment.unit);
        self.finish_step_read(&assignment.unit, status);
        if let Some(record) = self.ledger.replicas.get_mut(&id).filter(|_| applied) {
            record.applied_config = assignment.config_version;
        }
        if applied && assignment.config.is_some() {
            self.metrics.config_applied(true);
        }
        if order.verb() == Verb::Reload {
            self.health.reloaded(&id);
        }
        let current = self.end(&id, number);
        if let Some(memory) = self.memory.get_mut(&id).filter(|_| current && began) {
            memory.began();
        }
        let done = matches!(outcome, Outcome::Ended(Ok(JobResult::Done))) && obstacle.is_none();
        if current && done && order != Order::Verb(Verb::Stop) {
            self.settle(&id);
        }
        match outcome {
            Outcome::Undone(why) => self.undone(&id, &assignment, why),
            Outcome::NotSwitched(Refusal { rejected: true, message }) if self.has_before(&id) => {
                self.undone(&id, &assignment, message);
            }
            _ if current && obstacle.is_some() => self.obstructed(&id, &obstacle.unwrap_or_default()),
            _ if current => self.remember(&id, step, problem),
            _ => {}
        }
    }

    /// systemd did not even begin to start it.
    fn obstructed(&mut self, id: &ReplicaId, why: &str) {
        self.remember(id, "starting", None);
        if self.memory.entry(id.clone()).or_default().obstructed(why) {
            tracing::warn!("{id}: not started: {why}");
        }
    }

    /// What the job was for is in force: it is what to go back to from now on.
    fn settle(&mut self, id: &ReplicaId) {
        let Some(record) = self.ledger.replicas.get_mut(id) else { return };
        let before = record.before.take();
        record.untried = false;
        if before.is_some_and(|before| needs_any(&before) || needs_any(&record.assignment)) {
            self.prune_later(&id.service);
        }
    }

    fn has_before(&self, id: &ReplicaId) -> bool {
        self.ledger.replicas.get(id).is_some_and(|record| record.before.is_some())
    }

    /// What was before is in force again, and this work is given up.
    fn undone(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, why: String) {
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
            Order::Verb(Verb::Reload) | Order::Signal(_) => store.switch_config(&self.id, &self.assignment).await,
            Order::Verb(Verb::Start | Verb::Restart) | Order::ResetAndStart => {
                store.switch(&self.id, &self.assignment).await
            }
        };
        if let Err(refusal) = switched {
            return Outcome::NotSwitched(refusal);
        }
        let result = run(manager, self.order, unit).await;
        if let (Order::Verb(Verb::Reload), Some(before), Ok(ended)) = (self.order, &self.before, &result)
            && !is_passing(ended)
            && store.has_config(&self.id, before).await
        {
            return self.undo(manager, store, before, ended).await;
        }
        Outcome::Ended(result)
    }

    /// The reload failed: the unit reads again what was before.
    async fn undo<M: UnitManager>(
        &self,
        manager: &M,
        store: &Store,
        before: &CheckedAssignment,
        ended: &JobResult,
    ) -> Outcome {
        if let Err(refusal) = store.switch_config(&self.id, before).await {
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
        if self.obstacle().is_some() {
            return false;
        }
        self.order != Order::Verb(Verb::Stop) && (anew || *result == Ok(JobResult::Done))
    }

    /// Whether systemd began to start it, unless there was an obstacle: however it went on, that is the unit's own.
    fn has_begun(&self) -> bool {
        let starts = matches!(self.order.verb(), Verb::Start | Verb::Restart);
        starts && matches!(self.outcome, Outcome::Ended(Ok(JobResult::Done | JobResult::Failed | JobResult::Timeout)))
    }

    /// What kept the unit from being started before any process of it ran: nothing of that is in the unit's own state.
    fn obstacle(&self) -> Option<String> {
        let starts = matches!(self.order.verb(), Verb::Start | Verb::Restart);
        let unit = self.status.as_ref().ok().filter(|unit| starts && unit.is_down())?;
        let Outcome::Ended(result) = &self.outcome else { return None };
        let name = &self.assignment.unit;
        match result {
            Ok(JobResult::Dependency) => {
                let why = self.complaint.as_deref().unwrap_or("a unit that it requires did not come up");
                Some(format!("{name} was not started: {why}"))
            }
            Ok(JobResult::Done | JobResult::Skipped | JobResult::Other(_)) if !unit.unmet.is_empty() => {
                Some(format!("{name} was not started: {} does not hold", unit.unmet.join(", ")))
            }
            Ok(JobResult::Other(word)) => Some(format!("{name} was not started: the job's result is {word}")),
            Ok(JobResult::Timeout) if unit.active == ActiveState::Inactive => {
                Some(format!("{name} was not started: its job waited too long"))
            }
            // Of the latter two nothing is known, and they pass.
            Ok(_) | Err(UnitError::Unreachable { .. } | UnitError::NoAnswer { .. }) => None,
            Err(error) => Some(error.to_string()),
        }
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

/// What was in force before, when its configuration is still what the process has read.
fn fallback(id: &ReplicaId, record: &Record) -> Option<Box<CheckedAssignment>> {
    let before = record.before.as_ref().filter(|before| before.config_version == record.applied_config)?;
    config(id, before).is_some().then(|| before.clone())
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
