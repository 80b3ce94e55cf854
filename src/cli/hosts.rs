//! `zkops hosts`: the fleet's machines, and the operator's word on each: cordon, drain, labels.

mod label;
mod remove;
mod word;

use super::{
    about::About,
    context::Context,
    get::{self, Format},
    wait::WaitArgs,
};
use crate::model::{HostName, Span};

use self::label::LabelChange;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_help = "\
STATUS is ready, cordoned, draining, drained, or lost (no agent of the host is connected).

Examples:
  zkops hosts
  zkops hosts drain web1 --wait
  zkops hosts drain web1 --deadline 10m --wait --timeout 15m
  zkops hosts label web1 zone=a disk=ssd gpu-")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    output: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List hosts
    List {
        /// Only this host
        #[arg(value_name = "HOST")]
        host: Option<HostName>,
        #[command(flatten)]
        output: Format,
    },
    /// Place nothing new on a host; what runs there stays
    Cordon(Host),
    /// Let a host take new replicas again
    Uncordon(Host),
    /// Move a host's replicas away, within each service's `max_unavailable`
    Drain {
        #[command(flatten)]
        host: Host,
        /// After this time, move what is left whatever `max_unavailable` says
        #[arg(long, value_name = "TIME")]
        deadline: Option<Span>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Let a drained host take replicas again
    Undrain(Host),
    /// Set (KEY=VALUE) and take away (KEY-) labels; they override the agent's own
    Label {
        #[command(flatten)]
        host: Host,
        /// A label to set (KEY=VALUE) or to take away (KEY-)
        #[arg(value_name = "KEY=VALUE|KEY-", required = true)]
        changes: Vec<LabelChange>,
    },
    /// Forget a host that is gone for good
    Delete {
        #[command(flatten)]
        host: Host,
        /// Even while its agent is connected or replicas are assigned to it
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Host {
    /// The host
    #[arg(value_name = "HOST")]
    host: HostName,
}

pub(super) async fn run(args: Args, cx: &Context) -> anyhow::Result<()> {
    match args.command {
        None => list(None, args.output, cx).await,
        Some(Command::List { host, output }) => list(host.as_ref(), output, cx).await,
        Some(Command::Cordon(it)) => word::change(&it.host, "cordoned", cx, |word| word.cordon = true).await,
        Some(Command::Uncordon(it)) => word::change(&it.host, "uncordoned", cx, |word| word.cordon = false).await,
        Some(Command::Drain { host, deadline, wait }) => word::drain(&host.host, deadline, &wait, cx).await,
        Some(Command::Undrain(it)) => {
            word::change(&it.host, "undrained", cx, |word| (word.drain, word.drain_deadline) = (false, None)).await
        }
        Some(Command::Label { host, changes }) => label::run(&host.host, &changes, cx).await,
        Some(Command::Delete { host, force }) => remove::run(&host.host, force, cx).await,
    }
}

async fn list(host: Option<&HostName>, output: Format, cx: &Context) -> anyhow::Result<()> {
    let fleet = cx.fleet(&host.cloned().map_or(About::Hosts, About::Host)).await?;
    get::list(get::Kind::Hosts, host.map(HostName::as_str), output, fleet)
}
