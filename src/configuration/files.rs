//! Puts rendered files on disk.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::Path,
};

use super::{ConfigurationError, owner, render::Rendered};
use crate::source::link;

/// Writes the files below the folder. None can be read by others before it has its owner and its permissions.
pub(super) fn write(dir: &Path, files: &[Rendered]) -> Result<(), ConfigurationError> {
    for file in files {
        let look_up = |error: String| ConfigurationError::passing(format!("{}: {error}", file.path));
        let user = file.owner.as_deref().map(owner::user).transpose().map_err(look_up)?;
        let group = file.group.as_deref().map(owner::group).transpose().map_err(look_up)?;
        let written = write_one(dir, file, user, group);
        written.map_err(|error| match error.kind() {
            // Only root may; a full disk passes, this does not.
            io::ErrorKind::PermissionDenied if user.is_some() || group.is_some() => ConfigurationError::rejected(
                format_args!("{}: this host's agent is not root and cannot give it its owner or group", file.path),
            ),
            _ => ConfigurationError::io(format_args!("cannot write {}", file.path), &error),
        })?;
    }
    Ok(())
}

fn write_one(dir: &Path, file: &Rendered, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let path = dir.join(&file.path);
    link::make_dir(path.parent().unwrap_or(dir))?;
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    open.write_all(&file.content)?;
    // Not root's after chown(2), so its permissions first.
    open.set_permissions(Permissions::from_mode(file.mode))?;
    if user.is_some_and(|id| id != 0) || group.is_some_and(|id| id != 0) {
        fchown(&open, user, group)?;
    }
    Ok(())
}
