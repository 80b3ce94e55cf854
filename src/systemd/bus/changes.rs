//! Which units are watched, and which of them changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::path::unit_path;
use crate::model::UnitName;

/// systemd says nothing when the last process goes that a stopped unit left behind; such a unit is reported again
/// after this time, until whoever reads it finds none left.
const LEFTOVER_INTERVAL: Duration = Duration::from_secs(1);

/// How long who reads a unit waits until its signals come.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// The watched units and what happened to them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    state: Mutex<State>,
    /// Some unit changed.
    changed: Notify,
    /// The set of watched units changed.
    pub(super) rewatch: Notify,
    /// The signals of more units come.
    heard: Notify,
}

#[derive(Debug, Default)]
struct State {
    watched: BTreeSet<UnitName>,
    /// The primary names of those that are watched by another one: that is what their signals come under.
    primary: BTreeMap<UnitName, UnitName>,
    by_path: BTreeMap<String, Vec<UnitName>>,
    reloads: u64,
    dirty: BTreeSet<UnitName>,
    leftovers: BTreeMap<UnitName, Instant>,
    /// systemd is on the bus.
    is_there: bool,
    /// Those whose signals come, or cannot be had.
    settled: BTreeSet<UnitName>,
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the set of watched units.
    pub(super) fn watch(&self, names: &BTreeSet<UnitName>) {
        let mut state = self.lock();
        if state.watched == *names {
            return;
        }
        state.watched.clone_from(names);
        state.primary.retain(|name, _| names.contains(name));
        state.sort();
        state.dirty.retain(|name| names.contains(name));
        state.leftovers.retain(|name, _| names.contains(name));
        state.settled.retain(|name| names.contains(name));
        self.rewatch.notify_one();
    }

    /// The unit goes by this primary name.
    pub(super) fn known_as(&self, name: &UnitName, id: &str) {
        let primary = id.parse().ok().filter(|primary| primary != name);
        let mut state = self.lock();
        if state.primary.get(name) == primary.as_ref() || !state.watched.contains(name) {
            return;
        }
        match primary {
            Some(primary) => drop(state.primary.insert(name.clone(), primary)),
            None => drop(state.primary.remove(name)),
        }
        state.sort();
        self.rewatch.notify_one();
    }

    /// The names that signals of the watched units may come under.
    pub(super) fn signalling(&self) -> BTreeSet<UnitName> {
        let state = self.lock();
        state.watched.iter().chain(state.primary.values()).cloned().collect()
    }

    /// The watched units.
    pub(super) fn watched(&self) -> BTreeSet<UnitName> {
        self.lock().watched.clone()
    }

    /// The signals of these units come from now on, or cannot be had.
    pub(super) fn settled(&self, names: BTreeSet<UnitName>) {
        self.lock().settled = names;
        self.heard.notify_waiters();
    }

    /// systemd came to the bus, or left it: no signals come yet.
    pub(super) fn owned(&self, is_there: bool) {
        let mut state = self.lock();
        state.is_there = is_there;
        state.settled.clear();
        drop(state);
        self.heard.notify_waiters();
    }

    /// Waits until the signals of the unit come, if it is watched, but not for long: what is read before that has to be read
    /// again.
    pub(super) async fn settles(&self, name: &UnitName) {
        let settled = async {
            loop {
                let heard = self.heard.notified();
                let mut heard = pin!(heard);
                heard.as_mut().enable();
                let waits = {
                    let state = self.lock();
                    state.is_there && state.watched.contains(name) && !state.settled.contains(name)
                };
                if !waits {
                    break;
                }
                heard.await;
            }
        };
        // Then it is read all the same.
        let _ = tokio::time::timeout(SETTLE_LIMIT, settled).await;
    }

    /// The unit at this path changed; others than the watched ones are passed over.
    pub(super) fn touch_path(&self, path: &str) {
        let mut state = self.lock();
        if let Some(names) = state.by_path.get(path).cloned() {
            state.dirty.extend(names);
            self.changed.notify_one();
        }
    }

    /// This unit may have changed, by whichever of its names it is watched.
    pub(super) fn touch(&self, name: &UnitName) {
        self.touch_path(&unit_path(name));
    }

    /// How often unit files were read again, or may have been.
    pub(super) fn reloads(&self) -> u64 {
        self.lock().reloads
    }

    /// Unit files were read again, or may have been: any unit may have changed.
    pub(super) fn reloaded(&self) {
        self.lock().reloads += 1;
        self.touch_all();
    }

    /// Any unit may have changed.
    pub(super) fn touch_all(&self) {
        let mut state = self.lock();
        let State { watched, dirty, .. } = &mut *state;
        dirty.clone_from(watched);
        self.changed.notify_one();
    }

    /// The unit was seen with processes left behind, or without.
    pub(super) fn leftover(&self, name: &UnitName, left: bool) {
        let mut state = self.lock();
        if !left {
            state.leftovers.remove(name);
        } else if state.watched.contains(name) {
            state.leftovers.insert(name.clone(), Instant::now() + LEFTOVER_INTERVAL);
            self.changed.notify_one();
        }
    }

    /// Waits for changed units. Nothing is taken before it is returned, so the future may be dropped at any time.
    pub(super) async fn next(&self) -> BTreeSet<UnitName> {
        loop {
            let due = {
                let mut state = self.lock();
                state.take_due_leftovers(Instant::now());
                if !state.dirty.is_empty() {
                    return std::mem::take(&mut state.dirty);
                }
                state.leftovers.values().min().copied()
            };
            match due {
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }
}

impl State {
    /// Which watched units a signal's path is about.
    fn sort(&mut self) {
        self.by_path.clear();
        for name in &self.watched {
            let names = [Some(name), self.primary.get(name)];
            for path in names.into_iter().flatten().map(unit_path) {
                self.by_path.entry(path).or_default().push(name.clone());
            }
        }
    }

    fn take_due_leftovers(&mut self, now: Instant) {
        let dirty = &mut self.dirty;
        self.leftovers.retain(|name, due| {
            let is_due = *due <= now;
            if is_due {
                dirty.insert(name.clone());
            }
            !is_due
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use tokio::time::{Duration, Instant, timeout};

    use super::Changes;
    use crate::model::UnitName;

    fn units(names: &[&str]) -> BTreeSet<UnitName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_coalesced_and_only_of_watched_units() {
        let changes = Changes::default();
        changes.watch(&units(&["a.service", "b.service"]));
        for path in ["a_2eservice", "a_2eservice", "b_2eservice", "c_2eservice"] {
            changes.touch_path(&format!("/org/freedesktop/systemd1/unit/{path}"));
        }
        assert_eq!(changes.next().await, units(&["a.service", "b.service"]));
        assert!(timeout(Duration::from_secs(60), changes.next()).await.is_err(), "nothing is told twice");
        changes.touch(&"c.service".parse().unwrap());
        assert!(timeout(Duration::from_secs(60), changes.next()).await.is_err());
        changes.touch_all();
        assert_eq!(changes.next().await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn signals_under_the_primary_name_are_those_of_its_aliases() {
        let changes = Changes::default();
        let (alias, real): (UnitName, UnitName) = ("alias.service".parse().unwrap(), "real.service".parse().unwrap());
        changes.watch(&units(&["alias.service"]));
        changes.known_as(&alias, "real.service");
        changes.known_as(&real, "other.service");
        assert_eq!(changes.signalling(), units(&["alias.service", "real.service"]), "only of what is watched");
        changes.touch(&real);
        assert_eq!(changes.next().await, units(&["alias.service"]));
        changes.watch(&units(&["alias.service", "real.service"]));
        changes.touch_path("/org/freedesktop/systemd1/unit/real_2eservice");
        assert_eq!(changes.next().await, units(&["alias.service", "real.service"]));
        changes.known_as(&alias, "alias.service");
        changes.touch(&real);
        assert_eq!(changes.next().await, units(&["real.service"]), "it is an alias no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_loses_nothing() {
        let changes = Changes::default();
        changes.watch(&units(&["a.service"]));
        assert!(timeout(Duration::from_millis(1), changes.next()).await.is_err());
        changes.touch_all();
        drop(changes.next());
        assert_eq!(changes.next().await, units(&["a.service"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_with_leftover_processes_is_told_again() {
        let changes = Changes::default();
        let name: UnitName = "a.service".parse().unwrap();
        changes.watch(&BTreeSet::from([name.clone()]));
        changes.leftover(&name, true);
        let began = Instant::now();
        assert_eq!(changes.next().await.len(), 1);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        changes.leftover(&name, true);
        changes.leftover(&name, false);
        assert!(timeout(Duration::from_secs(60), changes.next()).await.is_err());
    }
}
