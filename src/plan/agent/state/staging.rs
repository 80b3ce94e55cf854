//! Staging: a release is fetched and a configuration rendered beside what is in force, which goes on. And the removal
//! of what nobody needs any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{State, artifacts::needs_the_same, targets::Target};
use crate::{
    model::{CheckedAssignment, Rejected, ReplicaId, ServiceName, content_key},
    plan::agent::{
        action::{Action, Artifacts, Counted, Prune, Refusal, Severity, Stage},
        upcoming::what,
    },
};

/// How many releases of a service stay on a host beside those in use, unless it says otherwise.
const KEEP: u32 = 2;

/// What is being staged, and what is to be pruned.
#[derive(Clone, Debug, Default)]
pub(super) struct Staging {
    under_way: BTreeMap<ReplicaId, (u64, CheckedAssignment)>,
    /// Services of which something may be on this host that nobody needs.
    prune: BTreeSet<ServiceName>,
    pruning: BTreeSet<ServiceName>,
}

impl Staging {
    /// Something of the service may not be needed any more.
    pub(super) fn prune_later(&mut self, service: &ServiceName) {
        self.prune.insert(service.clone());
    }

    /// Whether this is being brought onto the host.
    pub(super) fn is_under_way(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> bool {
        self.under_way.get(id).is_some_and(|(_, under_way)| needs_the_same(under_way, assignment))
    }

    /// What is not wanted any more, and its number.
    fn take_unwanted(&mut self, targets: &BTreeMap<ReplicaId, Target>) -> Vec<(ReplicaId, u64)> {
        let mut unwanted = Vec::new();
        self.under_way.retain(|id, (number, under_way)| {
            let wanted = targets.get(id).and_then(Target::upcoming).map(|it| it.assignment);
            let stays = wanted.is_some_and(|wanted| needs_the_same(under_way, wanted));
            unwanted.extend((!stays).then(|| (id.clone(), *number)));
            stays
        });
        unwanted
    }
}

impl State {
    /// Begins to bring a replica's newer work onto the host.
    pub(super) fn stage(&mut self, id: &ReplicaId, assignment: &CheckedAssignment) {
        if self.staging.pruning.contains(&id.service) {
            return;
        }
        let number = self.number();
        self.changed.replica(id);
        self.log(Severity::Info, format!("{id}: fetching {}", what(assignment)));
        let under_way = (number, assignment.clone());
        if let Some((overtaken, _)) = self.staging.under_way.insert(id.clone(), under_way) {
            self.act(Action::AbandonStaging(overtaken));
        }
        let (id, assignment, labels) = (id.clone(), assignment.clone(), self.work.labels(&self.policy.labels));
        self.act(Action::Stage(Box::new(Stage { id, number, assignment, labels })));
    }

    pub(super) fn staged(&mut self, stage: Stage, result: Option<(Result<(), Refusal>, Artifacts)>, now: Instant) {
        let Stage { id, number, assignment, .. } = stage;
        self.changed.replica(&id);
        match &result {
            Some((_, found)) => self.artifacts.learn(&id, &assignment, *found),
            None => self.artifacts.forget(&id),
        }
        let current = self.staging.under_way.get(&id).is_some_and(|(under_way, _)| *under_way == number);
        let Some((result, _)) = result.filter(|_| current) else { return };
        self.staging.under_way.remove(&id);
        self.count(Counted::Fetch(result.is_ok()));
        let Err(refusal) = result else {
            // A failure of what ran meanwhile is none of this.
            self.memory_of(&id).refreshed();
            return;
        };
        // What is in force already has nothing to fall back to.
        let in_force = self.ledger.replicas.get(&id).is_some_and(|record| record.assignment == assignment);
        if refusal.rejected && !in_force {
            self.reject(&id, &assignment, refusal.message);
        } else if self.memory_of(&id).staging_failed(&refusal.message, now) {
            let line = format!("{id}: fetching failed, will retry: {}", refusal.message);
            self.log(Severity::Warning, line);
        }
    }

    /// Work that cannot come into force is not tried again.
    pub(super) fn reject(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, message: String) {
        self.log(Severity::Error, format!("{id}: given up: {message}"));
        self.count(Counted::Rejection);
        self.memory_of(id).staging_over();
        self.ledger.rejected.insert(id.clone(), Rejected { key: content_key(assignment), message });
    }

    /// Gives up what is not wanted any more, and prunes.
    pub(super) fn tend_staging(&mut self, targets: &BTreeMap<ReplicaId, Target>) {
        for (id, number) in self.staging.take_unwanted(targets) {
            self.changed.replica(&id);
            self.act(Action::AbandonStaging(number));
        }
        let busy: BTreeSet<_> = self.staging.under_way.keys().map(|id| id.service.clone()).collect();
        let due: Vec<_> = self.staging.prune.iter().filter(|service| !busy.contains(*service)).cloned().collect();
        for service in due {
            if self.staging.pruning.insert(service.clone()) {
                self.staging.prune.remove(&service);
                let prune = self.needed(service, targets);
                self.act(Action::Prune(Box::new(prune)));
            }
        }
    }

    /// What is needed of a service.
    fn needed(&self, service: ServiceName, targets: &BTreeMap<ReplicaId, Target>) -> Prune {
        let ours = |id: &ReplicaId| id.service == service;
        let records = self.ledger.replicas.iter().filter(|(id, _)| ours(id));
        let recorded = records.flat_map(|(_, it)| [Some(&it.assignment), it.before.as_deref()]).flatten();
        let targets = targets.iter().filter(|(id, _)| ours(id)).map(|(_, it)| it.assignment());
        // Also of one that has yet to leave its unit for another.
        let wanted = self.work.wanted().iter().filter(|(id, _)| ours(id)).map(|(_, it)| it);
        let used: Vec<&CheckedAssignment> = recorded.chain(targets).chain(wanted).collect();
        let mut versions: BTreeSet<_> = used.iter().filter_map(|it| it.version.clone()).collect();
        let mut units: BTreeSet<_> = used.iter().map(|it| it.unit.clone()).collect();
        let mut revisions: BTreeSet<_> = used.iter().filter_map(|it| it.config_version).collect();
        for (unit, left) in self.ledger.left.iter().filter(|(_, left)| left.service == service) {
            units.insert(unit.clone());
            versions.extend(left.versions.iter().cloned());
            revisions.extend(left.config_version);
        }
        let keep = used.iter().filter_map(|it| it.template.source.keep).max().unwrap_or(KEEP);
        let keep = if used.is_empty() { 0 } else { keep };
        Prune { service, versions, units, revisions, keep }
    }

    pub(super) fn pruned(&mut self, service: &ServiceName) {
        self.staging.pruning.remove(service);
        self.artifacts.doubt_service(service);
        self.service_changed(service);
    }

    /// The replica is gone from this host: what only it needed goes, too. Its links went with its generated files.
    pub(super) fn leave_artifacts(&mut self, id: &ReplicaId) {
        self.artifacts.forget(id);
        self.ledger.rejected.remove(id);
        self.staging.prune_later(&id.service);
    }
}
