//! Assignments that vanished: is the replica still this host's? Its `desired`, which is the authority, is read once. What
//! that says decides, with [`Work`](crate::plan::agent::Work), whether the replica is stopped.

use std::time::{Duration, Instant};

use super::{Agent, steps::Done};
use crate::{
    model::{HostName, ReplicaDesired, ReplicaId, decode},
    store::{Client, StoreError, Up},
    systemd::UnitManager,
    tree::layout,
};

/// How long a `desired` that could not be read rests.
const RETRY: Duration = Duration::from_secs(1);

impl<M: UnitManager + 'static> Agent<M> {
    /// The connection, while what is missing in this host's subtree is known to be missing in the tree.
    pub(super) fn confirmable(&self) -> Option<Up> {
        self.up().filter(|up| self.synced == Some(up.epoch))
    }

    /// Reads the `desired` of replicas whose assignment vanished.
    pub(super) fn confirm_withdrawn(&mut self, now: Instant) {
        if self.confirm_at.is_some_and(|at| now < at) {
            return;
        }
        let Some(up) = self.confirmable() else { return };
        self.confirm_at = None;
        for id in self.work.unconfirmed(&self.ledger) {
            if self.confirming.insert(id.clone()) {
                let (client, host) = (up.client.clone(), self.settings.host.clone());
                self.tasks.push(Box::pin(async move {
                    let ours = ask(&client, &id, &host).await;
                    Done::Confirmed(id, ours.ok())
                }));
            }
        }
    }

    pub(super) fn finish_confirm(&mut self, id: &ReplicaId, ours: Option<bool>) {
        self.confirming.remove(id);
        match ours {
            Some(true) => {
                tracing::warn!(
                    "{id}: its assignment was deleted by another hand; it runs on, the controller puts it back"
                );
                self.work.keep(id);
            }
            // Refused, say: nothing of it was ever here.
            Some(false) if !self.ledger.replicas.contains_key(id) => self.work.forget(id),
            Some(false) => {
                self.work.give_up(id);
                self.refreshed(id);
            }
            None => self.confirm_at = Some(Instant::now() + RETRY),
        }
    }
}

/// Whether the replica is placed on this host. One whose `desired` can't be read is: its controller will mend that,
/// and until then nothing is stopped. Nor does a tree without any services say that this one was deleted: it is
/// another tree (a wrong chroot, an ensemble that lost its data), or one that somebody is about to restore.
async fn ask(client: &Client, id: &ReplicaId, host: &HostName) -> Result<bool, StoreError> {
    let names_us = |data: &[u8]| decode::<ReplicaDesired>(data).map_or(true, |it| it.node.as_ref() == Some(host));
    match client.get(&layout::replica_desired(id)).await? {
        Some(node) => Ok(names_us(&node.data)),
        None => Ok(!client.exists(layout::SERVICES).await?),
    }
}
