//! Releases that are Nix store paths.
//!
//! Fetching realises the path and roots it, so that nix-collect-garbage(1) leaves it alone; switching sets it as a
//! profile, whose link is the replica's `current`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    SourceError,
    command::{self, Order, Outcome},
    folder::Folder,
    link, text,
};
use crate::{blocking, model::NixSource};

/// How long nix-env(1) may take to set a profile.
const SWITCH_LIMIT: Duration = Duration::from_secs(120);

/// The store path of a version; `None` when it is none.
pub(super) fn store_path(source: &NixSource, version: &str) -> Option<PathBuf> {
    let path = text::fill(&source.store_path, version);
    let name = path.strip_prefix("/nix/store/")?;
    let word = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(word)).then(|| path.into())
}

/// As [`store_path`], with words for what is none.
pub(super) fn checked(source: &NixSource, version: &str) -> Result<PathBuf, SourceError> {
    let rule = "source.nix.store_path must give /nix/store/<hash>-<name>";
    let wrong =
        || SourceError::rejected(format!("{:?} is no store path: {rule}", text::fill(&source.store_path, version)));
    store_path(source, version).ok_or_else(wrong)
}

/// Whether the version is in the store, and rooted.
pub(super) fn is_fetched(path: &Path, version: &str, folder: &Folder) -> bool {
    path.exists() && link::read(&folder.mark(version)).is_some_and(|target| target == path)
}

/// Whether the profile leads to the path.
pub(super) fn is_current(path: &Path, profile: &Path) -> bool {
    fs::canonicalize(profile).is_ok_and(|real| fs::canonicalize(path).is_ok_and(|path| path == real))
}

/// Brings the path into the store.
pub(super) async fn fetch(path: &Path, version: &str, folder: &Folder, limit: Duration) -> Result<(), SourceError> {
    let dir = folder.path().to_owned();
    let made = blocking::beside(move || link::make_dir(&dir)).await;
    made.map_err(|error| SourceError::io(folder.path().display(), &error))?;
    let root = folder.mark(version).display().to_string();
    let shown = path.display().to_string();
    let outcome = run(&["nix-store", "--realise", &shown, "--add-root", &root], limit).await?;
    if outcome.status == Some(0) {
        return Ok(());
    }
    let hopeless = is_hopeless(&outcome.output) && !outcome.late;
    Err(SourceError { rejected: hopeless, message: format!("nix-store --realise {shown} {}", outcome.words()) })
}

/// Sets the path as the profile.
pub(super) async fn switch(path: &Path, profile: &Path) -> Result<(), SourceError> {
    let (path, profile) = (path.display().to_string(), profile.display().to_string());
    let outcome = run(&["nix-env", "--profile", &profile, "--set", &path], SWITCH_LIMIT).await?;
    if outcome.status != Some(0) {
        return Err(SourceError::passing(format!("nix-env --set {path} {}", outcome.words())));
    }
    // Old generations would keep their paths from being collected. That they stay is no failure of the switch.
    let _ = run(&["nix-env", "--profile", &profile, "--delete-generations", "old"], SWITCH_LIMIT).await;
    Ok(())
}

/// Whether no server has the path, and all of them could be asked.
fn is_hopeless(output: &str) -> bool {
    let absent = ["no substituter that can build it", "don't know how to build", "is not valid", "cannot be built"];
    let unreachable = ["unable to download", "disabling it for", "error: cannot connect"];
    absent.iter().any(|words| output.contains(words)) && !unreachable.iter().any(|words| output.contains(words))
}

async fn run(words: &[&str], limit: Duration) -> Result<Outcome, SourceError> {
    let command: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let program = words.first().copied().unwrap_or_default();
    let order = Order {
        command,
        environment: vec![("HOME".into(), "/root".to_owned())],
        limit: Some(limit),
        ..Order::default()
    };
    command::run(&order).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::rejected(format!("{program}: {error}")),
        _ => SourceError::io(program, &error),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_store_paths_are_taken() {
        let source = |store_path: &str| NixSource { store_path: store_path.to_owned() };
        let path = "/nix/store/8kj-webapp-1.0";
        assert_eq!(store_path(&source("{version}"), path).unwrap(), Path::new(path));
        for bad in ["/etc", "/nix/store/", "/nix/store/../etc", "/nix/store/a/b", "/nix/store/.x", "-h"] {
            assert!(checked(&source("{version}"), bad).unwrap_err().rejected, "{bad}");
        }
    }

    #[test]
    fn a_path_that_nobody_has_is_hopeless_unless_someone_could_not_be_asked() {
        let absent = "error: path '/nix/store/x' is required, but there is no substituter that can build it";
        assert!(is_hopeless(absent));
        assert!(!is_hopeless(&format!("warning: unable to download 'https://c/x.narinfo'\n{absent}")));
        assert!(!is_hopeless("error: writing to file: No space left on device"));
    }
}
