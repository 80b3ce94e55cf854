//! `zkops diff`: what `apply` would change, as a unified diff in the files' own format.

use std::process::ExitCode;

use super::{apply::Plan, context::Context, manifest::FileArgs, render, unified_diff};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: no change, 1: changes, more: an error, as `kubectl diff`.

Example:
  zkops diff -f webapp.toml || zkops apply -f webapp.toml")]
pub(super) struct Args {
    #[command(flatten)]
    files: FileArgs,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    Ok(unified_diff::exit_code(compare(args, cx).await.map_err(unified_diff::never_one)?))
}

async fn compare(args: &Args, cx: &Context) -> anyhow::Result<bool> {
    let manifests = args.files.read()?;
    let client = cx.connect_to_tree().await?;
    let mut changed = false;
    for manifest in &manifests {
        let plan = Plan::read(manifest, &client).await?;
        for change in [&plan.service, &plan.desired].into_iter().filter(|change| change.is_needed()) {
            render::out(&unified_diff::text(change, &manifest.source))?;
            changed = true;
        }
    }
    Ok(changed)
}
