//! Forgetting what is done with: configuration revisions that nothing uses, since each push makes one and the tree is in
//! ZooKeeper's memory; and moves that were carried out.

use std::collections::BTreeSet;

use super::{
    classify::{Replica, ReplicaKind, managed},
    round::Round,
    transaction::Note,
    words::{Consequence, Invalid, Subject},
};
use crate::{
    model::{ConfigPolicy, EventReason, counted},
    tree::{layout, snapshot::Doc, txn::Op},
};

/// The most revisions that are deleted at once; the others go with the next plans.
const MOST: usize = 20;

impl<'a> Round<'_, 'a> {
    /// Deletes the oldest revisions that nothing uses and no record names, but for the newest of them.
    pub(super) fn forget_configs(&mut self, found: &[ReplicaKind<'a>]) {
        let keep = self.facts.force.spec.config.as_ref().and_then(|policy| policy.keep).unwrap_or(ConfigPolicy::KEEP);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        if self.facts.view.configs.len() <= keep || self.facts.force.spec.deleting || !self.out.builder.has_room() {
            return;
        }
        let Some(used) = self.used_configs(found) else { return };
        let old = self.facts.view.configs.iter().rev().filter(|revision| !used.contains(revision)).skip(keep);
        let path = |revision: &u64| layout::config(self.facts.name, *revision);
        let delete = |path: String| Some(Op::Delete { version: Some(*self.facts.view.others.get(&path)?), path });
        let mut oldest: Vec<&u64> = old.collect();
        oldest.reverse();
        let mut ops: Vec<Op> = oldest
            .into_iter()
            .map(path)
            .filter(|path| self.facts.is_leaf(path))
            .filter_map(delete)
            .take(MOST)
            .collect();
        if ops.is_empty() {
            return;
        }
        let count = ops.len();
        // Somebody may want one of them in this moment.
        let desired = self.facts.view.desired.as_ref().map(|doc| doc.version);
        ops.extend(desired.map(|version| Op::Check { path: layout::desired(self.facts.name), version }));
        let message = format!("{} that nothing uses deleted (config.keep: {keep})", counted(count, "config revision"));
        self.out.push(ops, Note::of_service(EventReason::Housekeeping, message), false);
    }

    /// Deletes what an operator asked of single replicas once none is where it was to leave.
    pub(super) fn forget_moves(&mut self, found: &[ReplicaKind<'a>]) {
        let Some(doc) = &self.facts.view.moves else { return };
        let path = layout::moves(self.facts.name);
        if let Err(error) = &doc.value {
            let why = Invalid::Unreadable(error, Consequence::NothingMoved);
            self.out.notices.add(Subject::Document(path), None, &why);
            return;
        }
        let waits = |replica: &Replica<'a>| {
            !replica.desired.removing
                && replica.host.is_some_and(|host| self.places.is_asked_to_leave(replica.number(), host))
        };
        if !self.facts.is_leaf(&path) || found.iter().filter_map(managed).any(waits) || !self.out.builder.has_room() {
            return;
        }
        let ops = vec![Op::Delete { path, version: Some(doc.version) }];
        let message = "the moves that were asked for are done".to_owned();
        self.out.push(ops, Note::of_service(EventReason::Housekeeping, message), false);
    }

    /// The revisions that somebody wants, runs, or may go back to. `None` when a document that may name one cannot be read.
    fn used_configs(&self, found: &[ReplicaKind<'a>]) -> Option<BTreeSet<u64>> {
        let view = self.facts.view;
        let mut used: BTreeSet<u64> = self.facts.force.desired.config_version.into_iter().collect();
        used.extend(view.desired.as_ref()?.good()?.config_version);
        for record in view.rollouts.values() {
            used.extend(record.good()?.revision.config_version);
        }
        for replica in found {
            let replica = managed(replica)?;
            used.extend(replica.desired.config_version);
            used.extend(replica.status.and_then(|status| status.config_version));
            used.extend(replica.assignment.and_then(Doc::good).and_then(|assignment| assignment.config_version));
        }
        // What an index has of a replica that is placed elsewhere may run there still.
        self.places.fleet.strays.get(self.facts.name).is_none_or(Vec::is_empty).then_some(used)
    }
}
