//! Where a replica goes: filter → rank → select. Deterministic: same fleet, same choice.
//!
//! Filter: the host is alive and open, meets every constraint, accepts what it would have to run, has room for one more of
//! this service, its unit is not taken by another service, its port by no other replica, and the replica did not just fail
//! there. Rank: the spread label's value with the fewest of this service, then the fewest of this service on the host, then
//! the fewest replicas in all, then the name.

use std::{ptr, rc::Rc};

use jiff::Timestamp;

use super::{
    claims::UnitRef,
    cool_off::late_failures,
    fleet::{Acceptance, Fleet},
    host::HostIndex,
    no_feasible_host::{Holder, NoFeasibleHost, Obstacle},
    occupancy::{Occupancy, View},
};
use crate::model::{FailedOn, HostName, Objection, ReplicaId, Revision, RunSettings, ServiceSpec};

/// What a place is asked for.
pub(super) struct Ask<'q, 'a> {
    pub(super) id: &'q ReplicaId,
    /// What it runs there at first, while its turn for what the others are brought to has not come. A place does for both.
    pub(super) first: Option<&'a Revision>,
    /// Where it is now, which is not an answer.
    pub(super) from: Option<HostIndex>,
    /// Whether its processes are still there for a while: the seat is for later.
    pub(super) ahead: bool,
    pub(super) failed_on: &'q [FailedOn],
    pub(super) now: Timestamp,
}

/// Where a replica goes, and why there.
pub(super) struct Choice {
    pub(super) host: HostIndex,
    pub(super) reason: String,
}

/// Places one service's replicas.
pub(super) struct Placer<'a> {
    spec: &'a ServiceSpec,
    /// What they run as; see [`run_as`](Self::run_as).
    pub(super) unit: UnitRef<'a>,
    /// And how.
    run: RunSettings<'a>,
    /// What hosts have against that, or against what a replica runs at first, whichever was asked last.
    objections: Option<(Option<&'a Revision>, Rc<Objections<'a>>)>,
    pub(super) occupancy: Occupancy<'a>,
    /// Why a replica with no past fits nowhere, whatever its number; holds until a seat is given back.
    full: Option<NoFeasibleHost>,
}

/// What hosts have against running a service's replicas.
struct Objections<'a> {
    acceptance: Rc<Acceptance<'a>>,
    /// By the hosts' answers.
    to: Vec<Option<Objection>>,
}

impl Objections<'_> {
    fn of(&self, host: HostIndex) -> Option<&Objection> {
        self.to[*self.acceptance.of.get(host)?].as_ref()
    }
}

/// What is to be placed.
struct Asked<'p, 'a> {
    spec: &'a ServiceSpec,
    /// As what: what it is brought to, and what it runs at first.
    units: (UnitRef<'a>, Option<UnitRef<'a>>),
    objections: Rc<Objections<'a>>,
    occupancy: View<'p>,
}

/// Fewest first; see the module.
type Rank = (u32, u32, u32, HostIndex);

impl<'a> Placer<'a> {
    pub(super) fn new(spec: &'a ServiceSpec) -> Self {
        let occupancy = Occupancy::new(spec.placement.spread.as_deref());
        Self { spec, unit: spec.into(), run: spec.into(), objections: None, occupancy, full: None }
    }

    /// From now on they run like this.
    pub(super) fn run_as(&mut self, revision: &'a Revision) {
        (self.unit, self.run, self.objections, self.full) = (revision.into(), (&revision.template).into(), None, None);
    }

    fn asked(&mut self, fleet: &mut Fleet<'a>, first: Option<&'a Revision>) -> Asked<'_, 'a> {
        let units = (self.unit, first.map(UnitRef::from));
        if units.0.port.or(units.1.and_then(|first| first.port)).is_some() {
            fleet.count_ports();
        }
        let objections = self.objections(fleet, first);
        Asked { spec: self.spec, units, objections, occupancy: self.occupancy.view(fleet) }
    }

    /// What hosts have against what the replica would run.
    fn objections(&mut self, fleet: &mut Fleet<'a>, first: Option<&'a Revision>) -> Rc<Objections<'a>> {
        if let Some((of, known)) = &self.objections
            && of.map(ptr::from_ref) == first.map(ptr::from_ref)
        {
            return Rc::clone(known);
        }
        let (unit, run) = first.map_or((self.unit.unit, self.run), |first| (&first.unit, (&first.template).into()));
        let acceptance = fleet.acceptance();
        fleet.work += acceptance.patterns;
        let to = acceptance.answers.iter().map(|alive| alive.and_then(|alive| alive.objection(unit, &run)));
        let to = to.collect();
        let objections = Rc::new(Objections { acceptance, to });
        self.objections = Some((first, Rc::clone(&objections)));
        objections
    }

    /// Chooses a host, and takes the seat on it; the one at [`Ask::from`] is given back.
    ///
    /// # Errors
    /// [`NoFeasibleHost`]: no host fits; nothing has changed.
    pub(super) fn pick(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>) -> Result<Choice, NoFeasibleHost> {
        let unburdened = ask.from.is_none() && ask.failed_on.is_empty() && ask.first.is_none();
        if let Some(no_host) = self.full.as_ref().filter(|_| unburdened) {
            return Err(no_host.clone());
        }
        if let Some(from) = ask.from {
            self.occupancy.give_back(fleet, from);
        }
        match self.best(fleet, ask) {
            Some(choice) => {
                self.occupy(fleet, ask, choice.host);
                Ok(choice)
            }
            None => Err(self.give_up(fleet, ask, unburdened)),
        }
    }

    /// Takes back what [`pick`](Self::pick) did.
    pub(super) fn unpick(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>, choice: &Choice) {
        self.full = None;
        self.occupancy.give_back(fleet, choice.host);
        for port in [self.unit.port, ask.first.and_then(|first| first.template.port)] {
            fleet.release_port(choice.host, port, ask.id);
        }
        fleet.load(choice.host, true);
        if let Some(from) = ask.from {
            if ask.ahead {
                self.occupancy.forget(fleet, from);
            }
            self.occupancy.seat(from, true);
            fleet.load(from, false);
        }
    }

    fn occupy(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>, host: HostIndex) {
        self.occupancy.seat(host, true);
        fleet.load(host, false);
        if let Some(from) = ask.from {
            self.full = None;
            fleet.load(from, true);
            if ask.ahead {
                self.occupancy.linger(fleet, from);
            }
        }
        for unit in [self.unit].into_iter().chain(ask.first.map(UnitRef::from)) {
            fleet.claim(host, unit, ask.id);
        }
    }

    fn give_up(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>, unburdened: bool) -> NoFeasibleHost {
        let no_host = self.no_host(fleet, ask);
        if let Some(from) = ask.from {
            self.occupancy.seat(from, true);
        }
        if unburdened {
            self.remember(Some(no_host.clone()));
        }
        no_host
    }

    fn best(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>) -> Option<Choice> {
        let open = fleet.open_to(&self.spec.placement.constraints);
        fleet.work += open.len();
        let asked = self.asked(fleet, ask.first);
        let fits =
            |host: HostIndex| asked.objections.of(host).is_none() && obstacle(&asked, fleet, ask, host).is_none();
        let mut best: Option<Rank> = None;
        for &host in open.iter() {
            let (domain, here) = asked.occupancy.crowd(host);
            let rank = (domain, here, fleet.hosts[host].load, host);
            // Far cheaper than to ask whether it fits: few are ever the best so far.
            if best.is_none_or(|best| rank < best) && fits(host) {
                best = Some(rank);
            }
        }
        let rank = best?;
        let is_only = !open.iter().any(|&other| other != rank.3 && fits(other));
        Some(Choice { host: rank.3, reason: self.explain(fleet, rank, is_only) })
    }

    fn explain(&self, fleet: &Fleet<'a>, (_, here, load, host): Rank, is_only: bool) -> String {
        let host = &fleet.hosts[host];
        let spread = self.spec.placement.spread.as_deref();
        let spread = spread.and_then(|key| Some(format!(" in {key}={}", host.label(key)?))).unwrap_or_default();
        let of = if is_only { "the only eligible host" } else { "the best eligible host" };
        format!("{of}{spread}, with {here} of this service's replicas and {load} in total")
    }

    /// What rules out each host, in the order of [`Fleet::hosts`]; `None` for one that fits.
    pub(super) fn obstacles(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>) -> Vec<Option<Obstacle>> {
        fleet.work += fleet.hosts.len();
        let asked = self.asked(fleet, ask.first);
        (0..fleet.hosts.len()).map(|index| why_not(&asked, fleet, ask, index)).collect()
    }

    /// Whether any host fits.
    pub(super) fn fits(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>) -> bool {
        if ask.first.is_none() && self.full.is_some() {
            return false;
        }
        let open = fleet.open_to(&self.spec.placement.constraints);
        fleet.work += open.len();
        let asked = self.asked(fleet, ask.first);
        if open.iter().any(|&host| obstacle(&asked, fleet, ask, host).is_none()) {
            return true;
        }
        if ask.first.is_none() {
            let anyone = Ask { from: None, failed_on: &[], ..*ask };
            let obstacles: Option<Vec<Obstacle>> = self.obstacles(fleet, &anyone).into_iter().collect();
            self.remember(obstacles.map(NoFeasibleHost::new));
        }
        false
    }

    /// What fits nowhere for what it is alone need not be asked for again.
    fn remember(&mut self, no_host: Option<NoFeasibleHost>) {
        self.full = no_host.filter(|no_host| !no_host.depends_on_number());
    }

    /// Why no host fits.
    pub(super) fn no_host(&mut self, fleet: &mut Fleet<'a>, ask: &Ask<'_, 'a>) -> NoFeasibleHost {
        let obstacles = self.obstacles(fleet, ask);
        NoFeasibleHost::new(obstacles.into_iter().map(|obstacle| obstacle.unwrap_or(Obstacle::Full)))
    }
}

/// What keeps the replica off a host.
fn why_not(asked: &Asked<'_, '_>, fleet: &Fleet<'_>, ask: &Ask<'_, '_>, index: HostIndex) -> Option<Obstacle> {
    let host = &fleet.hosts[index];
    if ask.from == Some(index) {
        return Some(Obstacle::Here);
    }
    let closed = host.closed.map(Obstacle::Closed);
    let constraint = || host.fails(&asked.spec.placement.constraints).map(|it| Obstacle::Constraint(it.to_string()));
    closed.or_else(constraint).or_else(|| obstacle(asked, fleet, ask, index))
}

/// What keeps the replica off a host that is open and meets the constraints.
fn obstacle(asked: &Asked<'_, '_>, fleet: &Fleet<'_>, ask: &Ask<'_, '_>, host: HostIndex) -> Option<Obstacle> {
    let Asked { spec, units: (unit, first), objections, occupancy } = asked;
    let units = || [unit].into_iter().chain(first);
    if ask.from == Some(host) {
        return Some(Obstacle::Here);
    }
    if let Some(objection) = objections.of(host) {
        return Some(Obstacle::NotAccepted(objection.clone()));
    }
    if units().filter_map(|unit| unit.max_per_host(spec)).any(|max| occupancy.taken_on(host) >= max) {
        return Some(Obstacle::Full);
    }
    if recently_failed(ask, fleet.hosts[host].name) {
        return Some(Obstacle::FailedThere);
    }
    let taken = units().find_map(|unit| fleet.unit_taken(host, *unit, ask.id));
    let taken = taken.map(|service| Obstacle::UnitTaken(service.clone()));
    taken.or_else(|| units().find_map(|unit| port_taken(*unit, occupancy, fleet, ask, host)))
}

/// Two replicas of the service that share a port never fit on one host, whatever each has at present.
fn port_taken(
    unit: UnitRef<'_>,
    occupancy: &View<'_>,
    fleet: &Fleet<'_>,
    ask: &Ask<'_, '_>,
    host: HostIndex,
) -> Option<Obstacle> {
    let port = unit.port?;
    let holder = fleet.port_taken(host, unit.port, ask.id).map(|(_, by)| Holder::from(by));
    let own = || (occupancy.taken_on(host) > 0).then(|| Holder { service: ask.id.service.clone(), replica: None });
    holder.or_else(own).map(|by| Obstacle::PortTaken(port, by))
}

fn recently_failed(ask: &Ask<'_, '_>, name: &HostName) -> bool {
    late_failures(ask.failed_on, ask.now).any(|failed| failed.node == *name)
}
