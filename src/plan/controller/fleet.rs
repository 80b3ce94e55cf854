//! All hosts as placement sees them, worked out once per plan: which take replicas, how loaded each is, which units
//! are taken where, and whether so many are lost that failover holds.
//!
//! Choices made within a plan are noted here at once, so that two services planned together see each other.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use jiff::Timestamp;

use super::{
    Context, after,
    claims::{Claims, Strength, UnitRef},
    host::{Host, HostIndex, placed_on},
    ports::Ports,
    words::Failover,
};
use crate::{
    model::{
        Accepts, Assignment, HostAlive, HostName, Mode, ReplicaId, ReplicaNumber, Selector, ServiceName, Span, UnitName,
    },
    tree::snapshot::{Cluster, Doc},
};

/// How long the loss of a host without work is taken for a sign of a fault of the network: all that such a fault hides
/// is missing within a session timeout, 60 s at most.
const LATE_LOSS: Span = Span::from_secs(300);

/// Every host that is in the tree or that a replica names.
#[derive(Default)]
pub(super) struct Fleet<'a> {
    /// In the order of their names; then those that are not in the tree any more.
    pub(super) hosts: Vec<Host<'a>>,
    by_name: HashMap<&'a HostName, HostIndex>,
    /// Why nothing is failed over at present.
    pub(super) held: Option<Failover>,
    /// When the first of the lost hosts without work no longer counts for that.
    pub(super) held_until: Option<Timestamp>,
    /// Index nodes that don't agree with their replica, by service.
    pub(super) strays: BTreeMap<&'a ServiceName, Vec<(ReplicaNumber, HostIndex)>>,
    /// How many hosts were looked at for a place.
    pub(super) work: usize,
    claims: Claims<'a>,
    cluster: Option<&'a Cluster>,
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

impl<'a> Fleet<'a> {
    pub(super) fn new(cluster: &'a Cluster, context: &Context) -> Self {
        let hosts: Vec<_> = cluster.hosts.iter().map(|(name, view)| Host::new(name, Some(view), context)).collect();
        let by_name = hosts.iter().enumerate().map(|(index, host)| (host.name, index)).collect();
        let mut fleet = Self { hosts, by_name, cluster: Some(cluster), ..Self::default() };
        fleet.count_replicas(cluster, context);
        fleet.find_strays(cluster);
        fleet.claims = Claims::new(cluster, &fleet.hosts, &fleet.by_name);
        fleet.held = fleet.hold(context);
        let idle = fleet.hosts.iter().filter(|host| !host.has_work()).filter_map(|host| host.lost_since);
        fleet.held_until = idle.map(|since| after(since, LATE_LOSS)).filter(|until| *until > context.now).min();
        fleet
    }

    pub(super) fn index(&self, name: &HostName) -> Option<HostIndex> {
        self.by_name.get(name).copied()
    }

    fn count_replicas(&mut self, cluster: &'a Cluster, context: &Context) {
        let replicas = cluster.services.values().flat_map(|service| service.replicas.values());
        for name in replicas.filter_map(|replica| replica.desired.as_ref()?.good()?.node.as_ref()) {
            let index = *self.by_name.entry(name).or_insert_with(|| {
                self.hosts.push(Host::new(name, None, context));
                self.hosts.len() - 1
            });
            self.hosts[index].load += 1;
        }
    }

    fn find_strays(&mut self, cluster: &'a Cluster) {
        let services: HashMap<_, _> = cluster.services.iter().filter(|(_, service)| service.spec.is_some()).collect();
        for (index, host) in self.hosts.iter().enumerate() {
            for id in host.view.iter().flat_map(|view| view.assigned.keys()) {
                let service = services.get(&id.service);
                if service.and_then(|service| placed_on(service, id.number)) != Some(host.name) {
                    self.strays.entry(&id.service).or_default().push((id.number, index));
                }
            }
        }
    }

    /// Past the fraction, a fault of the network is likelier than that many dead machines. A host that is gone for long and
    /// has no work was dealt with: it says nothing of the network.
    fn hold(&self, context: &Context) -> Option<Failover> {
        let max_fraction = context.failover_max_fraction;
        let late = |since: Timestamp| after(since, LATE_LOSS) > context.now;
        let counts = |host: &&Host<'_>| host.was_ever_here() && (host.has_work() || host.lost_since.is_none_or(late));
        let known = || self.hosts.iter().filter(counts);
        let lost = known().filter(|host| !host.alive()).count();
        let (lost, known) = (u32::try_from(lost).ok()?, u32::try_from(known().count()).ok()?);
        let held = lost > 0 && f64::from(lost) > f64::from(known) * max_fraction;
        held.then_some(Failover { lost, known, max_fraction })
    }

    /// The hosts that take new replicas and meet the constraints.
    pub(super) fn open_to(&mut self, constraints: &'a [Selector]) -> Rc<[HostIndex]> {
        let fits = |host: &Host<'_>| host.closed.is_none() && host.fails(constraints).is_none();
        let hosts = &self.hosts;
        let open = self.open.entry(constraints).or_insert_with(|| {
            hosts.iter().enumerate().filter(|(_, host)| fits(host)).map(|(index, _)| index).collect()
        });
        Rc::clone(open)
    }

    /// What the hosts tell of what they run.
    pub(super) fn acceptance(&mut self) -> Rc<Acceptance<'a>> {
        let hosts = &self.hosts;
        Rc::clone(self.acceptance.get_or_insert_with(|| Rc::new(Acceptance::new(hosts))))
    }

    /// The domains of the label `key`.
    pub(super) fn domains(&mut self, key: &'a str) -> Rc<Domains> {
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
        self.claims.add_unit(host, id, unit, Strength::Held);
        self.given_ports.take(host, unit.port, id);
        if let Some(ports) = &mut self.ports {
            ports.take(host, unit.port, id);
        }
    }

    /// Counts the ports that are in use; for who needs one of its own.
    pub(super) fn count_ports(&mut self) {
        if let (None, Some(cluster)) = (&self.ports, self.cluster) {
            self.ports = Some(Ports::of(cluster, &self.hosts, &self.by_name));
        }
    }

    /// The replica's port on the host is free again.
    pub(super) fn release_port(&mut self, host: HostIndex, port: Option<u16>, id: &ReplicaId) {
        self.given_ports.give_back(host, port, id);
        if let Some(ports) = &mut self.ports {
            ports.give_back(host, port, id);
        }
    }

    /// All is planned as if the replica were not on the host: another takes its place.
    pub(super) fn leave_out(&mut self, host: HostIndex, id: &ReplicaId) {
        self.hosts[host].load = self.hosts[host].load.saturating_sub(1);
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
