//! `zkops init`: creates the roots of the tree, the chroot included.

use super::{context::Context, render};
use crate::store;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Running it again changes nothing.\n\nExample:\n  zkops -z zk1:2181,zk2:2181,zk3:2181/prod init"
)]
pub(super) struct Args {}

pub(super) async fn run(_args: &Args, cx: &Context) -> anyhow::Result<()> {
    let created = store::init::init(&cx.connect().await?).await?;
    if created.is_empty() {
        return Ok(render::line("the tree is there already, unchanged")?);
    }
    created.iter().try_for_each(|path| render::line(&format!("{path} created")))?;
    Ok(())
}
