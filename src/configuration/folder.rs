//! From a folder of a person's to a revision.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{ConfigurationError, render};
use crate::model::{ConfigFile, ConfigRevision, encode};

/// How the name of a template's file ends.
const TEMPLATE: &str = ".j2";

/// Reads a folder as a revision: files whose names end in `.j2` are templates and lose that ending; permissions are
/// those of the files; owners are left to be root. The same folder gives the same revision.
///
/// # Errors
/// What cannot be part of a revision (symbolic links, sockets …), templates that cannot be read as such, what the system
/// refuses, and a revision that is too large, naming its largest files.
pub fn read_folder(dir: &Path) -> Result<ConfigRevision, ConfigurationError> {
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found)?;
    // Before anything is read: what is too large as it is may be very large.
    let sizes: Vec<_> = found.iter().map(|(name, (_, metadata))| (name.as_str(), metadata.len())).collect();
    check_size(&sizes, sizes.iter().map(|(_, size)| size).sum())?;
    let mut files = BTreeMap::new();
    for (name, (path, metadata)) in &found {
        let plain = name.strip_suffix(TEMPLATE).filter(|plain| !plain.is_empty() && !plain.ends_with('/'));
        let file = read(path, metadata, plain.is_some())?;
        if files.insert(plain.unwrap_or(name).to_owned(), file).is_some() {
            let plain = plain.unwrap_or(name);
            return Err(refused(path, &format!("{plain} is there with and without {TEMPLATE}: remove one of them")));
        }
    }
    if files.is_empty() {
        return Err(refused(dir, "holds no files"));
    }
    let revision = ConfigRevision { files, message: None };
    check_size(&sizes, encode(&revision).len() as u64)?;
    render::check_syntax(&revision)?;
    Ok(revision)
}

/// All files below the folder, by their path below `root`.
fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, (PathBuf, Metadata)>) -> Result<(), ConfigurationError> {
    let failed = |path: &Path| {
        let doing = format!("cannot read {}", path.display());
        move |error| ConfigurationError::io(doing, &error)
    };
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let metadata = path.symlink_metadata().map_err(failed(&path))?;
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        let name = name.filter(|name| !name.chars().any(char::is_control));
        let name = name.ok_or_else(|| refused(&path, "its name is no plain text"))?.to_owned();
        if metadata.is_dir() {
            walk(root, &path, found)?;
        } else if metadata.is_symlink() {
            return Err(refused(&path, "is a symbolic link: put the file itself there"));
        } else if metadata.is_file() {
            found.insert(name, (path, metadata));
        } else {
            return Err(refused(&path, "is no file"));
        }
    }
    Ok(())
}

fn read(path: &Path, metadata: &Metadata, template: bool) -> Result<ConfigFile, ConfigurationError> {
    let bytes = fs::read(path);
    let bytes =
        bytes.map_err(|error| ConfigurationError::io(format_args!("cannot read {}", path.display()), &error))?;
    let (text, base64) = match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) if template => return Err(refused(path, "is no text (UTF-8), so it cannot be a template")),
        Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
    };
    let mode = metadata.permissions().mode() & 0o777;
    let mode = (mode != 0o644).then(|| format!("{mode:04o}"));
    Ok(ConfigFile { text, base64, mode, owner: None, group: None, template })
}

fn check_size(sizes: &[(&str, u64)], bytes: u64) -> Result<(), ConfigurationError> {
    if usize::try_from(bytes).is_ok_and(|bytes| bytes <= ConfigRevision::MAX_BYTES) {
        return Ok(());
    }
    let mut sizes = sizes.to_vec();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let largest: Vec<_> = sizes.iter().take(3).map(|(name, size)| format!("{name} ({size} bytes)")).collect();
    let (limit, largest) = (ConfigRevision::MAX_BYTES, largest.join(", "));
    let fix = "put what is large into the release";
    let message = format!("the revision has {bytes} bytes, {limit} are allowed: {fix}; the largest are {largest}");
    Err(ConfigurationError::rejected(message))
}

fn refused(path: &Path, why: &str) -> ConfigurationError {
    ConfigurationError::rejected(format!("{}: {why}", path.display()))
}
