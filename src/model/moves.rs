//! What an operator asks of single replicas: to leave their hosts, because others are less crowded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HostName, ReplicaNumber};

/// `/services/<svc>/moves`: written by `zkops rebalance`, deleted by the leader once nobody is where he was to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// By replica, the host that it is to leave. One that is elsewhere, or no more, is done.
    pub leave: BTreeMap<ReplicaNumber, HostName>,
    /// Who asked, as in `ann@ops1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
