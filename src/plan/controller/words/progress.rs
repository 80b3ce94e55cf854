//! How far a service is.

use std::fmt;

use super::Why;
use crate::model::{ConditionKind, Reason, counted};

/// What is under way.
pub(in crate::plan::controller) struct Progress {
    /// How many replicas are wanted and of them ready and up to date, when they are to run.
    pub(in crate::plan::controller) running: Option<Running>,
    /// How many have not stopped yet.
    pub(in crate::plan::controller) stopping: usize,
    /// How many are on their way out.
    pub(in crate::plan::controller) leaving: usize,
}

/// Of the replicas that are to run.
pub(in crate::plan::controller) struct Running {
    pub(in crate::plan::controller) wanted: usize,
    pub(in crate::plan::controller) ready: u32,
    pub(in crate::plan::controller) updated: u32,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(Running { wanted, ready, updated }) = &self.running {
            parts.push(format!("{ready}/{wanted} replicas ready, {updated} up to date"));
        } else if self.stopping > 0 {
            parts.push(format!("{} still stopping", counted(self.stopping, "replica")));
        }
        if self.leaving > 0 {
            parts.push(format!("{} being removed", self.leaving));
        }
        f.write_str(if parts.is_empty() { "the last nodes are being deleted" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

impl Why for Progress {
    fn kind(&self) -> ConditionKind {
        ConditionKind::Progressing
    }

    fn reason(&self) -> Reason {
        Reason::ReplicasChanging
    }
}
