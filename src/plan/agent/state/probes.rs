//! Probes of this host's replicas: what is probed, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{State, targets::Target};
use crate::{
    model::{
        CheckedAssignment, Mode, ProbeCheck, Probes, Probing, Record, ReplicaId, Span, TrialOutcome, UnitStatus,
        Verdict, environment,
    },
    plan::agent::{
        Decision, Probed,
        action::{Action, Counted, Listed},
    },
};

/// How long the reason for a verdict stands while the verdict does: as long as it has held so far, within these bounds. A
/// command may give another reason at each check, and each would be written to the tree; but what a new process says at
/// first (it refuses connections) is soon not what is wrong with it.
const REASON_STANDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What the probes have found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Of each replica that is probed: the verdict on its invocation, and what its trial has come to.
    pub of: BTreeMap<ReplicaId, (Verdict, TrialOutcome)>,
    /// Why the last check of some replica could not be made, if so.
    pub not_asked: Option<String>,
}

/// The probes of this host's replicas.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// What is being probed.
    verdicts: BTreeMap<ReplicaId, Judged>,
    /// What a predecessor had listed when this invocation was first seen; `None` = that is being asked.
    pub(super) inherited: BTreeMap<ReplicaId, (String, Option<Listed>)>,
    /// What is not asked any more, because this host does not run its probes' commands: whether it was ready when it last
    /// was. systemd may restart it.
    unasked: BTreeMap<ReplicaId, bool>,
    /// What is not probed before that is known.
    pub(super) deferred: BTreeSet<ReplicaId>,
    /// What is probed: of each replica its unit's invocation and its probes.
    probed: BTreeMap<ReplicaId, (String, Probing)>,
    /// What is judged without being asked: the invocation, and whether it is ready.
    pending: BTreeMap<ReplicaId, (String, bool)>,
    /// What each replica was last put on trial as, and what has come of it.
    trials: BTreeMap<ReplicaId, Trial>,
    /// How often each was told to read its configuration again without a restart, whatever came of it.
    reloads: BTreeMap<ReplicaId, u64>,
}

/// What is on trial, and what its checks have said since.
#[derive(Clone, Debug)]
struct Trial {
    invocation: String,
    reloads: u64,
    content: CheckedAssignment,
    outcome: TrialOutcome,
}

impl Trial {
    /// Whether the same invocation has other content by now, or was told to reload.
    fn is_outdated(&self, reloads: u64, content: &CheckedAssignment) -> bool {
        self.reloads != reloads || self.content != *content
    }
}

/// A verdict.
#[derive(Clone, Debug)]
struct Judged {
    /// The unit's invocation that it is on.
    invocation: String,
    verdict: Verdict,
    /// Since when it holds, whatever the reason.
    since: Instant,
    /// Since when its reason is told.
    told: Instant,
    /// Another reason waits until this one has stood long enough.
    outdated: bool,
}

impl Judged {
    fn new(invocation: String, verdict: Verdict, before: Option<&Self>, now: Instant) -> Self {
        let same = |before: &&Self| {
            let state = |verdict: &Verdict| (verdict.ready, verdict.alive, verdict.message.is_some());
            before.invocation == invocation && state(&before.verdict) == state(&verdict)
        };
        let Some(before) = before.filter(same) else {
            return Self { verdict, since: now, told: now, outdated: false, invocation };
        };
        let (since, told) = (before.since, before.told);
        let outdated = before.verdict.message != verdict.message;
        if outdated && now >= before.stands_until() {
            Self { verdict, since, told: now, outdated: false, invocation }
        } else {
            Self { verdict: before.verdict.clone(), since, told, outdated, invocation }
        }
    }

    fn stands_until(&self) -> Instant {
        let (least, most) = REASON_STANDS;
        self.told + (self.told - self.since).clamp(least, most)
    }
}

impl Health {
    /// What the probes of a replica say. One that is not probed is alive; it is ready if it has no readiness probe.
    pub(super) fn of(&self, id: &ReplicaId, target: &Target) -> Probed<'_> {
        let ready = match target {
            Target::Ours { assignment, .. } | Target::Kept { assignment, .. } => {
                assignment.template.probes.readiness.is_none()
            }
            _ => true,
        };
        let unprobed = Probed { ready, ..Probed::FINE };
        self.verdicts.get(id).map_or(unprobed, |Judged { verdict, .. }| Probed {
            ready: verdict.ready,
            alive: verdict.alive,
            message: verdict.message.as_deref(),
            setback: self.trials.get(id).and_then(|trial| trial.outcome.failure.as_deref()),
        })
    }

    /// Whether no check since the replica's last change has succeeded, or the last one failed.
    pub(super) fn is_unconfirmed(&self, id: &ReplicaId) -> bool {
        self.trials.get(id).is_some_and(|trial| trial.outcome.unconfirmed)
    }

    /// How often a check failed since then after others had succeeded.
    pub(super) fn setbacks(&self, id: &ReplicaId) -> u32 {
        self.trials.get(id).map_or(0, |trial| trial.outcome.setbacks)
    }

    /// The replica's process was told to read its configuration again.
    pub(super) fn reloaded(&mut self, id: &ReplicaId) {
        *self.reloads.entry(id.clone()).or_default() += 1;
    }

    /// When the reason for a verdict is to be told that has waited for another.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.verdicts.values().filter(|judged| judged.outdated).map(Judged::stands_until).min()
    }

    /// Whether there is a verdict on this invocation of the replica's unit.
    pub(super) fn is_judged(&self, id: &ReplicaId, invocation: &str) -> bool {
        self.verdicts.get(id).is_some_and(|judged| judged.invocation == invocation)
    }

    /// The replica is not probed, and nothing of it is judged.
    fn ask_nothing(&mut self, id: &ReplicaId) {
        self.probed.remove(id);
        self.pending.remove(id);
        self.deferred.remove(id);
    }

    /// The replica does not concern this host any more.
    fn forget(&mut self, id: &ReplicaId) {
        self.inherited.remove(id);
        self.unasked.remove(id);
        self.trials.remove(id);
        self.reloads.remove(id);
    }

    /// Whether it is known what a predecessor said of the replica.
    pub(super) fn is_known(&self, id: &ReplicaId) -> bool {
        !self.deferred.contains(id)
    }
}

impl State {
    /// What is to be probed: of each replica its unit's invocation and its probes.
    pub fn probed(&self) -> &BTreeMap<ReplicaId, (String, Probing)> {
        &self.health.probed
    }

    /// Finds out what is to be probed of these replicas. Whether that is other than before.
    pub(super) fn look_at_probes(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        due: &BTreeSet<ReplicaId>,
        now: Instant,
    ) -> bool {
        let mut differs = false;
        for id in due {
            let before = self.health.probed.get(id).cloned();
            self.health.ask_nothing(id);
            match targets.get(id) {
                Some(target) => self.look_at_probes_of(id, target, now),
                None => self.health.forget(id),
            }
            if let (Some((invocation, probing)), Some((known, first))) = (self.health.probed.get_mut(id), &before)
                && invocation == known
            {
                // How an invocation began to be probed is said with the first look at it.
                (probing.was_ready, probing.trial) = (first.was_ready, first.trial);
            }
            differs |= self.health.probed.get(id) != before.as_ref();
        }
        differs
    }

    fn look_at_probes_of(&mut self, id: &ReplicaId, target: &Target, now: Instant) {
        let (Target::Ours { assignment, .. } | Target::Kept { assignment, .. }) = target else { return };
        if assignment.mode != Mode::Enabled || assignment.template.probes == Probes::default() {
            return;
        }
        let Some(unit) = self.units.get(&assignment.unit).cloned() else { return };
        if self.is_unasked(target) {
            return self.do_not_ask(id, assignment, unit, now);
        }
        self.health.unasked.remove(id);
        if !unit.active.is_up() {
            return;
        }
        if let Some(was_ready) = self.was_ready(id, assignment, &unit, now) {
            let trial = self.trial_of_new(id, assignment, &unit.invocation);
            let probing = Probing { trial, ..self.probing(id, assignment, was_ready) };
            self.health.probed.insert(id.clone(), (unit.invocation, probing));
        } else {
            self.health.deferred.insert(id.clone());
        }
    }

    /// Its probes' commands are not run here. Found out also while systemd has yet to restart it: its entry in `instances`
    /// will be gone then.
    fn do_not_ask(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, unit: UnitStatus, now: Instant) {
        match self.last_ready(id, assignment, &unit, now) {
            Some(ready) if unit.active.is_up() => {
                self.health.pending.insert(id.clone(), (unit.invocation, ready));
            }
            Some(_) => {}
            None => drop(self.health.deferred.insert(id.clone())),
        }
    }

    /// Takes in what the probes have found: of which replicas that is other than before.
    pub(super) fn take_findings(&mut self, findings: &Findings, now: Instant) -> BTreeSet<ReplicaId> {
        let mut changed = BTreeSet::new();
        if self.health.probed.is_empty() && self.health.pending.is_empty() && self.health.verdicts.is_empty() {
            self.note("probes", None);
            return changed;
        }
        let found = |id: &ReplicaId| findings.of.get(id).map(|(verdict, _)| verdict.clone()).unwrap_or_default();
        let asked = self.health.probed.iter().map(|(id, (invocation, _))| (id.clone(), invocation.clone(), found(id)));
        let asked: Vec<_> = asked.collect();
        let stands = |ready| Verdict { ready, alive: true, message: None };
        let unasked = self.health.pending.iter();
        let unasked: Vec<_> =
            unasked.map(|(id, (invocation, ready))| (id.clone(), invocation.clone(), stands(*ready))).collect();
        let mut before = std::mem::take(&mut self.health.verdicts);
        for (id, _, verdict) in &asked {
            self.count_failures(before.get(id).map(|judged| &judged.verdict), verdict);
        }
        for (id, invocation, verdict) in asked.into_iter().chain(unasked) {
            let old = before.remove(&id);
            let judged = Judged::new(invocation, verdict, old.as_ref(), now);
            if old.is_none_or(|old| old.verdict != judged.verdict || old.invocation != judged.invocation) {
                changed.insert(id.clone());
            }
            self.health.verdicts.insert(id, judged);
        }
        changed.extend(before.into_keys());
        let not_asked = findings.not_asked.as_ref();
        self.note("probes", not_asked.map(|why| format!("{why}; what its probes found before stands")));
        for (id, trial) in &mut self.health.trials {
            let outcome = findings.of.get(id).map_or_else(TrialOutcome::passed, |(_, outcome)| outcome.clone());
            if trial.outcome != outcome {
                trial.outcome = outcome;
                changed.insert(id.clone());
            }
        }
        changed
    }

    /// Whether the replica runs on with probes whose commands this host does not run any more.
    fn is_unasked(&self, target: &Target) -> bool {
        let Target::Kept { assignment, .. } = target else { return false };
        !self.policy.accepts.commands && assignment.template.probes.run_commands()
    }

    /// Whether what is not asked any more was ready when it last was, here or by a predecessor. `None` = that is not known
    /// yet.
    fn last_ready(
        &mut self,
        id: &ReplicaId,
        assignment: &CheckedAssignment,
        unit: &UnitStatus,
        now: Instant,
    ) -> Option<bool> {
        if let Some(ready) = self.health.unasked.get(id) {
            return Some(*ready);
        }
        let ready = match self.health.verdicts.get(id) {
            Some(judged) => judged.verdict.ready,
            None => assignment.template.probes.readiness.is_none() || self.listed(id, unit, now)? != Listed::No,
        };
        self.health.unasked.insert(id.clone(), ready);
        Some(ready)
    }

    /// How long an invocation is on trial that is seen for the first time: one that was started since this agent last saw
    /// the replica, what a predecessor left on trial, and one of which something new is wanted, as its first probe.
    fn trial_of_new(&mut self, id: &ReplicaId, assignment: &CheckedAssignment, invocation: &str) -> Option<Span> {
        if self.health.trials.get(id).is_some_and(|trial| trial.invocation == invocation) {
            return None;
        }
        let record = self.ledger.replicas.get(id);
        let starts = self.health.trials.contains_key(id) || self.busy.contains_key(id);
        let is_new = |record: &Record| record.assignment.with_mode(assignment.mode) != *assignment;
        let on_trial = starts || record.is_none_or(|record| record.on_trial || is_new(record));
        let reloads = self.health.reloads.get(id).copied().unwrap_or_default();
        let outcome = TrialOutcome { unconfirmed: on_trial, over: !on_trial, ..TrialOutcome::default() };
        let (invocation, content) = (invocation.to_owned(), assignment.clone());
        self.health.trials.insert(id.clone(), Trial { invocation, reloads, content, outcome });
        on_trial.then_some(assignment.min_healthy_time)
    }

    /// Puts on trial what has come into force without a start since the last look, and remembers which trials are over.
    pub(super) fn tend_trials(
        &mut self,
        targets: &BTreeMap<ReplicaId, Target>,
        decisions: &BTreeMap<ReplicaId, Decision>,
    ) {
        for (id, _) in decisions.iter().filter(|(_, decision)| decision.in_force) {
            let Some(trial) = self.health.trials.get_mut(id) else { continue };
            let content = targets[id].assignment();
            let reloads = self.health.reloads.get(id).copied().unwrap_or_default();
            if trial.is_outdated(reloads, content) {
                self.changed.replica(id);
                (trial.reloads, trial.outcome) = (reloads, begun(&content.template.probes));
                trial.content.clone_from(content);
                self.actions.push(Action::BeginTrial(id.clone(), content.min_healthy_time));
            } else if trial.outcome.over
                && let Some(record) = self.ledger.replicas.get_mut(id).filter(|record| record.on_trial)
            {
                self.changed.replica(id);
                record.on_trial = false;
            }
        }
    }

    fn count_failures(&mut self, before: Option<&Verdict>, now: &Verdict) {
        let Some(before) = before else { return };
        for (probe, failed) in [("readiness", before.ready && !now.ready), ("liveness", before.alive && !now.alive)] {
            if failed {
                self.count(Counted::ProbeFailed(probe));
            }
        }
    }

    fn probing(&self, id: &ReplicaId, assignment: &CheckedAssignment, was_ready: bool) -> Probing {
        let folders = (self.policy.folders)(id, assignment);
        let mut environment = environment(assignment, id, &self.policy.host, &folders);
        environment.retain(|name, _| name.starts_with("ZKOPS_"));
        Probing {
            readiness: assignment.template.probes.readiness.clone(),
            liveness: assignment.template.probes.liveness.clone(),
            port: assignment.template.port,
            address: self.policy.address.clone(),
            environment,
            was_ready,
            trial: None,
        }
    }
}

/// What a trial that begins now has come to: one that asks nobody but systemd is passed.
fn begun(probes: &Probes) -> TrialOutcome {
    let asks = [&probes.readiness, &probes.liveness]
        .into_iter()
        .flatten()
        .any(|probe| !matches!(probe.check(), Some(ProbeCheck::Systemd(_))));
    if asks { TrialOutcome { unconfirmed: true, ..TrialOutcome::default() } } else { TrialOutcome::passed() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reason_stands_for_a_while_and_no_longer_than_its_verdict() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let judge = |ready, why: &str, before: Option<&Judged>, millis| {
            let verdict = Verdict { ready, alive: true, message: (!ready).then(|| why.to_owned()) };
            Judged::new("one".to_owned(), verdict, before, at(millis))
        };
        let told = |judged: &Judged| judged.verdict.message.clone().unwrap_or_default();
        let first = judge(false, "refused", None, 0);
        assert!(!first.outdated);
        let held = judge(false, "503", Some(&first), 300);
        assert_eq!((told(&held).as_str(), held.outdated, held.stands_until()), ("refused", true, at(1000)));
        let second = judge(false, "503", Some(&held), 1000);
        assert_eq!((told(&second).as_str(), second.outdated), ("503", false));
        assert!(!judge(false, "503", Some(&second), 1500).outdated);
        let mut last = second;
        let mut changes = 0;
        for seconds in 2..=600 {
            let next = judge(false, &seconds.to_string(), Some(&last), seconds * 1000);
            changes += u32::from(told(&next) != told(&last));
            last = next;
        }
        assert!((20..=24).contains(&changes), "{changes} in ten minutes of another reason at each check");
        let ready = judge(true, "", Some(&last), 600_001);
        assert_eq!((ready.verdict.ready, ready.verdict.message.clone()), (true, None));
        let again = judge(false, "404", Some(&ready), 600_002);
        assert_eq!((told(&again).as_str(), again.stands_until()), ("404", at(601_002)));
    }
}
