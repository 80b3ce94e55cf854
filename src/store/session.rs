//! The session with ZooKeeper, as everyone else sees it: a [`Link`] that comes and goes.

mod supervisor;

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};
use zookeeper_client as zk;

use super::{
    Client, StoreError,
    connection::Connection,
    servers::{Limits, Reached, Servers, accepts, first_of, look_up},
};

/// How long a server may take before a command gives up on it. A name's lookup may meet one dead name server, or two
/// (resolv.conf(5): 5 s for each).
const ONCE: Limits = Limits { lookup: Duration::from_secs(12), connect: Duration::from_secs(3) };

/// How long a command leaves one server to begin a session before it asks the next as well.
const HEDGE: Duration = Duration::from_millis(300);

/// How long a command tries again while servers accept connections and none serves a session: they elect a leader, say.
const ELECTION: Duration = Duration::from_secs(5);

/// The pause between two such attempts.
const AGAIN: Duration = Duration::from_millis(250);

/// Where ZooKeeper is, and how patient it shall be with us.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The connection string, as in `zk1:2181,zk2:2181,zk3:2181/prod`.
    pub servers: String,
    /// How long a session outlives its last contact. The server may negotiate another.
    pub session_timeout: Duration,
}

/// The state of our connection to ZooKeeper.
#[derive(Clone, Debug)]
pub enum Link {
    /// No connection, and no session that is known to live.
    Down {
        /// Why, for people.
        reason: String,
    },
    /// The connection is lost; the session still lives unless it expires first.
    Suspended,
    /// Connected.
    Up(Up),
}

impl Link {
    /// The connection, if there is one.
    pub fn up(&self) -> Option<&Up> {
        if let Self::Up(up) = self { Some(up) } else { None }
    }
}

/// A connection. Between two of them anything may have happened: watch again and read again.
#[derive(Clone)]
pub struct Up {
    /// Counts the sessions of this process, from 1. Ephemerals of an earlier one are not ours any more.
    pub epoch: u64,
    /// Counts the connections of this session after its first.
    pub joins: u64,
    /// The session, as ephemeral nodes name their owner.
    pub session_id: i64,
    /// The negotiated session timeout.
    pub session_timeout: Duration,
    /// Reads and writes over this connection.
    pub client: Client,
}

impl fmt::Debug for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Up(epoch {}, joins {}, session {:#x})", self.epoch, self.joins, self.session_id)
    }
}

/// A handle on the supervised session. When the last one is dropped the session is abandoned, not closed.
#[derive(Clone)]
pub struct Session {
    link: watch::Receiver<Link>,
    control: mpsc::UnboundedSender<Control>,
}

enum Control {
    Close { limit: Duration, done: oneshot::Sender<bool> },
    Abandon,
}

impl Session {
    /// Starts the supervisor on the current runtime. It never gives up.
    pub fn start(config: SessionConfig) -> Self {
        let (publish, link) = watch::channel(Link::Down { reason: format!("connecting to {}", config.servers) });
        let (control, orders) = mpsc::unbounded_channel();
        tokio::spawn(supervisor::supervise(config, publish, orders));
        Self { link, control }
    }

    /// The link as it changes. Its sender goes when the session has been closed or abandoned.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Waits until there is a connection; `None` once the session has been closed or abandoned.
    pub async fn up(&self) -> Option<Up> {
        let mut link = self.link();
        let up = link.wait_for(|link| link.up().is_some()).await.ok()?;
        up.up().cloned()
    }

    /// Ends the session in order: its ephemerals are gone at once. False when ZooKeeper did not confirm it within
    /// `limit`; then the session expires like an abandoned one.
    pub async fn close(self, limit: Duration) -> bool {
        let (done, closed) = oneshot::channel();
        // The supervisor is gone only after an earlier close or abandon, which this one cannot undo.
        self.control.send(Control::Close { limit, done }).is_ok() && closed.await.unwrap_or(false)
    }

    /// Leaves the session, and its ephemerals, to a successor's takeover or to its timeout. Nothing more is written.
    pub fn abandon(self) {
        self.control.send(Control::Abandon).ok();
    }
}

/// Connects once, without a supervisor: for a command that does its work and ends. A server that accepts connections
/// and serves no session (it is frozen, or has no quorum) is passed over for one that does.
///
/// # Errors
/// [`StoreError::Unreachable`] when no server accepts the connection, as soon as that is known; when some do and none
/// serves, after a few seconds.
pub async fn connect_once(config: SessionConfig) -> Result<Client, StoreError> {
    let servers: Servers = config.servers.parse()?;
    let give_up = Instant::now() + ELECTION;
    loop {
        let attempts = servers.shuffled(None).into_iter().map(|server| begin_one(&servers, server, &config));
        let silences = match first_of(attempts, HEDGE).await {
            Ok(connection) => return Ok(Client::new(Arc::new(connection))),
            Err(silences) => silences,
        };
        if Instant::now() >= give_up || !silences.iter().any(|silence| silence.accepts) {
            return Err(servers.unreachable(silences.into_iter().map(|silence| silence.why).collect()));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Why a server serves no session.
struct Silence {
    /// It does accept connections.
    accepts: bool,
    /// For people.
    why: String,
}

/// Begins a session with one server, at whichever of its addresses serves: one name may stand for several.
async fn begin_one(servers: &Servers, server: String, config: &SessionConfig) -> Result<Connection, Silence> {
    let found = look_up(&server, ONCE.lookup).await.map_err(|why| Silence { accepts: false, why })?;
    let at = |address| begin_at(servers, Reached { server: server.clone(), address }, config);
    let silences = match first_of(found.into_iter().map(at), HEDGE).await {
        Ok(connection) => return Ok(connection),
        Err(silences) => silences,
    };
    let accepts = silences.iter().any(|silence| silence.accepts);
    let why: BTreeSet<String> = silences.into_iter().map(|silence| silence.why).collect();
    Err(Silence { accepts, why: why.into_iter().collect::<Vec<_>>().join(", ") })
}

async fn begin_at(servers: &Servers, reached: Reached, config: &SessionConfig) -> Result<Connection, Silence> {
    let Reached { server, address } = &reached;
    let refused = |why| Silence { accepts: false, why: format!("{server}: {why}") };
    accepts(*address, ONCE.connect).await.map_err(refused)?;
    Connection::open(reached.address, servers.chroot(), config.session_timeout, None)
        .await
        .map_err(|error| Silence { accepts: true, why: serves_nobody(&reached, &error) })
}

fn refused(servers: &Servers, reached: &Reached, error: &zk::Error) -> StoreError {
    servers.unreachable(vec![serves_nobody(reached, error)])
}

fn serves_nobody(Reached { server, .. }: &Reached, error: &zk::Error) -> String {
    format!("{server} accepts connections but serves no session ({error})")
}
