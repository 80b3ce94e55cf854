//! A whole cluster in memory, for tests: the real decisions of agents and controllers, on a tree with `ZooKeeper`'s semantics and
//! on systemds and disks that are simulated, in virtual time.
//!
//! ```text
//!  one_host ──► host (the agent's State) ──► systemd, prober, tasks: what it has begun, a part at a time
//!                 ▲          │ each action
//!                 │          ▼
//!  histories ─► cluster    check: what must hold of it
//!                 │
//!                 └► leader (Planner, and plan) ──► plan::controller::check: what must hold of each plan
//! ```
//!
//! Whoever drives it decides who acts next, what ends when, what is lost, and when time passes.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod check;
pub(crate) mod cluster;
mod drive;
mod histories;
pub(crate) mod host;
pub(crate) mod leader;
mod one_host;
mod prober;
pub(crate) mod story;
pub(crate) mod systemd;
pub(crate) mod tasks;
pub(crate) mod tree;
