//! One host: its agent's state, its systemd, its disk, its session.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::SignedDuration;

use super::{
    check,
    prober::Prober,
    story::Story,
    systemd::{Process, Systemd},
    tasks::{Luck, Needs, Task},
    tree::{Data, Tree},
};
use crate::{
    model::{
        Accepts, AllowedUnits, Files, Folders, HostAlive, HostName, Ledger, Probing, ReplicaId, ServiceName, UnitName,
        UnitPaths, UnitStatus, drop_in_owner,
    },
    plan::agent::{
        Findings, Policy, State,
        action::{Action, Change as FileChange, Connection, Event, Joined, Linked, Now, Severity},
        adopt,
    },
    tree::{
        layout,
        node::{Batch, Change, Node, Synced},
    },
};

/// How long a session is held after its agent is gone, and how long `ZooKeeper` may keep silent at the start.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// A version that runs and serves nothing.
pub(crate) const UNREADY: &str = "unready";

/// What an agent has seen of the tree, with versions.
type Mirror = BTreeMap<String, (Data, i32)>;

/// What a host's configuration says, and how its software behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) zone: Option<String>,
    /// What its agent accepts, and tells; `None`: anything, and it tells nothing.
    pub(crate) accepts: Option<Accepts>,
    /// Services that it refuses without having told: by the first letter of their units.
    pub(crate) refused: BTreeSet<ServiceName>,
    /// Services that fail when they are started here.
    pub(crate) failing: BTreeSet<ServiceName>,
    /// Configuration revisions with which a process serves nothing.
    pub(crate) broken: BTreeSet<u64>,
    /// Whether its agent says which version of an assignment it answers to; those of an earlier release did not.
    pub(crate) answers: bool,
    /// Whether its agent says what checks made since a change have found; the same.
    pub(crate) confirms: bool,
    /// By how much its clock is ahead of what it should be.
    pub(crate) ahead: SignedDuration,
}

impl Default for Setup {
    fn default() -> Self {
        let nothing = BTreeSet::new;
        let (zone, accepts, refused, failing, broken) = (None, None, nothing(), nothing(), BTreeSet::new());
        Self { zone, accepts, refused, failing, broken, answers: true, confirms: true, ahead: SignedDuration::ZERO }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: HostName,
    pub(crate) setup: Setup,
    /// The part of it that the agent was started with.
    pub(super) configured: Setup,
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
    pub(crate) mirror: Option<Mirror>,
    /// What it saw last, over whichever connection.
    last_seen: Mirror,
    pub(crate) tasks: Vec<Task>,
    pub(crate) probers: BTreeMap<ReplicaId, Prober>,
    /// Units that could not be read the last time: the agent goes by what it knew, and tries again.
    pub(crate) unreadable: BTreeSet<UnitName>,
    /// Replicas whose processes serve nothing.
    pub(crate) sick: BTreeSet<ReplicaId>,
    /// Replicas of which the agent has read that they are placed here.
    pub(crate) placed: BTreeSet<ReplicaId>,
    /// Units that were forbidden while they ran: what became of them, no agent knows.
    pub(super) handed_over: BTreeSet<UnitName>,
    /// When the last agent ended.
    ended: Option<Instant>,
    /// Since when this agent has no connection.
    suspended: Option<Instant>,
    /// How often the machine was started.
    boots: u32,
    /// How often the agent's loop was turned.
    turns: u32,
    /// What the process believes to be in place, and over which connection it looked.
    pub(crate) believed: Option<(Joined, BTreeMap<String, Vec<u8>>)>,
    pub(crate) now: Now,
    /// What the agent has begun, and the lines of its log.
    pub(crate) story: Story,
}

impl Host {
    pub(crate) fn new(name: &str) -> Self {
        Self::told_in(&Story::default(), name)
    }

    /// What it does is told in this story.
    pub(crate) fn told_in(story: &Story, name: &str) -> Self {
        let now = Now { instant: Instant::now(), time: "2026-01-01T00:00:00Z".parse().unwrap() };
        Self {
            name: name.parse().unwrap(),
            setup: Setup::default(),
            configured: Setup::default(),
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
            handed_over: BTreeSet::new(),
            ended: None,
            suspended: None,
            boots: 1,
            turns: 0,
            believed: None,
            now,
            story: story.told_by(name),
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
        self.configured = self.setup.clone();
        self.story.push("an agent is started");
        self.connect();
    }

    /// As its configuration is now.
    pub(super) fn policy(&self) -> Policy {
        let letters: String = self.setup.refused.iter().filter_map(|service| service.as_str().chars().next()).collect();
        let pattern = if letters.is_empty() { "*".to_owned() } else { format!("[!{letters}]*") };
        let anything = Accepts {
            units: AllowedUnits::new(vec![pattern.parse().unwrap()]),
            unit_files: true,
            commands: true,
            packages: true,
            limited: false,
        };
        Policy {
            host: self.name.clone(),
            address: None,
            labels: self.labels(),
            accepts: self.setup.accepts.clone().unwrap_or(anything),
            publish_output: true,
            patience: SESSION_TIMEOUT,
            paths: self.paths.clone(),
            folders: Arc::new(|_, _| Folders::default()),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.setup.zone.iter().map(|zone| ("zone".to_owned(), zone.clone())).collect()
    }

    fn alive(&self) -> HostAlive {
        HostAlive {
            address: None,
            labels: self.labels(),
            accepts: self.setup.accepts.clone(),
            version: "1".to_owned(),
            systemd: Some(257),
            machine_id: self.name.to_string(),
            boot_id: self.boots.to_string(),
            pid: 1,
            started: self.clock().time,
            capacity: crate::model::Capacity::default(),
        }
    }

    /// The agent is killed; what it had asked of systemd and `ZooKeeper` is done or not.
    pub(crate) fn kill_agent(&mut self, tree: &mut Tree, goes_on: bool) {
        let asked = |task: &Task| {
            matches!(
                task.action,
                Action::Run(_) | Action::Register(_) | Action::WriteStatuses { .. } | Action::Delist(_)
            )
        };
        for mut task in std::mem::take(&mut self.tasks) {
            if goes_on && asked(&task) {
                task.advance(self, tree, Luck::Lost);
            }
        }
        (self.agent, self.mirror, self.connected, self.believed) = (None, None, false, None);
        (self.ended, self.suspended) = (Some(self.now.instant), None);
        self.last_seen.clear();
        self.probers.clear();
        self.unreadable.clear();
        self.placed.clear();
        self.story.push("the agent is killed");
    }

    /// The machine loses its power and boots. What is on disk stays.
    pub(crate) fn crash(&mut self, tree: &mut Tree) {
        self.kill_agent(tree, false);
        self.systemd.boot();
        self.boots += 1;
        self.story.push("the machine boots");
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
        (self.connected, self.suspended) = (true, None);
        self.observe(Event::Link(Linked::Up));
    }

    pub(crate) fn disconnect(&mut self) {
        if self.connected {
            (self.connected, self.mirror) = (false, None);
            self.suspended = Some(self.now.instant);
            self.observe(Event::Link(Linked::Suspended));
        }
    }

    /// What the agent has seen of the tree.
    pub(crate) fn last_seen(&self) -> &Mirror {
        &self.last_seen
    }

    /// Whether this agent has seen all of it once.
    pub(crate) fn has_synced(&self) -> bool {
        // Of a host that somebody has deleted there is nothing to be seen.
        self.mirror.is_some() || !self.last_seen.is_empty()
    }

    fn connection(&self) -> Option<Connection> {
        let session = self.session.filter(|_| self.connected)?;
        let session_id = i64::try_from(session).unwrap();
        Some(Connection { epoch: self.epoch, joins: self.joins, session_id })
    }

    /// Whether the session that this was begun over goes on.
    pub(super) fn is_of_session(&self, at: Joined) -> bool {
        self.session.is_some() && at.0 == self.epoch
    }

    fn observe(&mut self, event: Event) {
        let (connection, now) = (self.connection(), self.now.instant);
        if let Some(agent) = &mut self.agent {
            agent.set_connection(connection);
            agent.observe(event, now);
        }
    }

    /// What the machine takes for the time.
    pub(super) fn clock(&self) -> Now {
        Now { time: self.now.time.checked_add(self.setup.ahead).unwrap(), ..self.now }
    }

    /// Takes in what has changed, and turns the loop once; what is wrong with what it begins.
    pub(crate) fn turn(&mut self, tree: &mut Tree) -> Vec<String> {
        self.see(tree);
        let changed = std::mem::take(&mut self.systemd.changed);
        if !changed.is_empty() {
            self.observe(Event::UnitsChanged(changed));
        }
        let (connection, now, reloads) = (self.connection(), self.clock(), self.systemd.reloads);
        let Some(mut agent) = self.agent.take() else { return Vec::new() };
        agent.set_connection(connection);
        // What was not noticed stays so: to look now and then is enough, and takes a third of the time.
        self.turns += 1;
        let whole = self.turns.is_multiple_of(3).then(|| agent.clone());
        let round = agent.look(reloads, now.instant);
        let findings = self.probe(agent.probed());
        agent.plan(round, &findings, now);
        if let Some(mut whole) = whole {
            whole.doubt_everything();
            let round = whole.look(reloads, now.instant);
            whole.plan(round, &findings, now);
            self.has_noticed_all(&agent, &whole);
        }
        let actions = agent.take_actions();
        self.agent = Some(agent);
        actions.into_iter().flat_map(|action| self.begin(action, tree)).collect()
    }

    /// An agent that decides what has changed comes to the same as one that decides everything.
    fn has_noticed_all(&self, agent: &State, whole: &State) {
        if agent.statuses() == whole.statuses() && told_shortly(agent) == told_shortly(whole) {
            return;
        }
        let (one, other) = (told(agent), told(whole));
        let differences = similar::TextDiff::from_lines(&one, &other).unified_diff().context_radius(4).to_string();
        panic!("{} has not noticed a change; what it decides, and should:\n{differences}", self.name);
    }

    /// The agent's last publication before the machine goes down.
    pub(super) fn bid_farewell(&mut self, tree: &mut Tree) {
        let (connection, now) = (self.connection(), self.clock());
        let Some(agent) = &mut self.agent else { return };
        agent.set_connection(connection);
        agent.bid_farewell(now);
        for action in agent.take_actions() {
            self.begin(action, tree);
        }
        while !self.tasks.is_empty() {
            self.advance(0, tree, Luck::Good);
        }
    }

    fn begin(&mut self, action: Action, tree: &Tree) -> Vec<String> {
        match action {
            Action::WatchUnits(units) => self.systemd.watched = units,
            Action::BeginTrial(id, length) => {
                if let Some(prober) = self.probers.get_mut(&id) {
                    prober.begin_trial(length, self.now.instant);
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
                self.story.push(format!("  begins to {}", kind(&action)));
                self.tasks.push(action.into());
                return wrong;
            }
        }
        Vec::new()
    }

    /// One part of something that is under way is done.
    pub(crate) fn advance(&mut self, index: usize, tree: &mut Tree, luck: Luck) {
        let mut task = self.tasks.remove(index);
        self.story.push(format!("  {} goes on: {luck:?}", kind(&task.action)));
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
            .filter_map(|path| Some((path.to_owned(), tree.node(path)?)))
            .map(|(path, node)| (path, (node.data.clone(), node.version)))
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

    fn node(&self, path: &str, (data, version): &(Data, i32)) -> Node {
        let owner = self.ephemerals.get(path).map_or(0, |owner| i64::try_from(*owner).unwrap());
        Node { data: data.as_ref().to_vec(), version: *version, mzxid: 0, ephemeral_owner: owner }
    }

    fn probe(&mut self, probed: &BTreeMap<ReplicaId, (String, Probing)>) -> Findings {
        let mut known = std::mem::take(&mut self.probers);
        for (id, (invocation, probing)) in probed {
            let prober = match known.remove(id).filter(|known| known.invocation == *invocation) {
                Some(mut prober) => {
                    prober.retarget(probing);
                    prober
                }
                None => Prober::start(invocation.clone(), probing.clone(), self.now.instant),
            };
            self.probers.insert(id.clone(), prober);
        }
        let found = |(id, prober): (&ReplicaId, &Prober)| (id.clone(), (prober.verdict(), prober.trial()));
        Findings { of: self.probers.iter().map(found).collect(), not_asked: None }
    }

    /// Whether this invocation of a replica serves.
    fn serves(&self, id: &ReplicaId, invocation: &str) -> bool {
        let process = self.systemd.process(invocation);
        !self.sick.contains(id) && process.is_some_and(|process| !self.is_broken(process))
    }

    pub(super) fn is_broken(&self, process: &Process) -> bool {
        let broken = |config| self.setup.broken.contains(&config);
        process.version() == Some(UNREADY) || process.config.is_some_and(broken)
    }

    /// How many of its processes run with a configuration that serves nothing.
    pub(crate) fn broken_processes(&self) -> usize {
        self.systemd.processes().filter(|(_, process)| self.is_broken(process)).count()
    }

    /// The checks that are due are made; whether they have changed what is known.
    pub(crate) fn check_probes(&mut self) -> bool {
        let now = self.now.instant;
        let serving: Vec<bool> = self.probers.iter().map(|(id, it)| self.serves(id, &it.invocation)).collect();
        let checks = self.probers.values_mut().zip(serving).map(|(prober, serves)| prober.check(serves, now));
        checks.fold(false, |changed, found| changed | found)
    }

    /// When there is something to do though nothing happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let agent = self.agent.as_ref()?.wake_at();
        let probes = self.probers.iter().filter_map(|(id, it)| it.due(self.serves(id, &it.invocation)));
        probes.chain(agent).min()
    }

    /// Time passes. A session that nobody holds ends in it.
    pub(crate) fn sleep(&mut self, time: Duration, tree: &mut Tree) {
        self.now = Now { instant: self.now.instant + time, time: self.now.time.checked_add(time).unwrap() };
        self.end_session(tree);
    }

    fn end_session(&mut self, tree: &mut Tree) {
        let over = |since: Option<Instant>| since.is_some_and(|since| self.now.instant >= since + SESSION_TIMEOUT);
        if over(self.suspended) {
            self.expire(tree, true);
        } else if over(self.ended) {
            self.expire(tree, false);
        }
    }

    pub(crate) fn status_of(&self, change: &FileChange) -> UnitStatus {
        self.systemd.status(&change.assignment.unit, &self.paths)
    }

    pub(crate) fn files_of(&self, change: &FileChange) -> Files {
        self.systemd.files.get(&change.assignment.unit).cloned().unwrap_or_default()
    }
}

/// What an agent decides, in a form that takes the least time.
fn told_shortly(agent: &State) -> String {
    format!("{:?}{:?}{:?}{:?}", agent.decisions(), agent.actions(), agent.probed(), agent.wake_at())
}

/// What an agent decides and says.
fn told(agent: &State) -> String {
    let (decisions, statuses) = (agent.decisions(), agent.statuses());
    format!("{decisions:#?}\n{statuses:#?}\n{:#?}\n{:#?}\n{:?}", agent.actions(), agent.probed(), agent.wake_at())
}

/// The action, and whom it is about, for the story.
fn kind(action: &Action) -> String {
    match action {
        Action::Run(job) => format!("{} {}", job.order.as_str(), job.id),
        Action::ReadUnit { unit, .. } => format!("read {unit}"),
        Action::ReadFiles(unit) => format!("read the files of {unit}"),
        Action::ReadAllFiles(_) => "read all files".to_owned(),
        Action::ReadLastLine { unit, .. } => format!("read the last line of {unit}"),
        Action::LookAtArtifacts { id, .. } => format!("look at what is there of {id}"),
        Action::Stage(stage) => format!("fetch {}", stage.id),
        Action::Prune(prune) => format!("prune {}", prune.service),
        Action::Write(write) => {
            let ids: Vec<_> = write.changes.iter().map(|change| change.id.to_string()).collect();
            format!("write the ledger, and files of {}", ids.join(", "))
        }
        Action::ReadPlacement(id) => format!("read where {id} is placed"),
        Action::ReadListed { id, .. } => format!("read whether {id} is listed"),
        Action::Delist(id) => format!("delist {id}"),
        Action::Register(order) => {
            let ids: Vec<_> = order.ephemerals.1.keys().map(ToString::to_string).collect();
            format!("register, with {}", ids.join(", "))
        }
        Action::WriteStatuses { all, .. } => {
            let said: Vec<_> = all.iter().map(|it| format!("{} is {}", it.id, it.status.state)).collect();
            format!("write that {}", said.join(", "))
        }
        other => format!("{other:?}"),
    }
}
