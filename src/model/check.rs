//! What a description, a rollout's record and an assignment may say of how a replica runs: one set of checks for all
//! of them, made by whoever acts on the document, before anything acts.

use std::{borrow::Cow, collections::BTreeMap};

use super::{Assignment, ConfigPolicy, Probes, Problem, RestartPolicy, ServiceSpec, Source, Span, Template};

/// The most environment variables, and the most credentials, of one service. systemd's work grows with their square.
pub(super) const MAX_ENTRIES: usize = 500;

/// The longest path of Linux, in bytes: `PATH_MAX` less the terminating zero.
const MAX_PATH_BYTES: usize = 4095;

/// The longest name of a file, in bytes: `NAME_MAX`.
const MAX_NAME_BYTES: usize = 255;

const NOT_SHORTEST: &str = "must be a path without empty parts, . and ..";

/// The longest version, in bytes; each replica repeats it, in four places.
pub(super) const MAX_VERSION_BYTES: usize = 255;

/// How a replica runs, whichever document says so; its unit aside, which an assignment names otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RunSettings<'a> {
    pub(super) unit_file: Option<&'a str>,
    port: Option<u16>,
    /// A span has its own limit.
    drain_time: Span,
    pub(super) restart: &'a RestartPolicy,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) credentials: &'a BTreeMap<String, String>,
    pub(super) source: &'a Source,
    pub(super) config: Option<&'a ConfigPolicy>,
    pub(super) probes: &'a Probes,
}

/// The same fields of each document. Names every one, so that one that is added to [`Template`] cannot be forgotten: it
/// would be neither checked nor rolled out.
macro_rules! run_settings {
    ($document:ident { $($other:ident),* }) => {
        impl<'a> From<&'a $document> for RunSettings<'a> {
            fn from(document: &'a $document) -> Self {
                let $document {
                    $($other: _,)*
                    unit: _,
                    unit_file,
                    port,
                    drain_time,
                    restart,
                    environment,
                    credentials,
                    source,
                    config,
                    probes,
                } = document;
                let (unit_file, port, config) = (unit_file.as_deref(), *port, config.as_ref());
                let drain_time = *drain_time;
                Self { unit_file, port, drain_time, restart, environment, credentials, source, config, probes }
            }
        }
    };
}

run_settings!(Template {});
run_settings!(Assignment { mode, version, config_version, min_healthy_time });
run_settings!(ServiceSpec { lost_after, max_unavailable, wait_for_reboot, placement, rollout, deleting });

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

/// Whether a character ends or bends a line, or is none that systemd lets pass: control characters of both sets, and
/// what Unicode keeps for no character at all.
pub(super) fn is_unprintable(c: char) -> bool {
    let is_noncharacter = (0xFDD0..=0xFDEF).contains(&u32::from(c)) || u32::from(c) & 0xFFFE == 0xFFFE;
    c.is_control() || is_noncharacter
}

/// The text in one line, for people, logs and protocols of lines: what would break or bend it is escaped.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !has_unprintable(text) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| {
        if is_unprintable(c) { Cow::Owned(c.escape_debug().to_string()) } else { Cow::Owned(c.to_string()) }
    };
    Cow::Owned(text.chars().map(escaped).collect::<Vec<Cow<'_, str>>>().concat())
}

fn has_unprintable(text: &str) -> bool {
    text.chars().any(is_unprintable)
}

/// What is wrong with texts that have to be one line each, by their keys: nothing that follows from them may have another.
pub(super) fn line_problems<'a>(texts: impl IntoIterator<Item = (String, &'a str)>) -> Vec<Problem> {
    let broken = texts.into_iter().filter(|(_, text)| has_unprintable(text));
    broken.map(|(key, _)| Problem::new(&key, "has a line break or another control character: leave it out")).collect()
}

/// What is wrong with a label, by its key and its value.
pub(super) fn label_problems((key, value): (&String, &String)) -> Vec<Problem> {
    line_problems([key, value].map(|text| (format!("labels.{}", shown(key)), &**text)))
}

/// What is wrong with a version.
pub(super) fn version_problems(key: &str, version: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if version.is_empty() || has_unprintable(version) {
        problems.push(Problem::new(key, "must not be empty or have control characters; leave it out instead"));
    }
    if version.len() > MAX_VERSION_BYTES {
        problems.push(Problem::new(key, format!("has more than {MAX_VERSION_BYTES} bytes")));
    }
    problems
}

/// The words of a command: the program's absolute path and its arguments.
pub(super) fn command_problems(key: &str, command: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if command.first().is_none_or(|program| !program.starts_with('/')) {
        problems.push(Problem::new(key, "must begin with the program's absolute path"));
    }
    if command.iter().any(|word| word.contains('\0')) {
        problems.push(Problem::new(key, "has a NUL character, which no argument can have"));
    }
    problems
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

/// A name as a part of a key that people read: what is too long is cut.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(60).collect()
}

#[cfg(test)]
mod tests;

/// What earlier releases accepted of how a replica runs: keys of a description, a template and an assignment. What is
/// checked more strictly since must not make nonsense of them, for an upgrade finds them in force.
#[cfg(test)]
pub(crate) fn released() -> Vec<serde_json::Value> {
    use serde_json::json;
    vec![
        json!({}),
        json!({"port": 8080, "environment": {"A": "b"}, "credentials": {"x": "/etc/webapp/x"}, "drain_time": "2s"}),
        json!({"restart": {"limit_interval": "0s"}}),
        json!({"credentials": {"x": "/etc/webapp/"}}),
        json!({"credentials": {"x": "/etc//webapp/x"}}),
        json!({"credentials": {"x": "/etc/./webapp/x"}}),
        json!({"credentials": {"x": "/etc/nginx/../webapp/x"}}),
        json!({"drain_time": "8785h"}),
        json!({"drain_time": "9223372036854775807s"}),
        json!({"drain_time": "+2s"}),
        json!({"source": {"timeout": "9223372036854775807s"}}),
        json!({"restart": {"watchdog": "10000h", "max_delay": "10000h", "limit_interval": "10000h"}}),
        json!({"probes": {"readiness": {"tcp": {"port": 80}, "period": "10000h"}}}),
    ]
}
