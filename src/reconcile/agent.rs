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

mod credentials;
mod disk;
mod facts;
mod farewell;
mod foreign_changes;
mod goods;
mod identity;
mod jobs;
mod loops;
mod obstacles;
mod predecessor;
mod probing;
mod publication;
mod publish;
mod register;
mod revision;
mod say;
mod signals;
mod snapshot;
mod staging;
mod steps;
mod targets;
mod units;
mod withdrawn;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{future::BoxFuture, stream::FuturesUnordered};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    blocking::Worker,
    config::{AgentSettings, ConfigError},
    ledger::{LedgerFile, Loaded},
    model::{HostAlive, Ledger, ReplicaId, ReplicaStatus, UnitName},
    plan::agent::{Busy, Files, Memory, Work},
    reconcile::spare::Spare,
    report::{http, log, metrics::AgentMetrics, notify::ServiceManager},
    store::{Link, Mirror, Presence, Session, SessionConfig},
    systemd::{DBusManager, UnitFiles, UnitManager},
    tree::layout,
};

use foreign_changes::Doubts;
use goods::Goods;
use identity::Identified;
use probing::Health;
use publish::{Published, Publisher};
use staging::Staging;
use steps::Done;
use units::Units;
use words::Words;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When its configuration is bad, another agent runs on this machine, or systemd can't be reached at the start.
pub async fn run(config: Option<PathBuf>) -> anyhow::Result<()> {
    log::init();
    let mut service_manager = ServiceManager::new().context("can't install signal handlers")?;
    let mut registry = Registry::default();
    let metrics = AgentMetrics::default();
    metrics.register(&mut registry);
    let (shown, status) = watch::channel(serde_json::Value::Null);
    http::serve(registry, &status).context("can't serve on the sockets that systemd passed")?;
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
    let version = version.context("can't ask systemd for its version")?;
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
    let mut service_manager = ServiceManager::new().context("can't install signal handlers")?;
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

/// The agent's state: what it has seen, what it remembers, what is under way.
struct Agent<M> {
    settings: AgentSettings,
    alive: HostAlive,
    manager: Arc<M>,
    unit_files: UnitFiles,
    session: Session,
    link: watch::Receiver<Link>,
    mirror: Mirror,
    /// The session that the mirror's content belongs to.
    synced: Option<u64>,
    started: Instant,
    /// Since when the tree is known.
    known_since: Option<Instant>,
    work: Work,
    units: Units,
    words: Words,
    on_disk: BTreeMap<UnitName, Result<Files, String>>,
    /// When those are read again that could not be read.
    files_again: Option<Instant>,
    /// Units whose generated files systemd has not read.
    unloaded: BTreeSet<UnitName>,
    doubts: Doubts,
    memory: BTreeMap<ReplicaId, Memory>,
    ledger: Ledger,
    saved: Ledger,
    /// Since when the ledger is not on disk as it is.
    unsaved_since: Option<Instant>,
    /// When a ledger that could not be written is tried again.
    save_retry_at: Option<Instant>,
    ledger_file: LedgerFile,
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What is under way for each replica, and the number that it began under.
    busy: BTreeMap<ReplicaId, (u64, Busy)>,
    begun: u64,
    confirming: BTreeSet<ReplicaId>,
    /// When a replica's `desired` that could not be read is tried again.
    confirm_at: Option<Instant>,
    /// Files and ledger are written by one task at a time, on a thread that does nothing else.
    disk_busy: bool,
    disk: Worker,
    goods: Goods,
    staging: Staging,
    health: Health,
    publisher: Publisher,
    publications: FuturesUnordered<BoxFuture<'static, Published>>,
    statuses: BTreeMap<ReplicaId, ReplicaStatus>,
    problems: BTreeMap<&'static str, String>,
    wake_at: Option<Instant>,
    spare: Spare,
    is_ready: bool,
    metrics: AgentMetrics,
    shown: watch::Sender<serde_json::Value>,
}

impl<M: UnitManager + 'static> Agent<M> {
    fn new(parts: Parts<M>) -> anyhow::Result<Self> {
        let Parts { settings, loaded, manager, unit_files, session, alive, metrics, shown } = parts;
        let host = settings.host.clone();
        let ledger_file = LedgerFile::in_dir(&settings.state_dir);
        if let Some(problem) = loaded.problem {
            tracing::warn!("the ledger can't be read, the agent goes on without it: {problem}");
        }
        let machine_id = alive.machine_id.clone();
        let presence =
            Presence::new(&session).refusing(move |path, node| facts::other_machine(path, &node.data, &machine_id));
        let goods = Goods::new(&settings, manager.root());
        let mirror = Mirror::start(&session, vec![layout::host(&host)]);
        Ok(Self {
            link: session.link(),
            publisher: Publisher::new(host.clone(), presence, mirror.barrier_handle()),
            mirror,
            work: Work::new(host, alive.machine_id.clone()),
            ledger: steps::adopt(loaded.ledger.clone(), &unit_files),
            saved: loaded.ledger,
            unsaved_since: None,
            save_retry_at: None,
            alive,
            settings,
            manager,
            unit_files,
            session,
            synced: None,
            started: Instant::now(),
            known_since: None,
            units: Units::default(),
            words: Words::default(),
            on_disk: BTreeMap::new(),
            files_again: None,
            unloaded: BTreeSet::new(),
            doubts: Doubts::default(),
            memory: BTreeMap::new(),
            ledger_file,
            tasks: FuturesUnordered::new(),
            busy: BTreeMap::new(),
            begun: 0,
            confirming: BTreeSet::new(),
            confirm_at: None,
            disk_busy: false,
            disk: Worker::start("zkops-disk").context("can't start a thread")?,
            goods,
            staging: Staging::default(),
            health: Health::counting(metrics.checks_not_made()),
            publications: FuturesUnordered::new(),
            statuses: BTreeMap::new(),
            problems: BTreeMap::new(),
            wake_at: None,
            spare: Spare::default(),
            is_ready: false,
            metrics,
            shown,
        })
    }

    /// How long ZooKeeper may keep silent after the agent's start before the ledger's work is started without it.
    fn patience(&self) -> Duration {
        self.settings.zookeeper.session_timeout
    }
}
