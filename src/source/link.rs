//! The symbolic link that says which release, or which configuration, is in force for a replica.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, fchmod, fchown, openat},
    process::{getegid, geteuid},
};

use crate::{blocking, model::UnitName};

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
    blocking::may_block();
    fs::read_link(link).ok()
}

/// Makes the link lead to `target`: readers see the old one or the new one. It is on disk when this returns.
pub(crate) fn replace(link: &Path, target: &Path) -> io::Result<()> {
    blocking::may_block();
    let dir = link.parent().unwrap_or(Path::new("/"));
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.join(format!(".{name}.new"));
    make_dir(dir)?;
    remove(&aside)?;
    symlink(target, &aside)?;
    fs::rename(&aside, link)?;
    sync_dir(dir)
}

/// Removes the link, or what stands in its place; nothing when there is none. A folder goes with all that is in it, also
/// what belongs to others: a command of the operator's may have left anything there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    blocking::may_block();
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        // The agent is root without root's right to write everywhere.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let _ = File::open(path).map(|dir| take(&dir));
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Makes the folder, and those in it, this process's to empty, as far as it may. Goes by open folders: their owner could
/// put a link to elsewhere in the place of any path.
fn take(dir: &File) {
    let _ = fchown(dir, Some(geteuid()), Some(getegid()));
    let _ = fchmod(dir, Mode::RWXU);
    let Ok(entries) = Dir::read_from(dir) else { return };
    for entry in entries.flatten().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown)
            && let Ok(below) = openat(dir, entry.file_name(), flags, Mode::empty())
        {
            take(&below.into());
        }
    }
}

/// Removes as many of these as can be; what is wrong with the others.
pub(crate) fn remove_all(paths: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
    let remove = |path: PathBuf| remove(&path).err().map(|error| format!("{}: {error}", path.display()));
    paths.into_iter().filter_map(remove).collect()
}

/// Creates the folder and those above it, unless they are there. All may read them, whatever the agent's umask:
/// services run as users of their own.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    blocking::may_block();
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
    blocking::may_block();
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{MetadataExt as _, chown};

    use super::*;

    #[test]
    fn removes_what_others_own_and_nothing_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, outside) = (dir.path().join("theirs"), dir.path().join("outside"));
        fs::create_dir_all(theirs.join("a/b/c")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o750)).unwrap();
        symlink(&outside, theirs.join("a/link")).unwrap();
        fs::write(theirs.join("a/b/file"), "x").unwrap();
        for path in ["a/b/c", "a/b", "a", ""] {
            let path = theirs.join(path);
            fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
            if geteuid().is_root() {
                chown(&path, Some(4711), Some(4711)).unwrap();
            }
        }
        // What `remove` does when it may not.
        let _ = File::open(&theirs).map(|dir| take(&dir));
        remove(&theirs).unwrap();
        assert!(!theirs.exists() && outside.join("kept").exists());
        assert_eq!(outside.metadata().unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn one_that_stays_keeps_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "x").unwrap();
        fs::create_dir_all(path("c/d")).unwrap();
        let problems = remove_all([path("a/below"), path("a"), path("b"), path("c")]);
        assert!(problems.len() == 1 && problems[0].contains("a/below: "), "{problems:?}");
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
