//! Removes configurations that are no longer needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use crate::{
    model::UnitName,
    source::link::{self, CURRENT, link_name},
};

/// See [`super::Configurations::prune`]; `busy` tells which attempts are under way. What cannot be removed, and why: it
/// keeps nothing else.
pub(super) fn prune(dir: &Path, units: &BTreeSet<UnitName>, keep: u32, busy: impl Fn(&str) -> bool) -> Vec<String> {
    let names = match names(dir) {
        Ok(names) => names,
        Err(error) => return vec![format!("{}: {error}", dir.display())],
    };
    let links: BTreeSet<String> = units.iter().map(link_name).collect();
    let mut spare: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = Vec::new();
    for name in names {
        let is_link = name.starts_with(CURRENT);
        if name.starts_with('.') {
            left.extend((!busy(&name)).then(|| dir.join(name)));
        } else if is_link && !links.contains(&name) {
            left.push(dir.join(name));
        } else if !is_link {
            spare.entry(link_of(&name)).or_default().push(name);
        }
    }
    let mut problems = link::remove_all(left);
    let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    for (link, mut folders) in spare {
        let current = link::read(&dir.join(&link));
        folders.retain(|name| current.as_deref() != Some(Path::new(name)));
        folders.sort_by_key(|name| std::cmp::Reverse(age(&dir.join(name))));
        let kept = if links.contains(&link) { keep } else { 0 };
        let discard =
            |name: &String| discard(dir, name).err().map(|error| format!("{}: {error}", dir.join(name).display()));
        problems.extend(folders.iter().skip(kept).filter_map(discard));
    }
    problems
}

/// The link that would lead to a folder of this name: `current@1` for `7.1f0c93aa@1`.
fn link_of(folder: &str) -> String {
    match folder.split_once('@') {
        Some((_, instance)) => format!("{CURRENT}@{instance}"),
        None => CURRENT.to_owned(),
    }
}

/// Removes a configuration. It loses its name first: half of one never looks whole.
fn discard(dir: &Path, name: &str) -> io::Result<()> {
    let aside = dir.join(format!(".old-{name}"));
    link::remove(&aside)?;
    fs::rename(dir.join(name), &aside)?;
    link::remove(&aside)
}

/// When it got its name.
fn age(path: &Path) -> Option<(i64, i64)> {
    path.metadata().ok().map(|found| (found.ctime(), found.ctime_nsec()))
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string()));
    Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().filter_map(Result::ok).collect())
}
