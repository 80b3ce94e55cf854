//! The tree as it is now, and again whenever it changes: what `--wait`, `--watch` and `--follow` look at.

use std::collections::BTreeMap;

use super::{context::Context, fleet::Fleet};
use crate::{
    model::ServiceName,
    store::{Mirror, Session},
    tree::{
        layout,
        node::{Batch, Change, Node},
    },
};

/// A session of its own with a copy of some folders, kept current by watches.
pub(super) struct Live {
    mirror: Mirror,
    nodes: BTreeMap<String, Node>,
    /// Whether everything has been read once: before that, what is missing may only not have been read yet.
    complete: bool,
    _session: Session,
}

/// The root of what is followed: the service's, or that of all.
pub(super) fn root_of(service: Option<&ServiceName>) -> String {
    service.map_or_else(|| layout::SERVICES.to_owned(), layout::service)
}

impl Live {
    /// Follows these folders, and which controllers there are.
    pub(super) fn start(cx: &Context, mut roots: Vec<String>) -> Self {
        roots.push(layout::ELECTION.to_owned());
        let session = cx.start_session();
        Self { mirror: Mirror::start(&session, roots), nodes: BTreeMap::new(), complete: false, _session: session }
    }

    /// The tree at its next change, at first as it is; while ZooKeeper is away, that waits. `None` never comes as
    /// long as this value keeps the session.
    pub(super) async fn next(&mut self) -> Option<Fleet> {
        loop {
            let Batch { changes, synced } = self.mirror.next().await?;
            for change in changes {
                self.take(change);
            }
            self.complete |= synced.is_some();
            if self.complete {
                return Some(Fleet::of(&self.nodes));
            }
        }
    }

    fn take(&mut self, Change { path, node }: Change) {
        match node {
            Some(node) => self.nodes.insert(path, node),
            None => self.nodes.remove(&path),
        };
    }
}
