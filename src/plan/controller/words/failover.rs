//! Lost hosts, and replicas that fail where they are.

use std::fmt;

use jiff::Timestamp;

use super::{Held, Why};
use crate::{
    model::{ConditionKind, Reason},
    plan::controller::{cool_off::COOL_OFF, no_feasible_host::NoFeasibleHost},
};

/// What becomes of a replica whose host has been lost since the time given.
pub(in crate::plan::controller) enum LostHost<'w> {
    MovesAt {
        since: Timestamp,
        deadline: Timestamp,
    },
    Held(Timestamp, Held),
    NoFeasibleHost(Timestamp, &'w NoFeasibleHost),
    /// The service does not run, and whether the replica's processes do is not known.
    ProcessesUnknown,
}

/// Nothing is failed over at present: so many of the known hosts are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::plan::controller) struct Failover {
    pub(in crate::plan::controller) lost: u32,
    pub(in crate::plan::controller) known: u32,
    /// `failover_max_fraction`.
    pub(in crate::plan::controller) max_fraction: f64,
}

/// Why a replica that failed stays, whatever hosts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan::controller) enum Brake {
    /// It failed on so many other hosts.
    Tried(usize),
    /// So many replicas of the service were moved because they had failed.
    Moved(usize),
}

/// A replica that failed, or was refused, and stays.
pub(in crate::plan::controller) struct Failing<'w> {
    pub(in crate::plan::controller) refused: bool,
    /// What its agent says.
    pub(in crate::plan::controller) said: &'w str,
    pub(in crate::plan::controller) stays: Stays<'w>,
}

/// Why it stays.
pub(in crate::plan::controller) enum Stays<'w> {
    Brake(Brake),
    Held(Held),
    NoFeasibleHost(&'w NoFeasibleHost),
}

impl fmt::Display for LostHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MovesAt { since, deadline } => {
                write!(f, "has been gone since {since:.0}; its replicas move at {deadline:.0} unless it returns")
            }
            Self::Held(since, held) => write!(f, "has been gone since {since:.0}, but the replica stays: {held}"),
            Self::NoFeasibleHost(since, no_host) => {
                write!(f, "has been gone since {since:.0}, and no other host fits: {no_host}")
            }
            Self::ProcessesUnknown => {
                f.write_str("is gone: whether its processes still run cannot be known until it returns")
            }
        }
    }
}

impl Why for LostHost<'_> {
    fn kind(&self) -> ConditionKind {
        ConditionKind::HostLost
    }

    fn reason(&self) -> Reason {
        match self {
            Self::MovesAt { .. } => Reason::AwaitingReturn,
            Self::Held(..) => Reason::HeldBack,
            Self::NoFeasibleHost(..) => Reason::NoFeasibleHost,
            Self::ProcessesUnknown => Reason::ProcessesUnknown,
        }
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, known, max_fraction } = self;
        let percent = (max_fraction * 100.0).round();
        write!(
            f,
            "{lost} of {known} hosts are lost, more than failover_max_fraction ({percent} %): \
             nothing is failed over until they return, or are removed for good (zkops hosts delete --force)"
        )
    }
}

impl Why for Failover {
    fn kind(&self) -> ConditionKind {
        ConditionKind::FailoverHeld
    }

    fn reason(&self) -> Reason {
        Reason::TooManyHostsLost
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tried(hosts) => write!(f, "it failed on {hosts} other hosts within {COOL_OFF}, and stays here"),
            Self::Moved(count) => {
                write!(f, "{count} replicas of this service were moved for that within {COOL_OFF}: it stays here")
            }
        }
    }
}

impl fmt::Display for Failing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.said;
        match &self.stays {
            Stays::Brake(brake) => write!(f, "{said}; {brake}"),
            Stays::Held(held) => write!(f, "{said}; it stays here: {held}"),
            Stays::NoFeasibleHost(no_host) => write!(f, "{said}; no other host fits: {no_host}"),
        }
    }
}

impl Why for Failing<'_> {
    fn kind(&self) -> ConditionKind {
        if self.refused { ConditionKind::Refused } else { ConditionKind::Failed }
    }

    fn reason(&self) -> Reason {
        match self.stays {
            Stays::Brake(_) => Reason::MovesExhausted,
            Stays::Held(_) => Reason::HeldBack,
            Stays::NoFeasibleHost(_) => Reason::NoFeasibleHost,
        }
    }
}
