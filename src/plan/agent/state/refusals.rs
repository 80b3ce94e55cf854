//! What stands against a piece of work on this host: its configuration, and what systemd has of the unit.

use super::State;
use crate::{
    model::{ActiveState, CheckedAssignment, Files, Mode, Objection, RefusalReason, ReplicaId, UnitName},
    plan::agent::{Overruled, Part, Placed, overruled},
};

/// Why the work is not run here as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// The same for programs.
    pub(super) reason: RefusalReason,
    /// It was found in what systemd says of the unit: that has to be watched for it to go.
    pub(super) by_unit: bool,
}

impl Refusal {
    /// The host's configuration does not allow it.
    fn not_allowed(why: String) -> Self {
        Self { why, reason: RefusalReason::NotAllowed, by_unit: false }
    }

    /// What the host has of the unit is in the way.
    fn unit_taken(why: String) -> Self {
        Self { why, reason: RefusalReason::UnitTaken, by_unit: true }
    }
}

/// What is done about it.
pub(super) enum Verdict {
    /// It is not started, and if the unit may not be touched, not stopped either.
    Refused(Refusal),
    /// It runs, and goes on for as long as it does.
    Kept(Refusal),
}

impl State {
    /// What stands against the work, and what is done about it. To stop what this agent runs is always allowed.
    pub(super) fn judge(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<Verdict> {
        if let Some(refusal) = self.untouchable(&assignment.unit) {
            return Some(Verdict::Refused(refusal));
        }
        let is_ours = self.ledger.replicas.get(id).is_some_and(|record| record.assignment.unit == assignment.unit);
        if is_ours && assignment.mode != Mode::Enabled {
            return None;
        }
        let refusal = self.forbidden(id, assignment).or_else(|| self.unreadable_files(&assignment.unit))?;
        let runs = is_ours && self.may_be_up(&assignment.unit);
        Some(if runs { Verdict::Kept(refusal) } else { Verdict::Refused(refusal) })
    }

    /// Why this host touches the unit by no means, if so.
    pub(super) fn untouchable(&self, unit: &UnitName) -> Option<Refusal> {
        let host = &self.policy.host;
        let objection = (!self.policy.accepts.units.allows(unit)).then(|| Objection::Unit(unit.clone()));
        objection.map(|objection| Refusal::not_allowed(objection.words(&format!("{host}'s"))))
    }

    /// Why the unit that an alias leads to is not started, if so. What runs of it by this agent can be stopped.
    fn alias_of_forbidden(&self, unit: &UnitName) -> Option<String> {
        let host = &self.policy.host;
        let primary = self.units.get(unit).map(|unit| &unit.id).filter(|id| !id.is_empty() && *id != unit.as_str())?;
        let is_allowed = primary.parse().is_ok_and(|primary| self.policy.accepts.units.allows(&primary));
        (!is_allowed).then(|| {
            format!(
                "{unit} is another name of {primary}, which is not among the allowed_units of {host}'s agent.toml: \
                 add {primary} there"
            )
        })
    }

    /// Which part of the work this host does not run, if any.
    pub(super) fn forbidden(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<Refusal> {
        // The alias may come to lead elsewhere.
        let alias = self.alias_of_forbidden(&assignment.unit);
        let alias = alias.map(|why| Refusal { by_unit: true, ..Refusal::not_allowed(why) });
        let forbidden = alias.or_else(|| self.not_accepted(assignment).map(Refusal::not_allowed));
        forbidden.or_else(|| self.superseded(id, assignment).map(Refusal::unit_taken))
    }

    /// Without what of its files the work is not run here, if any. What was in force before an upgrade or a reboot is
    /// started all the same: that its drop-in is overruled is only told.
    fn superseded(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<String> {
        let known = || self.ledger.replicas.get(id).is_some_and(|record| record.was_in_force(assignment));
        let Overruled { part, why } = self.overruled(id, assignment)?;
        let is_needed = match part {
            Part::UnitFile => true,
            Part::Content => !known(),
            Part::Restart => false,
        };
        is_needed.then_some(why)
    }

    /// What of the files of work that runs, or may run, is not in force, for its status.
    pub(super) fn not_in_force(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<String> {
        self.overruled(id, assignment).map(|overruled| overruled.why)
    }

    /// Which part of the work this host's configuration does not allow, if any.
    fn not_accepted(&self, assignment: &CheckedAssignment) -> Option<String> {
        let has_address = self.policy.address.is_some();
        let objection = self.policy.accepts.objection(has_address, &assignment.unit, &(&assignment.template).into());
        objection.map(|objection| objection.words(&format!("{}'s", self.policy.host)))
    }

    /// Whose files are in force in place of those that the work asks for, if any.
    fn overruled(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Option<Overruled> {
        let unit = &assignment.unit;
        let (unit_file, drop_in) = (self.policy.paths.unit_file(unit), self.policy.paths.drop_in(unit));
        let variables = self.policy.paths.variables(unit);
        let placed = Placed {
            unit_file: &unit_file,
            drop_in: &drop_in,
            variables: &variables,
            has_drop_in: !self.policy.accepts.limited,
            loaded: true,
            doubted: self.foreign_changes.raised,
        };
        // Mostly nothing: then the files need not be rendered.
        overruled(self.units.get(unit)?, assignment, placed)?;
        let loaded = self.are_loaded(id, assignment);
        overruled(self.units.get(unit)?, assignment, Placed { loaded, ..placed })
    }

    /// Whether the files that the work asks for are written, and systemd has read them.
    fn are_loaded(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> bool {
        let folders = (self.policy.folders)(id, assignment);
        let files = self.files_for(id, assignment, &folders);
        let same = |there: &Files| there.drop_in == files.drop_in && there.unit_file == files.unit_file;
        matches!(self.on_disk.get(&assignment.unit), Some(Ok(files)) if same(files))
            && !self.unloaded.contains(&assignment.unit)
    }

    /// Files that are in the place of the generated ones and not from zkops.
    fn unreadable_files(&self, unit: &UnitName) -> Option<Refusal> {
        let why = self.on_disk.get(unit)?.as_ref().err().cloned()?;
        Some(Refusal { by_unit: false, ..Refusal::unit_taken(why) })
    }

    /// Whether the unit is up, or was never looked at by this process.
    fn may_be_up(&self, unit: &UnitName) -> bool {
        let down = |active| matches!(active, ActiveState::Inactive | ActiveState::Failed);
        self.units.get(unit).is_none_or(|unit| !down(unit.active))
    }
}
