//! Which ports are taken on which host: a service's `port` is one that each of its replicas binds there, so that a second
//! one beside it could not, and a check of the second would be answered by the first.

use std::collections::{BTreeSet, HashMap};

use super::host::{Host, HostIndex, placed_on};
use crate::{
    model::{HostName, ReplicaId, ServiceName},
    tree::snapshot::{Doc, ServiceView},
};

/// The replicas that have a port on a host. Counted only when a service with a port looks for a place.
#[derive(Default)]
pub(super) struct Ports {
    holders: HashMap<(HostIndex, u16), Vec<ReplicaId>>,
}

impl Ports {
    /// What the indices of the hosts say, and what replicas have by their description, or will have once they are updated:
    /// newcomers keep away from either.
    pub(super) fn of(
        hosts: &[Host<'_>],
        by_name: &HashMap<&HostName, HostIndex>,
        services: &[(&ServiceName, &ServiceView)],
    ) -> Self {
        let mut ports = Self::default();
        for (index, host) in hosts.iter().enumerate() {
            for (id, doc) in host.view.iter().flat_map(|view| &view.assigned) {
                ports.take(index, doc.good().and_then(|assignment| assignment.template.port), id);
            }
        }
        for &(name, service) in services {
            for port in planned(service) {
                for &number in service.replicas.keys() {
                    let id = ReplicaId { service: name.clone(), number };
                    let host = placed_on(service, number).and_then(|node| by_name.get(node).copied());
                    if let Some(host) = host {
                        ports.take(host, Some(port), &id);
                    }
                }
            }
        }
        ports
    }

    /// The replica has the port on the host from now on.
    pub(super) fn take(&mut self, host: HostIndex, port: Option<u16>, id: &ReplicaId) {
        if let Some(port) = port {
            self.holders.entry((host, port)).or_default().push(id.clone());
        }
    }

    /// It will not come there after all.
    pub(super) fn give_back(&mut self, host: HostIndex, port: Option<u16>, id: &ReplicaId) {
        let holders = port.and_then(|port| self.holders.get_mut(&(host, port)));
        if let Some((holders, at)) = holders.and_then(|of| of.iter().rposition(|it| it == id).map(|at| (of, at))) {
            holders.remove(at);
        }
    }

    /// The replica has no port on the host any more, by whatever it had one.
    pub(super) fn forget(&mut self, host: HostIndex, id: &ReplicaId) {
        let there = self.holders.iter_mut().filter(|((at, _), _)| *at == host);
        there.for_each(|(_, holders)| holders.retain(|holder| holder != id));
    }

    /// A replica of another service that has the port on the host.
    pub(super) fn taken_by_another_service(&self, host: HostIndex, port: u16, id: &ReplicaId) -> Option<&ReplicaId> {
        self.holders.get(&(host, port))?.iter().find(|holder| holder.service != id.service)
    }

    /// Another replica that has the port on the host, or is to have it.
    pub(super) fn taken_by(&self, host: HostIndex, port: u16, id: &ReplicaId) -> Option<&ReplicaId> {
        self.holders.get(&(host, port))?.iter().find(|holder| *holder != id)
    }
}

/// The ports of the service's description, as it is and as it was last accepted.
fn planned(service: &ServiceView) -> BTreeSet<u16> {
    let status = service.status.as_ref().and_then(Doc::good);
    let accepted = status.and_then(|status| status.accepted.as_ref()).map(|accepted| &accepted.service);
    let written = service.spec.as_ref().and_then(Doc::good);
    written.into_iter().chain(accepted).filter_map(|spec| spec.port).collect()
}
