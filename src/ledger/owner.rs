//! Whose the state on disk is: a host, by its name in the tree and by its machine-id.
//!
//! The ledger names replicas, and what the tree does not assign to this host is stopped. So a host that suddenly goes
//! by another name would stop all that it runs, and a machine that was copied from another's image would run the
//! other's work. `owner.json` beside the ledger tells both apart from a host that has only been restarted
//! (`docs/adr/0014-state-belongs-to-a-host.md`).

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::replace_file;
use crate::model::{HostName, Ledger, as_released};

/// A host: its name in the tree, and the machine that goes by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name in the tree.
    pub host: HostName,
    /// machine-id(5). Empty when it does not outlive the boot, and so tells nothing.
    pub machine_id: String,
}

/// How much work there is that could be taken for another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Replicas in the ledger.
    pub replicas: usize,
    /// Units that have generated files: made since the machine booted, for these are in `/run`.
    pub units: usize,
}

/// What is to become of the state that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is this host's.
    Ours,
    /// It is nobody's, or holds nothing: from now on it is this host's.
    Adopt,
    /// It came with another machine's disk. This machine has nothing to lose by putting it aside.
    PutAside,
    /// It is this machine's, under another name: a person has to decide.
    Refuse,
}

fn judge(found: Option<&Owner>, ours: &Owner, work: Work) -> Verdict {
    let Some(found) = found else { return Verdict::Adopt };
    let (same_name, lasts) = (found.host == ours.host, !found.machine_id.is_empty());
    let same_machine = found.machine_id == ours.machine_id || !lasts || ours.machine_id.is_empty();
    match (same_name, same_machine) {
        // Its machine-id lasts from now on.
        (true, true) if !lasts && !ours.machine_id.is_empty() => Verdict::Adopt,
        (true, true) => Verdict::Ours,
        _ if work == Work::default() => Verdict::Adopt,
        (true, false) => Verdict::PutAside,
        (false, false) if work.units == 0 => Verdict::PutAside,
        (false, _) => Verdict::Refuse,
    }
}

/// The state that this host may use.
#[derive(Debug, Default)]
pub struct Claimed {
    /// What the operator should know of how it came to be.
    pub remarks: Vec<String>,
}

/// The state is another's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotOurs {
    state_dir: PathBuf,
    owner: Owner,
    ours: Owner,
    work: Work,
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state_dir, owner: Owner { host, .. }, ours, work } = self;
        let count = work.replicas.max(work.units);
        let replicas = if count == 1 { "replica" } else { "replicas" };
        write!(
            f,
            "the state in {} is {host}'s ({count} {replicas}), and this host is now called {}. The services are left \
             alone. Set host = \"{host}\" in agent.toml; to give the host another name, drain it first (operations.md, \
             \"Rename a host\")",
            state_dir.display(),
            ours.host
        )
    }
}

/// Makes sure that the state in `state_dir` is this host's, before any of it is used.
///
/// # Errors
/// [`NotOurs`] when it is not, and nothing has been changed.
pub fn claim(state_dir: &Path, ours: &Owner, units: usize) -> Result<Claimed, Box<NotOurs>> {
    let mut remarks = Vec::new();
    let path = state_dir.join("owner.json");
    let found = read(&path).unwrap_or_else(|error| {
        remarks.push(format!("{}: {error}; the state is taken for {}'s", path.display(), ours.host));
        None
    });
    let ledger = state_dir.join("ledger.json");
    let work = Work { replicas: count_replicas(&ledger), units };
    match judge(found.as_ref(), ours, work) {
        Verdict::Ours => return Ok(Claimed { remarks }),
        Verdict::Adopt => {}
        Verdict::PutAside => remarks.extend(found.as_ref().map(|owner| put_aside(&ledger, owner))),
        Verdict::Refuse => {
            let owner = found.unwrap_or_else(|| ours.clone());
            return Err(Box::new(NotOurs { state_dir: state_dir.to_owned(), owner, ours: ours.clone(), work }));
        }
    }
    // A disk that is full now may not be at the next start.
    if let Err(error) = write(&path, ours) {
        remarks.push(format!("{}: {error}; whose the state is, is not on disk", path.display()));
    }
    Ok(Claimed { remarks })
}

fn read(path: &Path) -> io::Result<Option<Owner>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(serde_json::from_slice(&read?)?)),
    }
}

fn write(path: &Path, owner: &Owner) -> io::Result<()> {
    replace_file(path, &as_released(serde_json::to_vec_pretty(owner)?))
}

/// 0 for a ledger that is not there, or cannot be read: that one is put aside when it is loaded.
fn count_replicas(ledger: &Path) -> usize {
    let read = fs::read(ledger).ok().and_then(|data| serde_json::from_slice::<Ledger>(&data).ok());
    read.map_or(0, |ledger| ledger.replicas.len())
}

fn put_aside(ledger: &Path, owner: &Owner) -> String {
    let Owner { host, machine_id } = owner;
    let aside = ledger.with_extension(format!("json.of-{host}-{machine_id}"));
    let kept = match fs::rename(ledger, &aside) {
        Ok(()) => format!("kept as {}", aside.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there was no ledger".to_owned(),
        Err(error) => format!("it cannot be put aside: {error}"),
    };
    format!(
        "the state is that of {host} on the machine {machine_id}, which is another (this one is a copy of its disk, or \
         its machine-id has changed): it is not used, {kept}. What this host is to run is read from ZooKeeper"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const NONE: Work = Work { replicas: 0, units: 0 };
    const BOOTED: Work = Work { replicas: 2, units: 0 };
    const RUNNING: Work = Work { replicas: 2, units: 2 };
    /// The ledger is lost, what it started is not.
    const LOST: Work = Work { replicas: 0, units: 2 };

    fn owner(host: &str, machine_id: &str) -> Owner {
        Owner { host: host.parse().unwrap(), machine_id: machine_id.to_owned() }
    }

    #[rstest]
    #[case::restarted("web1", "a", RUNNING, Verdict::Ours)]
    #[case::rebooted("web1", "a", BOOTED, Verdict::Ours)]
    #[case::renamed("app1", "a", RUNNING, Verdict::Refuse)]
    #[case::renamed_and_rebooted("app1", "a", BOOTED, Verdict::Refuse)]
    #[case::renamed_without_a_ledger("app1", "a", LOST, Verdict::Refuse)]
    #[case::renamed_after_a_drain("app1", "a", NONE, Verdict::Adopt)]
    #[case::copied("web1", "b", BOOTED, Verdict::PutAside)]
    #[case::machine_id_changed("web1", "b", RUNNING, Verdict::PutAside)]
    #[case::copied_while_idle("web1", "b", NONE, Verdict::Adopt)]
    #[case::copied_and_renamed("app1", "b", BOOTED, Verdict::PutAside)]
    #[case::copied_and_renamed_while_it_ran("app1", "b", RUNNING, Verdict::Refuse)]
    fn state_is_judged_by_whose_it_is(
        #[case] host: &str,
        #[case] machine_id: &str,
        #[case] work: Work,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(Some(&owner("web1", "a")), &owner(host, machine_id), work), verdict);
    }

    /// As on a machine whose `/etc` is made again at each boot.
    #[rstest]
    #[case::it_does_not_last("web1", "", BOOTED, Verdict::Ours)]
    #[case::renamed("app1", "", BOOTED, Verdict::Refuse)]
    fn a_machine_id_that_does_not_last_tells_nothing(
        #[case] host: &str,
        #[case] machine_id: &str,
        #[case] work: Work,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(Some(&owner("web1", "a")), &owner(host, machine_id), work), verdict);
        let now_it_lasts = if host == "web1" { Verdict::Adopt } else { verdict };
        assert_eq!(judge(Some(&owner("web1", machine_id)), &owner(host, "a"), work), now_it_lasts);
    }

    #[test]
    fn state_from_before_there_were_owners_is_adopted() {
        assert_eq!(judge(None, &owner("web1", "a"), RUNNING), Verdict::Adopt);
    }

    /// A state folder with a ledger of one replica.
    fn state() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let assignment = json!({"mode": "enabled", "unit": "webapp@0000000001.service", "template": {}});
        let ledger = json!({"replicas": {"webapp.0000000001": {"assignment": assignment}}});
        fs::write(dir.path().join("ledger.json"), ledger.to_string()).unwrap();
        dir
    }

    #[test]
    fn the_first_to_come_owns_it_and_another_name_changes_nothing() {
        let dir = state();
        assert!(claim(dir.path(), &owner("web1", "a"), 1).unwrap().remarks.is_empty());
        let before = fs::read_to_string(dir.path().join("owner.json")).unwrap();
        let refused = claim(dir.path(), &owner("app1", "a"), 1).unwrap_err().to_string();
        assert!(refused.contains("is web1's (1 replica), and this host is now called app1"), "{refused}");
        assert!(refused.contains("Set host = \"web1\" in agent.toml"), "{refused}");
        assert_eq!(fs::read_to_string(dir.path().join("owner.json")).unwrap(), before);
        assert!(claim(dir.path(), &owner("web1", "a"), 1).is_ok(), "and back again");
    }

    #[test]
    fn a_copy_puts_the_others_ledger_aside() {
        let dir = state();
        claim(dir.path(), &owner("web1", "a"), 0).unwrap();
        let remarks = claim(dir.path(), &owner("web1", "b"), 0).unwrap().remarks;
        assert!(remarks[0].contains("web1 on the machine a, which is another"), "{remarks:?}");
        assert!(!dir.path().join("ledger.json").exists());
        assert!(dir.path().join("ledger.json.of-web1-a").exists());
        assert!(claim(dir.path(), &owner("web1", "b"), 0).unwrap().remarks.is_empty(), "said once");
    }

    #[test]
    fn an_owner_that_cannot_be_read_or_written_stops_nothing() {
        let dir = state();
        fs::write(dir.path().join("owner.json"), "{ half").unwrap();
        assert_eq!(claim(dir.path(), &owner("web1", "a"), 1).unwrap().remarks.len(), 1);
        assert_eq!(read(&dir.path().join("owner.json")).unwrap(), Some(owner("web1", "a")));
        fs::remove_file(dir.path().join("owner.json")).unwrap();
        fs::create_dir_all(dir.path().join("owner.json/in-the-way")).unwrap();
        assert_eq!(claim(dir.path(), &owner("web1", "a"), 1).unwrap().remarks.len(), 2);
    }
}
