//! What one staging does: fetches the release, reads the configuration's revision and what its templates name from the
//! tree, renders it. And one switch: the links to both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use super::{
    artifacts::{Store, config},
    credentials::Credentials,
    publication::explain,
    signals,
};
use crate::{
    blocking,
    configuration::{ConfigurationError, Facts, Peer, services_named},
    model::{
        CheckedAssignment, ConfigApply, ConfigRevision, HostName, Instance, ReplicaId, ServiceName, decode, encode,
    },
    plan::agent::action::{Artifacts, Prune, Refusal},
    source::{SourceError, Sources},
    store::{Client, StoreError},
    tree::layout,
};

impl From<SourceError> for Refusal {
    fn from(SourceError { rejected, message }: SourceError) -> Self {
        Self { rejected, message }
    }
}

impl From<ConfigurationError> for Refusal {
    fn from(ConfigurationError { rejected, message }: ConfigurationError) -> Self {
        Self { rejected, message }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::passing(explain(&error))
    }
}

/// One replica's work is to be brought onto the host.
pub(super) struct Order {
    pub(super) id: ReplicaId,
    pub(super) assignment: CheckedAssignment,
    pub(super) store: Store,
    pub(super) address: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// `None` = ZooKeeper is out of reach.
    pub(super) client: Option<Client>,
}

impl Order {
    /// Brings it onto the host; what came of that, and what is there now.
    pub(super) async fn stage_and_look(self) -> (Result<(), Refusal>, Artifacts) {
        let staged = self.stage().await;
        let found = self.store.look_beside(&self.id, &self.assignment).await;
        (staged, found)
    }

    async fn stage(&self) -> Result<(), Refusal> {
        Credentials::look(&self.id, &self.assignment, &self.store.root).await.judge()?;
        if let Some(release) = self.store.release(&self.id, &self.assignment) {
            self.store.sources.fetch(&release).await?;
        }
        if !self.store.has_config(&self.id, &self.assignment).await {
            self.stage_config().await?;
        }
        Ok(())
    }

    async fn stage_config(&self) -> Result<(), Refusal> {
        let (Some(wanted), Some(policy)) = (config(&self.id, &self.assignment), &self.assignment.template.config)
        else {
            return Ok(());
        };
        if let Some(name) = policy.signal.as_deref().filter(|_| policy.apply == ConfigApply::Signal)
            && signals::number(name).is_none()
        {
            return Err(Refusal::rejected(format!("config.signal: there is no signal {name}")));
        }
        let revision = self.revision(wanted.revision).await?;
        let mut instances = BTreeMap::new();
        for service in services_named(&revision) {
            let peers = self.peers(&service).await?;
            instances.insert(service, peers);
        }
        let facts = Facts {
            host: self.store.host.clone(),
            address: self.address.clone(),
            labels: self.labels.clone(),
            release_dir: self.store.folders(&self.id, &self.assignment).release,
            instances,
        };
        Ok(self.store.configurations.stage(&wanted, policy, &revision, &facts).await?)
    }

    /// The revision, from the tree, or from disk while that is out of reach.
    async fn revision(&self, number: u64) -> Result<ConfigRevision, Refusal> {
        let service = &self.id.service;
        let path = layout::config(service, number);
        let cached = self.store.revision_file(service, number);
        let read = match &self.client {
            Some(client) => client.get(&path).await.map_err(Refusal::from),
            None => Err(Refusal::passing(format!("{path} cannot be read: ZooKeeper is out of reach"))),
        };
        match read {
            Ok(Some(node)) => {
                let bad = |error| Refusal::rejected(format!("{path}: {error}"));
                let revision = decode::<ConfigRevision>(&node.data).map_err(bad)?;
                keep(cached, encode(&revision)).await;
                Ok(revision)
            }
            Ok(None) => Err(Refusal::rejected(format!(
                "there is no configuration {number}: push it with `zkops config push {service} FOLDER`"
            ))),
            Err(refusal) => {
                let kept = tokio::task::spawn_blocking(move || fs::read(&cached).ok()).await.ok().flatten();
                kept.and_then(|data| decode(&data).ok()).ok_or(refusal)
            }
        }
    }

    /// The ready replicas of another service.
    async fn peers(&self, service: &ServiceName) -> Result<Vec<Peer>, Refusal> {
        let out_of_reach =
            || Refusal::passing(format!("the instances of {service} cannot be read: ZooKeeper is out of reach"));
        let client = self.client.as_ref().ok_or_else(out_of_reach)?;
        let names = client.children(&layout::instances(service)).await?.unwrap_or_default();
        let mut peers = Vec::new();
        for name in names {
            let Some(node) = client.get(&layout::instance(service, &name)).await? else { continue };
            peers.extend(peer(&name, &node.data));
        }
        peers.sort_by(|one, other| (&one.host, one.replica).cmp(&(&other.host, other.replica)));
        Ok(peers)
    }
}

fn peer(name: &str, data: &[u8]) -> Option<Peer> {
    let host: HostName = name.split('@').next()?.parse().ok()?;
    let instance = decode::<Instance>(data).ok().filter(|instance| instance.problems().is_empty())?;
    let Instance { replica, address, port, version, .. } = instance;
    Some(Peer { host, address, port, version, replica })
}

/// Keeps a revision for a time without ZooKeeper. It may hold what is not for everyone: only the agent reads it.
async fn keep(path: PathBuf, data: Vec<u8>) {
    let kept = tokio::task::spawn_blocking(move || write_private(&path, &data).map_err(|error| (path, error))).await;
    if let Ok(Err((path, error))) = kept {
        tracing::warn!("cannot keep {}: {error}", path.display());
    }
}

fn write_private(path: &std::path::Path, data: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(std::path::Path::new("/"));
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    // Its permissions are 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(data)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

impl Store {
    fn revision_file(&self, service: &ServiceName, number: u64) -> PathBuf {
        self.revisions(service).join(format!("{number}.json"))
    }

    /// The service's revisions as they were read from the tree.
    fn revisions(&self, service: &ServiceName) -> PathBuf {
        self.data_dir.join("revisions").join(service.as_str())
    }

    /// Brings the release and the configuration into force for the replica.
    pub(super) async fn switch(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Result<(), Refusal> {
        Credentials::look(id, assignment, &self.root).await.judge()?;
        if let Some(release) = self.release(id, assignment)
            && !self.sources.look(&release, Sources::is_current).await
        {
            if !self.sources.look(&release, Sources::is_fetched).await {
                return Err(Refusal::passing(format!("{} is not on this host", release.version)));
            }
            self.sources.switch(&release).await?;
        }
        self.switch_config(id, assignment).await
    }

    /// Whether the configuration that the work needs is on the host; true when it needs none.
    pub(super) async fn has_config(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> bool {
        if config(id, assignment).is_none() {
            return true;
        }
        let (store, id, assignment) = (self.clone(), id.clone(), assignment.clone());
        let is_staged = move || config(&id, &assignment).is_none_or(|it| store.configurations.is_staged(&it));
        blocking::beside(is_staged).await
    }

    /// Brings the configuration into force for the replica.
    pub(super) async fn switch_config(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Result<(), Refusal> {
        if config(id, assignment).is_none() {
            return Ok(());
        }
        let (store, id, assignment) = (self.clone(), id.clone(), assignment.clone());
        blocking::beside(move || store.switch_config_now(&id, &assignment)).await
    }

    fn switch_config_now(&self, id: &ReplicaId, assignment: &CheckedAssignment) -> Result<(), Refusal> {
        let Some(wanted) = config(id, assignment) else { return Ok(()) };
        if self.configurations.is_current(&wanted) {
            return Ok(());
        }
        if !self.configurations.is_staged(&wanted) {
            return Err(Refusal::passing(format!("configuration {} is not on this host", wanted.revision)));
        }
        let dir = self.configurations.config_dir(&id.service, wanted.unit);
        let failed = |error| Refusal::passing(format!("cannot switch {}: {error}", dir.display()));
        self.configurations.switch(&wanted).map(drop).map_err(failed)
    }

    /// Removes what none of the service's replicas needs.
    pub(super) async fn prune(&self, prune: Prune) {
        let Prune { service, versions, units, revisions, keep } = prune;
        let (store, of) = (self.clone(), service.clone());
        if !blocking::beside(move || store.has_any(&of)).await {
            return;
        }
        self.sources.prune(&service, &versions, keep).await;
        let store = self.clone();
        let pruned = tokio::task::spawn_blocking(move || {
            store.configurations.prune(&service, &units, keep);
            store.prune_revisions(&service, &revisions);
            for kind in ["releases", "config", "revisions"] {
                // Fails while anything is left in it, which is right.
                let _ = fs::remove_dir(store.data_dir.join(kind).join(service.as_str()));
            }
        });
        if let Err(error) = pruned.await {
            tracing::warn!("pruning ended: {error}");
        }
    }

    fn prune_revisions(&self, service: &ServiceName, used: &BTreeSet<u64>) {
        let dir = self.revisions(service);
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            if number.is_none_or(|number: u64| !used.contains(&number)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
