//! What the documents of the tree mean. Pure: no I/O, no clock.
//!
//! Each type here is one JSON document (or a part of one) at one place of the tree, as `docs/znode-layout.md`
//! lists them. Readers tolerate unknown fields, so that mixed versions of zkops can share a tree; what a person
//! hands to the CLI is checked more strictly there.

mod accepts;
mod address;
mod allowed;
mod amount;
mod check;
mod checked;
mod condition;
mod configuration;
pub mod ensemble;
mod event;
mod generated;
mod host;
mod id;
mod ledger;
mod moves;
mod number;
mod probe;
mod probing;
mod problem;
mod replica;
mod restart;
mod rollout;
mod run_settings;
mod selector;
mod service;
mod source;
mod span;
mod status;
mod template;
mod text;
mod timing;
mod unit;
mod update;

pub use accepts::{Accepts, Objection};
pub use address::{Address, InvalidAddress};
pub use allowed::{AllowedUnits, InvalidPattern, Pattern};
pub use amount::{Amount, InvalidAmount};
#[cfg(test)]
pub(crate) use check::released;
pub use checked::{CheckedAssignment, InvalidAssignment};
pub use condition::{Condition, ConditionKind, Reason};
pub use configuration::{ConfigApply, ConfigFile, ConfigPolicy, ConfigRevision};
pub use event::{Event, EventReason};
pub use generated::{
    DROP_IN_NAME, Files, Folders, UnitPaths, VARIABLES_NAME, drop_in, environment, restart_key, variables,
};
pub(crate) use generated::{drop_in_owner, marked_unit_file, unit_file_owner};
pub use host::{Capacity, HostAlive, HostSpec};
pub use id::{HostName, InvalidName, ReplicaId, ReplicaNumber, ServiceName, UnitName};
pub use ledger::{Ledger, Left, Record, Rejected, Stale, content_key};
pub use moves::Moves;
pub use number::{InvalidNumber, counted, read_number, read_sequence};
pub use probe::{ExecCheck, HttpCheck, OWN_ADDRESS, Probe, ProbeCheck, Probes, SystemdCheck, TcpCheck, ZooKeeperCheck};
pub use probing::{Probing, TrialOutcome, Verdict};
pub(crate) use problem::as_released;
pub use problem::{DocumentError, MAX_DOCUMENT_BYTES, Problem, decode, encode};
#[cfg(test)]
pub(crate) use replica::assigned;
pub use replica::{
    Assignment, FailedOn, Instance, RefusalReason, Refused, ReplicaDesired, ReplicaState, ReplicaStatus,
};
pub use restart::{RestartMode, RestartPolicy};
pub use rollout::{
    OnFailure, PauseCause, Revision, Rollout, RolloutAction, RolloutOrder, RolloutPolicy, RolloutState, RolloutSummary,
};
pub use run_settings::RunSettings;
pub use selector::{InvalidSelector, Selector};
pub use service::{Desired, Mode, MoveOrder, Placement, ServiceSpec};
pub use source::{AptSource, ArchiveSource, ExecSource, NixSource, Source};
pub use span::Span;
pub use status::{Accepted, ServiceStatus, Summary};
pub use template::Template;
pub use text::one_line;
pub use unit::{ActiveState, JobResult, LoadState, UnitSettings, UnitStatus, Verb};
pub use update::{ReadAtStart, UpdateAction};
