//! What a replica needs on this host beside its unit: the release of its version, and its configuration. What is there
//! is read once, then known by what this agent does itself.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    config::AgentSettings,
    configuration::{self, Configurations},
    model::{Assignment, HostName, ReplicaId, ServiceName},
    plan::agent::Links,
    source::{self, Sources},
    systemd::Folders,
};

/// The releases and configurations on this host.
#[derive(Debug)]
pub(super) struct Goods {
    pub(super) store: Store,
    /// What was found for each replica: for the work that is wanted, and for that of before.
    seen: BTreeMap<ReplicaId, Vec<(Assignment, Found)>>,
}

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) sources: Arc<Sources>,
    pub(super) configurations: Configurations,
    /// Where all of it is.
    pub(super) data_dir: PathBuf,
    pub(super) host: HostName,
}

/// What is there of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// All of it is on the host.
    pub(super) staged: bool,
    /// What the links lead to.
    pub(super) links: Links,
}

impl Found {
    /// Nothing is needed.
    const NOTHING: Self = Self { staged: true, links: Links::RIGHT };
}

impl Goods {
    pub(super) fn new(settings: &AgentSettings) -> Self {
        let store = Store {
            sources: Arc::new(Sources::new(&settings.data_dir)),
            configurations: Configurations::new(&settings.data_dir),
            data_dir: settings.data_dir.clone(),
            host: settings.host.clone(),
        };
        Self { store, seen: BTreeMap::new() }
    }

    /// What is there of the replica's work.
    pub(super) fn look(&mut self, id: &ReplicaId, assignment: &Assignment) -> Found {
        if !needs_any(assignment) {
            return Found::NOTHING;
        }
        let known = self.seen.entry(id.clone()).or_default();
        if let Some((_, found)) = known.iter().find(|(seen, _)| needs_the_same(seen, assignment)) {
            return *found;
        }
        let found = self.store.look(id, assignment);
        known.push((assignment.clone(), found));
        known.drain(..known.len().saturating_sub(2));
        found
    }

    /// Forgets replicas that are not among these.
    pub(super) fn retain(&mut self, known: impl Fn(&ReplicaId) -> bool) {
        self.seen.retain(|id, _| known(id));
    }

    /// Something of the replica changed on disk.
    pub(super) fn forget(&mut self, id: &ReplicaId) {
        self.seen.remove(id);
    }

    /// Something of any of the service's replicas did.
    pub(super) fn forget_service(&mut self, service: &ServiceName) {
        self.seen.retain(|id, _| id.service != *service);
    }
}

impl Store {
    fn look(&self, id: &ReplicaId, assignment: &Assignment) -> Found {
        let release = self.release(id, assignment);
        let config = config(id, assignment);
        let fetched = release.is_none_or(|it| self.sources.is_fetched(&it));
        let staged = config.is_none_or(|it| self.configurations.is_staged(&it));
        // A link can't be switched to what is not there.
        let links = Links {
            release: !fetched || release.is_none_or(|it| is_shared(&it) || self.sources.is_current(&it)),
            config: !staged || config.is_none_or(|it| self.configurations.is_current(&it)),
        };
        Found { staged: fetched && staged, links }
    }

    /// Whether anything of the service may be on the host.
    pub(super) fn has_any(&self, service: &ServiceName) -> bool {
        let folders = ["releases", "config", "revisions"].map(|kind| self.data_dir.join(kind).join(service.as_str()));
        folders.iter().any(|folder| folder.exists())
    }

    /// The release that the work needs, if any.
    pub(super) fn release<'a>(&'a self, id: &'a ReplicaId, assignment: &'a Assignment) -> Option<source::Wanted<'a>> {
        let version = assignment.version.as_deref().filter(|_| !assignment.source.is_none())?;
        Some(source::Wanted { id, unit: &assignment.unit, source: &assignment.source, version, host: &self.host })
    }

    /// The folders that its processes are told of.
    pub(super) fn folders(&self, id: &ReplicaId, assignment: &Assignment) -> Folders {
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
pub(super) fn config<'a>(id: &'a ReplicaId, assignment: &'a Assignment) -> Option<configuration::Wanted<'a>> {
    let revision = assignment.config_version.filter(|_| assignment.config.is_some())?;
    let Assignment { unit, version, port, .. } = assignment;
    Some(configuration::Wanted { id, unit, revision, version: version.as_deref(), port: *port })
}

/// Whether anything has to be on the host before the work can run.
fn needs_any(assignment: &Assignment) -> bool {
    (!assignment.source.is_none() && assignment.version.is_some())
        || (assignment.config.is_some() && assignment.config_version.is_some())
}

/// Whether the two need the same.
pub(super) fn needs_the_same(one: &Assignment, other: &Assignment) -> bool {
    (one.version == other.version && one.source == other.source)
        && (one.config_version == other.config_version && one.config == other.config)
        && (&one.unit, one.port) == (&other.unit, other.port)
}
