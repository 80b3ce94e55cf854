//! The agent: runs this host's share of the services.
//!
//! ```text
//!            ZooKeeper                                    systemd
//!   /hosts/<host>  ──mirror──►  Work ──┐          ┌── units ◄──signals── D-Bus
//!                                      ▼          ▼
//!   ledger (disk) ◄─────────────►  plan::agent::plan  ──► steps: prepare, start, stop, restart, reload, forget
//!   releases, configurations ◄──►      │   ▲          └──► stage: fetch, render, check
//!                                      │   └── probes
//!   instances, alive, status ◄─publish─┘
//! ```
//!
//! One task turns one loop; everything slow (jobs, units, files, ZooKeeper) runs beside it and wakes it when done: the
//! loop itself waits for nothing but the next thing to happen. The watchdog is fed from that loop. All tasks share its
//! thread: what may block (a disk, dpkg, a resolver, the start of a process) runs on other threads ([`crate::blocking`]).

mod artifacts;
mod credentials;
mod disk;
mod execute;
mod facts;
mod farewell;
mod identity;
mod jobs;
mod loops;
mod placement;
mod publication;
mod revision;
mod signals;
mod units;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{
    future::{AbortHandle, BoxFuture},
    stream::FuturesUnordered,
};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};

use crate::{
    blocking::Worker,
    config::{AgentSettings, ConfigError},
    ledger::{LedgerFile, Loaded},
    model::{HostAlive, Ledger},
    plan::agent::{
        Policy, State,
        action::{Connection, Event, Now, Published},
        adopt,
    },
    probe::Probers,
    reconcile::spare::Spare,
    report::{http, log, metrics::AgentMetrics, notify::ServiceManager},
    store::{Barrier, Link, Mirror, Presence, Session, SessionConfig, Up},
    systemd::{DBusManager, UnitFiles, UnitManager},
    tree::layout,
};

use artifacts::Store;
use disk::Disk;
use identity::Identified;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When its configuration is bad, another agent runs on this machine, or systemd cannot be reached at the start.
pub async fn run(config: Option<PathBuf>) -> anyhow::Result<()> {
    log::init();
    let mut service_manager = ServiceManager::new().context("cannot install signal handlers")?;
    let mut registry = Registry::default();
    let metrics = AgentMetrics::default();
    metrics.register(&mut registry);
    let (shown, status) = watch::channel(serde_json::Value::Null);
    http::serve(registry, &status).context("cannot serve on the sockets that systemd passed")?;
    let load = move || {
        let settings = AgentSettings::load(Path::new("/"), config.as_deref())?;
        rights(&settings).map(|()| settings)
    };
    let waits = |why: &str| drop(shown.send_replace(serde_json::json!({ "status": why })));
    let identified = identity::identify(load, identity::unit_files, &mut service_manager, waits).await?;
    let Some(Identified { settings, lock: _only_one, loaded }) = identified else { return Ok(()) };
    service_manager.status("connecting to systemd");
    let manager = DBusManager::connect();
    let Some(version) = service_manager.during(manager.version()).await else { return Ok(()) };
    let version = version.context("cannot ask systemd for its version")?;
    let alive = facts::alive(&settings, Some(version))?;
    let session = Session::start(SessionConfig {
        servers: settings.zookeeper.servers.clone(),
        session_timeout: settings.zookeeper.session_timeout,
    });
    let unit_files = identity::unit_files(&settings);
    let agent =
        Agent::new(Parts { settings, loaded, manager: Arc::new(manager), unit_files, session, alive, metrics, shown })?;
    agent.run(service_manager).await
}

/// An agent that is neither root nor knows that it is not would fail at each replica.
fn rights(settings: &AgentSettings) -> Result<(), ConfigError> {
    if settings.accepts.limited || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let message = "the agent is not root: set `limited = true` in agent.toml, if that is meant (see installation.md)";
    Err(ConfigError::Conflict { message: message.to_owned() })
}

/// Runs an agent's loop on a service manager, a folder of unit files and a session that are given: for tests.
///
/// # Errors
/// As [`run`].
pub async fn run_with<M: UnitManager + 'static>(
    settings: AgentSettings,
    manager: Arc<M>,
    unit_files: UnitFiles,
    session: Session,
    metrics: AgentMetrics,
) -> anyhow::Result<()> {
    let mut service_manager = ServiceManager::new().context("cannot install signal handlers")?;
    let for_owner = unit_files.clone();
    let (load, files) = (move || Ok(settings.clone()), move |_: &AgentSettings| for_owner.clone());
    let identified = identity::identify(load, files, &mut service_manager, |_| {}).await?;
    let Some(Identified { settings, lock: _only_one, loaded }) = identified else { return Ok(()) };
    let alive = facts::alive(&settings, Some(manager.version().await?))?;
    let (shown, _status) = watch::channel(serde_json::Value::Null);
    let agent = Agent::new(Parts { settings, loaded, manager, unit_files, session, alive, metrics, shown })?;
    agent.run(service_manager).await
}

/// The agent is ready by then at the latest: what its first reconcile still waits for may take for ever.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What an agent stands on.
struct Parts<M> {
    settings: AgentSettings,
    loaded: Loaded,
    manager: Arc<M>,
    unit_files: UnitFiles,
    session: Session,
    alive: HostAlive,
    metrics: AgentMetrics,
    shown: watch::Sender<serde_json::Value>,
}

/// So many units' last lines are read at once: each is a process of its own, and a bad release may fail on all of a host's
/// units.
const LAST_LINES_AT_ONCE: usize = 4;

/// The agent: what it knows and decides is [`State`]; the rest is what it acts with.
struct Agent<M> {
    settings: AgentSettings,
    state: State,
    started: Instant,
    is_ready: bool,
    session: Session,
    link: watch::Receiver<Link>,
    mirror: Mirror,
    barrier: Barrier,
    /// Away while the ephemerals are being written.
    presence: Option<Presence>,
    publications: FuturesUnordered<BoxFuture<'static, (Published, Option<Presence>)>>,
    manager: Arc<M>,
    disk: Disk,
    store: Store,
    probers: Probers,
    last_lines: Arc<Semaphore>,
    /// What is under way, and wakes the loop when it is done.
    tasks: FuturesUnordered<BoxFuture<'static, Event>>,
    /// What is being brought onto the host, by its number.
    staging: BTreeMap<u64, AbortHandle>,
    spare: Spare,
    metrics: AgentMetrics,
    shown: watch::Sender<serde_json::Value>,
}

impl<M: UnitManager + 'static> Agent<M> {
    fn new(parts: Parts<M>) -> anyhow::Result<Self> {
        let Parts { settings, loaded, manager, unit_files, session, alive, metrics, shown } = parts;
        if let Some(problem) = loaded.problem {
            tracing::warn!("the ledger cannot be read, the agent goes on without it: {problem}");
        }
        let machine_id = alive.machine_id.clone();
        let presence =
            Presence::new(&session).refusing(move |path, node| facts::other_machine(path, &node.data, &machine_id));
        let store = Store::new(&settings, manager.root());
        let mirror = Mirror::start(&session, vec![layout::host(&settings.host)]);
        let ledger = found_on_host(loaded.ledger.clone(), &unit_files);
        let started = Instant::now();
        Ok(Self {
            state: State::new(policy(&settings, &unit_files, &store), alive, loaded.ledger, ledger, started),
            started,
            is_ready: false,
            link: session.link(),
            session,
            barrier: mirror.barrier_handle(),
            mirror,
            presence: Some(presence),
            publications: FuturesUnordered::new(),
            manager,
            disk: Disk {
                files: unit_files,
                ledger: LedgerFile::in_dir(&settings.state_dir),
                worker: Worker::start("zkops-disk").context("cannot start a thread")?,
            },
            store,
            probers: Probers::counting(metrics.checks_not_made()),
            last_lines: Arc::new(Semaphore::new(LAST_LINES_AT_ONCE)),
            tasks: FuturesUnordered::new(),
            staging: BTreeMap::new(),
            spare: Spare::default(),
            settings,
            metrics,
            shown,
        })
    }

    /// The link, when it is up.
    fn up(&self) -> Option<Up> {
        match &*self.link.borrow() {
            Link::Up(up) => Some(up.clone()),
            _ => None,
        }
    }

    fn connection(&self) -> Option<Connection> {
        self.up().map(|Up { epoch, joins, session_id, .. }| Connection { epoch, joins, session_id })
    }
}

fn policy(settings: &AgentSettings, files: &UnitFiles, store: &Store) -> Policy {
    let store = store.clone();
    Policy {
        host: settings.host.clone(),
        address: settings.address.clone(),
        labels: settings.labels.clone(),
        accepts: settings.accepts.clone(),
        publish_output: settings.publish_output,
        patience: settings.zookeeper.session_timeout,
        paths: files.paths().clone(),
        folders: Arc::new(move |id, assignment| store.folders(id, assignment)),
    }
}

/// The ledger, with the replicas that it lacks and this host has.
fn found_on_host(ledger: Ledger, files: &UnitFiles) -> Ledger {
    let managed = files.managed().unwrap_or_else(|error| {
        tracing::warn!("cannot look for generated drop-ins: {error}");
        Vec::new()
    });
    let (ledger, misplaced) = adopt(ledger, managed);
    for (unit, why) in misplaced {
        let removed = files.remove_drop_in(&unit).and_then(|_| files.remove_variables(&unit));
        let outcome = removed.map_or_else(|error| error.to_string(), |_| "removed".to_owned());
        tracing::warn!("the drop-in of {unit} cannot be zkops's ({why}): {outcome}");
    }
    ledger
}

fn now() -> Now {
    Now { instant: Instant::now(), time: Timestamp::now() }
}
