//! One publication: what it writes, and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::{
    model::{ReplicaId, ReplicaStatus, decode, encode},
    plan::txn::Op,
    store::{Barrier, Client, CommitError, Presence, layout},
};

/// A connection, as `(epoch, joins)`.
pub(super) type Connection = (u64, u64);

/// The ephemerals by path, and each listed replica's name in `instances`.
pub(super) type Ephemerals = (BTreeMap<String, Vec<u8>>, BTreeMap<ReplicaId, String>);

/// What a publication came to.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) presence: Presence,
    pub(super) at: Connection,
    pub(super) known: BTreeSet<ReplicaId>,
    /// `None` = they were not due.
    pub(super) ephemerals: Option<Result<Ephemerals, String>>,
    pub(super) statuses: Vec<(ReplicaId, Result<Option<ReplicaStatus>, String>)>,
    pub(super) writes: u32,
    /// What was written is in the mirror's batches by now.
    pub(super) seen: bool,
}

/// One publication: owns what it needs, so that it can run beside the loop.
pub(super) struct Publication {
    pub(super) client: Client,
    pub(super) at: Connection,
    pub(super) presence: Presence,
    pub(super) stale: BTreeSet<String>,
    pub(super) known: BTreeSet<ReplicaId>,
    pub(super) barrier: Barrier,
}

impl Publication {
    pub(super) async fn run(
        mut self,
        ephemerals: Option<Ephemerals>,
        statuses: Vec<(ReplicaId, ReplicaStatus, bool)>,
    ) -> Published {
        let mut writes = 0;
        let ephemerals = match ephemerals {
            None => None,
            Some((paths, names)) => {
                let applied = self.presence.apply(&paths, &self.stale).await;
                writes += u32::from(applied.as_ref().is_ok_and(|applied| !applied.is_empty()));
                Some(applied.map(|_| (paths, names)).map_err(|error| explain(&error)))
            }
        };
        let all = statuses.into_iter().map(|(id, status, known)| self.write_status(id, status, known));
        let mut written = Vec::new();
        for (id, result) in join_all(all).await {
            writes += u32::from(matches!(result, Ok((_, true))));
            written.push((id, result.map(|(status, _)| status)));
        }
        let seen = writes > 0 && self.barrier.passed().await;
        let Self { presence, at, known, .. } = self;
        Published { presence, at, known, ephemerals, statuses: written, writes, seen }
    }

    /// Writes one status, if the replica is still assigned to this host. The answer is what the tree now says.
    async fn write_status(
        &self,
        id: ReplicaId,
        status: ReplicaStatus,
        known: bool,
    ) -> (ReplicaId, Result<(Option<ReplicaStatus>, bool), String>) {
        let result = self.try_write_status(&id, status, known).await;
        (id, result)
    }

    async fn try_write_status(
        &self,
        id: &ReplicaId,
        status: ReplicaStatus,
        known: bool,
    ) -> Result<(Option<ReplicaStatus>, bool), String> {
        let path = layout::replica_status(id);
        let exists = if known {
            true
        } else {
            let node = self.client.get(&path).await.map_err(|error| explain(&error))?;
            match node.map(|node| decode::<ReplicaStatus>(&node.data)) {
                Some(Ok(there)) if there.says_the_same(&status) => return Ok((Some(there), false)),
                there => there.is_some(),
            }
        };
        let data = encode(&status);
        let write = if exists { Op::Set { path, data, version: None } } else { Op::Create { path, data } };
        // A version of -1 takes any: the assignment only has to exist (ZooKeeper's multi, OpCode.check).
        let ours = Op::Check { path: layout::assignment(&status.node, id), version: -1 };
        match self.client.commit(&[ours, write]).await {
            Ok(_) => Ok((Some(status), true)),
            // Withdrawn meanwhile, or the node came or went, or the replica's own node is gone.
            Err(CommitError::Conflict { .. }) => Ok((None, true)),
            Err(error) => Err(explain(&error)),
        }
    }
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
