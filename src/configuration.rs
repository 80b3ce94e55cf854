//! A service's configuration on a host: rendered and checked beside what is in force (*stage*), then swapped in
//! (*switch*).
//!
//! ```text
//!  <data_dir>/config/webapp/7.1f0c93aa@0000000001/…             revision 7, as rendered for replica 1
//!                          /current@0000000001 -> 7.1f0c93aa@0000000001
//!                          /.new-7.1f0c93aa@0000000001/…        an attempt under way, or what a crash left of one: the
//!                                                               service's folder as it will be
//! ```
//!
//! The digits after the revision's number stand for what else was rendered: see [`Wanted`].

mod check;
mod error;
mod files;
mod folder;
mod missing;
mod owner;
mod prune;
mod render;
mod renderer;
mod template;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use self::check::Places;

pub use self::{
    error::ConfigurationError,
    folder::read_folder,
    render::services_named,
    renderer::{RENDER_VERB, Renderer, serve_rendering},
};
use crate::{
    blocking,
    model::{ConfigPolicy, ConfigRevision, HostName, ReplicaId, ReplicaNumber, ServiceName, UnitName},
    source::{command, link},
};

/// Which configuration a replica is to have. A change of any of these is another configuration, staged again.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The replica.
    pub id: &'a ReplicaId,
    /// Its unit; of a template, the instance.
    pub unit: &'a UnitName,
    /// The revision's number.
    pub revision: u64,
    /// The version that the replica is to run with it.
    pub version: Option<&'a str>,
    /// The port that it publishes.
    pub port: Option<u16>,
}

/// What templates see beside [`Wanted`].
#[derive(Clone, Debug)]
pub struct Facts {
    /// This host.
    pub host: HostName,
    /// Its address, as `instances` publish it.
    pub address: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where the replica's release is.
    pub release_dir: Option<PathBuf>,
    /// The instances of the services that [`services_named`] says; an empty list for one that has none.
    pub instances: BTreeMap<ServiceName, Vec<Peer>>,
}

/// One ready replica of another service. What it does not have is left out: to templates, it is not there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Peer {
    /// Its host.
    pub host: HostName,
    /// What clients connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The version that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its number.
    pub replica: ReplicaNumber,
}

/// The configurations of one host. Cloning it is cheap, and the clone is the same.
#[derive(Clone, Debug)]
pub struct Configurations {
    root: PathBuf,
    renderer: Renderer,
    /// The names of the folders that are being staged: any other such folder was left by a crash.
    staging: Arc<Mutex<BTreeSet<String>>>,
}

impl Configurations {
    /// The configurations below `<data_dir>/config`, whose templates the renderer renders. Nothing is read until it is
    /// needed.
    pub fn new(data_dir: &Path, renderer: Renderer) -> Self {
        Self { root: data_dir.join("config"), renderer, staging: Arc::default() }
    }

    /// The path of the symbolic link to the replica's configuration in force: it is the same for all revisions, and
    /// what the unit knows as `ZKOPS_CONFIG_DIR`. No I/O.
    pub fn config_dir(&self, service: &ServiceName, unit: &UnitName) -> PathBuf {
        self.root.join(service.as_str()).join(link::link_name(unit))
    }

    /// Whether [`Self::stage`] would have nothing to do. May block.
    pub fn is_staged(&self, wanted: &Wanted<'_>) -> bool {
        self.folder(wanted).is_dir()
    }

    /// Whether [`Self::switch`] would have nothing to do. May block.
    pub fn is_current(&self, wanted: &Wanted<'_>) -> bool {
        let link = link::read(&self.config_dir(&wanted.id.service, wanted.unit));
        link.is_some_and(|target| target == Path::new(&folder_name(wanted)))
    }

    /// Renders the revision for the replica, beside what is in force, has the service's own command check it, and
    /// gives it its name. Nothing to do when it is there.
    ///
    /// # Errors
    /// [`ConfigurationError`], whose `rejected` says whether trying again can help. Nothing that runs has changed.
    pub async fn stage(
        &self,
        wanted: &Wanted<'_>,
        policy: &ConfigPolicy,
        revision: &ConfigRevision,
        facts: &Facts,
    ) -> Result<(), ConfigurationError> {
        let folder = self.folder(wanted);
        let there = folder.clone();
        if blocking::beside(move || there.is_dir()).await {
            return Ok(());
        }
        let config_dir = self.config_dir(&wanted.id.service, wanted.unit);
        let context = render::context(wanted, facts, &config_dir);
        let files = render::render(revision, context, &self.renderer).await?;
        let aside = self.aside(wanted)?;
        // In a thread of its own: a slow disk must not hold up the agent. It goes on when this is dropped, and has the
        // folder until its end.
        let job = tokio::task::spawn_blocking(move || {
            let written = aside.make().and_then(|()| files::write(&aside.files(), &files));
            (aside, written)
        });
        let (aside, written) =
            job.await.map_err(|error| ConfigurationError::passing(format!("writing ended: {error}")))?;
        let checked = match written {
            Ok(()) => check::run(policy, wanted, facts, &aside.places()).await,
            refused => refused,
        };
        if checked.is_err() {
            blocking::beside(move || drop(aside)).await;
            return checked;
        }
        let doing = format!("cannot keep {}", folder.display());
        let job = tokio::task::spawn_blocking(move || aside.settle(&folder));
        let settled = job.await.map_err(|error| ConfigurationError::passing(format!("keeping it ended: {error}")))?;
        settled.map_err(|error| ConfigurationError::io(doing, &error))
    }

    /// The name of a new folder for an attempt, which nobody else has.
    fn aside(&self, wanted: &Wanted<'_>) -> Result<Aside, ConfigurationError> {
        let name = format!(".new-{}", folder_name(wanted));
        let path = self.root.join(wanted.id.service.as_str()).join(&name);
        let key = format!("{}/{name}", wanted.id.service);
        if !self.staging.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return Err(ConfigurationError::passing(format!("{} is being staged already", path.display())));
        }
        let (folder, link) = (folder_name(wanted), link::link_name(wanted.unit));
        Ok(Aside { path, folder, link, key, staging: Arc::clone(&self.staging) })
    }

    /// Brings a staged configuration into force: the link changes at once. What was in force before, for
    /// [`Self::switch_back`].
    ///
    /// # Errors
    /// When the link cannot be written; the old one then stands.
    pub fn switch(&self, wanted: &Wanted<'_>) -> io::Result<Option<PathBuf>> {
        let link = self.config_dir(&wanted.id.service, wanted.unit);
        let before = link::read(&link);
        link::replace(&link, Path::new(&folder_name(wanted)))?;
        Ok(before)
    }

    /// Brings what [`Self::switch`] returned back into force; without it, there is no configuration again.
    ///
    /// # Errors
    /// When the link cannot be written.
    pub fn switch_back(&self, service: &ServiceName, unit: &UnitName, before: Option<&Path>) -> io::Result<()> {
        let link = self.config_dir(service, unit);
        match before {
            Some(target) => link::replace(&link, target),
            None => link::remove(&link),
        }
    }

    /// Removes what is no longer needed of the service's: all that is not of a replica whose unit is among `units`, the
    /// units of the service's replicas on this host; of these replicas, all but what is in force and the `keep` newest
    /// beside it, at least one; and what crashed attempts left behind. What cannot be removed is logged.
    pub fn prune(&self, service: &ServiceName, units: &BTreeSet<UnitName>, keep: u32) {
        let dir = self.root.join(service.as_str());
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let busy = |name: &str| staging.contains(&format!("{service}/{name}"));
        for problem in prune::prune(&dir, units, keep, busy) {
            tracing::warn!(%service, "an old configuration cannot be removed: {problem}");
        }
    }

    fn folder(&self, wanted: &Wanted<'_>) -> PathBuf {
        self.root.join(wanted.id.service.as_str()).join(folder_name(wanted))
    }
}

/// An attempt's folder; removed when this is dropped before the attempt's end. It is the service's folder as it will be:
/// the new files by their name, and the link that leads to them.
#[derive(Debug)]
struct Aside {
    path: PathBuf,
    /// The name of the folder with the files.
    folder: String,
    /// The name of the link to it.
    link: String,
    key: String,
    staging: Arc<Mutex<BTreeSet<String>>>,
}

impl Aside {
    /// Makes the folder, empty but for the link.
    fn make(&self) -> Result<(), ConfigurationError> {
        let made = link::remove(&self.path).and_then(|()| link::make_dir(&self.files()));
        let made = made.and_then(|()| symlink(&self.folder, self.path.join(&self.link)));
        made.map_err(|error| ConfigurationError::io(format_args!("cannot make {}", self.path.display()), &error))
    }

    /// Where the files are until they are kept.
    fn files(&self) -> PathBuf {
        self.path.join(&self.folder)
    }

    /// Where a check finds them. Where it can be had, it sees the attempt's folder in the place of the service's: what the
    /// files say of their own place, as by `{{ config_dir }}`, then leads to them, and not to those in force.
    fn places(&self) -> Places {
        let service = self.path.parent().unwrap_or(&self.path);
        let (seen, bind) = if command::runs_in_units() {
            (service, Some((self.path.clone(), service.to_owned())))
        } else {
            (&*self.path, None)
        };
        Places { files: seen.join(&self.folder), link: seen.join(&self.link), bind }
    }

    /// Gives the folder its name, once all of it is on disk: after a crash it is there whole, or not at all.
    fn settle(self, folder: &Path) -> io::Result<()> {
        rustix::fs::syncfs(fs::File::open(self.files())?)?;
        fs::rename(self.files(), folder)?;
        link::sync_dir(folder.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let (path, key, staging) = (self.path.clone(), self.key.clone(), Arc::clone(&self.staging));
        blocking::clean_up(move || {
            let _ = link::remove(&path);
            staging.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
    }
}

/// The folder's name: the revision, eight digits for what else templates are rendered with, the instance.
fn folder_name(wanted: &Wanted<'_>) -> String {
    let digest = Sha256::digest(format!("{:?} {:?}", wanted.version, wanted.port));
    let name = format!("{}.{}", wanted.revision, hex::encode(&digest[..4]));
    match link::instance(wanted.unit) {
        Some(instance) => format!("{name}@{instance}"),
        None => name,
    }
}
