//! What a credential's path leads to on this host. `LoadCredential=` has PID 1 connect to a socket, which may start the
//! unit behind it, and open a device or a pipe, which may do anything (systemd.exec(5)): only a file may be one.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    blocking,
    model::{CheckedAssignment, ReplicaId},
};

/// So long is waited for the disk that a credential is on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Of those replicas that have a credential which is no file, what is wrong with the first.
pub(super) async fn refuse_special<'a>(
    replicas: impl Iterator<Item = (&'a ReplicaId, &'a CheckedAssignment)>,
) -> BTreeMap<ReplicaId, String> {
    let with_credentials = replicas.filter(|(_, assignment)| !assignment.credentials.is_empty());
    let looked = with_credentials.map(|(id, assignment)| {
        let credentials = assignment.credentials.clone();
        let look = blocking::beside(move || credentials.iter().find_map(|(name, path)| find_problem(name, path)));
        async move {
            let late = || Some("credentials: the disk that they are on does not answer".to_owned());
            Some((id.clone(), timeout(PATIENCE, look).await.unwrap_or_else(|_| late())?))
        }
    });
    join_all(looked).await.into_iter().flatten().collect()
}

/// One that is not there, or that the agent may not see, is left to systemd, which says so at the start. May block.
fn find_problem(name: &str, path: &str) -> Option<String> {
    blocking::may_block();
    // Follows links, as systemd does.
    let kind = fs::metadata(Path::new(path)).ok()?.file_type();
    let problem = || format!("credentials.{name}: {path} is no regular file, and a credential has to be one");
    (!kind.is_file()).then(problem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn a_credential_is_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("key"), "secret").unwrap();
        symlink(path("key"), path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        symlink(path("socket"), path("to-socket")).unwrap();
        for fine in ["key", "link", "not-there"] {
            assert_eq!(find_problem("x", &path(fine)), None, "{fine}");
        }
        for special in [&path("socket"), &path("to-socket"), "/dev/null", "/"] {
            let problem = find_problem("x", special).unwrap();
            assert!(problem.starts_with("credentials.x: ") && problem.contains(special), "{problem}");
        }
    }
}
