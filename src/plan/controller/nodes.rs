//! The operations that make a replica's nodes say what they should, and delete them.

use super::{host::HostIndex, placement::Placement};
use crate::{
    model::{Assignment, ReplicaDesired, ReplicaId, encode},
    tree::{
        layout,
        snapshot::{Doc, ReplicaView},
        txn::Op,
    },
};

/// A replica's documents as they are to be.
pub(super) struct Change<'c, 'a> {
    pub(super) id: &'c ReplicaId,
    pub(super) view: &'a ReplicaView,
    /// The host it was on.
    pub(super) from: Option<HostIndex>,
    /// The host it is on now; `desired.node` names it.
    pub(super) home: Option<HostIndex>,
    pub(super) desired: &'c ReplicaDesired,
    /// What that host's agent is told; `None` leaves its index alone.
    pub(super) assignment: Option<Assignment>,
}

impl<'a> Placement<'_, 'a> {
    /// The operations that make the replica's nodes say what they should; none when they do. A replica that changes
    /// its host loses its status as well: nobody is to take an old host's word for the new one's.
    pub(super) fn ops(&self, change: Change<'_, 'a>) -> Vec<Op> {
        let Change { id, view, from, home, desired, assignment } = change;
        let path = layout::replica_desired(id);
        let mut ops = write(&path, view.desired.as_ref(), desired);
        let is_said = ops.is_empty();
        if from != home {
            ops.extend(home.and_then(|home| self.still_open(home)));
            ops.extend(from.and_then(|from| self.delete_index(id, from)));
            ops.extend(self.delete_status(id, view));
        }
        if let (Some(home), Some(assignment)) = (home, assignment) {
            ops.extend(self.write_index(id, home, &assignment));
        }
        // An index says what `desired` said when it was planned.
        if let Some(doc) = view.desired.as_ref().filter(|_| is_said && !ops.is_empty()) {
            ops.push(Op::Check { path, version: doc.version });
        }
        ops
    }

    /// That the operator has said nothing of the host since: what was planned before a cordon does not land after it.
    fn still_open(&self, host: HostIndex) -> Option<Op> {
        let host = &self.fleet.hosts[host];
        let version = host.view?.spec.as_ref()?.version;
        Some(Op::Check { path: layout::host(host.name), version })
    }

    pub(super) fn delete_index(&self, id: &ReplicaId, host: HostIndex) -> Option<Op> {
        let host = &self.fleet.hosts[host];
        let version = host.assignment(id)?.version;
        Some(Op::Delete { path: layout::assignment(host.name, id), version: Some(version) })
    }

    /// Nothing when there are nodes below it, which are not zkops's: a status alone stands in nobody's way.
    pub(super) fn delete_status(&self, id: &ReplicaId, view: &ReplicaView) -> Option<Op> {
        let version = view.status.as_ref()?.version;
        let path = layout::replica_status(id);
        self.facts.is_leaf(&path).then_some(Op::Delete { path, version: Some(version) })
    }

    /// Nothing while the host has no `assigned`: it was deleted by hand, and is created by itself.
    fn write_index(&self, id: &ReplicaId, host: HostIndex, assignment: &Assignment) -> Vec<Op> {
        let host = &self.fleet.hosts[host];
        if !host.view.is_some_and(|view| view.has_assigned) {
            return Vec::new();
        }
        write(&layout::assignment(host.name, id), host.assignment(id), assignment)
    }
}

/// Creates or replaces a document, unless it says the same already.
fn write<T: serde::Serialize + PartialEq>(path: &str, current: Option<&Doc<T>>, wanted: &T) -> Vec<Op> {
    let path = path.to_owned();
    match current {
        None => vec![Op::Create { path, data: encode(wanted) }],
        Some(doc) if doc.good() == Some(wanted) => Vec::new(),
        Some(doc) => vec![Op::Set { path, data: encode(wanted), version: Some(doc.version) }],
    }
}
