//! Configuration of the daemons and the CLI: one type per stage of trust.
//!
//! ```text
//!  sources ── which files, in which order ──► document ── each file → a fragment: all keys optional, values checked
//!                                                │
//!                            later files over earlier ones, key by key
//!                                                ▼
//!                     AgentSettings, ControllerSettings, CliSettings: every default filled in
//! ```
//!
//! Values are checked while a file is read, so that a mistake is told with its file, line and key, however many
//! files there are.

mod agent;
mod cli;
mod controller;
mod document;
mod error;
mod fragment;
mod sources;
mod zookeeper;

#[cfg(test)]
mod packaged;
#[cfg(test)]
mod tests;

pub use self::{
    agent::AgentSettings,
    cli::CliSettings,
    controller::ControllerSettings,
    document::parse,
    error::{Check, ConfigError},
    zookeeper::{InvalidServers, Servers, ZooKeeperSettings},
};
