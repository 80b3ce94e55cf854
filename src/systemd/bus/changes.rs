//! Which units are watched, and which of them changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::path::unit_path;
use crate::model::UnitName;

/// systemd says nothing when the last process goes that a stopped unit left behind; such a unit is reported again
/// after this time, until whoever reads it finds none left.
const LEFTOVER_INTERVAL: Duration = Duration::from_secs(1);

/// The watched units and what happened to them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    state: Mutex<State>,
    /// Some unit changed.
    changed: Notify,
    /// The set of watched units changed.
    pub(super) rewatch: Notify,
}

#[derive(Debug, Default)]
struct State {
    watched: BTreeSet<UnitName>,
    by_path: BTreeMap<String, UnitName>,
    dirty: BTreeSet<UnitName>,
    leftovers: BTreeMap<UnitName, Instant>,
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
        state.by_path = names.iter().map(|name| (unit_path(name), name.clone())).collect();
        state.dirty.retain(|name| names.contains(name));
        state.leftovers.retain(|name, _| names.contains(name));
        self.rewatch.notify_one();
    }

    /// The watched units.
    pub(super) fn watched(&self) -> BTreeSet<UnitName> {
        self.lock().watched.clone()
    }

    /// The unit at this path changed; others than the watched ones are passed over.
    pub(super) fn touch_path(&self, path: &str) {
        let mut state = self.lock();
        if let Some(name) = state.by_path.get(path).cloned() {
            state.dirty.insert(name);
            self.changed.notify_one();
        }
    }

    /// These units may have changed.
    pub(super) fn touch<'a>(&self, names: impl IntoIterator<Item = &'a UnitName>) {
        let mut state = self.lock();
        for name in names {
            if state.watched.contains(name) {
                state.dirty.insert(name.clone());
                self.changed.notify_one();
            }
        }
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
        changes.touch(&units(&["c.service"]));
        assert!(timeout(Duration::from_secs(60), changes.next()).await.is_err());
        changes.touch_all();
        assert_eq!(changes.next().await.len(), 2);
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
