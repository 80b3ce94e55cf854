//! `hosts drain --wait`: nothing is left on the host, and what was there serves elsewhere.

use std::collections::BTreeSet;

use super::Goal;
use crate::{
    cli::fleet::{self, Fleet, Service},
    model::{ConditionKind, HostName, Mode, ReplicaId, ServiceName},
    tree::layout,
};

/// No replica is left on a host, and those that were there when it began to drain are ready elsewhere, or gone.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Drained {
    pub(in crate::cli) host: HostName,
    /// The replicas that were on it.
    pub(in crate::cli) replicas: BTreeSet<ReplicaId>,
}

impl Goal for Drained {
    fn missing(&self, fleet: &Fleet) -> Option<String> {
        self.left(fleet).or_else(|| self.not_ready(fleet))
    }

    fn roots(&self) -> Vec<String> {
        let services: BTreeSet<&ServiceName> = self.replicas.iter().map(|id| &id.service).collect();
        std::iter::once(layout::host(&self.host)).chain(services.into_iter().map(layout::service)).collect()
    }
}

impl Drained {
    /// What is on the host still, and why.
    fn left(&self, fleet: &Fleet) -> Option<String> {
        let left: BTreeSet<&ReplicaId> = fleet.hosts.get(&self.host)?.assigned.keys().collect();
        if left.is_empty() {
            return None;
        }
        let services: BTreeSet<&ServiceName> = left.iter().map(|id| &id.service).collect();
        let why = services.into_iter().find_map(|name| waits(fleet.services.get(name)?));
        let why = why.map(|why| format!("; {why}")).unwrap_or_default();
        Some(format!("{}: {} left: {}{why}", self.host, left.len(), named(left.iter())))
    }

    /// What was on the host and does not serve where it is now.
    fn not_ready(&self, fleet: &Fleet) -> Option<String> {
        let waiting: Vec<(&ReplicaId, String)> =
            self.replicas.iter().filter_map(|id| Some((id, not_ready(id, fleet)?))).collect();
        let (_, first) = waiting.first()?;
        let more = if waiting.len() > 1 { format!(" (and {} more)", waiting.len() - 1) } else { String::new() };
        Some(format!("{}: nothing is left, but {first}{more}", self.host))
    }
}

/// Why a replica does not serve, in words; `None` when it does, needs not, or is no more.
fn not_ready(id: &ReplicaId, fleet: &Fleet) -> Option<String> {
    let service = fleet.services.get(&id.service)?;
    let replica = service.replicas.get(&id.number)?;
    let desired = fleet::read(replica.desired.as_ref())?;
    if desired.removing || desired.mode != Mode::Enabled || service.ready().contains(&id.number) {
        return None;
    }
    let Some(host) = &desired.node else { return Some(format!("{id} is on no host")) };
    let status = replica.status_on(host);
    let state = status.map_or("not reported yet", |status| status.state.as_str());
    let said = status.and_then(|status| status.message.as_deref()).map(|said| format!(": {said}")).unwrap_or_default();
    Some(format!("{id} on {host} is not ready ({state}{said})"))
}

/// What the controller says that the service's moves wait for.
fn waits(service: &Service) -> Option<String> {
    let conditions = &fleet::read(service.status.as_ref())?.conditions;
    conditions.iter().find(|condition| condition.kind == ConditionKind::Waiting).map(|it| it.message.clone())
}

fn named<'i>(ids: impl ExactSizeIterator<Item = &'i &'i ReplicaId>) -> String {
    let more = if ids.len() > 5 { ", …" } else { "" };
    ids.take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ") + more
}
