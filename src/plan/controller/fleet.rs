//! The hosts as placement sees them, worked out once per plan: which take replicas, how loaded each is, and which units
//! are taken where.
//!
//! Choices made within a plan are noted here at once, so that two services planned together see each other.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use super::{
    Context,
    claims::{Claims, Strength, UnitRef, shared_files},
    hold::Hold,
    host::{Host, HostIndex, placed_on},
    ports::Ports,
    relations::Relations,
};
use crate::{
    model::{
        Accepts, Assignment, HostAlive, HostName, Mode, ReplicaId, ReplicaNumber, Selector, ServiceName, UnitName,
    },
    tree::snapshot::{Cluster, Doc, ServiceView},
};

/// Every host that is in the tree or that a replica names; or some of these, and all that is on them.
#[derive(Default)]
pub(super) struct Fleet<'a> {
    /// In the order of their names; then those that are not in the tree any more.
    pub(super) hosts: Vec<Host<'a>>,
    by_name: HashMap<&'a HostName, HostIndex>,
    /// Whether nothing is failed over at present.
    pub(super) hold: Hold,
    /// The services whose replicas may be on these hosts.
    services: Vec<(&'a ServiceName, &'a ServiceView)>,
    /// What was asked of it; see [`Asked`].
    asked: Cell<Asked>,
    /// Index nodes that don't agree with their replica, by service.
    pub(super) strays: BTreeMap<&'a ServiceName, Vec<(ReplicaNumber, HostIndex)>>,
    /// How many hosts were looked at for a place.
    pub(super) work: usize,
    claims: Claims<'a>,
    /// What hosts run, found when first asked for.
    acceptance: Option<Rc<Acceptance<'a>>>,
    /// Which ports are taken, counted when first asked for.
    ports: Option<Ports>,
    /// Those that this plan gives away.
    given_ports: Ports,
    /// Hosts that are open and meet a set of constraints, found when first asked for.
    open: HashMap<&'a [Selector], Rc<[HostIndex]>>,
    /// The domains of a spread label, found when first asked for.
    domains: HashMap<&'a str, Rc<Domains>>,
}

/// What replicas are spread over: the values of a label; a host that lacks the label is a domain of its own.
pub(super) struct Domains {
    /// Each host's domain.
    pub(super) of: Vec<usize>,
    pub(super) count: usize,
}

/// What hosts tell of what they run: few answers of many hosts.
pub(super) struct Acceptance<'a> {
    /// The distinct answers; `None` of hosts that don't tell.
    pub(super) answers: Vec<Option<&'a HostAlive>>,
    /// Each host's answer.
    pub(super) of: Vec<usize>,
    /// How many patterns of units all answers have.
    pub(super) patterns: usize,
}

/// What a service's plan rests on beside the service and the hosts that it concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// On other hosts: a place was looked for.
    pub(super) seeks: bool,
    /// Others' plans rest on it: a place is kept for it, or a unit.
    pub(super) takes: bool,
}

impl<'a> Fleet<'a> {
    /// All hosts.
    pub(super) fn new(cluster: &'a Cluster, context: &Context) -> Self {
        let hosts = cluster.hosts.iter().map(|(name, view)| Host::new(name, Some(view), context)).collect();
        let mut fleet = Self { services: cluster.services.iter().collect(), ..Self::default() };
        fleet.people(hosts, context);
        fleet.settle(cluster, &shared_files(cluster));
        fleet.hold = Hold::of(&fleet.hosts, context);
        fleet
    }

    /// These hosts and those that these services concern. Enough as long as no place is looked for: their load is not counted.
    pub(super) fn around(
        services: &BTreeSet<ServiceName>,
        hosts: &BTreeSet<HostName>,
        cluster: &'a Cluster,
        context: &Context,
        relations: &'a Relations,
        hold: Hold,
    ) -> Self {
        let concerned = services.iter().flat_map(|name| relations.hosts_of(name));
        let known = hosts.iter().filter_map(|name| cluster.hosts.get_key_value(name)).map(|(name, _)| name);
        let (there, named): (BTreeSet<&HostName>, BTreeSet<&HostName>) =
            known.chain(concerned).partition(|name| cluster.hosts.contains_key(*name));
        let names = there.into_iter().chain(named);
        let hosts: Vec<_> = names.map(|name| Host::new(name, cluster.hosts.get(name), context)).collect();
        let services: BTreeSet<&ServiceName> = hosts.iter().flat_map(|host| relations.services_on(host.name)).collect();
        let services = services.into_iter().filter_map(|name| cluster.services.get_key_value(name)).collect();
        let mut fleet = Self { hold, services, ..Self::default() };
        fleet.by_name = hosts.iter().enumerate().map(|(index, host)| (host.name, index)).collect();
        fleet.hosts = hosts;
        fleet.settle(cluster, relations.shared_files());
        fleet
    }

    /// These hosts, those that replicas name beside them, and how many replicas each has.
    fn people(&mut self, hosts: Vec<Host<'a>>, context: &Context) {
        self.hosts = hosts;
        self.by_name = self.hosts.iter().enumerate().map(|(index, host)| (host.name, index)).collect();
        let replicas = self.services.iter().flat_map(|(_, service)| service.replicas.values());
        for name in replicas.filter_map(|replica| replica.desired.as_ref()?.good()?.node.as_ref()) {
            let index = *self.by_name.entry(name).or_insert_with(|| {
                self.hosts.push(Host::new(name, None, context));
                self.hosts.len() - 1
            });
            self.hosts[index].load += 1;
        }
    }

    /// Which indices agree with no replica, and who has which unit.
    fn settle(&mut self, cluster: &'a Cluster, shared: &BTreeSet<String>) {
        for (index, host) in self.hosts.iter().enumerate() {
            for id in host.view.iter().flat_map(|view| view.assigned.keys()) {
                let service = cluster.services.get(&id.service).filter(|service| service.spec.is_some());
                if service.and_then(|service| placed_on(service, id.number)) != Some(host.name) {
                    self.strays.entry(&id.service).or_default().push((id.number, index));
                }
            }
        }
        self.claims = Claims::new(shared, cluster, &self.hosts, &self.by_name, &self.services);
    }

    /// What has been asked since this was called last.
    pub(super) fn take_asked(&self) -> Asked {
        self.asked.take()
    }

    /// A place is looked for.
    fn seek(&self) {
        self.asked.set(Asked { seeks: true, ..self.asked.get() });
    }

    /// A place is kept, or given back.
    fn take(&self) {
        self.asked.set(Asked { takes: true, ..self.asked.get() });
    }

    pub(super) fn index(&self, name: &HostName) -> Option<HostIndex> {
        self.by_name.get(name).copied()
    }

    /// There is one replica more on the host, or (`less`) one less.
    pub(super) fn load(&mut self, host: HostIndex, less: bool) {
        self.take();
        let load = &mut self.hosts[host].load;
        *load = if less { load.saturating_sub(1) } else { *load + 1 };
    }

    /// The hosts that take new replicas and meet the constraints.
    pub(super) fn open_to(&mut self, constraints: &'a [Selector]) -> Rc<[HostIndex]> {
        self.seek();
        let fits = |host: &Host<'_>| host.closed.is_none() && host.fails(constraints).is_none();
        let hosts = &self.hosts;
        let open = self.open.entry(constraints).or_insert_with(|| {
            hosts.iter().enumerate().filter(|(_, host)| fits(host)).map(|(index, _)| index).collect()
        });
        Rc::clone(open)
    }

    /// What the hosts tell of what they run.
    pub(super) fn acceptance(&mut self) -> Rc<Acceptance<'a>> {
        self.seek();
        let hosts = &self.hosts;
        Rc::clone(self.acceptance.get_or_insert_with(|| Rc::new(Acceptance::new(hosts))))
    }

    /// The domains of the label `key`.
    pub(super) fn domains(&mut self, key: &'a str) -> Rc<Domains> {
        self.seek();
        let hosts = &self.hosts;
        Rc::clone(self.domains.entry(key).or_insert_with(|| Rc::new(Domains::new(hosts, key))))
    }

    /// Which other service's replica has the unit, or its file, on the host.
    pub(super) fn unit_taken(&self, host: HostIndex, unit: UnitRef<'_>, id: &ReplicaId) -> Option<&ServiceName> {
        self.claims.rivals(host, unit, id).next().map(|(rival, _)| rival)
    }

    /// Whether the replica has to give way to another service's on its host: one that came first.
    pub(super) fn must_yield(
        &self,
        host: HostIndex,
        unit: UnitRef<'_>,
        id: &ReplicaId,
        unit_now: Option<&UnitName>,
    ) -> Option<&ServiceName> {
        let established = || unit_now == Some(&unit.unit.for_replica(id.number));
        let held = self.claims.rivals(host, unit, id).filter(|(_, strength)| *strength == Strength::Held);
        held.map(|(rival, _)| rival).find(|rival| **rival < id.service || !established())
    }

    /// Whether an index that no service vouches for names the unit on the host: something may run there as that.
    pub(super) fn unit_alleged(&self, host: HostIndex, unit: UnitRef<'_>, id: &ReplicaId) -> bool {
        self.claims.rivals(host, unit, id).any(|(_, strength)| strength == Strength::Alleged)
    }

    /// Notes that the replica's unit and port are in use on the host from now on.
    pub(super) fn claim(&mut self, host: HostIndex, unit: UnitRef<'a>, id: &ReplicaId) {
        self.take();
        self.claims.add_unit(host, id, unit, Strength::Held);
        self.given_ports.take(host, unit.port, id);
        if let Some(ports) = &mut self.ports {
            ports.take(host, unit.port, id);
        }
    }

    /// Counts the ports that are in use; for who needs one of its own.
    pub(super) fn count_ports(&mut self) {
        let (hosts, by_name, services) = (&self.hosts, &self.by_name, &self.services);
        self.ports.get_or_insert_with(|| Ports::of(hosts, by_name, services));
    }

    /// The replica's port on the host is free again.
    pub(super) fn release_port(&mut self, host: HostIndex, port: Option<u16>, id: &ReplicaId) {
        self.take();
        self.given_ports.give_back(host, port, id);
        if let Some(ports) = &mut self.ports {
            ports.give_back(host, port, id);
        }
    }

    /// All is planned as if the replica were not on the host: another takes its place.
    pub(super) fn leave_out(&mut self, host: HostIndex, id: &ReplicaId) {
        self.load(host, true);
        self.count_ports();
        if let Some(ports) = &mut self.ports {
            ports.forget(host, id);
        }
    }

    /// A replica of another service that has the port on the host: by its index there, unless that is off, or by this plan.
    pub(super) fn port_of_another(&self, host: HostIndex, port: u16, id: &ReplicaId) -> Option<&ReplicaId> {
        let assigned = self.hosts[host].view.iter().flat_map(|view| &view.assigned);
        let has_it = |doc: &Doc<Assignment>| {
            doc.good().is_some_and(|index| index.template.port == Some(port) && index.mode != Mode::Disabled)
        };
        let mut holders = assigned.filter(|(other, doc)| other.service != id.service && has_it(doc));
        holders.next().map(|(holder, _)| holder).or_else(|| self.given_ports.taken_by_another_service(host, port, id))
    }

    /// Another replica that has the port on the host. Only after [`count_ports`](Self::count_ports).
    pub(super) fn port_taken(&self, host: HostIndex, port: Option<u16>, id: &ReplicaId) -> Option<(u16, &ReplicaId)> {
        let port = port?;
        self.ports.as_ref()?.taken_by(host, port, id).map(|holder| (port, holder))
    }
}

impl<'a> Acceptance<'a> {
    fn new(hosts: &[Host<'a>]) -> Self {
        let mut known: HashMap<(&Accepts, bool), usize> = HashMap::new();
        let mut answers = vec![None];
        let answer = |host: &Host<'a>| {
            let alive = host.view?.alive.as_ref()?.good()?;
            let key = (alive.accepts.as_ref()?, alive.address.is_some());
            Some(*known.entry(key).or_insert_with(|| {
                answers.push(Some(alive));
                answers.len() - 1
            }))
        };
        let of = hosts.iter().map(answer).map(Option::unwrap_or_default).collect();
        let told = answers.iter().flatten().filter_map(|alive: &&HostAlive| alive.accepts.as_ref());
        let patterns = told.map(|accepts| accepts.units.patterns().count()).sum();
        Self { answers, of, patterns }
    }
}

impl Domains {
    fn new(hosts: &[Host<'_>], key: &str) -> Self {
        let mut values: HashMap<&str, usize> = HashMap::new();
        let mut of = Vec::with_capacity(hosts.len());
        let mut count = 0;
        for host in hosts {
            let known = host.label(key).map(|value| *values.entry(value).or_insert(count));
            let domain = known.unwrap_or(count);
            count = count.max(domain + 1);
            of.push(domain);
        }
        Self { of, count }
    }
}
