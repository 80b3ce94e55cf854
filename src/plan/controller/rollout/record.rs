//! The records: beginning a rollout, writing how far it is, and forgetting old ones.

use std::collections::{BTreeMap, BTreeSet};

use super::ActiveRollout;
use crate::{
    model::{EventReason, Revision, Rollout, RolloutState, RolloutSummary, encode},
    plan::controller::{
        classify::{ReplicaKind, managed},
        output::Output,
        transaction::Note,
    },
    tree::{layout, snapshot::Doc, txn::Op},
};

impl<'a> ActiveRollout<'a> {
    /// Whether what is wanted differs from what the newest rollout brings, or none has brought anything yet.
    pub(super) fn wishes_something_new(&self) -> bool {
        if self.is(RolloutState::Superseded) {
            return true;
        }
        let Some(newest) = self.newest() else { return true };
        let (spec, desired, brought) = (self.facts.force.spec, self.facts.force.desired, newest.revision);
        desired.version != brought.version
            || desired.config_version != brought.config_version
            || !spec.is_brought_by(brought)
    }

    /// Has a rollout begin with what is wanted now.
    pub(super) fn begin(&mut self) {
        let revision = self.facts.force.spec.revision(self.facts.force.desired);
        let from = self.before.and_then(|(number, newest)| match newest.state {
            // Of none that was wanted, none has shown that it serves.
            RolloutState::Completed if newest.healthy > 0 => Some(number),
            _ => newest.from,
        });
        // What was healthy before needs no trial.
        let proven =
            from.and_then(|from| super::goal_of(self.facts.view, from)).is_some_and(|good| *good.revision == revision);
        let now = self.facts.context.now;
        self.next = Some(Box::new(Rollout {
            state: RolloutState::Running,
            reason: String::new(),
            pause: None,
            revision,
            from,
            back: false,
            cause: String::new(),
            started: now,
            ended: None,
            batch: u32::from(proven && !self.facts.force.spec.rollout.canary.is_zero()),
            batch_done: None,
            promoted: proven,
            resumed: false,
            progress: now,
            healthy: 0,
            updating: BTreeMap::new(),
            order: Some(self.facts.view.rollouts_node.as_ref().map_or(0, |doc| doc.version)),
        }));
        let what = self.next.as_deref().map(|next| describe(&next.revision)).unwrap_or_default();
        let number = self.next_number();
        if self.is_active()
            && let Some(record) = self.edit()
        {
            (record.state, record.pause, record.ended) = (RolloutState::Superseded, None, Some(now));
            record.reason = format!("rollout {number} ({what}) superseded it");
            record.updating.clear();
        }
        self.said.push((EventReason::RolloutStarted, format!("rollout {number} started: {what}")));
    }

    /// Numbers never return, even when somebody deletes the newest record.
    fn next_number(&self) -> u64 {
        let told = self.facts.view.status.as_ref().and_then(Doc::good).and_then(|status| status.rollout.as_ref());
        let there = self.facts.view.rollouts.keys().next_back().copied();
        there.into_iter().chain(told.map(|told| told.number)).max().unwrap_or(0).saturating_add(1)
    }

    /// Writes what has changed of the records. After the first sequential nodes, so that these start at 1.
    pub(in crate::plan::controller) fn write_rollout(&mut self, found: &[ReplicaKind<'a>], out: &mut Output<'a>) {
        let mut ops = Vec::new();
        if let (Some((number, before)), Some(after)) = (self.before, self.after.as_deref())
            && after != before
            && let Some(doc) = self.facts.view.rollouts.get(&number)
        {
            let path = layout::rollout(self.facts.name, number);
            ops.push(Op::Set { path, data: encode(after), version: Some(doc.version) });
        }
        if let Some(next) = self.next.take() {
            ops.extend(self.as_wished());
            ops.extend(self.create_record(&next));
            ops.extend(self.prune(found, next.from));
        }
        let said = std::mem::take(&mut self.said);
        out.builder.append(ops, said.into_iter().map(|(reason, message)| Note::of_service(reason, message)));
    }

    /// A wish may be two documents, written at once and heard of one after the other: half of it begins nothing.
    fn as_wished(&self) -> impl Iterator<Item = Op> + use<> {
        let spec = self.facts.view.spec.as_ref().map(|doc| (layout::service(self.facts.name), doc.version));
        let desired = self.facts.view.desired.as_ref().map(|doc| (layout::desired(self.facts.name), doc.version));
        [spec, desired].into_iter().flatten().map(|(path, version)| Op::Check { path, version })
    }

    fn create_record(&self, next: &Rollout) -> Vec<Op> {
        let parent = (self.facts.view.rollouts_node.is_none())
            .then(|| Op::Create { path: layout::rollouts(self.facts.name), data: b"{}".to_vec() });
        let path = layout::rollout(self.facts.name, self.next_number());
        parent.into_iter().chain([Op::Create { path, data: encode(next) }]).collect()
    }

    /// Old records go, unless a replica still runs what they brought, or a rollback would return to them.
    fn prune(&self, found: &[ReplicaKind<'a>], from: Option<u64>) -> Vec<Op> {
        let limit = usize::try_from(self.facts.force.spec.rollout.history_limit).unwrap_or(usize::MAX);
        let mut needed: BTreeSet<u64> =
            found.iter().filter_map(managed).filter_map(|replica| replica.desired.rollout).collect();
        needed.extend(from);
        needed.extend(self.number());
        let may_go =
            |number: &u64| !needed.contains(number) && self.facts.is_leaf(&layout::rollout(self.facts.name, *number));
        let old = self.facts.view.rollouts.iter().filter(|(number, _)| may_go(number));
        let old: Vec<_> = old.rev().skip(limit).take(MOST_PRUNED).collect();
        let delete = |(number, doc): (&u64, &Doc<Rollout>)| Op::Delete {
            path: layout::rollout(self.facts.name, *number),
            version: Some(doc.version),
        };
        old.into_iter().map(delete).collect()
    }

    /// What the service's status says of the newest rollout.
    pub(in crate::plan::controller) fn rollout_summary(&self) -> Option<RolloutSummary> {
        let (Some(number), Some(record)) = (self.number(), self.record()) else {
            let status = self.facts.view.status.as_ref().and_then(Doc::good);
            return status.and_then(|status| status.rollout.clone());
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (healthy, total) = if record.state.has_ended() {
            (record.healthy, record.healthy)
        } else {
            (count(self.progress.healthy), count(self.facts.force.wanted()))
        };
        let reason = record.reason.clone();
        Some(RolloutSummary { number, state: record.state, reason, healthy, total })
    }
}

/// The most records deleted at once; the rest go with the next rollouts.
const MOST_PRUNED: usize = 20;

/// What a revision is, in a few words.
pub(super) fn describe(revision: &Revision) -> String {
    let version = revision.version.as_ref().map(|version| format!("version {version}"));
    let config = revision.config_version.map(|config| format!("config {config}"));
    let parts: Vec<String> = version.into_iter().chain(config).collect();
    if parts.is_empty() { "no version".to_owned() } else { parts.join(", ") }
}
