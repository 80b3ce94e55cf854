//! Conditions: what holds of a service that its operator should know.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One condition of a service; present = it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What holds.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// In words: where, why, and what would end it.
    pub message: String,
    /// Since when it holds.
    pub since: Timestamp,
}

/// What a [`Condition`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionKind {
    /// A document of the service can't be accepted; the last good one stays in force. Names path, key and reason.
    InvalidDocument,
    /// A replica can't be placed: no host fits. Says why each host was ruled out.
    Unplaced,
    /// A replica is failed and there is no other host for it.
    Failed,
    /// A replica's host refuses it.
    Refused,
    /// Too many hosts are lost at once: nothing is failed over until they return or a person decides.
    FailoverHeld,
    /// A replica's host is gone and its time is running.
    HostLost,
    /// Something is under way.
    Progressing,
    /// A planned change waits, because of the availability budget or for want of a host.
    Waiting,
    /// A rollout is paused; says why and what ends it.
    RolloutPaused,
    /// What is desired failed, and what was healthy before is in force; says why.
    RolledBack,
    /// A kind that this version of zkops does not know.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}
