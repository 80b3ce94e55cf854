//! What a credential's path leads to on this host. `LoadCredential=` has systemd connect to a socket, which may start
//! the unit behind it, and open a device or a pipe, which may do anything (systemd.exec(5)): only files may be
//! credentials, and folders of files.
//!
//! systemd sees the host's files, this agent those of its sandbox (`PrivateDevices=`, `ProtectHome=`, `PrivateTmp=`). So
//! paths are looked up as PID 1 would, below its root. Before each start, since a path may lead elsewhere by then; a
//! restart that systemd makes by itself is not looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat2};
use tokio::time::timeout;

use crate::{
    blocking,
    model::{CheckedAssignment, ReplicaId},
    plan::agent::action::Refusal,
};

/// So long is waited for the disk that a credential is on.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most files and folders of a credential that is a folder. systemd loads 1 MiB at most.
const MOST_ENTRIES: usize = 1000;

/// statfs(2), `f_type` of what is no disk: reading there may do anything.
const KERNELS: [u64; 2] = [0x9fa0, 0x6265_6572];

/// Whose credentials are being looked at: one whose disk hangs takes one thread, however often it is asked for.
static LOOKING: Mutex<BTreeSet<ReplicaId>> = Mutex::new(BTreeSet::new());

/// What was found out about a piece of work's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing speaks against them. One that is not there is systemd's to tell of, at the start.
    Fine,
    /// They must not be loaded: why.
    Bad(String),
    /// Their disk does not answer.
    Late,
}

impl Credentials {
    /// Looks at them, below the root that systemd has.
    pub(super) async fn look(id: &ReplicaId, assignment: &CheckedAssignment, root: &Path) -> Self {
        if assignment.template.credentials.is_empty() {
            return Self::Fine;
        }
        let (id, paths, root) = (id.clone(), assignment.template.credentials.clone(), root.to_owned());
        if !looking(|all| all.insert(id.clone())) {
            return Self::Late;
        }
        let look = move || {
            let found = problem(&paths, &root).map_or(Self::Fine, Self::Bad);
            looking(|all| all.remove(&id));
            found
        };
        timeout(PATIENCE, blocking::CREDENTIALS.run(look)).await.unwrap_or(Self::Late)
    }

    /// Whether the work can go on.
    pub(super) fn judge(self) -> Result<(), Refusal> {
        match self {
            Self::Fine => Ok(()),
            Self::Bad(why) => Err(Refusal::rejected(why)),
            Self::Late => Err(Refusal::passing("credentials: the disk that they are on does not answer")),
        }
    }
}

fn looking<T>(change: impl FnOnce(&mut BTreeSet<ReplicaId>) -> T) -> T {
    change(&mut LOOKING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is wrong with the first that is no file. May block.
fn problem(paths: &BTreeMap<String, String>, root: &Path) -> Option<String> {
    blocking::may_block();
    let opened = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Ok(root) = opened else { return Some(format!("credentials: {} cannot be looked at", root.display())) };
    paths.iter().find_map(|(name, path)| {
        let bad = match find(root.as_fd(), Path::new(path)) {
            Ok(bad) => bad?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => format!("{path} cannot be looked at: {error}"),
        };
        Some(format!("credentials.{name}: {bad}; a credential has to be a file, or a folder of files"))
    })
}

/// What is there that is neither file nor folder.
fn find(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<String>> {
    let mut left = MOST_ENTRIES;
    let mut folders = vec![path.to_owned()];
    let top = look_up(root, path, OFlags::PATH)?;
    match kind(&top)? {
        FileType::RegularFile => return kernels(&top, path),
        FileType::Directory => {}
        other => return Ok(Some(format!("{} is {}", path.display(), words(other)))),
    }
    while let Some(folder) = folders.pop() {
        let opened = look_up(root, &folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        if let Some(bad) = kernels(&opened, &folder)? {
            return Ok(Some(bad));
        }
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(Some(format!("{} has more than {MOST_ENTRIES} files", path.display()))),
            };
            let inner: PathBuf = folder.join(&name);
            match entry.file_type() {
                FileType::Directory => folders.push(inner),
                // systemd passes over all others (systemd.exec(5), LoadCredential=).
                other @ FileType::Socket => return Ok(Some(format!("{} is {}", inner.display(), words(other)))),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Follows links, as systemd does, and never leads out of the root.
fn look_up(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn kind(file: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}

fn kernels(file: &OwnedFd, path: &Path) -> io::Result<Option<String>> {
    #[expect(clippy::cast_sign_loss, reason = "the field's type differs between systems")]
    let system = fstatfs(file)?.f_type as u64;
    Ok(KERNELS.contains(&system).then(|| format!("{} is the kernel's", path.display())))
}

fn words(kind: FileType) -> &'static str {
    match kind {
        FileType::Socket => "a socket",
        FileType::Fifo => "a pipe",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no file",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use serde_json::json;

    use super::*;
    use crate::model::assigned;

    fn problem_of(root: &Path, path: &str) -> Option<String> {
        problem(&BTreeMap::from([("x".to_owned(), path.to_owned())]), root)
    }

    #[test]
    fn a_credential_is_a_file_or_a_folder_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("key"), "secret").unwrap();
        symlink(path("key"), path("link")).unwrap();
        fs::create_dir_all(path("folder/inner")).unwrap();
        fs::write(path("folder/inner/key"), "secret").unwrap();
        fs::create_dir_all(path("sockets/inner")).unwrap();
        let _sockets = ["socket", "sockets/inner/socket"].map(|name| UnixListener::bind(path(name)).unwrap());
        symlink(path("socket"), path("to-socket")).unwrap();
        for fine in ["key", "link", "folder", "folder/", "not-there", "not/there/either"] {
            assert_eq!(problem_of(Path::new("/"), &path(fine)), None, "{fine}");
        }
        let sockets = ["socket", "to-socket", "sockets"].map(&path);
        for special in sockets.iter().map(String::as_str).chain(["/dev/null", "/proc/kmsg", "/proc", "/proc/self/root"])
        {
            let problem = problem_of(Path::new("/"), special).unwrap();
            assert!(problem.starts_with("credentials.x: ") && problem.contains("has to be a file"), "{problem}");
        }
    }

    /// As in a sandbox: what is below another root counts, and links stay below it.
    #[test]
    fn what_systemd_sees_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("root")).unwrap();
        let _socket = UnixListener::bind(root.path().join("root/socket")).unwrap();
        symlink("/root/socket", root.path().join("link")).unwrap();
        fs::write(root.path().join("root/key"), "secret").unwrap();
        for special in ["/root/socket", "/link", "/../root/socket"] {
            assert!(problem_of(root.path(), special).is_some(), "{special}");
        }
        assert_eq!(problem_of(root.path(), "/root/key"), None);
        assert!(problem_of(Path::new("/not/there"), "/root/key").is_some());
    }

    #[tokio::test]
    async fn a_disk_that_hangs_takes_one_thread_of_a_replica() {
        let wanted = json!({"mode": "enabled", "unit": "web.service", "credentials": {"x": "/etc/hostname"}});
        let assignment: CheckedAssignment = serde_json::from_value(assigned(wanted)).unwrap();
        let id: ReplicaId = "web.0000000001".parse().unwrap();
        looking(|all| all.insert(id.clone()));
        assert_eq!(Credentials::look(&id, &assignment, Path::new("/")).await, Credentials::Late);
        looking(|all| all.remove(&id));
        assert_eq!(Credentials::look(&id, &assignment, Path::new("/")).await, Credentials::Fine);
        assert!(!looking(|all| all.contains(&id)));
    }
}
