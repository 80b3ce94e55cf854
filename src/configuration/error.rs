//! Why a configuration cannot be had.

use std::{fmt::Display, io};

use crate::source::SourceError;

/// Why a revision could not be staged. Its text is for the operator: which file, which line, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigurationError {
    /// Whether trying again cannot help: a template's error, a refusal by the service's check. Otherwise the fault may
    /// pass, as a full disk does.
    pub rejected: bool,
    /// What went wrong.
    pub message: String,
}

impl ConfigurationError {
    /// What will fail again however often it is tried.
    pub fn rejected(message: impl Display) -> Self {
        Self { rejected: true, message: message.to_string() }
    }

    /// What may pass.
    pub fn passing(message: impl Display) -> Self {
        Self { rejected: false, message: message.to_string() }
    }

    /// The system said no while `doing` something: that may pass, as a full disk does.
    pub(super) fn io(doing: impl Display, error: &io::Error) -> Self {
        let SourceError { rejected, message } = SourceError::io(doing, error);
        Self { rejected, message }
    }
}
