//! Conditions: what holds of a service that its operator should know.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ReplicaNumber;

/// One condition of a service; present = it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What holds.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Why, for programs. One of an earlier release has none.
    #[serde(default, skip_serializing_if = "Reason::is_unknown")]
    pub reason: Reason,
    /// What it is about, when that is not the service or its replicas: the path of a document, or of a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The replicas that it is about: the first [`Condition::MAX_REPLICAS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaNumber>,
    /// In words: where, why, and what would end it. For people: nothing in it is to be taken apart.
    pub message: String,
    /// Since when it holds. Other replicas, or another reason for the same subject, leave that as it is.
    pub since: Timestamp,
}

impl Condition {
    /// How many replicas are listed at most.
    pub const MAX_REPLICAS: usize = 20;
}

/// What a [`Condition`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionKind {
    /// A document of the service cannot be accepted; the last good one stays in force. Names path, key and reason.
    InvalidDocument,
    /// A replica cannot be placed: no host fits. Says why each host was ruled out.
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

/// Why a [`Condition`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// `InvalidDocument`: it cannot be read, or says what makes no sense.
    Unreadable,
    /// `InvalidDocument`: it is not there.
    Missing,
    /// `InvalidDocument`: it wants a version that the service's source cannot have.
    UnknownVersion,
    /// `InvalidDocument`: it wants a configuration revision that is not there.
    UnknownRevision,
    /// No host fits the replica; for `HostLost`, `Failed`, `Refused` and `Waiting`, no other one.
    NoFeasibleHost,
    /// What the replica would run elsewhere is not known, or waits for a rollout that is on its canary or paused.
    HeldBack,
    /// `Unplaced`: the record of what the replica is to run is gone or cannot be read.
    RevisionLost,
    /// `Failed`, `Refused`: moves change nothing, so that no other host is tried for now.
    MovesExhausted,
    /// `HostLost`: the host's time to return is running.
    AwaitingReturn,
    /// `HostLost`: whether processes still run there cannot be known.
    ProcessesUnknown,
    /// `FailoverHeld`: more hosts are lost than `failover_max_fraction` allows.
    TooManyHostsLost,
    /// `Progressing`: replicas are being created, changed, moved or removed.
    ReplicasChanging,
    /// `Waiting`: as many replicas as may be are not ready already.
    BudgetSpent,
    /// `Waiting`: a rollout has to end first.
    RolloutUnderWay,
    /// `Waiting`: a node that is not zkops's own keeps others from being deleted.
    ForeignNode,
    /// `Waiting`: the replica's assignment is gone, and its unit is another's by now.
    AssignmentLost,
    /// `RolloutPaused`: the canary is healthy and waits to be promoted.
    AwaitingPromotion,
    /// `RolloutPaused`: a person paused it.
    PausedByOperator,
    /// `RolloutPaused`, `RolledBack`: what was rolled out failed or was aborted.
    RolloutFailed,
    /// None, or one that this version of zkops does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// Whether it says nothing.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_earlier_and_later_releases_wrote_is_read() {
        let read = |document| serde_json::from_value::<Condition>(document).unwrap();
        let earlier = json!({ "type": "Waiting", "message": "w", "since": "2026-11-22T18:00:00Z" });
        let condition = read(earlier.clone());
        assert_eq!((condition.reason, condition.subject.as_deref()), (Reason::Unknown, None));
        assert_eq!(serde_json::to_value(&condition).unwrap(), earlier);
        let later = json!({ "type": "Waiting", "reason": "FullMoon", "message": "w", "since": "2026-11-22T18:00:00Z" });
        assert_eq!(read(later).reason, Reason::Unknown);
        let now = json!({ "type": "Waiting", "reason": "BudgetSpent", "replicas": [2], "message": "w",
            "since": "2026-11-22T18:00:00Z" });
        assert_eq!(serde_json::to_value(read(now.clone())).unwrap(), now);
    }
}
