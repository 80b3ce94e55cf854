//! Why a check did not succeed, and whose fault that is.

use std::{fmt, io};

use crate::connect;

/// Why a check did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The replica failed it: what it answered, or that it did not.
    Replica(String),
    /// The agent could not ask: it, or its machine, is short of descriptors, memory, ports, processes or an answer of the
    /// resolver. Says nothing of the replica.
    NotAsked(String),
}

impl Failure {
    /// What the system said when the replica was asked.
    pub(super) fn io(error: &io::Error) -> Self {
        let words = connect::words(error);
        if connect::is_own(error) { Self::NotAsked(words) } else { Self::Replica(words) }
    }

    /// The same, with what was asked before it.
    pub(super) fn of(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Replica(why) => Self::Replica(format!("{what}: {why}")),
            Self::NotAsked(why) => Self::NotAsked(format!("{what}: {why}")),
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Replica(why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Replica(why) | Self::NotAsked(why)) = self;
        f.write_str(why)
    }
}
