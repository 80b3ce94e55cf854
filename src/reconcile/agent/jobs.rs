//! Jobs: one systemd job, and a look at the unit after it.

use std::{sync::Arc, time::Instant};

use super::{
    Agent,
    steps::{Done, step_name},
};
use crate::{
    model::{Assignment, ReplicaId, UnitName},
    plan::agent::Busy,
    systemd::{JobResult, UnitError, UnitManager, UnitStatus, Verb},
};

/// A job that ended.
pub(super) struct Job {
    id: ReplicaId,
    number: u64,
    verb: Option<Verb>,
    unit: UnitName,
    /// The configuration revision that the unit reads with this job.
    config: Option<u64>,
    /// The unit's invocation before.
    before: String,
    result: Result<JobResult, UnitError>,
    status: Result<UnitStatus, UnitError>,
}

impl<M: UnitManager + 'static> Agent<M> {
    pub(super) fn start_job(&mut self, id: &ReplicaId, assignment: &Assignment, verb: Option<Verb>, reason: &str) {
        self.count_start(id, verb);
        Self::announce(id, step_name(verb), &assignment.unit, reason);
        let job = Job {
            number: self.begin(id, Busy::Job(verb.unwrap_or(Verb::Start))),
            id: id.clone(),
            verb,
            unit: assignment.unit.clone(),
            config: self.ledger.replicas.get(id).and_then(|record| record.assignment.config_version),
            before: self.units.get(&assignment.unit).map(|unit| unit.invocation.clone()).unwrap_or_default(),
            result: Ok(JobResult::Done),
            status: Ok(UnitStatus::not_found()),
        };
        let manager = Arc::clone(&self.manager);
        self.tasks.push(Box::pin(async move {
            let result = run(&*manager, verb, &job.unit).await;
            let status = manager.unit(&job.unit).await;
            Done::Job(Box::new(Job { result, status, ..job }))
        }));
    }

    fn count_start(&mut self, id: &ReplicaId, verb: Option<Verb>) {
        let memory = self.memory.entry(id.clone()).or_default();
        if matches!(verb, None | Some(Verb::Start)) {
            (memory.attempts, memory.last_start, memory.fresh) = (memory.attempts + 1, Some(Instant::now()), false);
        } else {
            memory.attempts = 0;
        }
    }

    pub(super) fn finish_job(&mut self, job: Job) {
        let applied = job.has_applied();
        let step = step_name(job.verb);
        let problem = job.problem();
        self.metrics.step(step, problem.is_none());
        self.finish_step_read(&job.unit, job.status);
        if let Some(record) = self.ledger.replicas.get_mut(&job.id).filter(|_| applied) {
            record.applied_config = job.config;
        }
        if self.end(&job.id, job.number) {
            self.remember(&job.id, step, problem);
        }
    }
}

impl Job {
    /// Whether the unit has read its configuration: the job did it, or the unit was started anew whatever the job says.
    fn has_applied(&self) -> bool {
        let anew = self.status.as_ref().is_ok_and(|unit| unit.invocation != self.before);
        self.verb != Some(Verb::Stop) && (anew || self.result == Ok(JobResult::Done))
    }

    /// What went wrong, unless the unit's own state tells: it does when a start or stop failed, but a reload leaves
    /// no trace there, and neither does a job that never came to run.
    fn problem(&self) -> Option<String> {
        let told = |result: &JobResult| {
            let passing = matches!(result, JobResult::Done | JobResult::Skipped | JobResult::Canceled);
            passing || (*result == JobResult::Failed && self.verb != Some(Verb::Reload))
        };
        match &self.result {
            Ok(result) if told(result) => None,
            Ok(result) => Some(format!("systemctl {} {}: {result}", step_name(self.verb), self.unit)),
            Err(error) => Some(error.to_string()),
        }
    }
}

async fn run<M: UnitManager>(manager: &M, verb: Option<Verb>, unit: &UnitName) -> Result<JobResult, UnitError> {
    // What the operator asks for is no crash loop: it does not count towards the start limit.
    if matches!(verb, None | Some(Verb::Restart)) {
        manager.reset_failed(unit).await?;
    }
    let result = manager.run(verb.unwrap_or(Verb::Start), unit).await?;
    if verb == Some(Verb::Stop) {
        // Nor does the start that may follow; a unit that is gone has nothing to forget.
        let _ = manager.reset_failed(unit).await;
    }
    Ok(result)
}
