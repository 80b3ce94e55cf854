//! One round: look → judge → plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{State, probes::Findings, targets::Target};
use crate::{
    model::{Files, ReplicaId, Verb},
    plan::agent::{
        Basis, Busy, Decision, Memory, View,
        action::{Now, Severity},
        plan,
    },
};

static NO_FILES: Files = Files { drop_in: None, variables: None, unit_file: None };

/// A round that was begun: what is wanted of each replica.
#[derive(Debug)]
pub struct Round {
    targets: BTreeMap<ReplicaId, Target>,
    /// The replicas that are decided.
    due: BTreeSet<ReplicaId>,
    /// Whether [`State::probed`] is other than before.
    pub probes_differ: bool,
}

impl State {
    /// Begins a round: what is wanted, and what has to be looked at for it. `reloads` = how often systemd has read its
    /// unit files again, for whomever. What the probes find of [`Self::probed`] goes to [`Self::plan`].
    pub fn look(&mut self, reloads: u64, now: Instant) -> Round {
        self.lose_patience(now);
        self.look_at_files(reloads);
        self.tell_who_holds_the_name();
        let mut targets = std::mem::take(&mut self.targets);
        let due = self.take_due(now);
        self.retarget(&mut targets, &due);
        self.delist(&targets, now);
        self.look_at_artifacts();
        self.look_at_units(&targets, &due, now);
        let probes_differ = self.look_at_probes(&targets, &due, now);
        Round { targets, due, probes_differ }
    }

    /// Ends it: decides each replica, begins what is due, and says how things stand.
    pub fn plan(&mut self, round: Round, findings: &Findings, now: Now) {
        let (targets, mut due, at) = (round.targets, round.due, now.instant);
        due.extend(self.take_findings(findings, at));
        self.tend_staging(&targets);
        let newcomer = self.is_newcomer(&targets, at);
        if self.last_round.is_newcomer != newcomer {
            self.last_round.is_newcomer = newcomer;
            due.extend(targets.keys().cloned());
        }
        // What the look has found out, too.
        due.extend(self.changed_ids());
        self.add_sharers(&targets, &mut due);
        let mut decisions = plan(&self.views(&targets, &due, at), at);
        self.announce_retries(&targets, &mut decisions);
        self.execute(&targets, &due, &decisions, at);
        self.tend_trials(&targets, &decisions);
        self.confirm_withdrawn(at);
        self.say(&targets, &due, &decisions, now);
        due.iter().filter(|id| !targets.contains_key(*id)).for_each(|id| drop(self.decisions.remove(id)));
        self.decisions.extend(decisions);
        self.list(&targets, &due);
        self.register(&targets, now);
        self.wake_at = self.next_wake(at);
        self.targets = targets;
    }

    /// What is said to be down is started again only once the tree does not say so any more: whoever believes it may start the
    /// replica elsewhere. Without a connection nothing can be said, and nobody is asked; nor where no assignment is, for which
    /// nothing is written. New work need not wait: what was said answers to other work.
    fn announce_retries(&self, targets: &BTreeMap<ReplicaId, Target>, decisions: &mut BTreeMap<ReplicaId, Decision>) {
        let connected = self.publishable().is_some();
        for (id, decision) in decisions {
            let starting = matches!(self.busy.get(id), Some((_, Busy::Job(Verb::Start | Verb::Restart))));
            let is_down = !self.is_up(targets[id].unit());
            let is_new = self.memory.get(id).is_some_and(Memory::is_fresh);
            decision.retrying = decision.state.is_down() && (starting || decision.starts());
            let is_said = self.publisher.may_say_it_is_down(id) && self.work.is_present(id);
            if connected && is_down && decision.starts() && !is_new && is_said {
                decision.step = None;
            }
        }
    }

    /// ZooKeeper has kept silent since the start for too long: the ledger's work is started without it.
    fn lose_patience(&mut self, now: Instant) {
        if self.work.basis() == Basis::Waiting && now >= self.started + self.policy.patience {
            let line = "ZooKeeper is out of reach: this host's last accepted work is in force";
            self.log(Severity::Warning, line.to_owned());
            self.work.out_of_reach();
        }
    }

    fn views<'a>(
        &'a self,
        targets: &'a BTreeMap<ReplicaId, Target>,
        due: &BTreeSet<ReplicaId>,
        now: Instant,
    ) -> Vec<View<'a>> {
        static FORGETFUL: Memory = Memory::NEW;
        let newcomer = self.is_newcomer(targets, now);
        let seen = |(id, target): (&'a ReplicaId, &'a Target)| View {
            id,
            wanted: target.wanted(),
            record: self.ledger.replicas.get(id),
            unit: self.unit(target.unit()),
            last_line: self.last_line(target),
            files: self.on_disk.get(target.unit()).and_then(|files| files.as_ref().ok()).unwrap_or(&NO_FILES),
            loaded: !self.unloaded.contains(target.unit()),
            memory: self.memory.get(id).unwrap_or(&FORGETFUL),
            in_instances: self.is_in_instances(id, target, now),
            busy: self.busy(id, target, newcomer),
            disk_busy: self.disk_busy,
            overtaken: self.is_overtaken(id, target),
            upcoming: target.upcoming(),
            links: target.links(),
            probed: self.health.of(id, target),
        };
        due.iter().filter_map(|id| targets.get_key_value(id)).map(seen).collect()
    }

    fn busy(&self, id: &ReplicaId, target: &Target, newcomer: bool) -> Option<Busy> {
        let unit = target.managed_unit().filter(|_| !target.is_refused());
        let is_read = |unit| self.units.certain(unit).is_some() && self.on_disk.contains_key(unit);
        let unread = unit.is_some_and(|unit| !is_read(unit));
        // What was in force before is not started once more when the newer may be about to take its place.
        let waits = (newcomer || target.is_newer_unseen()) && unit.is_some_and(|unit| !self.is_up(unit));
        let unknown = unread || target.is_unsure() || target.is_unseen() || waits || self.is_overtaken(id, target);
        self.busy.get(id).map(|(_, busy)| *busy).or_else(|| unknown.then_some(Busy::Unknown))
    }

    /// Whether a stop has overtaken a start, which may be about to install a package: the unit may start yet.
    fn is_overtaken(&self, id: &ReplicaId, target: &Target) -> bool {
        let newest = matches!(self.busy.get(id), Some((_, Busy::Job(_))));
        let is_ours = self.ledger.replicas.get(id).is_some_and(|it| it.assignment.unit == *target.unit());
        is_ours && !target.is_refused() && self.units.jobs(target.unit()) > usize::from(newest)
    }

    /// Whether this host starts nothing yet: another machine may be about to take its name, and of the two only one
    /// registers. A host that has yet to stop what is no longer its own is known, and does not wait for that. Nor does one
    /// that could not register for a session timeout: another would have shown by then.
    pub(super) fn is_newcomer(&self, targets: &BTreeMap<ReplicaId, Target>, now: Instant) -> bool {
        let unregistered = self.work.basis() == Basis::Tree && !self.publisher.has_taken_over();
        let alone = self.known_since.is_some_and(|since| now.saturating_duration_since(since) >= self.policy.patience);
        unregistered && !alone && !targets.values().any(Target::is_gone)
    }

    fn tell_who_holds_the_name(&mut self) {
        let held = self.work.held_by().map(|machine| {
            format!(
                "the machine {machine} is {} in ZooKeeper: this one, {}, runs none of its work. Set another `host` in \
                 agent.toml here, or stop the agent there",
                self.policy.host, self.alive.machine_id
            )
        });
        self.note("name", held);
    }

    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let unknown = self.work.basis() == Basis::Waiting || !self.publisher.has_taken_over();
        let patience =
            Some(self.known_since.unwrap_or(self.started) + self.policy.patience).filter(|at| unknown && *at > now);
        let publish = self.publishable().and_then(|_| self.publisher.next_due());
        let confirm = self.confirmable().and(self.confirm_at.or(self.next_confirm_of_kept()));
        let disk = self.save_due().into_iter().chain(self.files_again).min();
        let others = [patience, publish, confirm, disk, self.units.next_due(), self.health.next_due()];
        self.decisions.values().filter_map(|decision| decision.wake_at).chain(others.into_iter().flatten()).min()
    }
}
