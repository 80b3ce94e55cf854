//! Where versions come from: brings a release onto the host (*fetch*), and into force (*switch*).
//!
//! ```text
//!  <data_dir>/releases/webapp/v1.2.3/…                          a release: whole, or not there
//!                            /v1.2.4/…
//!                            /current@0000000001 -> v1.2.4      in force for replica 1
//!                            /.download-v1.2.5                  an attempt under way, or what a crash left of one
//!                            /.new-v1.2.5~x7f2Qa/…              the same: each attempt has a folder of its own
//! ```
//!
//! Fetching never touches what runs. A release gets its name only once it is verified, unpacked and on disk.

mod apt;
mod archive;
pub(crate) mod command;
mod error;
mod exec;
mod folder;
pub(crate) mod link;
mod locks;
mod nix;
mod text;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{apt::Apt, folder::Folder, locks::Locks};
pub use self::{error::SourceError, link::link_name};
use crate::{
    blocking,
    model::{HostName, ReplicaId, ServiceName, Source, UnitName},
};

/// How long one attempt to fetch a version may take, unless the description says.
const FETCH_LIMIT: Duration = Duration::from_secs(300);

/// How long a server may send nothing, at the beginning or in the middle of a download.
const STALL_LIMIT: Duration = Duration::from_secs(15);

/// How long the caller waits for a package to be installed. It is never cut short: dpkg goes on.
const INSTALL_PATIENCE: Duration = Duration::from_secs(900);

/// What a replica is to run, and where that comes from.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The replica.
    pub id: &'a ReplicaId,
    /// Its unit; of a template, the instance. The link's name follows from it: see [`link_name`].
    pub unit: &'a UnitName,
    /// Where versions come from.
    pub source: &'a Source,
    /// The version.
    pub version: &'a str,
    /// This host.
    pub host: &'a HostName,
}

/// The releases of one host. Cloning it is cheap, and the clone is the same.
#[derive(Clone, Debug)]
pub struct Sources(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    stall: Duration,
    locks: Locks,
    apt: Apt,
}

impl Sources {
    /// The releases below `<data_dir>/releases`. Nothing is read, and nothing built, until it is needed.
    pub fn new(data_dir: &Path) -> Self {
        Self::with_stall(data_dir, STALL_LIMIT)
    }

    fn with_stall(data_dir: &Path, stall: Duration) -> Self {
        let root = data_dir.join("releases");
        // No service is called so.
        let apt = Apt::new(root.join(".apt"));
        Self(Arc::new(Inner { root, stall, locks: Locks::default(), apt }))
    }

    /// Where the release is, once fetched, when this source has a folder for each version (archive, exec, nix).
    /// No I/O. `None` also for a version that cannot be a folder, which [`Self::fetch`] rejects.
    pub fn release_dir(&self, service: &ServiceName, source: &Source, version: &str) -> Option<PathBuf> {
        if let Some(nix) = &source.nix {
            return nix::store_path(nix, version);
        }
        let by_folder = source.archive.is_some() || source.exec.is_some();
        (by_folder && folder::check(version).is_ok()).then(|| self.0.folder(service).release(version))
    }

    /// The path of the symbolic link to the release in force for the replica. No I/O.
    pub fn link(&self, service: &ServiceName, unit: &UnitName) -> PathBuf {
        self.0.folder(service).path().join(link_name(unit))
    }

    /// Whether [`Self::fetch`] would have nothing to do. A few `stat` calls; for apt, one of dpkg-query(1) after each change
    /// of dpkg's record. May block.
    pub fn is_fetched(&self, wanted: &Wanted<'_>) -> bool {
        let folder = self.0.folder(&wanted.id.service);
        if let Some(apt) = &wanted.source.apt {
            return self.0.apt.is_fetched(&apt.package, wanted.version, &folder);
        }
        match self.release_dir(&wanted.id.service, wanted.source, wanted.version) {
            Some(dir) if wanted.source.nix.is_some() => nix::is_fetched(&dir, wanted.version, &folder),
            Some(dir) => dir.is_dir(),
            None => wanted.source.is_none(),
        }
    }

    /// Whether [`Self::switch`] would have nothing to do. May block, as [`Self::is_fetched`] does.
    pub fn is_current(&self, wanted: &Wanted<'_>) -> bool {
        if let Some(apt) = &wanted.source.apt {
            return self.0.apt.has(&apt.package, wanted.version);
        }
        let link = self.link(&wanted.id.service, wanted.unit);
        match self.release_dir(&wanted.id.service, wanted.source, wanted.version) {
            Some(dir) if wanted.source.nix.is_some() => nix::is_current(&dir, &link),
            Some(_) => link::read(&link).is_some_and(|target| target == Path::new(wanted.version)),
            None => wanted.source.is_none(),
        }
    }

    /// Brings the version onto the host, verified and whole, without touching what runs. Nothing to do when it is
    /// there. Of several calls for one version of a service, one does the work.
    ///
    /// The attempt goes on by itself when the future is dropped, and a later call joins it. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`SourceError`], whose `rejected` says whether trying again can help.
    pub async fn fetch(&self, wanted: &Wanted<'_>) -> Result<(), SourceError> {
        if self.look(wanted, Self::is_fetched).await {
            return Ok(());
        }
        let (this, wanted) = (self.clone(), Owned::from(wanted));
        let attempt = tokio::spawn(async move { this.fetch_alone(&wanted).await });
        attempt.await.map_err(|error| SourceError::passing(format!("the attempt ended: {error}")))?
    }

    async fn fetch_alone(&self, wanted: &Owned) -> Result<(), SourceError> {
        let _one = self.0.locks.lock(&wanted.id.service, &wanted.version).await;
        if self.look(&wanted.borrow(), Self::is_fetched).await {
            return Ok(());
        }
        let folder = self.0.folder(&wanted.id.service);
        let (source, version) = (&wanted.source, wanted.version.clone());
        let limit = source.timeout.map_or(FETCH_LIMIT, crate::model::Span::get);
        if let Some(apt) = &source.apt {
            return self.0.apt.fetch(&apt.package, &version, &folder, limit).await;
        }
        if let Some(nix) = &source.nix {
            return nix::fetch(&nix::checked(nix, &version)?, &version, &folder, limit).await;
        }
        folder::check(&version)?;
        if let Some(archive) = source.archive.clone() {
            let stall = self.0.stall;
            return archive::Attempt { source: archive, version, folder, limit, stall }.run().await;
        }
        let Some(exec) = source.exec.clone() else { return Ok(()) };
        let (service, host) = (wanted.id.service.clone(), wanted.host.clone());
        exec::Attempt { source: exec, service, version, host, folder, limit }.run().await
    }

    /// Brings the version into force for the replica: the link, or the installed package. It must have been fetched.
    ///
    /// An installation goes on by itself when the future is dropped. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SourceError`]; what was in force before, still is, unless a package manager failed half-way.
    pub async fn switch(&self, wanted: &Wanted<'_>) -> Result<(), SourceError> {
        if self.look(wanted, Self::is_current).await {
            return Ok(());
        }
        if wanted.source.apt.is_some() {
            return self.install(wanted).await;
        }
        let link = self.link(&wanted.id.service, wanted.unit);
        if let Some(nix) = &wanted.source.nix {
            return nix::switch(&nix::checked(nix, wanted.version)?, &link).await;
        }
        folder::check(wanted.version)?;
        if !self.look(wanted, Self::is_fetched).await {
            let (service, version) = (&wanted.id.service, wanted.version);
            return Err(SourceError::passing(format!("release {version} of {service} is not there")));
        }
        let doing = format!("cannot change {}", link.display());
        let version = wanted.version.to_owned();
        let replaced = blocking::beside(move || link::replace(&link, Path::new(&version))).await;
        replaced.map_err(|error| SourceError::io(doing, &error))
    }

    /// What is on disk, looked at beside the loop: a disk may take its time, and so may dpkg.
    pub(crate) async fn look(&self, wanted: &Wanted<'_>, at: fn(&Self, &Wanted<'_>) -> bool) -> bool {
        let (this, wanted) = (self.clone(), Owned::from(wanted));
        let package = wanted.source.apt.is_some();
        let look = move || at(&this, &wanted.borrow());
        if package { blocking::PACKAGES.run(look).await } else { blocking::beside(look).await }
    }

    async fn install(&self, wanted: &Wanted<'_>) -> Result<(), SourceError> {
        let (this, wanted) = (self.clone(), Owned::from(wanted));
        let attempt = tokio::spawn(async move {
            let Some(apt) = &wanted.source.apt else { return Ok(()) };
            this.0.apt.install(&apt.package, &wanted.version, &wanted.unit).await
        });
        match tokio::time::timeout(INSTALL_PATIENCE, attempt).await {
            Err(_) => Err(SourceError::passing(format!("apt-get has been installing for {INSTALL_PATIENCE:?}"))),
            Ok(ended) => ended.map_err(|error| SourceError::passing(format!("the attempt ended: {error}")))?,
        }
    }

    /// Removes the releases of the service that are neither in `in_use` nor behind a link, except for the `keep`
    /// newest of them, and what crashed attempts left behind. `in_use` are the versions that the service's replicas on
    /// this host run or are to run. What cannot be removed is logged, and tried again the next time.
    pub async fn prune(&self, service: &ServiceName, in_use: &BTreeSet<String>, keep: u32) {
        let (this, service, in_use) = (self.clone(), service.clone(), in_use.clone());
        let job = tokio::task::spawn_blocking(move || {
            let keep = usize::try_from(keep).unwrap_or(usize::MAX);
            let busy = |version: &str| this.0.locks.is_held(&service, version);
            for problem in this.0.folder(&service).prune(&in_use, keep, busy) {
                tracing::warn!(%service, "an old release cannot be removed: {problem}");
            }
        });
        let _ = job.await;
    }

    /// Removes the links of replicas that are gone from this host, so that their releases can be pruned.
    pub async fn unlink(&self, replicas: Vec<(ServiceName, UnitName)>) {
        if replicas.is_empty() {
            return;
        }
        let this = self.clone();
        let unlink = move || {
            for link in replicas.iter().map(|(service, unit)| this.link(service, unit)) {
                if let Err(error) = link::remove(&link) {
                    tracing::warn!("{} cannot be removed: {error}", link.display());
                }
            }
        };
        blocking::beside(unlink).await;
    }
}

/// Does what may wait for a disk in a thread of its own: it must not hold up the agent.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let ended = tokio::task::spawn_blocking(job).await;
    ended.map_err(|error| SourceError::passing(format!("the attempt ended: {error}")))?
}

impl Inner {
    fn folder(&self, service: &ServiceName) -> Folder {
        Folder::new(self.root.join(service.as_str()))
    }
}

/// A [`Wanted`] that a task can own.
struct Owned {
    id: ReplicaId,
    unit: UnitName,
    source: Source,
    version: String,
    host: HostName,
}

impl Owned {
    fn borrow(&self) -> Wanted<'_> {
        let Self { id, unit, source, version, host } = self;
        Wanted { id, unit, source, version, host }
    }
}

impl From<&Wanted<'_>> for Owned {
    fn from(wanted: &Wanted<'_>) -> Self {
        Self {
            id: wanted.id.clone(),
            unit: wanted.unit.clone(),
            source: wanted.source.clone(),
            version: wanted.version.to_owned(),
            host: wanted.host.clone(),
        }
    }
}
