//! A replica: what the controller wants of it, what its host's agent is told, and what the agent sees.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Desired, HostName, Mode, Problem, ReplicaNumber, Revision, RolloutPolicy, Span, Template, UnitName,
    check::{line_problems, version_problems},
};

/// `/services/<svc>/<n>/desired`: what the controller wants of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaDesired {
    /// Whether it runs. `drain` while a planned move or a scale-down lets it finish.
    pub mode: Mode,
    /// The version it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The configuration revision it runs with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
    /// The host it is placed on; absent while no host fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<HostName>,
    /// Why it is there, for `zkops explain`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Hosts on which it failed past its start limit with this version and configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_on: Vec<FailedOn>,
    /// The rollout whose revision it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// It is there for the time of a rollout only, beyond the replicas wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub surge: bool,
    /// It is on its way out (scale-down or delete): once stopped, its nodes are removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removing: bool,
}

/// A host on which a replica failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedOn {
    /// The host.
    pub node: HostName,
    /// When the controller saw it.
    pub at: Timestamp,
    /// What its agent had against it there, when it was refused. Absent otherwise, and from releases that don't know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// A refusal of an agent's, as the controller remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: RefusalReason,
    /// When the agent said so, by its host's clock.
    pub at: Timestamp,
}

/// Why an agent refuses a replica, for programs: the status's `message` tells people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The host's `agent.toml` does not allow it. It is so until that is changed and the agent is started again, or
    /// something else is wanted.
    NotAllowed,
    /// The assignment does not pass its checks.
    NotValid,
    /// What the host has of the unit is in the way: another replica, or another's files. That may change by itself.
    UnitTaken,
    /// A reason that this version of zkops does not know.
    #[serde(other)]
    Unknown,
}

/// `/hosts/<host>/assigned/<svc>.<n>`: all that an agent needs to run one replica.
///
/// Self-contained, so that an agent's only watch is on its own host's subtree, and the agent can keep it on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Whether it runs.
    pub mode: Mode,
    /// The version to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The configuration revision to run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
    /// The unit to drive; for a template, this replica's instance.
    pub unit: UnitName,
    /// How it runs.
    pub template: Template,
    /// How long its checks have to succeed after a change before it counts as healthy: the rollout's
    /// `min_healthy_time`. Until then it is on trial, and asked more often.
    #[serde(default = "RolloutPolicy::usual_trial", skip_serializing_if = "RolloutPolicy::is_usual_trial")]
    pub min_healthy_time: Span,
}

impl Assignment {
    /// The assignment that carries out `desired` for replica `number` by what this revision brought, with the usual trial.
    pub fn new(revision: &Revision, desired: &ReplicaDesired, number: ReplicaNumber) -> Self {
        Self {
            mode: desired.mode,
            version: desired.version.clone(),
            config_version: desired.config_version,
            unit: revision.unit.for_replica(number),
            template: revision.template.clone(),
            min_healthy_time: RolloutPolicy::usual_trial(),
        }
    }
}

impl ReplicaDesired {
    /// What is wrong with the document beyond its shape.
    pub fn problems(&self) -> Vec<Problem> {
        self.version.iter().flat_map(|version| version_problems("version", version)).collect()
    }

    /// A replica that is placed nowhere yet, as the service's `desired` wants it.
    pub fn unplaced(desired: &Desired) -> Self {
        Self {
            mode: desired.mode,
            version: desired.version.clone(),
            config_version: desired.config_version,
            node: None,
            reason: String::new(),
            failed_on: Vec::new(),
            rollout: None,
            surge: false,
            removing: false,
        }
    }

    /// A replica that is placed nowhere yet, in this mode, with what rollout `number` brings.
    pub fn with(mode: Mode, number: u64, revision: &Revision) -> Self {
        Self {
            mode,
            version: revision.version.clone(),
            config_version: revision.config_version,
            rollout: Some(number),
            ..Self::unplaced(&Desired::default())
        }
    }
}

/// What an agent sees of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// Accepted, not started yet.
    Pending,
    /// systemd is starting it, or will restart it after its delay.
    Starting,
    /// Active.
    Running,
    /// Out of `instances`, its drain time is running.
    Draining,
    /// systemd is stopping it.
    Stopping,
    /// No process of it is left.
    Stopped,
    /// Past its start limit, or its unit cannot be started at all.
    Failed,
    /// The agent's configuration does not allow it.
    Refused,
}

impl ReplicaState {
    /// The state as documents and tables spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    /// Whether no process can be left: the replica may be started elsewhere.
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Refused)
    }
}

impl std::fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// `/services/<svc>/<n>/status`: what the agent sees; written when it changes, never at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "a document's keys, which say different things")]
pub struct ReplicaStatus {
    /// The state.
    pub state: ReplicaState,
    /// The host whose agent wrote this.
    pub node: HostName,
    /// The unit's main process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The version that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The configuration revision that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
    /// The znode version of the assignment that this answers to: it is carried out, or `state` says how far it is.
    /// Absent when the agent had no connection to learn it. What `version` and `config_version` don't show, such as
    /// a new environment, is known to be in force by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<i32>,
    /// Whether its readiness probe succeeds; true when it has none.
    #[serde(default = "yes")]
    pub ready: bool,
    /// What is wanted was given up: a wrong checksum, a configuration that its check refuses, a failed reload. What ran
    /// before goes on, and only a new assignment is tried. `message` says why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rejected: bool,
    /// It is about to be started again, though `state` says that it is down: a process of it may be there from now on. A host's
    /// agent starts nothing again before the tree says so, for whoever believes that it is down may start it elsewhere. Absent
    /// otherwise, and from agents of releases that don't know of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retrying: bool,
    /// Why it is refused, in state `refused`. Absent otherwise, and from agents of releases that don't know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RefusalReason>,
    /// No check that began after the last change (a start, a restart, a reload, a signal, another probe) has succeeded
    /// yet, or one has failed since, while it is on trial: it does not count as healthy, whatever `ready` says. Absent
    /// otherwise, and from agents of releases that don't know of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
    /// How often it became unconfirmed again by a failed check since that change; its trial counts from the last time.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub setbacks: u32,
    /// How often systemd restarted it since its last start (`NRestarts`).
    #[serde(default)]
    pub restarts: u32,
    /// What stands in the way, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When this was written.
    pub updated: Timestamp,
}

impl ReplicaStatus {
    /// Its refusal, when it is one and the agent said why.
    pub fn refused(&self) -> Option<Refused> {
        let reason = self.reason.filter(|_| self.state == ReplicaState::Refused)?;
        Some(Refused { reason, at: self.updated })
    }

    /// Whether no process of it can be left: the replica may be started elsewhere.
    pub fn is_down(&self) -> bool {
        self.state.is_down() && !self.retrying
    }

    /// Whether the two say the same, whenever they were written.
    pub fn says_the_same(&self, other: &Self) -> bool {
        // Each field by name, so that the compiler misses one that is forgotten.
        let Self {
            state,
            node,
            pid,
            version,
            config_version,
            assignment,
            ready,
            rejected,
            retrying,
            reason,
            unconfirmed,
            setbacks,
            restarts,
            message,
            updated: _,
        } = other;
        (&self.state, &self.node, &self.pid, &self.version, &self.config_version, &self.assignment)
            == (state, node, pid, version, config_version, assignment)
            && (&self.ready, &self.rejected, &self.retrying, &self.reason) == (ready, rejected, retrying, reason)
            && (&self.unconfirmed, &self.setbacks, &self.restarts, &self.message)
                == (unconfirmed, setbacks, restarts, message)
    }
}

/// `/services/<svc>/instances/<host>`: an ephemeral of the agent; present = this replica is up and ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The replica's number.
    pub replica: ReplicaNumber,
    /// The unit's main process; absent for a unit without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The host's address, when its agent's configuration gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The service's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The version that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the unit became active.
    pub started: Timestamp,
}

impl Instance {
    /// What is wrong with it beyond its shape: templates of other services see it.
    pub fn problems(&self) -> Vec<Problem> {
        let texts = [("address", &self.address), ("version", &self.version)];
        line_problems(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.as_deref()?))))
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_none_yet(count: &u32) -> bool {
    *count == 0
}

/// The document of an assignment with these keys: its own, and those of its template beside them.
#[cfg(test)]
pub(crate) fn assigned(keys: serde_json::Value) -> serde_json::Value {
    let serde_json::Value::Object(keys) = keys else { return keys };
    let own = ["mode", "version", "config_version", "unit", "min_healthy_time"];
    let (mut document, template): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
        keys.into_iter().partition(|(key, _)| own.contains(&key.as_str()));
    document.insert("template".to_owned(), template.into());
    document.into()
}
