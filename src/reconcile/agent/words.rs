//! The last words of units that failed: asked for beside the loop, so that an operator is told why.
//!
//! A unit that has failed for good is reported once they are known, or cannot be had: they belong to the reason that the
//! controller acts on. One that systemd restarts by itself is asked now and then only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{Agent, steps::Done};
use crate::{
    model::{ActiveState, UnitName, UnitStatus},
    plan::agent::LastLine,
    systemd::UnitManager,
};

/// How long a unit that systemd keeps restarting is not asked again: its words may be others each time.
const REST: Duration = Duration::from_secs(10);

/// So many are asked at once: each is a process of its own, and a bad release may fail on all of a host's units.
const AT_ONCE: usize = 4;

/// How long a failure may be kept back for its words, waiting for a turn included.
const LIMIT: Duration = Duration::from_secs(3);

/// What units said before they ended.
#[derive(Debug)]
pub(super) struct Words {
    of: BTreeMap<UnitName, Said>,
    turns: Arc<Semaphore>,
}

impl Default for Words {
    fn default() -> Self {
        Self { of: BTreeMap::new(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

#[derive(Debug)]
struct Said {
    invocation: String,
    asked_at: Instant,
    is_awaited: bool,
    /// While it is awaited, that of the run before.
    line: Option<String>,
}

impl Words {
    /// What a unit that is as `unit` says said.
    pub(super) fn last_line(&self, name: &UnitName, unit: &UnitStatus) -> LastLine<'_> {
        match self.of.get(name).filter(|_| !unit.active.is_up()) {
            Some(said) if said.is_awaited && unit.active == ActiveState::Failed => LastLine::Awaited,
            Some(Said { line: Some(line), .. }) => LastLine::Known(line),
            Some(said) if said.is_awaited => LastLine::Awaited,
            Some(_) | None => LastLine::Unknown,
        }
    }

    pub(super) fn retain(&mut self, names: &BTreeSet<UnitName>) {
        self.of.retain(|name, _| names.contains(name));
    }

    /// Whether the unit is to be asked now.
    fn begin(&mut self, name: &UnitName, unit: &UnitStatus, now: Instant) -> bool {
        let ends_for_good = unit.active == ActiveState::Failed;
        let is_restarted = unit.active == ActiveState::Activating && unit.sub.starts_with("auto-restart");
        if unit.invocation.is_empty() || !(ends_for_good || is_restarted) {
            return false;
        }
        let before = self.of.get(name);
        let known = before.is_some_and(|said| said.invocation == unit.invocation);
        let rests = before.is_some_and(|said| is_restarted && now < said.asked_at + REST);
        if known || rests {
            return false;
        }
        let line = before.and_then(|said| said.line.clone());
        let said = Said { invocation: unit.invocation.clone(), asked_at: now, is_awaited: true, line };
        self.of.insert(name.clone(), said);
        true
    }

    fn end(&mut self, name: &UnitName, invocation: &str, line: Option<String>) {
        if let Some(said) = self.of.get_mut(name).filter(|said| said.invocation == invocation) {
            (said.is_awaited, said.line) = (false, line);
        }
    }
}

impl<M: UnitManager + 'static> Agent<M> {
    /// Asks what a unit said last, if it has failed.
    pub(super) fn ask_for_words(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get(name).filter(|_| self.settings.publish_output) else { return };
        if !self.words.begin(name, unit, Instant::now()) {
            return;
        }
        let (manager, turns) = (Arc::clone(&self.manager), Arc::clone(&self.words.turns));
        let (name, invocation) = (name.clone(), unit.invocation.clone());
        self.tasks.push(Box::pin(async move {
            let answer = async {
                let _turn = turns.acquire().await.ok()?;
                manager.last_words(&name, &invocation).await
            };
            let line = tokio::time::timeout(LIMIT, answer).await.ok().flatten();
            Done::Words(name, invocation, line)
        }));
    }

    pub(super) fn finish_words(&mut self, name: &UnitName, invocation: &str, line: Option<String>) {
        self.words.end(name, invocation, line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn unit(active: ActiveState, sub: &str, invocation: &str) -> UnitStatus {
        let (sub, invocation) = (sub.to_owned(), invocation.to_owned());
        UnitStatus { active, sub, invocation, ..UnitStatus::not_found() }
    }

    #[test]
    fn each_end_is_asked_about_once_and_a_crash_loop_now_and_then() {
        let (mut words, name, now) = (Words::default(), "webapp.service".parse().unwrap(), Instant::now());
        let loops = |invocation| unit(ActiveState::Activating, "auto-restart", invocation);
        let fails = |invocation| unit(ActiveState::Failed, "failed", invocation);
        assert!(!words.begin(&name, &unit(ActiveState::Active, "running", "1"), now));
        assert!(!words.begin(&name, &unit(ActiveState::Inactive, "dead", "1"), now));
        assert!(!words.begin(&name, &fails(""), now), "it never ran");
        assert!(words.begin(&name, &loops("1"), now));
        assert!(!words.begin(&name, &loops("1"), now) && !words.begin(&name, &loops("2"), now));
        assert_eq!(words.last_line(&name, &loops("1")), LastLine::Awaited);
        words.end(&name, "1", Some("no disk".to_owned()));
        assert_eq!(words.last_line(&name, &loops("2")), LastLine::Known("no disk"));
        assert!(words.begin(&name, &loops("3"), now + REST));
        assert_eq!(words.last_line(&name, &loops("3")), LastLine::Known("no disk"), "until there is a newer one");
        assert!(words.begin(&name, &fails("4"), now + REST), "the last end is always asked about");
        words.end(&name, "3", Some("late".to_owned()));
        assert_eq!(words.last_line(&name, &fails("4")), LastLine::Awaited);
        words.end(&name, "4", None);
        assert_eq!(words.last_line(&name, &fails("4")), LastLine::Unknown);
        assert_eq!(words.last_line(&name, &unit(ActiveState::Active, "running", "5")), LastLine::Unknown);
    }
}
