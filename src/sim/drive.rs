//! A host that is left to itself: everything goes well, and what is due is done.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use proptest::sample::Index;

use super::{host::Host, tasks::Luck, tree::Tree};
use crate::{
    model::{ActiveState, ReplicaId, UnitName},
    tree::layout,
};

/// What comes so soon is done at once when a host is stepped: no other has to wait for it.
const SOON: Duration = Duration::from_millis(200);

impl Host {
    /// One thing that it has to do at this time; false when there is none.
    pub(crate) fn step(&mut self, tree: &mut Tree, now: Timestamp) -> bool {
        let begun = self.story.len();
        self.turn_at(tree, now);
        if !self.tasks.is_empty() {
            self.advance(0, tree, Luck::Good);
            return true;
        }
        if self.check_probes() || self.news(tree) {
            return true;
        }
        let due = self.wake_at().filter(|due| *due <= self.now.instant + SOON);
        if let Some(due) = due {
            self.now.instant = due.max(self.now.instant + Duration::from_millis(1));
        }
        due.is_some() || self.story.len() > begun
    }

    /// The agent's loop turns at this time.
    pub(crate) fn turn_at(&mut self, tree: &mut Tree, now: Timestamp) {
        self.pass_until(now, tree);
        self.reconfigure(tree);
        self.check_probes();
        let wrong = self.turn(tree);
        assert!(wrong.is_empty(), "{}: {}", self.name, wrong.join("\n"));
    }

    /// One of the things that are under way gets on.
    pub(crate) fn advance_one(&mut self, index: Index, tree: &mut Tree, luck: Luck) {
        if !self.tasks.is_empty() {
            self.advance(index.index(self.tasks.len()), tree, luck);
        }
    }

    /// One of its processes ends by itself.
    pub(crate) fn end_one(&mut self, index: Index, fails: bool) {
        let units = self.units();
        if !units.is_empty() {
            let active = if fails { ActiveState::Failed } else { ActiveState::Inactive };
            self.systemd.end(&units[index.index(units.len())], active);
        }
    }

    /// Somebody removes generated files and has systemd read all again.
    pub(crate) fn revert_one(&mut self, index: Index) {
        let units: Vec<UnitName> = self.systemd.files.keys().cloned().collect();
        if !units.is_empty() {
            self.systemd.files.remove(&units[index.index(units.len())]);
            self.systemd.daemon_reload();
        }
    }

    /// What runs now serves nothing from now on, or serves again.
    pub(crate) fn fall_sick(&mut self, sick: bool) {
        self.sick = if sick { self.running().collect() } else { BTreeSet::new() };
    }

    /// An agent reads its configuration when it is started.
    fn reconfigure(&mut self, tree: &mut Tree) {
        let (now, then) = (&self.setup, &self.configured);
        let same = (&now.zone, &now.accepts, &now.refused) == (&then.zone, &then.accepts, &then.refused);
        if self.agent.is_some() && self.connected && !same {
            self.kill_agent(tree, true);
            let forbidden: Vec<_> = self.units().into_iter().filter(|unit| !self.drives(unit)).collect();
            self.handed_over.extend(forbidden);
            self.start_agent();
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.agent.is_some() && self.connected
    }

    /// The host loses its power and its session has run out.
    pub(crate) fn lose_power(&mut self, tree: &mut Tree) {
        self.crash(tree);
        self.expire(tree, true);
    }

    /// The host is cut off until its session has run out; its processes go on.
    pub(crate) fn cut_off(&mut self, tree: &mut Tree) {
        self.disconnect();
        self.expire(tree, true);
    }

    /// The host is up, with a connection.
    pub(crate) fn boot(&mut self) {
        self.start_agent();
        self.connect();
    }

    /// The host is shut down in order.
    pub(crate) fn shut_down(&mut self, tree: &mut Tree, now: Timestamp) {
        self.pass_until(now, tree);
        if self.is_connected() {
            while !self.tasks.is_empty() {
                self.advance(0, tree, Luck::Good);
            }
            self.bid_farewell(tree);
        }
        self.lose_power(tree);
    }

    /// The replicas of which it has processes that are its agent's. An operator who forbids a unit takes it over as it is, and
    /// hands it back as it may be.
    pub(crate) fn running(&self) -> impl Iterator<Item = ReplicaId> {
        let own = |(unit, _): &(&UnitName, _)| self.drives(unit) && !self.handed_over.contains(*unit);
        self.systemd.processes().filter(own).filter_map(|(_, process)| process.owner())
    }

    /// Whether a process of the replica runs and answers.
    pub(crate) fn is_serving(&self, id: &ReplicaId) -> bool {
        let mut processes = self.systemd.processes().map(|(_, process)| process);
        !self.sick.contains(id)
            && processes.any(|process| process.owner().as_ref() == Some(id) && !self.is_broken(process))
    }

    /// Whether its agent may touch the unit.
    pub(super) fn drives(&self, unit: &UnitName) -> bool {
        self.policy().accepts.units.allows(unit)
    }

    pub(crate) fn units(&self) -> Vec<UnitName> {
        self.systemd.processes().map(|(unit, _)| unit.clone()).collect()
    }

    /// It is this late by now.
    pub(crate) fn pass_until(&mut self, time: Timestamp, tree: &mut Tree) {
        let passed = time.duration_since(self.now.time).try_into().unwrap_or_default();
        self.sleep(passed, tree);
    }

    /// Everything goes well until there is nothing to do; what was wrong on the way.
    pub(crate) fn settle(&mut self, tree: &mut Tree) -> Vec<String> {
        let mut wrong = Vec::new();
        for _ in 0..500 {
            wrong.extend(self.turn(tree));
            if !self.tasks.is_empty() {
                self.advance(0, tree, Luck::Good);
            } else if !self.check_probes() && !self.news(tree) {
                let Some(due) = self.wake_at() else { return wrong };
                self.sleep(due.saturating_duration_since(self.now.instant).max(Duration::from_millis(1)), tree);
            }
        }
        self.story.cut(200);
        wrong.push("it does not come to rest".to_owned());
        wrong
    }

    /// Whether something has changed that the agent has not seen.
    fn news(&self, tree: &Tree) -> bool {
        let root = layout::host(&self.name);
        let unseen = self.mirror.as_ref().is_none_or(|mirror| {
            let there = tree.below(&root).chain(tree.node(&root).map(|_| root.as_str())).count();
            there != mirror.len()
                || mirror.iter().any(|(path, (data, version))| {
                    tree.node(path).is_none_or(|node| (&node.data, node.version) != (data, *version))
                })
        });
        !self.systemd.changed.is_empty() || (self.connected && unseen)
    }
}
