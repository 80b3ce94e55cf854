//! The tree as the checker reads it: from the paths, by its own rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::{
    model::{
        Accepted, Assignment, HostAlive, HostName, HostSpec, Instance, Mode, MoveOrder, Moves, ReplicaDesired,
        ReplicaId, ReplicaStatus, Rollout, RolloutOrder, RolloutState, ServiceName, ServiceSpec, ServiceStatus,
        UnitName, decode,
    },
    plan::controller::Context,
    sim::tree::Tree,
};

#[derive(Default)]
pub(super) struct Picture {
    pub(super) services: BTreeMap<ServiceName, Service>,
    /// The hosts whose index has the replica.
    pub(super) indexed: BTreeMap<ReplicaId, BTreeSet<HostName>>,
    /// Index documents; `None` when unreadable.
    pub(super) assignments: BTreeMap<(HostName, ReplicaId), Option<Rc<Assignment>>>,
    /// Versions of the index nodes.
    versions: BTreeMap<(HostName, ReplicaId), i32>,
    /// Host and unit of each unit that two index nodes of a host name.
    pub(super) shared_units: BTreeSet<(HostName, String)>,
    hosts: BTreeMap<HostName, Host>,
}

#[derive(Default)]
struct Host {
    spec: Option<Result<Rc<HostSpec>, ()>>,
    alive: Option<Result<Rc<HostAlive>, ()>>,
    has_assigned: bool,
}

#[derive(Default)]
pub(super) struct Service {
    /// As it is described now, accepted or not.
    described: Option<Rc<ServiceSpec>>,
    pub(super) accepted: Option<Rc<Accepted>>,
    pub(super) replicas: BTreeMap<ReplicaId, Replica>,
    listed: BTreeSet<(HostName, ReplicaId)>,
    /// The replicas that are to leave their hosts.
    moves: Option<Rc<Moves>>,
    /// What operators said of its newest rollout, as it is written.
    pub(super) said: String,
    /// The same, and the version of the node.
    pub(super) order: Option<(Rc<RolloutOrder>, i32)>,
    /// The revisions of its configuration.
    pub(super) configs: BTreeSet<u64>,
    /// Its rollouts, as far as they can be read.
    pub(super) rollouts: BTreeMap<String, Rc<Rollout>>,
    /// The newest of them, whether it can be read or not.
    newest: Option<String>,
}

#[derive(Default)]
pub(super) struct Replica {
    pub(super) desired: Option<Result<Rc<ReplicaDesired>, ()>>,
    status: Option<Rc<ReplicaStatus>>,
}

/// A node of a tree.
#[derive(Clone, Copy)]
struct Node<'a> {
    tree: &'a Tree,
    path: &'a str,
}

impl<'a> Node<'a> {
    fn data(self) -> &'a [u8] {
        self.tree.get(self.path).unwrap()
    }

    fn version(self) -> i32 {
        self.tree.version(self.path).unwrap()
    }

    fn read<T: DeserializeOwned + 'static>(self) -> Result<Rc<T>, ()> {
        self.tree.read(self.path, |data| decode(data).map(Rc::new).map_err(|_| ())).unwrap()
    }

    fn accepted(self) -> Option<Rc<Accepted>> {
        let accepted = |data: &[u8]| decode::<ServiceStatus>(data).ok()?.accepted.map(Rc::new);
        self.tree.read(self.path, accepted).unwrap()
    }
}

impl Picture {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut picture = Self::default();
        for path in tree.paths() {
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            let node = Node { tree, path };
            match parts.as_slice() {
                ["services", name, rest @ ..] => picture.read_service(name, rest, node),
                ["hosts", name, rest @ ..] => picture.read_host(name, rest, node),
                _ => {}
            }
        }
        picture.find_shared_units();
        picture
    }

    fn read_service(&mut self, name: &str, rest: &[&str], node: Node<'_>) {
        let Ok(name) = name.parse::<ServiceName>() else { return };
        let replica_id = |number: &str| format!("{name}.{number}").parse::<ReplicaId>().ok();
        let service = self.services.entry(name.clone()).or_default();
        match rest {
            [] => service.described = node.read().ok(),
            ["status"] => service.accepted = node.accepted(),
            ["instances", instance] => {
                let host = instance.split('@').next().unwrap().parse();
                if let (Ok(host), Ok(instance)) = (host, node.read::<Instance>()) {
                    service.listed.insert((host, ReplicaId { service: name, number: instance.replica }));
                }
            }
            ["config", revision] => service.configs.extend(revision.parse::<u64>().ok()),
            ["moves"] => service.moves = node.read().ok(),
            ["rollouts"] => {
                service.said = String::from_utf8_lossy(node.data()).into_owned();
                service.order = node.read().ok().map(|order| (order, node.version()));
            }
            ["rollouts", number] => {
                service.newest = service.newest.take().max(Some((*number).to_owned()));
                service.rollouts.extend(node.read().ok().map(|record| ((*number).to_owned(), record)));
            }
            [number] => {
                if let Some(id) = replica_id(number) {
                    service.replicas.entry(id).or_default();
                }
            }
            [number, document @ ("desired" | "status")] => {
                let Some(id) = replica_id(number) else { return };
                let replica = service.replicas.entry(id).or_default();
                if *document == "desired" {
                    replica.desired = Some(node.read());
                } else {
                    replica.status = node.read().ok();
                }
            }
            _ => {}
        }
    }

    fn read_host(&mut self, name: &str, rest: &[&str], node: Node<'_>) {
        let Ok(name) = name.parse::<HostName>() else { return };
        match rest {
            [] => {
                let spec = if node.data().is_empty() { Ok(Rc::default()) } else { node.read() };
                self.hosts.entry(name).or_default().spec = Some(spec);
            }
            ["alive"] => self.hosts.entry(name).or_default().alive = Some(node.read()),
            ["assigned"] => self.hosts.entry(name).or_default().has_assigned = true,
            ["assigned", id] => {
                let Ok(id) = id.parse::<ReplicaId>() else { return };
                self.indexed.entry(id.clone()).or_default().insert(name.clone());
                self.versions.insert((name.clone(), id.clone()), node.version());
                self.assignments.insert((name, id), node.read().ok());
            }
            _ => {}
        }
    }

    fn find_shared_units(&mut self) {
        let mut users: BTreeMap<(HostName, String), usize> = BTreeMap::new();
        for ((host, _), assignment) in &self.assignments {
            if let Some(assignment) = assignment {
                *users.entry((host.clone(), assignment.unit.to_string())).or_default() += 1;
            }
        }
        self.shared_units = users.into_iter().filter(|(_, count)| *count > 1).map(|(key, _)| key).collect();
    }

    /// Replicas that came to a host where another has their port, or got a port there that another service's has: which,
    /// where, and the other.
    pub(super) fn newly_shared_ports(&self, before: &Self) -> Vec<(ReplicaId, HostName, ReplicaId)> {
        let mut found = Vec::new();
        for ((host, id), assignment) in &self.assignments {
            let port = assignment.as_ref().and_then(|assignment| assignment.template.port);
            let at_first = before.assignments.get(&(host.clone(), id.clone()));
            let had_it = at_first.is_some_and(|index| index.as_ref().is_none_or(|index| index.template.port == port));
            let was_here = at_first.is_some() || before.replica(id).and_then(Replica::node) == Some(host);
            let index_is_back = was_here && at_first.is_none();
            if port.is_none() || had_it || index_is_back {
                continue;
            }
            // What is off is in the way of newcomers alone.
            let counts =
                |other: &Assignment| other.template.port == port && !(was_here && other.mode == Mode::Disabled);
            let has_it = |other: &Option<Rc<Assignment>>| other.as_ref().is_some_and(|other| counts(other));
            let stranger = |other: &ReplicaId| other != id && !(was_here && other.service == id.service);
            let mut others = self.assignments.iter().filter(|((at, other), _)| at == host && stranger(other));
            found.extend(
                others.find(|(_, it)| has_it(it)).map(|((_, other), _)| (id.clone(), host.clone(), other.clone())),
            );
        }
        found
    }

    pub(super) fn replica(&self, id: &ReplicaId) -> Option<&Replica> {
        self.services.get(&id.service)?.replicas.get(id)
    }

    /// How many replicas of the service are on each host; where one is whose desired state cannot be read, its index
    /// says.
    pub(super) fn per_host(&self, service: &ServiceName) -> BTreeMap<HostName, usize> {
        let mut count = BTreeMap::new();
        for (id, replica) in self.services.get(service).iter().flat_map(|service| &service.replicas) {
            if let Some(node) = self.home(id, replica) {
                *count.entry(node.clone()).or_default() += 1;
            }
        }
        count
    }

    /// Where the replica is: on the host that its index names, when its desired state cannot be read.
    fn home<'a>(&'a self, id: &ReplicaId, replica: &'a Replica) -> Option<&'a HostName> {
        let indexed = || self.indexed.get(id).and_then(|hosts| hosts.first());
        if replica.readable().is_some() { replica.node() } else { indexed() }
    }

    pub(super) fn alive(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_some_and(|host| host.alive.is_some())
    }

    /// Why a replica must not be put on the host.
    pub(super) fn why_not_there(&self, name: &HostName, spec: &ServiceSpec) -> Option<String> {
        let Some(host) = self.hosts.get(name) else { return Some("unknown".to_owned()) };
        let (Some(Ok(operator)), Some(Ok(agent))) = (&host.spec, &host.alive) else {
            return Some("lost or unreadable".to_owned());
        };
        let mut labels = agent.labels.clone();
        labels.extend(operator.labels.clone());
        let failing = spec.placement.constraints.iter().find(|constraint| !constraint.matches(&labels));
        let closed = self.is_closed(name);
        failing.map(|constraint| format!("not {constraint}")).or(closed.then(|| "closed".to_owned()))
    }

    /// Whether a person has said that nothing is to come there.
    pub(super) fn is_closed(&self, name: &HostName) -> bool {
        let host = self.hosts.get(name);
        host.is_some_and(|host| matches!(&host.spec, Some(Ok(spec)) if spec.drain || spec.cordon))
    }

    /// Whether a replica of another service is on the host that may have the unit: its index does not say it, or it goes back to it.
    fn may_be_anothers(&self, unit: &UnitName, host: &HostName, own: &ServiceName) -> bool {
        let others = self.services.iter().filter(|(name, service)| *name != own && service.has_had(unit));
        let mut others = others.flat_map(|(_, service)| &service.replicas);
        others.any(|(_, replica)| replica.node() == Some(host))
    }

    /// Whether a host that is told to have nothing of the service would surely take the replica, were it of a template.
    pub(super) fn has_another_host(&self, id: &ReplicaId, spec: &ServiceSpec, tried: &BTreeSet<&HostName>) -> bool {
        let simple = spec.unit.is_template() && spec.port.is_none() && spec.max_per_host().is_none();
        let unit = spec.unit.for_replica(id.number);
        // Where others are to have the unit, newcomers keep away.
        let may_have = |other: &Service| {
            let described = other.described.as_ref().is_some_and(|spec| spec.unit.file_name() == unit.file_name());
            described || other.has_had(&unit)
        };
        let alone = self.services.iter().all(|(name, other)| *name == id.service || !may_have(other));
        let taken = |name: &HostName| {
            let mut here = self.assignments.iter().filter(|((host, other), _)| host == name && other != id);
            here.any(|(_, assignment)| assignment.as_ref().is_none_or(|it| it.unit.file_name() == unit.file_name()))
        };
        let fits = |name: &HostName| {
            !tried.contains(name) && self.why_not_there(name, spec).is_none() && !self.refuses(name, spec)
        };
        let ready = |host: &Host| host.has_assigned;
        simple && alone && self.hosts.iter().any(|(name, host)| ready(host) && fits(name) && !taken(name))
    }

    /// Whether the host tells that it surely does not run what replicas run by this description: no pattern begins as the unit.
    pub(super) fn refuses(&self, name: &HostName, spec: &ServiceSpec) -> bool {
        let alive = self.hosts.get(name).and_then(|host| host.alive.as_ref()?.as_ref().ok());
        alive.and_then(|alive| alive.accepts.as_ref()).is_some_and(|accepts| {
            let mut told = accepts.units.patterns().filter_map(|pattern| pattern.split(['*', '?', '[', '@']).next());
            !told.any(|start| spec.unit.as_str().starts_with(start)) || spec.unit_file.is_some() && !accepts.unit_files
        })
    }

    /// How many replicas of the service there may be so that others can leave their hosts, which they are started before.
    pub(super) fn successors(&self, name: &ServiceName) -> usize {
        let Some(service) = self.services.get(name) else { return 0 };
        service.replicas.iter().filter(|(id, replica)| !replica.is_surge() && self.leaves(id, replica, service)).count()
    }

    /// Whether another may be started before the replica leaves its host, which it has to.
    pub(super) fn leaves(&self, id: &ReplicaId, replica: &Replica, service: &Service) -> bool {
        let Some(accepted) = &service.accepted else { return false };
        let first = accepted.service.placement.move_order == MoveOrder::StartFirst
            || accepted.service.budget(service.wanted()).0 == 0;
        let surge = !accepted.service.rollout.max_surge.is_zero();
        let first = |node: &&HostName| (first || surge && service.asks(id, node)) && !replica.is_removing();
        let Some(node) = replica.node().filter(first) else { return false };
        self.replica(id).is_some() && self.must_leave(id, replica, node, &accepted.service, service)
    }

    /// Whether the host is draining, and the time given to that has passed.
    pub(super) fn is_overdue(&self, name: &HostName, context: &Context) -> bool {
        let host = self.hosts.get(name);
        let spec = host.and_then(|host| host.spec.as_ref()?.as_ref().ok()).filter(|spec| spec.drain);
        spec.and_then(|spec| spec.drain_deadline).is_some_and(|deadline| deadline <= context.now)
    }

    /// Whether a rule says that the replica may not stay on its host.
    pub(super) fn must_leave(
        &self,
        id: &ReplicaId,
        replica: &Replica,
        name: &HostName,
        spec: &ServiceSpec,
        service: &Service,
    ) -> bool {
        let host = self.hosts.get(name);
        let drains = host.is_some_and(|host| matches!(&host.spec, Some(Ok(spec)) if spec.drain));
        let misfit = self.why_not_there(name, spec).is_some_and(|why| why.starts_with("not "));
        let stay = service.replicas.iter().filter(|(_, other)| !other.is_removing());
        let here = stay.filter(|(id, other)| self.home(id, other) == replica.node());
        let crowded = spec.max_per_host().is_some_and(|max| here.count() > usize::try_from(max).unwrap());
        let unit = spec.unit.for_replica(id.number);
        let shares = |other: &Assignment| {
            other.unit == unit
                || other.unit.file_name() == unit.file_name() && other.template.unit_file != spec.unit_file
        };
        let others = self.assignments.iter().filter(|((host, other), _)| host == name && other.service != id.service);
        // What an index that cannot be read names is anyone's guess, and of one that is gone what its service has had.
        let mut others = others.map(|(_, assignment)| assignment.as_deref());
        let shared = others.any(|other| other.is_none_or(shares)) || self.may_be_anothers(&unit, name, &id.service);
        let port = spec.port.is_some_and(|port| self.is_to_share_port(port, name, id));
        drains || misfit || crowded || service.asks(id, name) || shared || port
    }

    /// Whether the replica cannot be brought where it is to what is rolled out, for what else is there.
    pub(super) fn clashes(&self, id: &ReplicaId, replica: &Replica, service: &Service) -> bool {
        let (Some(node), Some(spec)) = (replica.node(), service.spec()) else { return false };
        // Those of its own service count until nothing of them is left.
        let own = |(other, it): (&ReplicaId, &Replica)| other != id && self.home(other, it) == Some(node);
        let placed = self.services[&id.service].replicas.iter().any(own);
        let indexed = |(other, hosts): (&ReplicaId, &BTreeSet<HostName>)| {
            other != id && other.service == id.service && hosts.contains(node)
        };
        let alone = spec.max_per_host().is_some() || !spec.unit.is_template();
        alone && (placed || self.indexed.iter().any(indexed)) || self.must_leave(id, replica, node, &spec, service)
    }

    /// Whether the port, which the replica does not have yet, is one that a replica of another service has or may have there.
    fn is_to_share_port(&self, port: u16, host: &HostName, id: &ReplicaId) -> bool {
        let own = self.assignments.get(&(host.clone(), id.clone())).and_then(Option::as_ref);
        let mut assigned = self.assignments.iter().filter(|((at, other), _)| at == host && other.service != id.service);
        let others = || self.services.iter().filter(|(name, _)| **name != id.service);
        let described = |service: &Service| {
            let accepted = service.accepted.iter().map(|accepted| accepted.service.port);
            accepted
                .chain(service.rollouts.values().map(|record| record.revision.template.port))
                .any(|it| it == Some(port))
        };
        let placed = |service: &Service| service.replicas.values().any(|replica| replica.node() == Some(host));
        own.is_some_and(|own| own.template.port != Some(port))
            && (assigned.any(|(_, other)| other.as_ref().is_some_and(|other| other.template.port == Some(port)))
                || others().any(|(_, service)| described(service) && placed(service)))
    }

    /// Whether the replica serves, as its agent and `instances` say.
    pub(super) fn is_ready(&self, id: &ReplicaId, replica: &Replica) -> bool {
        let Some(Ok(desired)) = &replica.desired else { return false };
        let (Some(node), Some(status)) = (&desired.node, &replica.status) else { return false };
        let version = self.versions.get(&(node.clone(), id.clone())).copied();
        let answered = status.assignment.is_none() || status.assignment == version;
        let listed = self.services[&id.service].listed.contains(&(node.clone(), id.clone()));
        let same = status.version == desired.version && status.config_version == desired.config_version;
        let running = replica.state_at(node).as_deref() == Some("running") && same && answered;
        running && listed && !status.unconfirmed && self.alive(node) && desired.mode == Mode::Enabled
    }

    /// Whether a replica may be replaced because its host is gone.
    pub(super) fn is_lost(&self, host: &HostName, replica: &Replica, spec: &ServiceSpec, context: &Context) -> bool {
        let orderly = replica.state_at(host).as_deref() == Some("stopped") && !spec.wait_for_reboot;
        let over = orderly || overdue(host, spec.lost_after.get(), context);
        !self.alive(host) && over && !self.held(context)
    }

    fn held(&self, context: &Context) -> bool {
        let named = self.services.values().flat_map(|service| service.replicas.values()).filter_map(Replica::node);
        let joined = self.hosts.iter().filter(|(_, host)| host.alive.is_some() || host.has_assigned);
        // One that only a replica names was removed for good.
        let known: BTreeSet<&HostName> = joined.map(|(name, _)| name).collect();
        let working: BTreeSet<&HostName> = named.chain(self.indexed.values().flatten()).collect();
        // One that is gone for more than 5 minutes and has nothing was dealt with.
        let counts = |host: &&HostName| {
            self.alive(host) || working.contains(*host) || !overdue(host, Duration::from_secs(300), context)
        };
        let known: BTreeSet<&HostName> = known.into_iter().filter(counts).collect();
        let lost = known.iter().filter(|host| !self.alive(host)).count();
        #[allow(clippy::cast_precision_loss)]
        let fraction = lost as f64 / known.len() as f64;
        fraction > context.failover_max_fraction
    }
}

impl Service {
    /// The description that counts: what replicas run by is what was rolled out, or back.
    pub(super) fn spec(&self) -> Option<ServiceSpec> {
        let mut spec = self.accepted.as_ref()?.service.clone();
        // What a record brings that cannot be read, nobody knows.
        let newest = self.newest.as_ref().and_then(|number| self.rollouts.get(number));
        let from = newest.filter(|newest| newest.back).and_then(|newest| newest.from);
        let back = from.and_then(|from| self.rollouts.get(&format!("{from:010}")));
        if let Some(record) = back.or(newest) {
            spec.go_back_to(&record.revision);
        }
        Some(spec)
    }

    /// Whether replicas are being brought to something.
    pub(super) fn is_rolling(&self) -> bool {
        let newest = self.rollouts.values().next_back();
        newest.is_some_and(|it| matches!(it.state, RolloutState::Running | RolloutState::RollingBack))
    }

    /// Whether the replica was told to run what they are being brought to.
    pub(super) fn runs_what_is_rolled_out(&self, replica: &Replica) -> bool {
        let Some(newest) = self.rollouts.values().next_back() else { return false };
        let back = || self.rollouts.get(&format!("{:010}", newest.from?));
        let brought = if newest.back { back() } else { Some(newest) };
        let told = replica.revision().map(|(_, version, config)| (version, config));
        brought.is_some_and(|it| told == Some((it.revision.version.as_deref(), it.revision.config_version)))
    }

    /// Whether its replicas have, or had, units of the same file.
    fn has_had(&self, unit: &UnitName) -> bool {
        let accepted = self.accepted.iter().map(|accepted| &accepted.service.unit);
        let brought = self.rollouts.values().map(|record| &record.revision.unit);
        accepted.chain(brought).any(|it| it.file_name() == unit.file_name())
    }

    /// How the replica is to run: as its rollout brought it, or else as all are.
    pub(super) fn spec_of(&self, replica: &Replica) -> Option<ServiceSpec> {
        let mut spec = self.spec()?;
        let told = replica.revision().and_then(|(rollout, ..)| self.rollouts.get(&format!("{:010}", rollout?)));
        if let Some(record) = told {
            spec.go_back_to(&record.revision);
        }
        Some(spec)
    }

    /// Whether an operator has asked that the replica leave the host.
    fn asks(&self, id: &ReplicaId, host: &HostName) -> bool {
        self.moves.as_ref().is_some_and(|moves| moves.leave.get(&id.number) == Some(host))
    }

    /// How many replicas are not on their way out; what cannot be read counts.
    pub(super) fn staying(&self) -> usize {
        self.replicas.values().filter(|replica| !replica.is_removing()).count()
    }

    pub(super) fn wanted(&self) -> usize {
        let accepted = self.accepted.as_ref().filter(|accepted| !accepted.service.deleting);
        accepted.map_or(0, |accepted| usize::try_from(accepted.desired.replicas).unwrap())
    }

    /// How many replicas there may be beyond those wanted: only while a rollout is under way. Ahead of its first node,
    /// a newcomer counts as well.
    pub(super) fn surge(&self) -> usize {
        let newest = self.rollouts.values().next_back();
        let accepted = self.accepted.as_ref().filter(|_| newest.is_some_and(|newest| newest.ended.is_none()));
        accepted.map_or(0, |accepted| accepted.service.rollout.max_surge.ceil(self.wanted()))
    }

    /// Whether a host is gone so long that what was on it is given up.
    pub(super) fn given_up(&self, picture: &Picture, host: &HostName, context: &Context) -> bool {
        let longest = |accepted: &Accepted| accepted.service.lost_after.get();
        let lost_after = self.accepted.as_deref().map_or(Duration::ZERO, longest);
        !picture.alive(host) && overdue(host, lost_after, context)
    }
}

fn overdue(host: &HostName, lost_after: Duration, context: &Context) -> bool {
    let since = context.lost_since.get(host).copied().unwrap_or(context.now);
    context.now.duration_since(since).unsigned_abs() >= lost_after
}

impl Replica {
    fn readable(&self) -> Option<&ReplicaDesired> {
        self.desired.as_ref()?.as_deref().ok()
    }

    pub(super) fn node(&self) -> Option<&HostName> {
        self.readable()?.node.as_ref()
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        Some(self.readable()?.mode)
    }

    pub(super) fn is_surge(&self) -> bool {
        self.readable().is_some_and(|desired| desired.surge)
    }

    /// What it was told last: the rollout's number, version and configuration.
    pub(super) fn revision(&self) -> Option<(Option<u64>, Option<&str>, Option<u64>)> {
        let desired = self.readable()?;
        Some((desired.rollout, desired.version.as_deref(), desired.config_version))
    }

    /// On how many hosts it failed within 10 minutes.
    pub(super) fn late_failures(&self, now: jiff::Timestamp) -> usize {
        self.failed_lately_on(now).count()
    }

    pub(super) fn is_removing(&self) -> bool {
        self.readable().is_some_and(|desired| desired.removing)
    }

    /// What the agent of the host says of it.
    pub(super) fn state_at(&self, host: &HostName) -> Option<String> {
        self.status.as_ref().filter(|status| status.node == *host).map(|status| status.state.to_string())
    }

    /// Whether its host's agent says that it failed, or was refused, or that its update was.
    pub(super) fn has_failed(&self) -> bool {
        let state = self.node().and_then(|node| self.state_at(node));
        self.is_rejected() || state.is_some_and(|state| state == "failed" || state == "refused")
    }

    /// Whether its agent says that its update was given up.
    pub(super) fn is_rejected(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.rejected)
    }

    /// The hosts on which it failed within 10 minutes.
    pub(super) fn failed_lately_on(&self, now: jiff::Timestamp) -> impl Iterator<Item = &HostName> {
        let late = move |at: jiff::Timestamp| now.duration_since(at).unsigned_abs() < Duration::from_secs(600);
        let failed = self.readable().into_iter().flat_map(|desired| &desired.failed_on);
        failed.filter(move |failed| late(failed.at)).map(|failed| &failed.node)
    }

    /// Whether its host's agent says that no process is left.
    pub(super) fn is_down(&self) -> bool {
        let state = self.node().and_then(|node| self.state_at(node));
        !self.is_retrying() && state.is_some_and(|state| ["stopped", "failed", "refused"].contains(&state.as_str()))
    }

    /// Whether its agent says that it is about to start it again.
    pub(super) fn is_retrying(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.retrying)
    }
}
