//! The command line: one file per verb, each with its arguments and its `run`.
//!
//! ```text
//!  main ── Cli::parse ── Cli::run ─┬─ apply, scale, delete, hosts …  read ─► check ─► one guarded transaction
//!                                  ├─ get, status, explain, events   read ─► fleet (typed view) ─► render
//!                                  ├─ --wait, --watch, --follow      a mirror wakes, the view decides
//!                                  └─ agent, controller              the daemons
//! ```
//!
//! `render` is the only printer; `failure` says what each exit code means; `manifest` is strict about what people
//! hand in, while everything read from the tree tolerates what a newer zkops may have written there.

mod about;
mod apply;
mod completions;
mod config;
mod context;
mod delete;
mod desired;
mod diff;
mod document;
mod dump;
mod ensemble;
mod events;
mod explain;
mod failure;
#[cfg(test)]
mod fixture;
mod fleet;
mod get;
mod goal;
mod hint;
mod hosts;
mod init;
mod live;
mod man;
mod manifest;
mod mode;
mod plan;
mod rebalance;
mod render;
mod rollout;
mod scale;
mod status;
mod wait;

use std::{
    env,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::{context::Context, failure::Failure};
use crate::{
    blocking,
    config::{AgentSettings, Check, ControllerSettings},
    configuration::{RENDER_VERB, serve_rendering},
    model::Mode,
    reconcile,
};

/// The `zkops` command: parse, dispatch, and tell the shell how it went.
pub fn main() -> ExitCode {
    // Before anything else: this process is limited, and of what the command line knows it needs nothing.
    if env::args_os().nth(1).is_some_and(|verb| verb == RENDER_VERB) {
        return serve_rendering().map_or_else(|error| failure::report(&error.into()), |()| ExitCode::SUCCESS);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => hint::improve(error, &hidden_verbs()).exit(),
    };
    run(cli).unwrap_or_else(|error| failure::report(&error))
}

/// The verbs that nobody is to type.
fn hidden_verbs() -> Vec<String> {
    let command = Cli::command();
    command.get_subcommands().filter(|verb| verb.is_hide_set()).map(|verb| verb.get_name().to_owned()).collect()
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = blocking::runtime()?;
    let ended = runtime.block_on(cli.run());
    // What hangs on a disk or in a resolver is not waited for.
    runtime.shutdown_background();
    ended
}

/// Turn ZooKeeper into the control plane of your systemd services.
///
/// Write what should run (`zkops apply -f webapp.toml`), see what does (`zkops status`), and why (`zkops explain`).
#[derive(Debug, Parser)]
#[command(name = "zkops", version = crate::VERSION, max_term_width = 110, after_help = failure::EPILOGUE)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// ZooKeeper's servers (overrides `ZKOPS_ZOOKEEPER` and cli.toml): zk1:2181,zk2:2181,zk3:2181/prod
    #[arg(short, long, global = true, value_name = "SERVERS", help_heading = "Global options")]
    zookeeper: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create the roots of the tree in ZooKeeper
    Init(init::Args),
    /// Create or change services from description files
    Apply(apply::Args),
    /// Show what `apply` would change
    Diff(diff::Args),
    /// Show what `apply` would change and what its rollout would do, in which order
    Plan(plan::Args),
    /// List services, replicas, hosts or instances
    #[command(visible_alias = "list")]
    Get(get::Args),
    /// Show how services are doing
    Status(status::Args),
    /// Say why each replica is where it is, or unplaced
    Explain(explain::Args),
    /// Show what happened lately
    Events(events::Args),
    /// Show and steer how a change is brought to the replicas
    Rollout(rollout::Args),
    /// Push, show and compare a service's configuration revisions
    Config(config::Args),
    /// Change how many replicas a service has
    Scale(scale::Args),
    /// Spread replicas again, by moves that are listed with their reasons
    Rebalance(rebalance::Args),
    /// Run a service's replicas
    #[command(after_help = mode::ENABLE_HELP)]
    Enable(mode::Args),
    /// Stop a service's replicas now; they keep their numbers and hosts
    #[command(after_help = mode::DISABLE_HELP)]
    Disable(mode::Args),
    /// Take a service's replicas out of `instances`, let them finish, then stop them
    #[command(after_help = mode::DRAIN_HELP)]
    Drain(mode::Args),
    /// Drain and remove a service
    Delete(delete::Args),
    /// List hosts, cordon, drain and label them
    Hosts(hosts::Args),
    /// Print the whole tree as one document, for `zkops plan --from`
    Dump(dump::Args),
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// Run this host's agent (zkops-agent.service does)
    #[command(hide = true, after_help = DaemonArgs::HELP)]
    Agent(DaemonArgs),
    /// Run a controller (zkops-controller.service does)
    #[command(hide = true, after_help = DaemonArgs::HELP)]
    Controller(DaemonArgs),
    /// Set up, look at and restart the ZooKeeper ensemble itself
    Ensemble(ensemble::Args),
    /// Print a shell's completion script
    #[command(after_help = completions::HELP)]
    Completions(completions::Args),
    /// Write the man pages into a folder
    Man(man::Args),
}

#[derive(Debug, Args)]
struct DaemonArgs {
    /// Read this file and FILE.d/*.toml instead of those in /usr/lib/zkops, /run/zkops and /etc/zkops
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, report every error, and start nothing
    #[arg(long)]
    check_config: bool,
    /// Run even though systemd did not start it, for another supervisor or to try something out
    #[arg(long, conflicts_with = "check_config")]
    foreground: bool,
}

impl DaemonArgs {
    const HELP: &str = "\
This is a daemon, which its unit starts: an agent drives this host's services, a controller stands for
election and decides for the whole fleet. In a shell it is refused without --foreground.";

    /// Refuses to be a part of the fleet by accident.
    fn check_supervisor(&self, name: &str, supervisor: &Supervisor) -> Result<(), Failure> {
        if self.foreground || supervisor.is_there() {
            return Ok(());
        }
        let start = format!("`systemctl start zkops-{name}` starts it");
        Err(Failure::Input(format!("`zkops {name}` is a daemon: {start}, --foreground runs it here all the same")))
    }

    /// Runs the daemon, or says what its configuration is worth.
    async fn run(
        self,
        name: &str,
        global: &Global,
        check: fn(&Path, Option<&Path>) -> Check,
        daemon: impl AsyncFnOnce(Option<PathBuf>) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        global.no_servers()?;
        if !self.check_config {
            self.check_supervisor(name, &Supervisor::of_environment(|name| env::var(name).ok()))?;
            return daemon(self.config).await.map(|()| ExitCode::SUCCESS);
        }
        let check = check(Path::new("/"), self.config.as_deref());
        if check.is_ok() {
            render::out(&format!("{check}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::Input(check.to_string()).into())
    }
}

/// What started this process, by what systemd tells in the environment (systemd.exec(5)).
struct Supervisor {
    /// Somebody waits for `READY=1`.
    is_notified: bool,
    /// It runs within a unit, and not merely in a terminal that a unit started: those inherit the variable.
    is_of_unit: bool,
}

impl Supervisor {
    fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let by_pid = variable("SYSTEMD_EXEC_PID").is_none_or(|pid| pid == process::id().to_string());
        Self {
            is_notified: variable("NOTIFY_SOCKET").is_some(),
            is_of_unit: variable("INVOCATION_ID").is_some() && by_pid,
        }
    }

    fn is_there(&self) -> bool {
        self.is_notified || self.is_of_unit
    }
}

impl Cli {
    /// Carries the command out.
    ///
    /// # Errors
    /// What [`report`] prints and turns into the exit code.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self.command {
            Command::Agent(args) => args.run("agent", &self.global, AgentSettings::check, reconcile::agent::run).await,
            Command::Controller(args) => {
                args.run("controller", &self.global, ControllerSettings::check, reconcile::controller::run).await
            }
            Command::Ensemble(args) => ensemble::run(&args, self.global.zookeeper).await,
            Command::Completions(args) => completions::run(&args).map(done),
            Command::Man(args) => man::run(&args).map(done),
            Command::Verb(verb) => {
                let cx = Context::new(self.global.zookeeper)?;
                let done = verb.run(&cx).await;
                cx.close().await;
                done
            }
        }
    }
}

impl Global {
    /// A daemon takes its servers from its configuration alone: a flag that is silently ignored would mislead.
    fn no_servers(&self) -> Result<(), Failure> {
        match &self.zookeeper {
            Some(_) => Err(Failure::Input("a daemon takes [zookeeper] servers from its configuration, not -z".into())),
            None => Ok(()),
        }
    }
}

impl Verb {
    async fn run(self, cx: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Diff(args) => return diff::run(&args, cx).await,
            Self::Plan(args) => return plan::run(&args, cx).await,
            Self::Config(args) => return config::run(&args, cx).await,
            Self::Init(args) => init::run(&args, cx).await,
            Self::Apply(args) => apply::run(&args, cx).await,
            Self::Get(args) => get::run(&args, cx).await,
            Self::Status(args) => status::run(&args, cx).await,
            Self::Explain(args) => explain::run(&args, cx).await,
            Self::Events(args) => events::run(&args, cx).await,
            Self::Rollout(args) => rollout::run(&args, cx).await,
            Self::Scale(args) => scale::run(&args, cx).await,
            Self::Rebalance(args) => rebalance::run(&args, cx).await,
            Self::Enable(args) => mode::run(&args, Mode::Enabled, cx).await,
            Self::Disable(args) => mode::run(&args, Mode::Disabled, cx).await,
            Self::Drain(args) => mode::run(&args, Mode::Drain, cx).await,
            Self::Delete(args) => delete::run(&args, cx).await,
            Self::Hosts(args) => hosts::run(args, cx).await,
            Self::Dump(args) => dump::run(&args, cx).await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
pub(crate) use self::manifest::read_manifests;

#[cfg(test)]
mod tests;
mod unified_diff;
