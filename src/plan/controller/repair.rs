//! What was damaged by hand: unreadable or missing desired states, indexes that belong to nothing.

use super::{
    classify::ReplicaKind,
    fleet::Fleet,
    host::{Host, HostIndex},
    nodes::Change,
    round::Round,
    transaction::{MAX_OPS, Note},
};
use crate::{
    model::{EventReason, ReplicaDesired, ReplicaId, ServiceName},
    tree::{
        layout,
        snapshot::{Cluster, Doc, ReplicaView, below},
        txn::{Op, Transaction},
    },
};

impl<'a> Round<'_, 'a> {
    /// Writes a replica's desired state again from its index on a host, which repeats most of it, and from the
    /// service's desired state. Without an index the replica is placed again, as if it were new.
    pub(super) fn rebuild(&mut self, id: &ReplicaId, view: &'a ReplicaView, removing: bool) {
        let home = self.home_of(id, view);
        let assignment = home.and_then(|home| self.places.fleet.hosts[home].assignment(id)).and_then(Doc::good);
        let fresh = self.rollout.goal_of_new(false).map_or_else(
            || ReplicaDesired::unplaced(self.facts.force.desired),
            |goal| ReplicaDesired::with(self.facts.force.desired.mode, goal.number, goal.revision),
        );
        let desired = ReplicaDesired {
            mode: assignment.map_or(fresh.mode, |assignment| assignment.mode),
            version: assignment.map_or(fresh.version.clone(), |assignment| assignment.version.clone()),
            config_version: assignment.map_or(fresh.config_version, |assignment| assignment.config_version),
            node: home.map(|home| self.places.fleet.hosts[home].name.clone()),
            reason: "rebuilt: its desired state could not be read".to_owned(),
            // Its content may be what another rollout brought.
            rollout: fresh.rollout.filter(|_| assignment.is_none()),
            removing,
            ..fresh
        };
        let change = Change { id, view, from: home, home, desired: &desired, assignment: None };
        let ops = self.places.ops(change);
        let reason = if removing { EventReason::Removing } else { EventReason::Repaired };
        let note = Note::of_replica(reason, id.number, desired.node.as_ref(), desired.reason.clone());
        self.out.push(ops, note, false);
    }

    /// The host whose index has the replica; of several, the one whose agent last wrote its status.
    fn home_of(&self, id: &ReplicaId, view: &ReplicaView) -> Option<HostIndex> {
        let strays = self.places.fleet.strays.get(&id.service)?;
        let hosts = || strays.iter().filter(|(number, _)| *number == id.number).map(|(_, host)| *host);
        let reported = view.status.as_ref().and_then(Doc::good).map(|status| &status.node);
        hosts().find(|host| Some(self.places.fleet.hosts[*host].name) == reported).or_else(|| hosts().next())
    }

    /// Deletes index nodes on hosts where their replica is not placed.
    pub(super) fn drop_strays(&mut self, found: &[ReplicaKind<'a>]) {
        for (number, host) in self.places.fleet.strays.get(self.facts.name).cloned().unwrap_or_default() {
            let broken =
                |replica: &ReplicaKind<'_>| matches!(replica, ReplicaKind::Damaged(id, _) if id.number == number);
            if !self.out.builder.has_room() || found.iter().any(broken) {
                continue;
            }
            let id = ReplicaId { service: self.facts.name.clone(), number };
            if self.is_index_blocked(&id, host) {
                continue;
            }
            let name = self.places.fleet.hosts[host].name;
            let ops: Vec<_> = self.places.delete_index(&id, host).into_iter().collect();
            let message = format!("assignment on {name} deleted: the replica is not placed there");
            self.out.push(ops, Note::of_replica(EventReason::Repaired, number, Some(name), message), false);
        }
    }
}

/// Creates the parent of the index on live hosts that lack it: agents create it, so someone deleted it.
pub(super) fn missing_assigned(fleet: &Fleet<'_>) -> Vec<Transaction> {
    let lacks =
        |host: &&Host<'_>| host.alive() && host.view.is_some_and(|view| view.spec.is_some() && !view.has_assigned);
    let paths: Vec<_> = fleet.hosts.iter().filter(lacks).map(|host| layout::assigned(host.name)).collect();
    let transactions = paths.chunks(MAX_OPS).map(|paths| {
        let ops = paths.iter().map(|path| Op::Create { path: path.clone(), data: b"{}".to_vec() }).collect();
        Transaction { ops, reason: format!("{} created: it was missing", paths.join(", ")), ..Transaction::default() }
    });
    transactions.collect()
}

/// Deletes the index nodes of services that are gone.
pub(super) fn orphans(cluster: &Cluster, fleet: &Fleet<'_>) -> Vec<Transaction> {
    let gone = |name: &ServiceName| cluster.services.get(name).is_none_or(|service| service.spec.is_none());
    let orphaned = fleet.strays.iter().filter(|(name, _)| gone(name));
    orphaned.filter_map(|(name, strays)| orphan_transaction(fleet, name, strays)).collect()
}

fn orphan_transaction(
    fleet: &Fleet<'_>,
    name: &ServiceName,
    strays: &[(crate::model::ReplicaNumber, HostIndex)],
) -> Option<Transaction> {
    let delete = |&(number, host): &(_, HostIndex)| {
        let host = &fleet.hosts[host];
        let id = ReplicaId { service: name.clone(), number };
        let path = layout::assignment(host.name, &id);
        let free = host.view.is_some_and(|view| below(&view.others, &path).next().is_none());
        let version = host.assignment(&id).filter(|_| free)?.version;
        Some(Op::Delete { path, version: Some(version) })
    };
    let ops: Vec<_> = strays.iter().filter_map(delete).take(MAX_OPS).collect();
    let reason = format!("{name} is gone: {} assignments of its replicas deleted", ops.len());
    (!ops.is_empty()).then_some(Transaction { ops, reason, ..Transaction::default() })
}
