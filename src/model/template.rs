//! The part of a description that replicas run by: what a rollout brings into force. The rest (placement, budgets, how
//! long a host may be lost) holds at once, without touching what runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Assignment, ConfigPolicy, Probes, Problem, RestartPolicy, ServiceSpec, Source, Span, UnitName, check::RunSettings,
};

/// See [`ServiceSpec`], which has the same fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The unit.
    pub unit: UnitName,
    /// The unit file's text, when the service brings its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_file: Option<String>,
    /// The port published in `instances`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How long a replica runs on after leaving `instances`.
    #[serde(default)]
    pub drain_time: Span,
    /// How systemd restarts a replica.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// Where versions come from.
    #[serde(default, skip_serializing_if = "Source::is_default")]
    pub source: Source,
    /// How a configuration comes into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigPolicy>,
    /// Readiness and liveness.
    #[serde(default, skip_serializing_if = "Probes::is_default")]
    pub probes: Probes,
}

impl From<&ServiceSpec> for Template {
    fn from(spec: &ServiceSpec) -> Self {
        Self {
            unit: spec.unit.clone(),
            unit_file: spec.unit_file.clone(),
            port: spec.port,
            drain_time: spec.drain_time,
            restart: spec.restart.clone(),
            environment: spec.environment.clone(),
            credentials: spec.credentials.clone(),
            source: spec.source.clone(),
            config: spec.config.clone(),
            probes: spec.probes.clone(),
        }
    }
}

impl Template {
    /// What is wrong with it beyond its shape.
    pub(super) fn problems(&self) -> Vec<Problem> {
        RunSettings::from(self).problems()
    }

    /// Whether the description says the same.
    pub fn matches(&self, spec: &ServiceSpec) -> bool {
        self.unit == spec.unit && RunSettings::from(self) == spec.into()
    }

    /// Whether the assignment says the same, its unit aside: that names the replica.
    pub fn is_repeated_by(&self, assignment: &Assignment) -> bool {
        RunSettings::from(self) == assignment.into()
    }

    /// Puts it into the description in place of what is there.
    pub fn put_into(&self, spec: &mut ServiceSpec) {
        let Self { unit, unit_file, port, drain_time, restart, environment, credentials, source, config, probes } =
            self.clone();
        *spec = ServiceSpec {
            unit,
            unit_file,
            port,
            drain_time,
            restart,
            environment,
            credentials,
            source,
            config,
            probes,
            ..spec.clone()
        };
    }
}
