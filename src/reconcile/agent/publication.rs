//! Publications carried out.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use crate::{
    model::{ReplicaId, ReplicaStatus, decode, encode},
    plan::agent::action::{Ephemerals, Joined, Published, Registered, Registration, StatusWrite},
    store::{Applied, Barrier, Client, CommitError, Presence},
    tree::{layout, txn::Op},
};

/// Writes the ephemerals, and the statuses that ride along. What was written of `alive` is in the mirror's batches then.
pub(super) async fn register(order: Registration, presence: &mut Presence, barrier: Barrier) -> Published {
    let Registration { at, look, ephemerals, riders, stale, known, alive } = order;
    if look {
        presence.invalidate();
    }
    let ops: Vec<Op> = riders.iter().flat_map(|(id, status)| status_ops(id, status, true)).collect();
    let applied = presence.apply(&ephemerals.0, &stale, &ops).await;
    let done = applied.as_ref().ok();
    let writes = u32::from(done.is_some_and(|applied| !applied.is_empty()));
    let ridden = done.is_some_and(|applied| applied.ridden);
    let seen = done.is_some_and(|applied| touches(applied, &alive)) && barrier.passed().await;
    let result = applied.map(|applied| without(ephemerals, &applied.left_out)).map_err(|error| explain(&error));
    let names = riders.iter().map(|(id, _)| id.clone()).collect();
    let ephemerals = Some(Registered { known, result, riders: names, seen });
    let statuses = if ridden { riders } else { Vec::new() };
    let statuses = statuses.into_iter().map(|(id, status)| (id, Ok(Some(status)))).collect();
    Published { at, ephemerals, statuses, writes }
}

/// The ephemerals as they were asked for, and the names of those that are there.
fn without((paths, mut names): Ephemerals, left_out: &BTreeSet<String>) -> Ephemerals {
    names.retain(|id, name| !left_out.contains(&layout::instance(&id.service, name)));
    (paths, names)
}

fn touches(applied: &Applied, path: &String) -> bool {
    [&applied.created, &applied.replaced, &applied.updated].iter().any(|paths| paths.contains(path))
}

/// Writes statuses, each in a transaction of its own. `None` = there is no connection.
pub(super) async fn write_statuses(client: Option<Client>, at: Joined, all: Vec<StatusWrite>) -> Published {
    let all = all.into_iter().map(|StatusWrite { id, status, is_there }| {
        let client = client.clone();
        async move {
            let result = write_status(client, &id, status, is_there).await;
            (id, result)
        }
    });
    let (mut writes, mut statuses) = (0, Vec::new());
    for (id, result) in join_all(all).await {
        writes += u32::from(matches!(result, Ok((_, true))));
        statuses.push((id, result.map(|(status, _)| status)));
    }
    Published { at, ephemerals: None, statuses, writes }
}

/// Writes one status, if the replica is still assigned to this host. The answer is what the tree now says, and whether
/// anything was sent.
async fn write_status(
    client: Option<Client>,
    id: &ReplicaId,
    status: ReplicaStatus,
    is_there: bool,
) -> Result<(Option<ReplicaStatus>, bool), String> {
    let client = client.ok_or("the connection is lost")?;
    let exists = if is_there {
        true
    } else {
        let node = client.get(&layout::replica_status(id)).await.map_err(|error| explain(&error))?;
        match node.map(|node| decode::<ReplicaStatus>(&node.data)) {
            Some(Ok(there)) if there.says_the_same(&status) => return Ok((Some(there), false)),
            there => there.is_some(),
        }
    };
    match client.commit(&status_ops(id, &status, exists)).await {
        Ok(_) => Ok((Some(status), true)),
        // Withdrawn meanwhile, or the node came or went, or the replica's own node is gone.
        Err(CommitError::Conflict { .. }) => Ok((None, true)),
        Err(error) => Err(explain(&error)),
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
