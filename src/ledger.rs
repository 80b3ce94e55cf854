//! The agent's last accepted work on disk: what lets a host start its services after a reboot while ZooKeeper is
//! out of reach, and what a new agent process must know of its predecessor's doings.
//!
//! One JSON file, replaced atomically (write beside, fsync, rename, fsync the folder: rename(2)), so a crash at
//! any point leaves the old or the new one. A file that can't be read is put aside, never deleted.

pub mod owner;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::blocking;
use crate::model::{Assignment, CheckedAssignment, InvalidName, Probes, ReplicaId, ServiceName, UnitName, as_released};

/// What the agent remembers of its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Each replica that this host has accepted and not given up.
    #[serde(default)]
    pub replicas: BTreeMap<ReplicaId, Record>,
    /// Work that was given up before it came into force, so that it is not tried again for ever.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<ReplicaId, Rejected>,
    /// Units that this host's configuration took from the agent while they were in use, and what they run with: that is
    /// not removed until the unit is the agent's again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<UnitName, Left>,
}

/// What a unit runs with that was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The service that it belonged to.
    pub service: ServiceName,
    /// The versions whose releases it may use.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions: BTreeSet<String>,
    /// The configuration revision that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,
}

impl Left {
    /// What the replica's unit may use.
    pub fn new(service: &ServiceName, record: &Record) -> Self {
        let works = [Some(&record.assignment), record.before.as_deref()].into_iter().flatten();
        let stale = record.stale.as_ref().and_then(|stale| stale.version.clone());
        let versions = works.filter_map(|work| work.version.clone()).chain(stale).collect();
        Self { service: service.clone(), versions, config_version: record.applied_config }
    }
}

impl Ledger {
    /// Whether nothing is lost when this comes to disk a moment late, where `saved` is: they differ in what to go back
    /// to and in whether it was tried at most, once the work is in force, and in trials that are over. A successor finds out again that it is.
    pub fn may_wait(&self, saved: &Self) -> bool {
        self.differs_at_most(saved, |record, saved| {
            let on_trial = record.on_trial && saved.on_trial;
            let before = saved.before.clone().filter(|_| record.before.is_some());
            let untried = record.untried && saved.untried;
            *record == Record { before, on_trial, untried, ..saved.clone() }
        })
    }

    /// Whether they differ in trials that are over at most.
    pub fn may_wait_long(&self, saved: &Self) -> bool {
        self.differs_at_most(saved, |record, saved| {
            let on_trial = record.on_trial && saved.on_trial;
            *record == Record { on_trial, ..saved.clone() }
        })
    }

    fn differs_at_most(&self, saved: &Self, alike: impl Fn(&Record, &Record) -> bool) -> bool {
        let same = |(id, record): (&ReplicaId, &Record)| {
            saved.replicas.get(id).is_some_and(|saved| record == saved || alike(record, saved))
        };
        (&self.rejected, &self.left) == (&saved.rejected, &saved.left)
            && self.replicas.len() == saved.replicas.len()
            && self.replicas.iter().all(same)
    }
}

/// Work that was given up: only other work is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its content: see [`content_key`].
    pub key: String,
    /// Why, for the operator.
    pub message: String,
}

/// An assignment's content as a short digest. The same for the same content, in every process and build that knows the
/// same fields.
pub fn content_key(assignment: &Assignment) -> String {
    let text = serde_json::to_vec(assignment).unwrap_or_default();
    let digest = Sha256::digest(text);
    hex::encode(&digest[..16])
}

/// What the agent remembers of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The last accepted work.
    pub assignment: CheckedAssignment,
    /// What the generated files were last written for: see [`crate::systemd::files::restart_key`]. `None` = the ledger
    /// was lost, and the replica found by its files: nothing but its unit is known until the tree has said more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_key: Option<String>,
    /// The invocation that was started before the generated files were last changed in a way that a running
    /// process can't see: it must be restarted. Any other invocation has read the files as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// The configuration revision that the running process has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_config: Option<u64>,
    /// What was in force before `assignment`, while that is not yet: what to go back to when it is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<CheckedAssignment>>,
    /// It was stopped on purpose: what it ran then is not started again, only what is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// What its probes say of the work has yet to be confirmed by checks made since it changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
    /// Nothing of it was in force here yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untried: bool,
}

impl Record {
    /// A replica that was just accepted. What runs of it already is taken as it is.
    pub fn new(assignment: CheckedAssignment) -> Self {
        let applied_config = assignment.config_version;
        let on_trial = is_probed(&assignment);
        Self {
            assignment,
            prepared_key: None,
            stale: None,
            applied_config,
            before: None,
            rests: false,
            on_trial,
            untried: true,
        }
    }

    /// Its generated files are about to be written for this work.
    pub fn prepare(&mut self, assignment: &CheckedAssignment) {
        if self.assignment != *assignment {
            let known = !self.is_found();
            self.on_trial = is_probed(assignment);
            let old = std::mem::replace(&mut self.assignment, assignment.clone());
            if known {
                self.before.get_or_insert_with(|| Box::new(old));
            }
        }
    }

    /// The work is in force.
    pub fn accept(&mut self, assignment: &CheckedAssignment) {
        self.on_trial |= self.assignment != *assignment && is_probed(assignment);
        self.assignment.clone_from(assignment);
        self.applied_config = assignment.config_version;
        (self.before, self.rests, self.untried) = (None, false, false);
    }

    /// Whether this work, but for its mode, was in force here already and still is what the ledger has.
    pub fn was_in_force(&self, wanted: &CheckedAssignment) -> bool {
        !self.untried && self.before.is_none() && self.assignment.with_mode(wanted.mode) == *wanted
    }

    /// The work can't come into force: back to what was before; whether there is anything to go back to.
    pub fn go_back(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.on_trial = is_probed(&before);
        self.assignment = before.with_mode(self.assignment.mode);
        true
    }

    /// Whether only its unit is known, from a generated file that was found: the ledger had been lost.
    pub fn is_found(&self) -> bool {
        self.prepared_key.is_none()
    }

    /// The version that this invocation of its unit runs.
    pub fn running_version(&self, invocation: &str) -> Option<&String> {
        match &self.stale {
            Some(stale) if stale.invocation == invocation => stale.version.as_ref(),
            _ => self.assignment.version.as_ref(),
        }
    }
}

fn is_probed(assignment: &Assignment) -> bool {
    assignment.probes != Probes::default()
}

/// A unit's invocation that is out of date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// systemd's `InvocationID`.
    pub invocation: String,
    /// The version that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the generated files were written for when it was started ([`Record::prepared_key`]): when that is wanted
    /// again, it is up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

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

    /// Reads the ledger. One that can't be read is no reason not to run: then it starts empty.
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
            let kept = kept.unwrap_or_else(|error| format!("and it can't be kept aside: {error}"));
            format!("{}: {}; {kept}", self.path.display(), problems.join("; "))
        });
        Loaded { ledger, problem }
    }

    fn put_aside(&self, error: &io::Error) -> Loaded {
        let aside = self.path.with_extension("json.unreadable");
        let path = self.path.display();
        let problem = match fs::rename(&self.path, &aside) {
            Ok(()) => format!("{path}: {error}; kept as {}", aside.display()),
            Err(kept) => format!("{path}: {error}; and it can't be put aside: {kept}"),
        };
        Loaded { ledger: Ledger::default(), problem: Some(problem) }
    }

    /// Replaces the ledger on disk.
    ///
    /// # Errors
    /// When the folder can't be made or written, such as on a full disk; the old file is then intact.
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
    use crate::model::{ReplicaDesired, ReplicaNumber, ServiceSpec};

    fn ledger() -> Ledger {
        let spec = ServiceSpec::new("webapp@.service".parse().unwrap());
        let desired = ReplicaDesired::unplaced(&crate::model::Desired::default());
        let record = Record::new(Assignment::new(&(&spec).into(), &desired, ReplicaNumber(1)).check().unwrap());
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

    #[test]
    fn work_was_in_force_once_it_was_accepted_and_until_other_work_is_prepared() {
        let mut record = ledger().replicas.into_values().next().unwrap();
        let work = record.assignment.clone();
        let other = Assignment { version: Some("v2".to_owned()), ..(*work).clone() }.check().unwrap();
        assert!(!record.was_in_force(&work), "new work is in the ledger before it is started");
        record.prepared_key = Some("v1".to_owned());
        record.accept(&work);
        assert!(record.was_in_force(&work) && !record.was_in_force(&other));
        let disabled = work.with_mode(crate::model::Mode::Disabled);
        assert!(record.was_in_force(&disabled));
        record.prepare(&other);
        assert!(!record.was_in_force(&other) && !record.was_in_force(&work));
        assert!(record.go_back() && record.was_in_force(&work));
        // An earlier release's ledger does not say: what it has was in force.
        let mut old = serde_json::to_value(Record::new(work.clone())).unwrap();
        assert_eq!(old.as_object_mut().unwrap().remove("untried"), Some(true.into()));
        assert!(serde_json::from_value::<Record>(old).unwrap().was_in_force(&work));
    }

    #[test]
    fn only_that_nothing_is_to_go_back_to_any_more_may_wait() {
        let with = |change: fn(&mut Record)| {
            let mut changed = ledger();
            changed.replicas.values_mut().for_each(change);
            changed
        };
        let before = with(|record| record.before = Some(Box::new(record.assignment.clone())));
        assert!(ledger().may_wait(&before));
        assert!(!before.may_wait(&ledger()), "it has just begun");
        let changes: [fn(&mut Record); 4] = [
            |record| record.applied_config = Some(7),
            |record| record.rests = true,
            |record| record.assignment = record.assignment.with_mode(crate::model::Mode::Disabled),
            |record| record.stale = Some(Stale { invocation: "1".to_owned(), version: None, key: None }),
        ];
        assert!(changes.into_iter().all(|change| !with(change).may_wait(&before)));
        let key = content_key(&ledger().replicas.into_values().next().unwrap().assignment);
        let rejected = Rejected { key, message: String::new() };
        let rejected = BTreeMap::from([("webapp.0000000001".parse().unwrap(), rejected)]);
        assert!(!Ledger { rejected, ..ledger() }.may_wait(&before));
        assert!(!Ledger::default().may_wait(&before));
    }

    #[test]
    fn what_was_in_force_last_is_what_to_go_back_to() {
        let mut record = ledger().replicas.into_values().next().unwrap();
        let with = |version: &str| record.assignment.with(|it| it.version = Some(version.to_owned()));
        let (one, two, three) = (with("v1"), with("v2"), with("v3"));
        record.prepare(&one);
        assert!(!record.go_back(), "nothing is known of what was found by its files");
        record.prepared_key = Some(String::new());
        record.accept(&one);
        assert!(!record.go_back());
        record.prepare(&one);
        assert_eq!(record.before, None, "the same work");
        record.prepare(&two);
        record.prepare(&three);
        assert!(record.go_back());
        assert_eq!((&record.assignment, &record.before), (&one, &None));
        record.prepare(&two);
        record.accept(&two);
        assert!(!record.go_back());
    }

    #[test]
    fn an_assignments_content_tells_it_from_others() {
        let one = ledger().replicas.into_values().next().unwrap().assignment;
        let other = one.with(|it| it.config_version = Some(8));
        assert_eq!(content_key(&one), content_key(&one.clone()));
        assert_ne!(content_key(&one), content_key(&other));
        assert_eq!(content_key(&one).len(), 32);
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
            |it| it["assignment"]["credentials"] = serde_json::json!({"x:/a\nExecStartPre=+/bin/sh": "/etc/hostname"}),
            |it| it["before"] = serde_json::json!({"mode": "enabled", "unit": "webapp@.service"}),
            |it| it["assignment"]["unit"] = "../x.service".into(),
            |it| it["assignment"]["drain_time"] = "-5s".into(),
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
        for said in
            ["webapp.0000000002: assignment: credentials.x", "webapp.0000000003: before", "a template", "0000000006"]
        {
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
            entry["assignment"].as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
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
