//! What every verb shares: the servers, and how to read and write through them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    env,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    about::About,
    failure::Failure,
    fleet::{Fleet, Service},
};
use crate::{
    config::{CliSettings, ZooKeeperSettings},
    model::ServiceName,
    store::{self, Client, CommitError, Session, SessionConfig, subtree::Reads},
    tree::{
        copy::Stored,
        layout::{self, Place},
        node::Node,
        snapshot::Cluster,
        txn::Op,
    },
};

/// Where ZooKeeper is, and how patient it is to be with us.
#[derive(Debug)]
pub(super) struct Context {
    session: SessionConfig,
    opened: RefCell<Vec<Opened>>,
    /// The tree was seen to have its roots.
    has_roots: Cell<bool>,
}

/// A session that the verb opened.
enum Opened {
    Once(Client),
    Live(Session),
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

/// How long a farewell to ZooKeeper may hold a command up.
const FAREWELL: Duration = Duration::from_secs(1);

impl Context {
    /// The servers that the flag names, else the environment, else the configuration, whose default is this machine.
    ///
    /// # Errors
    /// [`Failure::Input`] when the configuration is asked and is wrong.
    pub(super) fn new(flag: Option<String>) -> anyhow::Result<Self> {
        let environment = env::var("ZKOPS_ZOOKEEPER").ok().filter(|servers| !servers.is_empty());
        let session = match flag.or(environment) {
            Some(servers) => SessionConfig { servers, session_timeout: ZooKeeperSettings::DEFAULT_SESSION_TIMEOUT },
            None => configured(Path::new("/"))?,
        };
        Ok(Self { session, opened: RefCell::default(), has_roots: Cell::new(false) })
    }

    /// How to reach ZooKeeper.
    pub(super) fn session(&self) -> SessionConfig {
        self.session.clone()
    }

    /// The verb's connection: made at the first call, and again only when it was lost. Says at once that nobody is there.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        if let Some(client) = self.connected() {
            return Ok(client);
        }
        let hint = "cannot use ZooKeeper (-z, ZKOPS_ZOOKEEPER or /etc/zkops/cli.toml say where it is)";
        let client = store::connect_once(self.session()).await.context(hint)?;
        self.opened.borrow_mut().push(Opened::Once(client.clone()));
        Ok(client)
    }

    fn connected(&self) -> Option<Client> {
        let opened = self.opened.borrow();
        let mut clients = opened.iter().filter_map(|opened| match opened {
            Opened::Once(client) => Some(client),
            Opened::Live(_) => None,
        });
        clients.find(|client| client.is_connected()).cloned()
    }

    /// Starts a session that lives as long as the verb takes.
    pub(super) fn start_session(&self) -> Session {
        let session = Session::start(self.session());
        self.opened.borrow_mut().push(Opened::Live(session.clone()));
        session
    }

    /// Closes what the verb opened, rather than leaving sessions for ZooKeeper to expire.
    pub(super) async fn close(self) {
        for opened in self.opened.into_inner() {
            match opened {
                Opened::Once(client) => client.close(FAREWELL).await,
                Opened::Live(session) => session.close(FAREWELL).await,
            };
        }
    }

    /// Connects to a tree that has its roots.
    pub(super) async fn connect_to_tree(&self) -> anyhow::Result<Client> {
        let client = self.connect().await?;
        if !self.has_roots.get() {
            must_have_roots(&client).await?;
            self.has_roots.set(true);
        }
        Ok(client)
    }

    /// Reads what a question is about, and which controllers there are.
    pub(super) async fn fleet(&self, about: &About) -> anyhow::Result<Fleet> {
        Ok(Fleet::of(&about.read(&self.connect_to_tree().await?).await?))
    }

    /// The nodes of the whole tree.
    ///
    /// # Errors
    /// As [`fleet`](Self::fleet).
    pub(super) async fn tree(&self) -> anyhow::Result<BTreeMap<String, Node>> {
        read_tree(&self.connect_to_tree().await?).await
    }

    /// Reads, decides and writes in one transaction, guarded by the versions read. When someone else was faster, it
    /// starts once more from what they wrote.
    ///
    /// # Errors
    /// What `decide` ends with; [`Failure::Conflict`] when someone else was faster twice; what the write ends with.
    pub(super) async fn write<T>(
        &self,
        what: &str,
        decide: impl AsyncFn(&Client) -> anyhow::Result<(Vec<Op>, T)>,
    ) -> anyhow::Result<T> {
        let client = self.connect_to_tree().await?;
        twice(what, async || decide(&client).await, async |ops| commit(&client, ops).await).await
    }
}

/// Reads the services, the hosts and which controllers there are.
pub(super) async fn read_tree(client: &Client) -> anyhow::Result<BTreeMap<String, Node>> {
    Ok(read_stored(client).await?.into_iter().map(|(path, stored)| (path, stored.node)).collect())
}

/// The nodes of the whole tree, with what a preview needs beside them.
pub(super) async fn read_stored(client: &Client) -> anyhow::Result<BTreeMap<String, Stored>> {
    let mut nodes = BTreeMap::new();
    for root in [layout::SERVICES, layout::HOSTS, layout::ELECTION] {
        nodes.extend(store::subtree::read_stored(client, root, reads).await?);
    }
    Ok(nodes)
}

/// Of configuration revisions the planner asks which there are. They are large, and only their own verbs look into them.
pub(super) fn reads(path: &str) -> Reads {
    if matches!(Place::of(path), Place::Config(..)) { Reads::Name } else { Reads::Whole }
}

/// Reads one service; `None` if there is none of this name.
pub(super) async fn read_service(name: &ServiceName, client: &Client) -> anyhow::Result<Option<Service>> {
    let nodes = store::subtree::read_subtree_of(client, &layout::service(name), reads).await?;
    Ok(Fleet::of(&nodes).services.remove(name))
}

/// The tree as the controller sees it.
pub(super) fn cluster(nodes: &BTreeMap<String, Node>) -> Cluster {
    let mut cluster = Cluster::default();
    for (path, node) in nodes {
        cluster.apply(path, Some((&node.data, node.version)));
    }
    cluster
}

/// Who is at the keyboard: the user, behind sudo if need be, and the machine.
pub(super) fn operator() -> String {
    let named = |name: &&str| std::env::var(name).ok().filter(|user| !user.is_empty());
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(named);
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// What `cli.toml` below `root` says.
fn configured(root: &Path) -> anyhow::Result<SessionConfig> {
    let settings = CliSettings::load(root, None).map_err(|error| {
        // The whole chain: the exit code's error is the outermost.
        Failure::Input(format!("{:#}", anyhow::Error::from(error)))
    })?;
    let ZooKeeperSettings { servers, session_timeout } = settings.zookeeper;
    Ok(SessionConfig { servers, session_timeout })
}

/// Decides and commits; a second time when the tree has changed in between.
async fn twice<T>(
    what: &str,
    decide: impl AsyncFn() -> anyhow::Result<(Vec<Op>, T)>,
    commit: impl AsyncFn(&[Op]) -> Result<(), CommitError>,
) -> anyhow::Result<T> {
    let (ops, decided) = decide().await?;
    match commit(&ops).await {
        Err(CommitError::Conflict { .. }) => {}
        other => return other.map(|()| decided).with_context(|| format!("cannot write {what}")),
    }
    let (ops, decided) = decide().await?;
    match commit(&ops).await {
        Err(error @ CommitError::Conflict { .. }) => {
            let text = format!("{what} was changed by someone else meanwhile, twice ({error}): look, and try again");
            Err(Failure::Conflict(text).into())
        }
        other => other.map(|()| decided).with_context(|| format!("cannot write {what}")),
    }
}

/// Carries the transaction out, unless it only checks.
async fn commit(client: &Client, ops: &[Op]) -> Result<(), CommitError> {
    if ops.iter().all(|op| matches!(op, Op::Check { .. })) {
        return Ok(());
    }
    client.commit(ops).await.map(drop)
}

/// Without the roots there is nothing to read, and nothing can be written.
async fn must_have_roots(client: &Client) -> anyhow::Result<()> {
    for root in [layout::SERVICES, layout::HOSTS] {
        if client.get(root).await?.is_none() {
            let text = format!("the tree has no {root} yet: run `zkops init`");
            return Err(Failure::NotFound(text).into());
        }
    }
    Ok(())
}

/// The failure of naming a service that is not there.
pub(super) fn no_service(name: &ServiceName) -> anyhow::Error {
    Failure::NotFound(format!("there is no service \"{name}\" (zkops get services lists them)")).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;
    use crate::{cli::failure, store::Conflict};

    fn conflict() -> CommitError {
        CommitError::Conflict { index: 0, path: "/services/webapp".into(), cause: Conflict::BadVersion }
    }

    /// Decides with the number of the attempt; the first `conflicts` commits meet a change.
    async fn attempts(conflicts: u32) -> (anyhow::Result<u32>, u32) {
        let (decided, committed) = (Cell::new(0), Cell::new(0));
        let decide = async || {
            decided.set(decided.get() + 1);
            Ok((Vec::new(), decided.get()))
        };
        let commit = async |_: &[Op]| {
            committed.set(committed.get() + 1);
            if committed.get() <= conflicts { Err(conflict()) } else { Ok(()) }
        };
        (twice("service/webapp", decide, commit).await, committed.get())
    }

    #[test]
    fn the_configuration_is_read_strictly() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(configured(root.path()).unwrap().servers, "127.0.0.1:2181");
        let folder = root.path().join("etc/zkops");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("cli.toml"), "[zookeeper]\nservers = \"zk1:2181/prod\"\n").unwrap();
        assert_eq!(configured(root.path()).unwrap().servers, "zk1:2181/prod");
        std::fs::write(folder.join("cli.toml"), "[zookeeper]\nserver = \"zk1:2181/prod\"\n").unwrap();
        let error = configured(root.path()).unwrap_err();
        assert_eq!(failure::code(&error), 2);
        assert!(error.to_string().contains("cli.toml") && error.to_string().contains("server"), "{error}");
    }

    #[tokio::test]
    async fn a_change_in_between_is_met_with_a_new_decision() {
        assert_eq!(attempts(0).await.0.unwrap(), 1);
        assert_eq!(attempts(1).await.0.unwrap(), 2);
    }

    #[tokio::test]
    async fn the_second_change_is_left_to_the_person() {
        let (outcome, committed) = attempts(9).await;
        let error = outcome.unwrap_err();
        assert_eq!((failure::code(&error), committed), (4, 2));
        assert!(error.to_string().contains("/services/webapp: it has changed meanwhile"), "{error}");
    }

    #[tokio::test]
    async fn nothing_else_is_tried_again() {
        let committed = Cell::new(0);
        let commit = async |_: &[Op]| {
            committed.set(committed.get() + 1);
            Err(CommitError::Disconnected)
        };
        let error = twice("service/webapp", async || Ok((Vec::new(), ())), commit).await.unwrap_err();
        assert_eq!((failure::code(&error), committed.get()), (6, 1));
    }
}
