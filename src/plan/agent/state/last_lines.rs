//! The last lines of units that failed: asked for beside the loop, so that an operator is told why.
//!
//! A unit that has failed for good is reported once they are known, or cannot be had: they belong to the reason that the
//! controller acts on. One that systemd restarts by itself is asked now and then only.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{State, targets::Target};
use crate::{
    model::{ActiveState, UnitName, UnitStatus},
    plan::agent::{LastLine, action::Action},
};

/// How long a unit that systemd keeps restarting is not asked again: its last line may be another each time.
const REST: Duration = Duration::from_secs(10);

/// What units said before they ended.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLines {
    of: BTreeMap<UnitName, Said>,
}

#[derive(Clone, Debug)]
struct Said {
    invocation: String,
    asked_at: Instant,
    is_awaited: bool,
    /// While it is awaited, that of the run before.
    line: Option<String>,
}

impl LastLines {
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

    pub(super) fn end(&mut self, name: &UnitName, invocation: &str, line: Option<String>) {
        if let Some(said) = self.of.get_mut(name).filter(|said| said.invocation == invocation) {
            (said.is_awaited, said.line) = (false, line);
        }
    }
}

impl State {
    /// Asks what a unit said last, if it has failed.
    pub(super) fn ask_for_last_line(&mut self, name: &UnitName, now: Instant) {
        let Some(unit) = self.units.get(name).filter(|_| self.policy.publish_output) else { return };
        if self.last_lines.begin(name, unit, now) {
            let (unit, invocation) = (name.clone(), unit.invocation.clone());
            self.act(Action::ReadLastLine { unit, invocation });
        }
    }

    pub(super) fn last_line(&self, target: &Target) -> LastLine<'_> {
        self.last_lines.last_line(target.unit(), self.unit(target.unit()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]

    use super::*;

    fn unit(active: ActiveState, sub: &str, invocation: &str) -> UnitStatus {
        let (sub, invocation) = (sub.to_owned(), invocation.to_owned());
        UnitStatus { active, sub, invocation, ..UnitStatus::not_found() }
    }

    #[test]
    fn each_end_is_asked_about_once_and_a_crash_loop_now_and_then() {
        let (mut lines, name, now) = (LastLines::default(), "webapp.service".parse().unwrap(), Instant::now());
        let loops = |invocation| unit(ActiveState::Activating, "auto-restart", invocation);
        let fails = |invocation| unit(ActiveState::Failed, "failed", invocation);
        assert!(!lines.begin(&name, &unit(ActiveState::Active, "running", "1"), now));
        assert!(!lines.begin(&name, &unit(ActiveState::Inactive, "dead", "1"), now));
        assert!(!lines.begin(&name, &fails(""), now), "it never ran");
        assert!(lines.begin(&name, &loops("1"), now));
        assert!(!lines.begin(&name, &loops("1"), now) && !lines.begin(&name, &loops("2"), now));
        assert_eq!(lines.last_line(&name, &loops("1")), LastLine::Awaited);
        lines.end(&name, "1", Some("no disk".to_owned()));
        assert_eq!(lines.last_line(&name, &loops("2")), LastLine::Known("no disk"));
        assert!(lines.begin(&name, &loops("3"), now + REST));
        assert_eq!(lines.last_line(&name, &loops("3")), LastLine::Known("no disk"), "until there is a newer one");
        assert!(lines.begin(&name, &fails("4"), now + REST), "the last end is always asked about");
        lines.end(&name, "3", Some("late".to_owned()));
        assert_eq!(lines.last_line(&name, &fails("4")), LastLine::Awaited);
        lines.end(&name, "4", None);
        assert_eq!(lines.last_line(&name, &fails("4")), LastLine::Unknown);
        assert_eq!(lines.last_line(&name, &unit(ActiveState::Active, "running", "5")), LastLine::Unknown);
    }
}
