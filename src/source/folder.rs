//! The folder of one service's releases: how its entries are called, and which of them may go.

use std::{
    collections::BTreeSet,
    fs, io,
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

/// Why the version can't be a folder's name; nothing for most.
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
    Err(SourceError::rejected(format!("{version:?} can't be a release's folder: {why}")))
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

    pub(super) fn new_release(&self, version: &str) -> PathBuf {
        self.0.join(format!("{NEW}{version}"))
    }

    /// What says that a version was fetched when it is no folder here; its name stands for `what` was fetched.
    pub(super) fn mark(&self, version: &str) -> PathBuf {
        self.0.join(format!("{MARK}{}", version.replace('/', "_")))
    }

    /// Makes the folder, and removes what a crashed attempt at the version left.
    pub(super) fn clear(&self, version: &str) -> Result<(), SourceError> {
        let cleared = link::make_dir(&self.0)
            .and_then(|()| link::remove(&self.download(version)))
            .and_then(|()| link::remove(&self.new_release(version)));
        cleared.map_err(|error| SourceError::io(format_args!("cannot prepare {}", self.0.display()), &error))
    }

    /// Gives a new release its name, once all of it is on disk: after a crash it is there whole, or not at all.
    pub(super) fn settle(&self, version: &str) -> io::Result<()> {
        let new = self.new_release(version);
        rustix::fs::syncfs(fs::File::open(&new)?)?;
        fs::rename(new, self.release(version))?;
        link::sync_dir(&self.0)
    }

    /// Removes what [`super::Sources::prune`] says; `busy` tells which versions are being fetched.
    pub(super) fn prune(&self, in_use: &BTreeSet<String>, keep: usize, busy: impl Fn(&str) -> bool) -> io::Result<()> {
        let names = self.names()?;
        let mut spare = Vec::new();
        for name in &names {
            let left = name.strip_prefix(DOWNLOAD).or_else(|| name.strip_prefix(NEW));
            if let Some(version) = left {
                if !busy(version) {
                    link::remove(&self.0.join(name))?;
                }
            } else if !name.starts_with('.')
                && check(name).is_ok()
                && !in_use.contains(name)
                && !self.is_linked(name, &names)
            {
                spare.extend(self.0.join(name).metadata().is_ok_and(|found| found.is_dir()).then_some(name));
            }
        }
        spare.sort_by_key(|name| std::cmp::Reverse(self.age(name)));
        self.prune_marks(&names, in_use)?;
        spare.into_iter().skip(keep).try_for_each(|name| self.discard(name))
    }

    fn prune_marks(&self, names: &[String], in_use: &BTreeSet<String>) -> io::Result<()> {
        let wanted: BTreeSet<_> = in_use.iter().map(|version| self.mark(version)).collect();
        let marks = names.iter().filter(|name| name.starts_with(MARK)).map(|name| self.0.join(name));
        marks.filter(|mark| !wanted.contains(mark)).try_for_each(|mark| link::remove(&mark))
    }

    /// Removes a release. It loses its name first: half a release never looks whole.
    fn discard(&self, version: &str) -> io::Result<()> {
        let aside = self.new_release(version);
        link::remove(&aside)?;
        fs::rename(self.release(version), &aside)?;
        link::remove(&aside)
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
