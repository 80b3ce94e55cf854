//! Why a version cannot be had.

use std::{fmt::Display, io};

use rustix::io::Errno;

/// Why a release could not be fetched or switched to. Its text is for the operator: what, where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// Whether trying again cannot help: a wrong checksum, no such version, an archive that is none. Otherwise the
    /// fault may pass: a server that is down or slow, a full disk, a lock that is held.
    pub rejected: bool,
    /// What went wrong.
    pub message: String,
}

impl SourceError {
    /// What will fail again however often it is tried.
    pub fn rejected(message: impl Display) -> Self {
        Self { rejected: true, message: message.to_string() }
    }

    /// What may pass.
    pub fn passing(message: impl Display) -> Self {
        Self { rejected: false, message: message.to_string() }
    }

    /// The system said no while `doing` something: that may pass, as a full disk does.
    pub(crate) fn io(doing: impl Display, error: &io::Error) -> Self {
        let full = matches!(os_error(error), Some(Errno::NOSPC | Errno::DQUOT));
        Self::passing(if full { format!("{doing}: the disk is full") } else { format!("{doing}: {error}") })
    }
}

/// What the system said, when it was the system that said it, whatever the error is wrapped in.
pub(crate) fn os_error(error: &io::Error) -> Option<Errno> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if let Some(code) = io.and_then(io::Error::raw_os_error) {
            return Some(Errno::from_raw_os_error(code));
        }
        next = io.and_then(|io| io.get_ref().map(|inner| inner as _)).or_else(|| error.source());
    }
    None
}
