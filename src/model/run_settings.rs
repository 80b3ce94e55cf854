//! What a description, a rollout's record and an assignment may say of how a replica runs: one set of checks for all
//! of them, made by whoever acts on the document, before anything acts.

use std::collections::BTreeMap;

use super::{
    ConfigPolicy, Probes, Problem, RestartPolicy, Source, Span,
    check::shown,
    text::{has_unprintable, is_unprintable},
};

/// The most environment variables, and the most credentials, of one service. systemd's work grows with their square.
const MAX_ENTRIES: usize = 500;

/// The longest path of Linux, in bytes: `PATH_MAX` less the terminating zero.
const MAX_PATH_BYTES: usize = 4095;

/// The longest name of a file, in bytes: `NAME_MAX`.
const MAX_NAME_BYTES: usize = 255;

const NOT_SHORTEST: &str = "must be a path without empty parts, . and ..";

/// How a replica runs, as a description and a [`Template`](super::Template) say it; its unit aside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RunSettings<'a> {
    pub(super) unit_file: Option<&'a str>,
    pub(super) port: Option<u16>,
    /// A span has its own limit.
    pub(super) drain_time: Span,
    pub(super) restart: &'a RestartPolicy,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) credentials: &'a BTreeMap<String, String>,
    pub(super) source: &'a Source,
    pub(super) config: Option<&'a ConfigPolicy>,
    pub(super) probes: &'a Probes,
}

impl RunSettings<'_> {
    /// What is wrong with them beyond their shape.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.port == Some(0) {
            problems.push(Problem::new("port", "must be 1 to 65535"));
        }
        problems.extend(self.unit_file.into_iter().flat_map(unit_file_problems));
        problems.extend(self.restart.problems());
        problems.extend(environment_problems(self.environment));
        problems.extend(credential_problems(self.credentials));
        problems.extend(self.source.problems());
        problems.extend(self.config.iter().flat_map(|config| config.problems()));
        problems.extend(self.probes.problems(self.port));
        problems
    }
}

fn unit_file_problems(text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !text.lines().any(|line| line.trim() == "[Service]") {
        problems.push(Problem::new("unit_file", "has no [Service] section"));
    }
    if text.chars().any(|c| is_unprintable(c) && !matches!(c, '\n' | '\r' | '\t')) {
        problems.push(Problem::new("unit_file", "has a control character that is neither a line's end nor a tab"));
    }
    problems
}

fn environment_problems(environment: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = too_many("environment", environment);
    for (name, value) in environment {
        let mut check = |bad: bool, message: &str| {
            if bad {
                problems.push(Problem::new(&format!("environment.{}", shown(name)), message));
            }
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let named = name.chars().all(word) && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
        check(!named, "a variable's name has letters, digits and '_' and starts with no digit");
        check(name.starts_with("ZKOPS_"), "names that start with ZKOPS_ are set by zkops");
        check(has_unprintable(value), "the value has a control character");
    }
    problems
}

fn credential_problems(credentials: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = too_many("credentials", credentials);
    for (name, path) in credentials {
        let mut check = |bad: bool, message: &str| {
            if bad {
                problems.push(Problem::new(&format!("credentials.{}", shown(name)), message));
            }
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        check(!name.chars().all(word) || name.is_empty(), "a credential's name has letters, digits and - _ .");
        let is_file_name = !matches!(name.as_str(), "." | "..") && name.len() <= MAX_NAME_BYTES;
        check(!is_file_name, "a credential's name is that of a file: not . or .., and 255 bytes at most");
        let plain = !path.chars().any(|c| is_unprintable(c) || matches!(c, '%' | ':' | '\\'));
        let plain = plain && path.starts_with('/') && path.trim_end() == path;
        check(!plain, r"must be the absolute path of a file on the host, without % : and \");
        check(path.len() > MAX_PATH_BYTES, "has more than 4095 bytes, the longest path there is");
    }
    problems
}

/// What leads to the same file, but is not written the shortest way.
pub(super) fn untidy_paths(credentials: &BTreeMap<String, String>) -> Vec<Problem> {
    let is_untidy = |path: &str| path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
    let untidy = credentials.iter().filter(|(_, path)| is_untidy(path));
    untidy.map(|(name, _)| Problem::new(&format!("credentials.{}", shown(name)), NOT_SHORTEST)).collect()
}

fn too_many(key: &str, entries: &BTreeMap<String, String>) -> Vec<Problem> {
    let many = entries.len() > MAX_ENTRIES;
    let problem = || Problem::new(key, format!("has {} entries, {MAX_ENTRIES} are allowed", entries.len()));
    many.then(problem).into_iter().collect()
}
