//! The connection and its supervision.
//!
//! ```text
//!            ┌──────────── closed: the bus restarted ─────────────┐
//!            ▼                                                    │
//!       Connecting ── connected, owner of systemd's name known ──► Up ── tend: Subscribe, match rules, as wanted
//!            ▲  │                                                    └─ listen: signals → changes, jobs
//!     back-off  failed
//!            │  ▼
//!           Down
//! ```
//!
//! PID 1 re-executing itself takes systemd's name off the bus and brings it back, on the same connection: its new
//! owner is subscribed to again. After that, as after a reconnect, anything may have been missed, so every watched
//! unit is reported as changed and every job is looked at.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::sync::watch;
use zbus::{Connection, MessageStream, connection::Builder, proxy::CacheProperties};

use super::{
    calls::Calls,
    changes::Changes,
    error::from_bus,
    jobs::Jobs,
    known::Known,
    path::owner_rule,
    proxies::{BusProxy, ManagerProxy, SYSTEMD},
    signal::Signal,
    tend::tend,
    turns::Turns,
};
use crate::{model::JobResult, systemd::UnitError};

/// How long one call may take. systemd answers in milliseconds, unless it reads its unit files again.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(30);

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The first wait after a connection failed; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
pub(super) const LAST_WAIT: Duration = Duration::from_secs(1);

/// Whether systemd can be talked to.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// Soon.
    Connecting,
    /// Yes.
    Up(Connection),
    /// Not until the next attempt.
    Down(Arc<str>),
}

/// What callers and the supervisor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) link: watch::Sender<Link>,
    pub(super) changes: Changes,
    pub(super) jobs: Jobs,
    pub(super) known: Known,
    pub(super) calls: Calls,
    pub(super) turns: Turns,
    /// The unique name of systemd's connection; its signals come from there and nowhere else.
    owner: Mutex<Option<String>>,
    /// Whether that connection has been asked for signals.
    pub(super) subscribed: AtomicBool,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            link: watch::Sender::new(Link::Connecting),
            changes: Changes::default(),
            jobs: Jobs::default(),
            known: Known::default(),
            calls: Calls::default(),
            turns: Turns::default(),
            owner: Mutex::default(),
            subscribed: AtomicBool::new(false),
        }
    }

    /// The connection, once it is there; an error while there is none to be had.
    pub(super) async fn connection(&self) -> Result<Connection, UnitError> {
        let mut link = self.link.subscribe();
        let settled = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        match settled.as_deref() {
            Ok(Link::Up(connection)) => Ok(connection.clone()),
            Ok(Link::Down(reason)) => Err(UnitError::Unreachable { reason: reason.to_string() }),
            Ok(Link::Connecting) | Err(_) => Err(UnitError::Unreachable { reason: "not connected".to_owned() }),
        }
    }

    /// The unique name of systemd's connection, while it is on the bus.
    pub(super) fn owner(&self) -> Option<String> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_owner(&self, owner: Option<String>) {
        let is_there = owner.is_some();
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = owner;
        self.subscribed.store(false, Ordering::Release);
        self.known.hear(&BTreeSet::new());
        self.changes.owned(is_there);
        self.changes.rewatch.notify_one();
    }

    /// Anything may have been missed.
    pub(super) fn doubt_all(&self) {
        self.known.forget_all();
        self.changes.reloaded();
        self.jobs.doubt.notify_waiters();
    }
}

/// Keeps the connection up, for ever.
pub(super) async fn supervise(shared: Arc<Shared>) {
    let mut wait = FIRST_WAIT;
    loop {
        match connect(&shared).await {
            Ok((connection, messages)) => {
                shared.link.send_replace(Link::Up(connection.clone()));
                let reason = serve(&shared, &connection, messages).await;
                tracing::warn!(%reason, "lost the system bus, connecting again");
                wait = FIRST_WAIT;
                // Most losses are a restart of the bus: who asks now waits for the next attempt.
                shared.link.send_replace(Link::Connecting);
            }
            Err(reason) => {
                if wait == FIRST_WAIT {
                    tracing::warn!(%reason, "cannot reach the system bus, retrying");
                }
                shared.link.send_replace(Link::Down(reason.into()));
            }
        }
        shared.set_owner(None);
        shared.jobs.doubt.notify_waiters();
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
        shared.link.send_replace(Link::Connecting);
    }
}

/// Connects, and learns who systemd is on this bus. `messages` has everything since.
async fn connect(shared: &Shared) -> Result<(Connection, MessageStream), String> {
    let attempt = async {
        let connection = Builder::system().build().await?;
        let messages = MessageStream::from(&connection);
        let bus = bus(&connection).await?;
        bus.add_match(&owner_rule()).await?;
        // No owner: the bus is back before systemd is on it. Its arrival is a signal.
        shared.set_owner(bus.get_name_owner(SYSTEMD).await.ok());
        zbus::Result::Ok((connection, messages))
    };
    match tokio::time::timeout(CONNECT_LIMIT, attempt).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECT_LIMIT.as_secs())),
    }
}

/// Serves one connection until it ends; why it did.
async fn serve(shared: &Shared, connection: &Connection, messages: MessageStream) -> String {
    tokio::select! {
        reason = listen(shared, messages) => reason,
        reason = tend(shared, connection) => reason,
    }
}

/// Sorts signals. Never waits for anything else: the connection reads no reply while this is behind.
async fn listen(shared: &Shared, mut messages: MessageStream) -> String {
    while let Some(message) = messages.next().await {
        match message {
            Ok(message) => hear(shared, Signal::read(&message, shared.owner().as_deref())),
            Err(error) => return error.to_string(),
        }
    }
    "the bus closed the connection".to_owned()
}

fn hear(shared: &Shared, signal: Option<Signal>) {
    match signal {
        Some(Signal::ServiceChanged { path, change }) => shared.known.service_changed(&path, change),
        Some(Signal::UnitChanged { path, change }) => {
            shared.known.unit_changed(&path, change);
            shared.changes.touch_path(&path);
        }
        // It has come to rest before that, which was said; it is loaded anew when it is read.
        Some(Signal::UnitRemoved { path }) => shared.known.forget_path(&path),
        Some(Signal::JobRemoved { job, unit, result }) => {
            let unit = unit.parse().ok();
            if let Some(unit) = &unit {
                shared.known.job_removed(unit, &job);
            }
            shared.jobs.removed(&job, &JobResult::from_word(&result));
            if let Some(unit) = &unit {
                shared.changes.touch(unit);
            }
        }
        Some(Signal::Reloaded) => {
            shared.doubt_all();
            shared.changes.rewatch.notify_one();
        }
        Some(Signal::NewOwner(owner)) => {
            tracing::info!(?owner, "systemd's place on the bus changed");
            shared.set_owner(owner);
        }
        None => {}
    }
}

/// The bus itself, on this connection.
pub(super) async fn bus(connection: &Connection) -> zbus::Result<BusProxy<'static>> {
    BusProxy::builder(connection).cache_properties(CacheProperties::No).build().await
}

/// systemd's manager on this connection.
pub(super) async fn manager(connection: &Connection) -> Result<ManagerProxy<'static>, UnitError> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await;
    manager.map_err(|error| from_bus(&error, None))
}
