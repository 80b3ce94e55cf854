//! The controller: one of several leads, and makes the tree's parts agree.
//!
//! ```text
//!   /services, /hosts ──mirror──► Cluster ──► plan::controller::plan ──► transactions, each behind the leader's lock
//!        ▲                                                                        │
//!        └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Standbys keep the same mirror warm and do nothing else. Each transaction checks the leader's election node, so
//! that nothing lands once another may lead, and the version of each document it rests on, so that nothing lands
//! that was planned from an old view. After each round the mirror is waited for before the next plan.
//!
//! The tree is taken in, and plans are made, on a thread of their own: neither keeps the loop from its watchdog, nor the
//! connection from its pings. A plan is some 100 ms of work at most; what it leaves, the next one goes on with.

use std::{
    collections::BTreeSet,
    mem,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::future::{BoxFuture, OptionFuture, join_all};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    blocking::PLANS,
    config::ControllerSettings,
    model::counted,
    plan::controller::{Plan, Planner},
    reconcile::{Woken, sleep_until},
    report::{
        http, log,
        metrics::ControllerMetrics,
        notify::{Call, ServiceManager},
    },
    store::{Barrier, Client, CommitError, Election, Leadership, Link, Lock, Mirror, Session, SessionConfig},
    tree::{
        layout,
        node::Batch,
        snapshot::Cluster,
        txn::{Cause, Transaction},
    },
};

/// Runs the controller until it is told to stop.
///
/// # Errors
/// When its configuration is bad.
pub async fn run(config: Option<PathBuf>) -> anyhow::Result<()> {
    log::init();
    let settings = ControllerSettings::load(Path::new("/"), config.as_deref())?;
    let mut service_manager = ServiceManager::new().context("cannot install signal handlers")?;
    let session = Session::start(SessionConfig {
        servers: settings.zookeeper.servers.clone(),
        session_timeout: settings.zookeeper.session_timeout,
    });
    let mut registry = Registry::default();
    let metrics = ControllerMetrics::default();
    metrics.register(&mut registry);
    let (_shown, status) = watch::channel(serde_json::Value::Null);
    http::serve(registry, &status).context("cannot serve on the sockets that systemd passed")?;
    let controller = Controller::new(&settings, &session, metrics);
    controller.run(&mut service_manager).await?;
    service_manager.stopping("leaves the lead to another");
    session.close(Duration::from_secs(3)).await;
    Ok(())
}

/// The controller's state.
struct Controller {
    mirror: Mirror,
    link: watch::Receiver<Link>,
    leadership: watch::Receiver<Leadership>,
    /// The session and connection that the mirror's content belongs to.
    synced: Option<u64>,
    /// `None` while a thread has it.
    knowledge: Option<Knowledge>,
    /// What the mirror has told and is not in there yet.
    news: Vec<Batch>,
    /// Services, hosts, and lost ones of these, as far as they are known.
    counts: (usize, usize, usize),
    thought: Option<BoxFuture<'static, Thought>>,
    round: Option<BoxFuture<'static, Round>>,
    /// Nothing has changed since all was planned.
    settled: bool,
    /// How many replicas the last plan holds where they fail.
    held: usize,
    /// Something has changed since that was asked for.
    changed: bool,
    wake_at: Option<Instant>,
    /// What ZooKeeper last refused, so that it is said once.
    refused: Option<String>,
    /// What no service's status can say, as it was last told.
    noted: BTreeSet<String>,
    metrics: ControllerMetrics,
    _election: Election,
}

/// The tree as it was last seen, and what is remembered beside it.
#[derive(Debug, Default)]
struct Knowledge {
    cluster: Cluster,
    planner: Planner,
    /// The fraction of hosts that may be lost.
    failover_max_fraction: f64,
    /// The term for which a plan was made last.
    term: Option<Term>,
}

/// A time in which this controller leads over one connection: the proof of it, and which connection of its session it is.
type Term = (Lock, u64);

/// What came of looking at the tree.
struct Thought {
    knowledge: Knowledge,
    /// What is to be done, when that was asked, and how long it took to find.
    plan: Option<(Plan, Duration)>,
}

impl Knowledge {
    /// Takes the news in, and plans for a term.
    fn think(mut self, news: &[Batch], term: Option<Term>) -> Thought {
        for change in news.iter().flat_map(|batch| &batch.changes) {
            self.cluster.apply(&change.path, change.node.as_ref().map(|node| (node.data.as_slice(), node.version)));
            self.planner.changed(&change.path);
        }
        // Now and then the mirror reads the whole tree.
        if news.iter().any(|batch| batch.synced.is_some()) {
            self.planner.doubt();
        }
        let now = Timestamp::now();
        self.planner.observe(&self.cluster, now);
        let plan = term.map(|term| {
            if self.term.as_ref() != Some(&term) {
                self.planner.lead_from(now);
                self.term = Some(term);
            }
            let started = Instant::now();
            let plan = self.planner.plan(&self.cluster, now, self.failover_max_fraction);
            (plan, started.elapsed())
        });
        Thought { knowledge: self, plan }
    }
}

/// What a round of transactions came to.
#[derive(Debug, Default)]
struct Round {
    landed: u32,
    /// Why replicas left their host by what landed.
    moves: Vec<Cause>,
    conflicts: u32,
    refused: Option<String>,
}

/// How long a round that got nowhere rests before the next.
const REST: Duration = Duration::from_millis(500);

impl Controller {
    fn new(settings: &ControllerSettings, session: &Session, metrics: ControllerMetrics) -> Self {
        let election = Election::start(session, format!("{}:{}", settings.name, std::process::id()));
        Self {
            mirror: Mirror::start(session, vec![layout::HOSTS.to_owned(), layout::SERVICES.to_owned()]),
            link: session.link(),
            leadership: election.leadership(),
            synced: None,
            knowledge: Some(Knowledge {
                failover_max_fraction: settings.failover_max_fraction,
                ..Knowledge::default()
            }),
            news: Vec::new(),
            counts: (0, 0, 0),
            thought: None,
            round: None,
            settled: false,
            held: 0,
            changed: false,
            wake_at: None,
            refused: None,
            noted: BTreeSet::new(),
            metrics,
            _election: election,
        }
    }

    async fn run(mut self, service_manager: &mut ServiceManager) -> anyhow::Result<()> {
        service_manager.status("connecting to ZooKeeper");
        loop {
            match self.wait(service_manager).await? {
                Woken::Stop => return Ok(()),
                Woken::Fed => {}
                Woken::Changed => {
                    self.reconcile();
                    self.tell(service_manager);
                }
            }
        }
    }

    /// Waits for something to happen and takes it in.
    async fn wait(&mut self, service_manager: &mut ServiceManager) -> anyhow::Result<Woken> {
        let deadline = self.wake_at;
        let round = OptionFuture::from(self.round.as_mut());
        let is_idle = self.thought.is_none();
        let thought = OptionFuture::from(self.thought.as_mut());
        tokio::select! {
            call = service_manager.call() => match call {
                Call::Stop => return Ok(Woken::Stop),
                Call::Fed => return Ok(Woken::Fed),
            },
            batch = self.mirror.next(), if is_idle => self.absorb(batch.context("the mirror of the tree ended")?),
            Some(thought) = thought => self.conclude(thought),
            Some(round) = round => self.finish(&round),
            changed = self.leadership.changed() => { changed.context("the election ended")?; self.settled = false; }
            changed = self.link.changed() => { changed.context("the session's supervisor ended")?; self.relinked(); }
            () = sleep_until(deadline) => { self.settled = false; self.wake_at = None; }
        }
        if self.thought.is_none() {
            while let Some(batch) = self.mirror.try_next() {
                self.absorb(batch);
            }
        }
        Ok(Woken::Changed)
    }

    fn absorb(&mut self, batch: Batch) {
        if let Some(synced) = &batch.synced {
            self.synced = Some(synced.epoch);
        }
        let changes = !batch.changes.is_empty() || batch.synced.is_some();
        self.settled &= !changes;
        self.changed |= changes;
        self.news.push(batch);
    }

    fn relinked(&mut self) {
        if !matches!(&*self.link.borrow_and_update(), Link::Up(up) if Some(up.epoch) == self.synced) {
            self.synced = None;
        }
    }

    /// One round: snapshot → plan → execute. Status is part of the plan.
    fn reconcile(&mut self) {
        let term = self.term().filter(|_| !self.settled && self.round.is_none());
        if self.news.is_empty() && term.is_none() {
            return;
        }
        let Some(knowledge) = self.knowledge.take() else { return };
        let news = mem::take(&mut self.news);
        if term.is_some() {
            (self.changed, self.wake_at) = (false, None);
        }
        self.thought = Some(Box::pin(PLANS.run(move || knowledge.think(&news, term))));
    }

    /// Does what was thought.
    fn conclude(&mut self, thought: Thought) {
        self.thought = None;
        self.counts = thought.knowledge.planner.counts(&thought.knowledge.cluster);
        self.knowledge = Some(thought.knowledge);
        let Some((plan, took)) = thought.plan else { return };
        self.metrics.plan(took);
        let wake_at = plan.wake_at.map(|wake_at| Instant::now() + until(Timestamp::now(), wake_at));
        self.wake_at = self.wake_at.into_iter().chain(wake_at).min();
        self.held = plan.held;
        self.settled = plan.rest.is_none() && !self.changed;
        self.tell_notes(plan.notes);
        match self.lead() {
            Some((lock, client)) if !plan.transactions.is_empty() => {
                self.round = Some(Box::pin(execute(client, lock, plan.transactions, self.mirror.barrier_handle())));
            }
            Some(_) => {}
            // It was made for nothing.
            None => self.settled = false,
        }
    }

    /// Logs what no service's status can say, once for as long as it holds.
    fn tell_notes(&mut self, notes: Vec<String>) {
        let notes: BTreeSet<String> = notes.into_iter().collect();
        for note in notes.difference(&self.noted) {
            tracing::warn!("{note}");
        }
        self.noted = notes;
    }

    /// The term for which it plans now.
    fn term(&self) -> Option<Term> {
        let (lock, _) = self.lead()?;
        let Link::Up(up) = &*self.link.borrow() else { return None };
        Some((lock, up.joins))
    }

    /// The lock and the connection to act with: only while this controller leads and sees the tree as it is.
    fn lead(&self) -> Option<(Lock, Client)> {
        let Link::Up(up) = &*self.link.borrow() else { return None };
        let Leadership::Leading(lock) = &*self.leadership.borrow() else { return None };
        (self.synced == Some(up.epoch)).then(|| (lock.clone(), up.client.clone()))
    }

    fn finish(&mut self, round: &Round) {
        self.round = None;
        (0..round.landed).for_each(|_| self.metrics.transaction(true));
        (0..round.conflicts).for_each(|_| self.metrics.transaction(false));
        round.moves.iter().for_each(|cause| self.metrics.moved(*cause));
        self.settled = false;
        if let Some(why) = round.refused.as_ref().filter(|why| self.refused.as_ref() != Some(why)) {
            tracing::error!("ZooKeeper refuses what was planned, it is tried again: {why}");
        }
        self.refused.clone_from(&round.refused);
        if round.landed == 0 {
            // Another hand changes the same documents, or the connection is bad: look again a little later.
            self.settled = true;
            let rest = Instant::now() + REST;
            self.wake_at = Some(self.wake_at.map_or(rest, |at| at.min(rest)));
        }
    }

    fn tell(&self, service_manager: &mut ServiceManager) {
        let leads = matches!(&*self.leadership.borrow(), Leadership::Leading(_));
        let (services, hosts, lost) = self.counts;
        self.metrics.leader(leads);
        // What a leader that is none any more last saw is another's to tell.
        self.metrics.held(if leads { self.held } else { 0 });
        self.metrics.fleet(services, hosts, lost);
        let text = match (&*self.link.borrow(), &*self.leadership.borrow()) {
            (Link::Down { reason }, _) => format!("ZooKeeper is out of reach: {reason}"),
            (Link::Suspended, _) => "connection to ZooKeeper lost".to_owned(),
            (Link::Up(_), Leadership::Leading(_)) => {
                format!("leading: {} on {} of {}", counted(services, "service"), hosts - lost, counted(hosts, "host"))
            }
            (Link::Up(_), Leadership::Following { leader }) => {
                format!("standby, leader is {}", leader.as_deref().unwrap_or("not known yet"))
            }
        };
        // Up and in its place, whether it leads or not; without ZooKeeper too, since it waits for that by itself.
        service_manager.ready();
        service_manager.status(&text);
    }
}

/// Sends a plan's transactions, each behind the lock, and waits until the mirror has seen what they did.
async fn execute(client: Client, lock: Lock, transactions: Vec<Transaction>, barrier: Barrier) -> Round {
    let mut round = Round::default();
    let commits = transactions.into_iter().map(|transaction| commit(&client, &lock, transaction));
    for result in join_all(commits).await {
        match result {
            Ok(moves) => {
                round.landed += 1;
                round.moves.extend(moves);
            }
            Err(CommitError::Conflict { .. }) => round.conflicts += 1,
            Err(CommitError::Unknown { .. } | CommitError::Disconnected) => {}
            Err(error) => round.refused = Some(error.to_string()),
        }
    }
    barrier.passed().await;
    round
}

async fn commit(client: &Client, lock: &Lock, transaction: Transaction) -> Result<Vec<Cause>, CommitError> {
    let Transaction { ops, reason, moves } = transaction;
    let guarded: Vec<_> = std::iter::once(lock.check()).chain(ops).collect();
    match client.commit(&guarded).await {
        Ok(_) => {
            tracing::info!("{reason}");
            Ok(moves)
        }
        Err(error) => {
            tracing::debug!("did not land: {reason}: {error}");
            Err(error)
        }
    }
}

/// How long from `now` until `at`; hardly anything when that is past, so that a plan which names the past does not spin.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default().max(Duration::from_millis(5))
}
