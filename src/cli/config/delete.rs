//! `zkops config delete`: forgets an old revision that nothing uses any more.

use super::revision::{self, Uses};
use crate::{
    cli::{
        context::{self, Context},
        failure::Failure,
        fleet::Service,
        render,
    },
    model::{ServiceName, read_number},
    store::Client,
    tree::{layout, txn::Op},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A revision that is wanted, that a replica has, or that a rollout under way may need is
never deleted, nor is the newest: its number would come again and mean something else.

Example:
  zkops config delete webapp 3")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// The revision
    #[arg(value_name = "N", value_parser = read_number::<u64>)]
    number: u64,
    /// Even if a rollout in the history brought it: `zkops rollout undo` cannot go back to that any more
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let (name, number) = (&args.service, args.number);
    let what = format!("config/{name}");
    cx.write(&what, async |client| Ok((ops(args, client).await?, ()))).await?;
    Ok(render::line(&format!("{what} {number} deleted"))?)
}

async fn ops(args: &Args, client: &Client) -> anyhow::Result<Vec<Op>> {
    let (name, number) = (&args.service, args.number);
    let service = context::read_service(name, client).await?.ok_or_else(|| context::no_service(name))?;
    let numbers = revision::numbers(name, client).await?;
    let path = layout::config(name, number);
    let node = client.get(&path).await?.ok_or_else(|| revision::missing(name, number))?;
    refuse(args, &numbers, &service)?;
    // Whoever wants it meanwhile changes one of these.
    let guards = [
        (layout::desired(name), service.desired.as_ref().map(|document| document.version)),
        (layout::status(name), service.status.as_ref().map(|document| document.version)),
    ];
    let guards = guards.into_iter().filter_map(|(path, version)| Some(Op::Check { path, version: version? }));
    Ok(guards.chain([Op::Delete { path, version: Some(node.version) }]).collect())
}

fn refuse(args: &Args, numbers: &[u64], service: &Service) -> Result<(), Failure> {
    let Args { service: name, number, force } = args;
    let refuse = |why: String| Err(Failure::Conflict(format!("revision {number} of {name} stays: {why}")));
    let uses = Uses::of(*number, service);
    if !uses.now.is_empty() {
        return refuse(format!("it is in use: {}", uses.now.join(", ")));
    }
    if numbers.last() == Some(number) {
        return refuse("it is the newest: its number would be given again".to_owned());
    }
    if !uses.history.is_empty() && !force {
        let rollouts: Vec<_> = uses.history.iter().map(ToString::to_string).collect();
        return refuse(format!(
            "rollout {} brought it, and could not be gone back to any more; --force deletes it all the same",
            rollouts.join(", ")
        ));
    }
    Ok(())
}
