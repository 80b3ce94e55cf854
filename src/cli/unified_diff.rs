//! What differs between two texts, or between what is in the tree and what is to be, as unified diffs.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{
    document::Change,
    failure::{self, Failure},
    render::{self, Tone},
};

/// The exit code of a comparison: 1 says "changes".
pub(super) fn exit_code(changed: bool) -> ExitCode {
    if changed { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

/// A comparison's failure that has no code of its own may not have that of "changes".
pub(super) fn never_one(error: anyhow::Error) -> anyhow::Error {
    match failure::code(&error) {
        1 if !failure::is_broken_pipe(&error) => Failure::Input(format!("{error:#}")).into(),
        _ => error,
    }
}

/// The unified diff of one document, coloured.
pub(super) fn text(change: &Change, source: &str) -> String {
    painted(&plain(change, source))
}

/// The unified diff of one document.
pub(super) fn plain(change: &Change, source: &str) -> String {
    let (before, after) = (change.before.as_ref().map(toml).unwrap_or_default(), toml(&change.after));
    let old = if change.is_new() { "/dev/null" } else { &change.path };
    between(old, &format!("{} ({source})", change.path), &before, &after)
}

/// The unified diff of two texts; empty when they are the same. A text of the tree must not drive a terminal, so
/// each line loses its control characters.
pub(super) fn between(old: &str, new: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut text = String::new();
    for group in diff.unified_diff().context_radius(3).iter_hunks() {
        if text.is_empty() {
            let _ = writeln!(text, "--- {old}\n+++ {new}");
        }
        let _ = writeln!(text, "{}", group.header());
        for change in group.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let _ = writeln!(text, "{sign}{}", render::harmless(change.value()));
        }
    }
    text
}

/// A unified diff with its colours.
pub(super) fn painted(diff: &str) -> String {
    let mut text = String::new();
    for (index, line) in diff.lines().enumerate() {
        let tone = match line.as_bytes().first() {
            _ if index < 2 => Tone::Strong,
            Some(b'-') => Tone::Bad,
            Some(b'+') => Tone::Good,
            _ => Tone::Plain,
        };
        let _ = writeln!(text, "{}", tone.paint(line));
    }
    text
}

/// The document as a file would have it; JSON where TOML cannot say it.
pub(super) fn toml(document: &Value) -> String {
    match document {
        Value::String(text) => text.clone() + "\n",
        // By way of TOML's own table, which sorts the keys: their order is no difference.
        other => toml::Value::try_from(other)
            .and_then(|sorted| toml::to_string_pretty(&sorted))
            .unwrap_or_else(|_| format!("{other:#}\n")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Desired;
    use crate::tree::node::Node;

    #[test]
    fn a_change_shows_as_a_unified_diff() {
        let data = br#"{"mode":"enabled","version":"v1","replicas":2}"#.to_vec();
        let node = Node { data, version: 1, mzxid: 1, ephemeral_owner: 0 };
        let wanted = Desired { version: Some("v2".into()), replicas: 2, ..Desired::default() };
        let change = Change::to("/services/w/desired".into(), Some(&node), &wanted);
        let text = anstream::adapter::strip_str(&text(&change, "w.toml")).to_string();
        insta::assert_snapshot!(text, @r#"
    --- /services/w/desired
    +++ /services/w/desired (w.toml)
    @@ -1,3 +1,3 @@
     mode = "enabled"
     replicas = 2
    -version = "v1"
    +version = "v2"
    "#);
    }

    #[test]
    fn a_new_document_has_nothing_before() {
        let change = Change::to("/services/w/desired".into(), None, &Desired::default());
        let text = anstream::adapter::strip_str(&text(&change, "w.toml")).to_string();
        assert!(text.starts_with("--- /dev/null\n+++ /services/w/desired (w.toml)\n@@ -0,0 +1,2 @@\n+mode"), "{text}");
    }
}
