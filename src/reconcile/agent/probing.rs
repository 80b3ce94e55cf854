//! Probes of this host's replicas: what is probed, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{Agent, steps::Done, targets::Target};
use crate::{
    model::{Assignment, HostName, Instance, Mode, Probes, ReplicaId, decode},
    plan::agent::Probed,
    probe::{Probers, Target as Probing, Verdict},
    store::{Client, StoreError, layout},
    systemd::{UnitManager, UnitStatus, environment},
};

/// How long what could not be read of a predecessor's entries rests.
const RETRY: Duration = Duration::from_secs(1);

/// How long the reason for a verdict stands while the verdict does: a command may give another at each check, and each
/// would be written to the tree.
const REASON_STANDS: Duration = Duration::from_secs(30);

/// The probes of this host's replicas.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) probers: Probers,
    /// What is being probed.
    verdicts: BTreeMap<ReplicaId, Judged>,
    /// Whether a predecessor listed this invocation; `None` = that is being asked.
    inherited: BTreeMap<ReplicaId, (String, Option<bool>)>,
    /// What is not probed before that is known.
    deferred: BTreeSet<ReplicaId>,
}

/// A verdict.
#[derive(Debug)]
struct Judged {
    /// The unit's invocation that it is on.
    invocation: String,
    verdict: Verdict,
    /// Since when its reason is told.
    since: Instant,
}

impl Judged {
    fn new(invocation: String, verdict: Verdict, before: Option<&Self>, now: Instant) -> Self {
        let same = |before: &&Self| {
            let state = |verdict: &Verdict| (verdict.ready, verdict.alive, verdict.message.is_some());
            before.invocation == invocation && state(&before.verdict) == state(&verdict)
        };
        match before.filter(same) {
            Some(Self { verdict: told, since, .. })
                if told.message == verdict.message || now < *since + REASON_STANDS =>
            {
                Self { verdict: told.clone(), since: *since, invocation }
            }
            _ => Self { invocation, verdict, since: now },
        }
    }
}

impl Health {
    /// What the probes of a replica say. One that is not probed is alive; it is ready if it has no readiness probe.
    pub(super) fn of(&self, id: &ReplicaId, target: &Target) -> Probed<'_> {
        let ready = match target {
            Target::Ours { assignment, .. } => assignment.probes.readiness.is_none(),
            _ => true,
        };
        let unprobed = Probed { ready, ..Probed::FINE };
        self.verdicts.get(id).map_or(unprobed, |Judged { verdict, .. }| Probed {
            ready: verdict.ready,
            alive: verdict.alive,
            message: verdict.message.as_deref(),
        })
    }

    /// Whether it is known what a predecessor said of the replica.
    pub(super) fn is_known(&self, id: &ReplicaId) -> bool {
        !self.deferred.contains(id)
    }
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Probes what runs and is to run, and takes in the verdicts.
    pub(super) fn probe(&mut self, targets: &BTreeMap<ReplicaId, Target>, now: Instant) {
        let mut probed = BTreeMap::new();
        self.health.deferred.clear();
        self.health.inherited.retain(|id, _| targets.contains_key(id));
        for (id, target) in targets {
            let Target::Ours { assignment, .. } = target else { continue };
            let Some(unit) = self.units.get(&assignment.unit).filter(|unit| unit.active.is_up()) else { continue };
            if assignment.mode != Mode::Enabled || assignment.probes == Probes::default() {
                continue;
            }
            let unit = unit.clone();
            if let Some(was_ready) = self.was_ready(id, assignment, &unit, now) {
                probed.insert(id.clone(), (unit.invocation.clone(), self.probing(id, assignment, was_ready)));
            } else {
                self.health.deferred.insert(id.clone());
            }
        }
        if probed.is_empty() && self.health.verdicts.is_empty() {
            return;
        }
        let invocations: Vec<_> = probed.iter().map(|(id, (invocation, _))| (id.clone(), invocation.clone())).collect();
        self.health.probers.set(probed);
        let before = std::mem::take(&mut self.health.verdicts);
        for (id, invocation) in invocations {
            let verdict = self.health.probers.get(&id);
            let before = before.get(&id);
            self.count(before.map(|judged| &judged.verdict), &verdict);
            self.health.verdicts.insert(id, Judged::new(invocation, verdict, before, now));
        }
    }

    fn count(&self, before: Option<&Verdict>, now: &Verdict) {
        let Some(before) = before else { return };
        for (probe, failed) in [("readiness", before.ready && !now.ready), ("liveness", before.alive && !now.alive)] {
            if failed {
                self.metrics.probe_failed(probe);
            }
        }
    }

    fn probing(&self, id: &ReplicaId, assignment: &Assignment, was_ready: bool) -> Probing {
        let folders = self.goods.store.folders(id, assignment);
        let mut environment = environment(assignment, id, &self.settings.host, &folders);
        environment.retain(|name, _| name.starts_with("ZKOPS_"));
        Probing {
            readiness: assignment.probes.readiness.clone(),
            liveness: assignment.probes.liveness.clone(),
            port: assignment.port,
            environment,
            was_ready,
        }
    }

    /// Whether this invocation of the replica's unit was ready before it was probed here: by this process, which listed
    /// it without a probe, or by a predecessor. `None` = that is not known yet.
    fn was_ready(&mut self, id: &ReplicaId, assignment: &Assignment, unit: &UnitStatus, now: Instant) -> Option<bool> {
        let probed = self.health.verdicts.get(id).is_some_and(|judged| judged.invocation == unit.invocation);
        if probed || assignment.probes.readiness.is_none() {
            return Some(false);
        }
        if self.publisher.has_taken_over() {
            let known = self.health.inherited.get(id).filter(|(invocation, _)| *invocation == unit.invocation);
            let left = known.and_then(|(_, listed)| *listed).unwrap_or_default();
            return Some(left || self.publisher.instance(id).is_some_and(|entry| is_of(&entry, unit)));
        }
        match self.health.inherited.get(id).filter(|(invocation, _)| *invocation == unit.invocation) {
            Some((_, listed)) => *listed,
            None => self.ask_predecessor(id, unit, now),
        }
    }

    /// What a predecessor says of it in the tree; without a connection there is nothing that could stay listed.
    fn ask_predecessor(&mut self, id: &ReplicaId, unit: &UnitStatus, now: Instant) -> Option<bool> {
        let Some(up) = self.confirmable() else { return self.up().is_none().then_some(false) };
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

    pub(super) fn finish_asking(&mut self, id: ReplicaId, invocation: String, listed: Option<bool>) {
        if listed.is_some() {
            self.health.inherited.insert(id, (invocation, listed));
        } else {
            self.health.inherited.remove(&id);
            self.confirm_at = Some(Instant::now() + RETRY);
        }
    }
}

async fn ask(client: &Client, id: &ReplicaId, host: &HostName, unit: &UnitStatus) -> Result<bool, StoreError> {
    for name in [host.to_string(), format!("{host}@{}", id.number)] {
        let node = client.get(&layout::instance(&id.service, &name)).await?;
        let entry = node.and_then(|node| decode::<Instance>(&node.data).ok());
        if entry.is_some_and(|entry| entry.replica == id.number && is_of(&entry, unit)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the entry was made for what runs now.
fn is_of(entry: &Instance, unit: &UnitStatus) -> bool {
    entry.pid == unit.main_pid && unit.active_since.is_none_or(|since| since == entry.started)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reason_stands_for_a_while_and_no_longer_than_its_verdict() {
        let now = Instant::now();
        let judge = |ready, why: &str, before: Option<&Judged>, at| {
            let verdict = Verdict { ready, alive: true, message: (!ready).then(|| why.to_owned()) };
            Judged::new("one".to_owned(), verdict, before, now + Duration::from_secs(at))
        };
        let first = judge(false, "refused", None, 0);
        let second = judge(false, "503", Some(&first), 10);
        assert_eq!(second.verdict.message.as_deref(), Some("refused"));
        assert_eq!(judge(false, "503", Some(&second), 30).verdict.message.as_deref(), Some("503"));
        let ready = judge(true, "", Some(&second), 11);
        assert_eq!((ready.verdict.ready, ready.verdict.message.clone()), (true, None));
        assert_eq!(judge(false, "404", Some(&ready), 12).verdict.message.as_deref(), Some("404"));
    }
}
