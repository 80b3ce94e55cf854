//! The releases and configurations on this host: where they are, and what is there.

use std::{path::PathBuf, sync::Arc};

use super::credentials::Credentials;
use crate::{
    blocking,
    config::AgentSettings,
    configuration::{self, Configurations, Renderer},
    model::{Assignment, CheckedAssignment, Folders, HostName, ReplicaId, ServiceName},
    plan::agent::{Links, action::Artifacts, needs_any},
    source::{self, Sources},
};

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) sources: Arc<Sources>,
    pub(super) configurations: Configurations,
    /// Where all of it is.
    pub(super) data_dir: PathBuf,
    pub(super) host: HostName,
    /// The root of the file system that systemd has.
    pub(super) root: PathBuf,
}

impl Store {
    /// `root` is that of the file system that systemd has.
    pub(super) fn new(settings: &AgentSettings, root: PathBuf) -> Self {
        Self {
            sources: Arc::new(Sources::new(&settings.data_dir)),
            configurations: Configurations::new(&settings.data_dir, Renderer::Process(settings.program.clone())),
            data_dir: settings.data_dir.clone(),
            host: settings.host.clone(),
            root,
        }
    }

    /// What is there of the replica's work, looked at beside the loop.
    pub(super) async fn look_beside(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Artifacts {
        if !needs_any(assignment) {
            return Artifacts::NONE_NEEDED;
        }
        // One whose disk does not answer is looked at again before the start.
        let bad = matches!(Credentials::look(id, assignment, &self.root).await, Credentials::Bad(_));
        let (store, id, assignment) = (self.clone(), id.clone(), assignment.clone());
        let package = assignment.template.source.apt.is_some();
        let look = move || store.look(&id, &assignment);
        let found = if package { blocking::PACKAGES.run(look).await } else { blocking::beside(look).await };
        Artifacts { staged: found.staged && !bad, ..found }
    }

    fn look(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Artifacts {
        let release = self.release(id, assignment);
        let config = config(id, assignment);
        let fetched = release.is_none_or(|it| self.sources.is_fetched(&it));
        let staged = config.is_none_or(|it| self.configurations.is_staged(&it));
        // A link cannot be switched to what is not there.
        let links = Links {
            release: !fetched || release.is_none_or(|it| is_shared(&it) || self.sources.is_current(&it)),
            config: !staged || config.is_none_or(|it| self.configurations.is_current(&it)),
        };
        Artifacts { staged: fetched && staged, links }
    }

    /// Whether anything of the service may be on the host. May block.
    pub(super) fn has_any(&self, service: &ServiceName) -> bool {
        let folders = ["releases", "config", "revisions"].map(|kind| self.data_dir.join(kind).join(service.as_str()));
        folders.iter().any(|folder| folder.exists())
    }

    /// The release that the work needs, if any.
    pub(super) fn release<'a>(
        &'a self,
        id: &'a ReplicaId,
        assignment: &'a CheckedAssignment,
    ) -> Option<source::Wanted<'a>> {
        let version = assignment.version.as_deref().filter(|_| !assignment.template.source.is_none())?;
        Some(source::Wanted {
            id,
            unit: &assignment.unit,
            source: &assignment.template.source,
            version,
            host: &self.host,
        })
    }

    /// The folders that its processes are told of.
    pub(super) fn folders(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Folders {
        let release = self.release(id, assignment);
        Folders {
            release: release.and_then(|it| self.sources.release_dir(&id.service, it.source, it.version)),
            config: config(id, assignment).map(|it| self.configurations.config_dir(&id.service, it.unit)),
        }
    }
}

/// Whether the release is of all replicas on this host: there is one package. What one of them has installed says nothing
/// about what another runs, and must not have it restarted.
fn is_shared(release: &source::Wanted<'_>) -> bool {
    release.source.apt.is_some() && release.unit.as_str().contains('@')
}

/// The configuration that the work needs, if any.
pub(super) fn config<'a>(id: &'a ReplicaId, assignment: &'a CheckedAssignment) -> Option<configuration::Wanted<'a>> {
    let revision = assignment.config_version.filter(|_| assignment.template.config.is_some())?;
    let Assignment { unit, version, template, .. } = &**assignment;
    Some(configuration::Wanted { id, unit, revision, version: version.as_deref(), port: template.port })
}
