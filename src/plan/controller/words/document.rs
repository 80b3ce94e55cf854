//! Documents that cannot be accepted.

use std::fmt;

use super::Why;
use crate::{
    model::{ConditionKind, Problem, Reason, ServiceName},
    tree::layout,
};

/// What is wrong with a document, and what comes of that.
pub(in crate::plan::controller) enum Invalid<'w> {
    Missing(Consequence),
    Unreadable(&'w dyn fmt::Display, Consequence),
    UnknownVersion(&'w Problem, Consequence),
    UnknownRevision { service: &'w ServiceName, revision: u64, comes: Consequence },
}

/// What comes of a document that cannot be accepted.
#[derive(Clone, Copy)]
pub(in crate::plan::controller) enum Consequence {
    LastStays,
    NothingInForce,
    /// Of a host's.
    HostLeftAlone,
    /// Of a rollout's record.
    NothingRolledOut,
    /// Of what was asked of single replicas.
    NothingMoved,
    /// Of a rollout's order: it is not carried out, as anyone sees.
    OrderIgnored,
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastStays => "; the last good one stays in force",
            Self::NothingInForce => "; there is no earlier good one",
            Self::HostLeftAlone => "; nothing is placed there or moved away until it is fixed",
            Self::NothingRolledOut => "; nothing is rolled out until it is fixed, or deleted and so begun again",
            Self::NothingMoved => "; nothing is moved for it",
            Self::OrderIgnored => "",
        })
    }
}

impl fmt::Display for Invalid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(comes) => write!(f, "is missing{comes}"),
            Self::Unreadable(error, comes) => write!(f, "{error}{comes}"),
            Self::UnknownVersion(problem, comes) => write!(f, "{problem}{comes}"),
            Self::UnknownRevision { service, revision, comes } => write!(
                f,
                "config_version: there is no revision {revision} at {}; `zkops config push {service} DIR` makes one{comes}",
                layout::configs(service)
            ),
        }
    }
}

impl Why for Invalid<'_> {
    fn kind(&self) -> ConditionKind {
        ConditionKind::InvalidDocument
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Missing(_) => Reason::Missing,
            Self::Unreadable(..) => Reason::Unreadable,
            Self::UnknownVersion(..) => Reason::UnknownVersion,
            Self::UnknownRevision { .. } => Reason::UnknownRevision,
        }
    }
}
