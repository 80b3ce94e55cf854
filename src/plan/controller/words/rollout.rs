//! Rollouts that stand still until a person says more.

use std::fmt;

use super::Why;
use crate::model::{ConditionKind, PauseCause, Reason, Rollout, RolloutState, ServiceName};

/// A rollout that stands still.
pub(in crate::plan::controller) struct Halted<'w> {
    service: &'w ServiceName,
    record: &'w Rollout,
    kind: ConditionKind,
}

impl<'w> Halted<'w> {
    /// `None` of one that needs no person.
    pub(in crate::plan::controller) fn new(service: &'w ServiceName, record: &'w Rollout) -> Option<Self> {
        let kind = match (record.state, record.pause) {
            (RolloutState::RolledBack, _) => ConditionKind::RolledBack,
            (RolloutState::Paused, Some(PauseCause::Disabled)) => return None,
            (RolloutState::Paused, _) => ConditionKind::RolloutPaused,
            _ => return None,
        };
        Some(Self { service, record, kind })
    }
}

impl fmt::Display for Halted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, record, kind } = self;
        write!(f, "{}; ", record.reason)?;
        match (kind, record.pause) {
            (ConditionKind::RolledBack, _) => {
                write!(f, "change desired, or `zkops rollout resume {service}` to try it again")
            }
            (_, Some(PauseCause::Canary)) => write!(f, "`zkops rollout promote {service}` or `abort`"),
            _ if record.back => write!(f, "`zkops rollout resume {service}`"),
            _ => write!(f, "`zkops rollout resume {service}` or `abort`"),
        }
    }
}

impl Why for Halted<'_> {
    fn kind(&self) -> ConditionKind {
        self.kind
    }

    fn reason(&self) -> Reason {
        match (self.kind, self.record.pause) {
            (ConditionKind::RolledBack, _) | (_, Some(PauseCause::Failure)) => Reason::RolloutFailed,
            (_, Some(PauseCause::Canary)) => Reason::AwaitingPromotion,
            _ => Reason::PausedByOperator,
        }
    }
}
