//! Leaving a host without asking it: it is lost, or the replica fails there.

use super::{
    after,
    classify::Replica,
    cool_off::late_failures,
    host::HostIndex,
    notice::clip,
    round::Round,
    status::ReplicaOutcome,
    words::{Failing, LostHost, Stays, Subject},
};
use crate::{
    model::{FailedOn, ReplicaState, ReplicaStatus},
    tree::txn::Cause,
};

impl<'a> Round<'_, 'a> {
    /// On a host without `alive`: waits for its time to run out, then places the replica elsewhere. After an orderly
    /// shutdown nothing has to be waited for. A replica that is not to run needn't move.
    pub(super) fn leave_lost_host(&mut self, replica: &Replica<'a>, host: HostIndex) -> Option<ReplicaOutcome> {
        let since = self.places.fleet.hosts[host].lost_since.filter(|_| self.facts.force.enabled())?;
        let name = self.places.fleet.hosts[host].name;
        let deadline = after(since, self.facts.force.spec.lost_after);
        let subject = Subject::Host(name.clone());
        let orderly = self.facts.was_shut_down(replica);
        if !orderly && self.facts.context.now < deadline {
            self.out.wake(deadline);
            self.out.notice(subject, replica.number(), &LostHost::MovesAt { since, deadline });
            self.keep(replica);
            return Some(ReplicaOutcome::Busy);
        }
        if let Some(held) = self.places.fleet.hold.held {
            self.out.notices.add(Subject::Service, None, &held);
            if let Some(until) = self.places.fleet.hold.until {
                self.out.wake(until);
            }
            self.keep(replica);
            return Some(ReplicaOutcome::Stuck);
        }
        if let Some(held) = self.rollout.is_held(self.places.placer.unit, replica) {
            self.out.notice(subject, replica.number(), &LostHost::Held(since, held));
            self.keep(replica);
            return Some(ReplicaOutcome::Stuck);
        }
        let why =
            if orderly { format!("{name} was shut down") } else { format!("{name} has been lost since {since:.0}") };
        Some(match self.places.pick(replica, &self.rollout, &mut self.out) {
            Ok(choice) => self.move_to(replica, &choice, &why, replica.desired.failed_on.clone(), Some(Cause::Lost)),
            Err(no_host) => {
                self.out.notice(subject, replica.number(), &LostHost::NoFeasibleHost(since, &no_host));
                self.keep(replica);
                ReplicaOutcome::Stuck
            }
        })
    }

    /// Past its start limit, or refused: elsewhere, if there is another host; else it stays, its agent tries again.
    pub(super) fn leave_failing_host(&mut self, replica: &Replica<'a>, host: HostIndex) -> Option<ReplicaOutcome> {
        let to_be_updated = self.rollout.may_update(replica.number());
        let failed = replica.failed() && replica.down();
        if !(self.facts.force.enabled() && failed) || to_be_updated || self.rollout.suspects(replica) {
            return None;
        }
        let status = replica.status?;
        let name = self.places.fleet.hosts[host].name;
        let said = clip(status.message.as_deref().unwrap_or("no message"), 200);
        let refused = status.state == ReplicaState::Refused;
        let failing = |stays| Failing { refused, said: &said, stays };
        let subject = Subject::Host(name.clone());
        if let Some(brake) = self.failures.brake(replica, self.facts) {
            self.out.notice(subject, replica.number(), &failing(Stays::Brake(brake)));
            self.out.held += 1;
            if let Some(at) = self.failures.until {
                self.out.wake(at);
            }
            return None;
        }
        if let Some(held) = self.rollout.is_held(self.places.placer.unit, replica) {
            self.out.notice(subject, replica.number(), &failing(Stays::Held(held)));
            return None;
        }
        match self.places.pick(replica, &self.rollout, &mut self.out) {
            Ok(choice) => {
                let why = format!("{} on {name}: {said}", status.state);
                let cause = if refused { Cause::Refused } else { Cause::Failed };
                let failed_on = self.remember(replica, host);
                self.failures.add();
                Some(self.move_to(replica, &choice, &why, failed_on, Some(cause)))
            }
            Err(no_host) => {
                self.out.notice(subject, replica.number(), &failing(Stays::NoFeasibleHost(&no_host)));
                None
            }
        }
    }

    /// Why no other host is tried for the replica at present, if so, whatever there are.
    pub(super) fn no_other_host_is_tried(&self, replica: &Replica<'a>) -> Option<String> {
        let brake = replica.failed().then(|| self.failures.brake(replica, self.facts)).flatten();
        // With a rollout that begins, all of that is decided again.
        let held = || self.rollout.is_held(self.places.placer.unit, replica).filter(|_| !self.rollout.begins());
        brake.map(|brake| brake.to_string()).or_else(|| held().map(|held| held.to_string()))
    }

    /// The hosts to pass over: those of late, and this one.
    fn remember(&self, replica: &Replica<'a>, host: HostIndex) -> Vec<FailedOn> {
        let now = self.facts.context.now;
        let name = self.places.fleet.hosts[host].name;
        let others = late_failures(&replica.desired.failed_on, now).filter(|failed| failed.node != *name);
        let refused = replica.status.and_then(ReplicaStatus::refused);
        others.cloned().chain([FailedOn { node: name.clone(), at: now, refused }]).collect()
    }
}
