//! Following a service's rollout to its end: where it stands, and what waiting for it ends with.
//!
//! The newest rollout counts only once the controller has answered to what is written now: right after `apply`, the
//! newest record is still the one before.

use super::words;
use crate::{
    cli::{
        failure::Failure,
        fleet::{self, Fleet, Service},
        goal::Goal,
    },
    model::{ConditionKind, PauseCause, Rollout, RolloutState, ServiceName},
    tree::layout,
};

/// What a rollout shall come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum End {
    /// Completed.
    Completed,
    /// Back at what was healthy before.
    RolledBack,
    /// Paused.
    Paused,
}

/// The rollout that is followed, and to what end.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Follow {
    pub(in crate::cli) service: ServiceName,
    /// This rollout, or whichever is the newest.
    pub(in crate::cli) number: Option<u64>,
    /// Rollouts up to this one don't count: the one wanted comes after it.
    pub(in crate::cli) beyond: Option<u64>,
    pub(in crate::cli) end: End,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Stand {
    /// The controller is at it, or will be.
    UnderWay,
    /// It waits for a person to promote its canary.
    Canary,
    /// It is paused, by a person or because nothing is enabled.
    Paused,
    /// It failed, and a person has to decide.
    Failed,
    /// It is completed.
    Completed,
    /// It was rolled back.
    RolledBack,
    /// Something else was wanted before it ended.
    Superseded,
}

impl Stand {
    pub(in crate::cli) const fn of(rollout: &Rollout) -> Self {
        match (rollout.state, rollout.pause) {
            (RolloutState::Running | RolloutState::RollingBack, _) => Self::UnderWay,
            (RolloutState::Paused, Some(PauseCause::Canary)) => Self::Canary,
            (RolloutState::Paused, Some(PauseCause::Failure)) => Self::Failed,
            (RolloutState::Paused, _) => Self::Paused,
            (RolloutState::Completed, _) => Self::Completed,
            (RolloutState::RolledBack, _) => Self::RolledBack,
            (RolloutState::Superseded, _) => Self::Superseded,
        }
    }
}

impl Follow {
    /// The newest rollout of a service, to its completion.
    pub(in crate::cli) fn newest(service: &ServiceName) -> Self {
        Self { service: service.clone(), number: None, beyond: None, end: End::Completed }
    }

    /// The rollout and where it stands; `Err` says what the controller has yet to do before that can be told.
    pub(in crate::cli) fn find<'f>(&self, fleet: &'f Fleet) -> Result<(u64, &'f Rollout, Stand), String> {
        let service = fleet.services.get(&self.service).ok_or("the service was deleted by someone else meanwhile")?;
        if let Some(number) = self.number {
            let record = service.rollouts.get(&number).and_then(|document| document.read.as_ref().ok());
            let record = record.ok_or_else(|| format!("rollout {number} is no longer there"))?;
            must_be_heard(service)?;
            return Ok((number, record, Stand::of(record)));
        }
        if !service.is_observed() {
            return Err(fleet.no_answer().to_owned());
        }
        must_be_accepted(&self.service, service)?;
        let (number, record) = service.newest_rollout().ok_or("no rollout has begun yet")?;
        if Some(number) <= self.beyond {
            return Err(format!("the rollout after {number} has not begun yet"));
        }
        let is_past = record.state == RolloutState::Superseded || !service.is_wanted(record);
        if record.state.has_ended() && is_past {
            return Err(format!("the rollout after {number} has not begun yet"));
        }
        must_be_heard(service)?;
        Ok((number, record, Stand::of(record)))
    }

    fn failure(&self, number: u64, record: &Rollout, what: &str) -> String {
        let reason = if record.reason.is_empty() { String::new() } else { format!(": {}", record.reason) };
        let way_out = words::way_out(&self.service, record).map(|way| format!("; {way}")).unwrap_or_default();
        format!("{}: rollout {number} {what}{reason}{way_out}", self.service)
    }

    /// What waiting ends with, where that is not the end wanted.
    pub(in crate::cli) fn ended(&self, number: u64, record: &Rollout, stand: Stand) -> Option<Failure> {
        let failed = |what: &str| Some(Failure::RolloutFailed(self.failure(number, record, what)));
        match (stand, self.end) {
            (Stand::Canary, End::Completed) => {
                Some(Failure::NeedsPromotion(self.failure(number, record, "waits for promotion")))
            }
            (Stand::Failed, End::Completed | End::RolledBack) => failed("is paused by a failure"),
            (Stand::RolledBack, End::Completed | End::Paused) => failed("was rolled back"),
            (Stand::Completed, End::RolledBack | End::Paused) => failed("has completed all the same"),
            (Stand::Superseded, _) => failed("was superseded"),
            _ => None,
        }
    }

    const fn is_reached(&self, stand: Stand) -> bool {
        match self.end {
            End::Completed => matches!(stand, Stand::Completed),
            End::RolledBack => matches!(stand, Stand::RolledBack),
            End::Paused => matches!(stand, Stand::Paused | Stand::Canary | Stand::Failed),
        }
    }
}

/// What is not accepted never begins: the conditions name the document first.
fn must_be_accepted(name: &ServiceName, service: &Service) -> Result<(), String> {
    let documents = [layout::service(name), layout::desired(name)];
    let is_about = |subject: &str| documents.iter().any(|path| path == subject);
    let conditions = fleet::read(service.status.as_ref()).map(|status| status.conditions.as_slice());
    let mut refused = conditions.unwrap_or_default().iter().filter(|it| it.kind == ConditionKind::InvalidDocument);
    match refused.find(|condition| condition.subject.as_deref().is_some_and(is_about)) {
        Some(condition) => Err(format!("{}: {}", condition.kind, condition.message)),
        None => Ok(()),
    }
}

/// Whether the controller has carried out the operator's last word.
fn must_be_heard(service: &Service) -> Result<(), String> {
    match service.open_order() {
        Some(order) => Err(format!("{} was requested, and is not carried out yet", words::order(order.action))),
        None => Ok(()),
    }
}

impl Goal for Follow {
    fn missing(&self, fleet: &Fleet) -> Option<String> {
        let name = &self.service;
        match self.find(fleet) {
            Err(why) => Some(format!("{name}: {why}")),
            Ok((_, _, stand)) if self.is_reached(stand) => None,
            Ok((number, record, _)) => {
                let line = fleet.services.get(name).map(|service| words::line(service, number, record));
                Some(format!("{name}: {}", line.unwrap_or_default()))
            }
        }
    }

    fn lost(&self, fleet: &Fleet) -> Option<Failure> {
        let (number, record, stand) = self.find(fleet).ok()?;
        self.ended(number, record, stand)
    }

    fn roots(&self) -> Vec<String> {
        vec![layout::service(&self.service)]
    }
}
