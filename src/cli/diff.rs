//! `zkops diff`: what `apply` would change, as a unified diff in the files' own format.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{
    apply::Plan,
    context::Context,
    document::Change,
    failure::{self, Failure},
    manifest,
    render::{self, Tone},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: no change, 1: changes, more: an error, as `kubectl diff`.

Example:
  zkops diff -f webapp.toml || zkops apply -f webapp.toml")]
pub(super) struct Args {
    /// A service's description; may be given several times, `-` is standard input
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    // Exit code 1 says "changes" here, so a failure without a code of its own may not have it.
    let changed = compare(args, cx).await.map_err(|error| match failure::code(&error) {
        1 if !failure::is_broken_pipe(&error) => Failure::Input(format!("{error:#}")).into(),
        _ => error,
    })?;
    Ok(if changed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

async fn compare(args: &Args, cx: &Context) -> anyhow::Result<bool> {
    let manifests = manifest::read_all(&args.files)?;
    let client = cx.connect_to_tree().await?;
    let mut changed = false;
    for manifest in &manifests {
        let plan = Plan::read(manifest, &client).await?;
        for change in [&plan.service, &plan.desired].into_iter().filter(|change| change.is_needed()) {
            render::out(&text(change, &manifest.source))?;
            changed = true;
        }
    }
    Ok(changed)
}

/// The unified diff of one document.
fn text(change: &Change, source: &str) -> String {
    let (before, after) = (change.before.as_ref().map(toml).unwrap_or_default(), toml(&change.after));
    let old = if change.is_new() { "/dev/null" } else { &change.path };
    let mut text = Tone::Strong.paint(&format!("--- {old}\n+++ {} ({source})", change.path)) + "\n";
    for group in TextDiff::from_lines(&before, &after).unified_diff().context_radius(3).iter_hunks() {
        let _ = writeln!(text, "{}", group.header());
        text.extend(group.iter_changes().map(|change| line(change.tag(), change.value())));
    }
    text
}

fn line(tag: ChangeTag, value: &str) -> String {
    let value = render::harmless(value);
    let line = match tag {
        ChangeTag::Delete => Tone::Bad.paint(&format!("-{value}")),
        ChangeTag::Insert => Tone::Good.paint(&format!("+{value}")),
        ChangeTag::Equal => format!(" {value}"),
    };
    line + "\n"
}

/// The document as a file would have it; JSON where TOML can't say it.
fn toml(document: &Value) -> String {
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
    use crate::{model::Desired, store::Node};

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
