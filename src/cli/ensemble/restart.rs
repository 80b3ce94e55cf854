//! `zkops ensemble rolling-restart`: what is decided in `plan::ensemble::restart`, carried out.

use std::{
    collections::BTreeSet,
    convert::Infallible,
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
        wait,
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
A leader that is the only one skipped is to be restarted first (exit code 4): nothing shows that
members can follow it once they are restarted.

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
    let (began, mut progress, mut between) = (Instant::now(), Progress::default(), Duration::ZERO);
    loop {
        let reports = ensemble::survey(members, PATIENCE).await;
        match rolling.next(&reports, began.elapsed()) {
            Step::Restart(member, mode) => one(args, rolling, &mut progress, &member, mode).await?,
            Step::Back(member, mode, took) => {
                (progress, between) = (Progress::default(), began.elapsed());
                tell(&format!("{member} is back as {mode} and in sync after {:.1} s", took.as_secs_f64()));
            }
            Step::Wait(because) => {
                let (what, since) = rolling
                    .in_turn()
                    .map_or_else(|| ("waiting".to_owned(), between), |(member, since)| (waiting_for(member), since));
                progress.wait(&what, began.elapsed().saturating_sub(since), Some(&because));
                sleep(PAUSE).await;
            }
            Step::Stop(stop) => return Err(stopped(stop, args.timeout).into()),
            Step::Done => {
                tell(&all_done(rolling));
                return Ok(());
            }
        }
    }
}

/// A reader of our output that went away must not end this half-way, least of all as if it were done.
fn tell(text: &str) {
    let _ = render::line(text);
}

fn waiting_for(member: &Address) -> String {
    format!("waiting for {member} to be back")
}

/// What is said at the end: of those that were skipped, not that they were restarted.
fn all_done(rolling: &Rolling) -> String {
    match rolling.skipped() {
        skipped if skipped.is_empty() => "all members are restarted".to_owned(),
        skipped => format!("all members are restarted but for those skipped: {}", joined(skipped)),
    }
}

fn joined<'a>(members: impl IntoIterator<Item = &'a Address>) -> String {
    members.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Runs the command that restarts a member, and looks at the member meanwhile: whether its process really ends, and what
/// keeps it from serving.
async fn one(
    args: &Args,
    rolling: &mut Rolling,
    progress: &mut Progress,
    member: &Address,
    mode: Mode,
) -> anyhow::Result<()> {
    let words = args.via.words(member).map_err(Failure::Input)?;
    tell(&format!("{member} ({mode}): {}", printed(&words)));
    let (began, target) = (Instant::now(), Member { address: member.clone(), listed: true });
    let status = carry_out(&words, args.timeout.get(), async {
        loop {
            let report = ensemble::report(&target, PATIENCE).await;
            let is_gone = rolling.look(&report);
            let why = report.srvr.err().map(|why| why.to_string());
            progress.wait(&waiting_for(member), began.elapsed(), why.as_deref());
            sleep(if is_gone { PAUSE } else { GLANCE }).await;
        }
    });
    match status.await.with_context(|| format!("cannot run `{}`", printed(&words)))? {
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
    meanwhile: impl Future<Output = Infallible>,
) -> io::Result<Option<ExitStatus>> {
    let deadline = wait::after(limit);
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()))
        .kill_on_drop(true)
        .spawn()?;
    tokio::select! {
        status = child.wait() => status.map(Some),
        () = sleep_until(deadline) => {
            child.kill().await?;
            Ok(None)
        }
        never = meanwhile => match never {},
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
    if rolling.restarted().is_empty() {
        return;
    }
    let skipped = match rolling.skipped() {
        skipped if skipped.is_empty() => String::new(),
        skipped => format!("; skipped: {}", joined(skipped)),
    };
    let (restarted, finished) = (joined(rolling.restarted()), joined(rolling.finished()));
    render::note(&format!(
        "restarted: {restarted}{skipped}. Once `zkops ensemble status` is healthy, go on with --skip {finished}"
    ));
}
