//! Which files make up a configuration, by systemd's rules (systemd.unit(5) has them for units).

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::ConfigError;

/// Folders of drop-ins, the weakest first: packages, this boot, the administrator.
const LAYERS: [&str; 3] = ["usr/lib/zkops", "run/zkops", "etc/zkops"];

/// The files of the configuration `name` (`agent`, …), in the order in which they count: the main file, then the
/// drop-ins by name. A drop-in masks one of the same name in a weaker folder; `/dev/null` in its place masks it away.
///
/// `main` stands in for everything else: that file, and the drop-ins in `<main>.d` beside it.
pub(super) fn files(root: &Path, name: &str, main: Option<&Path>) -> Result<Vec<PathBuf>, ConfigError> {
    let file = format!("{name}.toml");
    let (main, folders) = match main {
        Some(main) => (Some(main.to_owned()), vec![beside(main)]),
        None => (
            Some(root.join("etc/zkops").join(&file)).filter(|path| path.symlink_metadata().is_ok()),
            LAYERS.iter().map(|layer| beside(&root.join(layer).join(&file))).collect(),
        ),
    };
    let mut drop_ins = BTreeMap::new();
    for folder in folders {
        drop_ins.extend(toml_files(&folder)?);
    }
    Ok(main.into_iter().chain(drop_ins.into_values()).collect())
}

/// The folder of a main file's drop-ins.
fn beside(main: &Path) -> PathBuf {
    let mut folder = main.as_os_str().to_owned();
    folder.push(".d");
    folder.into()
}

/// The TOML files of a folder by name; none when there is no such folder. Hidden files are passed over.
fn toml_files(folder: &Path) -> Result<Vec<(OsString, PathBuf)>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        if name.as_encoded_bytes().ends_with(b".toml") && !name.as_encoded_bytes().starts_with(b".") {
            let path = folder.join(&name);
            files.push((name, path));
        }
    }
    Ok(files)
}
