//! `zkops enable`, `zkops disable` and `zkops drain`: whether a service's replicas run.

use super::{context::Context, desired, wait::WaitArgs};
use crate::model::{Desired, Mode, ServiceName};

pub(super) const ENABLE_HELP: &str = "Example:\n  zkops enable webapp --wait";
pub(super) const DISABLE_HELP: &str = "Example:\n  zkops disable webapp --wait";
pub(super) const DRAIN_HELP: &str = "\
The replicas leave `instances` at once, run on for the service's drain_time,
then are stopped. With --wait, the command returns when their processes are gone.

Example:
  zkops drain webapp --wait --timeout 10m";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: &Args, mode: Mode, cx: &Context) -> anyhow::Result<()> {
    let done = match mode {
        Mode::Enabled => "enabled",
        Mode::Disabled => "disabled",
        Mode::Drain => "draining",
    };
    let set = |desired: &mut Desired| {
        desired.mode = mode;
        Ok(())
    };
    desired::change(&args.service, |_| done.to_owned(), &args.wait, cx, set).await
}
