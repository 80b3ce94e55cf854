//! Running a job to its end, whatever is lost on the way.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};
use zbus::OwnedObjectPath;

use super::{DBusManager, link};
use crate::{
    model::{ActiveState, JobResult, UnitName, UnitStatus, Verb},
    systemd::{UnitError, UnitManager as _},
};

/// How often a unit is looked at while a job of it is waited for. Only a backstop for signals that got lost unnoticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A job that is gone has its signal on the way; so long is waited for what it says.
const SIGNAL_GRACE: Duration = Duration::from_millis(200);

/// How long systemd may be unreachable while a job is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(250);

impl DBusManager {
    /// Queues the job when it is its turn, and waits for its end.
    pub(super) async fn run_job(&self, verb: Verb, name: &UnitName) -> Result<JobResult, UnitError> {
        let Some(_turn) = self.shared.turns.wait(verb, name).await else { return Ok(JobResult::Canceled) };
        let order = self.shared.jobs.order();
        let job = self.queue(verb, name).await?;
        let mut ended = order.placed(&job);
        loop {
            let doubt = self.shared.jobs.doubt.notified();
            tokio::select! {
                Ok(result) = &mut ended => return Ok(result),
                () = doubt => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            if let Some(result) = self.look(verb, name, &job, &mut ended).await? {
                return Ok(result);
            }
        }
    }

    /// Queues the job; its path.
    async fn queue(&self, verb: Verb, name: &UnitName) -> Result<String, UnitError> {
        let connection = self.shared.connection().await?;
        let manager = link::manager(&connection).await?;
        let (unit, mode) = (name.as_str(), "replace");
        let manager = &manager;
        let order = || async move {
            match verb {
                Verb::Start => manager.start_unit(unit, mode).await,
                Verb::Stop => manager.stop_unit(unit, mode).await,
                Verb::Restart => manager.restart_unit(unit, mode).await,
                Verb::Reload => manager.reload_unit(unit, mode).await,
            }
        };
        let job: OwnedObjectPath = self.shared.calls.make(link::CALL_LIMIT, verb.as_str(), Some(name), order).await?;
        Ok(job.to_string())
    }

    /// The job's result when it is over: as its signal says, else as the unit looks.
    async fn look(
        &self,
        verb: Verb,
        name: &UnitName,
        job: &str,
        ended: &mut oneshot::Receiver<JobResult>,
    ) -> Result<Option<JobResult>, UnitError> {
        let since = Instant::now();
        let unit = loop {
            match self.properties(name).await {
                Ok(unit) => break unit,
                Err(UnitError::Unreachable { .. }) if since.elapsed() < PATIENCE => tokio::time::sleep(RETRY).await,
                Err(error) => return Err(error),
            }
        };
        if unit.job.1.as_str() == job {
            return Ok(None);
        }
        if let Ok(Ok(result)) = tokio::time::timeout(SIGNAL_GRACE, ended).await {
            return Ok(Some(result));
        }
        tracing::debug!(unit = %name, job, "the end of a job was not signalled");
        self.shared.known.forget(name);
        self.unit(name).await.map(|unit| Some(conclude(verb, &unit)))
    }
}

/// How a job ended whose signal was lost, by what the unit has become.
fn conclude(verb: Verb, unit: &UnitStatus) -> JobResult {
    let down = matches!(unit.active, ActiveState::Inactive | ActiveState::Failed);
    let good = match verb {
        Verb::Stop => down,
        Verb::Reload => unit.active.is_up(),
        // Inactive and successful: a unit that ran to its end, or that a condition kept from running.
        Verb::Start | Verb::Restart => {
            unit.active.is_up() || (unit.active == ActiveState::Inactive && unit.result == "success")
        }
    };
    match (good, &unit.job) {
        (true, _) => JobResult::Done,
        (false, Some(_)) => JobResult::Canceled,
        (false, None) => JobResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::conclude;
    use crate::model::{ActiveState, JobResult, UnitStatus, Verb};

    #[test]
    fn a_lost_end_is_concluded_from_the_unit() {
        let unit = |active, result: &str, job: Option<&str>| UnitStatus {
            active,
            result: result.to_owned(),
            job: job.map(ToOwned::to_owned),
            ..UnitStatus::not_found()
        };
        for (verb, unit, expected) in [
            (Verb::Start, unit(ActiveState::Active, "success", None), JobResult::Done),
            (Verb::Start, unit(ActiveState::Inactive, "success", None), JobResult::Done),
            (Verb::Start, unit(ActiveState::Failed, "exit-code", None), JobResult::Failed),
            (Verb::Start, unit(ActiveState::Activating, "exit-code", None), JobResult::Failed),
            (Verb::Start, unit(ActiveState::Deactivating, "success", Some("stop")), JobResult::Canceled),
            (Verb::Stop, unit(ActiveState::Failed, "timeout", None), JobResult::Done),
            (Verb::Stop, unit(ActiveState::Active, "success", None), JobResult::Failed),
            (Verb::Reload, unit(ActiveState::Active, "success", None), JobResult::Done),
            (Verb::Reload, unit(ActiveState::Failed, "success", None), JobResult::Failed),
        ] {
            assert_eq!(conclude(verb, &unit), expected, "{verb} {unit:?}");
        }
    }
}
