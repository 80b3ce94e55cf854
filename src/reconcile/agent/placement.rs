//! What is read of the tree now and then: whether a replica is placed on this host, and what a predecessor had listed.

use crate::{
    model::{HostName, Instance, ReplicaDesired, ReplicaId, UnitStatus, decode},
    plan::agent::action::Listed,
    store::{Client, StoreError},
    tree::layout,
};

/// Whether the replica is placed on this host. One whose `desired` can't be read is: its controller will mend that,
/// and until then nothing is stopped. Nor does a tree without any services say that this one was deleted: it is
/// another tree (a wrong chroot, an ensemble that lost its data), or one that somebody is about to restore.
pub(super) async fn is_placed(client: &Client, id: &ReplicaId, host: &HostName) -> Result<bool, StoreError> {
    let names_us = |data: &[u8]| decode::<ReplicaDesired>(data).map_or(true, |it| it.node.as_ref() == Some(host));
    match client.get(&layout::replica_desired(id)).await? {
        Some(node) => Ok(names_us(&node.data)),
        None => Ok(!client.exists(layout::SERVICES).await?),
    }
}

/// What this host has of the replica in `instances`, whoever wrote it.
pub(super) async fn listed(
    client: &Client,
    id: &ReplicaId,
    host: &HostName,
    unit: &UnitStatus,
) -> Result<Listed, StoreError> {
    for name in [host.to_string(), format!("{host}@{}", id.number)] {
        let node = client.get(&layout::instance(&id.service, &name)).await?;
        let entry = node.and_then(|node| decode::<Instance>(&node.data).ok());
        if let Some(entry) = entry.filter(|entry| entry.replica == id.number) {
            return Ok(Listed::by(Some(&entry), unit));
        }
    }
    Ok(Listed::No)
}
