//! Putting a replica on a host: a new one, one for which there was no host, one that moves.

use super::{
    change::{Change, Content},
    classify::Case,
    draft::Note,
    host::HostIndex,
    notice::clip,
    place::{Ask, Choice},
    rollout::Goal,
    round::Round,
    status::Standing,
};
use crate::{
    model::{Assignment, ConditionKind, FailedOn, ReplicaDesired, ReplicaId, ReplicaNumber, Template},
    tree::{
        snapshot::{Doc, ReplicaView},
        txn::Cause,
    },
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

/// What a replica is to run where it is seated.
#[derive(Clone, Copy)]
enum Outfit<'s, 'a> {
    /// What a rollout brought; whether it is a surge replica.
    Goal(Goal<'a>, bool),
    /// What it ran before.
    Same(&'s Case<'a>),
}

impl<'a> Round<'_, 'a> {
    /// A sequential node that has nothing yet.
    pub(super) fn seat_fresh(&mut self, id: &ReplicaId, view: &'a ReplicaView) -> Standing {
        let surge = self.is_surge(id.number);
        let Some(goal) = self.course.goal_of_fresh(surge) else { return self.without_goal(id) };
        let first = self.runs_first(goal);
        let ask = Ask { id, first, from: None, ahead: false, failed_on: &[], now: self.context.now };
        match self.placer.pick(self.fleet, &ask) {
            Ok(choice) => {
                let sitter = Sitter { id, view, from: None, failed_on: Vec::new(), outfit: Outfit::Goal(goal, surge) };
                self.settle(sitter, &choice, "", false)
            }
            Err(misfit) => {
                let mode = self.force.desired.mode;
                let desired = ReplicaDesired { surge, ..ReplicaDesired::with(mode, goal.number, goal.revision) };
                let change = Change { id, view, from: None, home: None, desired: &desired, assignment: None };
                let ops = self.ops(change);
                self.push(ops, Note::new(Some(id.number), None, format!("not placed: {misfit}")), false);
                self.notice(ConditionKind::Unplaced, "", id.number, &format!("no host fits: {misfit}"));
                self.standing_unplaced()
            }
        }
    }

    /// A rollout is only just about to begin; or the record is gone of what the replicas run.
    fn without_goal(&mut self, id: &ReplicaId) -> Standing {
        if !self.course.is_lost() {
            return Standing::Busy;
        }
        let text = format!(
            "the record of what was healthy before is gone or can't be read, so nobody knows what it is to run: change desired, \
             or `zkops rollout resume {}` to bring what is wanted",
            self.name
        );
        self.notice(ConditionKind::Unplaced, "", id.number, &text);
        self.standing_unplaced()
    }

    /// A replica for which no host fitted so far.
    pub(super) fn seat_unplaced(&mut self, case: &Case<'a>) -> Standing {
        if let Some(text) = self.is_held(case) {
            self.notice(ConditionKind::Unplaced, "", case.number(), &text);
            return self.standing_unplaced();
        }
        match self.pick(case) {
            Ok(choice) => {
                let outfit = self.outfit(case);
                let failed_on = case.desired.failed_on.clone();
                let sitter = Sitter { id: &case.id, view: case.view, from: None, failed_on, outfit };
                self.expose(case, outfit);
                self.settle(sitter, &choice, "", false)
            }
            Err(misfit) => {
                self.notice(ConditionKind::Unplaced, "", case.number(), &format!("no host fits: {misfit}"));
                self.align(case, self.force.desired.mode, Content::Update, "");
                self.standing_unplaced()
            }
        }
    }

    /// What the replica would be told out of its turn where it is seated: it is nowhere, or what it ran is not known well
    /// enough to be run elsewhere.
    fn untimely(&self, case: &Case<'a>, outfit: Outfit<'_, 'a>) -> Option<Goal<'a>> {
        let anew = case.host.is_none() || matches!(outfit, Outfit::Goal(..));
        self.brought(outfit).filter(|_| anew && !self.course.may_update(case.number()))
    }

    /// What keeps the replica from any other host: nobody knows what it would run there, or it would be told what is new, which
    /// is on its canary or paused.
    pub(super) fn is_held(&self, case: &Case<'a>) -> Option<String> {
        let unknown = "what it ran is not known any more";
        if self.course.goal().is_none() && !self.is_known(case) {
            return Some(format!("{unknown}, and the record of what it is to run can't be read"));
        }
        let goal = self.untimely(case, self.outfit(case)).filter(|goal| !self.course.may_expose(*goal))?;
        let waits = format!("rollout {}, which is on its canary or paused", goal.number);
        Some(match case.host {
            None => format!("waits for {waits}"),
            Some(_) => format!("{unknown}, and what is new waits for {waits}"),
        })
    }

    fn expose(&mut self, case: &Case<'a>, outfit: Outfit<'_, 'a>) {
        if let Some(goal) = self.untimely(case, outfit) {
            self.course.exposes(goal);
        }
    }

    fn standing_unplaced(&self) -> Standing {
        if self.force.enabled() { Standing::Stuck } else { Standing::Gone }
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
        if case.host.is_some_and(|host| self.index_blocked(&case.id, host)) {
            return Standing::Stuck;
        }
        self.moves.extend(unasked);
        let outfit = self.outfit(case);
        let failed_on = if matches!(outfit, Outfit::Same(_)) { failed_on } else { Vec::new() };
        self.expose(case, outfit);
        let sitter = Sitter { id: &case.id, view: case.view, from: case.host, failed_on, outfit };
        self.settle(sitter, choice, why, unasked.is_some())
    }

    fn settle(&mut self, sitter: Sitter<'_, 'a>, choice: &Choice, why: &str, urgent: bool) -> Standing {
        let Sitter { id, view, from, failed_on, outfit } = sitter;
        let because = if why.is_empty() { choice.reason.clone() } else { format!("{why}; {}", choice.reason) };
        let name = self.fleet.hosts[choice.host].name;
        let desired = ReplicaDesired {
            node: Some(name.clone()),
            reason: clip(&because, LONGEST_REASON),
            failed_on,
            ..self.outfitted(outfit)
        };
        let assignment = self.assigned(outfit, &desired, id.number);
        match outfit {
            Outfit::Goal(..) => self.course.updated(id.number, self.context.now),
            Outfit::Same(_) => self.course.moved(id.number, self.context.now),
        }
        let change = Change { id, view, from, home: Some(choice.host), desired: &desired, assignment };
        let ops = self.ops(change);
        let what = match from {
            Some(from) => format!("moved from {} to {name}: {because}", self.fleet.hosts[from].name),
            None => format!("placed on {name}: {because}"),
        };
        self.push(ops, Note::new(Some(id.number), Some(name), what), urgent);
        Standing::Busy
    }

    /// What the replica runs from now on: what is new when its turn has come, else what it ran, if that is known.
    fn outfit<'s>(&self, case: &'s Case<'a>) -> Outfit<'s, 'a> {
        let known = self.is_known(case);
        let goal = self.course.goal().filter(|_| !known || self.course.may_update(case.number()));
        goal.map_or(Outfit::Same(case), |goal| Outfit::Goal(goal, case.desired.surge))
    }

    /// Whether it is known what the replica ran, so that it can be run elsewhere. Where only its index says it, and its unit is to be
    /// another, a place is looked for as that.
    fn is_known(&self, case: &Case<'a>) -> bool {
        let unit = self.placer.unit;
        let is_same = |before: &Assignment| {
            before.unit == unit.unit.for_replica(case.number()) && before.unit_file.as_deref() == unit.unit_file
        };
        self.own(case).is_some() || case.assignment.and_then(Doc::good).is_some_and(is_same)
    }

    /// What brought this, as far as that is known.
    fn brought(&self, outfit: Outfit<'_, 'a>) -> Option<Goal<'a>> {
        match outfit {
            Outfit::Goal(goal, _) => Some(goal),
            Outfit::Same(case) => self.own(case),
        }
    }

    /// What a place elsewhere is asked for, for the replica; `ahead`: see [`Ask`].
    pub(super) fn ask<'q>(&self, case: &'q Case<'a>, ahead: bool) -> Ask<'q, 'a> {
        let first = self.brought(self.outfit(case)).and_then(|goal| self.runs_first(goal));
        let failed_on = &case.desired.failed_on;
        Ask { id: &case.id, first, from: case.host, ahead, failed_on, now: self.context.now }
    }

    /// How a replica runs at first that is not brought to the goal yet.
    fn runs_first(&self, own: Goal<'a>) -> Option<&'a Template> {
        let brought = self.course.goal().is_some_and(|goal| goal.number == own.number);
        (!brought).then_some(&own.revision.template)
    }

    fn outfitted(&self, outfit: Outfit<'_, 'a>) -> ReplicaDesired {
        let mode = self.force.desired.mode;
        match outfit {
            Outfit::Goal(goal, surge) => {
                ReplicaDesired { surge, ..ReplicaDesired::with(mode, goal.number, goal.revision) }
            }
            Outfit::Same(case) => ReplicaDesired { mode, removing: false, ..case.desired.clone() },
        }
    }

    /// Its index. What it ran is told by its index where it was, or else by the rollout that brought it.
    fn assigned(&self, outfit: Outfit<'_, 'a>, desired: &ReplicaDesired, number: ReplicaNumber) -> Option<Assignment> {
        let goal = match outfit {
            Outfit::Goal(goal, _) => goal,
            Outfit::Same(case) => match (self.own(case), case.assignment.and_then(Doc::good)) {
                (Some(own), _) => own,
                (None, Some(before)) => return Some(Assignment { mode: desired.mode, ..before.clone() }),
                (None, None) => self.course.goal()?,
            },
        };
        Some(self.assignment(goal, desired, number))
    }
}
