//! The end of a service's round: its transaction, and that of a service which goes.

use super::{
    Context,
    draft::{Draft, MAX_OPS, Note},
    notice::Notices,
    round::{Planned, Round},
    status::{Face, figure, transaction},
};
use crate::{
    model::{ConditionKind, ServiceName, Summary},
    tree::{
        layout,
        snapshot::{Doc, ServiceView},
        txn::{Op, Transaction},
    },
};

/// A service of which nothing ever was good: its status says what is wrong, and nothing else is touched.
pub(super) fn without_force(name: &ServiceName, view: &ServiceView, notices: &Notices, context: &Context) -> Planned {
    let face = Face {
        view,
        force: None,
        summary: Summary::Degraded,
        replicas: figure(view.replicas.len()),
        ready: figure(view.instances.len()),
        updated: 0,
        rollout: view.status.as_ref().and_then(Doc::good).and_then(|status| status.rollout.clone()),
        conditions: notices.messages(name),
    };
    let transaction = transaction(name, face, Draft::new(None), context);
    Planned { transaction, is_urgent: false, wake_at: None, note: None, held: 0 }
}

impl Round<'_, '_> {
    /// The round's transaction: all its steps, and the status, whose version guards them.
    pub(super) fn finish(mut self) -> Planned {
        self.create_instances();
        let summary = self.tally.summary(&self.force);
        if matches!(summary, Summary::Progressing | Summary::Draining | Summary::Deleting) {
            self.notices.add(ConditionKind::Progressing, "", None, &self.tally.progress(&self.force));
        }
        let replicas = (self.view.replicas.len() + self.tally.created).saturating_sub(self.tally.deleted);
        let face = Face {
            view: self.view,
            force: Some(self.force),
            summary,
            replicas: figure(replicas),
            ready: self.tally.listed,
            updated: self.tally.updated,
            rollout: self.rollout_summary(),
            conditions: self.notices.messages(self.name),
        };
        let is_urgent = self.draft.urgent();
        let transaction = transaction(self.name, face, self.draft, self.context);
        let transaction = transaction.map(|transaction| Transaction { moves: self.moves, ..transaction });
        Planned { transaction, is_urgent, wake_at: self.wake_at, note: None, held: self.held }
    }

    /// The parent of the agents' ephemerals. After the first sequential nodes, so that these start at 1.
    fn create_instances(&mut self) {
        if self.view.instances_version.is_none() && !self.force.spec.deleting {
            let op = Op::Create { path: layout::instances(self.name), data: b"{}".to_vec() };
            self.push(vec![op], Note::new(None, None, "instances created".to_owned()), false);
        }
    }

    /// The service is to be deleted and has no replicas left: its nodes go too, deepest first.
    pub(super) fn delete_service(mut self) -> Planned {
        let ours = ["config", "moves", "rollouts"].map(|child| format!("{}/{child}", layout::service(self.name)));
        let is_ours = |path: &str| {
            ours.iter().any(|root| {
                path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let foreign: Vec<_> = self.view.others.keys().filter(|path| !is_ours(path)).take(3).cloned().collect();
        if !foreign.is_empty() {
            let text = format!("the service's nodes stay: {} are not zkops's own; delete them", foreign.join(", "));
            self.notices.add(ConditionKind::Waiting, "", None, &text);
            return self.finish();
        }
        let mut ops: Vec<Op> =
            self.view.others.iter().rev().map(|(path, version)| delete(path.clone(), *version)).collect();
        let instances = self.view.instances.iter();
        ops.extend(instances.map(|(name, doc)| delete(layout::instance(self.name, name), doc.version)));
        if ops.len() > MAX_OPS / 2 {
            ops.truncate(MAX_OPS / 2);
            self.push(ops, Note::new(None, None, "its history is being deleted".to_owned()), false);
            return self.finish();
        }
        self.delete_own_nodes(ops)
    }

    fn delete_own_nodes(self, mut ops: Vec<Op>) -> Planned {
        let view = self.view;
        let own = [
            (layout::instances(self.name), view.instances_version),
            (layout::status(self.name), view.status.as_ref().map(|doc| doc.version)),
            (layout::desired(self.name), view.desired.as_ref().map(|doc| doc.version)),
            (layout::service(self.name), view.spec.as_ref().map(|doc| doc.version)),
        ];
        ops.extend(own.into_iter().filter_map(|(path, version)| Some(delete(path, version?))));
        let reason = format!("{}: deleted, as asked; no replica is left", self.name);
        let transaction = Some(Transaction { ops, reason, ..Transaction::default() });
        Planned { transaction, is_urgent: false, wake_at: None, note: None, held: 0 }
    }
}

fn delete(path: String, version: i32) -> Op {
    Op::Delete { path, version: Some(version) }
}
