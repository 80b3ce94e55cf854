//! One service, one round: what is in force, what there is, what is done about it, and what is said of it. The order of
//! all that is decided.

use super::{
    Context,
    classify::{Replica, ReplicaKind, classify, managed},
    fleet::Fleet,
    notice::Notices,
    round::Round,
    status::{ReplicaOutcome, StatusContent, figure, transaction},
    transaction::{MAX_OPS, Note, TransactionBuilder},
    words::{Consequence, Invalid, Subject, Waiting},
};
use crate::{
    model::{EventReason, ServiceName, Summary},
    tree::{
        layout,
        snapshot::{Doc, ServiceView},
        txn::{Op, Transaction},
    },
};

/// What comes out for one service.
#[derive(Default)]
pub(super) struct Planned {
    pub(super) transaction: Option<Transaction>,
    /// Whether it brings back what was lost.
    pub(super) is_urgent: bool,
    pub(super) wake_at: Option<jiff::Timestamp>,
    /// What its status cannot say.
    pub(super) note: Option<String>,
    /// How many replicas stay where they fail; see [`Plan::held`](super::Plan::held).
    pub(super) held: usize,
}

/// Plans one service. A description without a desired state gets no status yet: the first replica's number is the
/// count of children created before it, so it is 1 only when nothing but `desired` is there.
pub(super) fn plan_service<'a>(
    name: &'a ServiceName,
    view: &'a ServiceView,
    fleet: &mut Fleet<'a>,
    context: &'a Context,
) -> Planned {
    let untouched = view.status.is_none() && view.desired.is_none() && view.replicas.is_empty();
    match Round::open(name, view, fleet, context) {
        Ok(round) => round.plan(),
        Err(_) if untouched => {
            let note = Some(format!(
                "{name} has no desired state, so nothing of it runs: {} is missing",
                layout::desired(name)
            ));
            Planned { note, ..Planned::default() }
        }
        Err(notices) => without_force(name, view, &notices, context),
    }
}

/// A service of which nothing ever was good: its status says what is wrong, and nothing else is touched.
fn without_force(name: &ServiceName, view: &ServiceView, notices: &Notices, context: &Context) -> Planned {
    let face = StatusContent {
        view,
        force: None,
        summary: Summary::Degraded,
        replicas: figure(view.replicas.len()),
        ready: figure(view.instances.len()),
        updated: 0,
        rollout: view.status.as_ref().and_then(Doc::good).and_then(|status| status.rollout.clone()),
        conditions: notices.conditions(name),
    };
    Planned { transaction: transaction(name, face, TransactionBuilder::new(None), context), ..Planned::default() }
}

impl<'a> Round<'_, 'a> {
    fn plan(mut self) -> Planned {
        if self.facts.force.spec.deleting && self.facts.view.replicas.is_empty() {
            return self.delete_service();
        }
        let mut found = classify(self.facts.name, self.facts.view, self.places.fleet);
        self.observe(&found);
        self.note_unreadable_hosts(&found);
        if self.facts.starts_first_when_asked() {
            self.places.find_conflicts(&found);
        }
        self.count_successors(&found);
        self.change_count(&mut found);
        self.replace(&mut found);
        self.places.find_conflicts(&found);
        self.choose_turn(&found);
        self.give_way(&mut found);
        self.reserve_seats(&found);
        // What begins now is carried out from the next round on.
        let begins = self.rollout.begins();
        for replica in &found {
            let standing = if begins { ReplicaOutcome::Busy } else { self.decide(replica) };
            self.out.counts.count(standing, replica, &self.rollout);
        }
        self.drop_strays(&found);
        self.rollout.write_rollout(&found, &mut self.out);
        if !begins {
            self.forget_configs(&found);
            self.forget_moves(&found);
        }
        self.finish()
    }

    fn note_unreadable_hosts(&mut self, found: &[ReplicaKind<'a>]) {
        for replica in found.iter().filter_map(managed) {
            for (path, problem) in replica.host.iter().flat_map(|&host| self.places.fleet.hosts[host].problems()) {
                let why = Invalid::Unreadable(&problem, Consequence::HostLeftAlone);
                self.out.notice(Subject::Document(path), replica.number(), &why);
            }
        }
    }

    fn decide(&mut self, replica: &ReplicaKind<'a>) -> ReplicaOutcome {
        if !self.out.builder.has_room() {
            return ReplicaOutcome::Busy;
        }
        match replica {
            ReplicaKind::New(id, view) => self.assign_new(id, view),
            ReplicaKind::Damaged(id, view) => {
                self.rebuild(id, view, false);
                ReplicaOutcome::Busy
            }
            ReplicaKind::Managed(replica) if replica.desired.removing => self.finish_removal(replica),
            ReplicaKind::Managed(replica) => self.decide_known(replica),
        }
    }

    fn decide_known(&mut self, replica: &Replica<'a>) -> ReplicaOutcome {
        let Some(host) = replica.host else { return self.assign_unplaced(replica) };
        let left = self.leave_failing_host(replica, host).or_else(|| self.leave_lost_host(replica, host));
        if let Some(standing) = left {
            return standing;
        }
        if !self.facts.force.enabled() {
            self.note_unknown(replica);
        }
        match self.places.must_move(replica, host, &self.rollout) {
            Some(why) => self.vacate(replica, host, &why),
            None => self.keep(replica),
        }
    }

    /// The round's transaction: all its steps, and the status, whose version guards them.
    fn finish(mut self) -> Planned {
        self.create_instances();
        let summary = self.out.counts.summary(&self.facts.force);
        if matches!(summary, Summary::Progressing | Summary::Draining | Summary::Deleting) {
            self.out.notices.add(Subject::Service, None, &self.out.counts.progress(&self.facts.force));
        }
        let replicas =
            (self.facts.view.replicas.len() + self.out.counts.created).saturating_sub(self.out.counts.deleted);
        let face = StatusContent {
            view: self.facts.view,
            force: Some(self.facts.force),
            summary,
            replicas: figure(replicas),
            ready: self.out.counts.listed,
            updated: self.out.counts.updated,
            rollout: self.rollout.rollout_summary(),
            conditions: self.out.notices.conditions(self.facts.name),
        };
        let is_urgent = self.out.builder.urgent();
        let transaction = transaction(self.facts.name, face, self.out.builder, self.facts.context);
        let transaction = transaction.map(|transaction| Transaction { moves: self.out.moves, ..transaction });
        Planned { transaction, is_urgent, wake_at: self.out.wake_at, note: None, held: self.out.held }
    }

    /// The parent of the agents' ephemerals. After the first sequential nodes, so that these start at 1.
    fn create_instances(&mut self) {
        if self.facts.view.instances_version.is_none() && !self.facts.force.spec.deleting {
            let op = Op::Create { path: layout::instances(self.facts.name), data: b"{}".to_vec() };
            let note = Note::of_service(EventReason::Housekeeping, "instances created".to_owned());
            self.out.push(vec![op], note, false);
        }
    }

    /// The service is to be deleted and has no replicas left: its nodes go too, deepest first.
    fn delete_service(mut self) -> Planned {
        let ours = ["config", "moves", "rollouts"].map(|child| format!("{}/{child}", layout::service(self.facts.name)));
        let is_ours = |path: &str| {
            ours.iter().any(|root| {
                path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let foreign: Vec<_> = self.facts.view.others.keys().filter(|path| !is_ours(path)).take(3).cloned().collect();
        if !foreign.is_empty() {
            self.out.notices.add(Subject::Service, None, &Waiting::ForeignNodes(&foreign));
            return self.finish();
        }
        let mut ops: Vec<Op> =
            self.facts.view.others.iter().rev().map(|(path, version)| delete(path.clone(), *version)).collect();
        let instances = self.facts.view.instances.iter();
        ops.extend(instances.map(|(name, doc)| delete(layout::instance(self.facts.name, name), doc.version)));
        if ops.len() > MAX_OPS / 2 {
            ops.truncate(MAX_OPS / 2);
            let note = Note::of_service(EventReason::Housekeeping, "its history is being deleted".to_owned());
            self.out.push(ops, note, false);
            return self.finish();
        }
        self.delete_own_nodes(ops)
    }

    fn delete_own_nodes(self, mut ops: Vec<Op>) -> Planned {
        let view = self.facts.view;
        let own = [
            (layout::instances(self.facts.name), view.instances_version),
            (layout::status(self.facts.name), view.status.as_ref().map(|doc| doc.version)),
            (layout::desired(self.facts.name), view.desired.as_ref().map(|doc| doc.version)),
            (layout::service(self.facts.name), view.spec.as_ref().map(|doc| doc.version)),
        ];
        ops.extend(own.into_iter().filter_map(|(path, version)| Some(delete(path, version?))));
        let reason = format!("{}: deleted, as asked; no replica is left", self.facts.name);
        let transaction = Some(Transaction { ops, reason, ..Transaction::default() });
        Planned { transaction, ..Planned::default() }
    }
}

fn delete(path: String, version: i32) -> Op {
    Op::Delete { path, version: Some(version) }
}
