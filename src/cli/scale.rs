//! `zkops scale`: how many replicas a service has.

use super::{context::Context, desired, wait::WaitArgs};
use crate::model::ServiceName;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Scaling down drains the replicas that leave before they are stopped. Numbers are never used again.

Example:
  zkops scale webapp 5 --wait")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// How many replicas there shall be
    #[arg(value_name = "N")]
    replicas: u32,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    desired::change(&args.service, "scaled", &args.wait, cx, |desired| desired.replicas = args.replicas).await
}
