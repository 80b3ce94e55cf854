//! The `exec` check: a command exits with 0, in time.
//!
//! Where systemd runs, the command is a transient unit: the agent's own sandbox lets no command change its user, look at
//! the network's interfaces or compile as it runs (java, node). Elsewhere it runs in a process group of its own. Nothing of
//! either outlives the check.

use std::{
    collections::BTreeMap,
    env, fmt, io,
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr, Command},
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout},
};

use super::{brief, check::judge_lateness, failure::Failure};
use crate::{
    blocking, connect,
    model::{ExecCheck, Span},
    source::command::{self, Order, account},
};

/// Where programs are looked for by a command that the agent runs without a `PATH` of its own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of the end of standard error is kept, in bytes.
const TAIL: usize = 4096;
/// How long is waited for what is over already: for a killed process to be gone, and for the end of its output, which
/// a process that left the group may hold open.
const GRACE: Duration = Duration::from_millis(100);

/// How many checks run in units at once: each is a connection of root's to the bus, which has 256 for a user.
const AT_ONCE: usize = 64;
static UNITS: Semaphore = Semaphore::const_new(AT_ONCE);
/// The least time between two checks of a replica that run in units: each is work for PID 1.
const UNIT_REST: Duration = Duration::from_millis(250);

/// Checks that did not end in time, and the units of which something may still run: a process in an uninterruptible call
/// cannot be killed. No other is started beside it.
static ENDING: Mutex<BTreeMap<Exec, String>> = Mutex::new(BTreeMap::new());
/// How often is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(50);

/// A command and its environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exec {
    program: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    in_unit: bool,
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)
    }
}

impl Exec {
    /// The check's command, run as a transient unit or as it is.
    pub(super) fn new(
        check: &ExecCheck,
        environment: &BTreeMap<String, String>,
        in_unit: bool,
    ) -> Result<Self, &'static str> {
        let (program, arguments) = check.command.split_first().ok_or("the probe's exec.command is empty")?;
        let (program, arguments, environment) = (program.clone(), arguments.to_vec(), environment.clone());
        Ok(Self { program, arguments, environment, in_unit })
    }

    /// The least time from the end of one check to the next.
    pub(super) fn rest(&self) -> Duration {
        if self.in_unit { UNIT_REST } else { Duration::ZERO }
    }

    /// Runs the command for so long as `limit`; then it is killed. What passes before it is started is not of its time.
    pub(super) async fn run(&self, limit: Span) -> Result<(), Failure> {
        let turn = if self.in_unit { Some(self.wait_for_turn(limit).await?) } else { None };
        let started = timeout(limit.get(), self.clone().start(limit)).await;
        let started = started.unwrap_or_else(|_| Err(Failure::NotAsked(format!("not within {limit}"))));
        let running = started.map_err(|failure| failure.of("cannot be started").of(self))?;
        self.follow(running, limit, turn).await.map_err(|failure| failure.of(self))
    }

    async fn wait_for_turn(&self, limit: Span) -> Result<SemaphorePermit<'static>, Failure> {
        let ended = async {
            while ending().contains_key(self) {
                sleep(LOOK).await;
            }
        };
        if timeout(limit.get(), ended).await.is_err()
            && let Some(unit) = ending().get(self)
        {
            return Err(if command::is_killed_in_vain(unit) {
                Failure::Replica(format!("{self}: the check before it has not ended, and cannot be killed"))
            } else {
                Failure::NotAsked(format!("{self}: systemd has not ended the check before it within {limit}"))
            });
        }
        match timeout(limit.get(), UNITS.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Failure::NotAsked(format!("{self}: {AT_ONCE} other checks are under way, for {limit}"))),
        }
    }

    /// What came of the check is decided when its time is over, before what is left of it is ended.
    async fn follow(
        &self,
        mut running: Running,
        limit: Span,
        turn: Option<SemaphorePermit<'static>>,
    ) -> Result<(), Failure> {
        let mut began = Instant::now();
        let mut ended = timeout(limit.get(), running.begin()).await.ok().map(|()| Ok(()));
        if ended.is_some() {
            began = Instant::now();
            ended = timeout(limit.get(), running.end()).await.ok();
        }
        let took = began.elapsed();
        let Some(result) = ended else {
            let runs = running.unit.as_deref().is_none_or(|unit| command::is_populated(unit).unwrap_or(true));
            running.kill();
            // Not awaited for ever: a process in an uninterruptible call dies when that returns.
            let _ = timeout(GRACE, running.child.wait()).await;
            if let Some(unit) = running.unit.take() {
                self.clean_up(unit, turn);
            }
            if !runs {
                return Err(Failure::NotAsked(format!(
                    "systemd did not start it, or say how it ended, within {limit}"
                )));
            }
            let late = running.tail.explain(&format!("did not end within {limit}"));
            return Err(judge_lateness(late, limit.get(), took));
        };
        let Err(why) = result else { return Ok(()) };
        if let Some(why) = running.unit.as_ref().and_then(|_| running.tail.shortage()) {
            return Err(Failure::NotAsked(why));
        }
        Err(judge_lateness(why, limit.get(), took))
    }

    /// Ends what is left of the check, beside the next ones of other replicas.
    fn clean_up(&self, unit: String, turn: Option<SemaphorePermit<'static>>) {
        ending().insert(self.clone(), unit.clone());
        let exec = self.clone();
        tokio::spawn(async move {
            command::end_unit(&unit).await;
            drop(turn);
            while command::is_populated(&unit) == Some(true) {
                sleep(LOOK * 10).await;
            }
            ending().remove(&exec);
        });
    }

    /// Beside the loop: a program on a disk that hangs holds up who starts it.
    async fn start(self, limit: Span) -> Result<Running, Failure> {
        blocking::STARTS.run(move || self.spawn(limit)).await.map_err(|error| Failure::io(&error))
    }

    fn spawn(&self, limit: Span) -> io::Result<Running> {
        let unit = self.in_unit.then(command::unit_name);
        let mut command = match &unit {
            Some(unit) => command::in_unit(&self.order(limit), unit)?,
            None => self.directly(),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let tail = Tail { stderr: child.stderr.take(), kept: Vec::new(), accounted: unit.is_some() };
        Ok(Running { child, group, unit, tail })
    }

    fn directly(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(&self.environment).current_dir("/");
        command.env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        command
    }

    fn order(&self, limit: Span) -> Order {
        let command = [&self.program].into_iter().chain(&self.arguments).cloned().collect();
        let environment = self.environment.iter().map(|(name, value)| (name.clone().into(), value.clone())).collect();
        Order { command, environment, limit: Some(limit.get()), quiet: true, ..Order::default() }
    }
}

/// A command that was started. Its process group is killed when it is dropped.
struct Running {
    child: Child,
    group: Option<Pid>,
    /// What it runs as, where systemd runs. Of a check that is dropped it goes on to its own limit, a little later.
    unit: Option<String>,
    tail: Tail,
}

impl Running {
    /// Waits until the command runs: systemd may have other things to do first.
    async fn begin(&mut self) {
        while self.unit.is_some() && !self.tail.shows_start() && self.tail.read_more().await {}
    }

    /// Waits for the end of the command, not for that of its children.
    async fn end(&mut self) -> Result<(), String> {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = self.tail.read() => self.child.wait().await,
        };
        let status = status.map_err(|error| connect::words(&error))?;
        self.kill();
        if status.success() {
            return Ok(());
        }
        let _ = timeout(GRACE, self.tail.read()).await;
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => status.to_string(),
        };
        Err(self.tail.explain(&end))
    }

    /// Kills what is left of the group, once. A group's number is not given to another while a process is in it; for
    /// one that is empty it is used right after the end of its first process.
    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // An error says that there is nothing left to kill.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what a command says on standard error.
struct Tail {
    stderr: Option<ChildStderr>,
    kept: Vec<u8>,
    /// Whether it has systemd-run's words in it.
    accounted: bool,
}

impl Tail {
    /// Reads on to the end of the output, and keeps the end of it. May be dropped at any point.
    async fn read(&mut self) {
        while self.read_more().await {}
    }

    /// Reads what there is next; false at the end.
    async fn read_more(&mut self) -> bool {
        let Some(stderr) = &mut self.stderr else { return false };
        let more = matches!(stderr.read_buf(&mut self.kept).await, Ok(1..));
        if !more {
            self.stderr = None;
        } else if self.kept.len() > 2 * TAIL {
            self.kept.drain(..self.kept.len() - TAIL);
        }
        more
    }

    fn shows_start(&self) -> bool {
        account::shows_start(&String::from_utf8_lossy(&self.kept))
    }

    /// Why a command that did not succeed did not come to an end of its own, if so.
    fn shortage(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.kept);
        account::shortage(&text).filter(|_| !account::lacks_program(&text))
    }

    /// How the command ended, with the last line that it said.
    fn explain(&self, end: &str) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let own = if self.accounted { account::own_words(&text) } else { text.into_owned() };
        format!("{end}{}", last_line(&own))
    }
}

fn ending() -> MutexGuard<'static, BTreeMap<Exec, String>> {
    ENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last line that says something, to be put behind how a command ended.
fn last_line(output: &str) -> String {
    let line = output.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.map(|line| format!(": {}", brief(line))).unwrap_or_default()
}

#[cfg(test)]
mod tests;
