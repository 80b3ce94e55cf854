//! One publication: what it writes, and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::{
    model::{ReplicaId, ReplicaStatus, decode, encode},
    store::{Applied, Barrier, Client, CommitError, Presence},
    tree::{layout, txn::Op},
};

/// A connection, as `(epoch, joins)`.
pub(super) type Connection = (u64, u64);

/// The ephemerals by path, and each listed replica's name in `instances`.
pub(super) type Ephemerals = (BTreeMap<String, Vec<u8>>, BTreeMap<ReplicaId, String>);

/// What a publication came to.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) at: Connection,
    /// `None` = it was one of statuses alone.
    pub(super) ephemerals: Option<Registered>,
    /// Each status that was tried: as the tree has it now, if that is known.
    pub(super) statuses: Vec<(ReplicaId, Result<Option<ReplicaStatus>, String>)>,
    /// Transactions that were sent.
    pub(super) writes: u32,
}

/// What became of the ephemerals.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) presence: Presence,
    pub(super) known: BTreeSet<ReplicaId>,
    pub(super) result: Result<Ephemerals, String>,
    /// Statuses that were to ride along, whether they did or not.
    pub(super) riders: Vec<ReplicaId>,
    /// `alive` was written, and is in the mirror's batches by now.
    pub(super) seen: bool,
}

/// The ephemerals, in one transaction, and with them the statuses of replicas that come or change.
pub(super) struct Registration {
    pub(super) at: Connection,
    pub(super) presence: Presence,
    pub(super) ephemerals: Ephemerals,
    pub(super) riders: Vec<(ReplicaId, ReplicaStatus)>,
    pub(super) stale: BTreeSet<String>,
    pub(super) known: BTreeSet<ReplicaId>,
    pub(super) alive: String,
    pub(super) barrier: Barrier,
}

impl Registration {
    pub(super) async fn run(mut self) -> Published {
        let riders: Vec<Op> = self.riders.iter().flat_map(|(id, status)| status_ops(id, status, true)).collect();
        let applied = self.presence.apply(&self.ephemerals.0, &self.stale, &riders).await;
        let done = applied.as_ref().ok();
        let writes = u32::from(done.is_some_and(|applied| !applied.is_empty()));
        let ridden = done.is_some_and(|applied| applied.ridden);
        let seen = done.is_some_and(|applied| touches(applied, &self.alive)) && self.barrier.passed().await;
        let Self { at, presence, ephemerals, riders, known, .. } = self;
        let result = applied.map(|_| ephemerals).map_err(|error| explain(&error));
        let names = riders.iter().map(|(id, _)| id.clone()).collect();
        let ephemerals = Some(Registered { presence, known, result, riders: names, seen });
        let statuses = if ridden { riders } else { Vec::new() };
        let statuses = statuses.into_iter().map(|(id, status)| (id, Ok(Some(status)))).collect();
        Published { at, ephemerals, statuses, writes }
    }
}

fn touches(applied: &Applied, path: &String) -> bool {
    [&applied.created, &applied.replaced, &applied.updated].iter().any(|paths| paths.contains(path))
}

/// Statuses, each in a transaction of its own.
pub(super) struct Statuses {
    pub(super) client: Client,
    pub(super) at: Connection,
    /// `true` = the node is known to be there.
    pub(super) all: Vec<(ReplicaId, ReplicaStatus, bool)>,
}

impl Statuses {
    pub(super) async fn run(mut self) -> Published {
        let all = std::mem::take(&mut self.all);
        let all = all.into_iter().map(|(id, status, known)| self.write(id, status, known));
        let (mut writes, mut statuses) = (0, Vec::new());
        for (id, result) in join_all(all).await {
            writes += u32::from(matches!(result, Ok((_, true))));
            statuses.push((id, result.map(|(status, _)| status)));
        }
        Published { at: self.at, ephemerals: None, statuses, writes }
    }

    /// Writes one status, if the replica is still assigned to this host. The answer is what the tree now says.
    async fn write(
        &self,
        id: ReplicaId,
        status: ReplicaStatus,
        known: bool,
    ) -> (ReplicaId, Result<(Option<ReplicaStatus>, bool), String>) {
        let result = self.try_write(&id, status, known).await;
        (id, result)
    }

    async fn try_write(
        &self,
        id: &ReplicaId,
        status: ReplicaStatus,
        known: bool,
    ) -> Result<(Option<ReplicaStatus>, bool), String> {
        let exists = if known {
            true
        } else {
            let node = self.client.get(&layout::replica_status(id)).await.map_err(|error| explain(&error))?;
            match node.map(|node| decode::<ReplicaStatus>(&node.data)) {
                Some(Ok(there)) if there.says_the_same(&status) => return Ok((Some(there), false)),
                there => there.is_some(),
            }
        };
        match self.client.commit(&status_ops(id, &status, exists)).await {
            Ok(_) => Ok((Some(status), true)),
            // Withdrawn meanwhile, or the node came or went, or the replica's own node is gone.
            Err(CommitError::Conflict { .. }) => Ok((None, true)),
            Err(error) => Err(explain(&error)),
        }
    }
}

/// Writes a status, if the replica is still assigned to this host.
fn status_ops(id: &ReplicaId, status: &ReplicaStatus, exists: bool) -> [Op; 2] {
    let (path, data) = (layout::replica_status(id), encode(status));
    let write = if exists { Op::Set { path, data, version: None } } else { Op::Create { path, data } };
    // A version of -1 takes any: the assignment only has to exist (ZooKeeper's multi, OpCode.check).
    [Op::Check { path: layout::assignment(&status.node, id), version: -1 }, write]
}

/// An error with all its causes, for a log line.
pub(super) fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
