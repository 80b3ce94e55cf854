//! What is wanted of each replica, in terms of this host: its unit and files, or why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    State,
    artifacts::needs_the_same,
    refusals::{Refusal, Verdict},
};
use crate::{
    model::{
        ActiveState, CheckedAssignment, Files, Folders, Mode, RefusalReason, ReplicaId, UnitName, content_key, drop_in,
        restart_key, variables,
    },
    plan::agent::{Basis, Claim, Links, Staging, Upcoming, Wanted, action::Artifacts, meanwhile},
};

/// A replica as it is wanted, with the files that this needs.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// It is this host's; `unsure` = that is yet to be confirmed. While what is wanted is `newer` and not on the host,
    /// `assignment` is what was in force before. Before it was `looked` at what is on the host, `links` says nothing.
    Ours {
        assignment: CheckedAssignment,
        files: Files,
        key: String,
        unsure: bool,
        links: Links,
        looked: bool,
        newer: Option<Box<Newer>>,
    },
    /// It is, and nothing of it can run before what it needs is on the host.
    Awaited(Newer),
    /// It is, and cannot be run here.
    Refused(CheckedAssignment, Refusal),
    /// It is, it runs, and it would not be started as it is any more.
    Kept { assignment: CheckedAssignment, refusal: Refusal, newer: Option<Box<Newer>> },
    /// It is to leave its unit for good.
    Leaving { assignment: CheckedAssignment, why: String, drain_time: Duration, gone: bool },
}

/// Work that is not on the host yet, or was given up.
#[derive(Clone, Debug)]
pub(super) struct Newer {
    assignment: CheckedAssignment,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug)]
enum Stage {
    /// That is being found out.
    Looking,
    Due,
    UnderWay,
    Rejected(String),
}

impl State {
    /// What is wanted of these replicas now.
    pub(super) fn retarget(&mut self, targets: &mut BTreeMap<ReplicaId, Target>, due: &BTreeSet<ReplicaId>) {
        for id in due {
            let claim = self.work.claim(id, &self.ledger);
            let is_ours = claim.is_some();
            let target = claim.and_then(|claim| self.target(id, claim));
            if is_ours && target.is_none() {
                self.leave_alone(id);
            }
            self.index(id, target.as_ref());
            self.units_differ |= watched(targets.get(id)) != watched(target.as_ref());
            if self.work.is_unconfirmed(id, &self.ledger) {
                self.unconfirmed.insert(id.clone());
            } else {
                self.unconfirmed.remove(id);
            }
            if let Some(target) = target {
                targets.insert(id.clone(), target);
            } else {
                targets.remove(id);
                self.let_go(id);
            }
        }
    }

    /// The replica does not concern this host: what was remembered of it goes.
    fn let_go(&mut self, id: &ReplicaId) {
        self.memory.remove(id);
        self.artifacts.forget(id);
        if self.work.basis() == Basis::Tree {
            self.ledger.rejected.remove(id);
        }
    }

    /// `None` = it is gone, and its unit is not ours to touch.
    fn target(&mut self, id: &ReplicaId, claim: Claim) -> Option<Target> {
        let (assignment, unsure) = match claim {
            Claim::Ours(assignment) => (assignment, false),
            Claim::Unsure(assignment) => (assignment, true),
            Claim::Gone(assignment) => return self.gone(assignment),
        };
        let (assignment, newer) = match self.newer(id, &assignment, unsure) {
            None => (assignment, None),
            Some(newer) => match self.meanwhile(id, &newer.assignment) {
                Some(before) => (before, Some(Box::new(newer))),
                None => return Some(Target::Awaited(newer)),
            },
        };
        if let Some(leaving) = self.moves_on(id, &assignment) {
            return Some(leaving);
        }
        Some(match self.judge(id, &assignment) {
            Some(Verdict::Refused(refusal)) => Target::Refused(assignment, refusal),
            Some(Verdict::Kept(refusal)) => Target::Kept { assignment, refusal, newer },
            None => self.ours(id, assignment, unsure, newer),
        })
    }

    fn ours(
        &mut self,
        id: &ReplicaId,
        assignment: CheckedAssignment,
        unsure: bool,
        newer: Option<Box<Newer>>,
    ) -> Target {
        let folders = (self.policy.folders)(id, &assignment);
        // What is to be stopped is stopped whatever else is on the host.
        let found = if assignment.mode == Mode::Enabled {
            self.artifacts.look(id, &assignment)
        } else {
            Some(Artifacts::NONE_NEEDED)
        };
        Target::Ours {
            key: restart_key(&assignment, &folders),
            files: self.files_for(id, &assignment, &folders),
            links: found.map_or(Links::RIGHT, |found| found.links),
            looked: found.is_some(),
            assignment,
            unsure,
            newer,
        }
    }

    /// The wanted work, if it cannot be in force yet: what it needs is not on the host, or it was given up.
    fn newer(&mut self, id: &ReplicaId, wanted: &CheckedAssignment, unsure: bool) -> Option<Newer> {
        if wanted.mode != Mode::Enabled || unsure || self.untouchable(&wanted.unit).is_some() {
            return None;
        }
        let stage = if let Some(why) = self.given_up(id, wanted) {
            Stage::Rejected(why)
        } else if let Some(refusal) = self.forbidden(id, wanted) {
            // Without anything to go on with, it is refused.
            let record = self.ledger.replicas.get(id).filter(|it| !it.is_found() && it.assignment != *wanted)?;
            let before = record.assignment.clone();
            if !self.is_up(&before.unit) && self.forbidden(id, &before).is_some() {
                return None;
            }
            Stage::Rejected(refusal.why)
        } else if self.runs(id, wanted) {
            return None;
        } else if self.staging.is_under_way(id, wanted) {
            Stage::UnderWay
        } else {
            match self.artifacts.look(id, wanted) {
                Some(found) if found.staged => return None,
                Some(_) => Stage::Due,
                None => Stage::Looking,
            }
        };
        Some(Newer { assignment: wanted.clone(), stage })
    }

    /// Whether what the work needs is in force already: then it is not fetched again, should it be gone from the disk.
    fn runs(&self, id: &ReplicaId, wanted: &CheckedAssignment) -> bool {
        let Some(record) = self.ledger.replicas.get(id) else { return false };
        let in_force = !record.is_found() && record.before.is_none() && needs_the_same(&record.assignment, wanted);
        in_force && self.is_up(&wanted.unit)
    }

    /// Whether anything of the unit runs.
    pub(super) fn is_up(&self, unit: &UnitName) -> bool {
        let unit = self.units.get(unit);
        unit.is_some_and(|unit| !matches!(unit.active, ActiveState::Inactive | ActiveState::Failed))
    }

    /// Why this work was given up, if so. Other work than what was given up takes its place in the ledger's memory.
    fn given_up(&mut self, id: &ReplicaId, wanted: &CheckedAssignment) -> Option<String> {
        let rejected = self.ledger.rejected.get(id)?;
        if rejected.key == content_key(wanted) {
            return Some(rejected.message.clone());
        }
        if self.work.basis() == Basis::Tree {
            self.ledger.rejected.remove(id);
        }
        None
    }

    /// What the replica is run as until the wanted work is on the host.
    fn meanwhile(&mut self, id: &ReplicaId, wanted: &CheckedAssignment) -> Option<CheckedAssignment> {
        let record = self.ledger.replicas.get(id)?;
        let is_up = self.is_up(&record.assignment.unit);
        let is_there = self.artifacts.look(id, &record.assignment).is_some_and(|found| found.staged);
        meanwhile(wanted, Some(record), is_up, is_there)
    }

    fn gone(&self, assignment: CheckedAssignment) -> Option<Target> {
        let why = "is no longer assigned to this host".to_owned();
        let leaving = Target::Leaving { assignment, why, drain_time: Duration::ZERO, gone: true };
        Some(leaving).filter(|leaving| self.untouchable(leaving.unit()).is_none())
    }

    /// The replica's unit is another from now on: it leaves the one that this agent prepared for it first.
    fn moves_on(&mut self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<Target> {
        let record = self.ledger.replicas.get(id).filter(|record| record.assignment.unit != assignment.unit)?;
        let before = record.assignment.clone();
        if self.untouchable(&before.unit).is_some() {
            self.keep_artifacts_of(id);
            return None;
        }
        Some(Target::Leaving {
            why: format!("its unit is {} from now on", assignment.unit),
            drain_time: assignment.template.drain_time.get(),
            assignment: before,
            gone: false,
        })
    }

    pub(super) fn files_for(&self, id: &ReplicaId, assignment: &CheckedAssignment, folders: &Folders) -> Files {
        let variables = variables(assignment, id, &self.policy.host, folders);
        if self.policy.accepts.limited {
            return Files { variables: Some(variables), ..Files::default() };
        }
        let path = self.policy.paths.variables(&assignment.unit);
        let text = drop_in(assignment, id, &path, self.alive.systemd.unwrap_or(0));
        // As it reads back: a file's last line ends, too.
        let whole = |text: &String| if text.ends_with('\n') { text.clone() } else { format!("{text}\n") };
        Files {
            drop_in: Some(text),
            variables: Some(variables),
            unit_file: assignment.template.unit_file.as_ref().map(whole),
        }
    }
}

/// The replica's unit, and whether this host touches it.
fn watched(target: Option<&Target>) -> Option<(&UnitName, bool)> {
    target.map(|target| (target.unit(), target.managed_unit().is_some()))
}

impl Target {
    pub(super) fn assignment(&self) -> &CheckedAssignment {
        match self {
            Self::Ours { assignment, .. }
            | Self::Refused(assignment, _)
            | Self::Kept { assignment, .. }
            | Self::Leaving { assignment, .. }
            | Self::Awaited(Newer { assignment, .. }) => assignment,
        }
    }

    pub(super) fn unit(&self) -> &UnitName {
        &self.assignment().unit
    }

    /// The unit, unless this host does not touch it. One that is refused for what systemd says of it is looked at, in
    /// case that changes.
    pub(super) fn managed_unit(&self) -> Option<&UnitName> {
        let passed_over = matches!(self, Self::Refused(_, refusal) if !refusal.by_unit);
        (!passed_over).then(|| self.unit())
    }

    /// Whether this host does not run it.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(..))
    }

    /// What stands against it, when it is refused. Of what nothing stands against, the unit is another replica's.
    pub(super) fn refusal_reason(&self) -> RefusalReason {
        match self {
            Self::Refused(_, refusal) | Self::Kept { refusal, .. } => refusal.reason,
            Self::Ours { .. } | Self::Leaving { .. } | Self::Awaited(_) => RefusalReason::UnitTaken,
        }
    }

    /// Whether the replica is not this host's any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Leaving { gone: true, .. })
    }

    /// Why the replica leaves its unit, as in "is no longer assigned to this host".
    pub(super) fn why_gone(&self) -> &str {
        match self {
            Self::Leaving { why, .. } => why,
            _ => "",
        }
    }

    /// Whether it is yet to be found out what is on the host of its work.
    pub(super) fn is_unseen(&self) -> bool {
        matches!(self, Self::Ours { looked: false, .. })
    }

    /// Whether it is yet to be found out what is on the host of newer work.
    pub(super) fn is_newer_unseen(&self) -> bool {
        self.newer().is_some_and(|newer| matches!(newer.stage, Stage::Looking))
    }

    /// Whether it is yet to be found out if the replica is still this host's.
    pub(super) fn is_unsure(&self) -> bool {
        matches!(self, Self::Ours { unsure: true, .. })
    }

    fn newer(&self) -> Option<&Newer> {
        match self {
            Self::Ours { newer, .. } | Self::Kept { newer, .. } => newer.as_deref(),
            Self::Awaited(newer) => Some(newer),
            Self::Refused(..) | Self::Leaving { .. } => None,
        }
    }

    /// Work that is not on the host yet, or was given up.
    pub(super) fn upcoming(&self) -> Option<Upcoming<'_>> {
        let newer = self.newer()?;
        let staging = match &newer.stage {
            Stage::Looking => Staging::Looking,
            Stage::Due => Staging::Due,
            Stage::UnderWay => Staging::UnderWay,
            Stage::Rejected(why) => Staging::Rejected(why),
        };
        Some(Upcoming { assignment: &newer.assignment, staging })
    }

    /// What the links on the host lead to.
    pub(super) fn links(&self) -> Links {
        match self {
            Self::Ours { links, .. } => *links,
            _ => Links::RIGHT,
        }
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Ours { assignment, files, key, .. } => Wanted::Assigned { assignment, files, key },
            Self::Awaited(newer) => Wanted::Awaited(&newer.assignment),
            Self::Refused(assignment, refusal) => Wanted::Refused(assignment, &refusal.why),
            Self::Kept { assignment, refusal, .. } => Wanted::Kept { assignment, why: &refusal.why },
            Self::Leaving { assignment, why, drain_time, .. } => {
                Wanted::Leaving { assignment, why, drain_time: *drain_time }
            }
        }
    }
}
