//! The ZooKeeper layer against a real Apache ZooKeeper, with faults put between the two.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod election;
mod mirror;
mod presence;
mod session;
