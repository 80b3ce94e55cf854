//! What a running process notices of an update: the one place that says which changes need a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Assignment, ConfigApply, Source};

/// What a process reads when it starts, and never again. A change of it needs a restart; so does a change of the folders
/// that it is told of. Not the restart policy, which the manager applies to running units, and not the configuration's
/// revision, which a reload may bring into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAtStart<'a> {
    /// The version.
    pub version: Option<&'a str>,
    /// The port.
    pub port: Option<u16>,
    /// The unit file's text.
    pub unit_file: Option<&'a str>,
    /// Environment variables.
    pub environment: &'a BTreeMap<String, String>,
    /// Credentials.
    pub credentials: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Assignment> for ReadAtStart<'a> {
    fn from(assignment: &'a Assignment) -> Self {
        Self {
            version: assignment.version.as_deref(),
            port: assignment.template.port,
            unit_file: assignment.template.unit_file.as_deref(),
            environment: &assignment.template.environment,
            credentials: &assignment.template.credentials,
        }
    }
}

/// What a process notices of an update, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateAction {
    /// Nothing: the agent takes it on.
    Adopt,
    /// A signal.
    Signal,
    /// A reload, or a restart when the unit cannot reload.
    Reload,
    /// A restart.
    Restart,
}

impl UpdateAction {
    /// What going from one assignment of a replica to the next on the same host takes.
    pub fn between(before: &Assignment, after: &Assignment) -> Self {
        let same = before.unit == after.unit
            && ReadAtStart::from(before) == ReadAtStart::from(after)
            && Folders::from(before) == Folders::from(after);
        if !same {
            return Self::Restart;
        }
        if before.config_version == after.config_version {
            return Self::Adopt;
        }
        match after.template.config.as_ref().map(|policy| policy.apply).unwrap_or_default() {
            ConfigApply::Reload => Self::Reload,
            ConfigApply::Restart => Self::Restart,
            ConfigApply::Signal => Self::Signal,
        }
    }
}

/// The folders that a process is told of, as far as they depend on its assignment: the host decides where they are.
#[derive(PartialEq, Eq)]
struct Folders<'a> {
    release: Release<'a>,
    config: bool,
}

/// Where the release is; in a folder of the host's by version, or at a store path.
#[derive(PartialEq, Eq)]
enum Release<'a> {
    Nowhere,
    ByVersion,
    StorePath(&'a str),
}

impl<'a> From<&'a Assignment> for Folders<'a> {
    fn from(assignment: &'a Assignment) -> Self {
        let Source { archive, nix, exec, .. } = &assignment.template.source;
        let release = match nix {
            Some(nix) => Release::StorePath(&nix.store_path),
            None if archive.is_some() || exec.is_some() => Release::ByVersion,
            None => Release::Nowhere,
        };
        Self { release, config: assignment.template.config.is_some() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::model::assigned;

    fn assignment(keys: &Value) -> Assignment {
        let mut assignment =
            json!({"mode": "enabled", "unit": "webapp@0000000001.service", "version": "v1", "config_version": 7});
        assignment.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        serde_json::from_value(assigned(assignment)).unwrap()
    }

    fn action(before: &Value, after: &Value) -> UpdateAction {
        UpdateAction::between(&assignment(before), &assignment(after))
    }

    #[test]
    fn each_change_has_what_it_takes() {
        for keys in [
            json!({"version": "v2"}),
            json!({"unit": "other@0000000001.service"}),
            json!({"unit_file": "[Service]\n"}),
            json!({"port": 80}),
            json!({"environment": {"A": "1"}}),
            json!({"credentials": {"key": "/etc/key"}}),
            json!({"source": {"exec": {"command": ["/bin/fetch"]}}}),
            json!({"config": {}}),
            json!({"config_version": 8, "environment": {"A": "1"}}),
        ] {
            assert_eq!(action(&json!({}), &keys), UpdateAction::Restart, "{keys}");
        }
        for keys in [
            json!({}),
            json!({"drain_time": "1s"}),
            json!({"restart": {"delay": "9s"}}),
            json!({"source": {"apt": {"package": "webapp"}}}),
            json!({"mode": "drain"}),
            json!({"probes": {"readiness": {"tcp": {"port": 80}}}}),
        ] {
            assert_eq!(action(&json!({}), &keys), UpdateAction::Adopt, "{keys}");
        }
    }

    #[test]
    fn a_configuration_comes_into_force_as_its_policy_says() {
        let config = |apply: &str, version: u32| json!({"config": {"apply": apply}, "config_version": version});
        for (apply, expected) in
            [("reload", UpdateAction::Reload), ("signal", UpdateAction::Signal), ("restart", UpdateAction::Restart)]
        {
            assert_eq!(action(&config(apply, 7), &config(apply, 8)), expected);
            assert_eq!(action(&config("reload", 7), &config(apply, 7)), UpdateAction::Adopt);
        }
        assert_eq!(action(&json!({}), &json!({"config_version": 8})), UpdateAction::Reload);
    }

    #[test]
    fn a_release_is_told_of_where_it_is() {
        let nix = |path: &str| json!({"source": {"nix": {"store_path": path}}});
        let archive = |url: &str| json!({"source": {"archive": {"url": url}}});
        assert_eq!(action(&nix("/nix/store/a"), &nix("/nix/store/b")), UpdateAction::Restart);
        assert_eq!(action(&archive("http://a/{version}"), &archive("http://b/{version}")), UpdateAction::Adopt);
        assert_eq!(action(&archive("http://a/{version}"), &json!({})), UpdateAction::Restart);
    }
}
