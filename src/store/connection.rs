//! One connection of one session: opened, used, and then closed, or cut and left for the next one to resume.
//!
//! The client library reconnects by itself, with three consequences that zkops cannot live with: requests made
//! meanwhile are queued and carried out later, persistent watches are lost without a word, and a pause that doubles
//! with each failed attempt stands between a healed link and its use. So the library's task is ended at the first
//! sign of a disconnect, which drops what was queued, and the session is resumed by a new connection. Its watchers
//! panic when polled after that; [`Connection::guarded`] makes sure that they are not.

use std::{
    fmt,
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::task::AbortHandle;
use zookeeper_client as zk;

use super::StoreError;

/// The longest silence of a server before the connection counts as lost. TCP retries a lost packet 0.2, 0.6, 1.4, 3.0 …
/// s after it was sent, so that anything above 2 s would delay the recovery from a blip by more than a second; and
/// anything below costs CPU, since the library wakes 8 times in this while.
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// See the module's comment.
pub(super) struct Connection {
    /// `None` once the connection has been given up: nothing is sent any more.
    gate: Mutex<Option<zk::Client>>,
    serving: AbortHandle,
    session_id: i64,
    session_timeout: Duration,
    chroot: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({:#x})", self.session_id)
    }
}

impl Connection {
    /// Connects to `address`, for a new session or to resume one.
    pub(super) async fn open(
        address: SocketAddr,
        chroot: &str,
        session_timeout: Duration,
        resume: Option<zk::SessionInfo>,
    ) -> Result<Self, zk::Error> {
        let mut connector = zk::Client::connector()
            .with_session_timeout(session_timeout)
            .with_connection_timeout(MAX_SILENCE.min(session_timeout * 3 / 5))
            .with_fail_eagerly();
        if let Some(session) = resume {
            connector = connector.with_session(session);
        }
        let target = format!("{address}{chroot}");
        let spawner = Spawner::default();
        let mut connecting = pin!(connector.connect(&target));
        let client = poll_fn(|context| {
            let _scope = spawns_core::enter(&spawner);
            connecting.as_mut().poll(context)
        })
        .await?;
        let serving = spawner.serving.into_inner().unwrap_or_else(PoisonError::into_inner);
        let serving = serving.ok_or(zk::Error::ClientClosed)?;
        let (session_id, session_timeout) = (client.session_id().0, client.session_timeout());
        Ok(Self { gate: Mutex::new(Some(client)), serving, session_id, session_timeout, chroot: chroot.to_owned() })
    }

    pub(super) fn session_id(&self) -> i64 {
        self.session_id
    }

    pub(super) fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    pub(super) fn chroot(&self) -> &str {
        &self.chroot
    }

    fn gate(&self) -> MutexGuard<'_, Option<zk::Client>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request, if there is a connection to make it on. The library sends it at once, not when the future
    /// is polled, so that requests are answered in the order of these calls.
    pub(super) fn request<T>(&self, request: impl FnOnce(&zk::Client) -> T) -> Result<T, StoreError> {
        match &*self.gate() {
            Some(client) if client.state() == zk::SessionState::SyncConnected => Ok(request(client)),
            _ => Err(StoreError::Disconnected),
        }
    }

    /// Polls a watcher, unless the connection has been given up: then `None`, and `poll` is not called.
    pub(super) fn guarded<T>(&self, poll: impl FnOnce() -> T) -> Option<T> {
        let gate = self.gate();
        gate.is_some().then(poll)
    }

    /// Gives the connection up and leaves the session to be resumed or to expire. Whatever was queued is dropped.
    pub(super) fn cut(&self) {
        *self.gate() = None;
        self.serving.abort();
    }

    /// Ends the session: true once ZooKeeper has confirmed it. Requests under way are answered first.
    pub(super) async fn close(&self) -> bool {
        let Some(client) = self.gate().take() else { return false };
        let mut states = client.state_watcher();
        drop(client);
        loop {
            match states.state() {
                zk::SessionState::Closed => return true,
                zk::SessionState::Expired | zk::SessionState::AuthFailed => return false,
                _ => states.changed().await,
            };
        }
    }
}

/// Catches the library's one task, so that it can be ended.
#[derive(Default)]
struct Spawner {
    serving: Mutex<Option<AbortHandle>>,
}

impl spawns_core::Spawn for Spawner {
    fn spawn(&self, task: spawns_core::Task) {
        let serving = tokio::spawn(Box::into_pin(task.future)).abort_handle();
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
    }
}
