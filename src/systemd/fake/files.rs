//! What the fake reads below its root, as systemd does at a reload.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::model::{DROP_IN_NAME, UnitName};

/// The files of one unit, as they were when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// The unit's file and its text, when it is below the root.
    pub(super) fragment: Option<(PathBuf, String)>,
    /// zkops's drop-in and its text.
    pub(super) drop_in: Option<(PathBuf, String)>,
}

impl Files {
    /// Reads the files of a unit by its names, the primary one first.
    pub(super) fn read(root: Option<&Path>, names: &[UnitName]) -> Self {
        let read = |path: PathBuf| fs::read_to_string(&path).ok().map(|text| (path, text));
        let (Some(root), Some(primary)) = (root, names.first()) else { return Self::default() };
        Self {
            fragment: read(root.join(primary.file_name().as_str())),
            drop_in: names.iter().find_map(|name| read(root.join(format!("{name}.d")).join(DROP_IN_NAME))),
        }
    }

    /// Whether systemd sees that the files differ from what it read: it looks again at what it knows, but not for a
    /// drop-in folder that is new.
    pub(super) fn differ_visibly(&self, root: Option<&Path>, name: &UnitName) -> bool {
        let now = Self::read(root, std::slice::from_ref(name));
        now.fragment != self.fragment || (self.drop_in.is_some() && now.drop_in != self.drop_in)
    }

    /// The unit files below the root.
    pub(super) fn units(root: &Path) -> BTreeSet<UnitName> {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        files.filter_map(|file| file.file_name().into_string().ok()?.parse().ok()).collect()
    }
}
