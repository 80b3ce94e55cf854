//! `zkops config list`: a service's revisions and who uses them.

use serde::Serialize;

use super::revision::{self, Uses};
use crate::{
    cli::{
        context::{self, Context},
        get::Format,
        render::{self, Table},
    },
    model::{ConfigRevision, ServiceName},
    tree::layout,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    #[command(flatten)]
    output: Format,
}

/// One revision in the list, without its files' contents.
#[derive(Serialize)]
struct Item<'l> {
    service: &'l ServiceName,
    number: u64,
    /// The size of its document.
    bytes: usize,
    files: Vec<String>,
    message: Option<String>,
    /// What runs or is to run by it.
    used_by: Vec<String>,
    /// Rollouts that brought it.
    rollouts: Vec<u64>,
    problems: Vec<Trouble>,
}

#[derive(Serialize)]
struct Trouble {
    path: String,
    message: String,
}

#[derive(Serialize)]
struct List<'l> {
    items: Vec<Item<'l>>,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    let client = cx.connect_to_tree().await?;
    let service = context::read_service(name, &client).await?.ok_or_else(|| context::no_service(name))?;
    let mut items = Vec::new();
    for number in revision::numbers(name, &client).await? {
        let Some(node) = client.get(&layout::config(name, number)).await? else { continue };
        let read = crate::model::decode::<ConfigRevision>(&node.data);
        let Uses { now: used_by, history } = Uses::of(number, &service);
        let path = layout::config(name, number);
        items.push(Item {
            service: name,
            number,
            bytes: node.data.len(),
            files: read.as_ref().map(|it| it.files.keys().cloned().collect()).unwrap_or_default(),
            message: read.as_ref().ok().and_then(|it| it.message.clone()),
            used_by,
            rollouts: history.into_iter().collect(),
            problems: read.err().map(|error| Trouble { path, message: error.to_string() }).into_iter().collect(),
        });
    }
    if args.output.is_json() {
        return Ok(render::out(&render::json_text(&List { items })?)?);
    }
    Ok(render::table(&table(&items), &format!("{name} has no configuration revisions (zkops config push)"))?)
}

fn table(items: &[Item<'_>]) -> Table {
    let mut table = Table::new(["REVISION", "FILES", "BYTES", "USED BY", "MESSAGE"]);
    for item in items {
        let mut used = item.used_by.clone();
        if used.is_empty() && !item.rollouts.is_empty() {
            used.push("history".to_owned());
        }
        let used = if used.is_empty() { "-".to_owned() } else { used.join(", ") };
        let trouble = item.problems.first().map(|problem| format!("unreadable: {}", problem.message));
        let message = trouble.or_else(|| item.message.clone()).unwrap_or_default();
        table.row([item.number.into(), item.files.len().into(), item.bytes.into(), used.into(), message.into()]);
    }
    table
}
