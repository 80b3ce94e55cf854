//! `zkops plan`: what `apply` would change, and what the rollout that follows would do, in which order.

mod forecast;
mod words;

use std::{collections::BTreeSet, fmt::Write as _, process::ExitCode};

use jiff::Timestamp;
use serde::Serialize;

use self::forecast::Forecast;
use super::{
    apply,
    context::{self, Context},
    document::Change,
    get::Format,
    manifest::{FileArgs, Manifest},
    render::{self, Tone},
    unified_diff,
};
use crate::{
    model::{Desired, ReplicaNumber, ServiceName, encode},
    plan::controller::{self, victims},
    store::Client,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: no change, 1: changes, more: an error, as `zkops diff`.
The index that is printed makes sure that nothing else is applied to:
zkops apply --check-index refuses when the service has changed since.
The forecast is made from the tree as it is now: a replica that fails, or a host
that is drained meanwhile, changes what really happens.

Examples:
  zkops plan -f webapp.toml
  zkops plan -f webapp.toml -o json | jq '.items[].rollout.disruptive'")]
pub(super) struct Args {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    output: Format,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    Ok(unified_diff::exit_code(plan(args, cx).await.map_err(unified_diff::never_one)?))
}

/// Prints the plan; whether anything would change.
async fn plan(args: &Args, cx: &Context) -> anyhow::Result<bool> {
    let manifests = args.files.read()?;
    let client = cx.connect_to_tree().await?;
    let mut items = Vec::new();
    for manifest in &manifests {
        items.push(Item::read(manifest, &client, cx).await?);
    }
    let changed = items.iter().any(|item| item.changed);
    if args.output.is_json() {
        render::out(&render::json_text(&List { items })?)?;
    } else {
        items.iter().try_for_each(|item| render::out(&item.text(items.len() > 1)))?;
    }
    Ok(changed)
}

#[derive(Serialize)]
struct List {
    items: Vec<Item>,
}

/// What applying one file would do.
#[derive(Serialize)]
struct Item {
    service: ServiceName,
    /// The file.
    source: String,
    /// `created`, `configured` or `unchanged`.
    outcome: &'static str,
    changed: bool,
    /// For `apply --check-index`.
    index: i64,
    diffs: Vec<DocumentDiff>,
    /// The rollout that would begin.
    rollout: Option<Forecast>,
    /// The replicas that would be drained and removed.
    removed: BTreeSet<ReplicaNumber>,
    /// What else would come of it, or has to be known.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct DocumentDiff {
    path: String,
    diff: String,
}

impl Item {
    async fn read(manifest: &Manifest, client: &Client, cx: &Context) -> anyhow::Result<Self> {
        let plan = apply::Plan::read(manifest, client).await?;
        let service = context::read_service(&plan.name, client).await?.unwrap_or_default();
        let desired: Desired = serde_json::from_value(plan.desired.after.clone())?;
        let changed = plan.service.is_needed() || plan.desired.is_needed();
        let diffs = [&plan.service, &plan.desired].into_iter().filter(|change| change.is_needed());
        let wanted = usize::try_from(desired.replicas).unwrap_or(usize::MAX);
        let removed = match forecast::regular(&service).count() {
            there if there > wanted => removed(&plan, cx).await?,
            _ => BTreeSet::new(),
        };
        let rollout = Forecast::of(&service, &manifest.spec, &desired, &removed);
        Ok(Self {
            outcome: plan.outcome(),
            source: manifest.source.clone(),
            changed,
            index: plan.index,
            diffs: diffs.map(|change| of_document(change, &manifest.source)).collect(),
            notes: words::notes(
                &plan.name,
                &service,
                &words::After { spec: &manifest.spec, desired: &desired, removed: &removed },
                rollout.is_some(),
                changed,
            ),
            rollout,
            removed,
            service: plan.name,
        })
    }

    fn text(&self, is_one_of_several: bool) -> String {
        let mut text: String = self.diffs.iter().map(|document| unified_diff::painted(&document.diff)).collect();
        if !text.is_empty() {
            text.push('\n');
        }
        let name = self.service.as_str();
        let head = match (&self.rollout, self.changed) {
            (Some(rollout), _) => words::heading(rollout),
            (None, true) => "changed without a rollout".to_owned(),
            (None, false) => "no change".to_owned(),
        };
        let _ = writeln!(text, "{}: {}", Tone::Strong.paint(name), render::harmless(&head));
        let rollout = self.rollout.as_ref().map(|rollout| words::lines(&self.service, rollout)).unwrap_or_default();
        for line in rollout.iter().chain(&self.notes) {
            let _ = writeln!(text, "  {}", render::harmless(line));
        }
        let prefix = if is_one_of_several { format!("{name}=") } else { String::new() };
        let _ = writeln!(text, "  {:<9} {} (zkops apply --check-index {prefix}{1})", "index:", self.index);
        text
    }
}

/// Whom the controller would remove if it found the service like this. That depends on who serves, and on how crowded
/// the hosts are.
async fn removed(plan: &apply::Plan, cx: &Context) -> anyhow::Result<BTreeSet<ReplicaNumber>> {
    let mut cluster = context::cluster(&cx.tree().await?);
    for change in [&plan.service, &plan.desired] {
        cluster.apply(&change.path, Some((&encode(&change.after), change.version_after())));
    }
    let onlooker = controller::Context::of_onlooker(Timestamp::now());
    Ok(victims(&cluster, &onlooker, &plan.name).into_iter().collect())
}

fn of_document(change: &Change, source: &str) -> DocumentDiff {
    DocumentDiff { path: change.path.clone(), diff: unified_diff::plain(change, source) }
}
