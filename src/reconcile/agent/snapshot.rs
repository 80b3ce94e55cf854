//! Snapshot, plan, execute, status: the visible lines of the loop.

use std::{collections::BTreeMap, sync::LazyLock, time::Instant};

use super::{Agent, targets::Target};
use crate::{
    model::{ReplicaId, UnitStatus},
    plan::agent::{Basis, Busy, Decision, Files, LastLine, Memory, View, plan},
    systemd::UnitManager,
};

pub(super) static NO_UNIT: LazyLock<UnitStatus> = LazyLock::new(UnitStatus::not_found);
static NO_FILES: Files = Files { drop_in: None, variables: None, unit_file: None };

impl<M: UnitManager + 'static> Agent<M> {
    /// One round: snapshot → plan → execute → status.
    pub(super) fn reconcile(&mut self) {
        let now = Instant::now();
        self.lose_patience(now);
        self.look_at_files();
        self.tell_who_holds_the_name();
        let targets = self.targets();
        self.look_at_goods();
        self.look_at_units(&targets, now);
        self.probe(&targets, now);
        self.tend_staging(&targets);
        let decisions = plan(&self.views(&targets), now);
        self.metrics.plan();
        tracing::debug!(?decisions, "planned");
        self.execute(&targets, &decisions, now);
        self.tend_trials(&targets, &decisions);
        self.confirm_withdrawn(now);
        self.say(&targets, &decisions, now);
        self.wake_at = self.next_wake(&decisions);
    }

    /// ZooKeeper has kept silent since the start for too long: the ledger's work is started without it.
    fn lose_patience(&mut self, now: Instant) {
        if self.work.basis() == Basis::Waiting && now >= self.started + self.patience() {
            tracing::warn!("ZooKeeper is out of reach: this host's last accepted work is in force");
            self.work.out_of_reach();
        }
    }

    fn views<'a>(&'a self, targets: &'a BTreeMap<ReplicaId, Target>) -> Vec<View<'a>> {
        static FORGETFUL: Memory = Memory::NEW;
        // Until this process has registered, a predecessor's entry may still stand for what is assigned here.
        let undecided = self.work.basis() == Basis::Tree && !self.publisher.has_taken_over();
        let newcomer = self.is_newcomer(targets);
        let seen = |(id, target): (&'a ReplicaId, &'a Target)| View {
            id,
            wanted: target.wanted(),
            record: self.ledger.replicas.get(id),
            unit: self.units.get(target.unit()).unwrap_or(&NO_UNIT),
            last_line: self.last_line(target),
            files: self.on_disk.get(target.unit()).and_then(|files| files.as_ref().ok()).unwrap_or(&NO_FILES),
            loaded: !self.unloaded.contains(target.unit()),
            memory: self.memory.get(id).unwrap_or(&FORGETFUL),
            in_instances: self.publisher.lists(id) || (undecided && !target.is_gone()),
            busy: self.busy(id, target, newcomer),
            disk_busy: self.disk_busy,
            upcoming: target.upcoming(),
            links: target.links(),
            probed: self.health.of(id, target),
        };
        targets.iter().map(seen).collect()
    }

    pub(super) fn last_line(&self, target: &Target) -> LastLine<'_> {
        let unit = self.units.get(target.unit()).unwrap_or(&NO_UNIT);
        self.words.last_line(target.unit(), unit)
    }

    fn busy(&self, id: &ReplicaId, target: &Target, newcomer: bool) -> Option<Busy> {
        let unit = target.managed_unit().filter(|_| !target.is_refused());
        let is_read = |unit| self.units.certain(unit).is_some() && self.on_disk.contains_key(unit);
        let unread = unit.is_some_and(|unit| !is_read(unit));
        let waits = newcomer && unit.is_some_and(|unit| !self.is_up(unit));
        let unknown = unread || target.is_unsure() || target.is_unseen() || waits;
        self.busy.get(id).map(|(_, busy)| *busy).or_else(|| unknown.then_some(Busy::Unknown))
    }

    /// Whether this host starts nothing yet: another machine may be about to take its name, and of the two only one
    /// registers. A host that has yet to stop what is no longer its own is known, and does not wait for that. Nor does one
    /// that could not register for a session timeout: another would have shown by then.
    pub(super) fn is_newcomer(&self, targets: &BTreeMap<ReplicaId, Target>) -> bool {
        let unregistered = self.work.basis() == Basis::Tree && !self.publisher.has_taken_over();
        let alone = self.known_since.is_some_and(|since| since.elapsed() >= self.patience());
        unregistered && !alone && !targets.values().any(Target::is_gone)
    }

    fn tell_who_holds_the_name(&mut self) {
        let held = self.work.held_by().map(|machine| {
            format!(
                "the machine {machine} is {} in ZooKeeper: this one, {}, runs none of its work. Set another `host` in \
                 agent.toml here, or stop the agent there",
                self.settings.host, self.alive.machine_id
            )
        });
        self.note("name", held);
    }

    fn next_wake(&self, decisions: &BTreeMap<ReplicaId, Decision>) -> Option<Instant> {
        let unknown = self.work.basis() == Basis::Waiting || !self.publisher.has_taken_over();
        let patience = Some(self.known_since.unwrap_or(self.started) + self.patience())
            .filter(|at| unknown && *at > Instant::now());
        let publish = self.publishable().and_then(|_| self.publisher.next_due());
        let confirm = self.confirmable().and(self.confirm_at);
        let ready = (!self.is_ready).then(|| self.started + super::READY_LIMIT);
        let disk = self.save_due().into_iter().chain(self.files_again).min();
        let others = [patience, publish, confirm, disk, ready, self.units.next_due(), self.health.next_due()];
        decisions.values().filter_map(|decision| decision.wake_at).chain(others.into_iter().flatten()).min()
    }
}
