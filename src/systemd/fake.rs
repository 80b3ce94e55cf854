//! A complete systemd in memory, for tests and simulation: units with behaviours, jobs, restarts and start limits,
//! pids and invocation ids. Its clock is tokio's, so `#[tokio::test(start_paused = true)]` makes it instantaneous.
//!
//! Nothing runs in the background: what is due by now is done whenever someone looks.

mod files;
mod state;
mod unit;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Notify, time::Instant};

pub use self::unit::{Behaviour, End, Obstacle};
use self::{state::State, unit::FakeUnit};
use super::{UnitError, UnitManager};
use crate::model::{JobResult, UnitName, UnitStatus, Verb};

/// What was asked of the fake, in order; queries are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`UnitManager::run`].
    Run(Verb, UnitName),
    /// [`UnitManager::signal`].
    Signal(UnitName, i32),
    /// [`UnitManager::reset_failed`].
    ResetFailed(UnitName),
    /// [`UnitManager::daemon_reload`].
    DaemonReload,
}

/// The fake.
#[derive(Debug)]
pub struct FakeSystemd {
    state: Mutex<State>,
    moved: Notify,
    began: Instant,
}

impl Default for FakeSystemd {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeSystemd {
    /// A systemd 252 without units. Must be made inside a tokio runtime when its clock is paused.
    pub fn new() -> Self {
        Self { state: Mutex::new(State::new()), moved: Notify::new(), began: Instant::now() }
    }

    /// A fake that, at each reload, also finds the unit files and drop-ins below `root`, as systemd does.
    pub fn with_root(root: impl Into<PathBuf>) -> Self {
        let fake = Self::new();
        fake.lock().root = Some(root.into());
        fake
    }

    /// Installs a unit, or a template for all its instances; a unit that is there takes on the new behaviour.
    pub fn install(&self, file: &UnitName, behaviour: Behaviour) {
        self.change(|state, _| {
            for (name, unit) in &mut state.units {
                if name.file_name() == *file {
                    unit.behaviour = behaviour.clone();
                }
            }
            state.behaviours.insert(file.clone(), behaviour);
        });
    }

    /// Ends the unit's main process; systemd then restarts it as its behaviour says. Nothing when there is none.
    pub fn end(&self, name: &UnitName, end: End) {
        self.change(|state, now| {
            let primary = state.primary(name);
            if let Some(unit) = state.units.get_mut(&primary).filter(|unit| unit.is_up()) {
                unit.end(end, now);
                state.touch(name);
            }
        });
    }

    /// Gives an installed unit another name.
    pub fn alias(&self, alias: &UnitName, primary: &UnitName) {
        self.change(|state, _| {
            state.aliases.insert(alias.clone(), primary.clone());
            state.touch(primary);
        });
    }

    /// Masks or unmasks a unit.
    pub fn mask(&self, name: &UnitName, masked: bool) {
        self.change(|state, _| {
            if let Some(unit) = state.load(name) {
                unit.masked = masked;
            }
            state.touch(name);
        });
    }

    /// Sets systemd's version.
    pub fn set_version(&self, version: u32) {
        self.change(|state, _| state.version = version);
    }

    /// The machine goes down, or not.
    pub fn set_stopping(&self, stopping: bool) {
        self.change(|state, _| state.stopping = stopping);
    }

    /// The bus goes away (every call fails, nothing is reported) or comes back (everything is reported as changed).
    /// The units run on.
    pub fn set_reachable(&self, reachable: bool) {
        self.change(|state, _| {
            state.unreachable = !reachable;
            state.touch_all();
        });
    }

    /// What was asked so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// What was asked since this was last called.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// The state, with everything done that was due.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(Instant::now());
        state
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        change(&mut self.lock(), Instant::now());
        self.moved.notify_waiters();
    }

    /// The state for a call, unless the bus is away.
    fn call(&self) -> Result<MutexGuard<'_, State>, UnitError> {
        let state = self.lock();
        if state.unreachable {
            return Err(UnitError::Unreachable { reason: "the fake was told so".to_owned() });
        }
        Ok(state)
    }

    /// Waits until `ready` finds its answer, woken by every change and by whatever is due next.
    async fn wait<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T> + Send) -> T {
        loop {
            let moved = self.moved.notified();
            let due = {
                let mut state = self.lock();
                if let Some(answer) = ready(&mut state) {
                    return answer;
                }
                state.units.values().filter_map(FakeUnit::due).min()
            };
            let far = Duration::from_secs(86_400);
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + far)) => self.moved.notify_waiters(),
            }
        }
    }

    fn timestamp(&self, at: Instant) -> Timestamp {
        let since = SignedDuration::try_from(at.duration_since(self.began)).unwrap_or_default();
        // 2026-01-01T00:00:00Z
        Timestamp::constant(1_767_225_600, 0) + since
    }
}

impl UnitManager for FakeSystemd {
    async fn version(&self) -> Result<u32, UnitError> {
        Ok(self.call()?.version)
    }

    async fn last_words(&self, name: &UnitName, _: &str) -> Option<String> {
        self.lock().units.get(name)?.behaviour.says.clone()
    }

    /// The tests' own.
    fn root(&self) -> std::path::PathBuf {
        "/".into()
    }

    async fn is_stopping(&self) -> Result<bool, UnitError> {
        Ok(self.call()?.stopping)
    }

    async fn unit(&self, name: &UnitName) -> Result<UnitStatus, UnitError> {
        let mut state = self.call()?;
        let root = state.root.clone();
        let id = state.primary(name).to_string();
        let Some(unit) = state.load(name) else { return Ok(UnitStatus::not_found()) };
        let is_primary = id == name.as_str();
        let need_daemon_reload = is_primary && unit.files.differ_visibly(root.as_deref(), name);
        Ok(UnitStatus { id, need_daemon_reload, ..unit.status(|at| self.timestamp(at)) })
    }

    async fn run(&self, verb: Verb, name: &UnitName) -> Result<JobResult, UnitError> {
        let id = {
            let mut state = self.call()?;
            state.calls.push(Call::Run(verb, name.clone()));
            state.begin(verb, name, Instant::now())?
        };
        self.moved.notify_waiters();
        let unreachable = || UnitError::Unreachable { reason: "the fake was told so".to_owned() };
        self.wait(|state| {
            let lost = state.unreachable.then(|| Err(unreachable()));
            lost.or_else(|| state.finished.get(&id).cloned().map(Ok))
        })
        .await
    }

    async fn signal(&self, name: &UnitName, signal: i32) -> Result<(), UnitError> {
        self.call()?.calls.push(Call::Signal(name.clone(), signal));
        Ok(())
    }

    async fn reset_failed(&self, name: &UnitName) -> Result<(), UnitError> {
        let mut state = self.call()?;
        state.calls.push(Call::ResetFailed(name.clone()));
        let primary = state.primary(name);
        if let Some(unit) = state.units.get_mut(&primary) {
            unit.reset_failed();
            state.touch(name);
        }
        drop(state);
        self.moved.notify_waiters();
        Ok(())
    }

    async fn daemon_reload(&self) -> Result<(), UnitError> {
        let mut state = self.call()?;
        state.calls.push(Call::DaemonReload);
        state.reload();
        state.touch_all();
        drop(state);
        self.moved.notify_waiters();
        Ok(())
    }

    async fn complaint(&self, name: &UnitName) -> Option<String> {
        let mut state = self.call().ok()?;
        let unit = state.load(name)?;
        let broken = unit.broken().map(str::to_owned);
        broken.or_else(|| unit.behaviour.obstacle.as_ref().and_then(Obstacle::complaint))
    }

    fn watch_units(&self, names: &BTreeSet<UnitName>) {
        let mut state = self.lock();
        state.watched.clone_from(names);
        state.changed.retain(|name| names.contains(name));
    }

    fn reloads(&self) -> u64 {
        self.lock().reloads
    }

    async fn changed(&self) -> BTreeSet<UnitName> {
        self.wait(|state| (!state.unreachable && !state.changed.is_empty()).then(|| std::mem::take(&mut state.changed)))
            .await
    }
}
