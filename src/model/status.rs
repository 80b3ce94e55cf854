//! `/services/<svc>/status`: the controller's summary of a service.

use serde::{Deserialize, Serialize};

use super::{Condition, Desired, Event, Problem, RolloutSummary, ServiceSpec};

/// `/services/<svc>/status`: written by the leader when it changes, and in the same transaction as every change
/// the leader makes to the service, so that its version guards them against each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceStatus {
    /// The znode version of `desired` that this answers to, whether it was accepted or not.
    pub observed_desired: Option<i32>,
    /// The znode version of the description that this answers to, whether it was accepted or not.
    pub observed_service: Option<i32>,
    /// One word for the whole.
    pub summary: Summary,
    /// How many replicas are wanted.
    pub desired: u32,
    /// How many replicas there are, those on their way out included.
    pub replicas: u32,
    /// How many are in `instances`: up and ready.
    pub ready: u32,
    /// How many run what is wanted now: version and configuration.
    pub updated: u32,
    /// The newest rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSummary>,
    /// What holds that the operator should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What happened lately, oldest first; at most [`ServiceStatus::MAX_EVENTS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// The last description and desired state that were good: these are in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
}

impl ServiceStatus {
    /// How many events are kept.
    pub const MAX_EVENTS: usize = 30;

    /// What is wrong with the documents that it says are in force, beyond their shape.
    pub fn problems(&self) -> Vec<Problem> {
        let Some(Accepted { service, desired }) = &self.accepted else { return Vec::new() };
        let of_service = service.problems().into_iter().map(|problem| problem.within("accepted.service"));
        let of_desired = desired.problems().into_iter().map(|problem| problem.within("accepted.desired"));
        of_service.chain(of_desired).collect()
    }
}

/// The documents in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The description.
    pub service: ServiceSpec,
    /// The desired state.
    pub desired: Desired,
}

/// One word for a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Summary {
    /// Something is on its way to what is wanted.
    #[default]
    Progressing,
    /// Every replica wanted is ready and up to date.
    Healthy,
    /// Fewer replicas are ready than wanted, and nothing that zkops does will change that by itself.
    Degraded,
    /// Mode `disabled`, and every process is gone.
    Disabled,
    /// Mode `drain`, replicas are leaving.
    Draining,
    /// Mode `drain`, and every process is gone.
    Drained,
    /// Being removed.
    Deleting,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Progressing => "progressing",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Deleting => "deleting",
        })
    }
}
