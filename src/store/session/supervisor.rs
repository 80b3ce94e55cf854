//! Keeps a session alive: resumes it after every loss of connection, and starts a new one once ZooKeeper says that it
//! has expired.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tracing::{debug, info, warn};
use zookeeper_client as zk;

use super::{Control, Link, SessionConfig, Up, refused};
use crate::store::{
    Client, StoreError,
    connection::Connection,
    servers::{Limits, Reached, Servers, random},
};

/// How long a server may take before the next attempt. A lookup that takes longer goes on beside it.
const REACH: Limits = Limits { lookup: Duration::from_secs(1), connect: Duration::from_millis(500) };
/// The first pause between two rounds of attempts; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause while the loss is recent: a healed link is used within a second.
const RECENT_PAUSE: Duration = Duration::from_millis(200);
/// How long a loss is recent.
const RECENT: Duration = Duration::from_secs(20);
/// The longest pause later on, so that a fleet does not hammer an ensemble that is down.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

pub(super) async fn supervise(
    config: SessionConfig,
    publish: watch::Sender<Link>,
    mut orders: mpsc::UnboundedReceiver<Control>,
) {
    let servers = match config.servers.parse() {
        Ok(servers) => servers,
        Err(error) => return refuse(&error, &publish, orders).await,
    };
    let mut supervisor = Supervisor {
        servers,
        silent: None,
        session_timeout: config.session_timeout,
        publish,
        epoch: 0,
        joins: 0,
        resume: None,
        session_id: 0,
        granted: config.session_timeout,
        connection: None,
        lost: Instant::now(),
    };
    let order = tokio::select! {
        never = supervisor.run() => match never {},
        order = orders.recv() => order,
    };
    match order {
        Some(Control::Close { limit, done }) => {
            // The one who asked may have stopped waiting.
            done.send(supervisor.close(limit).await).ok();
        }
        Some(Control::Abandon) | None => supervisor.cut("abandoned"),
    }
}

/// A connection string that is none does not fix itself: say so until someone ends us.
async fn refuse(error: &StoreError, publish: &watch::Sender<Link>, mut orders: mpsc::UnboundedReceiver<Control>) {
    warn!("{error}");
    publish.send_replace(Link::Down { reason: error.to_string() });
    orders.recv().await;
}

struct Supervisor {
    servers: Servers,
    /// The server that accepted the last connection and served no session, or not for long.
    silent: Option<Reached>,
    session_timeout: Duration,
    publish: watch::Sender<Link>,
    epoch: u64,
    joins: u64,
    /// The session to resume; `None` when the next connection starts a new one.
    resume: Option<zk::SessionInfo>,
    /// The session that `epoch` stands for.
    session_id: i64,
    connection: Option<Arc<Connection>>,
    /// Its negotiated timeout.
    granted: Duration,
    /// Since when there has been no connection, while there is none.
    lost: Instant,
}

enum Never {}

impl Supervisor {
    async fn run(&mut self) -> Never {
        loop {
            let states = self.join().await;
            lost(states).await;
            self.suspend();
        }
    }

    /// Tries until connected.
    async fn join(&mut self) -> zk::StateWatcher {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.attempt().await {
                Ok(states) => return states,
                Err(error) => error,
            };
            if self.expired(&error) {
                continue;
            }
            self.report(&error);
            time::sleep(jittered(pause)).await;
            let longest = if self.lost.elapsed() < RECENT { RECENT_PAUSE } else { LONGEST_PAUSE };
            pause = (pause * 2).min(longest);
        }
    }

    async fn attempt(&mut self) -> Result<zk::StateWatcher, Failure> {
        let silent = self.silent.take();
        let reached = self.servers.reach(REACH, silent.as_ref()).await.map_err(Failure::Store)?;
        let timeout = self.session_timeout;
        self.silent = Some(reached.clone());
        let connection = Connection::open(reached.address, self.servers.chroot(), timeout, self.resume.clone())
            .await
            .map_err(|error| match error {
            zk::Error::SessionExpired => Failure::Expired,
            error => Failure::Store(refused(&self.servers, &reached, &error)),
        })?;
        let connection = Arc::new(connection);
        let states = connection.request(|zk| {
            self.resume = Some(zk.session().clone());
            zk.state_watcher()
        });
        // A follower may lag behind what this session has seen elsewhere. Everyone reads after this.
        let client = Client::new(connection.clone());
        match (client.sync().await, states) {
            (Ok(()), Ok(states)) => {
                self.joined(connection, client);
                Ok(states)
            }
            (Err(error), _) | (_, Err(error)) => {
                connection.cut();
                Err(Failure::Store(error))
            }
        }
    }

    fn joined(&mut self, connection: Arc<Connection>, client: Client) {
        if self.session_id == connection.session_id() {
            self.joins += 1;
        } else {
            (self.epoch, self.joins) = (self.epoch + 1, 0);
            (self.session_id, self.granted) = (connection.session_id(), connection.session_timeout());
        }
        let (session_id, session_timeout) = (connection.session_id(), connection.session_timeout());
        let up = Up { epoch: self.epoch, joins: self.joins, session_id, session_timeout, client };
        info!(epoch = up.epoch, joins = up.joins, timeout = ?session_timeout, "connected, session {session_id:#x}");
        self.connection = Some(connection);
        self.publish.send_replace(Link::Up(up));
    }

    /// The connection is lost; the session is not yet.
    fn suspend(&mut self) {
        warn!("connection to ZooKeeper lost, resuming the session");
        self.lost = Instant::now();
        self.publish.send_replace(Link::Suspended);
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
    }

    /// Whether the session turned out to have ended: then the next attempt, at once, starts a new one.
    fn expired(&mut self, error: &Failure) -> bool {
        let expired = matches!(error, Failure::Expired) && self.resume.take().is_some();
        if expired {
            warn!("the session has expired");
            self.publish.send_replace(Link::Down { reason: "the session has expired".to_owned() });
        }
        expired
    }

    /// Suspended turns to down once the session may have expired: only a server can tell.
    fn report(&mut self, error: &Failure) {
        debug!("{error}");
        if self.resume.is_none() || self.lost.elapsed() > self.granted {
            self.publish.send_replace(Link::Down { reason: error.to_string() });
        }
    }

    /// A session whose connection is lost just now is resumed to be closed, if `limit` allows.
    async fn close(mut self, limit: Duration) -> bool {
        let closed = time::timeout(limit, async {
            if self.connection.is_none() && self.resume.is_some() {
                self.join().await;
            }
            let Some(connection) = &self.connection else { return true };
            self.publish.send_replace(Link::Down { reason: "closed".to_owned() });
            connection.close().await
        })
        .await
        .unwrap_or(false);
        self.cut("closed");
        closed
    }

    fn cut(&mut self, why: &str) {
        self.publish.send_replace(Link::Down { reason: why.to_owned() });
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the session has expired")]
    Expired,
    #[error(transparent)]
    Store(StoreError),
}

/// Waits for the end of a connection. The library's states coalesce: any change at all may hide a gap.
async fn lost(mut states: zk::StateWatcher) {
    if states.peek_state() == zk::SessionState::SyncConnected {
        states.changed().await;
    }
}

/// Between half of `pause` and all of it.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause * u32::try_from(random() % 1000).unwrap_or(0) / 2000
}
