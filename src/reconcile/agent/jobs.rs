//! Jobs carried out: the links are switched, then one systemd job (or a signal), then a look at the unit.
//!
//! A reload that fails is undone: the links lead to what was before, and the unit reads that again.

use super::{artifacts::Store, signals, units::answer};
use crate::{
    model::{CheckedAssignment, JobResult, UnitName, Verb},
    plan::agent::action::{Job, JobEnd, JobOutcome, Order},
    systemd::{UnitError, UnitManager},
};

/// Carries the job out.
pub(super) async fn run<M: UnitManager>(job: &Job, manager: &M, store: &Store) -> JobEnd {
    let outcome = switch_and_run(job, manager, store).await;
    let unit = &job.assignment.unit;
    let look = store.look_beside(&job.id, &job.assignment);
    let (status, artifacts) = tokio::join!(manager.unit(unit), look);
    let complaint = match outcome {
        JobOutcome::Ended(JobResult::Dependency) => manager.complaint(unit).await,
        _ => None,
    };
    JobEnd { outcome, status: answer(status), complaint, artifacts }
}

async fn switch_and_run<M: UnitManager>(job: &Job, manager: &M, store: &Store) -> JobOutcome {
    let switched = match job.order {
        Order::Verb(Verb::Stop) => Ok(()),
        Order::Verb(Verb::Reload) | Order::Signal(_) => store.switch_config(&job.id, &job.assignment).await,
        Order::Verb(Verb::Start | Verb::Restart) | Order::ResetAndStart => store.switch(&job.id, &job.assignment).await,
    };
    if let Err(refusal) = switched {
        return JobOutcome::NotSwitched(refusal);
    }
    let result = tell(manager, &job.order, &job.assignment.unit).await;
    if let (Order::Verb(Verb::Reload), Some(before), Ok(ended)) = (&job.order, &job.before, &result)
        && !ended.is_passing()
        && store.has_config(&job.id, before).await
    {
        return undo(job, manager, store, before, ended).await;
    }
    match result {
        Ok(result) => JobOutcome::Ended(result),
        Err(error) => JobOutcome::NoJob {
            message: error.to_string(),
            unreachable: matches!(error, UnitError::Unreachable { .. } | UnitError::NoAnswer { .. }),
        },
    }
}

/// The reload failed: the unit reads again what was before.
async fn undo<M: UnitManager>(
    job: &Job,
    manager: &M,
    store: &Store,
    before: &CheckedAssignment,
    ended: &JobResult,
) -> JobOutcome {
    if let Err(refusal) = store.switch_config(&job.id, before).await {
        return JobOutcome::NotSwitched(refusal);
    }
    let (unit, revision) = (&job.assignment.unit, shown(job.assignment.config_version));
    let again = tell(manager, &job.order, unit).await;
    let restored = match again {
        Ok(JobResult::Done) => format!("{} is in force again", shown(before.config_version)),
        Ok(other) => format!("{} is back, and its reload ended with {other}, too", shown(before.config_version)),
        Err(error) => format!("{} is back, and its reload ended with: {error}", shown(before.config_version)),
    };
    JobOutcome::Undone(format!("systemctl reload {unit} with configuration {revision}: {ended}; {restored}"))
}

fn shown(revision: Option<u64>) -> String {
    revision.map_or_else(|| "none".to_owned(), |revision| format!("configuration {revision}"))
}

async fn tell<M: UnitManager>(manager: &M, order: &Order, unit: &UnitName) -> Result<JobResult, UnitError> {
    // What the operator asks for is no crash loop: it does not count towards the start limit.
    let result = match order {
        Order::Signal(name) => {
            let number = name.as_deref().and_then(signals::number).unwrap_or(signals::HANGUP);
            return manager.signal(unit, number).await.map(|()| JobResult::Done);
        }
        Order::ResetAndStart => {
            manager.reset_failed(unit).await?;
            manager.run(Verb::Start, unit).await?
        }
        // Within its limit a restart need not wait for the answer: systemd reads the calls in this order.
        Order::Verb(Verb::Restart) => {
            let (reset, result) = tokio::join!(manager.reset_failed(unit), manager.run(Verb::Restart, unit));
            reset.and(result)?
        }
        Order::Verb(verb) => manager.run(*verb, unit).await?,
    };
    if *order == Order::Verb(Verb::Stop) {
        // Nor does the start that may follow; a unit that is gone has nothing to forget.
        let _ = manager.reset_failed(unit).await;
    }
    Ok(result)
}
