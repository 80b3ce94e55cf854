//! One unit of the fake: a small state machine over a clock that it is given.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::files::Files;
use crate::model::{ActiveState, JobResult, LoadState, UnitStatus, Verb};

/// How a unit of the fake behaves. The default runs at once, stops at once, and is restarted like a unit under a
/// zkops drop-in when it crashes.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings, any of which may hold")]
pub struct Behaviour {
    /// Its file when that is not below the fake's root, such as one in `/etc` that comes before those.
    pub fragment: Option<String>,
    /// What keeps it from being started, if anything.
    pub obstacle: Option<Obstacle>,
    /// `Type=oneshot`.
    pub oneshot: bool,
    /// `RemainAfterExit=yes`.
    pub remains: bool,
    /// How long it takes to start.
    pub start_time: Duration,
    /// The status that its start exits with, instead of coming up.
    pub fails_to_start: Option<u8>,
    /// What its process writes before it ends.
    pub says: Option<String>,
    /// How long each run lasts before it crashes; `None` = until someone ends it.
    pub crashes_after: Option<Duration>,
    /// How long it takes to stop.
    pub stop_time: Duration,
    /// Whether a process survives its stop.
    pub leaves_processes: bool,
    /// Whether it has a way to reload.
    pub can_reload: bool,
    /// How long it takes to reload.
    pub reload_time: Duration,
    /// Whether its reload fails.
    pub fails_to_reload: bool,
    /// `Restart=on-failure`.
    pub restart: bool,
    /// `RestartSec=`.
    pub restart_delay: Duration,
    /// `StartLimitBurst=`.
    pub limit_burst: usize,
    /// `StartLimitIntervalSec=`.
    pub limit_interval: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            fragment: None,
            obstacle: None,
            oneshot: false,
            remains: false,
            start_time: Duration::ZERO,
            fails_to_start: None,
            says: None,
            crashes_after: None,
            stop_time: Duration::ZERO,
            leaves_processes: false,
            can_reload: false,
            reload_time: Duration::ZERO,
            fails_to_reload: false,
            restart: true,
            restart_delay: Duration::from_secs(1),
            limit_burst: 5,
            limit_interval: Duration::from_secs(60),
        }
    }
}

/// Why systemd does not start a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// This unit, which it requires, does not come up.
    Requirement(String),
    /// This unit, which it requires, is not there.
    MissingRequirement(String),
    /// This condition does not hold.
    Condition(String),
    /// This assertion does not hold.
    Assertion(String),
    /// `RefuseManualStart=yes`.
    RefusesStart,
}

impl Obstacle {
    /// What [`crate::systemd::UnitManager::complaint`] says of it.
    pub(super) fn complaint(&self) -> Option<String> {
        match self {
            Self::Requirement(unit) => Some(format!("it requires {unit}, which failed")),
            _ => None,
        }
    }
}

/// Where the unit is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dead,
    Failed,
    Starting,
    Running,
    /// Its process has ended, and it counts as active.
    Exited,
    Reloading,
    AutoRestart,
    Stopping,
}

/// How a process of the fake ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exits with this status.
    Exit(u8),
    /// SIGKILL.
    Kill,
}

/// A job of the fake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) verb: Verb,
}

/// What makes processes and starts of the whole fake tell apart.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) pid: u32,
    pub(super) invocation: u128,
}

/// One unit.
#[derive(Debug)]
pub(super) struct FakeUnit {
    pub(super) behaviour: Behaviour,
    pub(super) masked: bool,
    pub(super) files: Files,
    phase: Phase,
    due: Option<Instant>,
    pub(super) job: Option<Job>,
    starts: VecDeque<Instant>,
    pid: Option<u32>,
    invocation: u128,
    restarts: u32,
    since: Option<Instant>,
    result: &'static str,
    exit: Option<String>,
    leftover: bool,
    unmet: Vec<String>,
}

impl FakeUnit {
    pub(super) fn new(behaviour: Behaviour, files: Files) -> Self {
        Self {
            behaviour,
            masked: false,
            files,
            phase: Phase::Dead,
            due: None,
            job: None,
            starts: VecDeque::new(),
            pid: None,
            invocation: 0,
            restarts: 0,
            since: None,
            result: "success",
            exit: None,
            leftover: false,
            unmet: Vec::new(),
        }
    }

    /// When the unit next changes by itself.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What systemd refuses in its files.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let says =
            |file: &Option<(PathBuf, String)>, line: &str| file.as_ref().is_some_and(|(_, text)| text.contains(line));
        if self.behaviour.fragment.is_none()
            && self.files.fragment.is_some()
            && !says(&self.files.fragment, "ExecStart=")
        {
            return Some("it has no ExecStart=");
        }
        let always = self.behaviour.oneshot && says(&self.files.drop_in, "Restart=always");
        always.then_some("Restart=always is not for Type=oneshot")
    }

    /// Whether it runs.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Reloading)
    }

    /// Whether nothing of it runs, and nothing will by itself.
    pub(super) const fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Dead | Phase::Failed)
    }

    /// Takes up a job; its result when it is done at once.
    pub(super) fn begin(&mut self, job: Job, now: Instant, counters: &mut Counters) -> Option<JobResult> {
        self.job = Some(job);
        match (job.verb, self.phase) {
            (Verb::Start, Phase::Running | Phase::Exited | Phase::Reloading)
            | (Verb::Stop, Phase::Dead | Phase::Failed) => Some(JobResult::Done),
            (Verb::Start, Phase::Starting) => None,
            (Verb::Start, _) | (Verb::Restart, Phase::Dead | Phase::Failed | Phase::AutoRestart) => {
                self.restarts = 0;
                self.start(now, counters)
            }
            (Verb::Stop, Phase::AutoRestart) => {
                self.rest(Phase::Dead);
                Some(JobResult::Done)
            }
            (Verb::Stop | Verb::Restart, _) => {
                self.phase = Phase::Stopping;
                self.due = Some(now + self.behaviour.stop_time);
                None
            }
            (Verb::Reload, Phase::Running) if self.behaviour.can_reload && !self.behaviour.reload_time.is_zero() => {
                self.phase = Phase::Reloading;
                self.due = Some(now + self.behaviour.reload_time);
                None
            }
            (Verb::Reload, Phase::Running) if self.behaviour.can_reload => Some(self.reloaded()),
            (Verb::Reload, _) => Some(JobResult::Failed),
        }
    }

    /// Does what is due by `now`: whether anything changed, and the job's result when it is done.
    pub(super) fn advance(&mut self, now: Instant, counters: &mut Counters) -> (bool, Option<JobResult>) {
        let (mut changed, mut finished) = (false, None);
        while let Some(due) = self.due.filter(|due| *due <= now) {
            changed = true;
            finished = self.step(due, counters).or(finished);
        }
        (changed, finished)
    }

    fn step(&mut self, at: Instant, counters: &mut Counters) -> Option<JobResult> {
        self.due = None;
        match self.phase {
            Phase::Starting => Some(self.started(at)),
            Phase::Running => {
                self.end(End::Exit(1), at);
                None
            }
            Phase::AutoRestart => {
                self.restarts += 1;
                self.start(at, counters)
            }
            Phase::Reloading => {
                self.phase = Phase::Running;
                Some(self.reloaded())
            }
            Phase::Stopping => self.stopped(at, counters),
            Phase::Dead | Phase::Failed | Phase::Exited => None,
        }
    }

    /// A start by someone or by systemd; refused past the start limit.
    fn start(&mut self, now: Instant, counters: &mut Counters) -> Option<JobResult> {
        self.unmet.clear();
        match self.behaviour.obstacle.clone() {
            Some(Obstacle::Requirement(_)) => return Some(self.obstructed(JobResult::Dependency, None)),
            Some(Obstacle::Condition(text)) => return Some(self.obstructed(JobResult::Done, Some(text))),
            Some(Obstacle::Assertion(text)) => {
                return Some(self.obstructed(JobResult::Other("assert".to_owned()), Some(text)));
            }
            Some(Obstacle::MissingRequirement(_) | Obstacle::RefusesStart) | None => {}
        }
        while self.starts.front().is_some_and(|first| now.duration_since(*first) >= self.behaviour.limit_interval) {
            self.starts.pop_front();
        }
        if self.starts.len() >= self.behaviour.limit_burst {
            self.result = if self.result == "success" { "start-limit-hit" } else { self.result };
            self.rest(Phase::Failed);
            return Some(JobResult::Failed);
        }
        self.starts.push_back(now);
        counters.pid += 1;
        counters.invocation += 1;
        (self.pid, self.invocation) = (Some(counters.pid), counters.invocation);
        (self.result, self.exit, self.leftover) = ("success", None, false);
        self.phase = Phase::Starting;
        self.due = Some(now + self.behaviour.start_time);
        None
    }

    /// It was not started.
    fn obstructed(&mut self, result: JobResult, unmet: Option<String>) -> JobResult {
        self.unmet.extend(unmet);
        self.rest(Phase::Dead);
        result
    }

    fn started(&mut self, at: Instant) -> JobResult {
        if let Some(status) = self.behaviour.fails_to_start {
            self.end(End::Exit(status), at);
            return JobResult::Failed;
        }
        self.phase = Phase::Running;
        self.since = Some(at);
        self.due = self.behaviour.crashes_after.map(|life| at + life);
        if self.behaviour.oneshot {
            self.end(End::Exit(0), at);
        }
        JobResult::Done
    }

    fn reloaded(&self) -> JobResult {
        if self.behaviour.fails_to_reload { JobResult::Failed } else { JobResult::Done }
    }

    fn stopped(&mut self, at: Instant, counters: &mut Counters) -> Option<JobResult> {
        self.leftover = self.behaviour.leaves_processes;
        self.rest(Phase::Dead);
        if self.job.is_some_and(|job| job.verb == Verb::Restart) {
            return self.start(at, counters);
        }
        Some(JobResult::Done)
    }

    /// The main process ends by itself.
    pub(super) fn end(&mut self, end: End, at: Instant) {
        let (result, exit) = match end {
            End::Exit(0) => ("success", "exited with status 0".to_owned()),
            End::Exit(status) => ("exit-code", format!("exited with status {status}")),
            End::Kill => ("signal", "killed by SIGKILL".to_owned()),
        };
        self.rest(match result {
            "success" if self.behaviour.remains => Phase::Exited,
            "success" => Phase::Dead,
            _ => Phase::Failed,
        });
        (self.result, self.exit) = (result, Some(exit));
        if self.phase == Phase::Failed && self.behaviour.restart {
            self.phase = Phase::AutoRestart;
            self.due = Some(at + self.behaviour.restart_delay);
        }
    }

    /// No process any more.
    fn rest(&mut self, phase: Phase) {
        (self.phase, self.pid, self.due) = (phase, None, None);
    }

    /// `ResetFailedUnit`.
    pub(super) fn reset_failed(&mut self) {
        self.starts.clear();
        self.result = "success";
        if self.phase == Phase::Failed {
            self.phase = Phase::Dead;
        }
    }

    /// The unit as systemd would describe it; `clock` makes times of instants.
    pub(super) fn status(&self, clock: impl Fn(Instant) -> jiff::Timestamp) -> UnitStatus {
        let (active, sub) = match self.phase {
            Phase::Dead => (ActiveState::Inactive, "dead"),
            Phase::Failed => (ActiveState::Failed, "failed"),
            Phase::Starting => (ActiveState::Activating, "start"),
            Phase::Running => (ActiveState::Active, "running"),
            Phase::Exited => (ActiveState::Active, "exited"),
            Phase::Reloading => (ActiveState::Reloading, "reload"),
            Phase::AutoRestart => (ActiveState::Activating, "auto-restart"),
            Phase::Stopping => (ActiveState::Deactivating, "stop-sigterm"),
        };
        let path = |file: Option<&(PathBuf, String)>| file.map(|(path, _)| path.display().to_string());
        UnitStatus {
            load: match self.broken() {
                _ if self.masked => LoadState::Masked,
                Some(_) => LoadState::BadSetting,
                None => LoadState::Loaded,
            },
            load_error: self.broken().map(|_| "it has a bad unit file setting".to_owned()),
            active,
            sub: sub.to_owned(),
            result: self.result.to_owned(),
            main_pid: self.pid,
            invocation: if self.invocation == 0 { String::new() } else { format!("{:032x}", self.invocation) },
            restarts: self.restarts,
            can_reload: self.behaviour.can_reload,
            active_since: self.since.map(clock),
            exit: self.exit.clone(),
            fragment_path: self
                .behaviour
                .fragment
                .clone()
                .or_else(|| path(self.files.fragment.as_ref()))
                .unwrap_or_default(),
            drop_in_paths: path(self.files.drop_in.as_ref()).into_iter().collect(),
            job: self.job.map(|job| job.verb.to_string()),
            has_processes: self.pid.is_some() || self.leftover,
            unmet: self.unmet.clone(),
            kind: if self.behaviour.oneshot { "oneshot" } else { "simple" }.to_owned(),
            refuses_start: self.behaviour.obstacle == Some(Obstacle::RefusesStart),
            ..UnitStatus::not_found()
        }
    }
}
