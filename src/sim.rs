//! Hosts in memory: the real agents' decisions on a systemd, a disk and a tree that are simulated. Whoever drives a
//! [`Host`](host::Host) decides what ends when, what gets lost, and when time passes. For tests only.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod check;
mod drive;
pub(crate) mod host;
mod prober;
mod proptests;
mod stories;
pub(crate) mod systemd;
pub(crate) mod tasks;
pub(crate) mod tree;
mod world;
