//! `zkops delete`: marks a service for removal; the controller drains its replicas and then removes its nodes.

use super::{
    context::{self, Context},
    document::Change,
    failure::Failure,
    render,
    wait::{self, Aim, Target, WaitArgs},
};
use crate::{
    model::{ServiceName, ServiceSpec, ServiceStatus, decode},
    store::Client,
    tree::{layout, node::Node, txn::Op},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The replicas are drained and stopped first, then the service leaves the tree.
On a terminal, it asks first.

Example:
  zkops delete webapp --yes --wait")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    if !args.yes && !render::confirm(&format!("Stop all replicas of {name} and remove it?"))? {
        render::note("nothing was changed");
        return Ok(());
    }
    let change = cx.write(&format!("service/{name}"), async |client| mark(name, client).await).await?;
    render::line(&format!(
        "service/{name} {}",
        if change.is_needed() { "deleting" } else { "is being deleted already" }
    ))?;
    let service_version = change.version_after();
    let target = Target { service: name.clone(), aim: Aim::Gone, desired_version: 0, service_version };
    wait::when_asked(&args.wait, vec![target], cx).await
}

async fn mark(name: &ServiceName, client: &Client) -> anyhow::Result<(Vec<Op>, Change)> {
    let path = layout::service(name);
    let node = client.get(&path).await?.ok_or_else(|| context::no_service(name))?;
    let status = client.get(&layout::status(name)).await?;
    let mut spec = description(&path, &node, status.as_ref())?;
    spec.deleting = true;
    let change = Change::to(path, Some(&node), &spec);
    Ok((vec![change.op()?], change))
}

/// The description that is there; for nonsense, the one in force.
fn description(path: &str, node: &Node, status: Option<&Node>) -> anyhow::Result<ServiceSpec> {
    let accepted = || {
        let status: ServiceStatus = decode(&status?.data).ok()?;
        status.accepted.map(|accepted| accepted.service)
    };
    decode(&node.data).or_else(|error| {
        let text = || format!("{path} cannot be read: {error}; fix it with `zkops apply`, then delete");
        accepted().ok_or_else(|| Failure::Conflict(text()).into())
    })
}
