//! What systemd says of a unit and of a job, in types. Strings that a later systemd may add never fail to parse.

use std::time::Duration;

use jiff::Timestamp;

/// What is asked of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Start it; a unit that is active is left as it is.
    Start,
    /// Stop it; done once systemd has seen its processes go, or has given up killing them.
    Stop,
    /// Stop and start it; a unit that is not active is started.
    Restart,
    /// Have it read its configuration again; only where [`UnitStatus::can_reload`].
    Reload,
}

impl Verb {
    /// The verb in words, as `systemctl` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a job ended (`JobRemoved`'s result).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// It was carried out.
    Done,
    /// A later job took its place, or someone cancelled it.
    Canceled,
    /// It took longer than its timeout.
    Timeout,
    /// The unit could not do it.
    Failed,
    /// A unit that it depends on could not.
    Dependency,
    /// It did not apply to the unit's state.
    Skipped,
    /// Anything else, in systemd's word: `invalid`, `assert`, `unsupported`, `collected`, `once`, `frozen` …
    Other(String),
}

impl JobResult {
    /// Whether it says nothing against the unit.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Done | Self::Skipped | Self::Canceled)
    }

    /// Reads systemd's word.
    pub fn from_word(word: &str) -> Self {
        match word {
            "done" => Self::Done,
            "canceled" => Self::Canceled,
            "timeout" => Self::Timeout,
            "failed" => Self::Failed,
            "dependency" => Self::Dependency,
            "skipped" => Self::Skipped,
            other => Self::Other(other.to_owned()),
        }
    }

    /// systemd's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Done => "done",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Dependency => "dependency",
            Self::Skipped => "skipped",
            Self::Other(word) => word,
        }
    }
}

impl std::fmt::Display for JobResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether systemd could load the unit's file (`LoadState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadState {
    /// Loaded.
    Loaded,
    /// There is no such file.
    NotFound,
    /// A setting in it makes it unusable.
    BadSetting,
    /// It could not be read.
    Error,
    /// An administrator masked it.
    Masked,
    /// Anything else: `stub`, `merged`, or a word of a later systemd.
    Other,
}

impl LoadState {
    /// Reads systemd's word.
    pub fn from_word(word: &str) -> Self {
        match word {
            "loaded" => Self::Loaded,
            "not-found" => Self::NotFound,
            "bad-setting" => Self::BadSetting,
            "error" => Self::Error,
            "masked" => Self::Masked,
            _ => Self::Other,
        }
    }
}

/// The unit's state (`ActiveState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActiveState {
    /// It runs.
    Active,
    /// It runs, and reads its configuration again.
    Reloading,
    /// It does not run.
    Inactive,
    /// It does not run, and its last run failed.
    Failed,
    /// It starts, or systemd waits to start it again ([`UnitStatus::sub`] is then `auto-restart`).
    Activating,
    /// It stops.
    Deactivating,
    /// It runs; systemd is busy with it (`maintenance`, `refreshing`).
    Maintenance,
    /// A word of a later systemd.
    Unknown,
}

impl ActiveState {
    /// Reads systemd's word.
    pub fn from_word(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" => Self::Reloading,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            "maintenance" | "refreshing" => Self::Maintenance,
            _ => Self::Unknown,
        }
    }

    /// Whether the unit serves: it runs and is neither starting nor stopping.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Active | Self::Reloading | Self::Maintenance)
    }
}

/// A unit at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "properties as systemd has them")]
pub struct UnitStatus {
    /// Its primary name (`Id`). Another than it was asked for by: that one is an alias. Empty = not known.
    pub id: String,
    /// Whether its file could be loaded.
    pub load: LoadState,
    /// What systemd says against loading it.
    pub load_error: Option<String>,
    /// Its state.
    pub active: ActiveState,
    /// Its state in the words of its type: `running`, `exited`, `auto-restart`, `stop-sigterm` …
    pub sub: String,
    /// How its last run ended: `success`, `exit-code`, `signal`, `timeout`, `watchdog`, `start-limit-hit` …
    pub result: String,
    /// Its main process, while there is one.
    pub main_pid: Option<u32>,
    /// Changes with each start, also with systemd's own restarts; 32 hex digits, empty = never started.
    pub invocation: String,
    /// How often systemd restarted it since its last start by someone (`NRestarts`).
    pub restarts: u32,
    /// Whether it has a way to reload.
    pub can_reload: bool,
    /// Whether its files changed since systemd read them, when all of it was last asked for: no signal tells of that.
    pub need_daemon_reload: bool,
    /// Since when it is active, or when it last became so.
    pub active_since: Option<Timestamp>,
    /// How its main process last ended, in words: `exited with status 3`, `killed by SIGKILL`.
    pub exit: Option<String>,
    /// Its file; empty when there is none.
    pub fragment_path: String,
    /// Its drop-ins that are in force.
    pub drop_in_paths: Vec<String>,
    /// The verb of the job that is queued or running for it: `start`, `stop`, `restart` …
    pub job: Option<String>,
    /// Whether any process of it is left. A unit is stopped only when this is false.
    pub has_processes: bool,
    /// What kept it from its last start: each `Condition…=` or `Assert…=` that did not hold, as its file spells it.
    pub unmet: Vec<String>,
    /// Its `Type=`; empty = not known.
    pub kind: String,
    /// Whether nobody may start it by itself (`RefuseManualStart=yes`).
    pub refuses_start: bool,
    /// What its files came to, all drop-ins applied; `None` = not known.
    pub settings: Option<UnitSettings>,
}

/// Those of a service's settings that zkops's drop-in sets and relies on, as they are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitSettings {
    /// `Restart=`
    pub restart: String,
    /// `StartLimitBurst=`
    pub limit_burst: u32,
    /// `StartLimitIntervalSec=`
    pub limit_interval: Duration,
    /// `Environment=`, each as `NAME=value`.
    pub environment: Vec<String>,
    /// `EnvironmentFile=`
    pub environment_files: Vec<String>,
    /// `LoadCredential=`, each as its name and its path.
    pub credentials: Vec<(String, String)>,
}

impl UnitStatus {
    /// A unit that does not exist.
    pub fn not_found() -> Self {
        Self {
            id: String::new(),
            load: LoadState::NotFound,
            load_error: None,
            active: ActiveState::Inactive,
            sub: "dead".to_owned(),
            result: "success".to_owned(),
            main_pid: None,
            invocation: String::new(),
            restarts: 0,
            can_reload: false,
            need_daemon_reload: false,
            active_since: None,
            exit: None,
            fragment_path: String::new(),
            drop_in_paths: Vec::new(),
            job: None,
            has_processes: false,
            unmet: Vec::new(),
            kind: String::new(),
            refuses_start: false,
            settings: None,
        }
    }

    /// Whether its main process ended and it is active all the same (`RemainAfterExit=yes`). What is meant to end
    /// (`Type=oneshot`) has not: being active is all that it is to be.
    pub fn has_ended(&self) -> bool {
        self.active == ActiveState::Active && self.sub == "exited" && self.kind != "oneshot"
    }

    /// Whether its file, or one of its drop-ins, cannot be used.
    pub const fn is_broken(&self) -> bool {
        matches!(self.load, LoadState::BadSetting | LoadState::Error)
    }

    /// Whether nothing of it runs and nothing will by itself: inactive or failed, no job, no process left.
    pub fn is_down(&self) -> bool {
        matches!(self.active, ActiveState::Inactive | ActiveState::Failed) && self.job.is_none() && !self.has_processes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for word in ["done", "canceled", "timeout", "failed", "dependency", "skipped", "from-the-future"] {
            assert_eq!(JobResult::from_word(word).as_str(), word);
        }
        assert_eq!(LoadState::from_word("not-found"), LoadState::NotFound);
        assert_eq!(ActiveState::from_word("from-the-future"), ActiveState::Unknown);
    }

    #[test]
    fn what_is_active_without_its_process_has_ended_unless_it_is_meant_to() {
        let unit = |kind: &str, sub: &str| UnitStatus {
            active: ActiveState::Active,
            sub: sub.to_owned(),
            kind: kind.to_owned(),
            ..UnitStatus::not_found()
        };
        for (kind, sub, expected) in [
            ("simple", "exited", true),
            ("forking", "exited", true),
            ("notify", "running", false),
            ("forking", "running", false),
            ("oneshot", "exited", false),
        ] {
            assert_eq!(unit(kind, sub).has_ended(), expected, "{kind} {sub}");
        }
        assert!(!UnitStatus { active: ActiveState::Inactive, ..unit("simple", "exited") }.has_ended());
    }

    #[test]
    fn down_means_that_no_process_is_left() {
        let down = UnitStatus::not_found();
        assert!(down.is_down());
        assert!(!UnitStatus { has_processes: true, ..down.clone() }.is_down());
        assert!(!UnitStatus { job: Some("start".into()), ..down.clone() }.is_down());
        assert!(!UnitStatus { active: ActiveState::Deactivating, ..down.clone() }.is_down());
        assert!(UnitStatus { active: ActiveState::Failed, ..down }.is_down());
    }
}
