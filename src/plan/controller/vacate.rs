//! Leaving a host in order: it drains, or the replica may not stay there. The replica is drained where it is, then
//! moved in one transaction once no process of it is left; within the budget, and only while another host fits.

use super::{
    change::Content,
    classify::{Replica, ReplicaKind, managed},
    host::HostIndex,
    round::Round,
    status::ReplicaOutcome,
    words::{MustMove, Subject, Waiting},
};
use crate::model::Mode;

impl<'a> Round<'_, 'a> {
    /// One step of leaving the host.
    pub(super) fn vacate(&mut self, replica: &Replica<'a>, host: HostIndex, why: &MustMove) -> ReplicaOutcome {
        if let Some(held) = self.rollout.is_held(self.places.placer.unit, replica) {
            self.places.cancel(replica, &self.rollout);
            self.note_waiting(replica, host, &Waiting::Held(why, held));
            return self.keep(replica);
        }
        if replica.down() {
            return self.vacate_down(replica, host, why);
        }
        if !self.facts.force.enabled() {
            return self.keep(replica);
        }
        if replica.desired.mode == Mode::Drain {
            // Under way; its seat was reserved before.
            return self.align(replica, Mode::Drain, Content::Keep, "");
        }
        if let Some(deadline) = self.places.deadline_of(host) {
            self.out.wake(deadline);
        }
        if self.places.waits_for_successor(replica, &self.rollout) {
            return self.wait_for_successor(replica, host, why);
        }
        let overdue = self.places.is_overdue(host);
        match self.places.reserve(replica, &self.rollout, &mut self.out) {
            Ok(()) if !replica.ready() || overdue || self.may_leave(replica, host, why) => {
                self.align(replica, Mode::Drain, Content::Keep, &why.to_string());
                ReplicaOutcome::Busy
            }
            Ok(()) => {
                self.places.cancel(replica, &self.rollout);
                self.keep(replica)
            }
            Err(no_host) => {
                self.note_waiting(replica, host, &Waiting::NoFeasibleHost(why, &no_host));
                self.keep(replica)
            }
        }
    }

    /// What leaves to be brought to what is wanted, for it cannot be where it is, does so as it would be updated there.
    fn may_leave(&mut self, replica: &Replica<'a>, host: HostIndex, why: &MustMove) -> bool {
        let leeway = self.places.keeps_a_rollout_up(replica, host, &self.rollout) && self.budget.take_leeway();
        leeway || self.spend(replica, &format!("leaving ({why})"))
    }

    /// Another replica is started elsewhere first.
    fn wait_for_successor(&mut self, replica: &Replica<'a>, host: HostIndex, why: &MustMove) -> ReplicaOutcome {
        let number = self.rollout.number().filter(|_| self.rollout.is_active());
        if let Some(number) = number {
            self.note_waiting(replica, host, &Waiting::Rollout { why, number, service: self.facts.name });
        } else if self.successors == 0 {
            let ask = self.rollout.ask(self.places.placer.unit, replica, false);
            let no_host = self.places.placer.no_host(self.places.fleet, &ask);
            self.out.wake_after_cool_off(replica);
            self.note_waiting(replica, host, &Waiting::NoFeasibleHost(why, &no_host));
        }
        let standing = self.keep(replica);
        if number.is_some() || self.successors == 0 { standing } else { ReplicaOutcome::Busy }
    }

    /// Nothing of it runs: one transaction moves it. When no other host fits any more, it comes back where it was.
    fn vacate_down(&mut self, replica: &Replica<'a>, host: HostIndex, why: &MustMove) -> ReplicaOutcome {
        match self.places.pick(replica, &self.rollout, &mut self.out) {
            Ok(choice) => self.move_to(replica, &choice, &why.to_string(), replica.desired.failed_on.clone(), None),
            Err(no_host) => {
                self.note_waiting(replica, host, &Waiting::NoFeasibleHost(why, &no_host));
                self.align(replica, self.facts.force.desired.mode, Content::Update, "no other host fits any more")
            }
        }
    }

    fn note_waiting(&mut self, replica: &Replica<'a>, host: HostIndex, why: &Waiting<'_>) {
        self.out.notice(Subject::Host(self.places.fleet.hosts[host].name.clone()), replica.number(), why);
    }

    /// Places for replicas that are on their way already, before anyone else asks.
    pub(super) fn reserve_seats(&mut self, found: &[ReplicaKind<'a>]) {
        if !self.facts.force.enabled() {
            return;
        }
        for replica in found.iter().filter_map(managed).filter(|replica| !replica.desired.removing) {
            let Some(host) = replica.host.filter(|_| replica.desired.mode == Mode::Drain) else { continue };
            if self.places.must_move(replica, host, &self.rollout).is_some() {
                // Without a seat, it comes back where it was once it is down.
                let _ = self.places.reserve(replica, &self.rollout, &mut self.out);
            }
        }
    }
}
