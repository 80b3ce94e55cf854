//! What a host's agent runs, as its `agent.toml` says, and what of a service that rules out.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AllowedUnits, RestartPolicy, RunSettings, UnitName};

/// What a host accepts: part of its `alive`, so that nothing is placed where the agent would refuse it. The agent judges
/// by the same all the same: what the tree says of it binds nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of agent.toml")]
pub struct Accepts {
    /// `allowed_units`: the units that may be driven.
    pub units: AllowedUnits,
    /// `accept_unit_files`: whether a service may bring its unit's file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unit_files: bool,
    /// `accept_commands`: whether a service may have commands run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub commands: bool,
    /// `accept_packages`: whether a service may have packages installed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub packages: bool,
    /// `limited`: whether the agent writes none of systemd's files.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
}

/// What a host has against a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objection {
    /// No pattern of `allowed_units` matches the unit.
    Unit(UnitName),
    /// The service has what this key would have to allow.
    Key {
        /// What the service has, with its article.
        what: &'static str,
        /// The key of `agent.toml`.
        key: &'static str,
    },
    /// The service's probes ask `{address}`, and the host has none.
    NoAddress,
    /// The service has what a limited agent cannot give a unit.
    Limited(&'static str),
}

impl Objection {
    /// The same in words, about the agent of `whose` (`web1's`, `their`).
    pub fn words(&self, whose: &str) -> String {
        match self {
            Self::Unit(unit) => format!("{unit} is not among the allowed_units of {whose} agent.toml"),
            Self::Key { what, key } => format!("the service has {what}, and {key} is not set in {whose} agent.toml"),
            Self::NoAddress => {
                format!("the service's probes ask {{address}}, and address is not set in {whose} agent.toml")
            }
            Self::Limited(what) => {
                format!(
                    "the service has {what}, which {whose} agent, being limited, cannot give its unit: write it there"
                )
            }
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => write!(f, "{unit} is not among allowed_units"),
            Self::Key { what, key } => write!(f, "{key} is off, the service has {what}"),
            Self::NoAddress => f.write_str("address is not set, the service's probes ask {address}"),
            Self::Limited(what) => write!(f, "limited, the service has {what}"),
        }
    }
}

impl Accepts {
    /// The first thing that a host with (or without) an address has against this unit, run like this.
    pub fn objection(&self, has_address: bool, unit: &UnitName, run: &RunSettings<'_>) -> Option<Objection> {
        let is_allowed =
            if unit.is_template() { self.units.may_allow_instances_of(unit) } else { self.units.allows(unit) };
        if !is_allowed {
            return Some(Objection::Unit(unit.clone()));
        }
        let keys = [
            (run.unit_file.is_some(), "a unit_file", "accept_unit_files", self.unit_files),
            (run.probes.run_commands(), "an exec probe", "accept_commands", self.commands),
            (run.source.exec.is_some(), "an exec source", "accept_commands", self.commands),
            (
                run.config.is_some_and(|config| !config.check.is_empty()),
                "a config check",
                "accept_commands",
                self.commands,
            ),
            (run.source.apt.is_some(), "an apt source", "accept_packages", self.packages),
            (run.source.nix.is_some(), "a nix source", "accept_packages", self.packages),
        ];
        if let Some((_, what, key, _)) = keys.into_iter().find(|(there, .., accepted)| *there && !accepted) {
            return Some(Objection::Key { what, key });
        }
        if run.probes.ask_own_address() && !has_address {
            return Some(Objection::NoAddress);
        }
        takes_root(run).filter(|_| self.limited).map(Objection::Limited)
    }
}

/// What takes a drop-in, or files that belong to others, if anything.
fn takes_root(run: &RunSettings<'_>) -> Option<&'static str> {
    let what = [
        (!run.environment.is_empty(), "an environment"),
        (!run.credentials.is_empty(), "credentials"),
        (*run.restart != RestartPolicy::default(), "a restart policy"),
    ];
    what.into_iter().find(|(there, _)| *there).map(|(_, what)| what)
}
