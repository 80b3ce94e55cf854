//! What several documents check alike, each made by whoever acts on the document, before anything acts.

use super::{Problem, text::has_unprintable};

/// The longest version, in bytes; each replica repeats it, in four places.
pub(super) const MAX_VERSION_BYTES: usize = 255;

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

/// A name as a part of a key that people read: what is too long is cut.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(60).collect()
}

#[cfg(test)]
mod tests;

/// What earlier releases accepted of how a replica runs: keys of a description and of a template. What is
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
