//! Watches that end with their connection. The library's own must not be polled after that.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::FutureExt as _;
use zookeeper_client::{self as zk, AddWatchMode};

use super::{Client, StoreError, connection::Connection};

impl Client {
    /// Watches a node, which need not exist, and everything below it, until the connection is lost.
    pub(super) async fn watch_tree(&self, root: &str) -> Result<TreeWatch, StoreError> {
        let zk = self.connection.request(zk::Client::clone)?;
        let watcher = zk
            .watch(root, AddWatchMode::PersistentRecursive)
            .await
            .map_err(|error| StoreError::of(error, || format!("watch {root}")))?;
        Ok(TreeWatch { connection: self.connection.clone(), watcher, ended: false })
    }

    /// Whether a node exists, and a future that is ready once that or its data has changed, or the connection is lost.
    pub(super) async fn watch_once(&self, path: &str) -> Result<(bool, OnceWatch), StoreError> {
        let zk = self.connection.request(zk::Client::clone)?;
        let (stat, watcher) =
            zk.check_and_watch_stat(path).await.map_err(|error| StoreError::of(error, || format!("watch {path}")))?;
        let changed = Box::pin(watcher.changed().map(drop));
        Ok((stat.is_some(), OnceWatch { connection: self.connection.clone(), changed }))
    }
}

/// A recursive watch. Ends with the connection.
pub(super) struct TreeWatch {
    connection: Arc<Connection>,
    watcher: zk::PersistentWatcher,
    ended: bool,
}

impl TreeWatch {
    /// The path of the next change; `None` once the connection is lost.
    pub(super) fn poll_change(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let watcher = &mut self.watcher;
        let event = match self.connection.guarded(|| pin!(watcher.changed()).poll(context)) {
            Some(event) => Some(ready!(event)),
            None => None,
        };
        // The library's watcher must not be polled again after a session's end, and is deaf after a disconnect.
        let change = event.filter(|event| event.event_type != zk::EventType::Session).map(|event| event.path);
        self.ended = change.is_none();
        Poll::Ready(change)
    }
}

/// A one-shot watch: ready once the node has changed, or the connection is lost.
pub(super) struct OnceWatch {
    connection: Arc<Connection>,
    changed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for OnceWatch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let watch = &mut *self;
        let changed = &mut watch.changed;
        watch.connection.guarded(|| changed.as_mut().poll(context)).unwrap_or(Poll::Ready(()))
    }
}
