//! How a command can fail, and the exit code of each way.

use std::{error::Error, io, process::ExitCode};

use crate::{
    config::ConfigError,
    store::{CommitError, StoreError},
};

/// Where ZooKeeper is and the table of exit codes, at the end of `zkops --help` and of the man page.
pub(super) const EPILOGUE: &str = "\
ZooKeeper's servers are taken from the first of these that is set:
  -z SERVERS, the environment variable ZKOPS_ZOOKEEPER, `[zookeeper] servers` in
  /etc/zkops/cli.toml, 127.0.0.1:2181. A path at the end of SERVERS is the chroot:
  the folder of ZooKeeper's tree that everything is under.

Exit codes:
  0  done (diff, plan: no change)
  1  failure (diff, plan: there are changes)
  2  bad usage or input (diff, plan: any failure that has no code of its own)
  3  not found
  4  conflict: changed by someone else meanwhile, or not possible as things are
  5  --wait timed out; ensemble rolling-restart: a member did not come back in time
  6  ZooKeeper unreachable, or its answer was lost; ensemble status: no quorum
  7  --wait: the rollout was rolled back, paused by a failure, or superseded; every host
     refuses the service
  8  --wait: the rollout waits for `zkops rollout promote`
  9  ensemble status: degraded

Colours are used on a terminal, unless the environment variable NO_COLOR is set.";

/// A failure that the shell can tell apart. Any other error is exit code 1.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Exit code 2: what the person handed in is wrong.
    #[error("{0}")]
    Input(String),
    /// Exit code 3: what the person named is not there.
    #[error("{0}")]
    NotFound(String),
    /// Exit code 4: someone else changed it between our reading and our writing, or things are not as they would have
    /// to be.
    #[error("{0}")]
    Conflict(String),
    /// Exit code 5: `--wait` waited long enough.
    #[error("{0}")]
    TimedOut(String),
    /// Exit code 7: the rollout waited for failed, something else was wanted meanwhile, or every host refuses the service.
    #[error("{0}")]
    RolloutFailed(String),
    /// Exit code 8: the rollout waited for needs a person's word.
    #[error("{0}")]
    NeedsPromotion(String),
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::NotFound(_) => 3,
            Self::Conflict(_) => 4,
            Self::TimedOut(_) => 5,
            Self::RolloutFailed(_) => 7,
            Self::NeedsPromotion(_) => 8,
        }
    }
}

/// The exit code that stands for `error`: the outermost cause that has one decides.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

fn code_of(cause: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.code());
    }
    if cause.is::<ConfigError>() {
        return Some(2);
    }
    if let Some(CommitError::Disconnected | CommitError::Unknown { .. }) = cause.downcast_ref() {
        return Some(6);
    }
    match cause.downcast_ref::<StoreError>()? {
        StoreError::BadServers { .. } => Some(2),
        StoreError::NoChroot { .. } => Some(3),
        StoreError::Unreachable { .. } | StoreError::Disconnected => Some(6),
        StoreError::Refused { .. } => None,
    }
}

/// Whether the connection was lost, so that nobody knows yet what became of the request.
pub(super) fn is_lost_connection(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(CommitError::Disconnected | CommitError::Unknown { .. }))
            || matches!(cause.downcast_ref(), Some(StoreError::Disconnected))
    })
}

/// Prints the whole chain of `error` as one `zkops: …` message on standard error, and returns its exit code.
///
/// A reader of our output that went away (`zkops get | head`) is no failure, and is not talked about.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    super::render::complain(error);
    ExitCode::from(code(error))
}

/// Whether the reader of our output went away.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn context_keeps_the_code() {
        let plain = anyhow::anyhow!("odd");
        let failure = anyhow::Error::from(Failure::Conflict("changed".into())).context("cannot scale webapp");
        let lost = anyhow::Error::from(StoreError::Disconnected).context("cannot read");
        assert_eq!((code(&plain), code(&failure), code(&lost)), (1, 4, 6));
        let source = zookeeper_client::Error::ConnectionLoss;
        let unknown = anyhow::Error::from(CommitError::Unknown { source }).context("cannot write");
        assert_eq!(code(&unknown), 6, "nobody knows whether it was written");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone: anyhow::Result<()> = Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert!(gone.is_err_and(|error| is_broken_pipe(&error)));
    }
}
