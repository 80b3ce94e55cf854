//! Staging: a release is fetched and a configuration rendered beside what is in force, which goes on. And the removal
//! of what nobody needs any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use futures_util::future::{AbortHandle, abortable};

use super::{
    Agent,
    goods::{Found, needs_the_same},
    revision::{Order, Refusal},
    steps::Done,
    targets::Target,
};
use crate::{
    model::{CheckedAssignment, Rejected, ReplicaId, ServiceName, content_key},
    systemd::UnitManager,
};

/// How many releases of a service stay on a host beside those in use, unless it says otherwise.
const KEEP: u32 = 2;

/// What is being staged, and what is to be pruned.
#[derive(Debug, Default)]
pub(super) struct Staging {
    under_way: BTreeMap<ReplicaId, UnderWay>,
    begun: u64,
    /// Services of which something may be on this host that nobody needs.
    prune: BTreeSet<ServiceName>,
    pruning: BTreeSet<ServiceName>,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    assignment: CheckedAssignment,
    abort: AbortHandle,
}

/// A staging that ended.
pub(super) struct Staged {
    id: ReplicaId,
    number: u64,
    assignment: CheckedAssignment,
    /// What came of it, and what is on the host now; `None` = it was overtaken.
    result: Option<(Result<(), Refusal>, Found)>,
}

impl Staging {
    /// Whether this is being brought onto the host.
    pub(super) fn is_under_way(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> bool {
        self.under_way.get(id).is_some_and(|under_way| needs_the_same(&under_way.assignment, assignment))
    }

    /// What is not wanted any more is given up.
    fn retain(&mut self, targets: &BTreeMap<ReplicaId, Target>) {
        self.under_way.retain(|id, under_way| {
            let wanted = targets.get(id).and_then(Target::upcoming).map(|it| it.assignment);
            let stays = wanted.is_some_and(|wanted| needs_the_same(&under_way.assignment, wanted));
            if !stays {
                under_way.abort.abort();
            }
            stays
        });
    }
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Begins to bring a replica's newer work onto the host.
    pub(super) fn stage(&mut self, id: &ReplicaId, assignment: &CheckedAssignment) {
        if self.staging.pruning.contains(&id.service) {
            return;
        }
        self.staging.begun += 1;
        let (number, id) = (self.staging.begun, id.clone());
        let order = Order {
            id: id.clone(),
            assignment: assignment.clone(),
            store: self.goods.store.clone(),
            address: self.settings.address.clone(),
            labels: self.work.labels(&self.settings.labels),
            client: self.up().map(|up| up.client),
        };
        tracing::info!("{id}: fetching {}", order.what());
        let (future, abort) = abortable(order.stage_and_look());
        let assignment = assignment.clone();
        let under_way = UnderWay { number, assignment: assignment.clone(), abort };
        if let Some(overtaken) = self.staging.under_way.insert(id.clone(), under_way) {
            overtaken.abort.abort();
        }
        self.tasks.push(Box::pin(async move {
            let result = future.await.ok();
            Done::Staged(Box::new(Staged { id, number, assignment, result }))
        }));
    }

    pub(super) fn finish_staging(&mut self, staged: Staged) {
        let Staged { id, number, assignment, result } = staged;
        match &result {
            Some((_, found)) => self.goods.learn(&id, &assignment, *found),
            None => self.goods.forget(&id),
        }
        let current = self.staging.under_way.get(&id).is_some_and(|under_way| under_way.number == number);
        let Some((result, _)) = result.filter(|_| current) else { return };
        let Some(UnderWay { assignment, .. }) = self.staging.under_way.remove(&id) else { return };
        self.metrics.fetch(result.is_ok());
        let Err(refusal) = result else {
            // A failure of what ran meanwhile is none of this.
            self.refreshed(&id);
            return;
        };
        // What is in force already has nothing to fall back to.
        let in_force = self.ledger.replicas.get(&id).is_some_and(|record| record.assignment == assignment);
        if refusal.rejected && !in_force {
            self.reject(&id, &assignment, refusal.message);
        } else {
            self.remember_staging(&id, &refusal.message);
        }
    }

    /// Work that can't come into force is not tried again.
    pub(super) fn reject(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, message: String) {
        tracing::error!("{id}: given up: {message}");
        self.metrics.rejection();
        self.memory.entry(id.clone()).or_default().staging_over();
        self.ledger.rejected.insert(id.clone(), Rejected { key: content_key(assignment), message });
    }

    fn remember_staging(&mut self, id: &ReplicaId, problem: &str) {
        let memory = self.memory.entry(id.clone()).or_default();
        if memory.staging_failed(problem, Instant::now()) {
            tracing::warn!("{id}: fetching failed, it is tried again: {problem}");
        }
    }

    /// Starts what is due, gives up what is not wanted any more, and prunes.
    pub(super) fn tend_staging(&mut self, targets: &BTreeMap<ReplicaId, Target>) {
        self.staging.retain(targets);
        let busy: BTreeSet<_> = self.staging.under_way.keys().map(|id| id.service.clone()).collect();
        let due: Vec<_> = self.staging.prune.iter().filter(|service| !busy.contains(*service)).cloned().collect();
        for service in due {
            if self.staging.pruning.insert(service.clone()) {
                self.staging.prune.remove(&service);
                self.begin_prune(service, targets);
            }
        }
    }

    /// Something of the service may not be needed any more.
    pub(super) fn prune_later(&mut self, service: &ServiceName) {
        self.staging.prune.insert(service.clone());
    }

    fn begin_prune(&mut self, service: ServiceName, targets: &BTreeMap<ReplicaId, Target>) {
        let ours = |id: &ReplicaId| id.service == service;
        let records = self.ledger.replicas.iter().filter(|(id, _)| ours(id));
        let recorded = records.flat_map(|(_, it)| [Some(&it.assignment), it.before.as_deref()]).flatten();
        let wanted = targets.iter().filter(|(id, _)| ours(id));
        let upcoming = wanted.flat_map(|(_, it)| [Some(it.assignment()), it.upcoming().map(|it| it.assignment)]);
        let used: Vec<&CheckedAssignment> = recorded.chain(upcoming.flatten()).collect();
        let mut versions: BTreeSet<_> = used.iter().filter_map(|it| it.version.clone()).collect();
        let mut units: BTreeSet<_> = used.iter().map(|it| it.unit.clone()).collect();
        let mut revisions: BTreeSet<_> = used.iter().filter_map(|it| it.config_version).collect();
        for (unit, left) in self.ledger.left.iter().filter(|(_, left)| left.service == service) {
            units.insert(unit.clone());
            versions.extend(left.versions.iter().cloned());
            revisions.extend(left.config_version);
        }
        let keep = used.iter().filter_map(|it| it.source.keep).max().unwrap_or(KEEP);
        let keep = if used.is_empty() { 0 } else { keep };
        let store = self.goods.store.clone();
        self.tasks.push(Box::pin(async move {
            store.prune(&service, &versions, &units, &revisions, keep).await;
            Done::Pruned(service)
        }));
    }

    pub(super) fn finish_prune(&mut self, service: &ServiceName) {
        self.staging.pruning.remove(service);
        self.goods.doubt_service(service);
    }

    /// The replica is gone from this host: what only it needed goes, too. Its links went with its generated files.
    pub(super) fn leave_goods(&mut self, id: &ReplicaId) {
        self.goods.forget(id);
        self.ledger.rejected.remove(id);
        self.prune_later(&id.service);
    }
}
