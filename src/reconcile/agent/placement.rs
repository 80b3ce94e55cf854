//! What is read of the tree now and then: whether a replica is placed on this host, and what a predecessor had listed.

use crate::{
    model::{HostName, Instance, ReplicaDesired, ReplicaId, UnitStatus, decode},
    plan::agent::action::Listed,
    store::{Client, StoreError},
    tree::{layout, node::Node, txn::Op},
};

/// Whether the replica is placed on this host. One whose `desired` cannot be read is: its controller will fix that,
/// and until then nothing is stopped. Nor does a tree without any services say that this one was deleted: it is
/// another tree (a wrong chroot, an ensemble that lost its data), or one that somebody is about to restore.
pub(super) async fn is_placed(client: &Client, id: &ReplicaId, host: &HostName) -> Result<bool, StoreError> {
    let names_us = |data: &[u8]| decode::<ReplicaDesired>(data).map_or(true, |it| it.node.as_ref() == Some(host));
    match client.get(&layout::replica_desired(id)).await? {
        Some(node) => Ok(names_us(&node.data)),
        None => Ok(!client.exists(layout::SERVICES).await?),
    }
}

/// Whether this host has the replica in `instances`, whoever wrote it.
pub(super) async fn listed(
    client: &Client,
    id: &ReplicaId,
    host: &HostName,
    unit: &UnitStatus,
) -> Result<Listed, StoreError> {
    let found = entry(client, id, host).await?;
    Ok(Listed::by(found.as_ref().map(|(_, _, entry)| entry), unit))
}

/// Deletes this host's entry of the replica in `instances`, whoever wrote it.
pub(super) async fn delist(client: &Client, id: &ReplicaId, host: &HostName) -> anyhow::Result<()> {
    // The server may be behind the one that a lost transaction went to.
    client.sync().await?;
    if let Some((path, node, _)) = entry(client, id, host).await? {
        client.commit(&[Op::Delete { path, version: Some(node.version) }]).await?;
    }
    Ok(())
}

/// This host's entry of the replica in `instances`, and where it is.
async fn entry(
    client: &Client,
    id: &ReplicaId,
    host: &HostName,
) -> Result<Option<(String, Node, Instance)>, StoreError> {
    for name in [host.to_string(), format!("{host}@{}", id.number)] {
        let path = layout::instance(&id.service, &name);
        let Some(node) = client.get(&path).await? else { continue };
        if let Some(entry) = decode::<Instance>(&node.data).ok().filter(|entry| entry.replica == id.number) {
            return Ok(Some((path, node, entry)));
        }
    }
    Ok(None)
}
