//! What every configuration shares: fragments, each from one file, laid over each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

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
        Err(problem) => return Check { files: Vec::new(), problems: vec![problem] },
    };
    let (mut merged, mut problems) = (F::default(), Vec::new());
    for path in &files {
        match read::<F>(path) {
            Ok(fragment) => merged.merge(fragment),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        problems.extend(settle(merged).err());
    }
    Check { files, problems }
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

fn host_from_system(nodename: &str, key: &str) -> Result<HostName, ConfigError> {
    nodename.to_lowercase().parse().map_err(|error| ConfigError::Missing {
        message: format!("the system's host name does not serve: {error}; set the key \"{key}\""),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::host_from_system;

    #[test]
    fn the_systems_host_name_serves_in_lower_case() {
        assert_eq!(host_from_system("Web1.Example.org", "host").unwrap().as_str(), "web1.example.org");
        let error = host_from_system("my_host", "host").unwrap_err().to_string();
        assert!(error.contains("\"my_host\"") && error.ends_with("set the key \"host\""), "{error}");
    }
}
