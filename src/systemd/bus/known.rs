//! Units as systemd's own signals keep them known, so that they need not be read each time.
//!
//! To read a unit is work: systemd sends some three hundred properties, and reads dozens of them from its cgroup's files. It
//! is read in full once, and again after anything that may change what its files came to, or that no signal tells of. In
//! between, `PropertiesChanged` has what changes. systemd sends it for the unit's type first and then for `Unit`, "the
//! clients may rely on this order to get atomic behavior" (dbus-unit.c), and of each all properties that it ever signals;
//! what was pending of a unit it sends before it says that a job of the unit is over (`bus_job_send_removed_signal`).
//!
//! Only services are known so, by the name that systemd has them by, and only while their signals come and systemd has them
//! in its memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    path::unit_path,
    proxies::{ServiceChange, UnitChange},
    status,
};
use crate::{
    model::{ActiveState, LoadState, UnitName, UnitStatus},
    systemd::exit,
};

/// The units that are known.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How often everything was forgotten.
    generation: u64,
    /// Those whose signals come, by their objects.
    heard: BTreeMap<String, Unit>,
}

#[derive(Debug, Default)]
struct Unit {
    /// How often something was said of it.
    changes: u64,
    /// As it is; `None` = it has to be read.
    status: Option<UnitStatus>,
    /// The object of its job, while it has one.
    job: Option<String>,
    /// What was said of it as a service: what is said of it as a unit follows.
    service: Option<ServiceChange>,
}

/// When a unit began to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Began {
    generation: u64,
    changes: u64,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of these units signals come from now on, and of no others.
    pub(super) fn hear(&self, names: &BTreeSet<UnitName>) {
        let mut state = self.lock();
        let mut before = mem::take(&mut state.heard);
        let paths = names.iter().map(unit_path);
        state.heard = paths.map(|path| (path.clone(), before.remove(&path).unwrap_or_default())).collect();
    }

    /// All have to be read again.
    pub(super) fn forget_all(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.heard.values_mut().for_each(|unit| *unit = Unit { changes: unit.changes, ..Unit::default() });
    }

    /// The unit has to be read again.
    pub(super) fn forget(&self, name: &UnitName) {
        self.forget_path(&unit_path(name));
    }

    /// The unit of this object has to be read again.
    pub(super) fn forget_path(&self, path: &str) {
        if let Some(unit) = self.lock().heard.get_mut(path) {
            *unit = Unit { changes: unit.changes + 1, ..Unit::default() };
        }
    }

    /// The unit as it is, if that is known, and the object of its job. What runs of it is known unless it rests.
    pub(super) fn get(&self, name: &UnitName) -> Option<(UnitStatus, Option<String>)> {
        let state = self.lock();
        let unit = state.heard.get(&unit_path(name))?;
        Some((unit.status.clone()?, unit.job.clone()))
    }

    /// The unit is about to be read; `None` = its signals do not come, and it is not known by what was read.
    pub(super) fn begin(&self, name: &UnitName) -> Option<Began> {
        let state = self.lock();
        let unit = state.heard.get(&unit_path(name))?;
        Some(Began { generation: state.generation, changes: unit.changes })
    }

    /// The unit was read, in full; unless anything was said of it since it began to be, this is what it is.
    pub(super) fn read(&self, name: &UnitName, began: Began, status: &UnitStatus, job: Option<String>) {
        let mut state = self.lock();
        let is_known = status.load == LoadState::Loaded
            && status.id == name.as_str()
            && !status.kind.is_empty()
            && status.unmet.is_empty();
        let generation = state.generation;
        let Some(unit) = state.heard.get_mut(&unit_path(name)).filter(|_| is_known) else { return };
        if began == (Began { generation, changes: unit.changes }) {
            (unit.status, unit.job) = (Some(UnitStatus { job: None, ..status.clone() }), job);
        }
    }

    /// What systemd says of the unit as a service.
    pub(super) fn service_changed(&self, path: &str, change: ServiceChange) {
        if let Some(unit) = self.lock().heard.get_mut(path) {
            unit.changes += 1;
            unit.service = Some(change);
        }
    }

    /// What systemd says of the unit then.
    pub(super) fn unit_changed(&self, path: &str, change: UnitChange) {
        let mut state = self.lock();
        let Some(unit) = state.heard.get_mut(path) else { return };
        unit.changes += 1;
        let service = unit.service.take();
        let job = change.job.as_ref().map(|(number, job)| (*number != 0).then(|| job.to_string()));
        let changed = unit.status.take().and_then(|before| changed(before, service?, change));
        unit.status = changed.filter(|_| job.is_some());
        unit.job = job.flatten();
    }

    /// The job is over. That its unit has none any more is said a little later.
    pub(super) fn job_removed(&self, name: &UnitName, job: &str) {
        if let Some(unit) = self.lock().heard.get_mut(&unit_path(name)) {
            unit.job.take_if(|path| path == job);
        }
    }
}

/// Whether the unit neither runs nor is about to.
pub(super) fn rests(status: &UnitStatus) -> bool {
    matches!(status.active, ActiveState::Inactive | ActiveState::Failed)
}

/// The unit as it is after this was said of it; `None` = not all of that is said.
fn changed(before: UnitStatus, service: ServiceChange, unit: UnitChange) -> Option<UnitStatus> {
    let held = |result: Option<bool>, at: Option<u64>| Some(result? || at? == 0);
    // Which of them did not hold is not said.
    let all_held =
        held(unit.condition_result, unit.condition_timestamp)? && held(unit.assert_result, unit.assert_timestamp)?;
    let status = UnitStatus {
        active: ActiveState::from_word(&unit.active_state?),
        sub: unit.sub_state?,
        invocation: status::invocation(&unit.invocation_id?),
        active_since: status::timestamp(unit.active_enter_timestamp?),
        result: service.result?,
        main_pid: Some(service.main_pid?).filter(|pid| *pid != 0),
        restarts: service.n_restarts?,
        exit: exit::words(service.exec_main_code?, service.exec_main_status?),
        // Of one that rests it has to be asked.
        has_processes: true,
        ..before
    };
    all_held.then_some(status)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name() -> UnitName {
        "a.service".parse().unwrap()
    }

    fn path() -> String {
        unit_path(&name())
    }

    fn status() -> UnitStatus {
        let (id, kind) = ("a.service".to_owned(), "exec".to_owned());
        UnitStatus { id, kind, load: LoadState::Loaded, restarts: 2, ..UnitStatus::not_found() }
    }

    fn service() -> ServiceChange {
        ServiceChange {
            result: Some("success".to_owned()),
            main_pid: Some(7),
            n_restarts: Some(0),
            exec_main_code: Some(0),
            exec_main_status: Some(0),
        }
    }

    fn unit(active: &str, job: u32) -> UnitChange {
        UnitChange {
            active_state: Some(active.to_owned()),
            sub_state: Some("running".to_owned()),
            job: Some((job, format!("/org/freedesktop/systemd1/job/{job}").try_into().unwrap())),
            invocation_id: Some(vec![1; 16]),
            active_enter_timestamp: Some(1),
            condition_result: Some(true),
            condition_timestamp: Some(1),
            assert_result: Some(false),
            assert_timestamp: Some(0),
        }
    }

    /// One whose signals come, and that was read.
    fn known() -> Known {
        let known = Known::default();
        known.hear(&BTreeSet::from([name()]));
        let began = known.begin(&name()).unwrap();
        known.read(&name(), began, &status(), None);
        known
    }

    #[test]
    fn what_was_read_is_known_with_what_was_said_since() {
        let known = known();
        assert_eq!(known.get(&name()), Some((status(), None)));
        known.service_changed(&path(), service());
        assert_eq!(known.get(&name()), Some((status(), None)), "it is said as one with what follows");
        known.unit_changed(&path(), unit("active", 7));
        let (now, job) = known.get(&name()).unwrap();
        assert_eq!((now.active, now.main_pid, now.restarts), (ActiveState::Active, Some(7), 0));
        assert_eq!(job.as_deref(), Some("/org/freedesktop/systemd1/job/7"));
        known.job_removed(&name(), "/org/freedesktop/systemd1/job/6");
        assert!(known.get(&name()).unwrap().1.is_some(), "that was another");
        known.job_removed(&name(), "/org/freedesktop/systemd1/job/7");
        assert_eq!(known.get(&name()).unwrap().1, None);
        assert!(now.has_processes);
    }

    #[test]
    fn what_is_not_said_in_full_has_to_be_read() {
        let condition = UnitChange { condition_result: Some(false), ..unit("inactive", 0) };
        let short = UnitChange { sub_state: None, ..unit("active", 0) };
        for change in [condition, short] {
            let known = known();
            known.service_changed(&path(), service());
            known.unit_changed(&path(), change);
            assert_eq!(known.get(&name()), None);
        }
        let alone = known();
        alone.unit_changed(&path(), unit("active", 0));
        assert_eq!(alone.get(&name()), None, "nothing was said of it as a service");
        let forgotten = [Known::forget_all as fn(&Known), |known: &Known| known.forget(&name())];
        for forget in forgotten {
            let known = known();
            forget(&known);
            assert_eq!(known.get(&name()), None);
        }
    }

    #[test]
    fn what_was_said_while_it_was_read_counts_for_more() {
        for happens in [
            (|known: &Known| known.service_changed(&path(), service())) as fn(&Known),
            |known| known.unit_changed(&path(), unit("active", 0)),
            |known| known.forget(&name()),
            Known::forget_all,
        ] {
            let known = Known::default();
            known.hear(&BTreeSet::from([name()]));
            let began = known.begin(&name()).unwrap();
            happens(&known);
            known.read(&name(), began, &status(), None);
            assert_eq!(known.get(&name()), None);
        }
    }

    #[test]
    fn only_services_by_their_own_names_are_known_and_only_those_that_are_heard_of() {
        for other in [
            UnitStatus { id: "b.service".to_owned(), ..status() },
            UnitStatus { kind: String::new(), ..status() },
            UnitStatus { load: LoadState::BadSetting, ..status() },
            UnitStatus { unmet: vec!["ConditionPathExists=/x".to_owned()], ..status() },
        ] {
            let known = Known::default();
            known.hear(&BTreeSet::from([name()]));
            let began = known.begin(&name()).unwrap();
            known.read(&name(), began, &other, None);
            assert_eq!(known.get(&name()), None, "{other:?}");
        }
        let deaf = Known::default();
        assert_eq!(deaf.begin(&name()), None);
    }
}
