//! The files that zkops generates for systemd: a drop-in for each replica's unit, and the unit files that services
//! bring themselves.
//!
//! Both start with a marker comment. A file without it belongs to someone else: it is never overwritten or removed,
//! and neither is what a symbolic link points to. A file appears whole or not at all (written aside, then renamed),
//! and is left alone when its content would not change, so that the manager need not read it again.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{
    blocking,
    model::{ReplicaId, ServiceName, UnitName, UnitPaths, drop_in_owner, marked_unit_file, unit_file_owner},
};

/// Where files are written first. systemd passes over hidden files; one that a crash left behind is replaced.
const ASIDE_NAME: &str = ".zkops.tmp";

/// Why a generated file could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Someone else's file, or a symbolic link (such as a mask), is in its place.
    #[error("{} is not from zkops, it stays as it is: move it away, or give the service another unit", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `remove` …
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileError {
    fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// The generated files below one folder of unit files.
#[derive(Clone, Debug)]
pub struct UnitFiles {
    paths: UnitPaths,
}

impl UnitFiles {
    /// The folder for what lives until the next boot.
    pub const SYSTEM: &str = "/run/systemd/system";

    /// The files below `root`, usually [`Self::SYSTEM`].
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { paths: UnitPaths { root: root.into(), loaded: true } }
    }

    /// Where an agent that is not root keeps the variables of its units' replicas: systemd loads nothing from there, the
    /// units themselves name the files.
    pub const LIMITED: &str = "/run/zkops-agent";

    /// The variables below `root` alone, usually [`Self::LIMITED`].
    pub fn variables_only(root: impl Into<PathBuf>) -> Self {
        Self { paths: UnitPaths { root: root.into(), loaded: false } }
    }

    /// Where they are.
    pub fn paths(&self) -> &UnitPaths {
        &self.paths
    }

    /// The unit's drop-in as it is on disk; `None` when there is none.
    pub fn read_drop_in(&self, unit: &UnitName) -> Result<Option<String>, FileError> {
        self.check_dir(unit)?;
        read_ours(&self.paths.drop_in(unit), |text| drop_in_owner(text).is_some())
    }

    /// Writes the text of [`drop_in`]; whether that changed anything.
    pub fn write_drop_in(&self, unit: &UnitName, text: &str) -> Result<bool, FileError> {
        if self.read_drop_in(unit)?.as_deref() == Some(text) {
            return Ok(false);
        }
        let path = self.paths.drop_in(unit);
        write_whole(&path, text).map(|()| true)
    }

    /// Removes the unit's drop-in, and its folder when nothing else is in it; whether there was one.
    pub fn remove_drop_in(&self, unit: &UnitName) -> Result<bool, FileError> {
        if self.read_drop_in(unit)?.is_none() {
            return Ok(false);
        }
        let path = self.paths.drop_in(unit);
        fs::remove_file(&path).map_err(FileError::io("remove", &path))?;
        // Fails when an administrator's drop-ins are there too, which is right.
        let _ = fs::remove_dir(self.paths.dir(unit));
        Ok(true)
    }

    /// The variables of the unit's replica as they are on disk; `None` when there are none.
    pub fn read_variables(&self, unit: &UnitName) -> Result<Option<String>, FileError> {
        self.check_dir(unit)?;
        read_ours(&self.paths.variables(unit), |text| drop_in_owner(text).is_some())
    }

    /// Writes the text of [`variables`]; whether that changed anything. In force with the unit's next start: systemd need
    /// not be told.
    pub fn write_variables(&self, unit: &UnitName, text: &str) -> Result<bool, FileError> {
        if self.read_variables(unit)?.as_deref() == Some(text) {
            return Ok(false);
        }
        write_whole(&self.paths.variables(unit), text).map(|()| true)
    }

    /// Removes the variables of the unit's replica; whether there were any.
    pub fn remove_variables(&self, unit: &UnitName) -> Result<bool, FileError> {
        if self.read_variables(unit)?.is_none() {
            return Ok(false);
        }
        let path = self.paths.variables(unit);
        fs::remove_file(&path).map_err(FileError::io("remove", &path))?;
        // Fails as long as there is a drop-in beside it, which is right.
        let _ = fs::remove_dir(self.paths.dir(unit));
        Ok(true)
    }

    /// The generated unit file's text without its marker; `None` when there is none. `unit` is the file's name: the
    /// template, not an instance of it.
    pub fn read_unit_file(&self, unit: &UnitName) -> Result<Option<String>, FileError> {
        let text = read_ours(&self.paths.unit_file(unit), |text| unit_file_owner(text).is_some())?;
        Ok(text.and_then(|text| text.split_once('\n').map(|(_, rest)| rest.to_owned())))
    }

    /// Writes a service's unit file, marked; whether that changed anything.
    pub fn write_unit_file(&self, unit: &UnitName, service: &ServiceName, text: &str) -> Result<bool, FileError> {
        let (path, text) = (self.paths.unit_file(unit), marked_unit_file(service, text));
        if read_ours(&path, |text| unit_file_owner(text).is_some())?.as_deref() == Some(&*text) {
            return Ok(false);
        }
        write_whole(&path, &text).map(|()| true)
    }

    /// Removes a generated unit file; whether there was one.
    pub fn remove_unit_file(&self, unit: &UnitName) -> Result<bool, FileError> {
        let path = self.paths.unit_file(unit);
        if read_ours(&path, |text| unit_file_owner(text).is_some())?.is_none() {
            return Ok(false);
        }
        fs::remove_file(&path).map(|()| true).map_err(FileError::io("remove", &path))
    }

    /// The units that have a drop-in of ours (or variables, where there are no drop-ins), each with the replica that it was made for; sorted.
    pub fn managed(&self) -> Result<Vec<(UnitName, ReplicaId)>, FileError> {
        let units = self.names()?.into_iter().filter_map(|name| name.strip_suffix(".d")?.parse::<UnitName>().ok());
        let owner = |unit: UnitName| {
            let text = if self.paths.loaded { self.read_drop_in(&unit) } else { self.read_variables(&unit) };
            let text = text.ok().flatten()?;
            Some((unit, drop_in_owner(&text)?))
        };
        Ok(units.filter_map(owner).collect())
    }

    /// The generated unit files, each with the service that brought it; sorted.
    pub fn managed_unit_files(&self) -> Result<Vec<(UnitName, ServiceName)>, FileError> {
        let units = self.names()?.into_iter().filter_map(|name| name.parse::<UnitName>().ok());
        let owner = |unit: UnitName| {
            let text = read_ours(&self.paths.unit_file(&unit), |text| unit_file_owner(text).is_some());
            let service = unit_file_owner(&text.ok().flatten()?)?;
            Some((unit, service))
        };
        Ok(units.filter_map(owner).collect())
    }

    /// What is below the root; nothing when there is no root yet.
    fn names(&self) -> Result<Vec<String>, FileError> {
        let entries = match fs::read_dir(&self.paths.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::io("list", &self.paths.root)(error)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(FileError::io("list", &self.paths.root))?;
        let mut names: Vec<_> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Refuses a drop-in folder that is a symbolic link: it may lead anywhere.
    fn check_dir(&self, unit: &UnitName) -> Result<(), FileError> {
        let dir = self.paths.dir(unit);
        match fs::symlink_metadata(&dir) {
            Ok(found) if !found.is_dir() => Err(FileError::NotOurs { path: dir }),
            _ => Ok(()),
        }
    }
}

/// A file of ours; an error when it is there but not ours.
fn read_ours(path: &Path, is_ours: impl Fn(&str) -> bool) -> Result<Option<String>, FileError> {
    blocking::may_block();
    let not_ours = || FileError::NotOurs { path: path.to_owned() };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(not_ours()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("read", path)(error)),
    }
    let bytes = read_no_follow(path).map_err(FileError::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|_| not_ours())?;
    if is_ours(&text) { Ok(Some(text)) } else { Err(not_ours()) }
}

fn read_no_follow(path: &Path) -> io::Result<Vec<u8>> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut bytes = Vec::new();
    OpenOptions::new().read(true).custom_flags(flags).open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the file aside and renames it into place: readers see the old text or the new one. No fsync: `/run` is gone
/// after a crash of the machine anyway.
fn write_whole(path: &Path, text: &str) -> Result<(), FileError> {
    blocking::may_block();
    let dir = path.parent().unwrap_or(Path::new("/"));
    let aside = dir.join(ASIDE_NAME);
    create_dir(dir).map_err(FileError::io("create", dir))?;
    let written = write_aside(&aside, text).and_then(|()| fs::rename(&aside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&aside);
        FileError::io("write", path)(error)
    })
}

/// Creates the folder unless it is there. Folders and files are readable by all, whatever the umask: systemd tells
/// their content to anyone who asks, and complains about files that pretend otherwise.
fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

fn write_aside(aside: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(aside)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())
}
