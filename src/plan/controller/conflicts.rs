//! Replicas of one service that get in each other's way on a host: more than `max_per_host`, or one unit for two.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    claims::UnitRef,
    classify::{Replica, ReplicaKind},
    fleet::Fleet,
    host::HostIndex,
};
use crate::{
    model::{ReplicaId, ReplicaNumber, ServiceSpec, UnitName},
    tree::snapshot::Doc,
};

/// Who is in whose way.
#[derive(Default)]
pub(super) struct HostConflicts {
    /// Replicas beyond their host's `max_per_host`: those that don't have the unit yet, then the highest numbers.
    too_many: BTreeSet<ReplicaNumber>,
    /// Of a plain unit, the replicas whose index names it, by host. Those on their way out count.
    holders: HashMap<HostIndex, BTreeSet<ReplicaNumber>>,
}

impl HostConflicts {
    pub(super) fn find(spec: &ServiceSpec, unit: UnitRef<'_>, found: &[ReplicaKind<'_>], fleet: &Fleet<'_>) -> Self {
        let Some(max) = unit.max_per_host(spec) else { return Self::default() };
        let mut conflicts = Self::default();
        if !unit.unit.is_template() {
            conflicts.find_holders(unit.unit, found, fleet);
        }
        let mut here: BTreeMap<HostIndex, Vec<(bool, ReplicaNumber)>> = BTreeMap::new();
        for (id, host) in found.iter().filter(|replica| !replica.removing()).flat_map(|replica| places(replica, fleet))
        {
            here.entry(host).or_default().push((!conflicts.holds(host, id.number), id.number));
        }
        for mut replicas in here.into_values() {
            replicas.sort_unstable();
            let stay = usize::try_from(max).unwrap_or(usize::MAX).min(replicas.len());
            conflicts.too_many.extend(replicas[stay..].iter().map(|(_, number)| *number));
        }
        conflicts
    }

    fn find_holders(&mut self, plain: &UnitName, found: &[ReplicaKind<'_>], fleet: &Fleet<'_>) {
        for (id, host) in found.iter().flat_map(|replica| places(replica, fleet)) {
            let unit = fleet.hosts[host].assignment(id).and_then(Doc::good).map(|assignment| &assignment.unit);
            if unit == Some(plain) {
                self.holders.entry(host).or_default().insert(id.number);
            }
        }
    }

    fn holds(&self, host: HostIndex, number: ReplicaNumber) -> bool {
        self.holders.get(&host).is_some_and(|holders| holders.contains(&number))
    }

    /// Whether the replica has to leave because there are too many on its host.
    pub(super) fn is_too_many(&self, replica: &Replica<'_>) -> bool {
        self.too_many.contains(&replica.number())
    }

    /// Whether another replica has the service's plain unit on the host.
    pub(super) fn held_by_another(&self, host: HostIndex, replica: &Replica<'_>) -> bool {
        self.holders.get(&host).is_some_and(|holders| holders.iter().any(|holder| *holder != replica.number()))
    }
}

/// Where a replica is: where it is placed, and wherever an index still has it.
fn places<'f>(replica: &'f ReplicaKind<'_>, fleet: &'f Fleet<'_>) -> impl Iterator<Item = (&'f ReplicaId, HostIndex)> {
    let id = replica.id();
    let placed = match replica {
        ReplicaKind::Managed(replica) => replica.host,
        ReplicaKind::New(..) | ReplicaKind::Damaged(..) => None,
    };
    let strays = fleet.strays.get(&id.service).map(Vec::as_slice).unwrap_or_default();
    let indexed = strays.iter().filter(|(number, _)| *number == id.number).map(|(_, host)| *host);
    placed.into_iter().chain(indexed).map(move |host| (id, host))
}
