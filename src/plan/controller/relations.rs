//! Which services concern which hosts, kept from change to change: what has changed on a host concerns the services whose
//! replicas are there, and a service the hosts on which they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::claims::{UnitRef, accepted, described_units, file_key};
use crate::{
    model::{HostName, ServiceName},
    plan::relation::Relation,
    tree::snapshot::{Cluster, Doc, ServiceView},
};

/// What concerns what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Relations {
    /// The hosts that the documents of a service's replicas name.
    placed: Relation<ServiceName, HostName>,
    /// The services of which a host's index has replicas.
    assigned: Relation<HostName, ServiceName>,
    /// Hosts without `alive`, in the tree or named by a replica.
    lost: BTreeSet<HostName>,
    /// The unit files that a service has, or had.
    files: BTreeMap<ServiceName, BTreeSet<String>>,
    /// What a host's index says of them beside that.
    other_files: BTreeMap<HostName, BTreeSet<(String, ServiceName)>>,
    /// By unit file, who has it, and how many of the above say so.
    owners: BTreeMap<String, BTreeMap<ServiceName, usize>>,
    /// The unit files that more than one service has.
    shared: BTreeSet<String>,
    /// A mark of the units and ports that each service has accepted: another concerns those beside it.
    accepted: BTreeMap<ServiceName, u64>,
}

impl Relations {
    /// Of a whole cluster.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut relations = Self::default();
        for name in cluster.services.keys() {
            relations.take_service(name, cluster);
        }
        for name in cluster.hosts.keys() {
            relations.take_host(name, cluster);
        }
        relations
    }

    /// The hosts that the service concerns.
    pub(super) fn hosts_of(&self, service: &ServiceName) -> impl Iterator<Item = &HostName> {
        self.placed.of(service).iter().chain(self.assigned.with(service))
    }

    /// The services that the host concerns.
    pub(super) fn services_on(&self, host: &HostName) -> impl Iterator<Item = &ServiceName> {
        self.placed.with(host).chain(self.assigned.of(host))
    }

    /// The hosts without `alive`, in the tree or named by a replica.
    pub(super) fn lost(&self) -> impl Iterator<Item = &HostName> {
        self.lost.iter()
    }

    /// The unit files that more than one service has.
    pub(super) fn shared_files(&self) -> &BTreeSet<String> {
        &self.shared
    }

    /// Whether what the service has accepted is other than it was, as far as that concerns others.
    pub(super) fn is_other_to_neighbours(&self, name: &ServiceName, cluster: &Cluster) -> bool {
        self.accepted.get(name).copied() != cluster.services.get(name).and_then(accepted_mark)
    }

    /// Something of the service has changed.
    pub(super) fn take_service(&mut self, name: &ServiceName, cluster: &Cluster) {
        let view = cluster.services.get(name);
        let named = view.iter().flat_map(|view| view.replicas.values()).filter_map(|replica| {
            let desired = replica.desired.as_ref().and_then(Doc::good)?;
            desired.node.as_ref()
        });
        let after: BTreeSet<&HostName> = named.collect();
        if !self.placed.of(name).iter().eq(after.iter().copied()) {
            let before = self.placed.of(name).to_vec();
            let after: Vec<HostName> = after.into_iter().cloned().collect();
            self.placed.set(name, after.clone());
            for host in before.iter().chain(&after) {
                self.judge(host, cluster);
            }
        }
        match view.and_then(accepted_mark) {
            Some(mark) => self.accepted.insert(name.clone(), mark),
            None => self.accepted.remove(name),
        };
        self.take_files(name, view, cluster);
    }

    fn take_files(&mut self, name: &ServiceName, view: Option<&ServiceView>, cluster: &Cluster) {
        let after: BTreeSet<&str> = view.into_iter().flat_map(described_units).map(file_key).collect();
        let before = self.files.get(name).into_iter().flatten().map(String::as_str);
        if before.eq(after.iter().copied()) {
            return;
        }
        let after: BTreeSet<String> = after.into_iter().map(str::to_owned).collect();
        let gone =
            if after.is_empty() { self.files.remove(name) } else { self.files.insert(name.clone(), after.clone()) };
        for file in after {
            self.own(file, name);
        }
        for file in gone.into_iter().flatten() {
            self.disown(&file, name);
        }
        let hosts: Vec<HostName> = self.assigned.with(name).cloned().collect();
        for host in &hosts {
            self.take_other_files(host, cluster);
        }
    }

    /// Something of the host has changed.
    pub(super) fn take_host(&mut self, name: &HostName, cluster: &Cluster) {
        let assigned = cluster.hosts.get(name).into_iter().flat_map(|view| view.assigned.keys());
        let after: BTreeSet<&ServiceName> = assigned.map(|id| &id.service).collect();
        if !self.assigned.of(name).iter().eq(after.iter().copied()) {
            let after = after.into_iter().cloned().collect();
            self.assigned.set(name, after);
        }
        self.judge(name, cluster);
        self.take_other_files(name, cluster);
    }

    /// Most units that a host's index names are of their services' files, which are known by these.
    fn take_other_files(&mut self, host: &HostName, cluster: &Cluster) {
        let assigned = cluster.hosts.get(host).into_iter().flat_map(|view| &view.assigned);
        let other = assigned.filter_map(|(id, doc)| {
            let file = file_key(&doc.good()?.unit);
            let is_known = self.files.get(&id.service).is_some_and(|files| files.contains(file));
            (!is_known).then(|| (file.to_owned(), id.service.clone()))
        });
        let after: BTreeSet<(String, ServiceName)> = other.collect();
        let before = if after.is_empty() {
            self.other_files.remove(host)
        } else {
            self.other_files.insert(host.clone(), after.clone())
        };
        for (file, service) in after {
            self.own(file, &service);
        }
        for (file, service) in before.into_iter().flatten() {
            self.disown(&file, &service);
        }
    }

    fn own(&mut self, file: String, service: &ServiceName) {
        let owners = self.owners.entry(file.clone()).or_default();
        *owners.entry(service.clone()).or_default() += 1;
        if owners.len() > 1 {
            self.shared.insert(file);
        }
    }

    fn disown(&mut self, file: &str, service: &ServiceName) {
        let Some(owners) = self.owners.get_mut(file) else { return };
        if let Some(count) = owners.get_mut(service) {
            *count -= 1;
            if *count == 0 {
                owners.remove(service);
            }
        }
        if owners.len() < 2 {
            self.shared.remove(file);
        }
        if owners.is_empty() {
            self.owners.remove(file);
        }
    }

    /// Whether the host is lost.
    fn judge(&mut self, name: &HostName, cluster: &Cluster) {
        let is_lost = match cluster.hosts.get(name) {
            Some(view) => view.alive.is_none(),
            None => self.placed.with(name).next().is_some(),
        };
        if !is_lost {
            self.lost.remove(name);
        } else if !self.lost.contains(name) {
            self.lost.insert(name.clone());
        }
    }
}

/// The same for the same unit, unit file and port.
fn accepted_mark(service: &ServiceView) -> Option<u64> {
    let UnitRef { unit, unit_file, port } = accepted(service)?.into();
    let mut hasher = DefaultHasher::new();
    (unit.as_str(), unit_file, port).hash(&mut hasher);
    Some(hasher.finish())
}
