//! systemd over the system bus (`DBUS_SYSTEM_BUS_ADDRESS` is honoured).
//!
//! One connection, supervised (`link`): it is made again when the bus restarts, subscribed again when PID 1 re-executes
//! itself. Signals wake (`changes`, `jobs`), and keep a unit known that was read (`known`). Nothing happens while nothing
//! changes.

mod calls;
mod changes;
mod complaint;
mod error;
mod jobs;
mod known;
mod link;
mod path;
mod proxies;
mod run;
mod signal;
mod status;
mod tend;
mod turns;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use zbus::proxy::CacheProperties;

use self::{
    error::from_bus,
    link::{CALL_LIMIT, Shared},
    path::unit_path,
    proxies::{MANAGER, MANAGER_PATH, PropertiesProxy, UnitProperties},
};
use super::{UnitError, UnitManager, journal};
use crate::model::{JobResult, UnitName, UnitStatus, Verb};

/// How long systemd may take to read its unit files again; seconds with thousands of them.
const RELOAD_LIMIT: Duration = Duration::from_secs(180);

/// A unit's job may be over, and another begun, between the two calls that read them; then both are read again.
const ATTEMPTS: usize = 5;

/// systemd, over the system bus.
#[derive(Debug)]
pub struct DBusManager {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

impl DBusManager {
    /// Starts to connect, and keeps connected for as long as the value lives. Calls wait for an attempt under way,
    /// and fail with [`UnitError::Unreachable`] between attempts. Must be called inside a tokio runtime.
    pub fn connect() -> Self {
        let shared = Arc::new(Shared::new());
        let supervisor = tokio::spawn(link::supervise(Arc::clone(&shared)));
        Self { shared, supervisor }
    }

    /// All properties of a unit at one moment. systemd loads the unit for it when need be.
    async fn properties(&self, name: &UnitName) -> Result<UnitProperties, UnitError> {
        let object = self.object(unit_path(name)).await?;
        self.shared.calls.make(CALL_LIMIT, "GetAll", Some(name), || object.get_all("")).await
    }

    /// The unit but for what takes another call, and the object of its job.
    async fn known_or_read(&self, name: &UnitName) -> Result<(UnitStatus, Option<String>), UnitError> {
        self.shared.changes.settles(name).await;
        if let Some(known) = self.shared.known.get(name) {
            return Ok(known);
        }
        let began = self.shared.known.begin(name);
        let unit = self.properties(name).await?;
        let job = (unit.job.0 != 0).then(|| unit.job.1.to_string());
        let status = status::status(unit);
        self.shared.changes.known_as(name, &status.id);
        if let Some(began) = began {
            self.shared.known.read(name, began, &status, job.clone());
        }
        Ok((status, job))
    }

    /// One property, as text.
    async fn text(&self, path: &str, interface: &str, property: &str) -> Result<String, UnitError> {
        let object = self.object(path.to_owned()).await?;
        let get = || object.get(interface, property);
        let value = self.shared.calls.make(CALL_LIMIT, property, None, get).await?;
        String::try_from(value).map_err(|error| from_bus(&error, None))
    }

    async fn object(&self, path: String) -> Result<PropertiesProxy<'static>, UnitError> {
        let connection = self.shared.connection().await?;
        let object = PropertiesProxy::builder(&connection).path(path).cache_properties(CacheProperties::No);
        object.build().await.map_err(|error| from_bus(&error, None))
    }

    /// The verb of a job; `None` when it is over meanwhile.
    async fn job_verb(&self, path: &str) -> Result<Option<String>, UnitError> {
        match self.text(path, "org.freedesktop.systemd1.Job", "JobType").await {
            Ok(verb) => Ok(Some(verb)),
            Err(UnitError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a unit that has a control group but does not run has any process left in it.
    async fn has_processes(&self, name: &UnitName) -> Result<bool, UnitError> {
        let connection = self.shared.connection().await?;
        let manager = link::manager(&connection).await?;
        let processes = || manager.get_unit_processes(name.as_str());
        match self.shared.calls.make(CALL_LIMIT, "GetUnitProcesses", Some(name), processes).await {
            Ok(processes) => Ok(!processes.is_empty()),
            Err(UnitError::NoSuchUnit { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for DBusManager {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl UnitManager for DBusManager {
    async fn version(&self) -> Result<u32, UnitError> {
        let text = self.text(MANAGER_PATH, MANAGER, "Version").await?;
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let unreadable = || UnitError::Refused { name: "Version".to_owned(), message: format!("\"{text}\"") };
        digits.parse().map_err(|_| unreadable())
    }

    async fn last_words(&self, name: &UnitName, invocation: &str) -> Option<String> {
        let Ok(unit) = self.properties(name).await else {
            return journal::last_line(name.as_str(), invocation, None).await;
        };
        let is_current = status::invocation(&unit.invocation_id) == invocation;
        journal::last_line(&unit.id, invocation, is_current.then_some(unit.inactive_exit_timestamp)).await
    }

    async fn is_stopping(&self) -> Result<bool, UnitError> {
        self.text(MANAGER_PATH, MANAGER, "SystemState").await.map(|state| state == "stopping")
    }

    async fn unit(&self, name: &UnitName) -> Result<UnitStatus, UnitError> {
        let mut attempt = 1;
        let mut status = loop {
            let (status, job) = self.known_or_read(name).await?;
            let Some(job) = job else { break status };
            let verb = self.job_verb(&job).await?;
            if verb.is_some() || attempt == ATTEMPTS {
                break UnitStatus { job: verb, ..status };
            }
            attempt += 1;
        };
        let rests = known::rests(&status);
        if rests && status.has_processes {
            status.has_processes = self.has_processes(name).await?;
        }
        self.shared.changes.leftover(name, rests && status.has_processes);
        Ok(status)
    }

    async fn run(&self, verb: Verb, name: &UnitName) -> Result<JobResult, UnitError> {
        self.run_job(verb, name).await
    }

    async fn signal(&self, name: &UnitName, signal: i32) -> Result<(), UnitError> {
        let connection = self.shared.connection().await?;
        let manager = link::manager(&connection).await?;
        let send = || manager.kill_unit(name.as_str(), "main", signal);
        match self.shared.calls.make(CALL_LIMIT, "KillUnit", Some(name), send).await {
            // Nothing runs that could read it.
            Err(UnitError::Refused { name, .. }) if name == "org.freedesktop.systemd1.NoSuchProcess" => Ok(()),
            result => result,
        }
    }

    async fn reset_failed(&self, name: &UnitName) -> Result<(), UnitError> {
        let connection = self.shared.connection().await?;
        let manager = link::manager(&connection).await?;
        let reset = || manager.reset_failed_unit(name.as_str());
        let answer = self.shared.calls.make(CALL_LIMIT, "ResetFailedUnit", Some(name), reset).await;
        // Not all of what that changes is signalled.
        self.shared.known.forget(name);
        match answer {
            Err(UnitError::NoSuchUnit { .. }) => Ok(()),
            result => result,
        }
    }

    async fn daemon_reload(&self) -> Result<(), UnitError> {
        let connection = self.shared.connection().await?;
        let manager = link::manager(&connection).await?;
        let answer = self.shared.calls.make(RELOAD_LIMIT, "Reload", None, || manager.reload()).await;
        // The signal that says the same may be yet to come.
        self.shared.known.forget_all();
        answer
    }

    async fn complaint(&self, name: &UnitName) -> Option<String> {
        self.find_complaint(name).await
    }

    fn watch_units(&self, names: &BTreeSet<UnitName>) {
        self.shared.changes.watch(names);
    }

    fn reloads(&self) -> u64 {
        self.shared.changes.reloads()
    }

    async fn changed(&self) -> BTreeSet<UnitName> {
        self.shared.changes.next().await
    }
}
