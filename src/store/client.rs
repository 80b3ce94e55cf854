//! Reads over one connection, and the few writes that are no transactions. [`Client::commit`] has a file of its own.

use std::{sync::Arc, time::Duration};

use zookeeper_client::{self as zk, Acls, CreateMode, CreateOptions, MultiReadResult};

use super::{StoreError, connection::Connection};
use crate::tree::{copy::Stored, node::Node};

const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const CONTENDER: CreateOptions<'static> = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());

/// A handle on one connection. Clones share it; it is of no use once the connection is lost, when every method
/// answers "disconnected" and the session's link shows the next one.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) connection: Arc<Connection>,
}

impl Client {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// The session, as ephemeral nodes name their owner.
    pub fn session_id(&self) -> i64 {
        self.connection.session_id()
    }

    /// The path in ZooKeeper below which all paths are: empty, or as in `/prod`.
    pub fn chroot(&self) -> &str {
        self.connection.chroot()
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.connection.request(|_| ()).is_ok()
    }

    /// Ends the session of a client that no supervisor looks after ([`connect_once`](super::connect_once)).
    pub async fn close(self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.connection.close()).await.unwrap_or(false)
    }

    /// Reads a node; `None` when there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Node>, StoreError> {
        Ok(self.read(path).await?.map(|(node, _)| node))
    }

    /// A node and the number of its children. The request is sent by this call, not by polling its future.
    pub(super) fn read(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Option<(Node, i32)>, StoreError>> + Send + use<> {
        let sent = self.connection.request(|zk| zk.get_data(path));
        let path = path.to_owned();
        async move {
            let found = absent(sent?.await).map_err(|error| StoreError::of(error, || format!("read {path}")))?;
            Ok(found.map(|(data, stat)| (node((data, stat)), stat.num_children)))
        }
    }

    /// These nodes and the names of their children, at one moment, by one request; `None` for those that are not there. With what
    /// the number of the next sequential child depends on, which ZooKeeper tells mixed up: each child counts when it is created and
    /// when it is deleted.
    pub(super) async fn read_all(&self, paths: &[String]) -> Result<Vec<Option<(Stored, Vec<String>)>>, StoreError> {
        let what = || format!("read {} and what else is asked for", paths.first().map_or("", String::as_str));
        let failed = |error| StoreError::of(error, what);
        let zk = self.connection.request(zk::Client::clone)?;
        let mut reader = zk.new_multi_reader();
        for path in paths {
            reader.add_get_data(path).map_err(failed)?;
            reader.add_get_children(path).map_err(failed)?;
        }
        let mut answers = reader.commit().await.map_err(failed)?.into_iter();
        let read = paths.iter().map(|path| match (answers.next(), answers.next()) {
            (Some(MultiReadResult::Data { data, stat }), Some(MultiReadResult::Children { children })) => {
                let created = u32::try_from(stat.cversion.saturating_add(stat.num_children) / 2).unwrap_or(0);
                Ok(Some((Stored { node: node((data, stat)), created }, children)))
            }
            (Some(MultiReadResult::Error { err: zk::Error::NoNode }), _) => Ok(None),
            (Some(MultiReadResult::Error { err }), _) | (_, Some(MultiReadResult::Error { err })) => {
                Err(StoreError::of(err, || format!("read {path}")))
            }
            _ => Err(failed(zk::Error::BadArguments(&"the answer is to something else"))),
        });
        read.collect()
    }

    /// The same without the node's data, which is left empty.
    pub(super) fn glance(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Option<(Node, i32)>, StoreError>> + Send + use<> {
        let sent = self.connection.request(|zk| zk.check_stat(path));
        let path = path.to_owned();
        async move {
            let found = sent?.await.map_err(|error| StoreError::of(error, || format!("look at {path}")))?;
            Ok(found.map(|stat| (node((Vec::new(), stat)), stat.num_children)))
        }
    }

    /// The names of a node's children, sorted; `None` when there is no such node.
    pub async fn children(&self, path: &str) -> Result<Option<Vec<String>>, StoreError> {
        let mut names = self.list(path).await?;
        if let Some(names) = &mut names {
            names.sort_unstable();
        }
        Ok(names)
    }

    /// The names of a node's children, in any order. The request is sent by this call.
    pub(super) fn list(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Option<Vec<String>>, StoreError>> + Send + use<> {
        let sent = self.connection.request(|zk| zk.get_children(path));
        let path = path.to_owned();
        async move {
            let found = absent(sent?.await).map_err(|error| StoreError::of(error, || format!("list {path}")))?;
            Ok(found.map(|(names, _)| names))
        }
    }

    /// Whether a node exists.
    pub async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        let stat = self.connection.request(|zk| zk.check_stat(path))?.await;
        Ok(stat.map_err(|error| StoreError::of(error, || format!("look at {path}")))?.is_some())
    }

    /// Waits until the server that we are connected to has caught up with the leader, as it was when asked. Reads
    /// that follow see at least that; they are still no proof that nothing newer exists, only versions are.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let zk = self.connection.request(zk::Client::clone)?;
        zk.sync("/").await.map_err(|error| StoreError::of(error, || "sync".to_owned()))
    }

    /// Creates a node and the nodes above it as far as they are missing, without data. Returns what it created.
    pub async fn mkdirs(&self, path: &str) -> Result<Vec<String>, StoreError> {
        let mut made = Vec::new();
        let mut missing = vec![path];
        while let Some(path) = missing.last() {
            match self.make(path).await? {
                Made::New => made.push((*path).to_owned()),
                Made::Exists => {}
                Made::NoParent => {
                    missing.push(parent(path).ok_or_else(|| self.no_chroot())?);
                    continue;
                }
            }
            missing.pop();
        }
        Ok(made)
    }

    /// Creates a node without data unless it is there; false when what it would be below is not.
    pub async fn mkdir(&self, path: &str) -> Result<bool, StoreError> {
        Ok(!matches!(self.make(path).await?, Made::NoParent))
    }

    async fn make(&self, path: &str) -> Result<Made, StoreError> {
        let zk = self.connection.request(zk::Client::clone)?;
        match zk.create(path, b"", &PERSISTENT).await {
            Ok(_) => Ok(Made::New),
            Err(zk::Error::NodeExists) => Ok(Made::Exists),
            Err(zk::Error::NoNode) => Ok(Made::NoParent),
            Err(error) => Err(StoreError::of(error, || format!("create {path}"))),
        }
    }

    fn no_chroot(&self) -> StoreError {
        StoreError::NoChroot { chroot: self.chroot().to_owned() }
    }

    /// Creates the chroot itself, as far as it is missing. Returns what it created, as paths in all of ZooKeeper.
    pub(super) async fn make_chroot(&self) -> Result<Vec<String>, StoreError> {
        let zk = self.connection.request(zk::Client::clone)?;
        let root = zk.chroot("/").map_err(|_| self.no_chroot())?;
        let mut made = Vec::new();
        for (end, _) in self.chroot().match_indices('/').skip(1).chain([(self.chroot().len(), "")]) {
            let path = &self.chroot()[..end];
            match root.create(path, b"", &PERSISTENT).await {
                _ if path.is_empty() => {}
                Ok(_) => made.push(path.to_owned()),
                Err(zk::Error::NodeExists) => {}
                Err(error) => return Err(StoreError::of(error, || format!("create {path}"))),
            }
        }
        Ok(made)
    }

    /// Creates an ephemeral sequential node; its path. An error may hide that it was created: look before trying again.
    pub(super) async fn create_contender(&self, prefix: &str, data: &[u8]) -> Result<String, StoreError> {
        let zk = self.connection.request(zk::Client::clone)?;
        let (_, number) = zk
            .create(prefix, data, &CONTENDER)
            .await
            .map_err(|error| StoreError::of(error, || format!("create {prefix}")))?;
        Ok(format!("{prefix}{number}"))
    }
}

enum Made {
    New,
    Exists,
    NoParent,
}

/// `None` instead of "no such node".
fn absent<T>(answer: Result<T, zk::Error>) -> Result<Option<T>, zk::Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path above, unless that is the root.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

/// A node as it was read.
fn node((data, stat): (Vec<u8>, zk::Stat)) -> Node {
    Node { data, version: stat.version, mzxid: stat.mzxid, ephemeral_owner: stat.ephemeral_owner }
}
