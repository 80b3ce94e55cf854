//! Runs a command for a source or a configuration: `apt-get`, `nix-store`, a service's own script.
//!
//! Where systemd runs, the command becomes a transient unit (systemd-run(1)): the agent's own sandbox is far too tight
//! for a package manager, and a command must outlive the agent that a package upgrade restarts. Elsewhere it is a
//! child in a process group of its own.

pub(crate) mod account;
mod group;

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

pub(crate) use self::group::{is_killed_in_vain, is_populated};
use crate::blocking;

/// How much of a command's output is kept, in bytes: its end, where the reason stands.
const KEPT_OUTPUT: usize = 16 * 1024;

/// Where programs are looked for that are named without their folder: the last two are Nix's own.
const FOLDERS: [&str; 6] =
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"];

/// What commands may expect to find on `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:\
    /run/current-system/sw/bin:/nix/var/nix/profiles/default/bin";

/// How long systemd may take to kill a command.
const GRACE: Duration = Duration::from_secs(5);

/// Variables of a command's environment.
pub(crate) type Environment = Vec<(Cow<'static, str>, String)>;

/// A command to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// The program, by path or by name, and its arguments.
    pub(crate) command: Vec<String>,
    /// Its environment, beside `PATH` and `LC_ALL`; nothing of the agent's.
    pub(crate) environment: Environment,
    /// When it is killed, with all that it started; `None` = never, as suits what must not be cut short.
    pub(crate) limit: Option<Duration>,
    /// The unit that it runs as, where systemd runs: two of one name cannot. See [`end_unit`]. A name of its own when
    /// absent.
    pub(crate) unit: Option<String>,
    /// Folders that it sees in the place of others, where systemd runs: what is there, and where it is seen.
    pub(crate) binds: Vec<(PathBuf, PathBuf)>,
    /// Whether systemd is to write nothing of it into the journal: for what runs every few seconds.
    pub(crate) quiet: bool,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The status that it exited with; `None` when a signal killed it, or its limit was reached.
    pub(crate) status: Option<i32>,
    /// Whether its limit was reached.
    pub(crate) late: bool,
    /// The end of what it wrote to standard output and standard error.
    pub(crate) output: String,
}

impl Outcome {
    /// The status, and the last line that says something.
    pub(crate) fn words(&self) -> String {
        let ended = match (self.late, self.status) {
            (true, _) => "took too long and was killed".to_owned(),
            (_, Some(status)) => format!("exited with status {status}"),
            (_, None) => "was killed by a signal".to_owned(),
        };
        let lines = || self.output.lines().map(str::trim).filter(|line| !line.is_empty());
        match lines().rfind(|line| line.starts_with("E: ")).or_else(|| lines().next_back()) {
            Some(line) => format!("{ended}: {}", line.chars().take(500).collect::<String>()),
            None => ended,
        }
    }
}

/// Runs the command to its end. Dropped, it kills the command, unless systemd runs it.
///
/// # Errors
/// When the program cannot be started, or systemd did not let it come to an end of its own: the bus is away, say, or memory
/// is short. Only [`io::ErrorKind::NotFound`] and [`io::ErrorKind::PermissionDenied`] are about the program.
pub(crate) async fn run(order: &Order) -> io::Result<Outcome> {
    let asked = order.clone();
    let (child, unit) = blocking::STARTS.run(move || start(&asked)).await?;
    let mut group = Group::new(child);
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    // What it leaves running may hold the pipes open for ever: the end of the process counts, not that of its output.
    let mut output = Tail::default();
    let limit = order.limit.unwrap_or(Duration::MAX);
    let ended = tokio::time::timeout(limit, output.follow(&mut group.child, stdout, stderr)).await;
    let late = ended.is_err();
    let status = match ended {
        Ok(status) => status?.code(),
        Err(_) => None,
    };
    group.end(late);
    let output = output.text();
    let Some(unit) = unit else { return Ok(Outcome { status, late, output }) };
    if late {
        stop(&unit).await;
    } else if status != Some(0)
        && let Some(why) = account::shortage(&output)
    {
        return Err(io::Error::other(why));
    }
    Ok(Outcome { status, late, output: account::own_words(&output) })
}

/// Starts the command; tells the unit that it runs as, if it does.
fn start(order: &Order) -> io::Result<(Child, Option<String>)> {
    let unit = runs_in_units().then(|| order.unit.clone().unwrap_or_else(unit_name));
    let mut command = match &unit {
        Some(unit) => in_unit(order, unit)?,
        None => directly(order)?,
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    Ok((command.spawn()?, unit))
}

/// Whether commands run as transient units, and so see [`Order::binds`].
pub(crate) fn runs_in_units() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn directly(order: &Order) -> io::Result<Command> {
    let (program, arguments) = parts(order)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment(order)).current_dir("/");
    Ok(command)
}

/// A name for a unit that no other command has.
pub(crate) fn unit_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("zkops-run-{}-{}.service", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Has systemd run it. The unit's own limit is for when the agent that asked is gone: it comes a little later, so that
/// it is this process that knows what happened.
pub(crate) fn in_unit(order: &Order, unit: &str) -> io::Result<Command> {
    let (program, arguments) = parts(order)?;
    let mut command = Command::new(find("systemd-run")?);
    command.args(["--wait", "--pipe", "--collect", "--service-type=exec", "--unit", unit]);
    command.envs(account::ASKED_FOR).arg("--property=WorkingDirectory=/");
    if let Some(limit) = order.limit {
        command.arg("--property=KillSignal=SIGKILL");
        command.arg(format!("--property=RuntimeMaxSec={}ms", (limit + GRACE).as_millis()));
    }
    if order.quiet {
        command.arg("--property=LogLevelMax=emerg");
    }
    for (name, value) in environment(order) {
        let mut setting = OsString::from(format!("--setenv={name}="));
        setting.push(value);
        command.arg(setting);
    }
    for (from, to) in &order.binds {
        command.arg(format!("--property=BindPaths={}:{}", quoted(from), quoted(to)));
    }
    // PID 1 fills in variables of the environment, as in a unit file: a doubled `$` is a plain one, in all versions.
    let arguments = arguments.iter().map(|word| word.replace('$', "$$"));
    command.arg("--").arg(program).args(arguments).current_dir("/");
    Ok(command)
}

/// A path as systemd-run's lists of paths have it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let special = |c: char| c.is_whitespace() || "\\:'\"".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Ends the command that runs as this unit, if one does: an agent of before may have left it.
pub(crate) async fn end_unit(unit: &str) {
    if runs_in_units() {
        stop(unit).await;
    }
}

/// Kills the unit, and waits until nothing of it is left.
async fn stop(unit: &str) {
    let unit = unit.to_owned();
    let start = move || {
        let mut command = Command::new(find("systemctl")?);
        command.args(["stop", &unit]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn()
    };
    if let Ok(mut child) = blocking::STARTS.run(start).await {
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
    }
}

fn environment(order: &Order) -> impl Iterator<Item = (&str, &str)> {
    let own = order.environment.iter().map(|(name, value)| (&**name, value.as_str()));
    [("PATH", PATH), ("LC_ALL", "C.UTF-8")].into_iter().chain(own)
}

fn parts(order: &Order) -> io::Result<(PathBuf, &[String])> {
    let (program, arguments) = order.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let path = find(program)?;
    Ok((path, arguments))
}

/// The program's path. Asked for here, so that a missing one is told apart from one that fails.
fn find(program: &str) -> io::Result<PathBuf> {
    blocking::may_block();
    let given = Path::new(program);
    let mut candidates = FOLDERS.iter().map(|folder| Path::new(folder).join(program));
    let found = if given.is_absolute() {
        given.exists().then(|| given.to_owned())
    } else {
        candidates.find(|path| path.exists())
    };
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such program"))
}

/// A child and all that it started: killed together when this is dropped before the child's end.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn new(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, id }
    }

    /// The child has ended, or is `late`; then it is killed.
    fn end(mut self, late: bool) {
        if !late {
            self.id = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// The end of what a command writes.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    /// Reads until the child has ended, and what is there to be read then.
    async fn follow(
        &mut self,
        child: &mut Child,
        mut stdout: Option<impl AsyncRead + Unpin>,
        mut stderr: Option<impl AsyncRead + Unpin>,
    ) -> io::Result<std::process::ExitStatus> {
        let (mut from_stdout, mut from_stderr) = ([0; 4096], [0; 4096]);
        let status = loop {
            tokio::select! {
                biased;
                read = read(&mut stdout, &mut from_stdout) => self.add(&from_stdout[..read]),
                read = read(&mut stderr, &mut from_stderr) => self.add(&from_stderr[..read]),
                status = child.wait() => break status,
            }
        };
        let rest = Duration::from_millis(100);
        let _ = tokio::time::timeout(rest, async {
            while stdout.is_some() || stderr.is_some() {
                tokio::select! {
                    read = read(&mut stdout, &mut from_stdout) => self.add(&from_stdout[..read]),
                    read = read(&mut stderr, &mut from_stderr) => self.add(&from_stderr[..read]),
                }
            }
        })
        .await;
        status
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(KEPT_OUTPUT);
        self.0.drain(..excess);
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&Vec::from(self.0)).into_owned()
    }
}

/// Reads once. At its end the pipe is gone, and this never returns again.
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match pipe {
        None => std::future::pending().await,
        Some(open) => match open.read(buffer).await {
            Ok(count) if count > 0 => count,
            _ => {
                *pipe = None;
                0
            }
        },
    }
}

#[cfg(test)]
mod tests;
