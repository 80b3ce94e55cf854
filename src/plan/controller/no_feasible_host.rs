//! Why a replica fits nowhere: the hosts, counted by what rules them out.

use std::{collections::BTreeMap, fmt};

use super::host::Closed;
use crate::model::{Objection, ReplicaId, ReplicaNumber, ServiceName};

/// Why one host is ruled out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Obstacle {
    /// It is there already, and has to leave.
    Here,
    /// The host takes no replicas at present.
    Closed(Closed),
    /// The host does not meet the selector.
    Constraint(String),
    /// The host's agent would refuse it.
    NotAccepted(Objection),
    /// As many of the service are there as may be.
    Full,
    /// The service named has the replica's unit there.
    UnitTaken(ServiceName),
    /// The port is in use there.
    PortTaken(u16, Holder),
    /// It failed there within the cool-off.
    FailedThere,
}

/// Who has a port: a replica, or some replica of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) service: ServiceName,
    pub(super) replica: Option<ReplicaNumber>,
}

impl From<&ReplicaId> for Holder {
    fn from(id: &ReplicaId) -> Self {
        Self { service: id.service.clone(), replica: Some(id.number) }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, replica } = self;
        match replica {
            Some(number) => write!(f, "{service}.{number}"),
            None => write!(f, "{service}"),
        }
    }
}

impl Obstacle {
    /// The same for all hosts on which a service stands in the way.
    fn in_general(self) -> Self {
        match self {
            Self::PortTaken(port, holder) => Self::PortTaken(port, Holder { replica: None, ..holder }),
            other => other,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("where it is now"),
            Self::Closed(Closed::Lost) => f.write_str("lost"),
            Self::Closed(Closed::Draining) => f.write_str("draining"),
            Self::Closed(Closed::Cordoned) => f.write_str("cordoned"),
            Self::Closed(Closed::Unreadable) => f.write_str("with an unreadable document"),
            Self::Closed(Closed::Unready) => f.write_str("not set up yet"),
            Self::Constraint(selector) => write!(f, "not matching {selector}"),
            Self::NotAccepted(objection) => write!(f, "that would refuse it ({objection})"),
            Self::Full => f.write_str("full"),
            Self::UnitTaken(service) => write!(f, "with the unit in use by {service}"),
            Self::PortTaken(port, holder) => write!(f, "with port {port} in use by {holder}"),
            Self::FailedThere => f.write_str("where it failed recently"),
        }
    }
}

impl Obstacle {
    /// The same as a sentence about one host.
    pub(super) fn of_host(&self) -> String {
        match self {
            Self::Here => "it is here now".to_owned(),
            Self::Closed(Closed::Lost) => "lost (no agent of it is connected)".to_owned(),
            Self::Closed(Closed::Draining) => "being drained".to_owned(),
            Self::Constraint(selector) => format!("its labels do not match {selector}"),
            Self::NotAccepted(objection) => format!("would refuse it: {}", objection.words("its")),
            Self::Full => "has as many of its replicas as are allowed on one host".to_owned(),
            Self::UnitTaken(service) => format!("its unit there is in use by {service}"),
            Self::PortTaken(port, holder) => format!("port {port} is in use by {holder}"),
            Self::FailedThere => "it failed there recently".to_owned(),
            Self::Closed(Closed::Cordoned | Closed::Unreadable | Closed::Unready) => self.to_string(),
        }
    }
}

/// Why no host fits: `3 hosts: 1 lost, 1 cordoned, 1 not matching zone=a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoFeasibleHost {
    counts: BTreeMap<Obstacle, usize>,
}

impl NoFeasibleHost {
    /// What rules out each host.
    pub(super) fn new(obstacles: impl IntoIterator<Item = Obstacle>) -> Self {
        let mut counts = BTreeMap::new();
        for obstacle in obstacles {
            *counts.entry(obstacle.in_general()).or_default() += 1;
        }
        Self { counts }
    }

    /// Whether another replica of the service might fit: units of a template differ by the replica's number.
    pub(super) fn depends_on_number(&self) -> bool {
        self.counts.keys().any(|obstacle| matches!(obstacle, Obstacle::UnitTaken(_)))
    }
}

/// How many different obstacles are spelled out.
const SPELLED_OUT: usize = 6;

impl fmt::Display for NoFeasibleHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: usize = self.counts.values().sum();
        match hosts {
            0 => return f.write_str("there are no hosts"),
            1 => f.write_str("1 host: ")?,
            _ => write!(f, "{hosts} hosts: ")?,
        }
        let mut parts: Vec<_> = self.counts.iter().map(|(why, count)| format!("{count} {why}")).collect();
        if parts.len() > SPELLED_OUT {
            let more = parts.split_off(SPELLED_OUT).len();
            parts.push(format!("{more} more reasons"));
        }
        f.write_str(&parts.join(", "))
    }
}
