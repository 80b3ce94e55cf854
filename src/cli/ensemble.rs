//! `zkops ensemble`: the ZooKeeper servers themselves, which everything else stands on.

mod init;
mod restart;
mod status;
mod via;

use std::{process::ExitCode, time::Duration};

use super::{context::Context, render};
use crate::{
    ensemble::{self, Discovery, Member},
    model::{
        Address,
        ensemble::{Mode, Report},
    },
};

#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show each member's mode, transactions, latency, sessions …
    Status(status::Args),
    /// Restart the members one by one, the leader last
    RollingRestart(restart::Args),
    /// Write this host's ensemble.conf
    Init(init::Args),
}

pub(super) async fn run(args: &Args, servers: Option<String>) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Status(args) => status::run(args, &Context::new(servers)?).await,
        Command::RollingRestart(args) => restart::run(args, &Context::new(servers)?).await,
        // Needs no ZooKeeper: there is none yet.
        Command::Init(args) => init::run(args).map(|()| ExitCode::SUCCESS),
    }
}

/// Asks the members that the connection string names, and those that they name, when not all are among the former.
async fn look(cx: &Context, patience: Duration) -> anyhow::Result<(Vec<Member>, Vec<Report>)> {
    let mut members = ensemble::listed(&cx.session().servers)?;
    let mut reports = ensemble::survey(&members, patience).await;
    let serves = |report: &&Report| report.mode().is_some_and(|mode| mode != Mode::ReadOnly);
    let serving: Vec<Address> = reports.iter().filter(serves).map(|report| report.address.clone()).collect();
    if serving.is_empty() || (ensemble::is_all(&reports) && !ensemble::may_be_doubled(&members).await) {
        return Ok((members, reports));
    }
    match ensemble::discover(&members, &serving, patience).await {
        Ok(Discovery { new, doubles }) => {
            members.retain(|member| !doubles.contains(&member.address));
            reports.retain(|report| !doubles.contains(&report.address));
            reports.extend(ensemble::survey(&new, patience).await);
            members.extend(new);
        }
        Err(error) => {
            render::note(&format!("/zookeeper/config cannot be read, so that members may be missing: {error}"));
        }
    }
    Ok((members, reports))
}
