//! What is probed of a replica, and what comes of it: values alone, whoever asks.

use std::collections::BTreeMap;

use super::{Probe, Span};

/// What is probed of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probing {
    /// Whether it is ready; without one it always is.
    pub readiness: Option<Probe>,
    /// Whether it is alive; without one it always is.
    pub liveness: Option<Probe>,
    /// The port of the checks that name none.
    pub port: Option<u16>,
    /// What checks of the host's own address connect to.
    pub address: Option<String>,
    /// What `exec` checks see beside `PATH`.
    pub environment: BTreeMap<String, String>,
    /// This invocation is known to have been ready before anything was probed here, as it is to an agent that was
    /// started again: it is ready until `failure_threshold` checks have failed, and there is no initial delay.
    /// Looked at when an invocation is seen for the first time, and never again.
    pub was_ready: bool,
    /// How long an invocation that is seen for the first time is on trial; `None` = it is not: nothing about it has changed
    /// since its checks were known to succeed. Looked at as `was_ready` is.
    pub trial: Option<Span>,
}

/// What the probes say about a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Ready for work.
    pub ready: bool,
    /// Not to be restarted. Once false, it stays so until the next invocation, or another liveness probe.
    pub alive: bool,
    /// Why it is not ready or not alive, by the last failure: `readiness: GET http://127.0.0.1:8080/healthz: 503`.
    /// Absent before the first check has ended.
    pub message: Option<String>,
}

impl Default for Verdict {
    /// Of a replica that nothing is known about: not ready, and no reason to restart it.
    fn default() -> Self {
        Self { ready: false, alive: true, message: None }
    }
}

/// What a trial has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialOutcome {
    /// Too few checks in a row have succeeded since the change, or since one failed.
    pub unconfirmed: bool,
    /// How often a check failed after others had succeeded.
    pub setbacks: u32,
    /// The last failure, while too few checks have succeeded since.
    pub failure: Option<String>,
    /// Failures don't count any more.
    pub over: bool,
}

impl TrialOutcome {
    /// Of what is not on trial.
    pub fn passed() -> Self {
        Self { over: true, ..Self::default() }
    }
}
