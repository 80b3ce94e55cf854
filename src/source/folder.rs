//! The folder of one service's releases: how its entries are called, and which of them may go.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{SourceError, link};

/// The longest version, in bytes: with a prefix it is still a file name.
const LONGEST: usize = 200;

/// What is beside the releases: attempts to download and to unpack, and what was fetched that is no folder here.
const DOWNLOAD: &str = ".download-";
const NEW: &str = ".new-";
const MARK: &str = ".fetched-";

/// Why the version cannot be a folder's name; nothing for most.
pub(super) fn check(version: &str) -> Result<(), SourceError> {
    let reserved = version == link::CURRENT || version.starts_with("current@");
    let why = match version {
        "" => "it is empty",
        _ if version.len() > LONGEST => "it is longer than 200 bytes",
        _ if version.contains('/') => "it contains '/'",
        _ if version.chars().any(char::is_control) => "it contains a control character",
        _ if version.starts_with('.') => "it begins with '.'",
        _ if reserved => "the link to the release in force is called so",
        _ => return Ok(()),
    };
    Err(SourceError::rejected(format!("{version:?} cannot be a release's folder: {why}")))
}

/// The version that a folder or a file of an attempt is of.
fn attempted(name: &str) -> Option<&str> {
    let folder = || name.strip_prefix(NEW).map(|rest| rest.rsplit_once('~').map_or(rest, |(version, _)| version));
    name.strip_prefix(DOWNLOAD).or_else(folder)
}

/// The releases of one service.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn release(&self, version: &str) -> PathBuf {
        self.0.join(version)
    }

    pub(super) fn download(&self, version: &str) -> PathBuf {
        self.0.join(format!("{DOWNLOAD}{version}"))
    }

    /// A new folder for one attempt at the version. No two attempts have the same: what one of before still writes, or
    /// left so that it cannot be removed, is in the way of none.
    pub(super) fn new_release(&self, version: &str) -> io::Result<PathBuf> {
        link::make_dir(&self.0)?;
        let path = tempfile::Builder::new().prefix(&format!("{NEW}{version}~")).tempdir_in(&self.0)?.keep();
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// What says that a version was fetched when it is no folder here; its name stands for `what` was fetched.
    pub(super) fn mark(&self, version: &str) -> PathBuf {
        self.0.join(format!("{MARK}{}", version.replace('/', "_")))
    }

    /// Makes the folder, and removes what attempts at the version left that a crash ended. Such a folder as cannot be
    /// removed is left to [`Self::prune`].
    pub(super) fn clear(&self, version: &str) -> Result<(), SourceError> {
        let cleared = link::make_dir(&self.0).and_then(|()| link::remove(&self.download(version)));
        cleared.map_err(|error| SourceError::io(format_args!("cannot prepare {}", self.0.display()), &error))?;
        let names = self.names().unwrap_or_default();
        let left = names.iter().filter(|name| name.starts_with(NEW) && attempted(name) == Some(version));
        for problem in link::remove_all(left.map(|name| self.0.join(name))) {
            tracing::warn!("an attempt's folder cannot be removed: {problem}");
        }
        Ok(())
    }

    /// Gives a new release its name, once all of it is on disk: after a crash it is there whole, or not at all.
    pub(super) fn settle(&self, new: &Path, version: &str) -> io::Result<()> {
        rustix::fs::syncfs(fs::File::open(new)?)?;
        fs::rename(new, self.release(version))?;
        link::sync_dir(&self.0)
    }

    /// Removes what [`super::Sources::prune`] says; `busy` tells which versions are being fetched. What cannot be removed,
    /// and why: it keeps nothing else.
    pub(super) fn prune(&self, in_use: &BTreeSet<String>, keep: usize, busy: impl Fn(&str) -> bool) -> Vec<String> {
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => return vec![format!("{}: {error}", self.0.display())],
        };
        let wanted_marks: BTreeSet<_> = in_use.iter().map(|version| self.mark(version)).collect();
        let (mut left, mut spare) = (Vec::new(), Vec::new());
        for name in &names {
            let path = self.0.join(name);
            if let Some(version) = attempted(name) {
                left.extend((!busy(version)).then_some(path));
            } else if name.starts_with(MARK) {
                left.extend((!wanted_marks.contains(&path)).then_some(path));
            } else if !name.starts_with('.')
                && check(name).is_ok()
                && !in_use.contains(name)
                && !self.is_linked(name, &names)
            {
                spare.extend(path.metadata().is_ok_and(|found| found.is_dir()).then_some(name));
            }
        }
        spare.sort_by_key(|name| std::cmp::Reverse(self.age(name)));
        let mut problems = link::remove_all(left);
        problems.extend(spare.into_iter().skip(keep).filter_map(|name| self.discard(name).err()));
        problems
    }

    /// Removes a release. It loses its name first: half a release never looks whole.
    fn discard(&self, version: &str) -> Result<(), String> {
        let release = self.release(version);
        // An empty folder is replaced.
        let aside = self.new_release(version).and_then(|aside| fs::rename(&release, &aside).map(|()| aside));
        let aside = aside.map_err(|error| format!("{}: {error}", release.display()))?;
        link::remove(&aside).map_err(|error| format!("{}: {error}", aside.display()))
    }

    fn is_linked(&self, version: &str, names: &[String]) -> bool {
        let mut links = names.iter().filter(|name| name.starts_with(link::CURRENT));
        links.any(|name| link::read(&self.0.join(name)).is_some_and(|target| target == Path::new(version)))
    }

    fn age(&self, name: &str) -> Option<SystemTime> {
        // Not the time of change: an archive sets that. When it got its name, its inode changed.
        use std::os::unix::fs::MetadataExt as _;
        let found = self.0.join(name).metadata().ok()?;
        let seconds = u64::try_from(found.ctime()).ok()?;
        let nanoseconds = u32::try_from(found.ctime_nsec()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::new(seconds, nanoseconds))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string()));
        let mut names: Vec<_> = names.collect::<io::Result<Vec<_>>>()?.into_iter().filter_map(Result::ok).collect();
        names.sort_unstable();
        Ok(names)
    }
}
