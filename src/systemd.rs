//! Everything systemd: driving units, and the files that zkops generates for them.
//!
//! ```text
//!  reconcile::agent ──► UnitManager ──► bus::DBusManager ── org.freedesktop.systemd1, over the system bus
//!         │                      └────► fake::FakeSystemd ─ a complete one in memory, for tests and simulation
//!         └───────────► files ── /run/systemd/system/<unit>.d/50-zkops.conf, unit files that a service brings
//! ```
//!
//! A wake-up carries no data: [`UnitManager::changed`] says *which* units changed, never how. What they are now is
//! read with [`UnitManager::unit`], so a lost or doubled signal is harmless.

pub mod bus;
mod exit;
pub mod fake;
pub mod files;
mod journal;

use std::{collections::BTreeSet, future::Future, path::PathBuf};

pub use bus::DBusManager;
pub use fake::FakeSystemd;
pub use files::{FileError, UnitFiles};

use crate::model::{JobResult, UnitName, UnitStatus, Verb};

/// systemd's service manager, as far as zkops needs it.
///
/// The futures are `Send` and may be dropped at any point: a job that was queued runs on without its waiter, and no
/// change is lost.
pub trait UnitManager: Send + Sync {
    /// systemd's version, as in `252`.
    fn version(&self) -> impl Future<Output = Result<u32, UnitError>> + Send;

    /// Whether the machine is on its way down (`SystemState` is `stopping`).
    fn is_stopping(&self) -> impl Future<Output = Result<bool, UnitError>> + Send;

    /// What a unit is now. A unit that does not exist is no error: its `load` is
    /// [`LoadState::NotFound`](crate::model::LoadState::NotFound).
    fn unit(&self, name: &UnitName) -> impl Future<Output = Result<UnitStatus, UnitError>> + Send;

    /// The last line that the unit's own processes wrote in an invocation that has ended, fit to be shown: for an
    /// operator who asks why. Bounded in time and length; `None` when there is none, or it cannot be read.
    fn last_words(&self, name: &UnitName, invocation: &str) -> impl Future<Output = Option<String>> + Send {
        let _ = (name, invocation);
        async { None }
    }

    /// Queues a job (mode `replace`) and waits until systemd is done with it, however long the unit takes.
    ///
    /// [`JobResult::Done`] says that the job is, which is not yet that the unit runs: a unit whose `Condition…=` does
    /// not hold is skipped with `Done`. Read the unit again afterwards.
    fn run(&self, verb: Verb, name: &UnitName) -> impl Future<Output = Result<JobResult, UnitError>> + Send;

    /// Sends a signal to the unit's main process. No error when it has none.
    fn signal(&self, name: &UnitName, signal: i32) -> impl Future<Output = Result<(), UnitError>> + Send;

    /// Forgets that the unit failed, and its start limit's count (`ResetFailedUnit`). No error when it is not loaded.
    fn reset_failed(&self, name: &UnitName) -> impl Future<Output = Result<(), UnitError>> + Send;

    /// Has systemd read its unit files again. Slow with many units: once per batch, only when a file changed.
    fn daemon_reload(&self) -> impl Future<Output = Result<(), UnitError>> + Send;

    /// What keeps the unit from being loaded or started, in words, where its status does not tell: the unit that it
    /// requires and that is missing or failed, what systemd's log says of its files. `None` = nothing is known. Takes
    /// several calls: for messages about what has failed.
    fn complaint(&self, name: &UnitName) -> impl Future<Output = Option<String>> + Send;

    /// Sets the units whose changes are wanted. Idempotent, and cheap when nothing changes.
    fn watch_units(&self, names: &BTreeSet<UnitName>);

    /// How often systemd has read its unit files again, for whomever, or may have done so unseen. Its units are reported
    /// as changed each time.
    fn reloads(&self) -> u64;

    /// The root of the file system that the manager has: another than that of a process in a sandbox.
    fn root(&self) -> PathBuf {
        PathBuf::from("/proc/1/root")
    }

    /// Waits until watched units changed, and names them, coalesced since the last call. All of them after anything
    /// that may have hidden a change: a reload of the manager, a re-exec, a reconnect.
    fn changed(&self) -> impl Future<Output = BTreeSet<UnitName>> + Send;
}

/// Why systemd did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The bus or the manager cannot be reached, or went away meanwhile: what was asked may have been done or not.
    /// Passing; try again when [`UnitManager::changed`] returns.
    #[error("systemd cannot be reached over the system bus: {reason}")]
    Unreachable {
        /// What the connection said.
        reason: String,
    },
    /// systemd knows no such unit.
    #[error("there is no unit {unit}")]
    NoSuchUnit {
        /// The unit.
        unit: UnitName,
    },
    /// It requires another unit that cannot be had.
    #[error("{unit} requires {required}, which cannot be started: {message}")]
    Requires {
        /// The unit.
        unit: UnitName,
        /// The one that it requires.
        required: String,
        /// What systemd says of that one.
        message: String,
    },
    /// The unit's file says that it cannot be loaded: masked, or bad settings.
    #[error("{unit} cannot be used: {message}")]
    Unusable {
        /// The unit.
        unit: UnitName,
        /// What systemd says of it.
        message: String,
    },
    /// This process may not ask for it: it is not root, and no polkit rule allows it, or the bus's policy forbids it.
    #[error(
        "this agent may not do that to {}: add the unit to the polkit rule (/etc/polkit-1/rules.d/50-zkops-agent.rules) \
         if it is to: {message}",
        unit.as_ref().map_or("systemd", |unit| unit.as_str())
    )]
    NotPermitted {
        /// The unit, if it is about one.
        unit: Option<UnitName>,
        /// What systemd or the bus says.
        message: String,
    },
    /// systemd refused.
    #[error("systemd refused: {message} ({name})")]
    Refused {
        /// The D-Bus error's name, such as `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
        /// Its message.
        message: String,
    },
    /// The manager did not answer within the time that a call may take. It may still do what was asked.
    #[error("systemd did not answer {call} within {seconds} s")]
    NoAnswer {
        /// The method.
        call: String,
        /// How long was waited.
        seconds: u64,
    },
}
