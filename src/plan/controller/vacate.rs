//! Leaving a host in order: it drains, or the replica may not stay there. The replica is drained where it is, then
//! moved in one transaction once no process of it is left; within the budget, and only while another host fits.

use std::fmt;

use jiff::Timestamp;

use super::{
    change::Content,
    classify::{Case, Found, known},
    host::{Closed, HostIndex},
    round::Round,
    status::Standing,
};
use crate::{
    model::{ConditionKind, Mode, ReplicaId, ServiceName},
    tree::snapshot::Doc,
};

/// Why a replica has to leave its host.
pub(super) enum Unfit {
    /// The operator drains the host.
    Drains,
    /// A constraint, which the host no longer meets.
    Constraint(String),
    /// An operator asked for it, so that replicas are spread again.
    Asked,
    /// There are more on the host than `max_per_host` allows.
    Crowded,
    /// Another service's replica has its unit there.
    UnitTaken(String),
    /// The port that it is to have now is another service's replica's there.
    PortTaken(u16, String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drains => f.write_str("the host drains"),
            Self::Constraint(selector) => write!(f, "the host does not meet {selector}"),
            Self::Asked => f.write_str("it is to be less crowded elsewhere (zkops rebalance)"),
            Self::Crowded => f.write_str("more than max_per_host are on the host"),
            Self::UnitTaken(service) => write!(f, "its unit there is {service}'s"),
            Self::PortTaken(port, holder) => write!(f, "port {port} there is {holder}'s"),
        }
    }
}

impl<'a> Round<'_, 'a> {
    /// Why the replica may not stay where it is. What can't be known is no reason: labels of a host whose documents
    /// can't be read, or whose agent is away.
    pub(super) fn unfit(&self, case: &Case<'a>, index: HostIndex) -> Option<Unfit> {
        let why = self.unfit_unasked(case, index);
        let is_for_the_host = matches!(why, Some(Unfit::Drains | Unfit::Constraint(_)));
        // A surge replica is there for a while only.
        let may_be_asked = !is_for_the_host && !case.desired.surge && self.fleet.hosts[index].alive();
        if may_be_asked && self.is_asked_to_leave(case.number(), index) { Some(Unfit::Asked) } else { why }
    }

    /// The same, whether or not an operator has asked that it leave.
    pub(super) fn unfit_unasked(&self, case: &Case<'a>, index: HostIndex) -> Option<Unfit> {
        let host = &self.fleet.hosts[index];
        if host.closed == Some(Closed::Draining) {
            return Some(Unfit::Drains);
        }
        let labels_known = host.alive() && host.problems().is_empty();
        let constraint = labels_known.then(|| host.fails(&self.force.spec.placement.constraints)).flatten();
        if let Some(selector) = constraint {
            return Some(Unfit::Constraint(selector.to_string()));
        }
        if self.crowd.is_too_many(case) {
            return Some(Unfit::Crowded);
        }
        let unit_taken = self.rival(case, index).map(|service| Unfit::UnitTaken(service.to_string()));
        let port_taken = || self.port_holder(case, index).map(|(port, id)| Unfit::PortTaken(port, id.to_string()));
        unit_taken.or_else(port_taken)
    }

    /// Who has the port on the replica's host that it is to get with what is new, once its turn has come.
    pub(super) fn port_holder(&self, case: &Case<'a>, host: HostIndex) -> Option<(u16, &ReplicaId)> {
        self.course.may_update(case.number()).then(|| self.next_port_holder(case, host))?
    }

    /// The same, whether or not its turn has come. Who shares one already is not moved for it.
    fn next_port_holder(&self, case: &Case<'a>, host: HostIndex) -> Option<(u16, &ReplicaId)> {
        let port = self.placer.unit.port?;
        let has_another = case.assignment.and_then(Doc::good).is_some_and(|now| now.port != Some(port));
        has_another.then(|| self.fleet.port_of_another(host, port, &case.id))?.map(|holder| (port, holder))
    }

    fn rival(&self, case: &Case<'a>, host: HostIndex) -> Option<&ServiceName> {
        let unit_now = case.assignment.and_then(Doc::good).map(|assignment| &assignment.unit);
        self.fleet.must_yield(host, self.placer.unit, &case.id, unit_now)
    }

    /// Whether the replica, run as the service is described now, would share its unit with another on its host, or its port.
    pub(super) fn clashes(&self, case: &Case<'a>, host: HostIndex) -> bool {
        self.clashes_by_unit(case, host) || self.port_holder(case, host).is_some()
    }

    /// The same of one whose turn has not come, once it has.
    pub(super) fn will_clash(&self, case: &Case<'a>, host: HostIndex) -> bool {
        self.clashes_by_unit(case, host) || self.next_port_holder(case, host).is_some()
    }

    fn clashes_by_unit(&self, case: &Case<'a>, host: HostIndex) -> bool {
        let plain = !self.placer.unit.unit.is_template();
        let leaves_another = plain && case.desired.removing && self.placer.seats.taken_on(host) > 1;
        let own = leaves_another || self.crowd.is_too_many(case) || self.crowd.held_by_another(host, case);
        let now = case.assignment.and_then(Doc::good).map(|assignment| &assignment.unit);
        let comes_anew = now != Some(&self.placer.unit.unit.for_replica(case.number()));
        own || self.rival(case, host).is_some()
            || comes_anew && self.fleet.unit_alleged(host, self.placer.unit, &case.id)
    }

    /// One step of leaving the host.
    pub(super) fn vacate(&mut self, case: &Case<'a>, host: HostIndex, why: &Unfit) -> Standing {
        if let Some(held) = self.is_held(case) {
            self.cancel(case);
            let name = self.fleet.hosts[host].name.as_str();
            let text = format!("{why}, but it stays here: {held}");
            self.notice(ConditionKind::Waiting, name, case.number(), &text);
            return self.keep(case);
        }
        if case.down() {
            return self.vacate_down(case, host, why);
        }
        if !self.force.enabled() {
            return self.keep(case);
        }
        if case.desired.mode == Mode::Drain {
            // Under way; its seat was reserved before.
            return self.align(case, Mode::Drain, Content::Keep, "");
        }
        if let Some(deadline) = self.deadline_of(host) {
            self.wake(deadline);
        }
        if self.waits_for_successor(case) {
            return self.wait_for_successor(case, host, why);
        }
        let overdue = self.is_overdue(host);
        match self.reserve(case) {
            Ok(()) if !case.ready() || overdue || self.may_leave(case, host, why) => {
                self.align(case, Mode::Drain, Content::Keep, &why.to_string());
                Standing::Busy
            }
            Ok(()) => {
                self.cancel(case);
                self.keep(case)
            }
            Err(misfit) => {
                self.note_no_other_host(case, host, why, &misfit.to_string());
                self.keep(case)
            }
        }
    }

    /// What leaves to be brought to what is wanted, for it can't be where it is, does so as it would be updated there.
    fn may_leave(&mut self, case: &Case<'a>, host: HostIndex, why: &Unfit) -> bool {
        let leeway = self.keeps_a_rollout_up(case, host) && self.take_leeway();
        leeway || self.spend(case, &format!("leaving ({why})"))
    }

    /// Whether the time has passed that the operator gave the host to be drained within the services' budgets.
    pub(super) fn is_overdue(&self, host: HostIndex) -> bool {
        self.deadline_of(host).is_some_and(|deadline| deadline <= self.context.now)
    }

    fn deadline_of(&self, host: HostIndex) -> Option<Timestamp> {
        let spec = self.fleet.hosts[host].view?.spec.as_ref()?.good()?;
        spec.drain_deadline.filter(|_| spec.drain)
    }

    /// Another replica is started elsewhere first.
    fn wait_for_successor(&mut self, case: &Case<'a>, host: HostIndex, why: &Unfit) -> Standing {
        let number = self.course.number().filter(|_| self.course.is_active());
        if let Some(number) = number {
            let text = format!(
                "{why}: another replica is started before it leaves, once rollout {number} has ended \
                 (`zkops rollout status {}`)",
                self.name
            );
            self.notice(ConditionKind::Waiting, self.fleet.hosts[host].name.as_str(), case.number(), &text);
        } else if self.successors == 0 {
            let ask = self.ask(case, false);
            let misfit = self.placer.misfit(self.fleet, &ask).to_string();
            self.note_no_other_host(case, host, why, &misfit);
        }
        let standing = self.keep(case);
        if number.is_some() || self.successors == 0 { standing } else { Standing::Busy }
    }

    /// Nothing of it runs: one transaction moves it. When no other host fits any more, it comes back where it was.
    fn vacate_down(&mut self, case: &Case<'a>, host: HostIndex, why: &Unfit) -> Standing {
        match self.pick(case) {
            Ok(choice) => self.move_to(case, &choice, &why.to_string(), case.desired.failed_on.clone(), None),
            Err(misfit) => {
                self.note_no_other_host(case, host, why, &misfit.to_string());
                self.align(case, self.force.desired.mode, Content::Update, "no other host fits any more")
            }
        }
    }

    fn note_no_other_host(&mut self, case: &Case<'a>, host: HostIndex, why: &Unfit, misfit: &str) {
        let name = self.fleet.hosts[host].name.as_str();
        let text = format!("{why}, but no other host fits: {misfit}");
        self.notice(ConditionKind::Waiting, name, case.number(), &text);
    }

    /// Seats for replicas that are on their way already, before anyone else asks.
    pub(super) fn reserve_seats(&mut self, found: &[Found<'a>]) {
        if !self.force.enabled() {
            return;
        }
        for case in found.iter().filter_map(known).filter(|case| !case.desired.removing) {
            let Some(host) = case.host.filter(|_| case.desired.mode == Mode::Drain) else { continue };
            if self.unfit(case, host).is_some() {
                // Without a seat, it comes back where it was once it is down.
                let _ = self.reserve(case);
            }
        }
    }
}
