//! The agent's last accepted work on disk: what lets a host start its services after a reboot while ZooKeeper is
//! out of reach, and what a new agent process must know of its predecessor's doings.
//!
//! One JSON file, replaced atomically (write beside, fsync, rename, fsync the folder: rename(2)), so a crash at
//! any point leaves the old or the new one. A file that cannot be read is put aside, never deleted.

pub mod owner;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::blocking;
use crate::model::{InvalidName, Ledger, as_released};

/// The ledger's file.
#[derive(Clone, Debug)]
pub struct LedgerFile {
    path: PathBuf,
}

/// A ledger before its entries are looked at, each by itself.
#[derive(Deserialize)]
struct Unchecked {
    #[serde(default)]
    replicas: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    rejected: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    left: BTreeMap<String, serde_json::Value>,
}

fn entries<K: FromStr<Err = InvalidName>, T: DeserializeOwned>(
    unchecked: BTreeMap<String, serde_json::Value>,
    problems: &mut Vec<String>,
) -> Vec<(K, T)> {
    let entry = |(id, value): (String, serde_json::Value)| {
        let key = id.parse().map_err(|error: InvalidName| error.to_string())?;
        let entry = serde_path_to_error::deserialize(value).map_err(|error| format!("{id}: {error}"))?;
        Ok((key, entry))
    };
    let read = |item| entry(item).map_err(|problem: String| problems.push(problem)).ok();
    unchecked.into_iter().filter_map(read).collect()
}

/// What [`LedgerFile::load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The ledger; empty when there was none.
    pub ledger: Ledger,
    /// Why the file that was there, or an entry of it, could not be used, and where it was put aside.
    pub problem: Option<String>,
}

impl LedgerFile {
    /// The ledger in the folder `state_dir`.
    pub fn in_dir(state_dir: &Path) -> Self {
        Self { path: state_dir.join("ledger.json") }
    }

    /// Reads the ledger. One that cannot be read is no reason not to run: then it starts empty.
    pub fn load(&self) -> Loaded {
        blocking::may_block();
        let read = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Loaded { ledger: Ledger::default(), problem: None };
            }
            other => other,
        };
        match read.and_then(|data| Ok(serde_json::from_slice::<Unchecked>(&data)?)) {
            Ok(unchecked) => self.check(unchecked),
            Err(error) => self.put_aside(&error),
        }
    }

    /// The entries that can be read and pass their checks. The others are as if they had been lost.
    fn check(&self, unchecked: Unchecked) -> Loaded {
        let (mut ledger, mut problems) = (Ledger::default(), Vec::new());
        ledger.replicas.extend(entries(unchecked.replicas, &mut problems));
        ledger.rejected.extend(entries(unchecked.rejected, &mut problems));
        ledger.left.extend(entries(unchecked.left, &mut problems));
        let problem = (!problems.is_empty()).then(|| {
            let aside = self.path.with_extension("json.unreadable");
            let kept = fs::copy(&self.path, &aside).map(|_| format!("all of it is kept as {}", aside.display()));
            let kept = kept.unwrap_or_else(|error| format!("and it cannot be kept aside: {error}"));
            format!("{}: {}; {kept}", self.path.display(), problems.join("; "))
        });
        Loaded { ledger, problem }
    }

    fn put_aside(&self, error: &io::Error) -> Loaded {
        let aside = self.path.with_extension("json.unreadable");
        let path = self.path.display();
        let problem = match fs::rename(&self.path, &aside) {
            Ok(()) => format!("{path}: {error}; kept as {}", aside.display()),
            Err(kept) => format!("{path}: {error}; and it cannot be put aside: {kept}"),
        };
        Loaded { ledger: Ledger::default(), problem: Some(problem) }
    }

    /// Replaces the ledger on disk.
    ///
    /// # Errors
    /// When the folder cannot be made or written, such as on a full disk; the old file is then intact.
    pub fn save(&self, ledger: &Ledger) -> io::Result<()> {
        blocking::may_block();
        replace_file(&self.path, &as_released(serde_json::to_vec_pretty(ledger)?))
    }
}

/// Replaces a file: after a crash at any point, the old or the new one is there in whole.
fn replace_file(path: &Path, data: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(data)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{Assignment, Desired, Record, ReplicaDesired, ReplicaNumber, ServiceSpec};

    fn ledger() -> Ledger {
        let spec = ServiceSpec::new("webapp@.service".parse().unwrap());
        let desired = Desired::default();
        let work =
            Assignment::new(&spec.revision(&desired), &ReplicaDesired::unplaced(&desired), ReplicaNumber(1)).check();
        let record = Record::new(work.unwrap());
        Ledger { replicas: BTreeMap::from([("webapp.0000000001".parse().unwrap(), record)]), ..Ledger::default() }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let file = LedgerFile::in_dir(&dir.path().join("not/yet/there"));
        assert_eq!(file.load().ledger, Ledger::default());
        file.save(&ledger()).unwrap();
        assert_eq!(file.load().ledger, ledger());
    }

    /// A ledger on disk, and what it says.
    fn saved() -> (tempfile::TempDir, LedgerFile, serde_json::Value) {
        let dir = tempfile::tempdir().unwrap();
        let file = LedgerFile::in_dir(dir.path());
        file.save(&ledger()).unwrap();
        let saved = serde_json::from_slice(&fs::read(dir.path().join("ledger.json")).unwrap()).unwrap();
        (dir, file, saved)
    }

    #[test]
    fn an_entry_that_fails_its_check_is_lost_alone() {
        let (dir, file, mut saved) = saved();
        let path = dir.path().join("ledger.json");
        let good = saved["replicas"]["webapp.0000000001"].clone();
        let changes: [fn(&mut serde_json::Value); 5] = [
            |it| {
                let bad = serde_json::json!({"x:/a\nExecStartPre=+/bin/sh": "/etc/hostname"});
                it["assignment"]["template"]["credentials"] = bad;
            },
            |it| it["before"] = serde_json::json!({"mode": "enabled", "unit": "webapp@.service", "template": {}}),
            |it| it["assignment"]["unit"] = "../x.service".into(),
            |it| it["assignment"]["template"]["drain_time"] = "-5s".into(),
            |it| *it = 7.into(),
        ];
        for (number, change) in (2..).zip(changes) {
            let mut bad = good.clone();
            change(&mut bad);
            saved["replicas"][format!("webapp.{number:010}")] = bad;
        }
        saved["replicas"]["../webapp.0000000009"] = good;
        fs::write(&path, saved.to_string()).unwrap();
        let loaded = file.load();
        assert_eq!(loaded.ledger, ledger());
        let problem = loaded.problem.unwrap();
        for said in [
            "webapp.0000000002: assignment: template.credentials.x",
            "webapp.0000000003: before",
            "a template",
            "0000000006",
        ] {
            assert!(problem.contains(said), "{said}: {problem}");
        }
        assert!(!problem.contains('\n'), "{problem}");
        assert_eq!(fs::read_to_string(dir.path().join("ledger.json.unreadable")).unwrap(), saved.to_string());
    }

    #[test]
    fn entries_of_an_earlier_release_are_kept() {
        let (dir, file, mut saved) = saved();
        let path = dir.path().join("ledger.json");
        let good = saved["replicas"]["webapp.0000000001"].clone();
        let released = crate::model::released();
        for (number, keys) in (2..).zip(&released) {
            let mut entry = good.clone();
            entry["assignment"]["template"].as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            entry["before"] = entry["assignment"].clone();
            saved["replicas"][format!("webapp.{number:010}")] = entry;
        }
        fs::write(&path, saved.to_string()).unwrap();
        let loaded = file.load();
        assert_eq!((loaded.problem, loaded.ledger.replicas.len()), (None, 1 + released.len()));
    }

    #[test]
    fn an_unreadable_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let file = LedgerFile::in_dir(dir.path());
        fs::write(dir.path().join("ledger.json"), "{ half").unwrap();
        let loaded = file.load();
        assert_eq!(loaded.ledger, Ledger::default());
        assert!(loaded.problem.unwrap().contains("ledger.json.unreadable"));
        assert_eq!(fs::read_to_string(dir.path().join("ledger.json.unreadable")).unwrap(), "{ half");
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = LedgerFile::in_dir(dir.path());
        file.save(&ledger()).unwrap();
        let blocked = LedgerFile::in_dir(&dir.path().join("ledger.json"));
        assert!(blocked.save(&Ledger::default()).is_err());
        assert_eq!(file.load().ledger, ledger());
    }
}
