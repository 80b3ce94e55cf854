//! This process's ephemeral nodes, kept as wanted.
//!
//! Ephemerals belong to a session. A process that was restarted, or whose session expired, finds those of the
//! session before and takes them over: delete and create in one transaction, so that nobody sees a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use futures_util::future;
use tracing::info;

use super::{Client, CommitError, Conflict, OpResult, Session, StoreError, Up, client::parent};
use crate::tree::{layout::Place, node::Node, txn::Op};

/// How often a change is tried again when the tree turned out to be different, before the caller hears of it.
const ATTEMPTS: usize = 5;

/// Says why a node that another session left must not be replaced; `None` when it may be.
type Refuse = Box<dyn Fn(&str, &Node) -> Option<String> + Send + Sync>;

/// The ephemerals of this process.
pub struct Presence {
    session: Session,
    refuse: Refuse,
    /// The connection over which `known` was read.
    at: Option<(u64, u64)>,
    /// What is at the paths that concern us, as of the last read or write.
    known: BTreeMap<String, Option<Node>>,
    /// What we have created and not deleted since.
    ours: BTreeSet<String>,
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("at", &self.at).field("ours", &self.ours).finish_non_exhaustive()
    }
}

/// What [`Presence::apply`] did; all empty when there was nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Paths where there was nothing.
    pub created: Vec<String>,
    /// Paths of another session's leftovers, now ours.
    pub replaced: Vec<String>,
    /// Paths that were ours, with new data.
    pub updated: Vec<String>,
    /// Paths where there is nothing any more.
    pub deleted: Vec<String>,
    /// Whether what rode along has landed, too.
    pub ridden: bool,
    /// Entries of `instances` of services that are not there: they were left out. Nobody creates a service by running it.
    pub left_out: BTreeSet<String>,
}

impl Applied {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        [&self.created, &self.replaced, &self.updated, &self.deleted].iter().all(|paths| paths.is_empty())
    }
}

/// Why the ephemerals are not as wanted. Nothing was changed, except where the cause says that this is not known.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// A node that another process holds must not be replaced.
    #[error("{path} is held by another: {reason}")]
    Refused {
        /// The node.
        path: String,
        /// What the hook said.
        reason: String,
    },
    /// Reading what is there, or creating a parent, failed.
    #[error("cannot prepare the ephemeral nodes")]
    Store(#[from] StoreError),
    /// Writing failed.
    #[error("cannot write the ephemeral nodes")]
    Commit(#[from] CommitError),
}

impl Presence {
    /// None yet; every leftover may be replaced.
    pub fn new(session: &Session) -> Self {
        let refuse = Box::new(|_: &str, _: &Node| None);
        Self { session: session.clone(), refuse, at: None, known: BTreeMap::new(), ours: BTreeSet::new() }
    }

    /// With a say in which leftovers of other sessions may be replaced: `refuse` returns the reason why not.
    #[must_use]
    pub fn refusing(mut self, refuse: impl Fn(&str, &Node) -> Option<String> + Send + Sync + 'static) -> Self {
        self.refuse = Box::new(refuse);
        self
    }

    /// Forgets what is believed to be there, since someone may have changed it: the next `apply` reads all again.
    pub fn invalidate(&mut self) {
        self.at = None;
    }

    /// Makes it so, in one transaction: each path of `wanted` is our ephemeral with that data; whatever else we have
    /// created is gone, as is what others left at the paths of `stale`. Neither reads nor writes when that holds
    /// already, as far as is known, over the connection that there is.
    ///
    /// `riders` are part of the transaction if there is one, so that nobody sees the ephemerals without them. They
    /// never hold it up: when one of them is refused, it goes without. Neither does an entry of a service that is not there
    /// ([`Applied::left_out`]); other parents that are missing are created.
    pub async fn apply(
        &mut self,
        wanted: &BTreeMap<String, Vec<u8>>,
        stale: &BTreeSet<String>,
        mut riders: &[Op],
    ) -> Result<Applied, PresenceError> {
        let (mut attempt, mut left_out) = (1, BTreeSet::new());
        loop {
            let up = self.session.link().borrow().up().cloned().ok_or(StoreError::Disconnected)?;
            self.look(&up, wanted, stale).await?;
            let changes = self.changes(&up, wanted, stale, &left_out)?;
            if changes.ops.is_empty() {
                return Ok(Applied { left_out, ..changes.applied });
            }
            self.expect(&changes);
            match up.client.commit(&[&changes.ops, riders].concat()).await {
                Ok(results) => {
                    let applied = self.landed(&up, changes, &results, !riders.is_empty());
                    return Ok(Applied { left_out, ..applied });
                }
                Err(CommitError::Conflict { index, .. }) if index >= changes.ops.len() => riders = &[],
                Err(CommitError::Conflict { path, cause, .. }) if attempt < ATTEMPTS => {
                    if bring_parent(&up.client, &changes.ops, &path, cause).await? {
                        attempt += 1;
                    } else {
                        left_out.insert(path);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is not known over this connection yet.
    async fn look(
        &mut self,
        up: &Up,
        wanted: &BTreeMap<String, Vec<u8>>,
        stale: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        if self.at.replace((up.epoch, up.joins)) != Some((up.epoch, up.joins)) {
            self.known.clear();
        }
        let paths: BTreeSet<&String> = wanted.keys().chain(stale).chain(&self.ours).collect();
        let unknown = paths.into_iter().filter(|path| !self.known.contains_key(*path));
        let reads = unknown.map(|path| async { up.client.get(path).await.map(|node| (path.clone(), node)) });
        let found = future::try_join_all(reads).await?;
        self.known.extend(found);
        Ok(())
    }

    /// What is to be done, given what is known.
    fn changes<'a>(
        &self,
        up: &Up,
        wanted: &'a BTreeMap<String, Vec<u8>>,
        stale: &BTreeSet<String>,
        left_out: &BTreeSet<String>,
    ) -> Result<Changes<'a>, PresenceError> {
        let mut changes = Changes::new(wanted);
        for path in stale.union(&self.ours).filter(|path| !wanted.contains_key(*path)) {
            if let Some(Some(node)) = self.known.get(path)
                && (node.ephemeral_owner == up.session_id || stale.contains(path))
            {
                changes.delete(path, node);
            }
        }
        for (path, data) in wanted.iter().filter(|(path, _)| !left_out.contains(*path)) {
            match self.known.get(path).and_then(Option::as_ref) {
                None => changes.create(path, data),
                Some(node) if node.ephemeral_owner != up.session_id => {
                    if let Some(reason) = (self.refuse)(path, node) {
                        return Err(PresenceError::Refused { path: path.clone(), reason });
                    }
                    changes.replace(path, data, node);
                }
                Some(node) if node.data != *data => changes.update(path, data, node),
                Some(_) => {}
            }
        }
        Ok(changes)
    }

    /// From here on the changes may be in force, even if the answer never comes or nobody waits for it: what they touch
    /// is not known until it does, and what they create is ours to delete.
    fn expect(&mut self, changes: &Changes<'_>) {
        for op in &changes.ops {
            if let Op::CreateEphemeral { path, .. } | Op::Set { path, .. } | Op::Delete { path, .. } = op {
                self.known.remove(path);
            }
        }
        self.ours.extend(changes.applied.created.iter().chain(&changes.applied.replaced).cloned());
    }

    /// The tree is as wanted now: remember it, without reading it again.
    fn landed(&mut self, up: &Up, changes: Changes<'_>, results: &[OpResult], ridden: bool) -> Applied {
        for (op, result) in changes.ops.iter().zip(results) {
            let (path, version) = match (op, result) {
                (Op::CreateEphemeral { path, .. }, _) => (path, 0),
                (Op::Set { path, .. }, OpResult::Set { version }) => (path, *version),
                (Op::Delete { path, .. }, _) => {
                    self.known.insert(path.clone(), None);
                    self.ours.remove(path);
                    continue;
                }
                _ => continue,
            };
            let data = changes.wanted.get(path).cloned().unwrap_or_default();
            let node = Node { data, version, mzxid: 0, ephemeral_owner: up.session_id };
            self.known.insert(path.clone(), Some(node));
            self.ours.insert(path.clone());
        }
        info!(?changes.applied, "ephemeral nodes");
        Applied { ridden, ..changes.applied }
    }
}

/// A conflict is a look at an old state of the tree, which the next attempt reads again; a missing parent is created. False
/// when that is `instances` of a service that is not there.
async fn bring_parent(client: &Client, ops: &[Op], path: &str, cause: Conflict) -> Result<bool, StoreError> {
    let creates = ops.iter().any(|op| matches!(op, Op::CreateEphemeral { path: created, .. } if created == path));
    let (Conflict::NoNode, true, Some(parent)) = (cause, creates, parent(path)) else { return Ok(true) };
    if let Place::Instance(..) = Place::of(path) {
        return client.mkdir(parent).await;
    }
    client.mkdirs(parent).await.map(|_| true)
}

/// A transaction in the making, and what it will have done.
struct Changes<'a> {
    wanted: &'a BTreeMap<String, Vec<u8>>,
    ops: Vec<Op>,
    applied: Applied,
}

impl<'a> Changes<'a> {
    fn new(wanted: &'a BTreeMap<String, Vec<u8>>) -> Self {
        Self { wanted, ops: Vec::new(), applied: Applied::default() }
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        self.ops.push(Op::CreateEphemeral { path: path.to_owned(), data: data.to_owned() });
        self.applied.created.push(path.to_owned());
    }

    fn replace(&mut self, path: &str, data: &[u8], found: &Node) {
        self.ops.push(Op::Delete { path: path.to_owned(), version: Some(found.version) });
        self.ops.push(Op::CreateEphemeral { path: path.to_owned(), data: data.to_owned() });
        self.applied.replaced.push(path.to_owned());
    }

    fn update(&mut self, path: &str, data: &[u8], found: &Node) {
        self.ops.push(Op::Set { path: path.to_owned(), data: data.to_owned(), version: Some(found.version) });
        self.applied.updated.push(path.to_owned());
    }

    fn delete(&mut self, path: &str, found: &Node) {
        self.ops.push(Op::Delete { path: path.to_owned(), version: Some(found.version) });
        self.applied.deleted.push(path.to_owned());
    }
}
