//! The `exec` check: a command exits with 0, in time.
//!
//! Where systemd runs, the command is a transient unit: the agent's own sandbox lets no command change its user, look at
//! the network's interfaces or compile as it runs (java, node). Elsewhere it runs in a process group of its own. Nothing of
//! either outlives the check.

use std::{collections::BTreeMap, env, fmt, io, os::unix::process::ExitStatusExt as _, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use super::{brief, failure::Failure};
use crate::{
    blocking, connect,
    model::{ExecCheck, Span},
    source::command::{self, Order},
};

/// Where programs are looked for by a command that the agent runs without a `PATH` of its own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of the end of standard error is kept, in bytes.
const TAIL: usize = 4096;
/// How long is waited for what is over already: for a killed process to be gone, and for the end of its output, which
/// a process that left the group may hold open.
const GRACE: Duration = Duration::from_millis(100);

/// How systemd-run says that it could not have the command started: that is not the replica's doing.
const NOT_STARTED: &str = "Failed to start transient service unit";

/// A command and its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Runs the command for so long as `limit`; then it is killed.
    pub(super) async fn run(&self, limit: Span) -> Result<(), Failure> {
        let started = timeout(limit.get(), self.clone().start(limit)).await;
        let started = started.unwrap_or_else(|_| Err(Failure::NotAsked(format!("not within {limit}"))));
        let mut running = started.map_err(|failure| failure.of("cannot be started").of(self))?;
        let ended = timeout(limit.get(), running.end()).await;
        let begun = running.unit.as_deref().is_none_or(command::has_begun);
        running.kill();
        match ended {
            Ok(Err(error)) if running.unit.is_some() && error.contains(NOT_STARTED) => {
                Err(Failure::NotAsked(format!("{self}: {error}")))
            }
            Ok(result) => Ok(result.map_err(|error| format!("{self}: {error}"))?),
            Err(_) => {
                // Not awaited for ever: a process in an uninterruptible call dies when that returns.
                let _ = timeout(GRACE, running.child.wait()).await;
                if let Some(unit) = &running.unit {
                    command::end_unit(unit).await;
                }
                if !begun {
                    return Err(Failure::NotAsked(format!("{self}: systemd did not start it within {limit}")));
                }
                let late = running.tail.explain(&format!("did not end within {limit}"));
                Err(format!("{self}: {late}").into())
            }
        }
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
        Ok(Running { group, unit, tail: Tail { stderr: child.stderr.take(), kept: Vec::new() }, child })
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
}

impl Tail {
    /// Reads on to the end of the output, and keeps the end of it. May be dropped at any point.
    async fn read(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        while matches!(stderr.read_buf(&mut self.kept).await, Ok(1..)) {
            if self.kept.len() > 2 * TAIL {
                self.kept.drain(..self.kept.len() - TAIL);
            }
        }
        self.stderr = None;
    }

    /// How the command ended, with the last line that it said.
    fn explain(&self, end: &str) -> String {
        format!("{end}{}", last_line(&String::from_utf8_lossy(&self.kept)))
    }
}

/// The last line that says something, to be put behind how a command ended.
fn last_line(output: &str) -> String {
    let line = output.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.map(|line| format!(": {}", brief(line))).unwrap_or_default()
}

#[cfg(test)]
mod tests;
