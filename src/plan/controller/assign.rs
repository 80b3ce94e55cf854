//! Putting a replica on a host: a new one, one for which there was no host, one that moves.

use super::{
    change::Content,
    classify::Replica,
    host::HostIndex,
    nodes::Change,
    notice::clip,
    place::{Ask, Choice},
    revision_choice::RevisionChoice,
    round::Round,
    status::ReplicaOutcome,
    transaction::Note,
    words::{Subject, Unplaced},
};
use crate::{
    model::{EventReason, FailedOn, ReplicaDesired, ReplicaId},
    tree::{snapshot::ReplicaView, txn::Cause},
};

/// The longest reason that a replica's `desired` carries, in characters.
const LONGEST_REASON: usize = 400;

/// A replica that is about to be put on a host.
struct NewAssignment<'s, 'a> {
    id: &'s ReplicaId,
    view: &'a ReplicaView,
    from: Option<HostIndex>,
    failed_on: Vec<FailedOn>,
    revision: RevisionChoice<'s, 'a>,
}

impl<'a> Round<'_, 'a> {
    /// A sequential node that has nothing yet.
    pub(super) fn assign_new(&mut self, id: &ReplicaId, view: &'a ReplicaView) -> ReplicaOutcome {
        let surge = self.is_surge(id.number);
        let Some(goal) = self.rollout.goal_of_fresh(surge) else { return self.without_goal(id) };
        let first = self.rollout.runs_first(goal);
        let ask = Ask { id, first, from: None, ahead: false, failed_on: &[], now: self.facts.context.now };
        match self.places.placer.pick(self.places.fleet, &ask) {
            Ok(choice) => {
                let new = NewAssignment {
                    id,
                    view,
                    from: None,
                    failed_on: Vec::new(),
                    revision: RevisionChoice::Goal(goal, surge),
                };
                self.assign(new, &choice, "", false)
            }
            Err(no_host) => {
                let mode = self.facts.force.desired.mode;
                let desired = ReplicaDesired { surge, ..ReplicaDesired::with(mode, goal.number, goal.revision) };
                let change = Change { id, view, from: None, home: None, desired: &desired, assignment: None };
                let ops = self.places.ops(change);
                let message = format!("not placed ({no_host})");
                self.out.push(ops, Note::of_replica(EventReason::Unplaced, id.number, None, message), false);
                self.out.notice(Subject::Service, id.number, &Unplaced::NoFeasibleHost(&no_host));
                self.standing_unplaced()
            }
        }
    }

    /// A rollout is only just about to begin; or the record is gone of what the replicas run.
    fn without_goal(&mut self, id: &ReplicaId) -> ReplicaOutcome {
        if !self.rollout.is_lost() {
            return ReplicaOutcome::Busy;
        }
        self.out.notice(Subject::Service, id.number, &Unplaced::RevisionLost(self.facts.name));
        self.standing_unplaced()
    }

    /// A replica for which no host fitted so far.
    pub(super) fn assign_unplaced(&mut self, replica: &Replica<'a>) -> ReplicaOutcome {
        if let Some(held) = self.rollout.is_held(self.places.placer.unit, replica) {
            self.out.notice(Subject::Service, replica.number(), &Unplaced::Held(held));
            return self.standing_unplaced();
        }
        match self.places.pick(replica, &self.rollout, &mut self.out) {
            Ok(choice) => {
                let revision = self.rollout.choose_revision(self.places.placer.unit, replica);
                let failed_on = replica.desired.failed_on.clone();
                let new = NewAssignment { id: &replica.id, view: replica.view, from: None, failed_on, revision };
                self.rollout.expose(replica, revision);
                self.assign(new, &choice, "", false)
            }
            Err(no_host) => {
                self.out.notice(Subject::Service, replica.number(), &Unplaced::NoFeasibleHost(&no_host));
                self.align(replica, self.facts.force.desired.mode, Content::Update, "");
                self.standing_unplaced()
            }
        }
    }

    fn standing_unplaced(&self) -> ReplicaOutcome {
        if self.facts.force.enabled() { ReplicaOutcome::Stuck } else { ReplicaOutcome::Gone }
    }

    /// Moves the replica to the host chosen, in one transaction, with all that is in force now. Nobody waits for one that is `unasked`: it goes first.
    pub(super) fn move_to(
        &mut self,
        replica: &Replica<'a>,
        choice: &Choice,
        why: &str,
        failed_on: Vec<FailedOn>,
        unasked: Option<Cause>,
    ) -> ReplicaOutcome {
        if replica.host.is_some_and(|host| self.is_index_blocked(&replica.id, host)) {
            return ReplicaOutcome::Stuck;
        }
        self.out.moves.extend(unasked);
        let revision = self.rollout.choose_revision(self.places.placer.unit, replica);
        let failed_on = if matches!(revision, RevisionChoice::Same(_)) { failed_on } else { Vec::new() };
        self.rollout.expose(replica, revision);
        let new = NewAssignment { id: &replica.id, view: replica.view, from: replica.host, failed_on, revision };
        self.assign(new, choice, why, unasked.is_some())
    }

    fn assign(&mut self, new: NewAssignment<'_, 'a>, choice: &Choice, why: &str, urgent: bool) -> ReplicaOutcome {
        let NewAssignment { id, view, from, failed_on, revision } = new;
        let because = if why.is_empty() { choice.reason.clone() } else { format!("{why}; {}", choice.reason) };
        let name = self.places.fleet.hosts[choice.host].name;
        let desired = ReplicaDesired {
            node: Some(name.clone()),
            reason: clip(&because, LONGEST_REASON),
            failed_on,
            ..self.rollout.desired_of(revision)
        };
        let assignment = self.rollout.assignment_of(revision, &desired, id.number);
        match revision {
            RevisionChoice::Goal(..) => self.rollout.updated(id.number, self.facts.context.now),
            RevisionChoice::Same(_) => self.rollout.moved(id.number, self.facts.context.now),
        }
        let change = Change { id, view, from, home: Some(choice.host), desired: &desired, assignment };
        let ops = self.places.ops(change);
        let (reason, what) = match from {
            Some(from) => {
                (EventReason::Moved, format!("moved from {} to {name}: {because}", self.places.fleet.hosts[from].name))
            }
            None => (EventReason::Placed, format!("placed on {name}: {because}")),
        };
        self.out.push(ops, Note::of_replica(reason, id.number, Some(name), what), urgent);
        ReplicaOutcome::Busy
    }
}
