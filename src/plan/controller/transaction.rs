//! One service's transaction while it is being put together: steps, each whole, up to what one multi may carry.

use std::collections::BTreeSet;

use crate::{
    model::{EventReason, HostName, ReplicaNumber, ServiceSpec, encode},
    tree::txn::Op,
};

/// The most operations of one transaction; it leaves room for the leader's lock check.
pub(super) const MAX_OPS: usize = 290;
/// The most bytes of one transaction, paths included: well below ZooKeeper's default `jute.maxbuffer` of 1 MiB.
pub(super) const MAX_BYTES: usize = 400 * 1024;
/// What a status takes beside the accepted description: events and conditions at their longest.
const STATUS_BYTES: usize = 64 * 1024;
/// What the operations of one step take beside the description: paths, and a replica's desired state.
const STEP_BYTES: usize = 10 * 1024;
/// The most operations of one step.
const STEP_OPS: usize = 8;

/// What is done about one replica (or one thing): all of it lands, or none.
pub(super) struct Step {
    pub(super) ops: Vec<Op>,
    pub(super) event: Note,
    /// Whether it brings back what was lost: such transactions go first.
    pub(super) urgent: bool,
}

/// What is done and why, for events and the log.
pub(super) struct Note {
    pub(super) reason: EventReason,
    pub(super) replica: Option<ReplicaNumber>,
    pub(super) node: Option<HostName>,
    pub(super) message: String,
}

impl Note {
    /// What is about the service as a whole.
    pub(super) fn of_service(reason: EventReason, message: String) -> Self {
        Self { reason, replica: None, node: None, message }
    }

    /// What is about a replica, and a host if there is one.
    pub(super) fn of_replica(
        reason: EventReason,
        number: ReplicaNumber,
        node: Option<&HostName>,
        message: String,
    ) -> Self {
        Self { reason, replica: Some(number), node: node.cloned(), message }
    }
}

/// The steps of one service in one round.
pub(super) struct TransactionBuilder<'a> {
    spec: Option<&'a ServiceSpec>,
    steps: Vec<Step>,
    /// Operations after those of the steps.
    tail: Vec<Op>,
    /// The nodes whose version is checked.
    checked: BTreeSet<String>,
    ops: usize,
    bytes: usize,
    /// The description's size: each step and the status may repeat it. Known once there is a step.
    spec_bytes: usize,
}

impl<'a> TransactionBuilder<'a> {
    pub(super) fn new(spec: Option<&'a ServiceSpec>) -> Self {
        Self {
            spec,
            steps: Vec::new(),
            tail: Vec::new(),
            checked: BTreeSet::new(),
            ops: 1,
            bytes: STATUS_BYTES,
            spec_bytes: 0,
        }
    }

    /// Whether another step fits; one always does. What does not fit waits for the next round, so ask before deciding
    /// anything.
    pub(super) fn has_room(&self) -> bool {
        self.ops + STEP_OPS <= MAX_OPS && self.bytes + self.spec_bytes + STEP_BYTES <= MAX_BYTES
    }

    /// A check that an earlier step makes is made once.
    pub(super) fn push(&mut self, mut step: Step) {
        step.ops.retain(|op| !matches!(op, Op::Check { path, .. } if !self.checked.insert(path.clone())));
        if self.steps.is_empty() {
            self.spec_bytes = self.spec.map_or(0, |spec| encode(spec).len());
            self.bytes += self.spec_bytes;
        }
        self.ops += step.ops.len();
        self.bytes += step.ops.iter().map(size).sum::<usize>();
        self.steps.push(step);
    }

    /// Adds operations that belong to no replica, and what is said of them, which may be nothing.
    pub(super) fn append(&mut self, ops: Vec<Op>, notes: impl Iterator<Item = Note>) {
        for event in notes {
            self.push(Step { ops: Vec::new(), event, urgent: false });
        }
        self.tail.extend(ops);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.tail.is_empty()
    }

    pub(super) fn urgent(&self) -> bool {
        self.steps.iter().any(|step| step.urgent)
    }

    /// The notes of all steps, in order.
    pub(super) fn notes(&self) -> impl Iterator<Item = &Note> {
        self.steps.iter().map(|step| &step.event)
    }

    /// All operations, in order.
    pub(super) fn into_ops(self) -> Vec<Op> {
        self.steps.into_iter().flat_map(|step| step.ops).chain(self.tail).collect()
    }

    /// In one line: the first steps and how many more there are.
    pub(super) fn summary(&self) -> String {
        let mut parts: Vec<_> = self.notes().take(3).map(line).collect();
        let more = self.steps.len().saturating_sub(parts.len());
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        if parts.is_empty() { "its rollout's record".to_owned() } else { parts.join("; ") }
    }
}

fn line(note: &Note) -> String {
    note.replica.map_or_else(|| note.message.clone(), |number| format!("{number} {}", note.message))
}

/// An operation's share of its transaction, in bytes.
pub(super) fn size(op: &Op) -> usize {
    match op {
        Op::Check { path, .. } | Op::Delete { path, .. } => path.len(),
        Op::Create { path, data } | Op::CreateEphemeral { path, data } | Op::Set { path, data, .. } => {
            path.len() + data.len()
        }
        Op::CreateSequential { prefix, data } => prefix.len() + data.len(),
    }
}
