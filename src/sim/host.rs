//! One host: its agent's state, its systemd, its disk, its session.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    check,
    systemd::Systemd,
    tasks::{Luck, Needs, Task},
};
use crate::{
    model::{
        Accepts, AllowedUnits, Files, Folders, HostAlive, HostName, Ledger, Probing, ReplicaId, TrialOutcome, UnitName,
        UnitPaths, UnitStatus, Verdict, drop_in_owner,
    },
    plan::agent::{
        Findings, Policy, State,
        action::{Action, Change as FileChange, Connection, Event, Joined, Linked, Now, Severity},
        adopt,
    },
    tree::{
        copy::Tree,
        layout,
        node::{Batch, Change, Node, Synced},
    },
};

/// How long a session is held after its agent is gone, and how long `ZooKeeper` may keep silent at the start.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// A probed invocation.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    pub(crate) invocation: String,
    pub(crate) verdict: Verdict,
    outcome: TrialOutcome,
    has_readiness: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: HostName,
    pub(crate) paths: UnitPaths,
    pub(crate) agent: Option<State>,
    pub(crate) systemd: Systemd,
    /// On disk.
    pub(crate) ledger: Ledger,
    pub(crate) staged: BTreeSet<Needs>,
    pub(crate) links: BTreeMap<ReplicaId, (Option<String>, Option<u64>)>,
    /// The session, while it lives.
    pub(crate) session: Option<u64>,
    sessions: u64,
    epoch: u64,
    joins: u64,
    pub(crate) connected: bool,
    /// The ephemerals by path, with the session that owns each.
    pub(crate) ephemerals: BTreeMap<String, u64>,
    /// What the agent has seen of the tree; `None`: nothing over this connection.
    pub(crate) mirror: Option<BTreeMap<String, (Vec<u8>, i32)>>,
    /// What it saw last, over whichever connection.
    last_seen: BTreeMap<String, (Vec<u8>, i32)>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) probers: BTreeMap<ReplicaId, Prober>,
    /// Units that could not be read the last time: the agent goes by what it knew, and tries again.
    pub(crate) unreadable: BTreeSet<UnitName>,
    /// Replicas whose processes serve nothing.
    pub(crate) sick: BTreeSet<ReplicaId>,
    /// Replicas of which the agent has read that they are placed here.
    pub(crate) placed: BTreeSet<ReplicaId>,
    /// When the last agent ended.
    ended: Option<Instant>,
    /// What the process believes to be in place, and over which connection it looked.
    pub(crate) believed: Option<(Joined, BTreeMap<String, Vec<u8>>)>,
    pub(crate) now: Now,
    /// What the agent has begun, and the lines of its log.
    pub(crate) story: Vec<String>,
}

impl Host {
    pub(crate) fn new(name: &str) -> Self {
        let now = Now { instant: Instant::now(), time: "2026-01-01T00:00:00Z".parse().unwrap() };
        Self {
            name: name.parse().unwrap(),
            paths: UnitPaths { root: "/run/systemd/system".into(), loaded: true },
            agent: None,
            systemd: Systemd::default(),
            ledger: Ledger::default(),
            staged: BTreeSet::new(),
            links: BTreeMap::new(),
            session: None,
            sessions: 0,
            epoch: 0,
            joins: 0,
            connected: false,
            ephemerals: BTreeMap::new(),
            mirror: None,
            last_seen: BTreeMap::new(),
            tasks: Vec::new(),
            probers: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            sick: BTreeSet::new(),
            placed: BTreeSet::new(),
            ended: None,
            believed: None,
            now,
            story: Vec::new(),
        }
    }

    /// An agent is started, and gets a session of its own.
    pub(crate) fn start_agent(&mut self) {
        if self.agent.is_some() {
            return;
        }
        let owner = |files: &Files| drop_in_owner(files.drop_in.as_deref()?);
        let managed = self.systemd.files.iter().filter_map(|(unit, files)| Some((unit.clone(), owner(files)?)));
        let (ledger, _) = adopt(self.ledger.clone(), managed);
        self.agent = Some(State::new(self.policy(), self.alive(), self.ledger.clone(), ledger, self.now.instant));
        (self.epoch, self.session, self.connected) = (0, None, false);
        self.story.push("an agent is started".to_owned());
        self.connect();
    }

    fn policy(&self) -> Policy {
        Policy {
            host: self.name.clone(),
            address: None,
            labels: BTreeMap::new(),
            accepts: Accepts {
                units: AllowedUnits::new(vec!["*".parse().unwrap()]),
                unit_files: true,
                commands: true,
                packages: true,
                limited: false,
            },
            publish_output: true,
            patience: SESSION_TIMEOUT,
            paths: self.paths.clone(),
            folders: Arc::new(|_, _| Folders::default()),
        }
    }

    fn alive(&self) -> HostAlive {
        HostAlive {
            address: None,
            labels: BTreeMap::new(),
            accepts: None,
            version: "1".to_owned(),
            systemd: Some(257),
            machine_id: "m".to_owned(),
            boot_id: "b".to_owned(),
            pid: 1,
            started: self.now.time,
            capacity: crate::model::Capacity::default(),
        }
    }

    /// The agent is killed; what it had begun of systemd goes on or not.
    pub(crate) fn kill_agent(&mut self, tree: &mut Tree, jobs_go_on: bool) {
        for mut task in std::mem::take(&mut self.tasks) {
            if jobs_go_on && matches!(task.action, Action::Run(_)) {
                task.advance(self, tree, Luck::Lost);
            }
        }
        (self.agent, self.mirror, self.connected, self.believed) = (None, None, false, None);
        self.ended = Some(self.now.instant);
        self.last_seen.clear();
        self.probers.clear();
        self.unreadable.clear();
        self.placed.clear();
        self.story.push("the agent is killed".to_owned());
    }

    /// The machine loses its power and boots. What is on disk stays.
    pub(crate) fn crash(&mut self, tree: &mut Tree) {
        self.kill_agent(tree, false);
        self.systemd.boot();
        self.story.push("the machine boots".to_owned());
    }

    /// Sessions end that nobody holds: their ephemerals go.
    pub(crate) fn expire(&mut self, tree: &mut Tree, also_own: bool) {
        let held = self.session.filter(|_| self.agent.is_some() && !also_own);
        let gone: Vec<_> = self.ephemerals.iter().filter(|(_, owner)| Some(**owner) != held).collect();
        let gone: Vec<_> = gone.into_iter().map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.ephemerals.remove(&path);
            tree.delete_all(&path);
        }
        if held.is_none() && self.session.take().is_some() && self.agent.is_some() {
            self.connected = false;
            self.mirror = None;
            self.observe(Event::Link(Linked::Down("the session has expired".to_owned())));
        }
    }

    pub(crate) fn connect(&mut self) {
        if self.connected || self.agent.is_none() {
            return;
        }
        if self.session.is_some() {
            self.joins += 1;
        } else {
            self.sessions += 1;
            (self.session, self.epoch, self.joins) = (Some(self.sessions), self.epoch + 1, 0);
        }
        self.connected = true;
        self.observe(Event::Link(Linked::Up));
    }

    pub(crate) fn disconnect(&mut self) {
        if self.connected {
            (self.connected, self.mirror) = (false, None);
            self.observe(Event::Link(Linked::Suspended));
        }
    }

    /// What the agent has seen of the tree.
    pub(crate) fn last_seen(&self) -> &BTreeMap<String, (Vec<u8>, i32)> {
        &self.last_seen
    }

    /// Whether this agent has seen all of it once.
    pub(crate) fn has_synced(&self) -> bool {
        !self.last_seen.is_empty()
    }

    fn connection(&self) -> Option<Connection> {
        let session = self.session.filter(|_| self.connected)?;
        let session_id = i64::try_from(session).unwrap();
        Some(Connection { epoch: self.epoch, joins: self.joins, session_id })
    }

    fn observe(&mut self, event: Event) {
        let (connection, now) = (self.connection(), self.now.instant);
        if let Some(agent) = &mut self.agent {
            agent.set_connection(connection);
            agent.observe(event, now);
        }
    }

    /// Takes in what has changed, and turns the loop once; what is wrong with what it begins.
    pub(crate) fn turn(&mut self, tree: &mut Tree) -> Vec<String> {
        self.see(tree);
        let changed = std::mem::take(&mut self.systemd.changed);
        if !changed.is_empty() {
            self.observe(Event::UnitsChanged(changed));
        }
        let (connection, now, reloads) = (self.connection(), self.now, self.systemd.reloads);
        let Some(mut agent) = self.agent.take() else { return Vec::new() };
        agent.set_connection(connection);
        let round = agent.look(reloads, now.instant);
        let findings = self.probe(&round.probed);
        agent.plan(&round, &findings, now);
        let actions = agent.take_actions();
        self.agent = Some(agent);
        actions.into_iter().flat_map(|action| self.begin(action, tree)).collect()
    }

    fn begin(&mut self, action: Action, tree: &Tree) -> Vec<String> {
        match action {
            Action::WatchUnits(units) => self.systemd.watched = units,
            Action::BeginTrial(id, _) => {
                if let Some(prober) = self.probers.get_mut(&id) {
                    prober.outcome = TrialOutcome { unconfirmed: true, ..TrialOutcome::default() };
                }
            }
            Action::Log(severity, line) => {
                let mark = if severity == Severity::Info { "" } else { "! " };
                self.story.push(format!("{mark}{line}"));
            }
            Action::Count(_) => {}
            Action::AbandonStaging(number) => {
                let abandoned = |task: &Task| matches!(&task.action, Action::Stage(it) if it.number == number);
                if let Some(index) = self.tasks.iter().position(abandoned)
                    && let Action::Stage(stage) = self.tasks.remove(index).action
                {
                    self.observe(Event::Staged { stage, result: None });
                }
            }
            action => {
                let wrong = check::action(self, tree, &action);
                self.story.push(format!("  begun: {}", kind(&action)));
                self.tasks.push(action.into());
                return wrong;
            }
        }
        Vec::new()
    }

    /// One part of something that is under way is done.
    pub(crate) fn advance(&mut self, index: usize, tree: &mut Tree, luck: Luck) {
        let mut task = self.tasks.remove(index);
        self.story.push(format!("  goes on ({luck:?}): {}", kind(&task.action)));
        match task.advance(self, tree, luck) {
            Some(event) => {
                let seen = matches!(&event, Event::Published(it) if it.ephemerals.as_ref().is_some_and(|it| it.seen));
                self.observe(event);
                if seen {
                    self.see(tree);
                    self.agent.iter_mut().for_each(State::look_at_alive);
                }
            }
            None => self.tasks.insert(0, task),
        }
    }

    /// The agent sees the tree as it is.
    fn see(&mut self, tree: &Tree) {
        if !self.connected || self.agent.is_none() {
            return;
        }
        let root = layout::host(&self.name);
        let paths = tree.below(&root).chain(tree.node(&root).map(|_| root.as_str()));
        let now: BTreeMap<_, _> = paths
            .map(|path| (path.to_owned(), (tree.get(path).unwrap().to_vec(), tree.version(path).unwrap())))
            .collect();
        let synced = self.mirror.is_none().then_some(Synced { epoch: self.epoch, joins: self.joins });
        // Over another connection all is read again, and compared with what was seen over the last one.
        let before = self.mirror.take().unwrap_or_else(|| self.last_seen.clone());
        let changed = before.keys().chain(now.keys()).collect::<BTreeSet<_>>();
        let changed = changed.into_iter().filter(|path| before.get(*path) != now.get(*path));
        let change = |path: &String| Change { path: path.clone(), node: now.get(path).map(|it| self.node(path, it)) };
        let changes: Vec<_> = changed.map(change).collect();
        if synced.is_some() || !changes.is_empty() {
            self.last_seen.clone_from(&now);
            self.mirror = Some(now);
            self.observe(Event::Tree(Batch { changes, synced }));
        } else {
            self.mirror = Some(now);
        }
    }

    fn node(&self, path: &str, (data, version): &(Vec<u8>, i32)) -> Node {
        let owner = self.ephemerals.get(path).map_or(0, |owner| i64::try_from(*owner).unwrap());
        Node { data: data.clone(), version: *version, mzxid: 0, ephemeral_owner: owner }
    }

    fn probe(&mut self, probed: &BTreeMap<ReplicaId, (String, Probing)>) -> Findings {
        let mut known = std::mem::take(&mut self.probers);
        for (id, (invocation, probing)) in probed {
            let prober = known.remove(id).filter(|known| known.invocation == *invocation);
            let prober = prober.unwrap_or_else(|| Prober {
                invocation: invocation.clone(),
                verdict: Verdict { ready: probing.was_ready || probing.readiness.is_none(), ..Verdict::default() },
                outcome: TrialOutcome {
                    unconfirmed: probing.trial.is_some(),
                    over: probing.trial.is_none(),
                    ..TrialOutcome::default()
                },
                has_readiness: probing.readiness.is_some(),
            });
            self.probers.insert(id.clone(), prober);
        }
        let found =
            |(id, prober): (&ReplicaId, &Prober)| (id.clone(), (prober.verdict.clone(), prober.outcome.clone()));
        Findings { of: self.probers.iter().map(found).collect(), not_asked: None }
    }

    /// Every replica that is probed is asked once.
    pub(crate) fn check_probes(&mut self) -> bool {
        let mut changed = false;
        for (id, prober) in &mut self.probers {
            let serves = !self.sick.contains(id);
            let verdict = Verdict {
                ready: serves || !prober.has_readiness,
                alive: true,
                message: (!serves).then(|| "readiness: 503".to_owned()),
            };
            let outcome = if serves { TrialOutcome::passed() } else { prober.outcome.clone() };
            changed |= prober.verdict != verdict || prober.outcome != outcome;
            (prober.verdict, prober.outcome) = (verdict, outcome);
        }
        changed
    }

    /// Time passes. A session that nobody holds ends in it.
    pub(crate) fn sleep(&mut self, time: Duration, tree: &mut Tree) {
        self.now = Now { instant: self.now.instant + time, time: self.now.time.checked_add(time).unwrap() };
        if self.ended.is_some_and(|ended| self.now.instant >= ended + SESSION_TIMEOUT) {
            self.expire(tree, false);
        }
    }

    pub(crate) fn status_of(&self, change: &FileChange) -> UnitStatus {
        self.systemd.status(&change.assignment.unit, &self.paths)
    }

    pub(crate) fn files_of(&self, change: &FileChange) -> Files {
        self.systemd.files.get(&change.assignment.unit).cloned().unwrap_or_default()
    }

    /// Everything goes well until there is nothing to do; what was wrong on the way.
    pub(crate) fn settle(&mut self, tree: &mut Tree) -> Vec<String> {
        let mut wrong = Vec::new();
        for _ in 0..500 {
            wrong.extend(self.turn(tree));
            if !self.tasks.is_empty() {
                self.advance(0, tree, Luck::Good);
            } else if !self.check_probes() && !self.news(tree) {
                let Some(due) = self.agent.as_ref().and_then(State::wake_at) else { return wrong };
                self.sleep(due.saturating_duration_since(self.now.instant).max(Duration::from_millis(1)), tree);
            }
        }
        self.story.drain(200.min(self.story.len())..);
        wrong.push("it does not come to rest".to_owned());
        wrong
    }

    /// Whether something has changed that the agent has not seen.
    fn news(&self, tree: &Tree) -> bool {
        let root = layout::host(&self.name);
        let unseen = self.mirror.as_ref().is_none_or(|mirror| {
            let there = tree.below(&root).chain(tree.node(&root).map(|_| root.as_str())).count();
            there != mirror.len() || mirror.iter().any(|(path, (_, version))| tree.version(path) != Some(*version))
        });
        !self.systemd.changed.is_empty() || (self.connected && unseen)
    }
}

/// The action's name, and whom it is about, for the story.
fn kind(action: &Action) -> String {
    let whole = format!("{action:?}");
    let name = whole.split(['(', ' ']).next().unwrap_or_default();
    let about = match action {
        Action::Run(job) => format!(" {} {}", job.order.as_str(), job.id),
        Action::ReadUnit { unit, .. } => format!(" {unit}"),
        Action::Stage(stage) => format!(" {}", stage.id),
        Action::LookAtArtifacts { id, .. } | Action::Delist(id) | Action::ReadPlacement(id) => format!(" {id}"),
        Action::Write(write) => {
            write.changes.iter().fold(String::new(), |about, change| format!("{about} {}", change.id))
        }
        _ => String::new(),
    };
    format!("{name}{about}")
}
