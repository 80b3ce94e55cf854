//! What a predecessor, or this agent before it probed them, had in `instances` of the replicas of this host.

use std::time::{Duration, Instant};

use super::{Agent, steps::Done};
use crate::{
    model::{CheckedAssignment, HostName, Instance, ReplicaId, UnitStatus, decode},
    store::{Client, StoreError},
    systemd::UnitManager,
    tree::layout,
};

/// How long what could not be read of a predecessor's entries rests.
const RETRY: Duration = Duration::from_secs(1);

/// Whether a replica was in `instances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listed {
    /// It was not.
    No,
    /// As a process of before, which systemd has restarted since.
    Before,
    /// As what runs now.
    Now,
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Whether this invocation of the replica's unit was ready before it was probed here: by this process, which listed
    /// it without a probe, or by a predecessor. `None` = that is not known yet.
    pub(super) fn was_ready(
        &mut self,
        id: &ReplicaId,
        assignment: &CheckedAssignment,
        unit: &UnitStatus,
        now: Instant,
    ) -> Option<bool> {
        if self.health.is_judged(id, &unit.invocation) || assignment.probes.readiness.is_none() {
            return Some(false);
        }
        self.listed(id, unit, now).map(|listed| listed == Listed::Now)
    }

    /// What there was of the replica in `instances` when this invocation was first seen. `None` = that is not known yet.
    pub(super) fn listed(&mut self, id: &ReplicaId, unit: &UnitStatus, now: Instant) -> Option<Listed> {
        let known = self.health.inherited.get(id).filter(|(invocation, _)| *invocation == unit.invocation);
        let known = known.map(|(_, listed)| *listed);
        if self.publisher.has_taken_over() {
            let own = listed_as(self.publisher.instance(id).as_ref(), unit);
            return Some(known.flatten().map_or(own, |left| left.max(own)));
        }
        match known {
            Some(listed) => listed,
            None => self.ask_predecessor(id, unit, now),
        }
    }

    /// What a predecessor says of it in the tree; without a connection there is nothing that could stay listed.
    fn ask_predecessor(&mut self, id: &ReplicaId, unit: &UnitStatus, now: Instant) -> Option<Listed> {
        let Some(up) = self.confirmable() else { return self.up().is_none().then_some(Listed::No) };
        if self.confirm_at.is_some_and(|at| now < at) {
            return None;
        }
        self.health.inherited.insert(id.clone(), (unit.invocation.clone(), None));
        let (id, host, unit) = (id.clone(), self.settings.host.clone(), unit.clone());
        self.tasks.push(Box::pin(async move {
            let listed = ask(&up.client, &id, &host, &unit).await.ok();
            Done::Listed(id, unit.invocation, listed)
        }));
        None
    }

    pub(super) fn finish_asking(&mut self, id: ReplicaId, invocation: String, listed: Option<Listed>) {
        if listed.is_some() {
            self.health.inherited.insert(id, (invocation, listed));
        } else {
            self.health.inherited.remove(&id);
            self.confirm_at = Some(Instant::now() + RETRY);
        }
    }
}

async fn ask(client: &Client, id: &ReplicaId, host: &HostName, unit: &UnitStatus) -> Result<Listed, StoreError> {
    for name in [host.to_string(), format!("{host}@{}", id.number)] {
        let node = client.get(&layout::instance(&id.service, &name)).await?;
        let entry = node.and_then(|node| decode::<Instance>(&node.data).ok());
        if let Some(entry) = entry.filter(|entry| entry.replica == id.number) {
            return Ok(listed_as(Some(&entry), unit));
        }
    }
    Ok(Listed::No)
}

/// Whether the entry was made for what runs now.
fn listed_as(entry: Option<&Instance>, unit: &UnitStatus) -> Listed {
    let Some(entry) = entry else { return Listed::No };
    let same = entry.pid == unit.main_pid && unit.active_since.is_none_or(|since| since == entry.started);
    if same { Listed::Now } else { Listed::Before }
}
