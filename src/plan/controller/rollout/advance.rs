//! How a rollout that runs goes on: who is healthy, what has failed, which batch is next, and when its time is up.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{progress::LONGEST_MESSAGE, record::describe, steer::Steering};
use crate::{
    model::{HostName, Mode, PauseCause, ReplicaNumber, RolloutState, Span},
    plan::controller::{
        after,
        classify::{Replica, ReplicaKind, managed},
        cool_off::late_failures,
        notice::clip,
    },
};

impl<'a> Steering<'_, '_, 'a> {
    /// Decides what comes of how far the replicas are.
    pub(super) fn advance(&mut self, found: &[ReplicaKind<'a>]) {
        let Some(state) = self.rollout.record().map(|record| record.state) else { return };
        if state == RolloutState::RollingBack {
            self.forgive_on_the_way_back(found);
        }
        let done = self.rollout.progress.is_done(self.facts.force.wanted());
        match state {
            RolloutState::RollingBack if done => self.rollout.end(RolloutState::RolledBack),
            RolloutState::RollingBack => {
                self.mark_healthy();
                self.mind_progress("the way back");
            }
            RolloutState::Running => {
                self.mark_healthy();
                match self.failing(found) {
                    Some(reason) => self.rollout.fail(&reason),
                    None => self.advance_batch(),
                }
            }
            // What waits to be promoted is on trial still.
            RolloutState::Paused if self.rollout.is_paused_for(PauseCause::Canary) => match self.failing(found) {
                Some(reason) => self.rollout.fail(&reason),
                None if !self.rollout.progress.in_flight.is_empty() => {
                    self.rollout.go_on("the canary is not healthy any more");
                }
                None if !self.rollout.progress.has_canary(self.rollout.batch_end()) => {
                    self.rollout.go_on("the canary is gone");
                }
                None if self.facts.force.spec.rollout.auto_promote => self.rollout.go_on("auto_promote is set"),
                None => {}
            },
            // All that was wanted has come by itself after all.
            RolloutState::Paused if done && self.rollout.is_paused_for(PauseCause::Failure) => {
                if self.rollout.goes_back() {
                    self.rollout.end(RolloutState::RolledBack);
                } else if self.rollout.is_on_canary() {
                    self.rollout.go_on("the canary is healthy after all");
                } else if self.facts.force.wanted() > 0 {
                    self.rollout.end(RolloutState::Completed);
                }
            }
            _ => {}
        }
    }

    /// Nobody waits there for what fails with what was healthy before, either, as far as `max_failures` goes.
    fn forgive_on_the_way_back(&mut self, found: &[ReplicaKind<'a>]) {
        let Some(goal) = self.rollout.goal() else { return };
        let max = self.facts.force.spec.rollout.max_failures.floor(self.facts.force.wanted());
        let failed = |replica: &&Replica<'a>| {
            !replica.desired.removing && replica.host_alive && replica.failed() && goal.is_of(replica)
        };
        for replica in found.iter().filter_map(managed).filter(failed).take(max) {
            self.rollout.progress.forgive(replica);
        }
    }

    /// Remembers who is healthy, and that there are more than before.
    fn mark_healthy(&mut self) {
        let Some(record) = self.rollout.record() else { return };
        let progress = &self.rollout.progress;
        let healthy = u32::try_from(progress.healthy + progress.surge_healthy).unwrap_or(u32::MAX);
        let settled = progress.healthy_numbers.iter().chain(&progress.lost);
        let numbers: Vec<ReplicaNumber> =
            settled.filter(|number| record.updating.contains_key(number)).copied().collect();
        let more = healthy > record.healthy;
        let on_trial = self.rollout.stable.is_some() && !record.back;
        let known = |number: &ReplicaNumber| record.updating.contains_key(number) || progress.lost.contains(number);
        let unknown = |number: &&ReplicaNumber| on_trial && !known(number);
        let late: Vec<ReplicaNumber> = progress.in_flight.iter().filter(unknown).copied().collect();
        let now = self.facts.context.now;
        // Not told just now, and not healthy, or not any more: their time begins.
        for number in late {
            self.rollout.updated(number, now);
        }
        if !more && numbers.is_empty() {
            return;
        }
        let Some(record) = self.rollout.edit() else { return };
        record.updating.retain(|number, _| !numbers.contains(number));
        if more {
            (record.healthy, record.progress) = (healthy, now);
        }
    }

    /// Why the rollout has failed, if it has: more replicas than may did with what it brings.
    fn failing(&mut self, found: &[ReplicaKind<'a>]) -> Option<String> {
        let goal = self.rollout.goal()?;
        let on_trial = |replica: &&Replica<'a>| !replica.desired.removing && replica.host_alive && goal.is_of(replica);
        let replicas: Vec<&Replica<'a>> = found.iter().filter_map(managed).filter(on_trial).collect();
        self.rollout.spared = self.failed_on_one_host(&replicas);
        let failed: Vec<(&Replica<'a>, String)> =
            replicas.into_iter().filter_map(|replica| Some((replica, self.verdict(replica)?))).collect();
        let max = self.facts.force.spec.rollout.max_failures;
        let allowed = if self.rollout.is_on_canary() { 0 } else { max.floor(self.facts.force.wanted()) };
        if failed.len() <= allowed {
            for (replica, _) in &failed {
                self.rollout.progress.forgive(replica);
            }
            return None;
        }
        let count = failed.len();
        let first = failed.into_iter().next().map(|(_, reason)| reason)?;
        Some(if allowed > 0 { format!("{count} replicas failed, max_failures is {max}: {first}") } else { first })
    }

    /// Those that failed on the only host on which any did, where another host would take them: what follows a host is
    /// the host's fault, and no revision is judged by one host while there are others.
    fn failed_on_one_host(&mut self, replicas: &[&Replica<'a>]) -> BTreeSet<ReplicaNumber> {
        let now = self.facts.context.now;
        let failed: Vec<&&Replica<'a>> = replicas.iter().filter(|replica| replica.failed()).collect();
        let before =
            failed.iter().flat_map(|replica| late_failures(&replica.desired.failed_on, now).map(|it| &it.node));
        let hosts: BTreeSet<&HostName> =
            failed.iter().filter_map(|replica| replica.desired.node.as_ref()).chain(before).collect();
        if hosts.len() != 1 {
            return BTreeSet::new();
        }
        failed
            .into_iter()
            .filter(|replica| self.places.fits_elsewhere(replica, self.rollout, self.out))
            .map(|replica| replica.number())
            .collect()
    }

    /// Whether no other host is tried at present for a replica that failed.
    fn was_tried_everywhere(&mut self, replica: &Replica<'a>) -> bool {
        self.failures.brake(replica, self.facts).is_some()
            || !self.places.fits_elsewhere(replica, self.rollout, self.out)
    }

    fn verdict(&mut self, replica: &Replica<'a>) -> Option<String> {
        let record = self.rollout.record()?;
        let status = replica.status?;
        let said = clip(status.message.as_deref().unwrap_or("no message"), LONGEST_MESSAGE);
        let (number, node) = (replica.number().0, &status.node);
        if replica.rejected() && !self.rollout.tries_again {
            return Some(format!("replica {number} on {node} rejected the update: {said}"));
        }
        // After a resume, time is given; with nothing to go back to, other hosts are tried first.
        let (resumed, updated) = (record.resumed, record.updating.get(&replica.number()).copied());
        if replica.failed() && !resumed {
            let on_trial = self.rollout.stable.is_some();
            let spared = self.rollout.spared.contains(&replica.number());
            let judged = if on_trial { !spared } else { self.was_tried_everywhere(replica) };
            if judged {
                let failed = late_failures(&replica.desired.failed_on, self.facts.context.now);
                let others: Vec<&str> = failed.map(|it| it.node.as_str()).filter(|it| *it != node.as_str()).collect();
                let others = if others.is_empty() { String::new() } else { format!(", as on {}", others.join(", ")) };
                return Some(format!("replica {number} on {node} is {}{others}: {said}", status.state));
            }
            if on_trial {
                return None;
            }
        }
        let updated = updated.filter(|_| replica.desired.mode == Mode::Enabled)?;
        let limit = self.facts.force.spec.rollout.healthy_deadline;
        let deadline = self.deadline(updated, limit);
        if deadline > self.facts.context.now {
            self.out.wake(deadline);
            return None;
        }
        Some(format!(
            "replica {number} on {node} was not healthy within {limit} (healthy_deadline): {} ({said})",
            status.state
        ))
    }

    /// When the time is up that began at `since`. Without a leader nobody could see what became healthy, or tell the next
    /// replica: each leader gives it the whole time again.
    fn deadline(&self, since: Timestamp, limit: Span) -> Timestamp {
        after(after(since.max(self.facts.context.leading_since), self.drain_time()), limit)
    }

    /// How long what ran before may run on, out of `instances`, before anything can be healthy in its place.
    fn drain_time(&self) -> Span {
        let before = self.rollout.stable.map(|stable| stable.revision.template.drain_time);
        before.unwrap_or_default().max(self.facts.force.spec.drain_time)
    }

    /// Goes on to the next batch when this one is healthy; after the last one the rollout is completed.
    fn advance_batch(&mut self) {
        let wanted = self.facts.force.wanted();
        loop {
            let Some(record) = self.rollout.record() else { return };
            let batch = record.batch;
            let end = self.rollout.batch_end();
            let progress = &self.rollout.progress;
            let on_canary = self.rollout.is_on_canary();
            let complete = if on_canary {
                // What is not placed serves nobody: it is no canary.
                progress.has_canary(end) && progress.healthy + progress.surge_healthy >= progress.exposed
            } else {
                progress.at_goal >= end && progress.healthy + progress.unplaced + progress.forgiven >= progress.at_goal
            };
            // A canary of all there are is one, too: they may be more before it is promoted.
            let is_last = end >= wanted && !on_canary;
            if !complete || (is_last && !progress.is_done(wanted)) {
                return self.mind_batch();
            }
            if is_last {
                return self.rollout.end(RolloutState::Completed);
            }
            let is_canary = batch == 0 && !self.facts.force.spec.rollout.canary.is_zero();
            if on_canary && !self.facts.force.spec.rollout.auto_promote {
                let reason = format!("the canary ({end} of {wanted}) is healthy and waits to be promoted");
                return self.rollout.pause(PauseCause::Canary, &reason);
            }
            if !self.batch_pause_is_over() {
                return;
            }
            let now = self.facts.context.now;
            let Some(record) = self.rollout.edit() else { return };
            (record.batch, record.batch_done, record.progress) = (batch + 1, None, now);
            record.promoted |= is_canary;
        }
    }

    fn batch_pause_is_over(&mut self) -> bool {
        let now = self.facts.context.now;
        let Some(since) = self.rollout.record().map(|record| record.batch_done.unwrap_or(now)) else { return false };
        let until = after(since, self.facts.force.spec.rollout.batch_pause);
        if until <= now {
            return true;
        }
        self.out.wake(until);
        let news = self.rollout.record().is_some_and(|record| record.batch_done.is_none());
        if news && let Some(record) = self.rollout.edit() {
            record.batch_done = Some(now);
        }
        false
    }

    /// A batch is under way. Should one that was healthy not be so any more, the pause after it does not count as time
    /// without progress.
    fn mind_batch(&mut self) {
        let now = self.facts.context.now;
        if let Some(since) = self.rollout.record().and_then(|record| record.batch_done)
            && let Some(record) = self.rollout.edit()
        {
            let progress = record.progress.checked_add(now.duration_since(since)).unwrap_or(now);
            (record.batch_done, record.progress) = (None, progress.min(now));
        }
        self.mind_progress("the rollout");
    }

    /// What keeps the rollout from going on, in words: a replica that was told what is new, or one that takes its place in
    /// `max_unavailable` all the time, so that no other may be touched.
    fn in_the_way(&self) -> Option<String> {
        let progress = &self.rollout.progress;
        if let Some(stuck) = &progress.stuck {
            return Some(stuck.clone());
        }
        if progress.in_flight.len() > progress.lost.len() {
            return None;
        }
        let Some(idle) = &progress.idle else { return progress.outdated.clone() };
        let max = self.facts.force.spec.max_unavailable;
        Some(format!("{idle}, and max_unavailable ({max}) lets no other be changed meanwhile"))
    }

    /// A rollout without progress comes to a decision when its time is up.
    fn mind_progress(&mut self, what: &str) {
        let Some(record) = self.rollout.record() else { return };
        let limit = self.facts.force.spec.rollout.progress_deadline;
        let deadline = self.deadline(record.progress, limit);
        if deadline > self.facts.context.now {
            return self.out.wake(deadline);
        }
        let (healthy, wanted) = (self.rollout.progress.healthy, self.facts.force.wanted());
        let reason =
            format!("{what} made no progress for {limit} (progress_deadline): {healthy} of {wanted} are healthy");
        let stuck = self.in_the_way().map(|stuck| format!("; {stuck}")).unwrap_or_default();
        if record.back {
            self.rollout.pause(PauseCause::Failure, &format!("{reason}{stuck}"));
        } else {
            let with = describe(&record.revision);
            self.rollout.fail(&format!("{reason} with {with}{stuck}"));
        }
    }
}
