//! zkops turns an Apache ZooKeeper ensemble into the control plane of a fleet's systemd services.
//!
//! The data's way through the crate is its layout:
//!
//! ```text
//!  cli ──────► store ◄────────────── reconcile::controller ── plan::controller (pure)
//!  (a person)    │ ZooKeeper's tree       one leads
//!                ▼
//!            reconcile::agent ── plan::agent (pure) ── systemd (D-Bus) ── units
//!              one per host            │
//!                                    ├─ ledger (last accepted work on disk)
//!                                    └─ probe (is it ready, is it alive)
//! ```
//!
//! Both daemons are the same loop: *snapshot → plan → execute → status*. Whatever can be decided is decided
//! in [`plan`], which is pure: no I/O, no clock, no randomness; they come in as arguments. What an agent knows is one
//! value there, to which events go and from which actions come. [`model`] is what
//! the documents of the tree mean, [`tree`] where they are and how they are changed; `store` is the only place
//! that talks to ZooKeeper, `systemd` the only one that talks to systemd. [`probe`] asks the replicas themselves
//! how they are. What may use what is held by `tests/architecture.rs`.

mod blocking;
pub mod cli;
pub mod config;
pub mod configuration;
mod connect;
pub mod ensemble;
#[cfg(test)]
mod fuzz;
pub mod ledger;
#[deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]
pub mod model;
#[deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]
pub mod plan;
pub mod probe;
pub mod reconcile;
pub mod report;
#[cfg(test)]
mod sim;
pub mod source;
pub mod store;
pub mod systemd;
#[deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]
pub mod tree;

/// The version that this build goes by.
pub const VERSION: &str = if cfg!(feature = "next-release") {
    concat!(env!("CARGO_PKG_VERSION"), "+next")
} else {
    env!("CARGO_PKG_VERSION")
};
