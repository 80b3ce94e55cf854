//! The task behind a [`Mirror`](super::Mirror): follows the tree over one connection after the other.

use std::{collections::BTreeSet, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time,
};
use tracing::warn;

use super::{
    Queue,
    copy::Copy,
    flow::{Flow, Step},
};
use crate::store::{Link, Session, StoreError, Up, servers::random, watch::TreeWatch};

/// The pause after a failure that is not a lost connection.
const RETRY: Duration = Duration::from_secs(1);

type Asked = mpsc::UnboundedReceiver<oneshot::Sender<()>>;

/// See the module's comment.
pub(super) struct Follower {
    link: watch::Receiver<Link>,
    /// Keeps the session from being abandoned as long as someone follows it.
    _session: Session,
    roots: Vec<String>,
    period: Duration,
    queue: Arc<Queue>,
    barriers: Asked,
    copy: Copy,
}

impl Follower {
    pub(super) fn new(
        session: Session,
        roots: Vec<String>,
        period: Duration,
        queue: Arc<Queue>,
        barriers: Asked,
    ) -> Self {
        let link = session.link();
        Self { link, _session: session, roots, period, queue, barriers, copy: Copy::default() }
    }

    pub(super) async fn run(mut self) {
        let mut last = None;
        // The trouble last logged, which may last: once is enough.
        let mut said = None;
        while let Some(up) = self.connected(last).await {
            last = Some((up.epoch, up.joins));
            let Err(error) = self.follow(&up).await else { continue };
            let trouble = Some(error.to_string());
            if !matches!(error, StoreError::Disconnected) && said != trouble {
                warn!("cannot read the tree, trying again: {error}");
                said = trouble;
            }
            // A lost connection shows in the link. Whatever else it was may be over in a while.
            if time::timeout(RETRY, self.link.wait_for(|link| at(link) != last)).await.is_err() {
                last = None;
            }
        }
        self.queue.end();
    }

    /// Waits for a connection other than the `last`. Nobody's barrier can be reached meanwhile.
    async fn connected(&mut self, last: Option<(u64, u64)>) -> Option<Up> {
        loop {
            if let Some(up) = self.link.borrow_and_update().up().filter(|up| Some((up.epoch, up.joins)) != last) {
                return Some(up.clone());
            }
            tokio::select! {
                changed = self.link.changed() => changed.ok()?,
                Some(barrier) = self.barriers.recv() => drop(barrier),
            }
        }
    }

    /// Watches and reads until the connection is lost.
    async fn follow(&mut self, up: &Up) -> Result<(), StoreError> {
        let mut watches = future::try_join_all(self.roots.iter().map(|root| up.client.watch_tree(root))).await?;
        let mut flow = Flow::new(up, &self.queue, &mut self.copy);
        flow.start_walk(&self.roots);
        let mut resync = time::interval_at(time::Instant::now() + spread(self.period), self.period);
        resync.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = self.link.changed() => return Ok(()),
                path = next_change(&mut watches) => {
                    let Some(path) = path else { return Ok(()) };
                    flow.read_all(drain(path, &mut watches));
                }
                Some(step) = flow.reads.next(), if !flow.reads.is_empty() => flow.take(step)?,
                Some(barrier) = self.barriers.recv() => flow.mark(Step::Barrier(barrier)),
                _ = resync.tick() => flow.start_walk(&self.roots),
            }
        }
    }
}

/// The path of the next change under any of the roots; `None` once the connection is lost.
async fn next_change(watches: &mut [TreeWatch]) -> Option<String> {
    poll_fn(|context| {
        for watch in &mut *watches {
            if let Poll::Ready(change) = watch.poll_change(context) {
                return Poll::Ready(change);
            }
        }
        if watches.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// `path`, and what else the watches have ready: the changes of one transaction mostly come together.
fn drain(path: String, watches: &mut [TreeWatch]) -> BTreeSet<String> {
    let mut paths = BTreeSet::from([path]);
    // The connection's end is not missed here: an ended watch tells so again.
    while let Some(Some(path)) = next_change(watches).now_or_never() {
        paths.insert(path);
    }
    paths
}

/// The connection that a link stands for.
fn at(link: &Link) -> Option<(u64, u64)> {
    link.up().map(|up| (up.epoch, up.joins))
}

/// `period` give or take a tenth, so that a fleet that came up together does not read together.
fn spread(period: Duration) -> Duration {
    period * 9 / 10 + period * u32::try_from(random() % 1000).unwrap_or(0) / 5000
}
