//! Putting a replica on a host: a new one, one for which there was no host, one that moves.

use super::{
    change::{Change, Content},
    classify::Case,
    cluster::ReplicaView,
    draft::Note,
    fleet::HostIndex,
    notice::clip,
    place::{Ask, Choice},
    round::Round,
    status::Standing,
};
use crate::model::{Assignment, ConditionKind, FailedOn, ReplicaDesired, ReplicaId};

/// The longest reason that a replica's `desired` carries, in characters.
const LONGEST_REASON: usize = 400;

/// A replica that is about to be seated.
struct Sitter<'s, 'a> {
    id: &'s ReplicaId,
    view: &'a ReplicaView,
    from: Option<HostIndex>,
    failed_on: Vec<FailedOn>,
}

impl<'a> Round<'_, 'a> {
    /// A sequential node that has nothing yet.
    pub(super) fn seat_fresh(&mut self, id: &ReplicaId, view: &'a ReplicaView) -> Standing {
        let ask = Ask { id, from: None, ahead: false, failed_on: &[], now: self.context.now };
        match self.placer.pick(self.fleet, &ask) {
            Ok(choice) => {
                let sitter = Sitter { id, view, from: None, failed_on: Vec::new() };
                self.settle(sitter, &choice, "", false)
            }
            Err(misfit) => {
                let desired = ReplicaDesired::unplaced(self.force.desired);
                let change = Change { id, view, from: None, home: None, desired: &desired, assignment: None };
                let ops = self.ops(change);
                self.push(ops, Note::new(Some(id.number), None, format!("not placed: {misfit}")), false);
                self.notice(ConditionKind::Unplaced, "", id.number, &format!("no host fits: {misfit}"));
                self.standing_unplaced()
            }
        }
    }

    /// A replica for which no host fitted so far.
    pub(super) fn seat_unplaced(&mut self, case: &Case<'a>) -> Standing {
        match self.pick(case, &case.desired.failed_on) {
            Ok(choice) => {
                let failed_on = case.desired.failed_on.clone();
                let sitter = Sitter { id: &case.id, view: case.view, from: None, failed_on };
                self.settle(sitter, &choice, "", false)
            }
            Err(misfit) => {
                self.notice(ConditionKind::Unplaced, "", case.number(), &format!("no host fits: {misfit}"));
                self.wake_after_cool_off(&case.desired.failed_on);
                self.align(case, self.force.desired.mode, Content::Update, "");
                self.standing_unplaced()
            }
        }
    }

    fn standing_unplaced(&self) -> Standing {
        if self.force.enabled() { Standing::Stuck } else { Standing::Gone }
    }

    /// Moves the replica to the host chosen, in one transaction, with all that is in force now.
    pub(super) fn move_to(
        &mut self,
        case: &Case<'a>,
        choice: &Choice,
        why: &str,
        failed_on: Vec<FailedOn>,
        urgent: bool,
    ) -> Standing {
        if case.host.is_some_and(|host| self.index_blocked(&case.id, host)) {
            return Standing::Stuck;
        }
        let failed_on = if case.up_to_date(&self.force) { failed_on } else { Vec::new() };
        let sitter = Sitter { id: &case.id, view: case.view, from: case.host, failed_on };
        self.settle(sitter, choice, why, urgent)
    }

    fn settle(&mut self, sitter: Sitter<'_, 'a>, choice: &Choice, why: &str, urgent: bool) -> Standing {
        let Sitter { id, view, from, failed_on } = sitter;
        let because = if why.is_empty() { choice.reason.clone() } else { format!("{why}; {}", choice.reason) };
        let name = self.fleet.hosts[choice.host].name;
        let desired = ReplicaDesired {
            node: Some(name.clone()),
            reason: clip(&because, LONGEST_REASON),
            failed_on,
            ..ReplicaDesired::unplaced(self.force.desired)
        };
        let assignment = Some(Assignment::new(&self.force.spec.into(), &desired, id.number));
        let change = Change { id, view, from, home: Some(choice.host), desired: &desired, assignment };
        let ops = self.ops(change);
        let what = match from {
            Some(from) => format!("moved from {} to {name}: {because}", self.fleet.hosts[from].name),
            None => format!("placed on {name}: {because}"),
        };
        self.push(ops, Note::new(Some(id.number), Some(name), what), urgent);
        Standing::Busy
    }
}
