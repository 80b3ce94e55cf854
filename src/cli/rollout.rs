//! `zkops rollout`: how far a change is, the operator's word on it, and what was rolled out before.

pub(super) mod follow;
mod history;
mod order;
mod status;
mod undo;
pub(super) mod words;

use clap::Subcommand;

pub(super) use self::order::numbers;

use super::context::Context;
use crate::model::RolloutAction;

#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
A change of the version, the configuration or what else replicas run by (unit,
environment, probes …) is a rollout. Its number counts up within the service.

Examples:
  zkops rollout status webapp --watch
  zkops rollout pause webapp
  zkops rollout promote webapp --wait
  zkops rollout undo webapp --wait"
)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how far a rollout is
    Status(status::Args),
    /// Pause the rollout: update no further replicas
    Pause(order::Args),
    /// Resume a paused rollout, or retry one that was rolled back
    Resume(order::Args),
    /// Promote the canary: update the rest
    Promote(order::Args),
    /// Abort the rollout and go back to what was healthy before
    Abort(order::Args),
    /// Roll back to what an earlier rollout brought
    Undo(undo::Args),
    /// List a service's rollouts, and what changed between them
    History(history::Args),
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    match &args.verb {
        Verb::Status(args) => status::run(args, cx).await,
        Verb::Pause(args) => order::run(args, RolloutAction::Pause, cx).await,
        Verb::Resume(args) => order::run(args, RolloutAction::Resume, cx).await,
        Verb::Promote(args) => order::run(args, RolloutAction::Promote, cx).await,
        Verb::Abort(args) => order::run(args, RolloutAction::Abort, cx).await,
        Verb::Undo(args) => undo::run(args, cx).await,
        Verb::History(args) => history::run(args, cx).await,
    }
}
