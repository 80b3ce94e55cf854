//! Jobs: begun, and what their end means. A reload that failed was undone; the work is given up.

use std::time::Instant;

use super::{State, artifacts::needs_any};
use crate::{
    model::{ActiveState, CheckedAssignment, JobResult, Record, ReplicaId, UnitName, UnitStatus, Verb},
    plan::agent::{
        Busy,
        action::{Action, Counted, Job, JobEnd, JobOutcome, Order, Refusal, Severity},
    },
};

impl State {
    pub(super) fn run(
        &mut self,
        id: &ReplicaId,
        assignment: &CheckedAssignment,
        order: Order,
        reason: &str,
        now: Instant,
    ) {
        self.count_start(id, &assignment.unit, &order, now);
        self.log(Severity::Info, format!("{id}: {} {}: {reason}", order.as_str(), assignment.unit));
        let number = self.begin(id, Busy::Job(order.verb()));
        self.units.job_began(&assignment.unit);
        self.changed.unit(&assignment.unit);
        let record = self.ledger.replicas.get(id).filter(|record| record.assignment.unit == assignment.unit);
        let job = Job {
            number,
            id: id.clone(),
            order,
            assignment: record.map_or(assignment, |record| &record.assignment).clone(),
            before: record.and_then(fallback),
            invocation: self.units.get(&assignment.unit).map(|unit| unit.invocation.clone()).unwrap_or_default(),
        };
        self.act(Action::Run(Box::new(job)));
    }

    fn count_start(&mut self, id: &ReplicaId, unit: &UnitName, order: &Order, now: Instant) {
        let has_ended = self.units.get(unit).is_some_and(UnitStatus::has_ended);
        self.memory_of(id).ordered(order.verb(), has_ended, now);
    }

    pub(super) fn job_ended(&mut self, job: Job, end: JobEnd, now: Instant) {
        let (applied, problem, obstacle) = (end.has_applied(&job), end.problem(&job), end.obstacle(&job));
        let began = obstacle.is_none() && end.has_begun(&job);
        let Job { id, number, order, assignment, .. } = job;
        self.changed.replica(&id);
        self.count(Counted::Step(order.as_str(), problem.is_none()));
        self.artifacts.forget(&id);
        self.artifacts.learn(&id, &assignment, end.artifacts);
        self.units.job_ended(&assignment.unit);
        self.unit_read_after_step(&assignment.unit, end.status, now);
        if let Some(record) = self.ledger.replicas.get_mut(&id).filter(|_| applied) {
            record.applied_config = assignment.config_version;
        }
        if applied && assignment.template.config.is_some() {
            self.count(Counted::Config(true));
        }
        if order.verb() == Verb::Reload {
            self.health.reloaded(&id);
        }
        let current = self.end(&id, number);
        if let Some(memory) = self.memory.get_mut(&id).filter(|_| current && began) {
            memory.began();
        }
        let done = end.outcome == JobOutcome::Ended(JobResult::Done) && obstacle.is_none();
        if current && done && order != Order::Verb(Verb::Stop) {
            self.settle(&id);
        }
        match (end.outcome, obstacle) {
            (JobOutcome::Undone(why), _) => self.undone(&id, &assignment, why, now),
            (JobOutcome::NotSwitched(Refusal { rejected: true, message }), _) if self.has_before(&id) => {
                self.undone(&id, &assignment, message, now);
            }
            (_, Some(obstacle)) if current => self.obstructed(&id, &obstacle, now),
            (_, None) if current => self.remember(&id, order.as_str(), problem, now),
            _ => {}
        }
    }

    /// systemd did not even begin to start it.
    fn obstructed(&mut self, id: &ReplicaId, why: &str, now: Instant) {
        self.remember(id, "starting", None, now);
        if self.memory_of(id).obstructed(why) {
            self.log(Severity::Warning, format!("{id}: not started: {why}"));
        }
    }

    /// What the job was for is in force: it is what to go back to from now on.
    fn settle(&mut self, id: &ReplicaId) {
        let Some(record) = self.ledger.replicas.get_mut(id) else { return };
        let before = record.before.take();
        record.untried = false;
        if before.is_some_and(|before| needs_any(&before) || needs_any(&record.assignment)) {
            self.staging.prune_later(&id.service);
        }
    }

    fn has_before(&self, id: &ReplicaId) -> bool {
        self.ledger.replicas.get(id).is_some_and(|record| record.before.is_some())
    }

    /// What was before is in force again, and this work is given up.
    fn undone(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, why: String, now: Instant) {
        self.count(Counted::Config(false));
        self.reject(id, assignment, why);
        if let Some(record) = self.ledger.replicas.get_mut(id).filter(|record| record.assignment == *assignment) {
            record.go_back();
        }
        self.remember(id, "undoing", None, now);
    }
}

impl JobEnd {
    /// Whether the unit has read its configuration: the job did it, or the unit was started again whatever the job says.
    fn has_applied(&self, job: &Job) -> bool {
        let done = match &self.outcome {
            JobOutcome::Ended(result) => *result == JobResult::Done,
            JobOutcome::NoJob { .. } => false,
            JobOutcome::NotSwitched(_) | JobOutcome::Undone(_) => return false,
        };
        let again = self.status.as_ref().is_ok_and(|unit| unit.invocation != job.invocation);
        (done || again) && self.obstacle(job).is_none() && job.order != Order::Verb(Verb::Stop)
    }

    /// Whether systemd began to start it, unless there was an obstacle: however it went on, that is the unit's own.
    fn has_begun(&self, job: &Job) -> bool {
        let ended = matches!(self.outcome, JobOutcome::Ended(JobResult::Done | JobResult::Failed | JobResult::Timeout));
        job.starts() && ended
    }

    /// What kept the unit from being started before any process of it ran: nothing of that is in the unit's own state.
    fn obstacle(&self, job: &Job) -> Option<String> {
        let unit = self.status.as_ref().ok().filter(|unit| job.starts() && unit.is_down())?;
        let name = &job.assignment.unit;
        let result = match &self.outcome {
            JobOutcome::Ended(result) => result,
            // Of one that was out of reach nothing is known, and that passes.
            JobOutcome::NoJob { message, unreachable } => return (!unreachable).then(|| message.clone()),
            JobOutcome::NotSwitched(_) | JobOutcome::Undone(_) => return None,
        };
        match result {
            JobResult::Dependency => {
                let why = self.complaint.as_deref().unwrap_or("a unit that it requires did not come up");
                Some(format!("{name} was not started: {why}"))
            }
            JobResult::Done | JobResult::Skipped | JobResult::Other(_) if !unit.unmet.is_empty() => {
                Some(format!("{name} was not started: {} does not hold", unit.unmet.join(", ")))
            }
            JobResult::Other(word) => Some(format!("{name} was not started: the job's result is {word}")),
            JobResult::Timeout if unit.active == ActiveState::Inactive => {
                Some(format!("{name} was not started: its job waited too long"))
            }
            _ => None,
        }
    }

    /// What went wrong, unless the unit's own state tells: it does when a start or stop failed, but a reload leaves
    /// no trace there, and neither does a job that never came to run.
    fn problem(&self, job: &Job) -> Option<String> {
        let reloads = job.order.verb() == Verb::Reload;
        match &self.outcome {
            JobOutcome::Ended(result) if result.is_passing() => None,
            JobOutcome::Ended(JobResult::Failed) if !reloads => None,
            JobOutcome::Ended(result) => {
                Some(format!("systemctl {} {}: {result}", job.order.as_str(), job.assignment.unit))
            }
            JobOutcome::NoJob { message, .. } => Some(message.clone()),
            JobOutcome::NotSwitched(refusal) => Some(refusal.message.clone()),
            JobOutcome::Undone(why) => Some(why.clone()),
        }
    }
}

impl Job {
    fn starts(&self) -> bool {
        matches!(self.order.verb(), Verb::Start | Verb::Restart)
    }
}

/// What was in force before, when its configuration is still what the process has read.
fn fallback(record: &Record) -> Option<Box<CheckedAssignment>> {
    let before = record.before.as_ref().filter(|before| before.config_version == record.applied_config)?;
    (before.config_version.is_some() && before.template.config.is_some()).then(|| before.clone())
}
