//! Why a condition holds, as values, and their words: one file for each area. Nothing takes the words apart again.

mod document;
mod failover;
mod placement;
mod progress;
mod rollout;
mod waiting;

use std::fmt;

pub(super) use self::{
    document::{Consequence, Invalid},
    failover::{Brake, Failing, Failover, LostHost, Stays},
    placement::{Held, Unplaced},
    progress::{Progress, Running},
    rollout::Halted,
    waiting::{MustMove, Waiting},
};
use crate::{
    model::{ConditionKind, HostName, Reason, ServiceName},
    tree::layout,
};

/// Why a condition holds; its `Display` are the words.
pub(super) trait Why: fmt::Display {
    fn kind(&self) -> ConditionKind;
    fn reason(&self) -> Reason;
}

/// What a condition is about, when that is not the service or its replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Service,
    Host(HostName),
    /// By its path.
    Document(String),
    /// By its number.
    Rollout(u64),
}

impl Subject {
    /// Its path in the tree.
    pub(super) fn path(&self, service: &ServiceName) -> Option<String> {
        match self {
            Self::Service => None,
            Self::Host(name) => Some(layout::host(name)),
            Self::Document(path) => Some(path.clone()),
            Self::Rollout(number) => Some(layout::rollout(service, *number)),
        }
    }

    /// How a message begins that is about it.
    pub(super) fn label(&self) -> Option<String> {
        match self {
            Self::Service => None,
            Self::Host(name) => Some(name.to_string()),
            Self::Document(path) => Some(path.clone()),
            Self::Rollout(number) => Some(format!("rollout {number}")),
        }
    }
}
