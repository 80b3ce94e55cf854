//! A copy of parts of the tree, kept current without polling: one recursive watch per root.
//!
//! ```text
//!   watch events ─► paths to read ─► reads, answered in order ─► differs from the copy? ─► queue ─► next()
//!   a new connection, or every 5 minutes ─► the whole tree ──────┘
//! ```
//!
//! Of configuration revisions (`/services/<svc>/config/<n>`) the copy has no data: they are read by who needs them.
//!
//! An event says only *where* something happened; what is there now is read, so that a node which is deleted and
//! created again in one transaction is one change and never a gap. A connection's events end with it, and what
//! happened until the next one is found by reading everything again.

mod copy;
mod flow;
mod follow;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

use super::Session;
use crate::tree::node::{Batch, Change, Node, Synced};
use follow::Follower;

/// How often everything is read again though no event asked for it: the backstop, not the mechanism.
const RESYNC: Duration = Duration::from_secs(300);

/// A copy of some subtrees, as a stream of what changed in them.
#[derive(Debug)]
pub struct Mirror {
    queue: Arc<Queue>,
    barriers: mpsc::UnboundedSender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Follows everything at and below `roots`, which need not exist yet and must not lie within one another.
    pub fn start(session: &Session, roots: Vec<String>) -> Self {
        Self::resyncing(session, roots, RESYNC)
    }

    /// The same with another period of the backstop.
    pub fn resyncing(session: &Session, roots: Vec<String>, period: Duration) -> Self {
        let queue = Arc::new(Queue::default());
        let (barriers, asked) = mpsc::unbounded_channel();
        let follower = Follower::new(session.clone(), roots, period, queue.clone(), asked);
        Self { queue, barriers, task: tokio::spawn(follower.run()) }
    }

    /// The next changes, as soon as there are any; the first batch is everything there is. Those that come while the
    /// caller is busy are merged. `None` once the session has been closed or abandoned.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            if let Some(batch) = self.try_next() {
                return Some(batch);
            }
            if self.queue.pending().ended {
                return None;
            }
            // A notice given since the look above is kept for us.
            self.queue.ready.notified().await;
        }
    }

    /// What [`Mirror::next`] would return without waiting.
    pub fn try_next(&mut self) -> Option<Batch> {
        self.queue.pending().take()
    }

    /// Returns once everything that this session wrote before the call is in what `next` returns: true. False when
    /// the connection is lost first; then a batch with [`Batch::synced`] will bring it.
    ///
    /// ZooKeeper sends the event of a session's own write before the answer to the write.
    pub async fn barrier(&self) -> bool {
        self.barrier_handle().passed().await
    }

    /// A barrier to be passed elsewhere, later, and as often as need be.
    pub fn barrier_handle(&self) -> Barrier {
        Barrier { barriers: self.barriers.clone() }
    }
}

/// See [`Mirror::barrier`].
#[derive(Clone, Debug)]
pub struct Barrier {
    barriers: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Barrier {
    /// What [`Mirror::barrier`] does, counted from this call.
    pub async fn passed(&self) -> bool {
        let (done, passed) = oneshot::channel();
        self.barriers.send(done).is_ok() && passed.await.is_ok()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What has been found and not been taken yet: at most one change per path.
#[derive(Debug, Default)]
struct Queue {
    pending: Mutex<Pending>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    changes: BTreeMap<String, Option<Node>>,
    synced: Option<Synced>,
    ended: bool,
}

impl Pending {
    fn take(&mut self) -> Option<Batch> {
        if self.changes.is_empty() && self.synced.is_none() {
            return None;
        }
        let changes = std::mem::take(&mut self.changes);
        let changes = changes.into_iter().map(|(path, node)| Change { path, node }).collect();
        Some(Batch { changes, synced: self.synced.take() })
    }
}

impl Queue {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, changes: &mut BTreeMap<String, Option<Node>>, synced: Option<Synced>) {
        if changes.is_empty() && synced.is_none() {
            return;
        }
        let mut pending = self.pending();
        pending.changes.append(changes);
        pending.synced = synced.or(pending.synced);
        drop(pending);
        self.ready.notify_one();
    }

    fn end(&self) {
        self.pending().ended = true;
        self.ready.notify_one();
    }
}
