//! The part of a description that replicas run by, beside their unit: what a rollout brings into force, and each
//! assignment repeats. The rest (placement, budgets, how long a host may be lost) holds at once, without touching what runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConfigPolicy, Probes, Problem, RestartPolicy, RunSettings, Source, Span};

/// See [`ServiceSpec`](super::ServiceSpec), which has the same fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
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

impl Template {
    /// What is wrong with it beyond its shape.
    pub(super) fn problems(&self) -> Vec<Problem> {
        RunSettings::from(self).problems()
    }
}

/// Names every field, so that one that is added cannot be forgotten: it would be neither checked nor rolled out.
impl<'a> From<&'a Template> for RunSettings<'a> {
    fn from(template: &'a Template) -> Self {
        let Template { unit_file, port, drain_time, restart, environment, credentials, source, config, probes } =
            template;
        let (unit_file, port, drain_time, config) = (unit_file.as_deref(), *port, *drain_time, config.as_ref());
        Self { unit_file, port, drain_time, restart, environment, credentials, source, config, probes }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    /// **A rule of the tree: no default of what replicas run by ever changes.** A record, an assignment and a ledger leave out
    /// what is default, and name what is not. Were it read as something else after an upgrade, each service would begin a
    /// rollout when its controller is upgraded, and agents of both releases would disagree. What is to be otherwise is a
    /// new key, whose absence means what was so far. So nothing here is ever edited; lines are added.
    #[test]
    fn no_default_ever_changes() {
        let read = |keys: Value| serde_json::from_value::<Template>(keys).unwrap();
        let check = json!({ "host": null, "period": "10s", "timeout": "1s", "initial_delay": "0s",
                            "success_threshold": 1, "failure_threshold": 3 });
        let probe = |kind: Value| {
            let mut probe = check.clone();
            probe.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            probe.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            probe
        };
        for (short, long) in [
            (
                json!({}),
                json!({ "drain_time": "0s", "restart": {}, "environment": {}, "credentials": {}, "source": {}, "probes": {} }),
            ),
            (
                json!({ "restart": {} }),
                json!({ "restart": { "policy": "on-failure", "delay": "1s", "limit_burst": 5, "limit_interval": "1m" } }),
            ),
            (json!({ "config": {} }), json!({ "config": { "check": [], "apply": "reload" } })),
            (
                json!({ "probes": { "readiness": { "tcp": { "port": 80 } } } }),
                json!({ "probes": { "readiness": probe(json!({ "tcp": { "port": 80 } })) } }),
            ),
            (
                json!({ "probes": { "readiness": { "http": { "port": 80 } } } }),
                json!({ "probes": { "readiness": probe(json!({ "http": { "port": 80, "headers": {}, "tls": false } })) } }),
            ),
            (
                json!({ "source": { "archive": { "url": "http://a/{version}" } } }),
                json!({ "source": { "archive": { "url": "http://a/{version}", "strip_components": 0 } } }),
            ),
        ] {
            assert_eq!(read(short.clone()), read(long), "{short}");
        }
        let written = serde_json::to_value(read(json!({}))).unwrap();
        let restart = json!({ "policy": "on-failure", "delay": "1s", "limit_burst": 5, "limit_interval": "1m" });
        assert_eq!(written, json!({ "drain_time": "0s", "restart": restart }));
    }
}
