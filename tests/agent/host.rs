//! One host: its agent, its systemd, its disk, and what an operator and a controller write for it.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use zkops::{
    config::{AgentSettings, ZooKeeperSettings},
    model::{Accepts, AllowedUnits, ReplicaId, UnitName, UnitStatus, Verb},
    reconcile::agent,
    report::metrics::AgentMetrics,
    store::Session,
    systemd::{
        FakeSystemd, UnitFiles, UnitManager,
        fake::{Behaviour, Call},
    },
    tree::{layout, txn::Op},
};

use super::support::{Tree, eventually, holds_in_time};

/// A host named web1.
pub struct Host {
    pub tree: Tree,
    pub systemd: Arc<FakeSystemd>,
    /// Whether its `agent.toml` allows commands, and packages.
    pub accepts: (bool, bool),
    /// Whether it allows unit files from the tree.
    pub accepts_unit_files: bool,
    /// The units that it allows.
    pub allowed: Vec<&'static str>,
    /// Whether it is limited.
    pub limited: bool,
    /// The session timeout that the agent goes by.
    pub patience: Duration,
    dir: TempDir,
    agent: Option<JoinHandle<anyhow::Result<()>>>,
    registry: Registry,
}

/// What is wanted of a replica, as its assignment has it.
pub fn assignment(unit: &str) -> Value {
    json!({ "mode": "enabled", "unit": unit, "version": "v1", "template": {} })
}

impl Host {
    /// Nothing assigned, the agent not started; `webapp@.service` and `db.service` are installed.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("units")).unwrap();
        let systemd = Arc::new(FakeSystemd::with_root(dir.path().join("units")));
        for unit in ["webapp@.service", "db.service"] {
            systemd.install(&name(unit), Behaviour::default());
        }
        let accepts = (true, false);
        Self {
            tree: Tree::new().await,
            systemd,
            accepts,
            accepts_unit_files: true,
            allowed: vec!["webapp*.service", "db*.service"],
            limited: false,
            patience: Duration::from_secs(1),
            dir,
            agent: None,
            registry: Registry::default(),
        }
    }

    pub fn units(&self) -> PathBuf {
        self.dir.path().join("units")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where webapp's replica 1 finds its release (`releases`) or its configuration (`config`).
    pub fn current(&self, kind: &str) -> PathBuf {
        self.data().join(kind).join("webapp/current@0000000001")
    }

    /// Waits until the agent's memory on disk has this text: a process that is killed before has done nothing.
    pub async fn wait_for_ledger(&self, text: &str) {
        eventually(&format!("{text} in the ledger"), async || self.ledger().contains(text)).await;
    }

    /// The agent's memory on disk.
    pub fn ledger(&self) -> String {
        fs::read_to_string(self.state().join("ledger.json")).unwrap_or_default()
    }

    /// As after a reboot: nothing runs, and `/run` is empty.
    pub fn reboot(&mut self, behaviour: &Behaviour) {
        fs::remove_dir_all(self.units()).unwrap();
        fs::create_dir(self.units()).unwrap();
        self.systemd = Arc::new(FakeSystemd::with_root(self.units()));
        self.systemd.install(&name("webapp@.service"), behaviour.clone());
    }

    fn settings(&self) -> AgentSettings {
        let allowed = self.allowed.iter().map(|text| text.parse().unwrap());
        AgentSettings {
            zookeeper: ZooKeeperSettings { servers: String::new(), session_timeout: self.patience },
            host: "web1".parse().unwrap(),
            address: None,
            labels: BTreeMap::new(),
            accepts: Accepts {
                units: AllowedUnits::new(allowed.collect()),
                unit_files: self.accepts_unit_files && !self.limited,
                commands: self.accepts.0,
                packages: self.accepts.1,
                limited: self.limited,
            },
            publish_output: true,
            data_dir: self.data(),
            state_dir: self.state(),
            program: env!("CARGO_BIN_EXE_zkops").into(),
        }
    }

    /// Starts the agent with a session straight to ZooKeeper.
    pub fn start(&mut self) {
        self.start_on(self.tree.session(), Arc::clone(&self.systemd));
    }

    /// Starts the agent; what an earlier one had begun is over, as after a SIGKILL.
    pub fn start_on<M: UnitManager + 'static>(&mut self, session: Session, manager: Arc<M>) {
        let metrics = AgentMetrics::default();
        self.registry = Registry::default();
        metrics.register(&mut self.registry);
        let files = if self.limited { UnitFiles::variables_only(self.units()) } else { UnitFiles::new(self.units()) };
        self.agent = Some(tokio::spawn(agent::run_with(self.settings(), manager, files, session, metrics)));
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
            assert!(agent.await.is_err(), "the agent had ended by itself");
            self.wait_until_unlocked().await;
        }
    }

    /// A command that is being started has its parent's files open until it is executed, the lock too, and here it
    /// outlives the agent: systemd would have waited for it.
    async fn wait_until_unlocked(&self) {
        let Ok(lock) = fs::File::open(self.state().join("lock")) else { return };
        eventually("the agent's lock to be free", async || lock.try_lock().is_ok()).await;
        lock.unlock().unwrap();
    }

    /// How many plans the agent made.
    pub fn plans(&self) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("zkops_agent_plans_total ")).unwrap();
        line.parse().unwrap()
    }

    /// Places a replica on this host, or changes what is wanted of it, as the controller does.
    pub async fn assign(&self, id: &str, assignment: &Value) {
        let id: ReplicaId = id.parse().unwrap();
        self.put(&layout::replica_desired(&id), &json!({ "mode": assignment["mode"], "node": "web1" })).await;
        self.tree.client.mkdirs(&layout::instances(&id.service)).await.unwrap();
        self.put(&layout::assignment(&"web1".parse().unwrap(), &id), assignment).await;
    }

    /// Places it elsewhere.
    pub async fn withdraw(&self, id: &str) {
        let id: ReplicaId = id.parse().unwrap();
        self.put(&layout::replica_desired(&id), &json!({ "mode": "enabled", "node": "web2" })).await;
        self.delete(&layout::assignment(&"web1".parse().unwrap(), &id)).await;
    }

    /// What `zkops config push` writes.
    pub async fn push(&self, revision: u64, text: &str) {
        let file = json!({ "text": text, "template": true });
        let path = layout::config(&"webapp".parse().unwrap(), revision);
        self.put(&path, &json!({ "files": { "app.conf": file } })).await;
    }

    pub async fn put(&self, path: &str, document: &Value) {
        self.tree.client.mkdirs(path).await.unwrap();
        let data = document.to_string().into_bytes();
        self.tree.client.commit(&[Op::Set { path: path.to_owned(), data, version: None }]).await.unwrap();
    }

    pub async fn delete(&self, path: &str) {
        self.delete_all(&[path.to_owned()]).await;
    }

    /// In one transaction.
    pub async fn delete_all(&self, paths: &[String]) {
        let ops: Vec<_> = paths.iter().map(|path| Op::Delete { path: path.clone(), version: None }).collect();
        self.tree.client.commit(&ops).await.unwrap();
    }

    /// A document; `Null` when there is none.
    pub async fn get(&self, path: &str) -> Value {
        let node = self.tree.client.get(path).await.unwrap();
        node.map_or(Value::Null, |node| serde_json::from_slice(&node.data).unwrap_or(Value::Null))
    }

    pub async fn status(&self, id: &str) -> Value {
        self.get(&layout::replica_status(&id.parse().unwrap())).await
    }

    pub async fn instance(&self, id: &str) -> Value {
        let id: ReplicaId = id.parse().unwrap();
        self.get(&layout::instance(&id.service, "web1")).await
    }

    pub async fn wait_for_state(&self, id: &str, state: &str) {
        eventually(&format!("{id} {state}"), async || self.status(id).await["state"] == state).await;
    }

    /// Waits until something is said of the replica that has `text` in its message.
    pub async fn wait_for_message(&self, id: &str, text: &str) {
        let mut last = Value::Null;
        let told = async || {
            last = self.status(id).await;
            last["message"].as_str().is_some_and(|message| message.contains(text))
        };
        let is_told = holds_in_time(told).await;
        assert!(is_told, "waited for {id} to say {text:?}; its status: {last}; the ledger: {}", self.ledger());
    }

    /// Waits until the replica is in `instances`.
    pub async fn wait_until_listed(&self, id: &str) {
        eventually(&format!("{id} in instances"), async || !self.instance(id).await.is_null()).await;
    }

    pub async fn wait_until_registered(&self) {
        eventually("alive", async || self.tree.exists("/hosts/web1/alive").await).await;
    }

    pub async fn unit(&self, unit: &str) -> UnitStatus {
        self.systemd.unit(&name(unit)).await.unwrap()
    }

    /// The jobs asked for since this was last called.
    pub fn jobs(&self) -> Vec<(Verb, String)> {
        let job = |call| match call {
            Call::Run(verb, unit) => Some((verb, unit.to_string())),
            _ => None,
        };
        self.systemd.take_calls().into_iter().filter_map(job).collect()
    }

    pub fn drop_in(&self, unit: &str) -> PathBuf {
        self.units().join(format!("{unit}.d/50-zkops.conf"))
    }

    /// What zkops tells the unit's processes: `NAME="value"` lines.
    pub fn variables(&self, unit: &str) -> String {
        fs::read_to_string(self.units().join(format!("{unit}.d/50-zkops.env"))).unwrap()
    }
}

pub fn name(unit: &str) -> UnitName {
    unit.parse().unwrap()
}
