//! What the agent does, and what comes of it. Values alone: who carries an [`Action`] out answers with an [`Event`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use jiff::Timestamp;

use super::{Links, Prepare};
use crate::{
    model::{
        CheckedAssignment, Files, Instance, JobResult, Ledger, ReplicaId, ReplicaStatus, ServiceName, Span, UnitName,
        UnitStatus, Verb,
    },
    tree::node::Batch,
};

/// The time, as it passes and as people tell it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For whatever is measured.
    pub instant: Instant,
    /// For documents.
    pub time: Timestamp,
}

/// A connection to `ZooKeeper`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Counts the sessions of this process.
    pub epoch: u64,
    /// Counts the connections of this session after its first.
    pub joins: u64,
    /// The session, as ephemeral nodes name their owner.
    pub session_id: i64,
}

/// The epoch and joins of a connection.
pub type Joined = (u64, u64);

/// One thing to do. What takes its time is done beside the agent's loop, and is answered by the event
/// that is named.
#[derive(Clone, Debug)]
pub enum Action {
    /// Have systemd tell of changes to these units, and no others.
    WatchUnits(BTreeSet<UnitName>),
    /// Read a unit, and its generated files too if these are not known: [`Event::UnitRead`].
    ReadUnit {
        /// Which.
        unit: UnitName,
        /// Its generated files, too.
        with_files: bool,
    },
    /// Read a unit's generated files: [`Event::FilesRead`].
    ReadFiles(UnitName),
    /// Read these units' generated files, which another hand may have changed: [`Event::AllFilesRead`].
    ReadAllFiles(Vec<UnitName>),
    /// Ask what a unit said last in this invocation: [`Event::LastLineRead`].
    ReadLastLine {
        /// The unit.
        unit: UnitName,
        /// systemd's `InvocationID`.
        invocation: String,
    },
    /// Look at what is on the host of a replica's work: [`Event::ArtifactsSeen`].
    LookAtArtifacts {
        /// Whose.
        id: ReplicaId,
        /// What the answer is to name.
        number: u64,
        /// The work.
        assignment: Box<CheckedAssignment>,
    },
    /// Bring a replica's newer work onto the host: [`Event::Staged`].
    Stage(Box<Stage>),
    /// Give up to bring that onto the host which was begun under this number; [`Event::Staged`] says so.
    AbandonStaging(u64),
    /// Remove what nobody needs of a service: [`Event::Pruned`].
    Prune(Box<Prune>),
    /// Run a job: [`Event::JobEnded`].
    Run(Box<Job>),
    /// Write the ledger, then generated files: [`Event::Written`].
    Write(Box<Write>),
    /// Read whether a replica is placed on this host: [`Event::PlacementRead`].
    ReadPlacement(ReplicaId),
    /// Read what a predecessor had in `instances` of a replica: [`Event::ListedRead`].
    ReadListed {
        /// The replica.
        id: ReplicaId,
        /// Its unit, as it is.
        unit: Box<UnitStatus>,
    },
    /// Delete what a predecessor left in `instances` of a replica that is no longer this host's: [`Event::Delisted`].
    Delist(ReplicaId),
    /// Write the ephemerals: [`Event::Published`].
    Register(Box<Registration>),
    /// Write statuses, each by itself: [`Event::Published`].
    WriteStatuses {
        /// The epoch and joins of the connection that they are meant for.
        at: Joined,
        /// The statuses.
        all: Vec<StatusWrite>,
    },
    /// Put a replica on trial from now on: its content changed without a start.
    BeginTrial(ReplicaId, Span),
    /// Write a line to the log.
    Log(Severity, String),
    /// Count something.
    Count(Counted),
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It tells what is done.
    Info,
    /// It tells of trouble that the agent deals with.
    Warning,
    /// It tells of what an operator has to deal with.
    Error,
}

/// What metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Work was given up.
    Rejection,
    /// A release or configuration was brought onto the host, or could not be.
    Fetch(bool),
    /// A configuration came into force, or was taken back.
    Config(bool),
    /// A step ended: which, and whether well.
    Step(&'static str, bool),
    /// A probe that had succeeded fails: which.
    ProbeFailed(&'static str),
    /// Transactions were sent.
    Writes(u32),
}

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Trying again cannot help.
    pub rejected: bool,
    /// What an operator is told.
    pub message: String,
}

impl Refusal {
    /// It may pass.
    pub fn passing(message: impl Into<String>) -> Self {
        Self { rejected: false, message: message.into() }
    }

    /// Only other work can help.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self { rejected: true, message: message.into() }
    }
}

/// What is on the host of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// All that it needs.
    pub staged: bool,
    /// What the links lead to.
    pub links: Links,
}

impl Artifacts {
    /// Of work that needs nothing.
    pub const NONE_NEEDED: Self = Self { staged: true, links: Links::RIGHT };
}

/// A replica's work that is to be brought onto the host.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Whose.
    pub id: ReplicaId,
    /// What the answer is to name.
    pub number: u64,
    /// The work.
    pub assignment: CheckedAssignment,
    /// The host's labels, which templates may name.
    pub labels: BTreeMap<String, String>,
}

/// What of a service is to stay on the host; all else goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    /// The service.
    pub service: ServiceName,
    /// Versions that are in use.
    pub versions: BTreeSet<String>,
    /// Units whose configurations are in use.
    pub units: BTreeSet<UnitName>,
    /// Configuration revisions that are in use.
    pub revisions: BTreeSet<u64>,
    /// How many others stay.
    pub keep: u32,
}

/// What a unit is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// One job.
    Verb(Verb),
    /// The failed state is cleared, then it is started.
    ResetAndStart,
    /// The main process gets this signal; `SIGHUP` unless another is named.
    Signal(Option<String>),
}

impl Order {
    /// The log's word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Verb(verb) => verb.as_str(),
            Self::ResetAndStart => "reset-failed and start",
            Self::Signal(_) => "signal",
        }
    }

    /// What is under way meanwhile.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Verb(verb) => *verb,
            Self::ResetAndStart => Verb::Start,
            Self::Signal(_) => Verb::Reload,
        }
    }
}

/// A job: the links are switched, the unit is told something, and looked at.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whose.
    pub id: ReplicaId,
    /// What its end is to name.
    pub number: u64,
    /// What the unit is told.
    pub order: Order,
    /// What the files were written for: that is what the unit starts with, and reads.
    pub assignment: CheckedAssignment,
    /// The configuration to go back to when a reload fails.
    pub before: Option<Box<CheckedAssignment>>,
    /// The unit's invocation before.
    pub invocation: String,
}

/// What a job came to.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// How it ended.
    pub outcome: JobOutcome,
    /// The unit after it, or why it cannot be read.
    pub status: Result<UnitStatus, String>,
    /// What systemd has against the unit, when the outcome does not tell.
    pub complaint: Option<String>,
    /// What is on the host after it.
    pub artifacts: Artifacts,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// As systemd says.
    Ended(JobResult),
    /// There was no job: why. What was asked may have been done all the same if systemd was out of reach.
    NoJob {
        /// What was said.
        message: String,
        /// systemd was out of reach, or did not answer.
        unreachable: bool,
    },
    /// The links could not be switched; the unit was not touched.
    NotSwitched(Refusal),
    /// The reload failed, and what was before is in force again: why.
    Undone(String),
}

/// The ledger, and generated files that change after it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The ledger, as it is to be before the files change.
    pub ledger: Ledger,
    /// The changes.
    pub changes: Vec<Change>,
    /// Units whose generated files systemd has not read.
    pub unloaded: BTreeSet<UnitName>,
}

/// One replica's generated files change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub id: ReplicaId,
    /// What its end is to name.
    pub number: u64,
    /// The work that they are for, or the last.
    pub assignment: CheckedAssignment,
    /// `None` = the files go, and with them the replica.
    pub prepare: Option<Prepare>,
    /// Why.
    pub why: String,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Written {
    /// The ledger.
    pub ledger: Ledger,
    /// Whether it is on disk.
    pub saved: Result<(), String>,
    /// The changes.
    pub changes: Vec<Changed>,
    /// How often systemd read its unit files again for it.
    pub reloads: u64,
}

/// A change of generated files that was tried.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Which.
    pub change: Change,
    /// Whether it was made.
    pub result: Result<(), Refusal>,
    /// Its unit after it.
    pub status: Result<UnitStatus, String>,
    /// Its files as they read back.
    pub files: Result<Files, String>,
}

/// Whether a replica was in `instances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listed {
    /// It was not.
    No,
    /// As a process of before, which systemd has restarted since.
    Before,
    /// As what runs now.
    Now,
}

impl Listed {
    /// Whether the entry was made for what runs now.
    pub fn by(entry: Option<&Instance>, unit: &UnitStatus) -> Self {
        let Some(entry) = entry else { return Self::No };
        let same = entry.pid == unit.main_pid && unit.active_since.is_none_or(|since| since == entry.started);
        if same { Self::Now } else { Self::Before }
    }
}

/// The ephemerals by path, and each listed replica's name in `instances`.
pub type Ephemerals = (BTreeMap<String, Vec<u8>>, BTreeMap<ReplicaId, String>);

/// The ephemerals, in one transaction, and with them the statuses of replicas that come or change.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The epoch and joins of the connection that it is meant for.
    pub at: Joined,
    /// Another hand may have changed what is there: look before believing.
    pub look: bool,
    /// What is to be there.
    pub ephemerals: Ephemerals,
    /// Statuses of the same transaction; their nodes are known to be there.
    pub riders: Vec<(ReplicaId, ReplicaStatus)>,
    /// Paths that others may have left.
    pub stale: BTreeSet<String>,
    /// Every replica that concerns this host.
    pub known: BTreeSet<ReplicaId>,
    /// The path of `alive`.
    pub alive: String,
}

/// A status to write.
#[derive(Clone, Debug)]
pub struct StatusWrite {
    /// Whose.
    pub id: ReplicaId,
    /// What it says.
    pub status: ReplicaStatus,
    /// Its node is known to be there.
    pub is_there: bool,
}

/// What a publication came to.
#[derive(Clone, Debug)]
pub struct Published {
    /// The epoch and joins of the connection that it was meant for.
    pub at: Joined,
    /// `None` = it was one of statuses alone.
    pub ephemerals: Option<Registered>,
    /// Each status that was tried: as the tree has it now, if that is known.
    pub statuses: Vec<(ReplicaId, Result<Option<ReplicaStatus>, String>)>,
    /// Transactions that were sent.
    pub writes: u32,
}

/// What became of the ephemerals.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Every replica that concerned this host.
    pub known: BTreeSet<ReplicaId>,
    /// What is in place, or why it may not be. A replica whose service is not there has no name: it is not listed, and that
    /// is not tried again until there is a doubt.
    pub result: Result<Ephemerals, String>,
    /// Statuses that were to ride along, whether they did or not.
    pub riders: Vec<ReplicaId>,
    /// `alive` was written, and is in the mirror's batches by now.
    pub seen: bool,
}

/// A unit that was read, and its generated files if they were not known.
#[derive(Clone, Debug)]
pub struct UnitRead {
    /// Which.
    pub unit: UnitName,
    /// As it is, or why it cannot be read.
    pub answer: Result<UnitStatus, String>,
    /// Its generated files.
    pub files: Option<Result<Files, String>>,
}

/// How the link to `ZooKeeper` has changed.
#[derive(Clone, Debug)]
pub enum Linked {
    /// There is a connection.
    Up,
    /// It is lost; the session may still be saved.
    Suspended,
    /// There is no session: why.
    Down(String),
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The tree changed below this host.
    Tree(Batch),
    /// The link to `ZooKeeper` changed.
    Link(Linked),
    /// systemd says that these units changed.
    UnitsChanged(BTreeSet<UnitName>),
    /// A unit was read.
    UnitRead(Box<UnitRead>),
    /// A unit's generated files were read again.
    FilesRead(UnitName, Result<Files, String>),
    /// The generated files were looked at.
    AllFilesRead(BTreeMap<UnitName, Result<Files, String>>),
    /// What a unit said last in this invocation.
    LastLineRead {
        /// The unit.
        unit: UnitName,
        /// systemd's `InvocationID`.
        invocation: String,
        /// `None` = nothing, or it cannot be read.
        line: Option<String>,
    },
    /// What is on the host of a replica's work was looked at.
    ArtifactsSeen {
        /// Whose.
        id: ReplicaId,
        /// As in [`Action::LookAtArtifacts`].
        number: u64,
        /// What was found.
        artifacts: Artifacts,
    },
    /// A replica's newer work is on the host, or cannot be.
    Staged {
        /// What was to be brought.
        stage: Box<Stage>,
        /// What came of it, and what is on the host now; `None` = it was abandoned.
        result: Option<(Result<(), Refusal>, Artifacts)>,
    },
    /// What nobody needs of a service was removed.
    Pruned(ServiceName),
    /// A job ended.
    JobEnded(Box<Job>, Box<JobEnd>),
    /// Ledger and files were written.
    Written(Box<Written>),
    /// Whether a replica is placed on this host; `None` = that could not be read.
    PlacementRead(ReplicaId, Option<bool>),
    /// Whether a predecessor had listed this invocation; `None` = that could not be read.
    ListedRead {
        /// The replica.
        id: ReplicaId,
        /// systemd's `InvocationID`.
        invocation: String,
        /// What was read.
        listed: Option<Listed>,
    },
    /// A predecessor's entry of the replica is gone from `instances`; false = that could not be done.
    Delisted(ReplicaId, bool),
    /// A publication ended.
    Published(Box<Published>),
}
