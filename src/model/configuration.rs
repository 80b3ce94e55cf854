//! A service's configuration: immutable revisions in the tree, and how a host brings one into force.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Problem, Span, check::command_problems};

/// How a configuration revision comes into force on a host. A service without it has no files in the tree; its
/// `config_version` is then a mere number, whose change reloads the unit (or restarts it when it can't reload).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigPolicy {
    /// A command that says whether the new files are good, before they are swapped in: the program's absolute path and
    /// its arguments, in which `{dir}` is the folder with the new files; it also sees `ZKOPS_CONFIG_DIR`. 0 = good.
    /// The agent's `accept_commands` must allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// How long `check` may take; 30 s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_timeout: Option<Span>,
    /// What makes a running process read the new files.
    pub apply: ConfigApply,
    /// The signal of `apply = "signal"`, as signal(7) names it; `SIGHUP` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// What makes a running process read a new configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigApply {
    /// `systemctl reload`; a restart when the unit can't reload.
    #[default]
    Reload,
    /// A restart.
    Restart,
    /// A signal to the main process. Nothing tells whether it worked but the probes.
    Signal,
}

/// `/services/<svc>/config/<n>`: one revision, immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRevision {
    /// By their path below the configuration's folder, as in `conf.d/site.conf`.
    pub files: BTreeMap<String, ConfigFile>,
    /// What the person who pushed it said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One file of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Its text; for a template, the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its bytes in base64, for what is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Its permissions in octal, as in `"0640"`; `"0644"` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner on the host, by name; root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its group on the host, by name; root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether it is a template (minijinja), rendered for each replica.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
}

impl ConfigRevision {
    /// The largest revision, in bytes of its document.
    pub const MAX_BYTES: usize = super::MAX_DOCUMENT_BYTES;
}

impl ConfigPolicy {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.check.is_empty() {
            problems.extend(command_problems("config.check", &self.check));
        }
        if self.check_timeout.is_some_and(|timeout| timeout.get().is_zero()) {
            problems.push(Problem::new("config.check_timeout", "must not be nothing"));
        }
        if self.signal.is_some() && self.apply != ConfigApply::Signal {
            problems.push(Problem::new("config.signal", "is only sent with apply = \"signal\""));
        }
        problems
    }
}
