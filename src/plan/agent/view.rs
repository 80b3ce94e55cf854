//! What the agent knows of one replica when it decides.

use std::time::Duration;

use super::Memory;
use crate::model::{
    ActiveState, Assignment, CheckedAssignment, Files, Mode, Record, ReplicaId, UnitName, UnitStatus, Verb,
};

/// One replica, all that is known of it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct View<'a> {
    /// Which.
    pub id: &'a ReplicaId,
    /// What is wanted of it.
    pub wanted: Wanted<'a>,
    /// What the ledger says; `None` = just assigned.
    pub record: Option<&'a Record>,
    /// Its unit, as systemd sees it.
    pub unit: &'a UnitStatus,
    /// What its process said before it failed.
    pub last_line: LastLine<'a>,
    /// The generated files as they are.
    pub files: &'a Files,
    /// Whether systemd has read them, as far as is known.
    pub loaded: bool,
    /// What this process remembers.
    pub memory: &'a Memory,
    /// Whether it is in `instances` now.
    pub in_instances: bool,
    /// What is under way for it.
    pub busy: Option<Busy>,
    /// Files of another replica, or the ledger, are being written: this one's have to wait.
    pub disk_busy: bool,
    /// A job of its unit that another has overtaken is not over: it may start the unit yet.
    pub overtaken: bool,
    /// Newer work that is not on the host yet; until it is, `wanted` is what was in force before.
    pub upcoming: Option<Upcoming<'a>>,
    /// What the links on the host lead to.
    pub links: Links,
    /// What its probes say.
    pub probed: Probed<'a>,
}

/// What the process of a unit that is down wrote last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastLine<'a> {
    /// It said nothing, or it is not known.
    #[default]
    Unknown,
    /// It is being asked for: a failure is told with it.
    Awaited,
    /// The line, fit to be shown.
    Known(&'a str),
}

/// Newer work, whose release or configuration has to be brought onto the host first.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming<'a> {
    /// The work.
    pub assignment: &'a CheckedAssignment,
    /// How far that is.
    pub staging: Staging<'a>,
}

/// How far it is to bring a release and a configuration onto the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staging<'a> {
    /// Whether it is there is being found out.
    Looking,
    /// It has to be begun, or begun again.
    Due,
    /// It is under way.
    UnderWay,
    /// It was given up: why. Only other work is tried.
    Rejected(&'a str),
}

/// Whether what is in force on the host, by the links as they were read, is what is wanted. True for what has no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// The release.
    pub release: bool,
    /// The configuration.
    pub config: bool,
}

impl Links {
    /// All as wanted.
    pub const RIGHT: Self = Self { release: true, config: true };
}

/// What a replica's probes say of the unit's present invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed<'a> {
    /// Whether it is ready for work.
    pub ready: bool,
    /// Whether it is alive; true until it is known to be otherwise.
    pub alive: bool,
    /// Why it is not.
    pub message: Option<&'a str>,
    /// The last check that failed since it was changed, while it is on trial.
    pub setback: Option<&'a str>,
}

impl Probed<'_> {
    /// Ready and alive, as a replica without probes is.
    pub const FINE: Self = Self { ready: true, alive: true, message: None, setback: None };
}

/// Why no step of a replica may be begun now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Its unit cannot be read just now, or it has to be found out whether it is still this host's: nothing is known
    /// that a step could rest on.
    Unknown,
    /// Its generated files are being written.
    Files {
        /// What runs is restarted after that, and leaves `instances` meanwhile.
        leaves: bool,
    },
    /// A job of its unit runs. A start may take for ever, so a stop does not wait for it.
    Job(Verb),
}

/// What is wanted of a replica on this host.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// It is assigned here; with the files that its assignment asks for and their key.
    Assigned {
        /// The work.
        assignment: &'a Assignment,
        /// The files it needs.
        files: &'a Files,
        /// What a running process of it only learns by a restart.
        key: &'a str,
    },
    /// It is assigned here, but this host's configuration does not allow it: why.
    Refused(&'a Assignment, &'a str),
    /// It is assigned here, and nothing of it can run before its release or configuration is on the host: see
    /// [`View::upcoming`].
    Awaited(&'a Assignment),
    /// It is assigned here and runs, and this host would not start it as it is any more: it goes on for as long as it
    /// is up, and nothing is written or started for it.
    Kept {
        /// The work.
        assignment: &'a Assignment,
        /// What stands against it.
        why: &'a str,
    },
    /// It is to leave this unit for good.
    Leaving {
        /// What it was prepared as.
        assignment: &'a Assignment,
        /// Why.
        why: &'a str,
        /// How long it runs on after it left `instances`.
        drain_time: Duration,
    },
}

impl<'a> View<'a> {
    /// The work, also that of a replica on its way out.
    pub fn assignment(&self) -> &'a Assignment {
        match self.wanted {
            Wanted::Assigned { assignment, .. }
            | Wanted::Refused(assignment, _)
            | Wanted::Awaited(assignment)
            | Wanted::Kept { assignment, .. }
            | Wanted::Leaving { assignment, .. } => assignment,
        }
    }

    /// The replica's unit.
    pub fn unit_name(&self) -> &'a UnitName {
        &self.assignment().unit
    }

    /// The name that systemd has its unit by; that of an alias is another than it was asked for by.
    pub fn primary_name(&self) -> &'a str {
        if self.unit.id.is_empty() { self.unit_name().as_str() } else { &self.unit.id }
    }

    /// Whether it is to run.
    pub fn is_enabled(&self) -> bool {
        match self.wanted {
            Wanted::Assigned { assignment, .. } => assignment.mode == Mode::Enabled,
            Wanted::Awaited(_) | Wanted::Kept { .. } => true,
            Wanted::Refused(..) | Wanted::Leaving { .. } => false,
        }
    }

    /// Whether its unit will be free before long.
    pub fn is_leaving(&self) -> bool {
        let unsure = self.busy == Some(Busy::Unknown);
        let stays = match self.wanted {
            Wanted::Assigned { assignment, .. } => assignment.mode != Mode::Drain,
            Wanted::Awaited(_) | Wanted::Kept { .. } => true,
            Wanted::Refused(..) | Wanted::Leaving { .. } => false,
        };
        unsure || !stays
    }

    /// Whether it left `instances` for a step that then failed: it serves until that can be done.
    pub fn is_back(&self) -> bool {
        let left = self.memory.unlisted_at.is_some() && self.memory.step.failures > 0;
        left && !matches!(self.busy, Some(Busy::Job(_)))
    }

    /// Whether it is up, ready and alive. Reading its configuration again takes nobody out of `instances`.
    pub fn serves(&self) -> bool {
        let up = self.unit.active == ActiveState::Active || (self.in_instances && self.unit.active.is_up());
        up && !self.unit.has_ended() && self.probed.ready && self.probed.alive
    }

    /// Whether systemd did not even begin to start it so often that it counts as failed here.
    pub fn is_obstructed(&self) -> bool {
        let limit = self.assignment().template.restart.limit_burst;
        self.memory.obstructed.as_ref().is_some_and(|obstructed| obstructed.count >= limit)
    }

    /// Whether a process runs, or is about to, with another release than the generated files say, and the ledger does
    /// not know: systemd started it after they were written, and before the link was changed. Not of a package: that
    /// somebody else has installed another version is no reason to restart what runs.
    pub fn is_misplaced(&self) -> bool {
        let runs = !matches!(self.unit.active, ActiveState::Inactive | ActiveState::Failed);
        let is_package = self.assignment().template.source.apt.is_some();
        !self.links.release && !is_package && runs && !self.unit.invocation.is_empty() && !self.is_stale()
    }

    /// Whether a job is queued or runs that brings its unit up.
    pub fn is_starting(&self) -> bool {
        let ours = matches!(self.busy, Some(Busy::Job(Verb::Start | Verb::Restart)));
        ours || self.overtaken || self.unit.job.as_deref().is_some_and(|job| job.contains("start"))
    }

    /// Whether the unit's processes are gone, and none is on its way.
    pub fn is_down(&self) -> bool {
        let rests = matches!(self.unit.active, ActiveState::Inactive | ActiveState::Failed);
        rests && !self.unit.has_processes && !self.is_starting()
    }

    /// The version that the running process was started with.
    pub fn running_version(&self) -> Option<String> {
        match self.record {
            Some(record) => record.running_version(&self.unit.invocation).cloned(),
            None => self.assignment().version.clone(),
        }
    }

    /// Whether the running process was started before the generated files last changed.
    pub fn is_stale(&self) -> bool {
        let stale = self.record.and_then(|record| record.stale.as_ref());
        stale.is_some_and(|stale| !stale.invocation.is_empty() && stale.invocation == self.unit.invocation)
    }
}
