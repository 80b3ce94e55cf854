//! What every configuration shares: fragments, each from one file, laid over each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{Check, ConfigError, document, sources};
use crate::model::HostName;

/// One file's share of a configuration: every key optional, every value checked.
pub(super) trait Fragment: Default + DeserializeOwned {
    /// The configuration's name: `/etc/zkops/<NAME>.toml`.
    const NAME: &'static str;

    /// Lays a later file over this.
    fn merge(&mut self, over: Self);
}

/// All files, read and merged; the first problem when there is any.
pub(super) fn load<F: Fragment>(root: &Path, main: Option<&Path>) -> Result<F, ConfigError> {
    let mut merged = F::default();
    for path in sources::files(root, F::NAME, main)? {
        merged.merge(read(&path)?);
    }
    Ok(merged)
}

/// All files, each read whatever is wrong with the others.
pub(super) fn check<F: Fragment, S>(
    root: &Path,
    main: Option<&Path>,
    settle: impl FnOnce(F) -> Result<S, ConfigError>,
) -> Check {
    let files = match sources::files(root, F::NAME, main) {
        Ok(files) => files,
        Err(problem) => return Check { problems: vec![problem], ..Check::default() },
    };
    let (mut merged, mut problems, mut remarks) = (F::default(), Vec::new(), Vec::new());
    for path in &files {
        match read::<F>(path) {
            Ok(fragment) => merged.merge(fragment),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        match settle(merged) {
            Ok(_) => {}
            // Where a configuration is checked need not be where it is used.
            Err(missing @ ConfigError::Missing { .. }) => remarks.push(missing.to_string()),
            Err(problem) => problems.push(problem),
        }
    }
    Check { files, problems, remarks }
}

fn read<F: Fragment>(path: &Path) -> Result<F, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: PathBuf::from(path), source };
    document::parse(path, &fs::read_to_string(path).map_err(unreadable)?)
}

/// Lays `over` over `value`, where it says something.
pub(super) fn lay<T>(value: &mut Option<T>, over: Option<T>) {
    if over.is_some() {
        *value = over;
    }
}

/// The host's name: as configured, or the system's in lower case.
pub(super) fn host_or_system(host: Option<HostName>, key: &str) -> Result<HostName, ConfigError> {
    host.map_or_else(|| host_from_system(&rustix::system::uname().nodename().to_string_lossy(), key), Ok)
}

/// The same for who may be taken for another: a name that every machine has before it is given one is refused.
pub(super) fn own_host_or_system(host: Option<OwnHost>, key: &str) -> Result<HostName, ConfigError> {
    let host = host_or_system(host.map(|host| host.0), key)?;
    if is_anyones(&host) {
        let message = format!(
            "the system's host name is \"{host}\", which any machine may have: set {key} = \"NAME\", or give the \
             system its name (hostnamectl set-hostname NAME)"
        );
        return Err(ConfigError::Missing { message });
    }
    Ok(host)
}

/// A host's name that tells it from others.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "HostName")]
pub(super) struct OwnHost(HostName);

impl TryFrom<HostName> for OwnHost {
    type Error = String;

    fn try_from(host: HostName) -> Result<Self, String> {
        if is_anyones(&host) {
            return Err(format!("\"{host}\" may be any machine: use a name that no other host has"));
        }
        Ok(Self(host))
    }
}

/// Names by which every machine knows itself (hosts(5)).
fn is_anyones(host: &HostName) -> bool {
    let first = host.as_str().split('.').next().unwrap_or_default();
    matches!(first, "localhost" | "localhost4" | "localhost6" | "ip6-localhost" | "ip6-loopback")
}

fn host_from_system(nodename: &str, key: &str) -> Result<HostName, ConfigError> {
    nodename.to_lowercase().parse().map_err(|error| ConfigError::Missing {
        message: format!("the system's host name does not serve: {error}; set the key \"{key}\""),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{host_from_system, is_anyones};

    #[test]
    fn the_systems_host_name_serves_in_lower_case() {
        assert_eq!(host_from_system("Web1.Example.org", "host").unwrap().as_str(), "web1.example.org");
        let error = host_from_system("my_host", "host").unwrap_err().to_string();
        assert!(error.contains("\"my_host\"") && error.ends_with("set the key \"host\""), "{error}");
    }

    #[test]
    fn names_that_every_machine_has_are_none() {
        for name in ["localhost", "localhost.localdomain", "localhost.example.org", "localhost6.localdomain6"] {
            assert!(is_anyones(&name.parse().unwrap()), "{name}");
        }
        assert!(!is_anyones(&"localhost1.example.org".parse().unwrap()));
        for nodename in ["", "(none)"] {
            assert!(host_from_system(nodename, "host").is_err(), "{nodename}");
        }
    }
}
