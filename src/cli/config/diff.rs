//! `zkops config diff`: what changed from one revision to another.

use std::{collections::BTreeSet, process::ExitCode, string::FromUtf8Error};

use serde::Serialize;

use super::revision;
use crate::{
    cli::{context::Context, failure::Failure, get::Format, render, unified_diff},
    model::{ConfigFile, ConfigRevision, ServiceName, read_number},
    tree::layout,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: the same files, 1: others, more: an error, as `zkops diff`.

Example:
  zkops config diff webapp 3 4")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// The old revision
    #[arg(value_name = "N", value_parser = read_number::<u64>)]
    old: u64,
    /// The new revision
    #[arg(value_name = "M", value_parser = read_number::<u64>)]
    new: u64,
    #[command(flatten)]
    output: Format,
}

/// The shape for programs.
#[derive(Serialize)]
struct Document<'d> {
    service: &'d ServiceName,
    from: u64,
    to: u64,
    files: Vec<FileDiff>,
}

/// A file that is not the same.
#[derive(Debug, Serialize)]
struct FileDiff {
    path: String,
    /// `added`, `removed` or `changed`.
    change: &'static str,
    /// Changed permissions and owners, and a unified diff of the text.
    diff: String,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let changed = compare(args, cx).await.map_err(unified_diff::never_one)?;
    Ok(unified_diff::exit_code(changed))
}

async fn compare(args: &Args, cx: &Context) -> anyhow::Result<bool> {
    let client = cx.connect_to_tree().await?;
    let Args { service, old: from, new: to, .. } = args;
    let (old, _) = revision::read(service, *from, &client).await?;
    let (new, _) = revision::read(service, *to, &client).await?;
    let title = |number| layout::config(service, number);
    let files = files(&old, &new, &title(*from), &title(*to))?;
    let changed = !files.is_empty();
    if args.output.is_json() {
        let document = Document { service, from: *from, to: *to, files };
        render::out(&render::json_text(&document)?)?;
    } else {
        files.iter().try_for_each(|file| render::out(&unified_diff::painted(&file.diff)))?;
    }
    Ok(changed)
}

fn files(old: &ConfigRevision, new: &ConfigRevision, from: &str, to: &str) -> Result<Vec<FileDiff>, Failure> {
    let paths: BTreeSet<&String> = old.files.keys().chain(new.files.keys()).collect();
    let mut diffs = Vec::new();
    for path in paths {
        let (old, new) = (old.files.get(path), new.files.get(path));
        let change = match (old, new) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) if old == new => continue,
            _ => "changed",
        };
        let title =
            |side: &str, file: Option<&ConfigFile>| file.map_or("/dev/null".to_owned(), |_| format!("{side}/{path}"));
        let mut diff = attributes(path, old, new);
        diff += &texts(path, &title(from, old), &title(to, new), old, new)?;
        diffs.push(FileDiff { path: path.clone(), change, diff });
    }
    Ok(diffs)
}

/// What changed of a file beside its content, a line each.
fn attributes(path: &str, old: Option<&ConfigFile>, new: Option<&ConfigFile>) -> String {
    let (Some(old), Some(new)) = (old, new) else { return String::new() };
    let word = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    let kind = |template| if template { "template" } else { "plain" }.to_owned();
    let pairs = [
        ("mode", word(&old.mode, "0644"), word(&new.mode, "0644")),
        ("owner", word(&old.owner, "root"), word(&new.owner, "root")),
        ("group", word(&old.group, "root"), word(&new.group, "root")),
        ("kind", kind(old.template), kind(new.template)),
    ];
    let changed = pairs.into_iter().filter(|(_, old, new)| old != new);
    changed.fold(String::new(), |text, (what, old, new)| text + &format!("{path}: {what} {old} -> {new}\n"))
}

fn texts(
    path: &str,
    from: &str,
    to: &str,
    old: Option<&ConfigFile>,
    new: Option<&ConfigFile>,
) -> Result<String, Failure> {
    let bytes = |file: Option<&ConfigFile>| file.map_or(Ok(Vec::new()), |file| revision::bytes(path, file));
    let (before, after) = (bytes(old)?, bytes(new)?);
    match (String::from_utf8(before), String::from_utf8(after)) {
        (Ok(before), Ok(after)) => Ok(unified_diff::between(from, to, &before, &after)),
        (before, after) => {
            let bytes = FromUtf8Error::into_bytes;
            let same = before.map_err(bytes) == after.map_err(bytes);
            Ok(if same { String::new() } else { format!("{from} and {to} are not text, and differ\n") })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn revision(files: &Value) -> ConfigRevision {
        serde_json::from_value(json!({"files": files})).unwrap()
    }

    #[test]
    fn every_way_to_differ_shows() {
        let old = revision(&json!({"a": {"text": "one\ntwo\n"}, "b": {"text": "x"}, "same": {"text": "s"},
                                   "bin": {"base64": "/w=="}, "mode": {"text": "m"}}));
        let new = revision(&json!({"a": {"text": "one\nthree\n"}, "c": {"text": "y\n"}, "same": {"text": "s"},
                                   "bin": {"base64": "/g=="}, "mode": {"text": "m", "mode": "0600", "owner": "www"}}));
        let text: String = files(&old, &new, "1", "2").unwrap().into_iter().map(|file| file.diff).collect();
        insta::assert_snapshot!(text, @r#"
        --- 1/a
        +++ 2/a
        @@ -1,2 +1,2 @@
         one
        -two
        +three
        --- 1/b
        +++ /dev/null
        @@ -1 +0,0 @@
        -x
        1/bin and 2/bin are not text, and differ
        --- /dev/null
        +++ 2/c
        @@ -0,0 +1 @@
        +y
        mode: mode 0644 -> 0600
        mode: owner root -> www
        "#);
    }
}
