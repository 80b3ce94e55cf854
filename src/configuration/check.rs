//! The service's own word on its new files.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ConfigurationError, Facts, Wanted};
use crate::{
    model::{ConfigPolicy, Span},
    source::command::{self, Order},
};

/// How long a check may take, unless the description says.
const LIMIT: Duration = Duration::from_secs(30);

/// Where a check finds the new files.
#[derive(Debug)]
pub(super) struct Places {
    /// Their folder.
    pub(super) files: PathBuf,
    /// The link that leads to it.
    pub(super) link: PathBuf,
    /// The folder that the check sees in the place of the service's: where it is, and where it is seen.
    pub(super) bind: Option<(PathBuf, PathBuf)>,
}

/// Has the service's command look at the new files; nothing when it has none.
pub(super) async fn run(
    policy: &ConfigPolicy,
    wanted: &Wanted<'_>,
    facts: &Facts,
    places: &Places,
) -> Result<(), ConfigurationError> {
    let Some(program) = policy.check.first() else { return Ok(()) };
    let order = order(policy, wanted, facts, places);
    let outcome = command::run(&order).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            ConfigurationError::rejected(format!("check {program}: {error}"))
        }
        _ => ConfigurationError::io(format_args!("check {program}"), &error),
    })?;
    match outcome.status {
        Some(0) => Ok(()),
        // A host that is short of time may have more of it later; a crash is an answer.
        _ => Err(ConfigurationError {
            rejected: !outcome.late,
            message: format!("check {program} refuses revision {}: it {}", wanted.revision, outcome.words()),
        }),
    }
}

fn order(policy: &ConfigPolicy, wanted: &Wanted<'_>, facts: &Facts, places: &Places) -> Order {
    let text = |path: &Path| path.display().to_string();
    let (dir, release) = (text(&places.files), facts.release_dir.as_deref().map(text));
    let known = [
        ("ZKOPS_CONFIG_DIR", Some(text(&places.link))),
        ("ZKOPS_SERVICE", Some(wanted.id.service.to_string())),
        ("ZKOPS_REPLICA", Some(wanted.id.number.to_string())),
        ("ZKOPS_HOST", Some(facts.host.to_string())),
        ("ZKOPS_VERSION", wanted.version.map(str::to_owned)),
        ("ZKOPS_CONFIG_VERSION", Some(wanted.revision.to_string())),
        ("ZKOPS_PORT", wanted.port.map(|port| port.to_string())),
        ("ZKOPS_RELEASE_DIR", release),
    ];
    Order {
        command: policy.check.iter().map(|word| word.replace("{dir}", &dir)).collect(),
        environment: known.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect(),
        limit: Some(policy.check_timeout.map_or(LIMIT, Span::get)),
        binds: places.bind.iter().cloned().collect(),
        ..Order::default()
    }
}
