//! `zkops rollout undo`: wants again what an earlier rollout brought, which begins a new rollout.

use super::{order, words};
use crate::{
    cli::{
        context::{self, Context},
        document::{self, Change},
        failure::Failure,
        render,
        wait::{self, Target, WaitArgs},
    },
    model::{Desired, Revision, Rollout, RolloutState, ServiceName, ServiceSpec, read_sequence},
    store::Client,
    tree::{layout, txn::Op},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Puts the version, the configuration and the template (unit, environment, probes …) of an
earlier rollout back into the service's description and desired state, in one transaction.
How many replicas there are, where, and whether they run stays as it is. Files that are
applied later don't know of it: change them, too.

Examples:
  zkops rollout undo webapp --wait
  zkops rollout undo webapp --to 4")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// The rollout whose revision is wanted again; the last good one before the newest if none is given
    #[arg(long, value_name = "N", value_parser = read_sequence::<u64>)]
    to: Option<u64>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    let undone = cx.write(&format!("service/{name}"), async |client| undo(args, client).await).await?;
    let Undone { to, revision, changed, .. } = &undone;
    let said = if *changed { "undone to" } else { "unchanged: it is as wanted by" };
    render::line(&format!("service/{name} {said} rollout {to} ({})", words::revision(revision)))?;
    wait::when_asked(&args.wait, vec![undone.target], cx).await
}

struct Undone {
    to: u64,
    revision: Revision,
    changed: bool,
    target: Target,
}

async fn undo(args: &Args, client: &Client) -> anyhow::Result<(Vec<Op>, Undone)> {
    let name = &args.service;
    let history = history(name, client).await?;
    let to = match args.to {
        Some(number) => number,
        None => before(name, &history)?,
    };
    let revision = order::read(name, to, client).await?.revision;
    let node = client.get(&layout::service(name)).await?.ok_or_else(|| context::no_service(name))?;
    let mut spec: ServiceSpec = document::must_read(&layout::service(name), &node, "fix it with `zkops apply`")?;
    if spec.deleting {
        return Err(Failure::Conflict(format!("service/{name} is being deleted")).into());
    }
    spec.go_back_to(&revision);
    let service = Change::to(layout::service(name), Some(&node), &spec);
    let node = client.get(&layout::desired(name)).await?;
    let mut wanted: Desired = match &node {
        Some(node) => document::must_read(&layout::desired(name), node, "fix it with `zkops apply`")?,
        None => Desired::default(),
    };
    wanted.version.clone_from(&revision.version);
    wanted.config_version = revision.config_version;
    let desired = Change::to(layout::desired(name), node.as_ref(), &wanted);
    let mut ops = vec![service.op()?, desired.op()?];
    ops.extend(config_check(name, &revision, client).await?);
    let target = Target::new(name, wanted.mode, &service, &desired);
    let changed = service.is_needed() || desired.is_needed();
    Ok((ops, Undone { to, revision, changed, target }))
}

/// Makes sure that the configuration revision is there, and stays.
async fn config_check(name: &ServiceName, revision: &Revision, client: &Client) -> anyhow::Result<Option<Op>> {
    let (Some(_), Some(number)) = (&revision.template.config, revision.config_version) else { return Ok(None) };
    let path = layout::config(name, number);
    let node = client.get(&path).await?.ok_or_else(|| {
        Failure::NotFound(format!(
            "{name}'s configuration revision {number} was deleted: push it again, and apply that"
        ))
    })?;
    Ok(Some(Op::Check { path, version: node.version }))
}

/// The rollouts there are, oldest first; unreadable ones are left out.
async fn history(name: &ServiceName, client: &Client) -> anyhow::Result<Vec<(u64, Rollout)>> {
    let mut history = Vec::new();
    for number in order::must_have_numbers(name, client).await? {
        // One may be pruned meanwhile.
        if let Ok(record) = order::read(name, number, client).await {
            history.push((number, record));
        }
    }
    Ok(history)
}

/// The rollout to go back to: what the newest came from, or, when that is completed, the last completed one that
/// brought something else.
fn before(name: &ServiceName, history: &[(u64, Rollout)]) -> anyhow::Result<u64> {
    let ((number, newest), earlier) = history.split_last().ok_or_else(|| order::no_rollout(name))?;
    let good =
        |(_, record): &&(u64, Rollout)| record.state == RolloutState::Completed && record.revision != newest.revision;
    let found = match newest.state {
        RolloutState::Completed => earlier.iter().rfind(good).map(|(number, _)| *number),
        _ => newest.from,
    };
    found.ok_or_else(|| {
        let text =
            format!("there is nothing before rollout {number} of {name} to go back to (zkops rollout history {name})");
        Failure::NotFound(text).into()
    })
}
