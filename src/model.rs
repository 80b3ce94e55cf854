//! What the documents of the tree mean. Pure: no I/O, no clock.
//!
//! Each type here is one JSON document (or a part of one) at one place of the tree, as `docs/znode-layout.md`
//! lists them. Readers tolerate unknown fields, so that mixed versions of zkops can share a tree; what a person
//! hands to the CLI is checked more strictly there.

mod condition;
mod host;
mod id;
mod problem;
mod replica;
mod selector;
mod service;
mod span;
mod status;

pub use condition::{Condition, ConditionKind};
pub use host::{Capacity, HostAlive, HostSpec};
pub use id::{HostName, InvalidName, ReplicaId, ReplicaNumber, ServiceName, UnitName};
pub use problem::{DocumentError, MAX_DOCUMENT_BYTES, Problem, decode, encode};
pub use replica::{Assignment, FailedOn, Instance, ReplicaDesired, ReplicaState, ReplicaStatus};
pub use selector::{InvalidSelector, Selector};
pub use service::{Desired, Mode, Placement, RestartMode, RestartPolicy, ServiceSpec};
pub use span::Span;
pub use status::{Accepted, Event, ServiceStatus, Summary};
