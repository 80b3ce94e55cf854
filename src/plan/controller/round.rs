//! One service, one round: what is in force, what there is, what is done about it, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Context,
    accept::{self, InForce},
    after,
    classify::{Case, Found, classify, known},
    crowd::Crowd,
    draft::{Draft, Note, Step},
    fleet::Fleet,
    host::{Host, HostIndex},
    misfit::Misfit,
    notice::Notices,
    place::{Ask, COOL_OFF, Choice, Placer, late_failures},
    rollout::Course,
    status::{Standing, Tally},
};
use crate::{
    model::{ConditionKind, ReplicaId, ReplicaNumber, ServiceName},
    tree::{
        layout,
        snapshot::{ServiceView, below},
        txn::{Cause, Op, Transaction},
    },
};

/// What comes out for one service.
pub(super) struct Planned {
    pub(super) transaction: Option<Transaction>,
    /// Whether it brings back what was lost.
    pub(super) is_urgent: bool,
    pub(super) wake_at: Option<Timestamp>,
    /// What its status can't say.
    pub(super) note: Option<String>,
    /// How many replicas stay where they fail; see [`Plan::held`](super::Plan::held).
    pub(super) held: usize,
}

/// A service while it is planned.
pub(super) struct Round<'p, 'a> {
    pub(super) name: &'a ServiceName,
    pub(super) view: &'a ServiceView,
    pub(super) force: InForce<'a>,
    pub(super) fleet: &'p mut Fleet<'a>,
    pub(super) context: &'p Context,
    pub(super) placer: Placer<'a>,
    pub(super) draft: Draft<'a>,
    pub(super) notices: Notices,
    pub(super) tally: Tally,
    /// How many more ready replicas a planned change may make unready.
    pub(super) budget: usize,
    /// The same, beyond the budget, of changes that bring replicas back to what was healthy before.
    pub(super) leeway: usize,
    /// How often replicas were moved of late because they had failed.
    pub(super) failures: usize,
    /// When the first of these no longer counts.
    pub(super) failures_until: Option<Timestamp>,
    /// How many replicas stay where they fail, because others are no better.
    pub(super) held: usize,
    /// Why replicas leave their host without being asked to.
    pub(super) moves: Vec<Cause>,
    pub(super) crowd: Crowd,
    pub(super) course: Course<'a>,
    /// Nodes that were created for surge replicas and have no document yet.
    pub(super) fresh_surge: BTreeSet<ReplicaNumber>,
    /// How many replicas there are to be so that others can leave their host.
    pub(super) successors: usize,
    /// Seats of replicas that are draining on the host they leave.
    pub(super) reserved: BTreeMap<ReplicaNumber, Choice>,
    pub(super) wake_at: Option<Timestamp>,
}

/// Plans one service. A description without a desired state gets no status yet: the first replica's number is the
/// count of children created before it, so it is 1 only when nothing but `desired` is there.
pub(super) fn plan_service<'a>(
    name: &'a ServiceName,
    view: &'a ServiceView,
    fleet: &mut Fleet<'a>,
    context: &Context,
) -> Planned {
    let mut notices = Notices::default();
    let force = accept::in_force(name, view, &mut notices);
    let untouched = view.status.is_none() && view.desired.is_none() && view.replicas.is_empty();
    match force {
        Some(force) => Round::new(name, view, force, fleet, context, notices).plan(),
        None if untouched => {
            let note = Some(format!(
                "{name} has no desired state, so nothing of it runs: {} is missing",
                layout::desired(name)
            ));
            Planned { transaction: None, is_urgent: false, wake_at: None, note, held: 0 }
        }
        None => super::finish::without_force(name, view, &notices, context),
    }
}

impl<'p, 'a> Round<'p, 'a> {
    pub(super) fn new(
        name: &'a ServiceName,
        view: &'a ServiceView,
        force: InForce<'a>,
        fleet: &'p mut Fleet<'a>,
        context: &'p Context,
        notices: Notices,
    ) -> Self {
        Self {
            name,
            view,
            force,
            fleet,
            context,
            placer: Placer::new(force.spec),
            draft: Draft::new(Some(force.spec)),
            notices,
            tally: Tally::default(),
            budget: 0,
            leeway: 0,
            failures: 0,
            failures_until: None,
            held: 0,
            moves: Vec::new(),
            crowd: Crowd::default(),
            course: Course::of(view),
            fresh_surge: BTreeSet::new(),
            successors: 0,
            reserved: BTreeMap::new(),
            wake_at: None,
        }
    }

    fn plan(mut self) -> Planned {
        if self.force.spec.deleting && self.view.replicas.is_empty() {
            return self.delete_service();
        }
        let mut found = classify(self.name, self.view, self.fleet);
        self.count_failures(&found);
        self.survey(&found);
        self.note_unreadable_hosts(&found);
        if self.starts_first_when_asked() {
            self.find_crowd(&found);
        }
        self.count_successors(&found);
        self.change_count(&mut found);
        self.replace(&mut found);
        self.find_crowd(&found);
        self.grant_budget(&found);
        self.choose_turn(&found);
        self.give_way(&mut found);
        self.reserve_seats(&found);
        // What begins now is carried out from the next round on.
        let begins = self.course.begins();
        for replica in &found {
            let standing = if begins { Standing::Busy } else { self.decide(replica) };
            self.tally.count(standing, replica, &self.course);
        }
        self.drop_strays(&found);
        self.write_rollout(&found);
        if !begins {
            self.forget_configs(&found);
            self.forget_moves(&found);
        }
        self.finish()
    }

    /// Who is where, what the replicas are brought to, and as what they look for a place.
    pub(super) fn survey(&mut self, found: &[Found<'a>]) {
        self.seat_all(found);
        self.steer(found);
        if let Some(goal) = self.course.goal() {
            self.placer.run_as(&goal.revision.template);
        }
    }

    /// Who has to leave because of others of the service. Those that are put on their way out are in nobody's way.
    pub(super) fn find_crowd(&mut self, found: &[Found<'a>]) {
        self.crowd = Crowd::find(self.force.spec, self.placer.unit, found, self.fleet);
    }

    /// Every placed replica has its seat, those on their way out too, and every index that is still there: their
    /// processes may be as well.
    fn seat_all(&mut self, found: &[Found<'a>]) {
        for case in found.iter().filter_map(known) {
            if let Some(host) = case.host {
                self.placer.seats.seat(host, !case.desired.removing);
            }
        }
        for &(_, host) in self.fleet.strays.get(self.name).into_iter().flatten() {
            self.placer.seats.seat(host, false);
        }
    }

    fn note_unreadable_hosts(&mut self, found: &[Found<'a>]) {
        for case in found.iter().filter_map(known) {
            for (path, problem) in case.host.iter().flat_map(|&host| self.fleet.hosts[host].problems()) {
                let text = format!("{problem}; nothing is placed there or moved away until it is mended");
                self.notices.add(ConditionKind::InvalidDocument, &path, Some(case.number()), &text);
            }
        }
    }

    /// How many ready replicas may become unready: those beyond the number wanted, and `max_unavailable`. Of those that
    /// `max_failures` forgives, nobody hopes that they serve. On a way back neither of those that are on no host or on a lost
    /// one, or failed: what was given up does not stay for them, though nothing else is disturbed beyond the budget.
    pub(super) fn grant_budget(&mut self, found: &[Found<'a>]) {
        let ready = found.iter().filter_map(known).filter(|case| !case.desired.removing && case.ready()).count();
        let wanted = self.force.wanted();
        let (max_unavailable, _) = self.force.spec.budget(wanted);
        let left = |forgiven: usize| (ready + max_unavailable + forgiven).saturating_sub(wanted);
        // With the rollout's end, that is over, too.
        self.budget = left(if self.course.is_active() { self.course.survey.forgiven } else { 0 });
        if self.course.is_going_back() {
            self.leeway =
                left(found.iter().filter_map(known).filter(|case| is_idle(case)).count()).saturating_sub(self.budget);
        }
    }

    pub(super) fn count_failures(&mut self, found: &[Found<'a>]) {
        let late = |case: &'_ Case<'a>| late_failures(&case.desired.failed_on, self.context.now).map(|it| it.at);
        let ends: Vec<Timestamp> =
            found.iter().filter_map(known).flat_map(late).map(|at| after(at, COOL_OFF)).collect();
        (self.failures, self.failures_until) = (ends.len(), ends.into_iter().min());
    }

    fn decide(&mut self, replica: &Found<'a>) -> Standing {
        if !self.draft.has_room() {
            return Standing::Busy;
        }
        match replica {
            Found::Fresh(id, view) => self.seat_fresh(id, view),
            Found::Broken(id, view) => {
                self.rebuild(id, view, false);
                Standing::Busy
            }
            Found::Known(case) if case.desired.removing => self.finish_removal(case),
            Found::Known(case) => self.decide_known(case),
        }
    }

    fn decide_known(&mut self, case: &Case<'a>) -> Standing {
        let Some(host) = case.host else { return self.seat_unplaced(case) };
        let left = self.leave_failing_host(case, host).or_else(|| self.leave_lost_host(case, host));
        if let Some(standing) = left {
            return standing;
        }
        if !self.force.enabled() {
            self.note_unknown(case);
        }
        match self.unfit(case, host) {
            Some(why) => self.vacate(case, host, &why),
            None => self.keep(case),
        }
    }

    /// Asks for a host for the replica to move to now, in place of a seat that was reserved.
    pub(super) fn pick(&mut self, case: &Case<'a>) -> Result<Choice, Misfit> {
        self.cancel(case);
        self.choose(case, false)
    }

    /// Whether another host would take the replica, as far as can be told before anything is decided.
    pub(super) fn fits_elsewhere(&mut self, case: &Case<'a>) -> bool {
        self.fits(case, &self.ask(case, false))
    }

    /// The same of one whose turn to be brought to what all are brought to has not come, once it has.
    pub(super) fn will_fit_elsewhere(&mut self, case: &Case<'a>) -> bool {
        self.fits(case, &Ask { first: None, ..self.ask(case, false) })
    }

    fn fits(&mut self, case: &Case<'a>, ask: &Ask<'_, 'a>) -> bool {
        let fits = self.placer.fits(self.fleet, ask);
        if !fits {
            self.wake_after_cool_off(case);
        }
        fits
    }

    /// Reserves a seat elsewhere for a replica that is still where it is.
    pub(super) fn reserve(&mut self, case: &Case<'a>) -> Result<(), Misfit> {
        let choice = self.choose(case, true)?;
        self.reserved.insert(case.number(), choice);
        Ok(())
    }

    fn choose(&mut self, case: &Case<'a>, ahead: bool) -> Result<Choice, Misfit> {
        let choice = self.placer.pick(self.fleet, &self.ask(case, ahead));
        if choice.is_err() {
            self.wake_after_cool_off(case);
        }
        choice
    }

    /// A host where the replica failed may be tried again then.
    fn wake_after_cool_off(&mut self, case: &Case<'a>) {
        for failed in &case.desired.failed_on {
            self.wake(after(failed.at, COOL_OFF));
        }
    }

    /// Gives a reserved seat back.
    pub(super) fn cancel(&mut self, case: &Case<'a>) {
        if let Some(choice) = self.reserved.remove(&case.number()) {
            let ask = self.ask(case, true);
            self.placer.unpick(self.fleet, &ask, &choice);
        }
    }

    pub(super) fn push(&mut self, ops: Vec<Op>, note: Note, urgent: bool) {
        self.draft.push(Step { ops, event: note, urgent });
    }

    pub(super) fn notice(&mut self, kind: ConditionKind, subject: &str, number: ReplicaNumber, text: &str) {
        self.notices.add(kind, subject, Some(number), text);
    }

    /// Asks to be woken at `at`, unless that is over.
    pub(super) fn wake(&mut self, at: Timestamp) {
        if at > self.context.now {
            self.wake_at = self.wake_at.into_iter().chain([at]).min();
        }
    }

    /// Whether the replica's index on the host can't be deleted: ZooKeeper deletes no node with children, and these
    /// are not zkops's own. Says so.
    pub(super) fn index_blocked(&mut self, id: &ReplicaId, host: HostIndex) -> bool {
        let Host { name, view, .. } = self.fleet.hosts[host];
        let others = view.map(|view| &view.others);
        let path = others.and_then(|others| below(others, &layout::assignment(name, id)).next());
        self.note_in_the_way(id, path.map(str::to_owned))
    }

    /// Whether nobody has put anything below the node, so that it can be deleted.
    pub(super) fn is_leaf(&self, path: &str) -> bool {
        below(&self.view.others, path).next().is_none()
    }

    /// Whether the replica's nodes can't be deleted, for the same reason.
    pub(super) fn replica_blocked(&mut self, id: &ReplicaId) -> bool {
        let path = below(&self.view.others, &layout::replica(id)).next().map(str::to_owned);
        self.note_in_the_way(id, path)
    }

    fn note_in_the_way(&mut self, id: &ReplicaId, path: Option<String>) -> bool {
        let Some(path) = path else { return false };
        self.notice(
            ConditionKind::Waiting,
            "",
            id.number,
            &format!("{path} is in the way and not zkops's own: delete it"),
        );
        true
    }
}

/// Whether nobody hopes that the replica, one of those wanted, will serve by itself soon: it is on no host or on a lost one, or
/// failed.
pub(super) fn is_idle(case: &Case<'_>) -> bool {
    let waits = case.desired.removing || case.desired.surge || case.ready();
    !waits && (case.host.is_none() || !case.host_alive || case.failed())
}
