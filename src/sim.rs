//! Hosts in memory: the real agents' decisions on a systemd, a disk and a tree that are simulated. Whoever drives a
//! [`Host`](host::Host) decides what ends when, what gets lost, and when time passes. For tests only.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod check;
pub(crate) mod host;
mod proptests;
mod stories;
mod systemd;
mod tasks;
mod world;
