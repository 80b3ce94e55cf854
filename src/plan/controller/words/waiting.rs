//! Planned changes that wait, and why a replica has to leave its host.

use std::fmt;

use super::{Held, Why};
use crate::{
    model::{Amount, ConditionKind, Reason, ReplicaId, ServiceName},
    plan::controller::no_feasible_host::NoFeasibleHost,
};

/// Why a replica has to leave its host.
pub(in crate::plan::controller) enum MustMove {
    /// The operator drains the host.
    Drains,
    /// A constraint, which the host no longer meets.
    Constraint(String),
    /// An operator asked for it, so that replicas are spread again.
    Asked,
    /// There are more on the host than `max_per_host` allows.
    Crowded,
    /// Another service's replica has its unit there.
    UnitTaken(ServiceName),
    /// The port that it is to have now is another service's replica's there.
    PortTaken(u16, ReplicaId),
}

impl fmt::Display for MustMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drains => f.write_str("the host is draining"),
            Self::Constraint(selector) => write!(f, "the host does not meet {selector}"),
            Self::Asked => f.write_str("it is to be less crowded elsewhere (zkops rebalance)"),
            Self::Crowded => f.write_str("more than max_per_host replicas are on the host"),
            Self::UnitTaken(service) => write!(f, "its unit there is in use by {service}"),
            Self::PortTaken(port, holder) => write!(f, "port {port} there is in use by {holder}"),
        }
    }
}

/// What a planned change waits for.
pub(in crate::plan::controller) enum Waiting<'w> {
    /// What would be done, and `max_unavailable`.
    Budget(&'w str, Amount),
    NoFeasibleHost(&'w MustMove, &'w NoFeasibleHost),
    Held(&'w MustMove, Held),
    /// Another replica is to be started first, and a rollout is under way.
    Rollout {
        why: &'w MustMove,
        number: u64,
        service: &'w ServiceName,
    },
    /// A node that is not zkops's own.
    ForeignNode(&'w str),
    /// The same, below a service that is to be deleted.
    ForeignNodes(&'w [String]),
    AssignmentLost,
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget(what, max) if max.is_zero() => write!(
                f,
                "{what} waits until another replica is ready beside it: max_unavailable (0) lets none be missing"
            ),
            Self::Budget(what, max) => {
                write!(f, "{what} waits: max_unavailable ({max}) is used up")
            }
            Self::NoFeasibleHost(why, no_host) => write!(f, "{why}, but no other host fits: {no_host}"),
            Self::Held(why, held) => write!(f, "{why}, but it stays here: {held}"),
            Self::Rollout { why, number, service } => write!(
                f,
                "{why}: another replica is started before it leaves, once rollout {number} has ended \
                 (`zkops rollout status {service}`)"
            ),
            Self::ForeignNode(path) => {
                write!(f, "{path} is not zkops's own, and keeps what is above it from being deleted: delete {path}")
            }
            Self::ForeignNodes(paths) => {
                write!(
                    f,
                    "nodes that are not zkops's own keep the service from being deleted: delete {}",
                    paths.join(", ")
                )
            }
            Self::AssignmentLost => f.write_str(
                "its assignment is missing, what it ran is not known, and its unit there is in use by another replica",
            ),
        }
    }
}

impl Why for Waiting<'_> {
    fn kind(&self) -> ConditionKind {
        ConditionKind::Waiting
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Budget(..) => Reason::BudgetSpent,
            Self::NoFeasibleHost(..) => Reason::NoFeasibleHost,
            Self::Held(..) => Reason::HeldBack,
            Self::Rollout { .. } => Reason::RolloutUnderWay,
            Self::ForeignNode(_) | Self::ForeignNodes(_) => Reason::ForeignNode,
            Self::AssignmentLost => Reason::AssignmentLost,
        }
    }
}
