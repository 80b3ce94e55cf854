//! `zkops config`: a service's configuration revisions. A revision is immutable and its number never means anything
//! else; which one is in force is `config_version` of the desired state.

mod delete;
mod diff;
mod list;
mod push;
mod revision;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::context::Context;

pub(super) use self::{
    push::{Next, read_folder, said},
    revision::missing,
};

#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
A service whose description has a [config] section gets the files of revision
`config_version` on each host. Changing that is a rollout.

Examples:
  zkops config push webapp ./conf --message 'more workers'
  zkops config push webapp ./conf --set --wait
  zkops config diff webapp 3 4"
)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new revision of a folder's files
    Push(push::Args),
    /// List a service's revisions
    List(list::Args),
    /// Show a revision's files, or one file
    Show(show::Args),
    /// Show what changed from one revision to another
    Diff(diff::Args),
    /// Delete an old revision that nothing uses
    Delete(delete::Args),
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Diff(args) => return diff::run(args, cx).await,
        Verb::Push(args) => push::run(args, cx).await,
        Verb::List(args) => list::run(args, cx).await,
        Verb::Show(args) => show::run(args, cx).await,
        Verb::Delete(args) => delete::run(args, cx).await,
    }
    .map(|()| ExitCode::SUCCESS)
}
