//! What is wanted of each replica, in terms of this host: its unit and files, or why not.

use std::{collections::BTreeMap, time::Duration};

use super::{Agent, work::Claim};
use crate::{
    ledger::Record,
    model::{Assignment, ReplicaId, UnitName},
    plan::agent::{Files, Wanted},
    systemd::{UnitManager, drop_in, restart_key},
};

/// A replica as it is wanted, with the files that this needs.
pub(super) enum Target {
    /// It is this host's; `unsure` = that is yet to be confirmed.
    Ours { assignment: Assignment, files: Files, key: String, unsure: bool },
    /// It is, and can't be run here: why.
    Refused(Assignment, String),
    /// It is to leave its unit for good.
    Leaving { assignment: Assignment, why: String, drain_time: Duration, gone: bool },
}

impl<M: UnitManager + 'static> Agent<M> {
    pub(super) fn targets(&mut self) -> BTreeMap<ReplicaId, Target> {
        let mut targets = BTreeMap::new();
        for (id, claim) in self.work.claims(&self.ledger) {
            match self.target(&id, claim) {
                Some(target) => drop(targets.insert(id, target)),
                None => self.forgotten(&id, "its unit is not among the allowed_units any more, and left as it is"),
            }
        }
        self.memory.retain(|id, _| targets.contains_key(id));
        targets
    }

    /// `None` = it is gone, and its unit is not ours to touch.
    fn target(&mut self, id: &ReplicaId, claim: Claim) -> Option<Target> {
        let (assignment, unsure) = match claim {
            Claim::Ours(assignment) => (assignment, false),
            Claim::Unsure(assignment) => (assignment, true),
            Claim::Gone(assignment) => return self.gone(assignment),
        };
        if let Some(leaving) = self.moves_on(id, &assignment) {
            return Some(leaving);
        }
        Some(match self.refusal(&assignment) {
            Some(why) => Target::Refused(assignment, why),
            None => Target::Ours {
                key: restart_key(&assignment),
                files: self.files_for(id, &assignment),
                assignment,
                unsure,
            },
        })
    }

    fn gone(&self, assignment: Assignment) -> Option<Target> {
        let why = "is no longer assigned to this host".to_owned();
        let leaving = Target::Leaving { assignment, why, drain_time: Duration::ZERO, gone: true };
        Some(leaving).filter(|leaving| self.settings.allowed_units.allows(leaving.unit()))
    }

    /// The replica's unit is another from now on: it leaves the one that this agent prepared for it first.
    fn moves_on(&self, id: &ReplicaId, assignment: &Assignment) -> Option<Target> {
        let Record { assignment: before, .. } = self.ledger.replicas.get(id)?;
        let moves = before.unit != assignment.unit && self.settings.allowed_units.allows(&before.unit);
        moves.then(|| Target::Leaving {
            why: format!("its unit is {} from now on", assignment.unit),
            drain_time: assignment.drain_time.get(),
            assignment: before.clone(),
            gone: false,
        })
    }

    fn files_for(&self, id: &ReplicaId, assignment: &Assignment) -> Files {
        let text = drop_in(assignment, id, &self.settings.host, self.alive.systemd.unwrap_or(0));
        // As it reads back: a file's last line ends, too.
        let whole = |text: &String| if text.ends_with('\n') { text.clone() } else { format!("{text}\n") };
        Files { drop_in: Some(text), unit_file: assignment.unit_file.as_ref().map(whole) }
    }

    /// Why this host does not run the assignment, if so.
    fn refusal(&mut self, assignment: &Assignment) -> Option<String> {
        let unit = &assignment.unit;
        let host = &self.settings.host;
        if !self.settings.allowed_units.allows(unit) {
            return Some(format!("{unit} is not among the allowed_units of {host}'s agent.toml"));
        }
        if assignment.unit_file.is_some() && !self.settings.accept_unit_files {
            return Some(format!(
                "the service brings its unit's file, and accept_unit_files is not set in {host}'s agent.toml"
            ));
        }
        self.read_files(unit).as_ref().err().cloned()
    }

    /// The unit's generated files as they are; read once, then as this agent left them.
    pub(super) fn read_files(&mut self, unit: &UnitName) -> &Result<Files, String> {
        if !self.on_disk.contains_key(unit) {
            let drop_in = self.unit_files.read_drop_in(unit);
            let unit_file = self.unit_files.read_unit_file(unit);
            let files = drop_in.and_then(|drop_in| Ok(Files { drop_in, unit_file: unit_file? }));
            self.on_disk.insert(unit.clone(), files.map_err(|error| error.to_string()));
        }
        &self.on_disk[unit]
    }
}

impl Target {
    pub(super) fn assignment(&self) -> &Assignment {
        match self {
            Self::Ours { assignment, .. } | Self::Refused(assignment, _) | Self::Leaving { assignment, .. } => {
                assignment
            }
        }
    }

    pub(super) fn unit(&self) -> &UnitName {
        &self.assignment().unit
    }

    /// The unit, unless this host does not touch it.
    pub(super) fn managed_unit(&self) -> Option<&UnitName> {
        (!matches!(self, Self::Refused(..))).then(|| self.unit())
    }

    /// Whether the replica is not this host's any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Leaving { gone: true, .. })
    }

    /// Whether it is yet to be found out if the replica is still this host's.
    pub(super) fn is_unsure(&self) -> bool {
        matches!(self, Self::Ours { unsure: true, .. })
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Ours { assignment, files, key, .. } => Wanted::Assigned { assignment, files, key },
            Self::Refused(assignment, why) => Wanted::Refused(assignment, why),
            Self::Leaving { assignment, why, drain_time, .. } => {
                Wanted::Leaving { assignment, why, drain_time: *drain_time }
            }
        }
    }
}
