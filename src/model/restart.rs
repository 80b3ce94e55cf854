//! How systemd restarts a replica that fails.

use serde::{Deserialize, Serialize};

use super::{Problem, Span};

/// How systemd restarts a replica that fails: systemd.service(5) and systemd.unit(5) have the meanings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// `Restart=`
    pub policy: RestartMode,
    /// `RestartSec=`: the wait before a restart.
    pub delay: Span,
    /// `RestartMaxDelaySec=`: waits grow up to this; only on systemd 254 and later, which has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Span>,
    /// `StartLimitBurst=`: so many starts …
    pub limit_burst: u32,
    /// `StartLimitIntervalSec=`: … within this time, then the replica is failed.
    pub limit_interval: Span,
    /// `WatchdogSec=`, for services that ping systemd's watchdog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Span>,
}

impl RestartPolicy {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let message = "must be 1 or more; 0 would never stop restarting";
        let problem = || Problem::new("restart.limit_burst", message);
        (self.limit_burst == 0).then(problem).into_iter().collect()
    }

    pub(super) fn flaws(&self) -> Vec<Problem> {
        let message = "must be longer than nothing; 0s would never stop restarting";
        let problem = || Problem::new("restart.limit_interval", message);
        self.limit_interval.get().is_zero().then(problem).into_iter().collect()
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            policy: RestartMode::OnFailure,
            delay: Span::from_secs(1),
            max_delay: None,
            limit_burst: 5,
            limit_interval: Span::from_secs(60),
            watchdog: None,
        }
    }
}

/// `Restart=` of systemd.service(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// Never restarted by systemd.
    No,
    /// After a failure: a bad exit, a signal, a timeout, a missed watchdog.
    #[default]
    OnFailure,
    /// After anything but an exit.
    OnAbnormal,
    /// However it ended.
    Always,
}

impl RestartMode {
    /// The value as the unit file spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::OnAbnormal => "on-abnormal",
            Self::Always => "always",
        }
    }
}
