//! Which units are taken on which host: two services may name the same one, and no host can run it for both.

use std::collections::{BTreeSet, HashMap};

use super::host::{Host, HostIndex, placed_on};
use crate::{
    model::{HostName, ReplicaId, Revision, ServiceName, ServiceSpec, Template, UnitName},
    tree::snapshot::{Cluster, Doc, ServiceView},
};

/// A service's unit, as it is described or was rolled out.
#[derive(Clone, Copy)]
pub(super) struct UnitRef<'a> {
    pub(super) unit: &'a UnitName,
    pub(super) unit_file: Option<&'a str>,
    /// The port that each replica binds on its host.
    pub(super) port: Option<u16>,
}

impl<'a> From<&'a ServiceSpec> for UnitRef<'a> {
    fn from(spec: &'a ServiceSpec) -> Self {
        Self { unit: &spec.unit, unit_file: spec.unit_file.as_deref(), port: spec.port }
    }
}

impl<'a> From<&'a Revision> for UnitRef<'a> {
    fn from(revision: &'a Revision) -> Self {
        let Template { unit_file, port, .. } = &revision.template;
        Self { unit: &revision.unit, unit_file: unit_file.as_deref(), port: *port }
    }
}

impl UnitRef<'_> {
    /// How many replicas one host may run; `None` = no limit.
    pub(super) fn max_per_host(&self, spec: &ServiceSpec) -> Option<u32> {
        if self.unit.is_template() { spec.placement.max_per_host } else { Some(1) }
    }
}

/// Which units are in use on which host; kept only for unit files that several services use, which is rare.
#[derive(Default)]
pub(super) struct Claims<'a> {
    shared: BTreeSet<String>,
    by_host: HashMap<HostIndex, Vec<Claim<'a>>>,
}

struct Claim<'a> {
    service: ServiceName,
    unit: UnitName,
    unit_file: Option<&'a str>,
    strength: Strength,
}

/// How serious a claim is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// The unit is given to a replica on the host.
    Held,
    /// A replica on the host is to have the unit once its budget allows: newcomers keep away, nobody has to leave.
    Planned,
    /// The host's index says so, and no service that is described: of one that is gone, or by another hand. Something may
    /// run there: newcomers keep away, nobody has to leave.
    Alleged,
}

/// A unit's name up to its instance: what two units of one file have in common.
pub(super) fn file_key(unit: &UnitName) -> &str {
    unit.as_str().split_once('@').map_or(unit.as_str(), |(prefix, _)| prefix)
}

impl<'a> Claims<'a> {
    /// `shared`: the unit files that more than one service uses, by [`file_key`]. `services`: those that may be on the hosts.
    pub(super) fn new(
        shared: &BTreeSet<String>,
        cluster: &'a Cluster,
        hosts: &[Host<'a>],
        by_name: &HashMap<&HostName, HostIndex>,
        services: &[(&'a ServiceName, &'a ServiceView)],
    ) -> Self {
        let mut claims = Self { shared: shared.clone(), by_host: HashMap::new() };
        if claims.shared.is_empty() {
            return claims;
        }
        for (index, host) in hosts.iter().enumerate() {
            for (id, doc) in host.view.iter().flat_map(|view| &view.assigned) {
                match doc.good() {
                    Some(found) => {
                        let (service, unit) = (id.service.clone(), found.unit.clone());
                        let unit_file = found.template.unit_file.as_deref();
                        let strength = strength(cluster, host.name, id, &unit);
                        claims.add(index, Claim { service, unit, unit_file, strength });
                    }
                    None if is_placed(cluster, host.name, id) => claims.add_described(cluster, index, id),
                    None => {}
                }
            }
        }
        claims.add_placed(cluster, hosts, by_name, services);
        claims
    }

    /// What replicas are to be where they are placed; and what they are, when their index was deleted by hand.
    fn add_placed(
        &mut self,
        cluster: &'a Cluster,
        hosts: &[Host<'a>],
        by_name: &HashMap<&HostName, HostIndex>,
        services: &[(&'a ServiceName, &'a ServiceView)],
    ) {
        for &(name, service) in services {
            let planned = service.spec.as_ref().and_then(Doc::good).or_else(|| accepted(service));
            for &number in service.replicas.keys() {
                let id = ReplicaId { service: name.clone(), number };
                let placed = placed_on(service, number).and_then(|node| by_name.get(node).copied());
                let Some(host) = placed else { continue };
                if hosts[host].assignment(&id).is_none() {
                    self.add_described(cluster, host, &id);
                }
                if let Some(spec) = planned {
                    self.add_unit(host, &id, spec.into(), Strength::Planned);
                }
            }
        }
    }

    /// What a replica runs whose index does not say it: as its service was last described, or what its rollout brought.
    fn add_described(&mut self, cluster: &'a Cluster, host: HostIndex, id: &ReplicaId) {
        let Some(service) = cluster.services.get(&id.service) else { return };
        if let Some(spec) = accepted(service).or_else(|| service.spec.as_ref().and_then(Doc::good)) {
            self.add_unit(host, id, spec.into(), Strength::Held);
        }
        let desired = service.replicas.get(&id.number).and_then(|replica| replica.desired.as_ref()?.good());
        let record = desired.and_then(|desired| service.rollouts.get(&desired.rollout?)?.good());
        if let Some(record) = record {
            self.add_unit(host, id, (&record.revision).into(), Strength::Held);
        }
    }

    pub(super) fn add_unit(&mut self, host: HostIndex, id: &ReplicaId, described: UnitRef<'a>, strength: Strength) {
        let UnitRef { unit, unit_file, port: _ } = described;
        self.add(host, Claim { service: id.service.clone(), unit: unit.for_replica(id.number), unit_file, strength });
    }

    fn add(&mut self, host: HostIndex, claim: Claim<'a>) {
        if self.shared.contains(file_key(&claim.unit)) {
            self.by_host.entry(host).or_default().push(claim);
        }
    }

    /// The other services that claim the replica's unit, or its file, on the host.
    pub(super) fn rivals(
        &self,
        host: HostIndex,
        described: UnitRef<'_>,
        id: &ReplicaId,
    ) -> impl Iterator<Item = (&ServiceName, Strength)> {
        let claims = self.by_host.get(&host).map(Vec::as_slice).unwrap_or_default();
        let unit = (!claims.is_empty()).then(|| described.unit.for_replica(id.number));
        let clashes = move |claim: &&Claim<'_>| {
            let same_file = unit.as_ref().is_some_and(|unit| file_key(unit) == file_key(&claim.unit));
            let same_unit = unit.as_ref() == Some(&claim.unit);
            claim.service != id.service && (same_unit || same_file && claim.unit_file != described.unit_file)
        };
        claims.iter().filter(clashes).map(|claim| (&claim.service, claim.strength))
    }
}

/// How serious it is that a host's index gives the unit to the replica.
fn strength(cluster: &Cluster, host: &HostName, id: &ReplicaId, unit: &UnitName) -> Strength {
    let is_described = || cluster.services.get(&id.service).is_some_and(|service| describes(service, id, unit));
    if is_placed(cluster, host, id) && is_described() { Strength::Held } else { Strength::Alleged }
}

/// Whether the replica is on the host by its own document, as far as that can be read.
fn is_placed(cluster: &Cluster, host: &HostName, id: &ReplicaId) -> bool {
    let replica = cluster.services.get(&id.service).and_then(|service| service.replicas.get(&id.number));
    let desired = replica.map(|replica| replica.desired.as_ref().and_then(Doc::good));
    desired.is_some_and(|desired| desired.is_none_or(|desired| desired.node.as_ref() == Some(host)))
}

/// Whether the service has, or had, the unit for the replica: as it is described, as it was accepted or rolled out.
fn describes(service: &ServiceView, id: &ReplicaId, unit: &UnitName) -> bool {
    described_units(service).any(|it| it.for_replica(id.number) == *unit)
}

/// The units that the service has, or had.
pub(super) fn described_units(service: &ServiceView) -> impl Iterator<Item = &UnitName> {
    let described = service.spec.as_ref().and_then(Doc::good).map(|spec| &spec.unit);
    let accepted = accepted(service).map(|spec| &spec.unit);
    let rolled_out = service.rollouts.values().filter_map(Doc::good).map(|record| &record.revision.unit);
    described.into_iter().chain(accepted).chain(rolled_out)
}

/// The description that was last in force.
pub(super) fn accepted(service: &ServiceView) -> Option<&ServiceSpec> {
    let status = service.status.as_ref().and_then(Doc::good)?;
    status.accepted.as_ref().map(|accepted| &accepted.service)
}

/// The unit files that more than one service uses, by [`file_key`].
pub(super) fn shared_files(cluster: &Cluster) -> BTreeSet<String> {
    let mut owner: HashMap<&str, &ServiceName> = HashMap::new();
    let mut shared = BTreeSet::new();
    let described =
        cluster.services.iter().flat_map(|(name, service)| described_units(service).map(move |unit| (unit, name)));
    let assigned = cluster.hosts.values().flat_map(|host| &host.assigned);
    let running = assigned.filter_map(|(id, doc)| Some((&doc.good()?.unit, &id.service)));
    for (unit, service) in described.chain(running) {
        if *owner.entry(file_key(unit)).or_insert(service) != service {
            shared.insert(file_key(unit).to_owned());
        }
    }
    shared
}
