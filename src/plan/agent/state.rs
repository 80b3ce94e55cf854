//! What an agent knows, and what it does about it: events in, actions out. All that an agent decides is decided here and in
//! the rooms beside; whoever turns its loop carries out actions and takes in what came of them.
//!
//! ```text
//!  observe(event) ─► look ─► judge (what the probes say) ─► plan ─► take_actions
//!        ▲                                                              │
//!        └────────────── what came of them ◄── carried out ◄────────────┘
//! ```
//!
//! Nothing here asks, waits or writes. All of it is lost with the process, but for the [`Ledger`]: whoever begins with that
//! and a look at the host comes to the same.

mod artifacts;
mod changed;
mod files;
mod jobs;
mod last_lines;
mod placement;
mod predecessor;
mod probes;
mod publisher;
mod refusals;
mod register;
mod round;
mod staging;
mod status;
mod steps;
mod targets;
mod tree;
mod units;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use super::{
    Busy, Decision, Memory, Work,
    action::{Action, Connection, Counted, Event, Severity},
};
use crate::{
    model::{
        Accepts, CheckedAssignment, Files, Folders, HostAlive, HostName, Ledger, ReplicaId, ReplicaStatus, UnitName,
        UnitPaths, UnitStatus,
    },
    plan::relation::Relation,
};
use artifacts::Seen;
use changed::{Changed, LastRound};
use files::ForeignChanges;
use last_lines::LastLines;
use probes::Health;
use publisher::Publisher;
use staging::Staging;
use targets::Target;
use units::Units;

pub use artifacts::needs_any;
pub use probes::Findings;
pub use round::Round;

static NO_UNIT: LazyLock<UnitStatus> = LazyLock::new(UnitStatus::not_found);

/// The folders that a replica's processes are told of, by its work. No I/O.
pub type FoldersOf = Arc<dyn Fn(&ReplicaId, &CheckedAssignment) -> Folders + Send + Sync>;

/// What this host's configuration says, as far as decisions rest on it.
#[derive(Clone)]
pub struct Policy {
    /// The host's name in the tree.
    pub host: HostName,
    /// The address that `instances` publish.
    pub address: Option<String>,
    /// The agent's own labels of the host.
    pub labels: BTreeMap<String, String>,
    /// What may be run here.
    pub accepts: Accepts,
    /// Whether the last line of a unit that failed goes into its replica's status.
    pub publish_output: bool,
    /// How long `ZooKeeper` may keep silent after the agent's start before the ledger's work is started without it.
    pub patience: Duration,
    /// Where generated files are.
    pub paths: UnitPaths,
    /// Where releases and configurations are.
    pub folders: FoldersOf,
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Policy")
            .field("host", &self.host)
            .field("accepts", &self.accepts)
            .finish_non_exhaustive()
    }
}

/// What an agent knows.
#[derive(Clone, Debug)]
pub struct State {
    policy: Policy,
    alive: HostAlive,
    /// The connection to `ZooKeeper`, as it is now.
    connection: Option<Connection>,
    /// The session that what is known of the tree belongs to.
    synced: Option<u64>,
    started: Instant,
    /// Since when the tree is known.
    known_since: Option<Instant>,
    work: Work,
    units: Units,
    /// The units that systemd is to tell of.
    watched: BTreeSet<UnitName>,
    last_lines: LastLines,
    on_disk: BTreeMap<UnitName, Result<Files, String>>,
    /// When those are read again that could not be read.
    files_again: Option<Instant>,
    /// Units whose generated files systemd has not read.
    unloaded: BTreeSet<UnitName>,
    foreign_changes: ForeignChanges,
    memory: BTreeMap<ReplicaId, Memory>,
    ledger: Ledger,
    /// As it is on disk.
    saved: Ledger,
    /// Of which replicas the ledger says what is not on disk.
    unsaved: BTreeSet<ReplicaId>,
    /// Since when the ledger is not on disk as it is.
    unsaved_since: Option<Instant>,
    /// When a ledger that could not be written is tried again.
    save_retry_at: Option<Instant>,
    /// Files and ledger are being written: that is one thing at a time.
    disk_busy: bool,
    /// What is under way for each replica, and the number that it began under.
    busy: BTreeMap<ReplicaId, (u64, Busy)>,
    /// How many numbers were given out.
    begun: u64,
    /// Replicas of which it is being read whether they are placed here.
    confirming: BTreeSet<ReplicaId>,
    /// Replicas that are no longer this host's, which a predecessor may have listed: whether they are out of `instances`.
    delisted: BTreeMap<ReplicaId, bool>,
    /// When what could not be read of the tree is tried again.
    confirm_at: Option<Instant>,
    artifacts: Seen,
    staging: Staging,
    health: Health,
    publisher: Publisher,
    /// What has changed since the last round.
    changed: Changed,
    last_round: LastRound,
    /// The replicas that a unit concerns.
    by_unit: Relation<ReplicaId, UnitName>,
    /// The replicas that name the same unit, by the name that systemd has it by.
    by_primary: Relation<ReplicaId, String>,
    /// What is wanted of each replica; away during a round.
    targets: BTreeMap<ReplicaId, Target>,
    decisions: BTreeMap<ReplicaId, Decision>,
    /// The units of the replicas are others than those that are watched.
    units_differ: bool,
    /// Replicas that are missing in the tree though this host has them: their `desired` is to be read.
    unconfirmed: BTreeSet<ReplicaId>,
    statuses: BTreeMap<ReplicaId, ReplicaStatus>,
    /// Of which replicas something else is said than when this was last asked.
    said: BTreeSet<ReplicaId>,
    /// The agent's own problems.
    problems: BTreeMap<&'static str, String>,
    wake_at: Option<Instant>,
    actions: Vec<Action>,
}

impl State {
    /// Nothing is known but the ledger: as it is on disk, and as it was completed by what was found on the host (see
    /// [`adopt`](super::adopt)).
    pub fn new(policy: Policy, alive: HostAlive, saved: Ledger, ledger: Ledger, started: Instant) -> Self {
        Self {
            publisher: Publisher::new(policy.host.clone()),
            work: Work::new(policy.host.clone(), alive.machine_id.clone()),
            policy,
            alive,
            connection: None,
            synced: None,
            started,
            known_since: None,
            units: Units::default(),
            watched: BTreeSet::new(),
            last_lines: LastLines::default(),
            on_disk: BTreeMap::new(),
            files_again: None,
            unloaded: BTreeSet::new(),
            foreign_changes: ForeignChanges::default(),
            memory: BTreeMap::new(),
            ledger,
            saved,
            unsaved: BTreeSet::new(),
            unsaved_since: None,
            save_retry_at: None,
            disk_busy: false,
            busy: BTreeMap::new(),
            begun: 0,
            confirming: BTreeSet::new(),
            delisted: BTreeMap::new(),
            confirm_at: None,
            artifacts: Seen::default(),
            staging: Staging::default(),
            health: Health::default(),
            changed: Changed::default(),
            last_round: LastRound::default(),
            by_unit: Relation::default(),
            by_primary: Relation::default(),
            targets: BTreeMap::new(),
            decisions: BTreeMap::new(),
            units_differ: false,
            unconfirmed: BTreeSet::new(),
            statuses: BTreeMap::new(),
            said: BTreeSet::new(),
            problems: BTreeMap::new(),
            wake_at: None,
            actions: Vec::new(),
        }
    }

    /// The connection to `ZooKeeper`, as it is now; [`Event::Link`] tells what follows from a change.
    pub fn set_connection(&mut self, connection: Option<Connection>) {
        self.connection = connection;
    }

    /// Takes in what happened.
    pub fn observe(&mut self, event: Event, now: Instant) {
        match event {
            Event::Tree(batch) => self.tree_changed(&batch, now),
            Event::Link(linked) => self.relinked(linked, now),
            Event::UnitsChanged(units) => self.units_changed(units, now),
            Event::UnitRead(read) => self.unit_read(*read, now),
            // Unless it has come to concern nobody meanwhile.
            Event::FilesRead(unit, files) if self.on_disk.contains_key(&unit) => self.know_files(&unit, files),
            Event::FilesRead(..) => {}
            Event::AllFilesRead(found) => self.all_files_read(found),
            Event::LastLineRead { unit, invocation, line } => {
                self.changed.unit(&unit);
                self.last_lines.end(&unit, &invocation, line);
            }
            Event::ArtifactsSeen { id, number, artifacts } => {
                self.changed.replica(&id);
                self.artifacts.seen(&id, number, artifacts);
            }
            Event::Staged { stage, result } => self.staged(*stage, result, now),
            Event::Pruned(service) => self.pruned(&service),
            Event::JobEnded(job, end) => self.job_ended(*job, *end, now),
            Event::Written(written) => self.written(*written, now),
            Event::PlacementRead(id, ours) => self.placement_read(&id, ours, now),
            Event::ListedRead { id, invocation, listed } => self.listed_read(id, invocation, listed, now),
            Event::Delisted(id, done) => self.delisted(&id, done, now),
            Event::Published(published) => self.published(*published, now),
        }
    }

    /// What is to be done, in this order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// What is to be done, and is not taken yet.
    #[cfg(test)]
    pub(crate) fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// When to plan again though nothing happened.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// What was decided of each replica.
    pub fn decisions(&self) -> &BTreeMap<ReplicaId, Decision> {
        &self.decisions
    }

    /// What is said of each replica.
    pub fn statuses(&self) -> &BTreeMap<ReplicaId, ReplicaStatus> {
        &self.statuses
    }

    /// Of which replicas something else is said than when this was last called.
    pub fn take_said(&mut self) -> BTreeSet<ReplicaId> {
        std::mem::take(&mut self.said)
    }

    /// The ledger, as it is to be on disk before long.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn log(&mut self, severity: Severity, line: String) {
        self.act(Action::Log(severity, line));
    }

    fn count(&mut self, counted: Counted) {
        self.act(Action::Count(counted));
    }

    /// The unit as it was last read.
    fn unit(&self, name: &UnitName) -> &UnitStatus {
        self.units.get(name).unwrap_or(&NO_UNIT)
    }

    fn memory_of(&mut self, id: &ReplicaId) -> &mut Memory {
        self.changed.replica(id);
        self.memory.entry(id.clone()).or_default()
    }

    /// Another number, which what is begun goes by.
    fn number(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// Something is under way for the replica; the number that its end must name to count.
    fn begin(&mut self, id: &ReplicaId, busy: Busy) -> u64 {
        let number = self.number();
        self.changed.replica(id);
        self.busy.insert(id.clone(), (number, busy));
        number
    }

    /// What was begun under this number has ended; false when something else has overtaken it.
    fn end(&mut self, id: &ReplicaId, number: u64) -> bool {
        let current = self.busy.get(id).is_some_and(|(begun, _)| *begun == number);
        if current {
            self.changed.replica(id);
            self.busy.remove(id);
        }
        current
    }

    /// Remembers a problem of the agent's own under `what`, or that it is over; logs changes only.
    fn note(&mut self, what: &'static str, problem: Option<String>) {
        if self.problems.get(what) == problem.as_ref() {
            return;
        }
        match problem {
            Some(problem) => {
                self.log(Severity::Warning, format!("{what}: {problem}"));
                self.problems.insert(what, problem);
            }
            None => drop(self.problems.remove(what)),
        }
    }
}
