//! The symbolic link that says which release, or which configuration, is in force for a replica.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::model::UnitName;

/// What all links' names begin with, and the whole name for a plain unit.
pub(crate) const CURRENT: &str = "current";

/// The link's name: `current`, or `current@<instance>` for an instance of a template, so that a unit file can say
/// `current@%i`.
pub fn link_name(unit: &UnitName) -> String {
    match instance(unit) {
        Some(instance) => format!("{CURRENT}@{instance}"),
        None => CURRENT.to_owned(),
    }
}

/// `blue` of `webapp@blue.service`.
pub(crate) fn instance(unit: &UnitName) -> Option<&str> {
    unit.as_str().strip_suffix(".service").and_then(|stem| stem.split_once('@')).map(|(_, instance)| instance)
}

/// Where the link leads, as it is written in it; `None` when there is no link.
pub(crate) fn read(link: &Path) -> Option<PathBuf> {
    fs::read_link(link).ok()
}

/// Makes the link lead to `target`: readers see the old one or the new one. It is on disk when this returns.
pub(crate) fn replace(link: &Path, target: &Path) -> io::Result<()> {
    let dir = link.parent().unwrap_or(Path::new("/"));
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.join(format!(".{name}.new"));
    make_dir(dir)?;
    remove(&aside)?;
    symlink(target, &aside)?;
    fs::rename(&aside, link)?;
    sync_dir(dir)
}

/// Removes the link, or what stands in its place; nothing when there is none.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates the folder and those above it, unless they are there. All may read them, whatever the agent's umask:
/// services run as users of their own.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        make_dir(above)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => return Ok(()),
        made => made?,
    }
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

/// Makes what was renamed in the folder last through a crash of the machine.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
