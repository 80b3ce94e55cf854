//! Leaving a host without asking it: it is lost, or the replica fails there.

use super::{
    after,
    classify::Case,
    host::HostIndex,
    notice::clip,
    place::{COOL_OFF, late_failures},
    round::Round,
    status::Standing,
};
use crate::{
    model::{ConditionKind, FailedOn, ReplicaState, ReplicaStatus},
    tree::txn::Cause,
};

/// On so many hosts a replica may fail within [`COOL_OFF`]. After that it is the service that fails, not the hosts: it
/// stays where it is, and its agent tries it again at growing intervals.
const MOST_TRIED: usize = 3;

/// The same of hosts that refuse it, which takes no time and harms nobody: few enough for a small document.
const MOST_REFUSING: usize = 20;

impl<'a> Round<'_, 'a> {
    /// On a host without `alive`: waits for its time to run out, then places the replica elsewhere. After an orderly
    /// shutdown nothing has to be waited for. A replica that is not to run needn't move.
    pub(super) fn leave_lost_host(&mut self, case: &Case<'a>, host: HostIndex) -> Option<Standing> {
        let since = self.fleet.hosts[host].lost_since.filter(|_| self.force.enabled())?;
        let name = self.fleet.hosts[host].name;
        let deadline = after(since, self.force.spec.lost_after);
        let orderly = self.was_shut_down(case);
        if !orderly && self.context.now < deadline {
            self.wake(deadline);
            let text = format!("is gone since {since:.0}; replaced elsewhere at {deadline:.0} unless it returns");
            self.notice(ConditionKind::HostLost, name.as_str(), case.number(), &text);
            self.keep(case);
            return Some(Standing::Busy);
        }
        if let Some(held) = self.fleet.held.clone() {
            self.notices.add(ConditionKind::FailoverHeld, "", None, &held);
            if let Some(until) = self.fleet.held_until {
                self.wake(until);
            }
            self.keep(case);
            return Some(Standing::Stuck);
        }
        if let Some(held) = self.is_held(case) {
            let text = format!("is gone since {since:.0}, but the replica stays: {held}");
            self.notice(ConditionKind::HostLost, name.as_str(), case.number(), &text);
            self.keep(case);
            return Some(Standing::Stuck);
        }
        let why = if orderly { format!("{name} was shut down") } else { format!("{name} is lost since {since:.0}") };
        Some(match self.pick(case) {
            Ok(choice) => self.move_to(case, &choice, &why, case.desired.failed_on.clone(), Some(Cause::Lost)),
            Err(misfit) => {
                let text = format!("is gone since {since:.0}, and no other host fits: {misfit}");
                self.notice(ConditionKind::HostLost, name.as_str(), case.number(), &text);
                self.keep(case);
                Standing::Stuck
            }
        })
    }

    /// Whether its host was shut down in order, and the service does not wait for that.
    fn was_shut_down(&self, case: &Case<'a>) -> bool {
        case.state() == Some(ReplicaState::Stopped) && !self.force.spec.wait_for_reboot
    }

    /// Whether a replica's host is lost for longer than `lost_after`, or was shut down, and no other fits.
    pub(super) fn is_stranded(&mut self, case: &Case<'a>) -> bool {
        let Some(since) = case.host.and_then(|host| self.fleet.hosts[host].lost_since) else { return false };
        let over = self.was_shut_down(case) || after(since, self.force.spec.lost_after) <= self.context.now;
        over && self.fleet.held.is_none() && !self.fits_elsewhere(case)
    }

    /// Past its start limit, or refused: elsewhere, if there is another host; else it stays, its agent tries again.
    pub(super) fn leave_failing_host(&mut self, case: &Case<'a>, host: HostIndex) -> Option<Standing> {
        let to_be_updated = self.course.may_update(case.number());
        if !(self.force.enabled() && case.failed()) || to_be_updated || self.course.suspects(case) {
            return None;
        }
        let status = case.status?;
        let name = self.fleet.hosts[host].name;
        let said = clip(status.message.as_deref().unwrap_or("no message"), 200);
        let (kind, cause) = match status.state {
            ReplicaState::Refused => (ConditionKind::Refused, Cause::Refused),
            _ => (ConditionKind::Failed, Cause::Failed),
        };
        if let Some(why) = self.stays_all_the_same(case) {
            self.notice(kind, name.as_str(), case.number(), &format!("{said}; {why}"));
            self.held += 1;
            if let Some(at) = self.failures_until {
                self.wake(at);
            }
            return None;
        }
        if let Some(held) = self.is_held(case) {
            self.notice(kind, name.as_str(), case.number(), &format!("{said}; it stays here: {held}"));
            return None;
        }
        match self.pick(case) {
            Ok(choice) => {
                let why = format!("{} on {name}: {said}", status.state);
                let failed_on = self.remember(case, host);
                self.failures = self.failures.saturating_add(1);
                Some(self.move_to(case, &choice, &why, failed_on, Some(cause)))
            }
            Err(misfit) => {
                let text = format!("{said}; no other host fits: {misfit}");
                self.notice(kind, name.as_str(), case.number(), &text);
                None
            }
        }
    }

    /// Why no other host is tried for the replica at present, if so, whatever there are.
    pub(super) fn no_other_host_is_tried(&self, case: &Case<'a>) -> Option<String> {
        let brake = case.failed().then(|| self.stays_all_the_same(case)).flatten();
        // With a rollout that begins, all of that is decided anew.
        brake.or_else(|| self.is_held(case).filter(|_| !self.course.begins()))
    }

    /// Whether no other host is tried at present for a replica that failed.
    pub(super) fn was_tried_everywhere(&mut self, case: &Case<'a>) -> bool {
        self.stays_all_the_same(case).is_some() || !self.fits_elsewhere(case)
    }

    /// The brake on moves that change nothing: no replica fails on more than so many hosts within [`COOL_OFF`], and of one
    /// service there are no more such moves than it has replicas, but as many as that.
    fn stays_all_the_same(&self, case: &Case<'a>) -> Option<String> {
        let most = if case.state() == Some(ReplicaState::Refused) { MOST_REFUSING } else { MOST_TRIED };
        let tried = late_failures(&case.desired.failed_on, self.context.now).count();
        if tried >= most - 1 {
            return Some(format!("it failed on {tried} other hosts within {COOL_OFF}, and stays here"));
        }
        (self.failures >= self.force.wanted().max(most)).then(|| {
            format!("{} replicas of this service were moved for that within {COOL_OFF}: it stays here", self.failures)
        })
    }

    /// The hosts to pass over: those of late, and this one.
    fn remember(&self, case: &Case<'a>, host: HostIndex) -> Vec<FailedOn> {
        let now = self.context.now;
        let name = self.fleet.hosts[host].name;
        let others = late_failures(&case.desired.failed_on, now).filter(|failed| failed.node != *name);
        let refused = case.status.and_then(ReplicaStatus::refused);
        others.cloned().chain([FailedOn { node: name.clone(), at: now, refused }]).collect()
    }
}
