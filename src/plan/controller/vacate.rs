//! Leaving a host in order: it drains, or the replica may not stay there. The replica is drained where it is, then
//! moved in one transaction once no process of it is left; within the budget, and only while another host fits.

use super::{
    change::Content,
    classify::{Case, Found, known},
    host::HostIndex,
    round::Round,
    status::ReplicaOutcome,
    words::{MustMove, Subject, Waiting},
};
use crate::model::Mode;

impl<'a> Round<'_, 'a> {
    /// One step of leaving the host.
    pub(super) fn vacate(&mut self, case: &Case<'a>, host: HostIndex, why: &MustMove) -> ReplicaOutcome {
        if let Some(held) = self.course.is_held(self.places.placer.unit, case) {
            self.places.cancel(case, &self.course);
            self.note_waiting(case, host, &Waiting::Held(why, held));
            return self.keep(case);
        }
        if case.down() {
            return self.vacate_down(case, host, why);
        }
        if !self.facts.force.enabled() {
            return self.keep(case);
        }
        if case.desired.mode == Mode::Drain {
            // Under way; its seat was reserved before.
            return self.align(case, Mode::Drain, Content::Keep, "");
        }
        if let Some(deadline) = self.places.deadline_of(host) {
            self.out.wake(deadline);
        }
        if self.places.waits_for_successor(case, &self.course) {
            return self.wait_for_successor(case, host, why);
        }
        let overdue = self.places.is_overdue(host);
        match self.places.reserve(case, &self.course, &mut self.out) {
            Ok(()) if !case.ready() || overdue || self.may_leave(case, host, why) => {
                self.align(case, Mode::Drain, Content::Keep, &why.to_string());
                ReplicaOutcome::Busy
            }
            Ok(()) => {
                self.places.cancel(case, &self.course);
                self.keep(case)
            }
            Err(no_host) => {
                self.note_waiting(case, host, &Waiting::NoFeasibleHost(why, &no_host));
                self.keep(case)
            }
        }
    }

    /// What leaves to be brought to what is wanted, for it cannot be where it is, does so as it would be updated there.
    fn may_leave(&mut self, case: &Case<'a>, host: HostIndex, why: &MustMove) -> bool {
        let leeway = self.places.keeps_a_rollout_up(case, host, &self.course) && self.budget.take_leeway();
        leeway || self.spend(case, &format!("leaving ({why})"))
    }

    /// Another replica is started elsewhere first.
    fn wait_for_successor(&mut self, case: &Case<'a>, host: HostIndex, why: &MustMove) -> ReplicaOutcome {
        let number = self.course.number().filter(|_| self.course.is_active());
        if let Some(number) = number {
            self.note_waiting(case, host, &Waiting::Rollout { why, number, service: self.facts.name });
        } else if self.successors == 0 {
            let ask = self.course.ask(self.places.placer.unit, case, false);
            let no_host = self.places.placer.no_host(self.places.fleet, &ask);
            self.note_waiting(case, host, &Waiting::NoFeasibleHost(why, &no_host));
        }
        let standing = self.keep(case);
        if number.is_some() || self.successors == 0 { standing } else { ReplicaOutcome::Busy }
    }

    /// Nothing of it runs: one transaction moves it. When no other host fits any more, it comes back where it was.
    fn vacate_down(&mut self, case: &Case<'a>, host: HostIndex, why: &MustMove) -> ReplicaOutcome {
        match self.places.pick(case, &self.course, &mut self.out) {
            Ok(choice) => self.move_to(case, &choice, &why.to_string(), case.desired.failed_on.clone(), None),
            Err(no_host) => {
                self.note_waiting(case, host, &Waiting::NoFeasibleHost(why, &no_host));
                self.align(case, self.facts.force.desired.mode, Content::Update, "no other host fits any more")
            }
        }
    }

    fn note_waiting(&mut self, case: &Case<'a>, host: HostIndex, why: &Waiting<'_>) {
        self.out.notice(Subject::Host(self.places.fleet.hosts[host].name.clone()), case.number(), why);
    }

    /// Places for replicas that are on their way already, before anyone else asks.
    pub(super) fn reserve_seats(&mut self, found: &[Found<'a>]) {
        if !self.facts.force.enabled() {
            return;
        }
        for case in found.iter().filter_map(known).filter(|case| !case.desired.removing) {
            let Some(host) = case.host.filter(|_| case.desired.mode == Mode::Drain) else { continue };
            if self.places.must_move(case, host, &self.course).is_some() {
                // Without a seat, it comes back where it was once it is down.
                let _ = self.places.reserve(case, &self.course, &mut self.out);
            }
        }
    }
}
