//! Events: what the controller did to a service, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HostName, ReplicaNumber};

/// Something the controller did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What it is, for programs. One of an earlier release has none.
    #[serde(default, skip_serializing_if = "EventReason::is_unknown")]
    pub reason: EventReason,
    /// Which replica, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaNumber>,
    /// Which host, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<HostName>,
    /// What and why, in words. For people: nothing in it is to be taken apart.
    pub message: String,
}

/// What an [`Event`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventReason {
    /// Replicas got their numbers.
    Created,
    /// A replica that was nowhere got a host.
    Placed,
    /// No host fits a new replica.
    Unplaced,
    /// A replica was given to another host.
    Moved,
    /// A replica was told to run what a rollout brings.
    Updated,
    /// A replica was told to stop, to drain or to run.
    ModeChanged,
    /// A document of a replica was missing or wrong, and was written again or deleted.
    Repaired,
    /// A host was asked to look at a replica again.
    Retried,
    /// A replica began its way out.
    Removing,
    /// A replica's nodes were deleted.
    Removed,
    /// A rollout began.
    RolloutStarted,
    /// A rollout goes on after a pause, or after its canary was promoted.
    RolloutResumed,
    /// A rollout was paused.
    RolloutPaused,
    /// A rollout goes back to what was healthy before.
    RollingBack,
    /// A rollout has ended with every replica healthy.
    RolloutCompleted,
    /// A rollout has ended with every replica back at what was healthy before.
    RolledBack,
    /// Nodes of the service were created that it needs, or deleted that nothing needs any more.
    Housekeeping,
    /// None, or one that this version of zkops does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl EventReason {
    /// Whether it says nothing.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl std::fmt::Display for EventReason {
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
        let read = |document| serde_json::from_value::<Event>(document).unwrap();
        let earlier = json!({ "at": "2026-11-22T18:00:00Z", "message": "m" });
        assert_eq!(read(earlier.clone()).reason, EventReason::Unknown);
        assert_eq!(serde_json::to_value(read(earlier.clone())).unwrap(), earlier);
        let later = json!({ "at": "2026-11-22T18:00:00Z", "reason": "FullMoon", "message": "m" });
        assert_eq!(read(later).reason, EventReason::Unknown);
        let now =
            json!({ "at": "2026-11-22T18:00:00Z", "reason": "Placed", "replica": 1, "node": "web1", "message": "m" });
        assert_eq!(serde_json::to_value(read(now.clone())).unwrap(), now);
    }
}
