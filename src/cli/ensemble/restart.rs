//! `zkops ensemble rolling-restart`: what is decided in `plan::ensemble::restart`, carried out.

use std::{
    collections::BTreeSet,
    io,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::{
    process::Command,
    time::{Instant, sleep, sleep_until},
};

use super::{
    look,
    via::{self, Via},
};
use crate::{
    cli::{
        context::Context,
        failure::{self, Failure},
        render::{self, Progress},
    },
    ensemble::{self, Member},
    model::{
        Address, Span,
        ensemble::{Mode, PATIENCE, Report},
    },
    plan::ensemble::restart::{Options, Rolling, Step, Stop},
};

/// How soon all members are asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// How soon a member that is being restarted is asked again. A JVM takes longer to come back, so that its absence is seen.
const GLANCE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Observers first, then followers, the leader last. Before each step every member must serve and
every follower be in sync. After each, the member must be another process than before, serve, and
have what the leader had. If it does not come back, nothing more is restarted, and the exit code
is 5. It refuses to begin (exit code 4) while anything is wrong. All members must be in the
connection string (-z), and answer mntr (4lw.commands.whitelist).

COMMAND is run on this machine, without a shell; quotes group words. {host} and {port} stand for
the member's. When it ends with an error, nothing more is restarted.

Interrupted, it can be run again: with --skip for the members that are done, or from the beginning.

Examples:
  zkops ensemble rolling-restart --dry-run
  zkops ensemble rolling-restart --via 'ssh admin@{host} sudo systemctl restart zookeeper'")]
pub(super) struct Args {
    /// The command that restarts a member
    #[arg(long, value_name = "COMMAND", default_value = via::DEFAULT)]
    via: Via,
    /// How long a member may take to be back in sync
    #[arg(long, value_name = "TIME", default_value = "5m")]
    timeout: Span,
    /// Leave these members alone (HOST or HOST:PORT, joined by ','): those that an earlier run has restarted
    #[arg(long, value_name = "MEMBER", value_delimiter = ',')]
    skip: Vec<String>,
    /// Print the order and the commands, restart nothing
    #[arg(long)]
    dry_run: bool,
    /// Restart a single server without an ensemble, too: nothing serves meanwhile
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let (members, reports) = look(cx, PATIENCE).await?;
    let skip = skipped(&args.skip, &members)?;
    let options = Options { timeout: args.timeout.get(), standalone: args.force, skip };
    let mut rolling = Rolling::new(options);
    if args.dry_run {
        return dry_run(args, rolling, &reports).map(|()| ExitCode::SUCCESS);
    }
    match all(args, &mut rolling, &members).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let code = failure::report(&error);
            how_to_go_on(&rolling);
            Ok(code)
        }
    }
}

/// Restarts one member after the other, as the plan says.
async fn all(args: &Args, rolling: &mut Rolling, members: &[Member]) -> anyhow::Result<()> {
    let (began, mut progress) = (Instant::now(), Progress::default());
    loop {
        let reports = ensemble::survey(members, PATIENCE).await;
        match rolling.next(&reports, began.elapsed()) {
            Step::Restart(member, mode) => one(args, rolling, &member, mode).await?,
            Step::Back(member, mode, took) => {
                progress = Progress::default();
                tell(&format!("{member} is back as {mode} and in sync after {:.1} s", took.as_secs_f64()));
            }
            Step::Wait(because) => {
                progress.show(&format!("waits: {because}"));
                sleep(PAUSE).await;
            }
            Step::Stop(stop) => return Err(stopped(stop, args.timeout).into()),
            Step::Done => {
                tell("all members are restarted");
                return Ok(());
            }
        }
    }
}

/// A reader of our output that went away must not end this half-way, least of all as if it were done.
fn tell(text: &str) {
    let _ = render::line(text);
}

/// Runs the command that restarts a member, and looks at the member meanwhile: whether its process really ends.
async fn one(args: &Args, rolling: &mut Rolling, member: &Address, mode: Mode) -> anyhow::Result<()> {
    let words = args.via.words(member).map_err(Failure::Input)?;
    tell(&format!("{member} ({mode}): {}", printed(&words)));
    let status = carry_out(&words, args.timeout.get(), async {
        loop {
            let target = Member { address: member.clone(), listed: true };
            if rolling.look(&ensemble::report(&target, PATIENCE).await) {
                break;
            }
            sleep(GLANCE).await;
        }
    });
    match status.await.with_context(|| format!("can't run `{}`", printed(&words)))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(anyhow!("{member}: `{}` failed: {status}", printed(&words))),
        None => {
            let text = format!("{member}: `{}` took longer than {}, and was ended", printed(&words), args.timeout);
            Err(Failure::TimedOut(text).into())
        }
    }
}

/// Runs a command with what it says on our standard error, and `meanwhile` beside it; `None` when it took too long.
async fn carry_out(
    words: &[String],
    limit: Duration,
    meanwhile: impl Future<Output = ()>,
) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()))
        .kill_on_drop(true)
        .spawn()?;
    let looking = async {
        meanwhile.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = child.wait() => status.map(Some),
        () = sleep_until(deadline) => {
            child.kill().await?;
            Ok(None)
        }
        () = looking => Ok(None),
    }
}

/// A command as one would type it.
fn printed(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

fn dry_run(args: &Args, mut rolling: Rolling, reports: &[Report]) -> anyhow::Result<()> {
    for ((member, mode), number) in rolling.order(reports).into_iter().zip(1..) {
        let words = args.via.words(member).map_err(Failure::Input)?;
        render::line(&format!("{number}. {member} ({mode}): {}", printed(&words)))?;
    }
    match rolling.next(reports, Duration::ZERO) {
        Step::Stop(stop) => Err(stopped(stop, args.timeout).into()),
        Step::Wait(because) => {
            render::note(&format!("would wait first: {because}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn skipped(names: &[String], members: &[Member]) -> Result<BTreeSet<Address>, Failure> {
    let find = |name: &String| {
        let named = |member: &&Member| member.address.host == *name || member.address.to_string() == *name;
        let found: Vec<_> = members.iter().filter(named).map(|member| member.address.clone()).collect();
        let none = || Failure::Input(format!("--skip: {name} is not a member of the connection string"));
        (!found.is_empty()).then_some(found).ok_or_else(none)
    };
    names.iter().map(find).collect::<Result<Vec<_>, _>>().map(|found| found.into_iter().flatten().collect())
}

fn stopped(stop: Stop, timeout: Span) -> Failure {
    match stop {
        Stop::Refused(why) => Failure::Conflict(format!("nothing was restarted: {why}")),
        Stop::TimedOut(Some(member), why) => Failure::TimedOut(format!(
            "{member} did not come back within {timeout}: {why}\nnothing more is restarted. \
             Look at it there: systemctl status zkops-zookeeper, journalctl -u zkops-zookeeper"
        )),
        Stop::TimedOut(None, why) => Failure::TimedOut(format!(
            "the ensemble was not healthy within {timeout}: {why}\nnothing more is restarted"
        )),
    }
}

/// Says what was done before an error, and what comes after it.
fn how_to_go_on(rolling: &Rolling) {
    let done: Vec<String> = rolling.finished().into_iter().map(ToString::to_string).collect();
    if !done.is_empty() {
        let done = done.join(",");
        render::note(&format!("restarted: {done}. Once `zkops ensemble status` is healthy, go on with --skip {done}"));
    }
}
