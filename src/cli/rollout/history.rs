//! `zkops rollout history`: what was rolled out before, and what changed from one to the next.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::words;
use crate::{
    cli::{
        context::{self, Context},
        failure::Failure,
        fleet::{Document, Service},
        get::{self, Format, Trouble},
        render::{self, Cell, Table, or_dash},
        unified_diff,
    },
    model::{Rollout, ServiceName, read_sequence},
    tree::layout,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
How many are kept is `[rollout] history_limit`, 10 unless the description says otherwise.

Examples:
  zkops rollout history webapp
  zkops rollout history webapp --diff
  zkops rollout history webapp --diff 4..7")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// Show what changed: from each to the next, from N to M, or what N changed
    #[arg(long, value_name = "N..M", num_args = 0..=1, default_missing_value = "..")]
    diff: Option<Range>,
    #[command(flatten)]
    output: Format,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// Each with the next.
    All,
    /// One with the one before it.
    One(u64),
    /// Two with each other.
    Two(u64, u64),
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("write N..M, as in 4..7, or one rollout's number: \"{text}\" is neither");
        let number = |text: &str| read_sequence(text.trim()).map_err(|_| wrong());
        match text.split_once("..") {
            Some(("", "")) => Ok(Self::All),
            Some((first, second)) => Ok(Self::Two(number(first)?, number(second)?)),
            None => Ok(Self::One(number(text)?)),
        }
    }
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    let client = cx.connect_to_tree().await?;
    let service = context::read_service(name, &client).await?.ok_or_else(|| context::no_service(name))?;
    let diffs = args.diff.map(|range| diffs(name, &service, range)).transpose()?;
    if args.output.is_json() {
        let items = service.rollouts.iter().map(|(number, document)| item(name, *number, document)).collect();
        return Ok(render::out(&render::json_text(&List { items, diffs })?)?);
    }
    match diffs {
        Some(diffs) => show(name, &diffs),
        None => Ok(render::table(&table(&service, Timestamp::now()), &format!("{name} has no rollout yet"))?),
    }
}

#[derive(Serialize)]
struct List<'f> {
    items: Vec<Item<'f>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diffs: Option<Vec<Diff>>,
}

#[derive(Serialize)]
struct Item<'f> {
    service: &'f ServiceName,
    number: u64,
    version: i32,
    rollout: Option<&'f Value>,
    problems: Vec<Trouble>,
}

/// What changed from one rollout's revision to another's.
#[derive(Debug, Serialize)]
struct Diff {
    from: u64,
    to: u64,
    /// A unified diff of the two revisions as TOML; empty when they are the same.
    #[serde(rename = "diff")]
    text: String,
}

fn item<'f>(name: &'f ServiceName, number: u64, document: &'f Document<Rollout>) -> Item<'f> {
    let trouble = get::trouble(Some(document), || layout::rollout(name, number));
    let Document { version, json, .. } = document;
    Item { service: name, number, version: *version, rollout: json.as_ref(), problems: trouble.into_iter().collect() }
}

fn table(service: &Service, now: Timestamp) -> Table {
    let mut table = Table::new(["ROLLOUT", "STATE", "VERSION", "CONFIG", "STARTED", "TOOK", "REASON"]);
    for (number, document) in &service.rollouts {
        let Ok(record) = &document.read else {
            table.row([number.into(), "unreadable".into(), "-".into(), "-".into(), "-".into(), "-".into(), "".into()]);
            continue;
        };
        table.row([
            number.into(),
            Cell::new(words::state(record), words::tone(record)),
            or_dash(record.revision.version.as_ref()),
            or_dash(record.revision.config_version),
            render::moment(record.started).into(),
            render::age(record.ended.unwrap_or(now), record.started).into(),
            (&record.reason).into(),
        ]);
    }
    table
}

fn diffs(name: &ServiceName, service: &Service, range: Range) -> anyhow::Result<Vec<Diff>> {
    let readable = service.rollouts.iter().filter(|(_, document)| document.read.is_ok());
    let numbers: Vec<u64> = readable.map(|(number, _)| *number).collect();
    let pairs: Vec<(u64, u64)> = match range {
        Range::All => numbers.windows(2).map(|pair| (pair[0], pair[1])).collect(),
        Range::Two(from, to) => vec![(from, to)],
        Range::One(to) => {
            let before = numbers.iter().rfind(|number| **number < to);
            let text = || format!("no rollout before {to} of {name} is kept (zkops rollout history {name})");
            vec![(*before.ok_or_else(|| Failure::NotFound(text()))?, to)]
        }
    };
    pairs.into_iter().map(|(from, to)| compare(name, service, from, to)).collect()
}

fn compare(name: &ServiceName, service: &Service, from: u64, to: u64) -> anyhow::Result<Diff> {
    let (old, new) = (revision(name, service, from)?, revision(name, service, to)?);
    let title = |number| layout::rollout(name, number);
    let text = unified_diff::between(&title(from), &title(to), &unified_diff::toml(&old), &unified_diff::toml(&new));
    Ok(Diff { from, to, text })
}

/// What a rollout brought, as a document.
fn revision(name: &ServiceName, service: &Service, number: u64) -> anyhow::Result<Value> {
    let record = service.rollouts.get(&number).and_then(|document| document.read.as_ref().ok());
    let text = || format!("{name} has no readable rollout {number} (zkops rollout history {name} lists them)");
    Ok(serde_json::to_value(&record.ok_or_else(|| Failure::NotFound(text()))?.revision)?)
}

fn show(name: &ServiceName, diffs: &[Diff]) -> anyhow::Result<()> {
    if diffs.is_empty() {
        render::note(&format!("{name} has no two rollouts to compare"));
    }
    for Diff { from, to, text } in diffs {
        if text.is_empty() {
            render::note(&format!("rollouts {from} and {to} of {name} bring the same"));
        }
        render::out(&unified_diff::painted(text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read() {
        assert_eq!("..".parse(), Ok(Range::All));
        assert_eq!("7".parse(), Ok(Range::One(7)));
        assert_eq!("4..7".parse(), Ok(Range::Two(4, 7)));
        for bad in ["", "a", "4..", "..7", "4-7"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }
}
