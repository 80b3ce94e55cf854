//! Putting a replica on a host: a new one, one for which there was no host, one that moves.

use super::{
    change::Content,
    classify::Case,
    draft::Note,
    host::HostIndex,
    nodes::Change,
    notice::clip,
    outfit::Outfit,
    place::{Ask, Choice},
    round::Round,
    status::Standing,
    words::{Subject, Unplaced},
};
use crate::{
    model::{FailedOn, ReplicaDesired, ReplicaId},
    tree::{snapshot::ReplicaView, txn::Cause},
};

/// The longest reason that a replica's `desired` carries, in characters.
const LONGEST_REASON: usize = 400;

/// A replica that is about to be seated.
struct Sitter<'s, 'a> {
    id: &'s ReplicaId,
    view: &'a ReplicaView,
    from: Option<HostIndex>,
    failed_on: Vec<FailedOn>,
    outfit: Outfit<'s, 'a>,
}

impl<'a> Round<'_, 'a> {
    /// A sequential node that has nothing yet.
    pub(super) fn seat_fresh(&mut self, id: &ReplicaId, view: &'a ReplicaView) -> Standing {
        let surge = self.is_surge(id.number);
        let Some(goal) = self.course.goal_of_fresh(surge) else { return self.without_goal(id) };
        let first = self.course.runs_first(goal);
        let ask = Ask { id, first, from: None, ahead: false, failed_on: &[], now: self.facts.context.now };
        match self.places.placer.pick(self.places.fleet, &ask) {
            Ok(choice) => {
                let sitter = Sitter { id, view, from: None, failed_on: Vec::new(), outfit: Outfit::Goal(goal, surge) };
                self.settle(sitter, &choice, "", false)
            }
            Err(misfit) => {
                let mode = self.facts.force.desired.mode;
                let desired = ReplicaDesired { surge, ..ReplicaDesired::with(mode, goal.number, goal.revision) };
                let change = Change { id, view, from: None, home: None, desired: &desired, assignment: None };
                let ops = self.places.ops(change);
                self.out.push(ops, Note::new(Some(id.number), None, format!("not placed: {misfit}")), false);
                self.out.notice(Subject::Service, id.number, &Unplaced::NoFeasibleHost(&misfit));
                self.standing_unplaced()
            }
        }
    }

    /// A rollout is only just about to begin; or the record is gone of what the replicas run.
    fn without_goal(&mut self, id: &ReplicaId) -> Standing {
        if !self.course.is_lost() {
            return Standing::Busy;
        }
        self.out.notice(Subject::Service, id.number, &Unplaced::RevisionLost(self.facts.name));
        self.standing_unplaced()
    }

    /// A replica for which no host fitted so far.
    pub(super) fn seat_unplaced(&mut self, case: &Case<'a>) -> Standing {
        if let Some(held) = self.course.is_held(self.places.placer.unit, case) {
            self.out.notice(Subject::Service, case.number(), &Unplaced::Held(held));
            return self.standing_unplaced();
        }
        match self.places.pick(case, &self.course, &mut self.out) {
            Ok(choice) => {
                let outfit = self.course.outfit(self.places.placer.unit, case);
                let failed_on = case.desired.failed_on.clone();
                let sitter = Sitter { id: &case.id, view: case.view, from: None, failed_on, outfit };
                self.course.expose(case, outfit);
                self.settle(sitter, &choice, "", false)
            }
            Err(misfit) => {
                self.out.notice(Subject::Service, case.number(), &Unplaced::NoFeasibleHost(&misfit));
                self.align(case, self.facts.force.desired.mode, Content::Update, "");
                self.standing_unplaced()
            }
        }
    }

    fn standing_unplaced(&self) -> Standing {
        if self.facts.force.enabled() { Standing::Stuck } else { Standing::Gone }
    }

    /// Moves the replica to the host chosen, in one transaction, with all that is in force now. Nobody waits for one that is `unasked`: it goes first.
    pub(super) fn move_to(
        &mut self,
        case: &Case<'a>,
        choice: &Choice,
        why: &str,
        failed_on: Vec<FailedOn>,
        unasked: Option<Cause>,
    ) -> Standing {
        if case.host.is_some_and(|host| self.is_index_blocked(&case.id, host)) {
            return Standing::Stuck;
        }
        self.out.moves.extend(unasked);
        let outfit = self.course.outfit(self.places.placer.unit, case);
        let failed_on = if matches!(outfit, Outfit::Same(_)) { failed_on } else { Vec::new() };
        self.course.expose(case, outfit);
        let sitter = Sitter { id: &case.id, view: case.view, from: case.host, failed_on, outfit };
        self.settle(sitter, choice, why, unasked.is_some())
    }

    fn settle(&mut self, sitter: Sitter<'_, 'a>, choice: &Choice, why: &str, urgent: bool) -> Standing {
        let Sitter { id, view, from, failed_on, outfit } = sitter;
        let because = if why.is_empty() { choice.reason.clone() } else { format!("{why}; {}", choice.reason) };
        let name = self.places.fleet.hosts[choice.host].name;
        let desired = ReplicaDesired {
            node: Some(name.clone()),
            reason: clip(&because, LONGEST_REASON),
            failed_on,
            ..self.course.outfitted(outfit)
        };
        let assignment = self.course.assigned(outfit, &desired, id.number);
        match outfit {
            Outfit::Goal(..) => self.course.updated(id.number, self.facts.context.now),
            Outfit::Same(_) => self.course.moved(id.number, self.facts.context.now),
        }
        let change = Change { id, view, from, home: Some(choice.host), desired: &desired, assignment };
        let ops = self.places.ops(change);
        let what = match from {
            Some(from) => format!("moved from {} to {name}: {because}", self.places.fleet.hosts[from].name),
            None => format!("placed on {name}: {because}"),
        };
        self.out.push(ops, Note::new(Some(id.number), Some(name), what), urgent);
        Standing::Busy
    }
}
