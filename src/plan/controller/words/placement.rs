//! Replicas that are on no host.

use std::fmt;

use super::Why;
use crate::{
    model::{ConditionKind, Reason, ServiceName},
    plan::controller::no_feasible_host::NoFeasibleHost,
};

/// Why a replica is on no host.
pub(in crate::plan::controller) enum Unplaced<'w> {
    NoFeasibleHost(&'w NoFeasibleHost),
    Held(Held),
    /// Nobody knows any more what it is to run.
    RevisionLost(&'w ServiceName),
}

/// What keeps a replica from any other host, whatever there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan::controller) enum Held {
    /// What it ran is not known, nor what it is to run.
    RevisionUnknown,
    /// What it is to run waits for this rollout.
    Awaits(u64),
    /// The same of one that is on a host, and of which nobody knows what it ran.
    UnknownAwaits(u64),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "what it ran is not known any more";
        match self {
            Self::RevisionUnknown => write!(f, "{UNKNOWN}, and the record of what it is to run cannot be read"),
            Self::Awaits(number) => write!(f, "waits for rollout {number}, which is on its canary or paused"),
            Self::UnknownAwaits(number) => {
                write!(f, "{UNKNOWN}, and what is new waits for rollout {number}, which is on its canary or paused")
            }
        }
    }
}

impl fmt::Display for Unplaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFeasibleHost(no_host) => write!(f, "no host fits: {no_host}"),
            Self::Held(held) => write!(f, "{held}"),
            Self::RevisionLost(service) => write!(
                f,
                "the record of what was healthy before is gone or cannot be read, so nobody knows what it is to run: \
                 change desired, or `zkops rollout resume {service}` to bring what is wanted"
            ),
        }
    }
}

impl Why for Unplaced<'_> {
    fn kind(&self) -> ConditionKind {
        ConditionKind::Unplaced
    }

    fn reason(&self) -> Reason {
        match self {
            Self::NoFeasibleHost(_) => Reason::NoFeasibleHost,
            Self::Held(_) => Reason::HeldBack,
            Self::RevisionLost(_) => Reason::RevisionLost,
        }
    }
}
