//! What the daemons count. Names follow Prometheus' conventions; `docs/operations.md` says what to watch.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{model::ReplicaState, tree::txn::Cause};

/// One replica state.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StateLabel {
    state: &'static str,
}

/// One kind of step and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StepLabel {
    step: &'static str,
    result: &'static str,
}

/// One probe.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ProbeLabel {
    probe: &'static str,
}

/// How something ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

impl ResultLabel {
    fn of(done: bool) -> Self {
        Self { result: if done { "done" } else { "failed" } }
    }
}

/// What was wrong on the host that a replica left.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CauseLabel {
    cause: &'static str,
}

/// What an agent counts.
#[derive(Clone, Debug, Default)]
pub struct AgentMetrics {
    replicas: Family<StateLabel, Gauge>,
    steps: Family<StepLabel, Counter>,
    writes: Counter,
    link: Gauge,
    sessions: Counter,
    plans: Counter,
    probe_failures: Family<ProbeLabel, Counter>,
    checks_not_made: Counter,
    fetches: Family<ResultLabel, Counter>,
    configs: Family<ResultLabel, Counter>,
    rejections: Counter,
}

impl AgentMetrics {
    /// Registers everything under `zkops_agent_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("zkops_agent");
        registry.register("replicas", "Replicas assigned to this host, by state", self.replicas.clone());
        registry.register("steps", "Steps carried out on units, by kind and result", self.steps.clone());
        registry.register("zookeeper_writes", "Transactions sent to ZooKeeper", self.writes.clone());
        registry.register("zookeeper_connected", "1 while the session is connected", self.link.clone());
        registry.register("zookeeper_sessions", "Sessions established since the agent started", self.sessions.clone());
        registry.register("plans", "Plans made", self.plans.clone());
        let help = "Replicas that ceased to be ready, or alive, by their probes";
        registry.register("probe_failures", help, self.probe_failures.clone());
        let help = "Checks of probes that could not be made for the agent's own reasons: they count for nothing";
        registry.register("probe_checks_not_made", help, self.checks_not_made.clone());
        let help = "Releases and configurations brought onto this host, by result";
        registry.register("fetches", help, self.fetches.clone());
        registry.register("config_applies", "Configurations that came into force, by result", self.configs.clone());
        registry.register("rejections", "Work that was given up", self.rejections.clone());
    }

    /// A replica ceased to be ready, or alive.
    pub fn probe_failed(&self, probe: &'static str) {
        self.probe_failures.get_or_create(&ProbeLabel { probe }).inc();
    }

    /// Counts checks that could not be made.
    pub fn checks_not_made(&self) -> Counter {
        self.checks_not_made.clone()
    }

    /// A release or a configuration was brought onto the host, or could not be.
    pub fn fetch(&self, done: bool) {
        self.fetches.get_or_create(&ResultLabel::of(done)).inc();
    }

    /// A configuration came into force, or could not.
    pub fn config_applied(&self, done: bool) {
        self.configs.get_or_create(&ResultLabel::of(done)).inc();
    }

    /// Work was given up: only other work is tried.
    pub fn rejection(&self) {
        self.rejections.inc();
    }

    /// Counts the replicas in each state.
    pub fn count_replicas(&self, states: impl Iterator<Item = ReplicaState>) {
        self.replicas.clear();
        for state in states {
            self.replicas.get_or_create(&StateLabel { state: state.as_str() }).inc();
        }
    }

    /// A step ended.
    pub fn step(&self, step: &'static str, done: bool) {
        self.steps.get_or_create(&StepLabel { step, result: if done { "done" } else { "failed" } }).inc();
    }

    /// A transaction was sent.
    pub fn write(&self) {
        self.writes.inc();
    }

    /// The link is up or not; `session` = a new session was established.
    pub fn link(&self, up: bool, new_session: bool) {
        self.link.set(i64::from(up));
        if new_session {
            self.sessions.inc();
        }
    }

    /// A plan was made.
    pub fn plan(&self) {
        self.plans.inc();
    }
}

/// What a controller counts.
#[derive(Clone, Debug, Default)]
pub struct ControllerMetrics {
    leader: Gauge,
    services: Gauge,
    hosts: Gauge,
    hosts_lost: Gauge,
    transactions: Counter,
    conflicts: Counter,
    plans: Counter,
    plan_seconds: Gauge<f64, AtomicU64>,
    moves: Family<CauseLabel, Counter>,
    held: Gauge,
}

impl ControllerMetrics {
    /// Registers everything under `zkops_controller_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("zkops_controller");
        registry.register("leader", "1 while this controller leads", self.leader.clone());
        registry.register("services", "Services in the tree", self.services.clone());
        registry.register("hosts", "Hosts in the tree", self.hosts.clone());
        registry.register("hosts_lost", "Hosts whose agent has no session", self.hosts_lost.clone());
        registry.register("transactions", "Transactions that landed", self.transactions.clone());
        registry.register("conflicts", "Transactions refused because the tree had moved on", self.conflicts.clone());
        registry.register("plans", "Plans made", self.plans.clone());
        let moves = self.moves.clone();
        registry.register("moves", "Replicas that left a host without being asked to, by what was wrong there", moves);
        let held = self.held.clone();
        registry.register("replicas_held", "Replicas that failed on several hosts and stay where they are", held);
        registry.register("last_plan_seconds", "How long the last plan took to make", self.plan_seconds.clone());
    }

    /// Whether this controller leads.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The size of the fleet.
    pub fn fleet(&self, services: usize, hosts: usize, lost: usize) {
        let clamp = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.services.set(clamp(services));
        self.hosts.set(clamp(hosts));
        self.hosts_lost.set(clamp(lost));
    }

    /// A transaction landed, or was refused.
    pub fn transaction(&self, landed: bool) {
        if landed {
            self.transactions.inc()
        } else {
            self.conflicts.inc()
        };
    }

    /// A replica left a host without being asked to.
    pub fn moved(&self, cause: Cause) {
        let cause = match cause {
            Cause::Lost => "lost",
            Cause::Failed => "failed",
            Cause::Refused => "refused",
        };
        self.moves.get_or_create(&CauseLabel { cause }).inc();
    }

    /// So many replicas fail, and are left where they are.
    pub fn held(&self, count: usize) {
        self.held.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A plan was made.
    pub fn plan(&self, took: std::time::Duration) {
        self.plans.inc();
        self.plan_seconds.set(took.as_secs_f64());
    }
}
