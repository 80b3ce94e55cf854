//! `zkops plan`: what `apply` would change, and what the controller would make of it: the planner itself is asked, on a
//! copy of the tree.

mod outlook;
mod steps;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    process::ExitCode,
};

use jiff::Timestamp;
use serde::Serialize;

use self::outlook::Outlook;
use super::{
    apply,
    context::{self, Context},
    document::Change,
    dump::Dump,
    failure::Failure,
    fleet::Fleet,
    get::Format,
    manifest::{Manifest, read_files},
    render::{self, Tone},
    unified_diff,
};
use crate::{
    model::{Desired, HostName, ReplicaNumber, ServiceName, counted, encode, read_number},
    plan::controller::{Changes, Report, Terms, preview},
    tree::copy::Stored,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: no change, 1: changes, more: an error, as `zkops diff`.
Pass the printed index to `zkops apply --check-index`: it refuses when the
service has changed since.
The planner is asked as the controller asks it, on a copy of the tree, as if
agents did at once what they are told and canaries were promoted: a replica that
fails meanwhile changes what really happens. Nothing is written.

Examples:
  zkops plan -f webapp.toml
  zkops plan -f webapp.toml -o json | jq '.items[].rollout.disruptive'
  zkops plan --lose web1 web2 --add 1
  zkops dump > tree.json; zkops plan --from tree.json --drain web1")]
pub(super) struct Args {
    /// Files with services' descriptions, or folders: of each its *.toml, by name; `-` is standard input. A line `---`
    /// separates the descriptions of one file
    #[arg(short, long = "file", value_name = "FILE|DIR", num_args = 1..)]
    #[arg(required_unless_present_any = ["lose", "drain", "add"], value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// What if these hosts died, and did not come back
    #[arg(long, value_name = "HOST", num_args = 1..)]
    lose: Vec<HostName>,
    /// What if these hosts were drained
    #[arg(long, value_name = "HOST", num_args = 1..)]
    drain: Vec<HostName>,
    /// What if there were so many hosts more
    #[arg(long, value_name = "N", value_parser = read_number::<u16>, allow_negative_numbers = true)]
    add: Option<u16>,
    /// The host that those added are like: its labels, and what it accepts; the first that is open, unless given
    #[arg(long, value_name = "HOST", requires = "add")]
    like: Option<HostName>,
    /// Ask of the tree that `zkops dump` wrote into this file, at the time of the dump, rather than of ZooKeeper's
    #[arg(long, value_name = "DUMP", value_hint = clap::ValueHint::FilePath)]
    from: Option<PathBuf>,
    #[command(flatten)]
    output: Format,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    Ok(unified_diff::exit_code(plan(args, cx).await.map_err(unified_diff::never_one)?))
}

/// Prints the plan; whether anything would change.
async fn plan(args: &Args, cx: &Context) -> anyhow::Result<bool> {
    let manifests = read_files(&args.files)?;
    let (plans, nodes, now) = match &args.from {
        Some(file) => {
            let (made, nodes) = Dump::read(file)?;
            let plans = manifests.iter().map(|manifest| apply::Plan::among(manifest, &nodes));
            (plans.collect::<anyhow::Result<Vec<_>>>()?, nodes, made)
        }
        None => {
            let client = cx.connect_to_tree().await?;
            let mut plans = Vec::new();
            for manifest in &manifests {
                plans.push(apply::Plan::read(manifest, &client).await?);
            }
            (plans, context::read_stored(&client).await?, Timestamp::now())
        }
    };
    let list = List::of(args, &manifests, &plans, &nodes, now)?;
    let text = if args.output.is_json() { render::json_text(&list)? } else { list.text(args) };
    render::out(&text)?;
    Ok(list.is_change(args))
}

impl Args {
    /// Whether more is asked than what `apply` would do.
    fn asks_what_if(&self) -> bool {
        !self.lose.is_empty() || !self.drain.is_empty() || self.add.is_some_and(|add| add > 0)
    }

    fn changes(&self, plans: &[apply::Plan]) -> Changes {
        let needed = plans.iter().flat_map(|plan| [&plan.service, &plan.desired]).filter(|change| change.is_needed());
        Changes {
            documents: needed.map(|change| (change.path.clone(), encode(&change.after))).collect(),
            lose: self.lose.clone(),
            drain: self.drain.clone(),
            add: self.add.map_or(0, usize::from),
            like: self.like.clone(),
        }
    }

    /// What is asked, in words.
    fn words(&self) -> String {
        let names = |hosts: &[HostName]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let lost = (!self.lose.is_empty()).then(|| format!("without {}", names(&self.lose)));
        let drained = (!self.drain.is_empty()).then(|| format!("with {} drained", names(&self.drain)));
        let added = self.add.map(|add| format!("with {}", counted(add, "more host")));
        lost.into_iter().chain(drained).chain(added).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Serialize)]
struct List {
    items: Vec<Item>,
    /// All that the planner would do, on any service.
    preview: Report,
}

impl List {
    fn of(
        args: &Args,
        manifests: &[Manifest],
        plans: &[apply::Plan],
        nodes: &BTreeMap<String, Stored>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let copied = nodes.iter().map(|(path, stored)| (path.clone(), stored.into()));
        let report = preview(copied, &args.changes(plans), now, &Terms::default())
            .map_err(|unknown| Failure::NotFound(format!("{unknown} (zkops get hosts lists them)")))?;
        let fleet = Fleet::of(nodes.iter().map(|(path, stored)| (path, &stored.node)));
        let items = manifests.iter().zip(plans).map(|(manifest, plan)| Item::of(manifest, plan, &fleet, &report));
        Ok(Self { items: items.collect::<anyhow::Result<_>>()?, preview: report })
    }

    fn is_change(&self, args: &Args) -> bool {
        self.items.iter().any(|item| item.changed) || args.asks_what_if() && !self.preview.rounds.is_empty()
    }

    fn text(&self, args: &Args) -> String {
        let mut text: String = self.items.iter().map(|item| item.text(self.items.len() > 1)).collect();
        let is_item = |name: &ServiceName| self.items.iter().any(|item| item.service == *name);
        if args.asks_what_if() {
            let _ = writeln!(text, "{}", Tone::Strong.paint(&args.words()));
            text += &steps::text(&self.preview, |_| true);
        } else {
            let touched = |name: &ServiceName| outlook::decisions(&self.preview, name).next().is_some();
            text += &steps::text(&self.preview, |name| !is_item(name) && touched(name));
        }
        if !self.preview.rests {
            let _ = writeln!(text, "it has not come to rest after {}: only the beginning is told", self.preview.lasts);
        }
        text
    }
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
    rollout: Option<Outlook>,
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
    fn of(manifest: &Manifest, plan: &apply::Plan, fleet: &Fleet, report: &Report) -> anyhow::Result<Self> {
        let name = &plan.name;
        let service = fleet.services.get(name).cloned().unwrap_or_default();
        let desired: Desired = serde_json::from_value(plan.desired.after.clone())?;
        let changed = plan.service.is_needed() || plan.desired.is_needed();
        let diffs = [&plan.service, &plan.desired].into_iter().filter(|change| change.is_needed());
        let removed = outlook::removed(name, &service, report);
        let rollout = Outlook::of(name, &service, (&manifest.spec, &desired), report);
        let after = words::After { spec: &manifest.spec, desired: &desired, removed: &removed };
        let mut notes = words::notes(name, &service, &after, rollout.is_some(), changed);
        notes.extend(steps::moves(outlook::decisions(report, name)));
        notes.extend(report.services.get(name).into_iter().flat_map(steps::undone));
        Ok(Self {
            outcome: plan.outcome(),
            source: manifest.source.clone(),
            changed,
            index: plan.index,
            diffs: diffs.map(|change| of_document(change, &manifest.source)).collect(),
            notes,
            rollout,
            removed,
            service: name.clone(),
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

fn of_document(change: &Change, source: &str) -> DocumentDiff {
    DocumentDiff { path: change.path.clone(), diff: unified_diff::plain(change, source) }
}
