//! What there is of each replica, before anything is decided.

use std::cell::Cell;

use super::{fleet::Fleet, host::HostIndex};
use crate::{
    model::{
        Assignment, Mode, ReplicaDesired, ReplicaId, ReplicaNumber, ReplicaState, ReplicaStatus, Revision, ServiceName,
    },
    tree::snapshot::{Doc, ReplicaView, ServiceView},
};

/// A replica by what its `desired` says.
pub(super) enum ReplicaKind<'a> {
    /// Only its sequential node is there: it was just created.
    New(ReplicaId, &'a ReplicaView),
    /// Its `desired` cannot be read, or was deleted by hand while a host still has it in its index.
    Damaged(ReplicaId, &'a ReplicaView),
    /// Its `desired` says what it is.
    Managed(Replica<'a>),
}

impl ReplicaKind<'_> {
    pub(super) fn id(&self) -> &ReplicaId {
        match self {
            Self::New(id, _) | Self::Damaged(id, _) => id,
            Self::Managed(replica) => &replica.id,
        }
    }

    /// Whether it is on its way out.
    pub(super) fn removing(&self) -> bool {
        matches!(self, Self::Managed(replica) if replica.desired.removing)
    }
}

/// One replica and what is known of it.
pub(super) struct Replica<'a> {
    pub(super) id: ReplicaId,
    pub(super) view: &'a ReplicaView,
    pub(super) desired: &'a ReplicaDesired,
    /// Where it is placed.
    pub(super) host: Option<HostIndex>,
    pub(super) host_alive: bool,
    /// Its index there.
    pub(super) assignment: Option<&'a Doc<Assignment>>,
    /// What the agent of that host says; what another's said before it moved is nothing.
    pub(super) status: Option<&'a ReplicaStatus>,
    /// Whether `instances` has it there.
    pub(super) listed: bool,
    /// A rollout that its documents were compared with, and whether they say what that brought: it is asked several times.
    pub(super) compared: Cell<Option<(u64, bool)>>,
}

impl<'a> Replica<'a> {
    fn new(id: ReplicaId, view: &'a ReplicaView, service: &ServiceView, fleet: &Fleet<'a>) -> Option<Self> {
        let desired = view.desired.as_ref().and_then(Doc::good)?;
        let host = desired.node.as_ref().and_then(|node| fleet.index(node));
        let assignment = host.and_then(|host| fleet.hosts[host].assignment(&id));
        let status =
            view.status.as_ref().and_then(Doc::good).filter(|status| Some(&status.node) == desired.node.as_ref());
        let listed = desired.node.as_ref().is_some_and(|node| service.lists(node, id.number));
        let host_alive = host.is_some_and(|host| fleet.hosts[host].alive());
        let compared = Cell::new(None);
        Some(Self { id, view, desired, host, host_alive, assignment, status, listed, compared })
    }

    pub(super) fn number(&self) -> ReplicaNumber {
        self.id.number
    }

    pub(super) fn state(&self) -> Option<ReplicaState> {
        self.status.map(|status| status.state)
    }

    /// Whether the agent's word answers to what is wanted of the replica now, not to something older.
    pub(super) fn answered(&self) -> bool {
        self.status.is_some_and(|status| {
            let version = self.assignment.map(|doc| doc.version);
            let seen = status.assignment.is_none() || status.assignment == version;
            seen && status.version == self.desired.version && status.config_version == self.desired.config_version
        })
    }

    /// Whether it serves: nothing of it is changing, its clients find it, and checks made since its last change say so.
    pub(super) fn ready(&self) -> bool {
        let running = self.state() == Some(ReplicaState::Running) && self.answered();
        let confirmed = self.status.is_some_and(|status| !status.unconfirmed);
        running && confirmed && self.listed && self.host_alive && self.desired.mode == Mode::Enabled
    }

    /// Whether no process of it can be left. While its host's agent lives, only its answer to the present wish
    /// counts: an older word may be about to be overtaken by a start.
    pub(super) fn down(&self) -> bool {
        let Some(status) = self.status else { return self.host.is_none() };
        let seen = status.assignment;
        let overtaken = self.host_alive && seen.is_some() && seen != self.assignment.map(|doc| doc.version);
        status.is_down() && !overtaken
    }

    /// Whether it failed or was refused with what is wanted now.
    pub(super) fn failed(&self) -> bool {
        let failed = matches!(self.state(), Some(ReplicaState::Failed | ReplicaState::Refused));
        failed && self.answered() && self.desired.mode == Mode::Enabled
    }

    /// Whether what is wanted now was given up on its host: what ran before goes on there.
    pub(super) fn rejected(&self) -> bool {
        let version = self.assignment.map(|doc| doc.version);
        self.status.is_some_and(|status| status.rejected && status.assignment == version)
    }

    /// Whether its index says what the revision does; one that is missing contradicts nothing.
    pub(super) fn runs_by(&self, revision: &Revision) -> bool {
        self.assignment.and_then(Doc::good).is_none_or(|assignment| {
            assignment.template == revision.template && is_unit_of(assignment, revision.unit.as_str(), self.number())
        })
    }
}

fn is_unit_of(assignment: &Assignment, unit: &str, number: ReplicaNumber) -> bool {
    match unit.strip_suffix("@.service") {
        None => assignment.unit.as_str() == unit,
        Some(prefix) => {
            let instance = assignment.unit.as_str().strip_prefix(prefix).and_then(|rest| rest.strip_prefix('@'));
            instance.and_then(|rest| rest.strip_suffix(".service")).and_then(|text| text.parse().ok()) == Some(number)
        }
    }
}

/// Every replica of the service, in the order of their numbers.
pub(super) fn classify<'a>(name: &'a ServiceName, view: &'a ServiceView, fleet: &Fleet<'a>) -> Vec<ReplicaKind<'a>> {
    let strays = fleet.strays.get(name).map(Vec::as_slice).unwrap_or_default();
    let found = view.replicas.iter().filter(|(_, replica)| replica.version.is_some()).map(|(&number, replica)| {
        let id = ReplicaId { service: name.clone(), number };
        let indexed = strays.iter().any(|(stray, _)| *stray == number);
        match &replica.desired {
            None if !indexed => ReplicaKind::New(id, replica),
            _ => match Replica::new(id.clone(), replica, view, fleet) {
                Some(replica) => ReplicaKind::Managed(replica),
                None => ReplicaKind::Damaged(id, replica),
            },
        }
    });
    found.collect()
}

/// The replica, if its desired state is known.
pub(super) fn managed<'f, 'a>(found: &'f ReplicaKind<'a>) -> Option<&'f Replica<'a>> {
    match found {
        ReplicaKind::Managed(replica) => Some(replica),
        ReplicaKind::New(..) | ReplicaKind::Damaged(..) => None,
    }
}
