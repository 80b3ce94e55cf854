//! The agent's loop against a real Apache ZooKeeper and a systemd in memory, with faults put between them.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod configs;
mod disk;
mod host;
mod identity;
mod limited;
mod links;
mod manager;
mod probes;
mod releases;
mod slow;
mod states;
mod web;
mod work;
