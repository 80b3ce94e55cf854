//! What can be wrong with a configuration.

use std::{fmt, io, path::PathBuf};

use crate::model::one_line;

/// Why a configuration cannot be used: which file, where in it, and how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there, or was asked for, and cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's text is wrong.
    #[error("{}{}: {}{}", path.display(), at(*line), key(key_path), one_line(message))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where there is one.
        line: Option<usize>,
        /// The key's path, as in `zookeeper.servers`; empty for the file as a whole.
        key_path: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// What no file sets, this machine does not say either: it may at another time, and another machine may.
    #[error("{message}")]
    Missing {
        /// What is missing, and which key sets it.
        message: String,
    },
    /// Keys that cannot be set together, be it in different files.
    #[error("{message}")]
    Conflict {
        /// Which, why, and what to do.
        message: String,
    },
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

fn key(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{}: ", one_line(path)) }
}

/// What `--check-config` says: the files that were read, in order, and all that is wrong with them.
#[derive(Debug, Default)]
pub struct Check {
    /// The files that count.
    pub files: Vec<PathBuf>,
    /// What is wrong; the configuration can be used when this is empty.
    pub problems: Vec<ConfigError>,
    /// What this machine lacks for it to be used here.
    pub remarks: Vec<String>,
}

impl Check {
    /// Whether the configuration can be used.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "read {}", file.display())?;
        }
        for problem in &self.problems {
            write!(f, "{problem}")?;
            let source = std::error::Error::source(problem);
            writeln!(f, "{}", source.map(|source| format!(": {source}")).unwrap_or_default())?;
        }
        for remark in &self.remarks {
            writeln!(f, "not on this machine: {remark}")?;
        }
        f.write_str(if self.is_ok() { "the configuration is good" } else { "the configuration cannot be used" })
    }
}
